# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Rendered road scenes with exact ground truth.

Every scene is a pure function of a seed, a size and a travelled distance, drawn with NumPy and
OpenCV alone. Picture and labels are painted by the same calls from far to near, so the labels
know exactly which surface each pixel shows; blur, noise and light touch the picture only.
"""

import numpy as np

from demo_scenes.backdrop import draw_hills, draw_sky
from demo_scenes.canvas import Canvas
from demo_scenes.ground import draw_ground
from demo_scenes.population import things_ahead
from demo_scenes.sensor import photograph
from demo_scenes.world import make_view, make_world
from trt_segmentation.demo.clip import ClipFrame
from trt_segmentation.images.points import Pinhole

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
    canvas = _paint(seed, height, width, distance)
    return ClipFrame(photograph(canvas, distance), canvas.labels)


def render_with_depth(seed: int, height: int = 720, width: int = 1280, distance: float = 0.0,
                      ) -> tuple[ClipFrame, np.ndarray, Pinhole]:
    """Render one frame as a camera with registered depth sees it.

    Args:
        seed, height, width, distance: see ``render``.

    Returns:
        The same frame as ``render``, its depth, float32 [H, W], metres along the optical axis, 0
        for the sky and the hills at the horizon, and the camera. Trees and people are flat
        cut-outs.

    Raises:
        ValueError: see ``render``.
    """
    canvas = _paint(seed, height, width, distance, with_depth=True)
    assert canvas.depth is not None
    camera = Pinhole(*canvas.view.focal.tolist(), *canvas.view.centre.tolist())
    return ClipFrame(photograph(canvas, distance), canvas.labels), canvas.depth, camera


def _paint(seed: int, height: int, width: int, distance: float, with_depth: bool = False,
           ) -> Canvas:
    if seed < 0 or min(height, width) < _MIN_SIDE:
        raise ValueError(f'need seed >= 0 and sides >= {_MIN_SIDE}: {seed}, {height}x{width}')
    world = make_world(seed)
    canvas = Canvas(world, make_view(world, distance, height, width), with_depth)
    things = things_ahead(world, distance)
    draw_sky(canvas)
    draw_ground(canvas, things)
    draw_hills(canvas)
    for thing in things:
        thing.draw(canvas)
    return canvas
