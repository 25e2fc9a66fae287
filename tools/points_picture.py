# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Draw docs/images/points.png: a frame of the demo's drive as labelled points::

    PYTHONPATH=tools python tools/points_picture.py

The renderer of the drive gives image and depth, the demo network the mask, and the code of
``~/points`` the points. They are drawn from behind and above the camera.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from demo_scenes.make_clip import STREETS
from demo_scenes.scenes import render_with_depth
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from trt_segmentation.images.points import Pinhole, PointOptions, PointProjector
from trt_segmentation.segmenter import Segmenter

PICTURE = Path(__file__).parents[1] / 'docs' / 'images' / 'points.png'
WIDTH, HEIGHT = 1200, 640
FAR = 55.0
"""Points farther away than so many metres are left out."""

CERTAIN = 160
"""Points of a lower confidence, 0..255, are left out: those at the borders of classes."""

EYE, TARGET = (-3.5, -4.5, -5.6), (1.2, 0.9, 14.0)
"""Where the picture is taken from and looks at, metres in the optical frame of the camera."""

PAPER = np.array([250.0, 249.0, 248.0])
"""Background, BGR."""

_OVERSAMPLING = 2
_FOCAL = 0.78
"""Focal length as a share of the width of the picture."""

_CELL, _GRID = 5.0, ((-20.0, 20.0), (0.0, 50.0))
"""The grid on the ground: metres between two lines, and its range along x and z."""

_SHADING, _SHADING_REACH = 22.0, 3
"""Strength of the shading by depth, and its distance in pixels."""

_NEAREST = 0.5
_DPI = 100
_STRIDE = 2
_RARE = 5e-3
"""The legend has no class with a smaller share of the points."""


@dataclass(frozen=True)
class Eye:
    """The virtual camera of the picture.

    Attributes:
        position: float64 [3], in the optical frame of the camera that took the points.
        rotation: float64 [3, 3], its rows are right, down and forward.
        focal: in pixels.
        size: height and width in pixels.
    """

    position: np.ndarray
    rotation: np.ndarray
    focal: float
    size: tuple[int, int]

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the pixels float64 [N, 2] and the depth [N] in metres of points [N, 3]."""
        seen = (points - self.position) @ self.rotation.T
        depth = np.maximum(seen[:, 2], 1e-6)
        centre = np.array(self.size[::-1]) / 2
        return seen[:, :2] / depth[:, None] * self.focal + centre, seen[:, 2]


def eye_at(position: tuple[float, ...], target: tuple[float, ...], height: int, width: int,
           ) -> Eye:
    """Return a level camera that looks at a target."""
    forward = np.subtract(target, position)
    forward /= np.linalg.norm(forward)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return Eye(np.array(position), rotation, _FOCAL * width, (height, width))


def labelled_points(segmenter: Segmenter, image: np.ndarray, depth: np.ndarray, camera: Pinhole,
                    ) -> np.ndarray:
    """Return the points of an image as the node publishes them with ``points_organized: false``
    and ``points_rgb: true``, without those of low confidence.

    Args:
        segmenter: of the image.
        image: uint8 BGR [H, W, 3].
        depth: float32 [H, W], metres.
        camera: of image and depth.
    """
    segmentation = segmenter.infer(image, outputs=('mask', 'confidence'))
    colors = np.reshape(segmenter.spec.tasks[0].palette.colors, (-1, 3))
    options = PointOptions(_STRIDE, far=FAR, organized=False, confidence=True, colors=colors)
    projector = PointProjector(depth.shape[:2], segmentation.mask.dtype, options)
    count = projector.project(depth, camera, segmentation.mask, segmentation.confidence)
    points: np.ndarray = np.empty(count, projector.points.dtype)
    projector.write(count, points.view(np.uint8))
    return points[points['confidence'] >= CERTAIN]


def draw(points: np.ndarray, eye: Eye, camera: Pinhole, ground: np.ndarray) -> np.ndarray:
    """Return the picture of the points, uint8 BGR [H, W, 3], smaller than that of the eye.

    Args:
        points: of ``labelled_points``.
        eye: where they are seen from.
        camera: that took them.
        ground: float64 [3], height of the ground: y = (x, z, 1) @ ground.
    """
    picture = np.tile(PAPER, (*eye.size, 1))
    nearest = np.full(eye.size, np.inf)
    _draw_points(points, eye, camera, picture, nearest)
    picture *= _shading(nearest)[..., None]
    haze = np.clip((nearest - 18) / 60, 0, 0.55)[..., None]
    picture += (PAPER - picture) * haze
    _draw_grid(eye, ground, picture, nearest)
    height, width = eye.size
    small = cv2.resize(picture, (width // _OVERSAMPLING, height // _OVERSAMPLING),
                       interpolation=cv2.INTER_AREA)
    return np.clip(small, 0, 255).astype(np.uint8)


def _draw_points(points: np.ndarray, eye: Eye, camera: Pinhole, picture: np.ndarray,
                 nearest: np.ndarray) -> None:
    """Paint each point as a disc that is as large as its pixel of the depth image; a nearer point
    hides a farther one."""
    points = points[np.argsort(-eye.project(_xyz(points))[1], kind='stable')]
    xyz = _xyz(points)
    pixels, depth = eye.project(xyz)
    radius = 0.5 * _STRIDE * xyz[:, 2] / camera.fx * eye.focal / np.maximum(depth, _NEAREST)
    radius = np.clip(np.rint(radius), 2, 9).astype(int)
    packed = np.ascontiguousarray(points['rgb']).view(np.uint32)
    colors = np.stack([packed & 255, packed >> 8 & 255, packed >> 16 & 255], -1)
    height, width = eye.size
    for size in np.unique(radius).tolist():
        for offset in _disc(size):
            x, y = (np.rint(pixels).astype(int) + offset).T
            shown = np.flatnonzero((radius == size) & (depth > _NEAREST)
                                   & (x >= 0) & (x < width) & (y >= 0) & (y < height))
            shown = shown[depth[shown] < nearest[y[shown], x[shown]]]
            at = y[shown], x[shown]
            picture[at], nearest[at] = colors[shown], depth[shown]  # the nearest is the last


def _xyz(points: np.ndarray) -> np.ndarray:
    return np.stack([points[name] for name in 'xyz'], -1).astype(float)


def _disc(radius: int) -> list[tuple[int, int]]:
    steps = range(-radius + 1, radius)
    return [(dx, dy) for dy in steps for dx in steps if dy * dy + dx * dx < radius * radius]


def _shading(nearest: np.ndarray) -> np.ndarray:
    """Return the brightness 0..1 of each pixel: those behind a nearer neighbour are darker
    (eye-dome lighting, Boucheny 2009)."""
    log = np.log(np.where(np.isfinite(nearest), nearest, 1e3))
    behind = np.zeros_like(log)
    for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        moved = np.roll(log, (dy * _SHADING_REACH, dx * _SHADING_REACH), (0, 1))
        behind += np.clip(log - moved, 0, 0.12)
    return np.where(np.isfinite(nearest), np.exp(-_SHADING * behind / 8), 1)


def fitted_ground(points: np.ndarray, road: int) -> np.ndarray:
    """Return the plane of the road, float64 [3]: y = (x, z, 1) @ plane."""
    on_road = points[points['class_id'] == road]
    matrix = np.stack([on_road['x'], on_road['z'], np.ones(len(on_road))], -1)
    return np.linalg.lstsq(matrix, on_road['y'].astype(float), rcond=None)[0]


def _draw_grid(eye: Eye, ground: np.ndarray, picture: np.ndarray, nearest: np.ndarray) -> None:
    """Draw a grid on the ground, which points in front of it hide."""
    (left, right), (near, far) = _GRID
    t = np.linspace(0, 1, 6000)
    lines = [np.stack([np.full_like(t, x), near + (far - near) * t], -1)
             for x in np.arange(left, right + 0.1, _CELL)]
    lines += [np.stack([left + (right - left) * t, np.full_like(t, z)], -1)
              for z in np.arange(near, far + 0.1, _CELL)]
    xz = np.concatenate(lines)
    y = np.column_stack([xz, np.ones(len(xz))]) @ ground
    pixels, depth = eye.project(np.column_stack([xz[:, 0], y, xz[:, 1]]))
    u, v = np.rint(pixels).astype(int).T
    height, width = eye.size
    inside = (u >= 0) & (u < width - 1) & (v >= 0) & (v < height - 1) & (depth > _NEAREST)
    strength = np.zeros(eye.size)
    for dv, du in ((0, 0), (0, 1), (1, 0)):
        rows, columns = v[inside] + dv, u[inside] + du
        is_visible = depth[inside] <= nearest[rows, columns] * 1.02 + 0.1
        strength[rows, columns] = 0.3 * is_visible
    tone = np.where(np.isfinite(nearest), 255.0, 90.0)[..., None]
    picture += (tone - picture) * strength[..., None]


def compose(picture: np.ndarray, overlay: np.ndarray, names: tuple[str, ...],
            colors: np.ndarray, path: Path) -> None:
    """Write the picture with the camera's overlay in a corner and the names of the classes.

    Args:
        picture: uint8 BGR, as ``draw`` returns it.
        overlay: uint8 BGR, the image under the colours of its classes.
        names: of the classes in the picture.
        colors: uint8 RGB [N, 3], of these classes.
        path: of the PNG.
    """
    height, width = picture.shape[:2]
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis('off')
    axes.imshow(picture[..., ::-1], aspect='auto')
    inset = figure.add_axes((0.016, 0.66, 0.29, 0.31))
    inset.imshow(overlay[..., ::-1], aspect='auto')
    inset.set_xticks([])
    inset.set_yticks([])
    for spine in inset.spines.values():
        spine.set(color='white', linewidth=2)
    chips = [Patch(color=tuple(color / 255)) for color in colors]
    figure.legend(chips, names, loc='lower center', ncol=len(names), frameon=False, fontsize=10,
                  handlelength=1.2, handletextpad=0.5)
    figure.savefig(path, format='png', dpi=_DPI)


def main() -> int:
    """Write docs/images/points.png."""
    frame, depth, camera = render_with_depth(STREETS[0])
    segmenter = Segmenter.open()
    points = labelled_points(segmenter, frame.image, depth, camera)
    overlay = segmenter.infer(frame.image, outputs=('overlay',)).overlay
    task = segmenter.spec.tasks[0]
    counts = np.bincount(points['class_id'], minlength=len(task.labels))
    present = np.flatnonzero(counts > _RARE * len(points))
    eye = eye_at(EYE, TARGET, HEIGHT * _OVERSAMPLING, WIDTH * _OVERSAMPLING)
    picture = draw(points, eye, camera, fitted_ground(points, task.labels.index('road')))
    PICTURE.parent.mkdir(exist_ok=True)
    compose(picture, overlay, tuple(task.labels[each] for each in present),
            np.reshape(task.palette.colors, (-1, 3))[present].astype(float), PICTURE)
    print(f'{PICTURE}: {len(points)} points, {PICTURE.stat().st_size // 1000} kB')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
