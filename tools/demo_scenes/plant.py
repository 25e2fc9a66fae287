# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Trees and bushes: flat cut-outs that turn to the camera."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from demo_scenes.camera import fixed
from demo_scenes.canvas import Canvas
from demo_scenes.classes import VEGETATION
from demo_scenes.textures import FOLIAGE_SIZE, warped_foliage
from demo_scenes.thing import Thing

_NEAREST = 1.5
"""Metres ahead from which on plants are drawn."""

_BARK = np.array([52.0, 66.0, 84.0])

_TONES = np.stack([np.interp(np.arange(256), [20, 128, 235], row) for row in np.eye(3)], 1)
"""float64 [256, 3], share of the dark, the middle and the light tone for each brightness."""


@dataclass(frozen=True)
class Plant(Thing):
    """A tree, or a bush.

    Attributes:
        width, height: of all of it in metres.
        trunk: height of the crown above the ground in metres, 0 for a bush.
        kind: see ``textures.foliage``.
        tint: colour, float64 [3].
    """

    width: float
    height: float
    trunk: float
    kind: int
    tint: np.ndarray

    @property
    def reach(self) -> float:
        """Distance in metres from which on the plant is lost in the woods behind it."""
        return 24.0 * self.height + 40.0

    def draw(self, canvas: Canvas) -> None:
        view = canvas.view
        right, down, depth = view.to_optical(canvas.world.street.foot(self.s, self.d))
        if depth < _NEAREST:
            return
        scale = view.focal / depth
        x, y = np.array([right, down]) * scale + view.centre
        if self.trunk:
            self._draw_trunk(canvas, x, y, scale, depth)
        half = self.width / 2 * scale[0]
        box = (x - half, y - self.height * scale[1], x + half, y - self.trunk * scale[1])
        self._draw_foliage(canvas, box, depth)

    def _draw_trunk(self, canvas: Canvas, x: float, y: float, scale: np.ndarray,
                    depth: float) -> None:
        """Paint the trunk up into the crown, the light part of it on the left.

        Args:
            canvas: to paint on.
            x, y: pixel of the foot.
            scale: pixels a metre along the picture's x and y.
            depth: metres ahead.
        """
        wide = 0.035 * self.height * scale[0]
        top = y - (self.trunk + 0.35 * (self.height - self.trunk)) * scale[1]
        quad = np.array([[x - wide, y], [x + wide, y],
                         [x + wide * 0.6, top], [x - wide * 0.6, top]])
        bark = _BARK * canvas.world.light.ambient
        canvas.convex(fixed(quad), canvas.hazed(bark, depth), VEGETATION, depth)
        quad[1:3, 0] = quad[[0, 3], 0] * 0.6 + quad[1:3, 0] * 0.4
        canvas.convex(fixed(quad), canvas.hazed(bark * 1.3, depth), VEGETATION, depth)

    def _draw_foliage(self, canvas: Canvas, box: tuple[float, float, float, float],
                      depth: float) -> None:
        """Paint the leaves into a box of pixels (left, top, right, bottom)."""
        x0, y0, x1, y1 = box
        left, top = max(0, math.floor(x0)), max(0, math.floor(y0))
        right = min(canvas.view.width, math.ceil(x1) + 1)
        bottom = min(canvas.view.height, math.ceil(y1) + 1)
        if left >= right or top >= bottom:
            return
        level = int(np.clip(math.log2(FOLIAGE_SIZE / max(x1 - x0, 4)), 0, 4))
        n = FOLIAGE_SIZE >> level
        matrix = np.array([[n / (x1 - x0), 0, (left - x0) * n / (x1 - x0) - 0.5],
                           [0, n / (y1 - y0), (top - y0) * n / (y1 - y0) - 0.5]])
        glow, mask = warped_foliage(self.kind, level, matrix, (right - left, bottom - top))
        colours = cv2.applyColorMap(glow, self._ramp(canvas, depth))
        cv2.copyTo(colours, mask, canvas.image[top:bottom, left:right])
        canvas.labels[top:bottom, left:right][mask > 0] = VEGETATION
        if canvas.depth is not None:
            canvas.depth[top:bottom, left:right][mask > 0] = depth

    def _ramp(self, canvas: Canvas, depth: float) -> np.ndarray:
        """Return the colour of each brightness of the leaves, uint8 [256, 1, 3]."""
        stops = np.array([self.tint * 0.30, self.tint * 0.92, self.tint * 1.45 + 14])
        stops[2] *= 0.8 + 0.4 * (1 - canvas.world.light.ambient)
        ramp = _TONES @ np.array(canvas.hazed(stops, depth))
        return np.clip(ramp, 0, 255).astype(np.uint8)[:, None]

    def cast_shadow(self, canvas: Canvas) -> None:
        light = canvas.world.light
        angle = np.linspace(0, 2 * math.pi, 14, endpoint=False)
        lift = self.trunk + (self.height - self.trunk) / 2 if self.trunk else 0.0
        shift = -np.array(light.sun[:2]) / light.sun[2] * lift
        foot = canvas.world.street.foot(self.s, self.d)
        ring = np.zeros((14, 3))
        ring[:, 0] = foot[0] + shift[0] + np.cos(angle) * self.width * 0.55
        ring[:, 1] = foot[1] + shift[1] + np.sin(angle) * self.width * 0.45
        canvas.dim(ring, 1 - light.shadow * 0.9)
