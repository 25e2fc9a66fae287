# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The brushes: they paint picture and labels together, from far to near."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from demo_scenes.camera import SHIFT, View
from demo_scenes.world import World

AIR = 420.0
"""Metres of air after which 1/e of a colour is left."""

_VEIL = 0.94
"""Brightness of the air's own light as a share of the sky's at the horizon."""


_GROUND = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
_NEAREST, _FARTHEST_GROUND = 0.3, 1000.0
"""Limits of depth in metres."""


class Canvas:
    """One frame while it is painted.

    Attributes:
        world, view: what is painted and where from.
        image: uint8 [H, W, 3], the picture before lens and sensor.
        labels: uint8 [H, W], a class id in every pixel.
        shade: uint8 [H, W], share of light that reaches the ground, 255 for all of it.
        depth: float32 [H, W], metres ahead of the camera, 0 for the sky and the hills; None if
            it is not painted.
    """

    def __init__(self, world: World, view: View, with_depth: bool = False) -> None:
        self.world, self.view = world, view
        self.image = np.empty((view.height, view.width, 3), np.uint8)
        self.labels = np.empty((view.height, view.width), np.uint8)
        self.shade = np.full((view.height, view.width), 255, np.uint8)
        self.depth = np.zeros((view.height, view.width), np.float32) if with_depth else None

    @property
    def air(self) -> np.ndarray:
        """float64 [3], colour of endlessly deep air."""
        return np.asarray(self.world.light.horizon) * _VEIL

    def hazed(self, colours: np.ndarray, depth: float) -> list:
        """Return colours [..., 3] as seen through metres of air, as nested lists."""
        veil = 1 - math.exp(-max(depth, 0.0) / AIR)
        glow = np.multiply(self.world.light.horizon, _VEIL * veil)
        return (colours * (1 - veil) + glow).tolist()

    def convex(self, outline: np.ndarray, colour: Sequence[float], label: int,
               depth: float) -> None:
        """Fill a convex polygon of fixed-point pixels int32 [N, 2], all at one depth in metres."""
        self._fill_convex(outline, colour, label)
        if self.depth is not None:
            cv2.fillConvexPoly(self.depth, outline, depth, cv2.LINE_8, SHIFT)

    def polygon(self, outline: np.ndarray, colour: Sequence[float], label: int,
                depth: float | None = None) -> None:
        """Fill any polygon of fixed-point pixels int32 [N, 2]; without a depth, it lies on what
        is painted already."""
        cv2.fillPoly(self.image, [outline], colour, cv2.LINE_AA, SHIFT)
        cv2.fillPoly(self.labels, [outline], label, cv2.LINE_8, SHIFT)
        if self.depth is not None and depth is not None:
            cv2.fillPoly(self.depth, [outline], depth, cv2.LINE_8, SHIFT)

    def faces(self, faces: np.ndarray, colours: np.ndarray, label: int) -> None:
        """Fill convex world polygons [F, N, 3] of one thing, colours [F, 3], in their order."""
        if len(faces):
            tones = self.hazed(np.clip(colours, 0, 255), self.view.depth(faces[0].mean(0)))
            for face, outline, tone in zip(faces, self.view.outlines(faces), tones, strict=True):
                if outline is not None:
                    self._fill_convex(outline, tone, label)
                    self._fill_plane(outline, face)

    def ribbon(self, s: np.ndarray, left: float, right: float, colour: np.ndarray,
               label: int) -> None:
        """Fill the ground between two offsets along the street; its haze is laid on later."""
        street = self.world.street
        border = np.concatenate([street.ground(s, left), street.ground(s[::-1], right)])
        outline = self.view.outline(border)
        if outline is not None:
            self.polygon(outline, colour.tolist(), label)

    def dim(self, points: np.ndarray, share: float) -> None:
        """Shade a convex piece of ground [N, 3] to a share 0..1 of its light."""
        outline = self.view.outline(points)
        if outline is not None:
            cv2.fillConvexPoly(self.shade, outline, round(255 * share), cv2.LINE_8, SHIFT)

    def ground_depth(self) -> None:
        """Write the depth of the ground, a level plane, below the horizon."""
        if self.depth is not None:
            rows = self.view.ground_rows
            inverse = self._inverse_depth(_GROUND, slice(0, self.view.width), rows)
            self.depth[rows] = 1 / np.maximum(inverse, 1 / _FARTHEST_GROUND)

    def _fill_convex(self, outline: np.ndarray, colour: Sequence[float], label: int) -> None:
        cv2.fillConvexPoly(self.image, outline, colour, cv2.LINE_AA, SHIFT)
        cv2.fillConvexPoly(self.labels, outline, label, cv2.LINE_8, SHIFT)

    def _fill_plane(self, outline: np.ndarray, face: np.ndarray) -> None:
        """Write the depth of a flat world polygon [N, 3] inside its outline."""
        if self.depth is None:
            return
        low = np.maximum(outline.min(0) >> SHIFT, 0)
        high = np.minimum((outline.max(0) >> SHIFT) + 2, (self.view.width, self.view.height))
        if (low >= high).any():
            return
        columns, rows = (slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))
        inside = np.zeros((high - low)[::-1], np.uint8)
        cv2.fillConvexPoly(inside, outline - (low << SHIFT), 1, cv2.LINE_8, SHIFT)
        corners = np.maximum(self.view.to_optical(face)[:, 2], _NEAREST)
        inverse = np.clip(self._inverse_depth(face, columns, rows), 1 / corners.max(),
                          1 / corners.min())
        np.copyto(self.depth[rows, columns], 1 / inverse, 'same_kind', inside > 0)

    def _inverse_depth(self, face: np.ndarray, columns: slice, rows: slice) -> np.ndarray:
        """Return 1 / depth of the plane of a world polygon in some pixels, float64 [R, C]."""
        x, y, constant = self.view.inverse_depth(face)
        return (np.arange(columns.start, columns.stop) * x + constant
                + np.arange(rows.start, rows.stop)[:, None] * y)
