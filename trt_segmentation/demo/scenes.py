# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Rendered road scenes with exact ground truth.

Every scene is a pure function of a seed, a size and a travelled distance, drawn with NumPy and
OpenCV alone. Picture and labels are painted by the same calls from far to near, so the labels
know exactly which surface each pixel shows; blur, noise and light touch the picture only.

World axes follow REP-103: x forward along the street, y left, z up, in metres, with z = 0 on
the ground. Street coordinates (s, d) give the position along x and the offset to the left of
the street's centre line. Colours in this module are BGR in 0..255.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

LABELS = ('sky', 'vegetation', 'building', 'road', 'lane marking', 'vehicle', 'person')
"""Class names; a class id is the position of its name."""

COLORS = (
    (70, 130, 180),
    (107, 142, 35),
    (70, 70, 70),
    (128, 64, 128),
    (255, 221, 51),
    (0, 0, 142),
    (220, 20, 60),
)
"""RGB colour of each class, 0..255: Cityscapes' where it has the class."""

SKY, VEGETATION, BUILDING, ROAD, MARKING, VEHICLE, PERSON = range(len(LABELS))

_NEAR = 0.3
_BLOCK = 24.0
_RANGE = 190.0
_SHIFT = 4
_TILE = 512
_AIR = 420.0
_WALL_SCALE = 96.0
_MIN_SIDE = 64


@dataclass(frozen=True)
class Scene:
    """A picture and its ground truth.

    image: uint8 [H, W, 3], BGR, 0..255.
    labels: uint8 [H, W], a class id 0..6 (see LABELS) in every pixel.
    """

    image: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class _Light:
    zenith: tuple[float, float, float]
    horizon: tuple[float, float, float]
    cloud: tuple[float, float, float]
    cover: float
    ambient: float
    shadow: float
    gain: float
    cast: tuple[float, float, float]
    lamps: bool = False
    sun: tuple[float, float, float] = (0.0, 0.0, 1.0)


_LIGHTS = (
    _Light((196, 124, 62), (238, 218, 192), (252, 250, 248), 0.50, 0.62, 0.50, 1.04,
           (0.95, 1.0, 1.04)),
    _Light((196, 184, 172), (226, 222, 216), (236, 234, 232), 0.85, 0.90, 0.16, 0.92,
           (1.03, 1.0, 0.97)),
    _Light((132, 84, 66), (142, 186, 250), (150, 150, 214), 0.55, 0.78, 0.22, 0.74,
           (0.96, 0.93, 1.07), lamps=True),
)  # fmt: skip


@dataclass(frozen=True)
class _Street:
    lanes: int
    lane_width: float
    shoulder_left: float
    shoulder_right: float
    bend: float
    wavelength: float
    phase: float
    dash: float
    yellow: bool

    @property
    def edge(self) -> float:
        return self.lanes * self.lane_width

    def side(self, sign: float) -> float:
        """Distance in metres from the centre line to the grass on the left (+1) or right."""
        return self.edge + (self.shoulder_left if sign > 0 else self.shoulder_right)

    def centre(self, s: float | np.ndarray) -> float | np.ndarray:
        return self.bend * np.sin(2 * math.pi * s / self.wavelength + self.phase)

    def heading(self, s: float) -> float:
        rate = 2 * math.pi / self.wavelength
        return math.atan(self.bend * rate * math.cos(rate * s + self.phase))

    def foot(self, s: float, d: float) -> np.ndarray:
        """World point [3] on the ground."""
        return np.array([s, self.centre(s) + d, 0.0])

    def ground(self, s: np.ndarray, d: float) -> np.ndarray:
        """World points [N, 3] on the ground at the positions s [N], all at one offset."""
        return np.stack([s, self.centre(s) + d, np.zeros_like(s)], -1)

    def place(self, s: float, d: float, local: np.ndarray, turn: float = 0.0) -> np.ndarray:
        """World points of points [..., 3] given in a body frame aligned with the street."""
        angle = self.heading(s) + turn
        c, n = math.cos(angle), math.sin(angle)
        rotation = np.array([[c, n, 0.0], [-n, c, 0.0], [0.0, 0.0, 1.0]])
        return local @ rotation + np.array([s, self.centre(s) + d, 0.0])


@dataclass(frozen=True)
class _Lens:
    focal: float
    pitch: float
    elevation: float
    lane: int
    blur: float
    noise: float


@dataclass(frozen=True)
class _View:
    """A pinhole camera: position [3] and rows right, down, forward [3, 3] in world axes."""

    height: int
    width: int
    focal: np.ndarray
    position: np.ndarray
    rotation: np.ndarray

    @property
    def centre(self) -> np.ndarray:
        return np.array([self.width - 1, self.height - 1]) / 2

    @property
    def horizon(self) -> float:
        return self.centre[1] - self.focal[1] * self.rotation[2, 2] / self.rotation[1, 2]

    def camera(self, points: np.ndarray) -> np.ndarray:
        """Optical coordinates (right, down, forward) of world points."""
        return (points - self.position) @ self.rotation.T

    def pixels(self, camera: np.ndarray) -> np.ndarray:
        return camera[..., :2] / camera[..., 2:] * self.focal + self.centre

    def plane(self, z: float, scale: float, row: int = 0) -> np.ndarray:
        """Homography from pixels (below `row`) to plane coordinates, `scale` units a metre."""
        (fx, fy), (cx, cy) = self.focal, self.centre
        inverse = np.array([[1 / fx, 0, -cx / fx], [0, 1 / fy, (row - cy) / fy], [0, 0, 1]])
        rays = self.rotation.T @ inverse
        above = self.position[2] - z
        period = _TILE / scale
        x, y = self.position[0] % period, self.position[1] % period + period
        rows = [x * rays[2] - above * rays[0], y * rays[2] - above * rays[1]]
        return np.stack([rows[0] * scale, rows[1] * scale, rays[2]])


@dataclass(frozen=True)
class _World:
    seed: int
    light: _Light
    street: _Street
    lens: _Lens
    grass: np.ndarray
    asphalt: np.ndarray


def _clip_near(camera: np.ndarray) -> np.ndarray:
    """The part [M, 3] of a polygon [N, 3] in optical coordinates before the near plane."""
    kept = []
    for a, b in zip(camera, np.roll(camera, -1, 0), strict=True):
        if a[2] >= _NEAR:
            kept.append(a)
        if (a[2] >= _NEAR) != (b[2] >= _NEAR):
            kept.append(a + (b - a) * ((_NEAR - a[2]) / (b[2] - a[2])))
    return np.array(kept).reshape(-1, 3)


def _fixed(pixels: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(pixels, -2e4, 2e4) * (1 << _SHIFT)).astype(np.int32)


class _Canvas:
    """Picture, labels and ground shade of one frame, with the brushes that paint them."""

    def __init__(self, world: _World, view: _View) -> None:
        self.world, self.view = world, view
        self.image = np.empty((view.height, view.width, 3), np.uint8)
        self.labels = np.empty((view.height, view.width), np.uint8)
        self.shade = np.full((view.height, view.width), 255, np.uint8)

    def hazed(self, colours: np.ndarray, depth: float) -> list:
        """Colours [..., 3] as seen through the air at a depth in metres, as nested lists."""
        veil = 1 - math.exp(-max(depth, 0.0) / _AIR)
        return (colours * (1 - veil) + np.multiply(self.world.light.horizon, 0.94 * veil)).tolist()

    def convex(self, fixed: np.ndarray, colour: Sequence[float], label: int | None) -> None:
        """Fill a convex polygon of fixed-point pixels in the picture and, if given, labels."""
        cv2.fillConvexPoly(self.image, fixed, colour, cv2.LINE_AA, _SHIFT)
        if label is not None:
            cv2.fillConvexPoly(self.labels, fixed, label, cv2.LINE_8, _SHIFT)

    def outline(self, points: np.ndarray) -> np.ndarray | None:
        """Fixed-point pixels of a world polygon [N, 3], or None where none of it is ahead."""
        camera = self.view.camera(points)
        if camera[:, 2].min() < _NEAR:
            camera = _clip_near(camera)
        return _fixed(self.view.pixels(camera)) if len(camera) > 2 else None

    def depth(self, point: np.ndarray) -> float:
        """Distance in metres of a world point [3] ahead of the camera."""
        return float((point - self.view.position) @ self.view.rotation[2])

    def sees(self, points: np.ndarray) -> bool:
        """Whether any of an upright thing over world points [N, 3] may lie between the sides."""
        right, _, depth = self.view.camera(points).T
        limit = np.maximum(depth, 0.0) * (self.view.width / 2 / self.view.focal[0])
        return bool(depth.max() > _NEAR and
                    not (right > limit).all() and not (-right > limit).all())  # fmt: skip

    def outlines(self, faces: np.ndarray) -> list[np.ndarray | None]:
        """Fixed-point pixels of each world polygon in [F, N, 3]."""
        camera = self.view.camera(faces)
        if camera[..., 2].min() < _NEAR:
            return [self.outline(face) for face in faces]
        return list(_fixed(self.view.pixels(camera)))

    def faces(self, faces: np.ndarray, colours: np.ndarray, label: int) -> None:
        """Fill convex world polygons [F, N, 3] of one thing, colours [F, 3], in their order."""
        if len(faces):
            tones = self.hazed(np.clip(colours, 0, 255), self.depth(faces[0].mean(0)))
            for fixed, tone in zip(self.outlines(faces), tones, strict=True):
                if fixed is not None:
                    self.convex(fixed, tone, label)

    def strip(self, s: np.ndarray, left: float, right: float) -> np.ndarray | None:
        """Fixed-point pixels of the ground between two offsets along the street."""
        street = self.world.street
        return self.outline(
            np.concatenate([street.ground(s, left), street.ground(s[::-1], right)])
        )

    def ribbon(
        self, s: np.ndarray, left: float, right: float, colour: np.ndarray, label: int | None
    ) -> None:
        """Fill a strip of ground; the haze of the ground is laid on later, by row."""
        fixed = self.strip(s, left, right)
        if fixed is not None:
            cv2.fillPoly(self.image, [fixed], colour.tolist(), cv2.LINE_AA, _SHIFT)
            if label is not None:
                cv2.fillPoly(self.labels, [fixed], label, cv2.LINE_8, _SHIFT)

    def dim(self, points: np.ndarray, share: float) -> None:
        """Shade a convex piece of ground [N, 3] to a share 0..1 of its light."""
        fixed = self.outline(points)
        if fixed is not None:
            cv2.fillConvexPoly(self.shade, fixed, round(255 * share), cv2.LINE_8, _SHIFT)


@lru_cache(maxsize=8)
def _noise(exponent: float, key: int, size: int = _TILE) -> np.ndarray:
    """Periodic noise, uint8 [size, size] about 128, with power falling by f**-exponent."""
    white = np.random.default_rng([key, size]).standard_normal((size, size))
    f = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    f[0, 0] = 1.0
    spectrum = np.fft.rfft2(white) * f ** (-exponent / 2)
    spectrum[0, 0] = 0.0
    field = np.fft.irfft2(spectrum, (size, size))
    return np.clip(128 + 42 * field / field.std(), 0, 255).astype(np.uint8)


@lru_cache(maxsize=8)
def _tiles(exponent: float, key: int) -> np.ndarray:
    """Four periods of noise side by side: reading outside its array is the slow path."""
    return np.tile(_noise(exponent, key), (2, 2))


@lru_cache(maxsize=4)
def _grain(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng([7, height, width])
    field = rng.standard_normal((height + 64, width + 64, 3), np.float32)
    return np.clip(128 + 32 * field, 0, 255).astype(np.uint8)


@lru_cache(maxsize=4)
def _vignette(height: int, width: int) -> np.ndarray:
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    fall = 255 * (1 - 0.13 * (x * x + 0.7 * y * y))
    return np.repeat(np.clip(fall, 0, 255).astype(np.uint8)[..., None], 3, 2)


@lru_cache(maxsize=64)
def _foliage(kind: int, level: int) -> np.ndarray:
    """A crown seen from the side: uint8 [N, N, 2] of brightness and coverage, N = 256 >> level.

    Kinds 0..5 are round crowns and 6..8 are bushes that stand flat on the ground.
    """
    if level:
        return cv2.resize(_foliage(kind, level - 1), None, fx=0.5, fy=0.5,
                          interpolation=cv2.INTER_AREA)  # fmt: skip
    rough = _noise(2.6, 100 + kind, 256).astype(np.float32) / 42 - 3.05
    fine = _noise(1.3, 200 + kind, 256).astype(np.float32) / 42 - 3.05
    y, x = np.mgrid[-1:1:256j, -1:1:256j].astype(np.float32)
    low = y if kind < 6 else np.minimum(y, 0.45)
    radius = np.hypot(x * 1.12, low * 1.12) + 0.10 * rough + 0.025 * fine
    cover = np.clip((0.93 - radius) * 500 + 128, 0, 255)
    glow = 118 - 46 * y - 20 * x + 26 * rough + 20 * fine - 40 * (radius > 0.86)
    return np.dstack([np.clip(glow, 0, 255), cover]).astype(np.uint8)


@lru_cache(maxsize=16)
def _wall_tile(brick: bool, level: int) -> np.ndarray:
    """Relief of a wall, periodic uint8 about 128; level 0 has `_WALL_SCALE` texels a metre."""
    if level:
        return cv2.resize(_wall_tile(brick, level - 1), None, fx=0.5, fy=0.5,
                          interpolation=cv2.INTER_AREA)  # fmt: skip
    field = 128 + 0.13 * (_noise(1.9, 11).astype(np.float32) - 128)
    if brick:
        y, x = np.mgrid[0:_TILE, 0:_TILE]
        course, along = y // 8, (x + 16 * (y // 8 % 2)) // 32
        tone = np.random.default_rng(12).uniform(-17, 17, (_TILE // 8, _TILE // 32 + 1))
        mortar = (y % 8 == 0) | ((x + 16 * (course % 2)) % 32 == 0)
        field += np.where(mortar, 20, tone[course, along % (_TILE // 32)])
    return np.tile(np.clip(field, 0, 255).astype(np.uint8), (3, 4))


def _solid_faces(boxes: np.ndarray) -> np.ndarray:
    """Faces [5 B, 4, 3] of prisms [B, 8]: rear, right, front, left, top of each.

    A prism is (z, rear x, front x, half width) of its bottom, then the same of its top. The
    corners of a face run from its lower left to its upper left as seen from outside.
    """
    faces = []
    for z0, a0, b0, w0, z1, a1, b1, w1 in boxes:
        low = np.array([[a0, w0, z0], [a0, -w0, z0], [b0, -w0, z0], [b0, w0, z0]])
        top = np.array([[a1, w1, z1], [a1, -w1, z1], [b1, -w1, z1], [b1, w1, z1]])
        for i in range(4):
            j = (i + 1) % 4
            faces.append([low[i], low[j], top[j], top[i]])
        faces.append([top[0], top[1], top[2], top[3]])
    return np.array(faces)


def _patches(faces: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Quads [P, 4, 3] on faces: rows of `where` are (face, u0, u1, v0, v1), u and v in 0..1."""
    corners = faces[where[:, 0].astype(int)]
    u = where[:, [1, 2, 2, 1]][..., None]
    v = where[:, [3, 3, 4, 4]][..., None]
    low = corners[:, None, 0] * (1 - u) + corners[:, None, 1] * u
    top = corners[:, None, 3] * (1 - u) + corners[:, None, 2] * u
    return low * (1 - v) + top * v


def _facing(faces: np.ndarray, world: _World, eye: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which world faces [F, 4, 3] show to the eye, and the share of light each gets."""
    normals = np.cross(faces[:, 1] - faces[:, 0], faces[:, 3] - faces[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
    seen = ((eye - faces.mean(1)) * normals).sum(1) > 0
    ambient = world.light.ambient
    lit = ambient + (1 - ambient) * 1.5 * np.clip(normals @ np.array(world.light.sun), 0, None)
    return seen, lit


@dataclass(frozen=True)
class _Building:
    s: float
    d: float
    length: float
    depth: float
    height: float
    pitch: float
    wall: np.ndarray
    roof: np.ndarray
    trim: np.ndarray
    brick: bool
    key: int

    reach = 240.0

    @property
    def far(self) -> float:
        return self.s + self.length / 2

    def draw(self, canvas: _Canvas) -> None:
        world, view = canvas.world, canvas.view
        half, deep = self.length / 2, self.depth / 2
        over = 0.35
        top = self.height + 0.3 + self.pitch
        inset, ridge = self.pitch - over, 0.1 if self.pitch else deep + over
        boxes = np.array([
            [0, -half, half, deep, self.height, -half, half, deep],
            [self.height, -half - over, half + over, deep + over,
             top, inset - half, half - inset, ridge],
        ])  # fmt: skip
        faces = world.street.place(self.s, self.d, _solid_faces(boxes))
        if not canvas.sees(faces[5:9, 0]):
            return
        seen, lit = _facing(faces, world, view.position)
        soffit = faces[5:9, 0][None]
        canvas.faces(soffit, self.trim[None] * 0.6, BUILDING)
        for i in np.flatnonzero(seen[:4]).tolist():
            canvas.faces(faces[i : i + 1], self.wall[None] * lit[i], BUILDING)
            self._coat(canvas, faces[i], self.length if i % 2 else self.depth)
            self._openings(canvas, faces, i, float(lit[i]))
        shown = 5 + np.flatnonzero(seen[5:])
        canvas.faces(faces[shown], self.roof * lit[shown, None], BUILDING)

    def _coat(self, canvas: _Canvas, face: np.ndarray, span: float) -> None:
        """Lay plaster or brick on a wall that is wholly ahead and large enough to show it."""
        camera = canvas.view.camera(face)
        if camera[:, 2].min() < 1.0 or camera[:, 2].min() > 70:
            return
        quad = canvas.view.pixels(camera)
        height, width = canvas.labels.shape
        x0, y0 = np.clip(np.floor(quad.min(0)), 0, [width, height]).astype(int)
        x1, y1 = np.clip(np.ceil(quad.max(0)) + 1, 0, [width, height]).astype(int)
        if min(x1 - x0, y1 - y0) < 12:
            return
        fine = canvas.view.focal[1] / camera[:, 2].min()
        level = int(np.clip(round(math.log2(_WALL_SCALE / fine)), 0, 5))
        scale = _WALL_SCALE / (1 << level)
        wall = np.array([[0, self.height], [span, self.height], [span, 0], [0, 0]]) * scale
        corners = (quad - [x0, y0]).astype(np.float32)
        matrix = cv2.getPerspectiveTransform(corners, wall.astype(np.float32))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (int(x1 - x0), int(y1 - y0))
        grain = cv2.warpPerspective(_wall_tile(self.brick, level), matrix, size, flags=flags,
                                    borderMode=cv2.BORDER_WRAP)  # fmt: skip
        mask = np.zeros(size[::-1], np.uint8)
        cv2.fillConvexPoly(mask, _fixed(corners), 255, cv2.LINE_8, _SHIFT)
        region = canvas.image[y0:y1, x0:x1]
        cv2.copyTo(cv2.multiply(region, cv2.merge([grain] * 3), scale=1 / 128), mask, region)

    def _openings(self, canvas: _Canvas, faces: np.ndarray, face: int, lit: float) -> None:
        """Ledges, window frames and panes of one wall."""
        span = self.length if face % 2 else self.depth
        floors, columns = max(1, int(self.height / 3.1)), max(1, int(span / 2.6))
        depth = canvas.depth(faces[face].mean(0))
        v = np.arange(floors) / floors
        ledge = np.stack([v * 0, v * 0 + 1, v, v + 0.12 / self.height], 1)
        ledge[0, 3] = 0.6 / self.height
        i, j = np.meshgrid(np.arange(columns), np.arange(floors))
        u, v = (i.ravel() + 0.26) / columns, (j.ravel() + 0.30) / floors
        pane = np.stack([u, u + 0.48 / columns, v, v + 0.5 / floors], 1)
        border = np.array([-0.07 / columns, 0.07 / columns, -0.06 / floors, 0.06 / floors])
        groups = [(ledge, self.wall * lit * 0.76)] if depth < 120 else []
        groups += [(pane + border, self.trim * lit)] if depth < 80 else []
        groups += self._panes(canvas.world.light, pane, face)
        self._fill(canvas, faces[face], groups, depth)

    def _panes(
        self, light: _Light, pane: np.ndarray, face: int
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        tone = np.random.default_rng([self.key, face]).random(len(pane))
        lamps = 0.42 if light.lamps else 0.03
        dark = 0.6 + lamps / 3
        sky, glass = np.asarray(light.horizon), np.array([70.0, 58.0, 48.0])
        return [
            (pane[tone < lamps], np.array([120.0, 205.0, 250.0])),
            (pane[(tone >= lamps) & (tone < dark)], glass * 0.9 + sky * 0.08),
            (pane[tone >= dark], glass + sky * 0.22),
        ]

    def _fill(
        self,
        canvas: _Canvas,
        face: np.ndarray,
        groups: list[tuple[np.ndarray, np.ndarray]],
        depth: float,
    ) -> None:
        """Fill groups of rectangles (u0, u1, v0, v1) of a wall [4, 3], each in its colour."""
        cells = np.concatenate([cells for cells, _ in groups])
        tones = canvas.hazed(np.clip([tone for _, tone in groups], 0, 255), depth)
        where = np.insert(cells, 0, 0, axis=1)
        camera = canvas.view.camera(_patches(face[None], where))
        ahead = camera[..., 2].min(1) > _NEAR
        camera[..., 2] = np.maximum(camera[..., 2], _NEAR)
        fixed = _fixed(canvas.view.pixels(camera))
        stop = np.cumsum([len(cells) for cells, _ in groups])
        for start, end, tone in zip([0, *stop[:-1]], stop, tones, strict=True):
            quads = fixed[start:end][ahead[start:end]]
            if len(quads):
                cv2.fillPoly(canvas.image, list(quads), tone, cv2.LINE_AA, _SHIFT)

    def shade(self, canvas: _Canvas) -> None:
        """Buildings stand too far back to shade the street."""


_RAMP = np.stack([np.interp(np.arange(256), [20, 128, 235], row) for row in np.eye(3)], 1)


@dataclass(frozen=True)
class _Plant:
    s: float
    d: float
    width: float
    height: float
    trunk: float
    kind: int
    tint: np.ndarray

    @property
    def reach(self) -> float:
        """Distance in metres from which the plant stands out from the woods behind it."""
        return 24.0 * self.height + 40.0

    @property
    def far(self) -> float:
        return self.s

    def draw(self, canvas: _Canvas) -> None:
        view = canvas.view
        foot = canvas.world.street.foot(self.s, self.d)
        right, down, depth = view.camera(foot)
        if depth < 1.5:
            return
        scale = view.focal / depth
        x, y = np.array([right, down]) * scale + view.centre
        if self.trunk:
            self._stem(canvas, x, y, scale, depth)
        bottom = y - self.trunk * scale[1]
        top = y - self.height * scale[1]
        half = self.width / 2 * scale[0]
        self._crown(canvas, (x - half, top, x + half, bottom), depth)

    def _stem(self, canvas: _Canvas, x: float, y: float, scale: np.ndarray, depth: float) -> None:
        wide = 0.035 * self.height * scale[0]
        top = y - (self.trunk + 0.35 * (self.height - self.trunk)) * scale[1]
        quad = np.array([[x - wide, y], [x + wide, y], [x + wide * 0.6, top],
                         [x - wide * 0.6, top]])  # fmt: skip
        bark = np.array([52.0, 66.0, 84.0]) * canvas.world.light.ambient
        canvas.convex(_fixed(quad), canvas.hazed(bark, depth), VEGETATION)
        quad[1:3, 0] = quad[[0, 3], 0] * 0.6 + quad[1:3, 0] * 0.4
        canvas.convex(_fixed(quad), canvas.hazed(bark * 1.3, depth), None)

    def _crown(
        self, canvas: _Canvas, box: tuple[float, float, float, float], depth: float
    ) -> None:
        x0, y0, x1, y1 = box
        height, width = canvas.labels.shape
        left, top = max(0, math.floor(x0)), max(0, math.floor(y0))
        right, bottom = min(width, math.ceil(x1) + 1), min(height, math.ceil(y1) + 1)
        if left >= right or top >= bottom:
            return
        level = int(np.clip(math.log2(256 / max(x1 - x0, 4)), 0, 4))
        sprite = _foliage(self.kind, level)
        n = len(sprite)
        warp = np.array([
            [n / (x1 - x0), 0, (left - x0) * n / (x1 - x0) - 0.5],
            [0, n / (y1 - y0), (top - y0) * n / (y1 - y0) - 0.5],
        ])  # fmt: skip
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        patch = cv2.warpAffine(sprite, warp, (right - left, bottom - top), flags=flags)
        glow, cover = cv2.split(patch)
        mask = cv2.compare(cover, 127, cv2.CMP_GT)
        colours = cv2.applyColorMap(glow, self._ramp(canvas, depth))
        region = canvas.image[top:bottom, left:right]
        cv2.copyTo(colours, mask, region)
        canvas.labels[top:bottom, left:right][mask > 0] = VEGETATION

    def _ramp(self, canvas: _Canvas, depth: float) -> np.ndarray:
        light = canvas.world.light
        stops = np.array([self.tint * 0.30, self.tint * 0.92, self.tint * 1.45 + 14])
        stops[2] *= 0.8 + 0.4 * (1 - light.ambient)
        ramp = _RAMP @ np.array(canvas.hazed(stops, depth))
        return np.clip(ramp, 0, 255).astype(np.uint8)[:, None]

    def shade(self, canvas: _Canvas) -> None:
        light, street = canvas.world.light, canvas.world.street
        angle = np.linspace(0, 2 * math.pi, 14, endpoint=False)
        lift = self.trunk + (self.height - self.trunk) / 2 if self.trunk else 0.0
        shift = -np.array(light.sun[:2]) / light.sun[2] * lift
        foot = street.foot(self.s, self.d)
        ring = np.zeros((14, 3))
        ring[:, 0] = foot[0] + shift[0] + np.cos(angle) * self.width * 0.55
        ring[:, 1] = foot[1] + shift[1] + np.sin(angle) * self.width * 0.45
        canvas.dim(ring, 1 - light.shadow * 0.9)


@dataclass(frozen=True)
class _Model:
    boxes: tuple[tuple[float, ...], ...]
    details: tuple[tuple[int, float, float, float, float, str], ...]
    wheels: tuple[float, float]
    radius: float

    def on(self, face: int) -> list[tuple]:
        return [patch for patch in self.details if patch[0] == face]


def _sides(
    box: int, spans: Sequence[tuple[float, float]], v0: float, v1: float, tone: str
) -> list[tuple]:
    """The same patches on both sides of a prism, spans measured from the rear."""
    right = [(5 * box + 1, a, b, v0, v1, tone) for a, b in spans]
    return right + [(5 * box + 3, 1 - b, 1 - a, v0, v1, tone) for a, b in spans]


def _ends(box: int, lamp: tuple[float, float], width: float) -> list[tuple]:
    """Tail lamps, plate and boot line on the rear; headlamps and grille on the front."""
    v0, v1 = lamp
    rear, front = 5 * box, 5 * box + 2
    details = [(rear, 0.36, 0.64, 0.12, 0.52, 'plate'), (rear, 0.0, 1.0, 0.0, 0.06, 'seam')]
    details += [(front, 0.30, 0.70, 0.20, 0.75, 'grille')]
    for a in (0.03, 0.97 - width):
        details += [(rear, a, a + width, v0, v1, 'tail'), (front, a, a + width, v0, v1, 'head')]
    return details


def _car(stretch: float, rise: float, cabin: tuple[float, float, float, float]) -> _Model:
    """A car of a length scale, a height scale and the x of its rear and front glass."""
    back, bonnet, roof_back, roof_front = (x * stretch for x in cabin)
    n = 2.12 * stretch
    axle = 1.30 * stretch
    belt, roof = 0.94 * rise, 1.46 * rise
    boxes = (
        (0.0, -axle - 0.3, -axle + 0.3, 0.84, 0.55, -axle - 0.3, -axle + 0.3, 0.84),
        (0.0, axle - 0.3, axle + 0.3, 0.84, 0.55, axle - 0.3, axle + 0.3, 0.84),
        (0.24, 0.08 - n, n - 0.08, 0.84, 0.60, -n, n, 0.90),
        (0.60, -n, n, 0.90, belt, 0.10 - n, n - 0.16, 0.84),
        (belt, back, bonnet, 0.80, roof, roof_back, roof_front, 0.62),
    )
    details = [(5 * i + f, 0.2, 0.8, 0.0, 1.0, 'under') for i in (0, 1) for f in (0, 2)]
    details += [(10, 0.0, 1.0, 0.0, 0.45, 'trim'), (12, 0.0, 1.0, 0.0, 0.4, 'trim')]
    details += [(12, 0.22, 0.78, 0.45, 0.9, 'grille')]
    details += _ends(3, (0.42, 0.92), 0.19)
    details += _sides(3, [(0.02, 0.98)], 0.80, 0.92, 'gloss') + _sides(2, [(0, 1)], 0, 0.4, 'trim')
    details += _sides(3, [(0.50, 0.506), (0.30, 0.306)], 0.0, 1.0, 'seam')
    details += [(20, 0.08, 0.92, 0.14, 0.88, 'glass'), (22, 0.07, 0.93, 0.10, 0.90, 'glass')]
    details += [(20, 0.12, 0.45, 0.5, 0.84, 'sheen'), (22, 0.12, 0.5, 0.45, 0.86, 'sheen')]
    details += _sides(4, [(0.10, 0.47), (0.51, 0.90)], 0.14, 0.86, 'glass')
    return _Model(boxes, tuple(details), (-axle, axle), 0.33)


def _van(length: float, height: float) -> _Model:
    n, axle = length / 2, length * 0.31
    boxes = (
        (0.0, -axle - 0.35, -axle + 0.35, 0.94, 0.6, -axle - 0.35, -axle + 0.35, 0.94),
        (0.0, axle - 0.35, axle + 0.35, 0.94, 0.6, axle - 0.35, axle + 0.35, 0.94),
        (0.28, -n, n, 0.98, 1.15, -n, n - 0.05, 1.0),
        (1.15, -n, n - 0.55, 1.0, height, 0.06 - n, n - 1.35, 0.92),
    )
    details = [(5 * i + f, 0.2, 0.8, 0.0, 1.0, 'under') for i in (0, 1) for f in (0, 2)]
    details += [(10, 0.0, 1.0, 0.0, 0.2, 'trim'), (12, 0.0, 1.0, 0.0, 0.25, 'trim')]
    details += _ends(2, (0.5, 0.95), 0.10)
    details += [(15, 0.08, 0.47, 0.30, 0.80, 'glass'), (15, 0.53, 0.92, 0.30, 0.80, 'glass')]
    details += [(15, 0.495, 0.505, 0.0, 1.0, 'seam'), (10, 0.495, 0.505, 0.2, 1.0, 'seam')]
    details += [(17, 0.06, 0.94, 0.12, 0.82, 'glass'), (17, 0.1, 0.5, 0.4, 0.78, 'sheen')]
    details += _sides(3, [(0.80, 0.97)], 0.12, 0.70, 'glass')
    details += _sides(2, [(0.0, 1.0)], 0.0, 0.16, 'trim')
    details += _sides(2, [(0.0, 1.0)], 0.78, 0.88, 'gloss')
    details += _sides(3, [(0.30, 0.305), (0.74, 0.745)], 0.0, 1.0, 'seam')
    details += _sides(2, [(0.28, 0.285), (0.66, 0.665)], 0.16, 1.0, 'seam')
    return _Model(boxes, tuple(details), (-axle, axle), 0.36)


_MODELS = (
    _car(1.0, 1.0, (-1.98, 1.05, -1.55, 0.35)),
    _car(1.08, 0.98, (-1.55, 1.05, -0.95, 0.30)),
    _car(1.04, 1.16, (-2.02, 1.00, -1.75, 0.45)),
    _van(5.0, 2.05),
    _van(5.9, 2.65),
)

_PAINTS = np.array([
    (232, 232, 230), (178, 176, 172), (62, 58, 56), (44, 38, 164), (140, 74, 34), (98, 104, 108),
    (60, 92, 50), (52, 150, 214), (158, 122, 70), (70, 70, 120), (206, 214, 218),
], float)  # fmt: skip


@dataclass(frozen=True)
class _Vehicle:
    s: float
    d: float
    model: int
    paint: np.ndarray
    oncoming: bool

    reach = 120.0

    @property
    def far(self) -> float:
        return self.s

    def _world(self, canvas: _Canvas, local: np.ndarray) -> np.ndarray:
        turn = math.pi if self.oncoming else 0.0
        return canvas.world.street.place(self.s, self.d, local, turn)

    def _tones(self, canvas: _Canvas) -> dict[str, np.ndarray]:
        light = canvas.world.light
        sky = np.asarray(light.horizon)
        return {
            'plate': np.array([215.0, 225.0, 228.0]),
            'seam': self.paint * 0.55,
            'tail': np.array([70.0, 60.0, 280.0] if light.lamps else [34.0, 26.0, 176.0]),
            'head': np.array([240.0, 262.0, 270.0] if light.lamps else [232.0, 236.0, 236.0]),
            'grille': np.array([34.0, 32.0, 30.0]),
            'trim': self.paint * 0.25 + 24,
            'glass': np.array([52.0, 44.0, 38.0]) + sky * 0.06,
            'sheen': np.array([66.0, 56.0, 48.0]) + sky * 0.16,
            'gloss': self.paint * 0.72 + sky * 0.26,
            'under': np.array([18.0, 18.0, 18.0]),
            'tyre': np.array([36.0, 34.0, 34.0]),
        }

    def draw(self, canvas: _Canvas) -> None:
        model = _MODELS[self.model]
        faces = self._world(canvas, _solid_faces(np.array(model.boxes)))
        seen, lit = _facing(faces, canvas.world, canvas.view.position)
        tones = self._tones(canvas)
        order, colours = [], []
        for i in np.flatnonzero(seen).tolist():
            order.append((i, 0.0, 1.0, 0.0, 1.0))
            colours.append(tones['tyre'] if i < 10 else self.paint * lit[i])
            for patch in model.on(i):
                order.append(patch[:5])
                colours.append(tones[patch[5]] * (0.35 + 0.65 * lit[i]))
        quads = _patches(faces, np.array(order))
        canvas.faces(quads, np.array(colours), VEHICLE)
        for side in (1, 3):
            if seen[10 + side]:
                self._wheels(canvas, model, 1.0 if side == 3 else -1.0)

    def _wheels(self, canvas: _Canvas, model: _Model, sign: float) -> None:
        angle = np.linspace(0, 2 * math.pi, 16, endpoint=False)
        ring = np.stack([np.cos(angle), np.zeros(16), np.sin(angle)], 1)
        half = model.boxes[2][3] + 0.03
        share = np.array([1.18, 1.0, 0.62, 0.5])[:, None, None]
        tones = np.array([[12.0], [38.0], [150.0], [96.0]]).repeat(3, 1)
        for x in model.wheels:
            rings = ring * model.radius * share + [x, sign * half, model.radius]
            rings[..., 2] = np.maximum(rings[..., 2], 0.0)
            canvas.faces(self._world(canvas, rings), tones, VEHICLE)

    def shade(self, canvas: _Canvas) -> None:
        light = canvas.world.light
        boxes = _MODELS[self.model].boxes
        n, w, top = boxes[2][6] + 0.15, 1.02, boxes[-1][4]
        base = np.array([[-n, -w, 0], [n, -w, 0], [n, w, 0], [-n, w, 0]], float)
        foot = self._world(canvas, base)
        shift = -np.array([*light.sun[:2], 0.0]) / light.sun[2] * top * 0.75
        hull = cv2.convexHull(np.concatenate([foot, foot + shift])[:, :2].astype(np.float32))
        cast = np.zeros((len(hull), 3))
        cast[:, :2] = hull[:, 0]
        canvas.dim(cast, 1 - light.shadow)
        canvas.dim(foot, 0.36)


_SKINS = np.array([(150, 180, 222), (120, 155, 205), (84, 116, 168), (58, 80, 118)], float)
_CLOTHES = np.array([
    (58, 52, 160), (140, 92, 40), (62, 62, 66), (70, 130, 180), (190, 190, 196), (70, 110, 60),
    (120, 60, 110), (48, 150, 220), (180, 150, 60), (90, 84, 78),
], float)  # fmt: skip
_TROUSERS = np.array([(92, 62, 40), (52, 48, 46), (96, 118, 134), (70, 72, 76)], float)


_HALF_TURN = np.linspace(math.pi / 2, 3 * math.pi / 2, 6)


def _limbs(table: np.ndarray) -> np.ndarray:
    """Outlines [K, 12, 2] of tapered limbs, rows of (x, y, x, y, radius, radius) of the ends."""
    a, b, ra, rb = table[:, 0:2], table[:, 2:4], table[:, 4, None], table[:, 5, None]
    along = np.arctan2(b[:, 1] - a[:, 1], b[:, 0] - a[:, 0])[:, None] + _HALF_TURN
    round_end = np.stack([np.cos(along), np.sin(along)], 2)
    start = a[:, None] + round_end * ra[..., None]
    stop = b[:, None] - round_end * rb[..., None]
    return np.concatenate([start, stop], 1)


@dataclass(frozen=True)
class _Person:
    s: float
    d: float
    height: float
    stride: float
    aside: float
    coat: bool
    tones: np.ndarray

    reach = 48.0

    @property
    def far(self) -> float:
        return self.s

    def _side(self, sign: float) -> list[tuple[float, ...]]:
        """Lower arm parts then leg parts of one side, as rows for `_limbs`, in body heights."""
        swing = sign * self.stride * (0.04 + 0.10 * self.aside)
        hip = sign * 0.050 * (1 - 0.6 * self.aside)
        x = sign * self.shoulder
        elbow, hand = x + sign * 0.012 - swing * 0.35, x + sign * 0.008 - swing * 1.1
        knee, foot = hip + swing * 0.6, hip + swing
        toe = foot + 0.045 * self.aside + sign * 0.012
        return [
            (hand, 0.465, hand, 0.46, 0.024, 0.022),
            (elbow, 0.63, hand, 0.48, 0.030, 0.024),
            (x, 0.795, elbow, 0.63, 0.037, 0.032),
            (foot, 0.030, toe, 0.020, 0.030, 0.022),
            (knee, 0.27, foot, 0.050, 0.042, 0.029),
            (hip, 0.50, knee, 0.27, 0.064, 0.044),
        ]

    @property
    def shoulder(self) -> float:
        return 0.115 - 0.035 * self.aside

    def _torso(self) -> np.ndarray:
        hem, flare = (0.37, 0.098) if self.coat else (0.47, 0.088)
        w = self.shoulder
        half = np.array([[0.35 * w, 0.852], [0.88 * w, 0.832], [1.06 * w, 0.79],
                         [0.98 * w, 0.62], [flare, 0.5 * hem + 0.25], [flare, hem]])  # fmt: skip
        return np.concatenate([half, half[::-1] * [-1, 1]])

    def parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Outlines [K, 12, 2] (right, up) in body heights, far to near, and colours [K, 3]."""
        skin, top, legs, hair = self.tones
        shoe = np.array([34.0, 36.0, 42.0])
        rows = self._side(-1.0) + self._side(1.0)[3:] + self._side(1.0)[:3]
        rows += [
            (0, 0.83, 0, 0.88, 0.030, 0.030),
            (0, 0.952, 0, 0.946, 0.055, 0.053),
            (0, 0.902, 0, 0.932, 0.045, 0.050),
        ]
        outlines = np.insert(_limbs(np.array(rows, float)), 9, self._torso(), 0)
        arm, leg = np.array([skin, top * 0.88, top * 0.88]), np.array([shoe, legs, legs])
        head = np.array([skin * 0.82, hair, skin])
        return outlines, np.concatenate([arm * 0.85, leg * 0.82, leg, top[None], arm, head])

    def draw(self, canvas: _Canvas) -> None:
        view, light = canvas.view, canvas.world.light
        foot = canvas.world.street.foot(self.s, self.d)
        right, down, depth = view.camera(foot)
        if depth < 1.5:
            return
        scale = view.focal / depth
        base = np.array([right, down]) * scale + view.centre
        span = scale * self.height * np.array([1.0, -1.0])
        outlines, colours = self.parts()
        tones = canvas.hazed(colours * (light.ambient + (1 - light.ambient) * 0.8), depth)
        for fixed, tone in zip(_fixed(base + outlines * span), tones, strict=True):
            canvas.convex(fixed, tone, PERSON)

    def shade(self, canvas: _Canvas) -> None:
        light = canvas.world.light
        foot = canvas.world.street.foot(self.s, self.d)
        reach = -np.array(light.sun[:2]) / light.sun[2] * self.height
        across = np.array([-reach[1], reach[0]]) / (np.linalg.norm(reach) + 1e-9) * 0.16
        quad = np.zeros((4, 3))
        quad[:, :2] = foot[:2] + np.array([across, -across, reach - across, reach + across])
        canvas.dim(quad, 1 - light.shadow)
        angle = np.linspace(0, 2 * math.pi, 10, endpoint=False)
        spot = np.stack([0.3 * np.cos(angle), 0.22 * np.sin(angle), 0 * angle], 1)
        canvas.dim(spot + foot, 0.55)


_Thing = _Building | _Plant | _Vehicle | _Person

_WALLS = np.array([
    (150, 178, 206), (120, 140, 176), (92, 104, 152), (196, 206, 214), (168, 172, 176),
    (140, 158, 168), (176, 190, 190), (104, 130, 188), (210, 204, 196),
], float)  # fmt: skip
_ROOFS = np.array([(62, 72, 132), (74, 70, 68), (56, 60, 84), (96, 92, 90)], float)


@lru_cache(maxsize=64)
def _world(seed: int) -> _World:
    rng = np.random.default_rng([seed, 1])
    light = _LIGHTS[int(rng.choice(3, p=[0.55, 0.25, 0.20]))]
    azimuth, rise = rng.uniform(0, 2 * math.pi), rng.uniform(0.65, 1.05)
    sun = (math.cos(rise) * math.cos(azimuth), math.cos(rise) * math.sin(azimuth), math.sin(rise))
    gain = light.gain * rng.uniform(0.92, 1.06)
    light = replace(light, sun=sun, gain=gain, cover=light.cover * rng.uniform(0.7, 1.2))
    lanes = int(rng.choice([1, 2], p=[0.7, 0.3]))
    left, right = rng.choice([0.5, 0.9, 2.5], 2, p=[0.35, 0.25, 0.4])
    street = _Street(
        lanes, rng.uniform(3.2, 3.6), left, right,
        rng.choice([0.0, 1.0, 1.0]) * rng.uniform(3, 12), rng.uniform(240, 420),
        rng.uniform(0, 2 * math.pi), rng.uniform(2.5, 4.0), bool(rng.random() < 0.25),
    )  # fmt: skip
    lens = _Lens(
        rng.uniform(0.74, 0.88), math.radians(rng.uniform(-1.0, 3.6)), rng.uniform(1.35, 1.75),
        lanes - 1, rng.uniform(0.3, 0.8), rng.uniform(0.03, 0.12),
    )  # fmt: skip
    grass = np.array([52.0, 118.0, 96.0]) * rng.uniform(0.85, 1.1) + rng.uniform(-9, 9, 3)
    asphalt = np.full(3, rng.uniform(84, 122)) + rng.uniform(-4, 4, 3)
    return _World(seed, light, street, lens, grass, asphalt)


def _view(world: _World, distance: float, height: int, width: int) -> _View:
    street, lens = world.street, world.lens
    yaw, pitch = street.heading(distance), lens.pitch
    forward = np.array([
        math.cos(yaw) * math.cos(pitch), math.sin(yaw) * math.cos(pitch), -math.sin(pitch),
    ])  # fmt: skip
    right = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
    rotation = np.stack([right, np.cross(forward, right), forward])
    lane = -(lens.lane + 0.5) * street.lane_width
    position = np.array([distance, street.centre(distance) + lane, lens.elevation])
    focal = np.array([lens.focal * width, lens.focal * height * 16 / 9])
    return _View(height, width, focal, position, rotation)


def _buildings(world: _World, rng: np.random.Generator, start: float) -> Iterator[_Thing]:
    for sign in (1.0, -1.0):
        length, depth = rng.uniform(11, 20), rng.uniform(9, 14)
        height = rng.choice([3.2, 6.4, 9.6, 12.8], p=[0.15, 0.4, 0.3, 0.15]) + rng.uniform(0, 0.8)
        pitch = rng.uniform(1.6, 3.0) if height < 10 and rng.random() < 0.75 else 0.0
        back = world.street.side(sign) + rng.uniform(5.5, 11)
        wall, roof = _WALLS[rng.integers(len(_WALLS))], _ROOFS[rng.integers(len(_ROOFS))]
        trim = np.clip(wall * rng.choice([0.6, 1.25]) + rng.uniform(-8, 8, 3), 0, 245)
        key = int(rng.integers(1 << 31))
        s = start + length / 2 + rng.uniform(0, _BLOCK - length)
        if rng.random() < 0.82:
            yield _Building(s, sign * (back + depth / 2), length, depth, height, pitch,
                            wall * rng.uniform(0.85, 1.08), roof, trim,
                            bool(wall[2] > 1.35 * wall[0]), key)  # fmt: skip


def _plants(world: _World, rng: np.random.Generator, start: float) -> Iterator[_Thing]:
    base = np.array([44.0, 112.0, 78.0])
    for sign in (1.0, -1.0):
        side = world.street.side(sign)
        for _ in range(int(rng.integers(1, 3))):
            tall = rng.uniform(4.5, 8.5)
            tint = base * rng.uniform(0.75, 1.15) + rng.uniform(-12, 22, 3) * [0.5, 0.8, 1.0]
            yield _Plant(start + rng.uniform(0, _BLOCK), sign * (side + rng.uniform(3.2, 6.5)),
                         tall * rng.uniform(0.55, 0.8), tall, tall * rng.uniform(0.24, 0.36),
                         int(rng.integers(6)), tint)  # fmt: skip
        if rng.random() < 0.5:
            yield from _hedge(rng, start, sign * (side + rng.uniform(2.6, 5.0)), base)


def _hedge(rng: np.random.Generator, start: float, d: float, base: np.ndarray) -> Iterator[_Thing]:
    height = rng.uniform(0.9, 1.7)
    tint = base * rng.uniform(0.7, 1.0)
    s, stop = start + rng.uniform(0, 8), start + rng.uniform(10, _BLOCK)
    while s < stop:
        size = rng.uniform(0.85, 1.15)
        yield _Plant(s, d + rng.uniform(-0.2, 0.2), 2.4 * size, height * size, 0.0,
                     int(rng.integers(6, 9)), tint * rng.uniform(0.9, 1.1))  # fmt: skip
        s += 1.5


def _persons(
    world: _World, rng: np.random.Generator, start: float, distance: float
) -> Iterator[_Thing]:
    for sign, gap in ((-1.0, 7.0), (1.0, 9.5)):
        gap -= 1.2 * (world.street.side(sign) - world.street.edge)
        s = start + rng.uniform(0, 2)
        while s < start + _BLOCK:
            for k in range(int(rng.choice([1, 2, 3], p=[0.55, 0.35, 0.10]))):
                yield _walker(world, rng, s + rng.uniform(-0.4, 0.4), sign, 0.75 * k, distance)
            s += rng.uniform(0.75, 1.25) * gap


def _walker(
    world: _World, rng: np.random.Generator, s: float, sign: float, beside: float, distance: float
) -> _Person:
    pick = [t[rng.integers(len(t))] for t in (_SKINS, _CLOTHES, _TROUSERS)]
    hair = np.array([30.0, 38.0, 50.0]) * rng.uniform(0.5, 2.6)
    tones = np.array([*pick, hair]) * rng.uniform(0.9, 1.1)
    pace = rng.choice([-0.1, 0.0, 0.1])
    phase = rng.uniform(0, 2 * math.pi)
    stride = math.sin(phase + 5.0 * pace * distance) if pace else 0.25
    d = sign * (world.street.side(sign) + rng.uniform(0.2, 1.5) + beside)
    height = rng.uniform(1.55, 1.92)
    aside, coat = rng.uniform(0.0, 1.0), bool(rng.random() < 0.35)
    return _Person(s + pace * (distance - s), d, height, stride, aside, coat, tones)


def _parked(world: _World, rng: np.random.Generator, start: float) -> Iterator[_Thing]:
    for sign in (1.0, -1.0):
        street = world.street
        for slot in range(3):
            s = start + 8.0 * slot + rng.uniform(3.2, 4.8)
            model, paint = int(rng.choice(5, p=[0.32, 0.28, 0.24, 0.12, 0.04])), _paint(rng)
            if rng.random() < 0.34 and street.side(sign) - street.edge > 2:
                d = sign * (street.edge + 1.35)
                yield _Vehicle(s, d, model, paint, sign > 0)


def _oncoming(
    world: _World, rng: np.random.Generator, start: float, distance: float
) -> Iterator[_Thing]:
    street = world.street
    for lane in range(street.lanes):
        s, model, paint = start + rng.uniform(4, 20), int(rng.integers(5)), _paint(rng)
        if rng.random() < 0.5:
            d = (lane + 0.5) * street.lane_width + rng.uniform(-0.2, 0.2)
            yield _Vehicle(s - 0.6 * (distance - s), d, model, paint, True)


def _leading(world: _World, distance: float) -> Iterator[_Thing]:
    """Traffic that keeps pace with the camera in the lanes of its own direction."""
    rng = np.random.default_rng([world.seed, 2])
    width = world.street.lane_width
    for lane in range(world.street.lanes):
        own = lane == world.lens.lane
        gap = rng.uniform(10, 24) if own else rng.uniform(9, 40)
        swing, rate, phase = rng.uniform(0.5, 2.0), rng.uniform(0.02, 0.05), rng.uniform(0, 6)
        model, paint = int(rng.choice(5, p=[0.3, 0.3, 0.25, 0.1, 0.05])), _paint(rng)
        s = distance + gap + swing * math.sin(rate * distance + phase)
        d = -(lane + 0.5) * width + rng.uniform(-0.25, 0.25)
        yield _Vehicle(s, d, model, paint, False)


def _paint(rng: np.random.Generator) -> np.ndarray:
    return _PAINTS[rng.integers(len(_PAINTS))] * rng.uniform(0.85, 1.05)


def _things(world: _World, distance: float) -> list[_Thing]:
    """Everything that stands on the ground near the view, far to near."""
    first = math.floor((distance - 16) / _BLOCK)
    found = list(_leading(world, distance))
    for block in range(first, math.floor((distance + _RANGE) / _BLOCK) + 1):
        start, near = block * _BLOCK, block * _BLOCK < distance + 70
        rng = np.random.default_rng([world.seed, 3, block + (1 << 30)])
        found += _buildings(world, rng, start)
        found += _plants(world, rng, start)
        found += _parked(world, rng, start) if near else ()
        found += _oncoming(world, rng, start, distance) if near else ()
        found += _persons(world, rng, start, distance) if start < distance + 54 else ()
    ahead = [t for t in found if distance + 1.0 < t.far < distance + t.reach]
    return sorted(ahead, key=lambda t: -t.far)


def _warp(canvas: _Canvas, tile: np.ndarray, z: float, scale: float, rows: slice) -> np.ndarray:
    """Noise lying on the plane at height z, uint8, for the given rows of the picture."""
    matrix = canvas.view.plane(z, scale, rows.start)
    size = (canvas.view.width, rows.stop - rows.start)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpPerspective(tile, matrix, size, flags=flags, borderMode=cv2.BORDER_WRAP)


def _paint_sky(canvas: _Canvas, horizon: int) -> None:
    light, view = canvas.world.light, canvas.view
    rng = np.random.default_rng([canvas.world.seed, 4])
    height, width = max(horizon // 4, 2), max(view.width // 4, 2)
    t = np.linspace(1, 0, height)[:, None, None] ** 1.3
    sky = np.asarray(light.horizon) * (1 - t) + np.asarray(light.zenith) * t
    small = replace(view, height=view.height // 4, width=width, focal=view.focal / 4)
    matrix = small.plane(900.0, 0.16)
    x, y = rng.uniform(0, _TILE, 2)
    matrix = np.array([[1, 0, x], [0, 1, y], [0, 0, 1]]) @ matrix
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    noise = cv2.warpPerspective(_tiles(3.0, 1), matrix, (width, height), flags=flags,
                                borderMode=cv2.BORDER_WRAP)  # fmt: skip
    edge = 128 + 42 * (1.0 - 2.2 * light.cover)
    cloud = np.clip((noise.astype(np.float32) - edge) / 95, 0, 1)[..., None]
    cloud = cloud * np.clip(np.linspace(2.0, 0.0, height)[:, None, None], 0, 1)
    sky = sky + (np.asarray(light.cloud) - sky) * cloud
    size = (view.width, max(horizon, 1))
    canvas.image[:horizon] = cv2.resize(sky, size, interpolation=cv2.INTER_LINEAR)[:horizon]
    canvas.labels[:horizon] = SKY


def _paint_hills(canvas: _Canvas) -> None:
    """Wooded skylines at the horizon, which turn with the camera but never come nearer."""
    view, world = canvas.view, canvas.world
    rng = np.random.default_rng([world.seed, 5])
    yaw = math.atan2(view.rotation[2, 1], view.rotation[2, 0])
    u = np.linspace(-2, view.width + 2, 161)
    bearing = yaw - np.arctan((u - view.centre[0]) / view.focal[0])
    for rise, rough, colour, depth in (
        (0.055, 3, np.array([96.0, 108.0, 78.0]), 420.0),
        (0.028, 9, np.array([52.0, 92.0, 64.0]), 210.0),
    ):
        k = np.arange(1, 7) * rough
        wave = np.sin(bearing[:, None] * k + rng.uniform(0, 6.28, 6)) / np.arange(1, 7) ** 0.7
        top = view.horizon - view.focal[1] * rise * np.clip(0.8 + 0.35 * wave.sum(1), 0.25, 2)
        ring = np.stack([u, top], 1)
        foot = view.horizon + 0.012 * view.height
        ring = np.concatenate([ring, [[view.width + 2, foot], [-2, foot]]])
        tone = canvas.hazed(colour * world.light.ambient, depth)
        cv2.fillPoly(canvas.image, [_fixed(ring)], tone, cv2.LINE_AA, _SHIFT)
        cv2.fillPoly(canvas.labels, [_fixed(ring)], VEGETATION, cv2.LINE_8, _SHIFT)


def _reach(canvas: _Canvas) -> np.ndarray:
    """Street positions from under the camera to the end of sight, denser where nearer."""
    return canvas.view.position[0] + np.geomspace(0.6, 420, 44)


def _paint_road(canvas: _Canvas) -> None:
    world, street = canvas.world, canvas.world.street
    s = _reach(canvas)
    left, right = street.side(1), -street.side(-1)
    canvas.ribbon(s, left + 0.22, right - 0.22, world.asphalt * 1.28 + 12, ROAD)
    canvas.ribbon(s, left, right, world.asphalt * 0.93, ROAD)
    canvas.ribbon(s, street.edge, -street.edge, world.asphalt, ROAD)
    start = canvas.view.position[0]
    for block in range(math.floor(start / _BLOCK), math.floor((start + 72) / _BLOCK) + 1):
        rng = np.random.default_rng([world.seed, 6, block + (1 << 30)])
        if rng.random() < 0.5:
            a = block * _BLOCK + rng.uniform(0, 14)
            d = rng.uniform(-street.edge + 1.5, street.edge - 0.3)
            patch = np.linspace(max(a, start + 0.6), max(a + rng.uniform(2, 9), start + 0.7), 6)
            canvas.ribbon(patch, d, d - rng.uniform(0.8, 1.4), world.asphalt * 0.84, ROAD)


def _paint_markings(canvas: _Canvas) -> None:
    street = canvas.world.street
    white, amber = np.array([226.0, 230.0, 230.0]), np.array([70.0, 190.0, 232.0])
    s = _reach(canvas)
    for d in (street.edge - 0.25, 0.25 - street.edge):
        canvas.ribbon(s, d + 0.08, d - 0.08, white, MARKING)
    for lane in range(1 - street.lanes, street.lanes):
        tone = amber if street.yellow and lane == 0 else white
        d = lane * street.lane_width
        if lane == 0 and street.lanes > 1:
            for offset in (0.14, -0.14):
                canvas.ribbon(s, d + offset + 0.07, d + offset - 0.07, tone, MARKING)
        else:
            _paint_dashes(canvas, d, tone)
    _paint_crossings(canvas, white)


def _paint_dashes(canvas: _Canvas, d: float, tone: np.ndarray) -> None:
    dash, start = canvas.world.street.dash, canvas.view.position[0]
    period = 2.3 * dash
    for k in range(math.floor(start / period), math.floor((start + 130) / period) + 1):
        a, b = max(k * period, start + 0.6), k * period + dash
        if b > a:
            canvas.ribbon(np.linspace(a, b, 3), d + 0.08, d - 0.08, tone, MARKING)


def _paint_crossings(canvas: _Canvas, tone: np.ndarray) -> None:
    street, start = canvas.world.street, canvas.view.position[0]
    for block in range(math.floor((start - 5) / _BLOCK), math.floor((start + 80) / _BLOCK) + 1):
        rng = np.random.default_rng([canvas.world.seed, 7, block + (1 << 30)])
        a = block * _BLOCK + rng.uniform(2, 18)
        if rng.random() > 0.2 or a + 3 < start + 0.7:
            continue
        s = np.linspace(max(a, start + 0.6), a + 3.0, 3)
        for d in np.arange(0.9 - street.edge, street.edge - 0.9, 1.0):
            canvas.ribbon(s, d + 0.5, d, tone, MARKING)


def _ground_light(canvas: _Canvas, rows: slice) -> np.ndarray:
    """Gain of the ground, float32 [R, W]: cast shadows times the texture of each surface."""
    view = canvas.view
    v = np.arange(rows.start, rows.stop)
    slope = np.maximum((v - view.horizon) / view.focal[1], 1e-4)
    stretch = view.position[2] / slope**2 / view.focal[1]
    weight = [np.clip(size / stretch, 0, 1)[:, None].astype(np.float32) for size in (0.10, 1.2)]
    fine = _warp(canvas, _tiles(0.9, 2), 0.0, 42.0, rows).astype(np.float32) - 128
    broad = _warp(canvas, _tiles(2.4, 3), 0.0, 6.0, rows).astype(np.float32) - 128
    labels = canvas.labels[rows]
    amount = np.full(256, 10, np.uint8)
    amount[VEGETATION] = 34
    depth = cv2.LUT(labels, amount).astype(np.float32) / (42 * 128)
    texture = (fine * weight[0] + broad * weight[1]) * depth
    shade = cv2.blur(canvas.shade[rows], (5, 5)).astype(np.float32) / 255
    return (1 + texture) * shade


def _paint_ground(canvas: _Canvas, horizon: int, things: Sequence[_Thing]) -> None:
    view, world = canvas.view, canvas.world
    corner = (view.width, view.height)
    cv2.rectangle(canvas.image, (0, horizon), corner, world.grass.tolist(), cv2.FILLED)
    canvas.labels[horizon:] = VEGETATION
    _paint_road(canvas)
    _paint_markings(canvas)
    for thing in things:
        if thing.far < view.position[0] + 80:
            thing.shade(canvas)
    rows = slice(min(horizon, view.height - 1), view.height)
    gain = cv2.merge([_ground_light(canvas, rows)] * 3)
    lit = cv2.multiply(canvas.image[rows], gain, dtype=cv2.CV_8U)
    slope = np.maximum((np.arange(rows.start, rows.stop) - view.horizon) / view.focal[1], 1e-4)
    veil = (1 - np.exp(-view.position[2] / slope / _AIR))[:, None, None]
    hazy = slice(0, int(np.searchsorted(-veil[:, 0, 0], -0.03)))
    fog = np.asarray(world.light.horizon) * 0.94 * veil[hazy]
    lit[hazy] = lit[hazy] * (1 - veil[hazy]) + fog
    canvas.image[rows] = lit


def _finish(canvas: _Canvas, distance: float) -> np.ndarray:
    """The picture after lens and sensor: tone, vignette, blur, surface and sensor noise."""
    world, (height, width) = canvas.world, canvas.labels.shape
    light = world.light
    x = np.linspace(0, 1, 256)[:, None] * light.gain * np.asarray(light.cast)
    curve = np.clip(255 * x**1.04, 0, 255).astype(np.uint8)[:, None]
    image = cv2.LUT(canvas.image, curve)
    image = cv2.multiply(image, _vignette(height, width), scale=1 / 255)
    sigma = world.lens.blur * height / 720
    if sigma > 0.25:
        image = cv2.GaussianBlur(image, (3, 3), sigma)
    rng = np.random.default_rng([world.seed, 8, abs(round(distance * 1000))])
    y, x0 = rng.integers(0, 64, 2)
    grain = _grain(height, width)[y : y + height, x0 : x0 + width]
    amount = world.lens.noise
    return cv2.addWeighted(image, 1.0, grain, amount, -128 * amount)


def render(seed: int, height: int = 720, width: int = 1280, distance: float = 0.0) -> Scene:
    """Render one frame of the endless street that belongs to a seed.

    The camera is a pinhole without roll, about 1.5 m above its lane, its optical axes x right,
    y down and z forward while the world's are REP-103's x forward, y left and z up. `distance`
    in metres moves it along the street of the same seed; oncoming traffic and walkers move
    with it. Height and width in pixels, at least 64 each, only scale the view of a 16:9 frame.
    The same arguments always give the same scene.
    """
    if seed < 0 or min(height, width) < _MIN_SIDE:
        raise ValueError(f'need seed >= 0 and sides >= {_MIN_SIDE}: {seed}, {height}x{width}')
    world = _world(seed)
    view = _view(world, distance, height, width)
    canvas = _Canvas(world, view)
    horizon = int(np.clip(math.ceil(view.horizon), 1, height - 1))
    things = _things(world, distance)
    _paint_sky(canvas, horizon)
    _paint_ground(canvas, horizon, things)
    _paint_hills(canvas)
    for thing in things:
        thing.draw(canvas)
    return Scene(_finish(canvas, distance), canvas.labels)
