# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Cars and vans on the road and beside it."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from demo_scenes.canvas import Canvas
from demo_scenes.classes import VEHICLE
from demo_scenes.solids import LEFT, RIGHT, face, facing, patches
from demo_scenes.thing import Thing
from demo_scenes.vehicle_models import BODY, MODELS
from demo_scenes.world import Light

_REACH = 120.0
_WHEEL_SHARES = np.array([1.18, 1.0, 0.62, 0.5])[:, None, None]
"""Radii of arch, tyre, rim and hub as shares of the wheel's."""

_WHEEL_TONES = np.array([[12.0], [38.0], [150.0], [96.0]]).repeat(3, 1)


@dataclass(frozen=True)
class Vehicle(Thing):
    """A vehicle; s and d are its middle.

    Attributes:
        model: index in ``vehicle_models.MODELS``.
        paint: colour, float64 [3].
        oncoming: whether it faces the camera.
    """

    model: int
    paint: np.ndarray
    oncoming: bool

    @property
    def reach(self) -> float:
        return _REACH

    def draw(self, canvas: Canvas) -> None:
        model, light = MODELS[self.model], canvas.world.light
        faces = self._to_world(canvas, model.faces)
        seen, lit = facing(faces, light, canvas.view)
        tones = self._tones(light)
        where, colours = [], []
        for i in np.flatnonzero(seen).tolist():
            where.append((i, 0.0, 1.0, 0.0, 1.0))
            colours.append(self.paint * lit[i] if i >= face(BODY, 0) else tones['tyre'])
            for patch in model.on(i):
                where.append(patch[:5])
                colours.append(tones[patch.tone] * (0.35 + 0.65 * lit[i]))
        canvas.faces(patches(faces, np.array(where)), np.array(colours), VEHICLE)
        for side, sign in ((RIGHT, -1.0), (LEFT, 1.0)):
            if seen[face(BODY, side)]:
                self._draw_wheels(canvas, sign)

    def _to_world(self, canvas: Canvas, local: np.ndarray) -> np.ndarray:
        turn = math.pi if self.oncoming else 0.0
        return canvas.world.street.place(self.s, self.d, local, turn)

    def _tones(self, light: Light) -> dict[str, np.ndarray]:
        """Return the colours of tyres and patches."""
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

    def _draw_wheels(self, canvas: Canvas, sign: float) -> None:
        """Paint the wheels of the left (+1) or right (-1) side as discs."""
        model = MODELS[self.model]
        angle = np.linspace(0, 2 * math.pi, 16, endpoint=False)
        ring = np.stack([np.cos(angle), np.zeros(16), np.sin(angle)], 1)
        half = model.prisms[BODY].half0 + 0.03
        for x in model.axles:
            rings = ring * model.radius * _WHEEL_SHARES + [x, sign * half, model.radius]
            rings[..., 2] = np.maximum(rings[..., 2], 0.0)
            canvas.faces(self._to_world(canvas, rings), _WHEEL_TONES, VEHICLE)

    def cast_shadow(self, canvas: Canvas) -> None:
        light, prisms = canvas.world.light, MODELS[self.model].prisms
        half_length, half_width = prisms[BODY].front1 + 0.15, 1.02
        base = [[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]
        foot = self._to_world(canvas, np.array(base) * [half_length, half_width, 0.0])
        shift = -np.array([*light.sun[:2], 0.0]) / light.sun[2] * prisms[-1].z1 * 0.75
        hull = cv2.convexHull(np.concatenate([foot, foot + shift])[:, :2].astype(np.float32))
        cast = np.zeros((len(hull), 3))
        cast[:, :2] = hull[:, 0]
        canvas.dim(cast, 1 - light.shadow)
        canvas.dim(foot, 0.36)
