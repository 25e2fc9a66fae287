# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Rendered road scenes with exact ground truth.

Every scene is a pure function of a seed, a size and a travelled distance, drawn with NumPy and
OpenCV alone. Picture and labels are painted by the same calls from far to near, so the labels
know exactly which surface each pixel shows; blur, noise and light touch the picture only.
"""

from demo_scenes.backdrop import draw_hills, draw_sky
from demo_scenes.canvas import Canvas
from demo_scenes.ground import draw_ground
from demo_scenes.population import things_ahead
from demo_scenes.sensor import photograph
from demo_scenes.world import make_view, make_world
from trt_segmentation.demo.clip import ClipFrame

_MIN_SIDE = 64


def render(seed: int, height: int = 720, width: int = 1280, distance: float = 0.0) -> ClipFrame:
    """Render one frame of the endless street that belongs to a seed.

    The same arguments always give the same scene.

    Args:
        seed: at least 0.
        height, width: in pixels, at least 64 each; they only scale the view of a 16:9 frame.
        distance: metres that the camera has driven along the street; oncoming traffic and
            walkers move with it.

    Raises:
        ValueError: seed, height or width is too small.
    """
    if seed < 0 or min(height, width) < _MIN_SIDE:
        raise ValueError(f'need seed >= 0 and sides >= {_MIN_SIDE}: {seed}, {height}x{width}')
    world = make_world(seed)
    canvas = Canvas(world, make_view(world, distance, height, width))
    things = things_ahead(world, distance)
    draw_sky(canvas)
    draw_ground(canvas, things)
    draw_hills(canvas)
    for thing in things:
        thing.draw(canvas)
    return ClipFrame(photograph(canvas, distance), canvas.labels)
