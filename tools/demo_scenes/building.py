# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Buildings: a block with windows under a hipped or a flat roof."""

from dataclasses import dataclass

import cv2
import numpy as np

from demo_scenes.camera import SHIFT, fixed
from demo_scenes.canvas import Canvas
from demo_scenes.classes import BUILDING
from demo_scenes.solids import Prism, face, facing, patches, prism_faces
from demo_scenes.textures import warped_wall
from demo_scenes.thing import Thing
from demo_scenes.world import Light

_WALLS, _ROOF = 0, 1
_EAVES = 0.35
"""Metres by which the roof overhangs the walls."""

_STOREY, _BAY = 3.1, 2.6
"""Height of a storey and width of a window's share of the wall, in metres."""

_COAT_DEPTH = (1.0, 70.0)
"""Metres ahead between which the wall's nearest point shows brick or plaster."""

_LEDGE_DEPTH, _FRAME_DEPTH = 120.0, 80.0
"""Metres up to which ledges and window frames are drawn."""

Cells = np.ndarray
"""Rectangles on a wall, float64 [N, 4], rows (u0, u1, v0, v1) in 0..1."""


@dataclass(frozen=True)
class Building(Thing):
    """A building; s and d are its middle.

    Attributes:
        length, depth: along and across the street in metres.
        height: of the walls in metres.
        pitch: height of a hipped roof in metres, 0 for a flat one.
        wall, roof, trim: colours, float64 [3]; trim is that of frames and eaves.
        brick: brick or plaster.
        key: decides which windows are lit.
    """

    length: float
    depth: float
    height: float
    pitch: float
    wall: np.ndarray
    roof: np.ndarray
    trim: np.ndarray
    brick: bool
    key: int

    @property
    def far(self) -> float:
        return self.s + self.length / 2

    def draw(self, canvas: Canvas) -> None:
        faces = canvas.world.street.place(self.s, self.d, prism_faces(self._prisms()))
        eaves = faces[face(_ROOF, 0) : face(_ROOF, 4), 0]
        if not canvas.view.sees(eaves):
            return
        seen, lit = facing(faces, canvas.world.light, canvas.view)
        canvas.faces(eaves[None], self.trim[None] * 0.6, BUILDING)
        for side in np.flatnonzero(seen[:4]).tolist():
            self._draw_wall(canvas, faces[side], side, float(lit[side]))
        shown = face(_ROOF, 0) + np.flatnonzero(seen[face(_ROOF, 0) :])
        canvas.faces(faces[shown], self.roof * lit[shown, None], BUILDING)

    def _prisms(self) -> tuple[Prism, Prism]:
        half, deep = self.length / 2, self.depth / 2
        walls = Prism(0, -half, half, deep, self.height, -half, half, deep)
        top = self.height + 0.3 + self.pitch
        inset, ridge = self.pitch - _EAVES, 0.1 if self.pitch else deep + _EAVES
        roof = Prism(self.height, -half - _EAVES, half + _EAVES, deep + _EAVES,
                     top, inset - half, half - inset, ridge)
        return walls, roof

    def _draw_wall(self, canvas: Canvas, wall: np.ndarray, side: int, lit: float) -> None:
        """Paint a wall [4, 3] with all that is on it."""
        canvas.faces(wall[None], self.wall[None] * lit, BUILDING)
        span = self.length if side % 2 else self.depth
        self._draw_coat(canvas, wall, span)
        depth = canvas.view.depth(wall.mean(0))
        storeys, bays = max(1, int(self.height / _STOREY)), max(1, int(span / _BAY))
        panes = _panes(storeys, bays)
        groups = []
        if depth < _LEDGE_DEPTH:
            groups.append((_ledges(storeys, self.height), self.wall * lit * 0.76))
        if depth < _FRAME_DEPTH:
            frame = [-0.07 / bays, 0.07 / bays, -0.06 / storeys, 0.06 / storeys]
            groups.append((panes + frame, self.trim * lit))
        tone = np.random.default_rng([self.key, side]).random(len(panes))
        groups += _glass(canvas.world.light, panes, tone)
        _fill(canvas, wall, groups, depth)

    def _draw_coat(self, canvas: Canvas, wall: np.ndarray, span: float) -> None:
        """Lay brick or plaster on a wall [4, 3] that is wholly ahead and large enough."""
        optical = canvas.view.to_optical(wall)
        near = optical[:, 2].min()
        if not _COAT_DEPTH[0] <= near <= _COAT_DEPTH[1]:
            return
        quad = canvas.view.to_pixels(optical)
        limit = [canvas.view.width, canvas.view.height]
        x0, y0 = np.clip(np.floor(quad.min(0)), 0, limit).astype(int)
        x1, y1 = np.clip(np.ceil(quad.max(0)) + 1, 0, limit).astype(int)
        if min(x1 - x0, y1 - y0) < 12:
            return
        corners = (quad - [x0, y0]).astype(np.float32)
        size = (int(x1 - x0), int(y1 - y0))
        fine = canvas.view.focal[1] / near
        relief = warped_wall(self.brick, (span, self.height), corners, fine, size)
        mask = np.zeros(size[::-1], np.uint8)
        cv2.fillConvexPoly(mask, fixed(corners), 255, cv2.LINE_8, SHIFT)
        region = canvas.image[y0:y1, x0:x1]
        cv2.copyTo(cv2.multiply(region, cv2.merge([relief] * 3), scale=1 / 128), mask, region)

    def cast_shadow(self, canvas: Canvas) -> None:
        """Buildings stand too far back to shade the street."""


def _ledges(storeys: int, height: float) -> Cells:
    """Return a ledge under each storey of a wall, the lowest a plinth."""
    v = np.arange(storeys) / storeys
    cells = np.stack([np.zeros(storeys), np.ones(storeys), v, v + 0.12 / height], 1)
    cells[0, 3] = 0.6 / height
    return cells


def _panes(storeys: int, bays: int) -> Cells:
    """Return the windows of a wall."""
    i, j = np.meshgrid(np.arange(bays), np.arange(storeys))
    u, v = (i.ravel() + 0.26) / bays, (j.ravel() + 0.30) / storeys
    return np.stack([u, u + 0.48 / bays, v, v + 0.5 / storeys], 1)


def _glass(light: Light, panes: Cells, tone: np.ndarray) -> list[tuple[Cells, np.ndarray]]:
    """Sort windows by tone 0..1 [N] into lit, dark and mirroring ones, with their colours."""
    lamps = 0.42 if light.lamps else 0.03
    dark = 0.6 + lamps / 3
    sky, glass = np.asarray(light.horizon), np.array([70.0, 58.0, 48.0])
    return [
        (panes[tone < lamps], np.array([120.0, 205.0, 250.0])),
        (panes[(tone >= lamps) & (tone < dark)], glass * 0.9 + sky * 0.08),
        (panes[tone >= dark], glass + sky * 0.22),
    ]


def _fill(canvas: Canvas, wall: np.ndarray, groups: list[tuple[Cells, np.ndarray]],
          depth: float) -> None:
    """Fill groups of rectangles of a wall [4, 3], each group in its colour."""
    cells = np.concatenate([cells for cells, _ in groups])
    tones = canvas.hazed(np.clip([tone for _, tone in groups], 0, 255), depth)
    quads = patches(wall[None], np.insert(cells, 0, 0, axis=1))
    outlines, ahead = canvas.view.whole_outlines(quads)
    stop = np.cumsum([len(cells) for cells, _ in groups])
    for start, end, tone in zip([0, *stop[:-1]], stop, tones, strict=True):
        shown = outlines[start:end][ahead[start:end]]
        if len(shown):
            cv2.fillPoly(canvas.image, list(shown), tone, cv2.LINE_AA, SHIFT)
