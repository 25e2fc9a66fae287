# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""People: flat figures that turn to the camera."""

import math
from dataclasses import dataclass

import numpy as np

from demo_scenes.camera import fixed
from demo_scenes.canvas import Canvas
from demo_scenes.classes import PERSON
from demo_scenes.thing import Thing

_NEAREST, _REACH = 1.5, 48.0
"""Metres ahead between which people are drawn."""

_SHOE = np.array([34.0, 36.0, 42.0])
_HALF_TURN = np.linspace(math.pi / 2, 3 * math.pi / 2, 6)

Limb = tuple[float, float, float, float, float, float]
"""A tapered stroke with round ends, (x, y, x, y, radius, radius), in body heights."""

_HEAD: tuple[Limb, ...] = (
    (0, 0.83, 0, 0.88, 0.030, 0.030),
    (0, 0.952, 0, 0.946, 0.055, 0.053),
    (0, 0.902, 0, 0.932, 0.045, 0.050),
)
"""Neck, hair, face."""


@dataclass(frozen=True)
class Person(Thing):
    """Someone who stands or walks.

    Attributes:
        height: in metres.
        stride: -1..1, where in a step the legs are; 0 with legs closed.
        aside: 0..1, from seen from the front to seen from the side.
        coat: whether they wear one.
        tones: colours of skin, top, trousers and hair, float64 [4, 3].
    """

    height: float
    stride: float
    aside: float
    coat: bool
    tones: np.ndarray

    @property
    def reach(self) -> float:
        return _REACH

    def draw(self, canvas: Canvas) -> None:
        view, light = canvas.view, canvas.world.light
        right, down, depth = view.to_optical(canvas.world.street.foot(self.s, self.d))
        if depth < _NEAREST:
            return
        scale = view.focal / depth
        base = np.array([right, down]) * scale + view.centre
        span = scale * self.height * np.array([1.0, -1.0])
        outlines, colours = self._parts()
        tones = canvas.hazed(colours * (light.ambient + (1 - light.ambient) * 0.8), depth)
        for outline, tone in zip(fixed(base + outlines * span), tones, strict=True):
            canvas.convex(outline, tone, PERSON, depth)

    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the body's parts from far to near.

        Returns:
            Outlines float64 [K, 12, 2], (right, up) in body heights, and colours [K, 3].
        """
        skin, top, legs, hair = self.tones
        behind = [*self._arm(-1.0), *self._leg(-1.0), *self._leg(1.0)]
        limbs = _outlines(np.array([*behind, *self._arm(1.0), *_HEAD], float))
        arm, leg = np.array([skin, top * 0.88, top * 0.88]), np.array([_SHOE, legs, legs])
        head = np.array([skin * 0.82, hair, skin])
        colours = np.concatenate([arm * 0.85, leg * 0.82, leg, top[None], arm, head])
        return np.insert(limbs, len(behind), self._torso(), 0), colours

    @property
    def _shoulder(self) -> float:
        return 0.115 - 0.035 * self.aside

    def _swing(self, sign: float) -> float:
        return sign * self.stride * (0.04 + 0.10 * self.aside)

    def _arm(self, sign: float) -> list[Limb]:
        """Return hand, lower and upper arm of the right (+1) or left (-1)."""
        x, swing = sign * self._shoulder, self._swing(sign)
        elbow, hand = x + sign * 0.012 - swing * 0.35, x + sign * 0.008 - swing * 1.1
        return [
            (hand, 0.465, hand, 0.46, 0.024, 0.022),
            (elbow, 0.63, hand, 0.48, 0.030, 0.024),
            (x, 0.795, elbow, 0.63, 0.037, 0.032),
        ]

    def _leg(self, sign: float) -> list[Limb]:
        """Return shoe, lower and upper leg of the right (+1) or left (-1)."""
        swing = self._swing(sign)
        hip = sign * 0.050 * (1 - 0.6 * self.aside)
        knee, foot = hip + swing * 0.6, hip + swing
        toe = foot + 0.045 * self.aside + sign * 0.012
        return [
            (foot, 0.030, toe, 0.020, 0.030, 0.022),
            (knee, 0.27, foot, 0.050, 0.042, 0.029),
            (hip, 0.50, knee, 0.27, 0.064, 0.044),
        ]

    def _torso(self) -> np.ndarray:
        """Return the outline of shoulders to hem, float64 [12, 2]."""
        hem, flare = (0.37, 0.098) if self.coat else (0.47, 0.088)
        w = self._shoulder
        half = np.array([[0.35 * w, 0.852], [0.88 * w, 0.832], [1.06 * w, 0.79],
                         [0.98 * w, 0.62], [flare, 0.5 * hem + 0.25], [flare, hem]])
        return np.concatenate([half, half[::-1] * [-1, 1]])

    def cast_shadow(self, canvas: Canvas) -> None:
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


def _outlines(limbs: np.ndarray) -> np.ndarray:
    """Return the outlines [K, 12, 2] of limbs [K, 6]."""
    a, b, ra, rb = limbs[:, 0:2], limbs[:, 2:4], limbs[:, 4, None], limbs[:, 5, None]
    along = np.arctan2(b[:, 1] - a[:, 1], b[:, 0] - a[:, 0])[:, None] + _HALF_TURN
    round_end = np.stack([np.cos(along), np.sin(along)], 2)
    start = a[:, None] + round_end * ra[..., None]
    stop = b[:, None] - round_end * rb[..., None]
    return np.concatenate([start, stop], 1)
