# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Shapes of cars and vans: prisms and the patches on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from demo_scenes.solids import (
    FRONT,
    LEFT,
    REAR,
    RIGHT,
    Prism,
    face,
    prism_faces,
)

REAR_AXLE, FRONT_AXLE, BODY, UPPER, CABIN = range(5)
"""Prisms of a model: two dark ones between the wheels, the body up to the bumpers, the rest of
it up to the windows (of a van: all of it), and of a car the cabin."""


class Patch(NamedTuple):
    """A rectangle on a face, u from its left and v from its bottom in 0..1, and its tone."""

    face: int
    u0: float
    u1: float
    v0: float
    v1: float
    tone: str


@dataclass(frozen=True)
class Model:
    """A vehicle in its own axes: forward, left, up in metres from its middle on the ground.

    Attributes:
        prisms: in the order in which they are painted.
        patches: in the order in which they are painted on their face.
        axles: positions of the axles.
        radius: of the wheels.
    """

    prisms: tuple[Prism, ...]
    patches: tuple[Patch, ...]
    axles: tuple[float, float]
    radius: float

    @cached_property
    def faces(self) -> np.ndarray:
        """See ``solids.prism_faces``."""
        return prism_faces(self.prisms)

    def on(self, face_id: int) -> list[Patch]:
        """Return the patches of one face."""
        return [patch for patch in self.patches if patch.face == face_id]


def _axle(x: float, half_length: float, half_width: float, height: float) -> Prism:
    a, b = x - half_length, x + half_length
    return Prism(0.0, a, b, half_width, height, a, b, half_width)


def _underbody() -> list[Patch]:
    """Return the dark gap between the wheels, seen from either end."""
    return [Patch(face(axle, end), 0.2, 0.8, 0.0, 1.0, 'under')
            for axle in (REAR_AXLE, FRONT_AXLE) for end in (REAR, FRONT)]


def _sides(prism: int, spans: Sequence[tuple[float, float]], v0: float, v1: float,
           tone: str) -> list[Patch]:
    """Return the same patches on both sides of a prism, spans measured from the rear."""
    right = [Patch(face(prism, RIGHT), a, b, v0, v1, tone) for a, b in spans]
    return right + [Patch(face(prism, LEFT), 1 - b, 1 - a, v0, v1, tone) for a, b in spans]


def _ends(prism: int, v0: float, v1: float, width: float) -> list[Patch]:
    """Return plate, boot line, grille, and lamps of a width from v0 to v1."""
    rear, front = face(prism, REAR), face(prism, FRONT)
    found = [Patch(rear, 0.36, 0.64, 0.12, 0.52, 'plate'),
             Patch(rear, 0.0, 1.0, 0.0, 0.06, 'seam'),
             Patch(front, 0.30, 0.70, 0.20, 0.75, 'grille')]
    for u in (0.03, 0.97 - width):
        found += [Patch(rear, u, u + width, v0, v1, 'tail'),
                  Patch(front, u, u + width, v0, v1, 'head')]
    return found


def _car(stretch: float, rise: float, cabin: tuple[float, float, float, float]) -> Model:
    """Return a car.

    Args:
        stretch, rise: factors of length and height; 1 gives 4.24 m and 1.46 m.
        cabin: x of the windows' lower rear and front edge and of the roof's, unstretched.
    """
    back, bonnet, roof_back, roof_front = (x * stretch for x in cabin)
    n, axle = 2.12 * stretch, 1.30 * stretch
    belt, roof = 0.94 * rise, 1.46 * rise
    prisms = (
        _axle(-axle, 0.3, 0.84, 0.55),
        _axle(axle, 0.3, 0.84, 0.55),
        Prism(0.24, 0.08 - n, n - 0.08, 0.84, 0.60, -n, n, 0.90),
        Prism(0.60, -n, n, 0.90, belt, 0.10 - n, n - 0.16, 0.84),
        Prism(belt, back, bonnet, 0.80, roof, roof_back, roof_front, 0.62),
    )
    patches = (
        *_underbody(),
        Patch(face(BODY, REAR), 0.0, 1.0, 0.0, 0.45, 'trim'),
        Patch(face(BODY, FRONT), 0.0, 1.0, 0.0, 0.4, 'trim'),
        Patch(face(BODY, FRONT), 0.22, 0.78, 0.45, 0.9, 'grille'),
        *_ends(UPPER, 0.42, 0.92, width=0.19),
        *_sides(UPPER, [(0.02, 0.98)], 0.80, 0.92, 'gloss'),
        *_sides(BODY, [(0.0, 1.0)], 0.0, 0.4, 'trim'),
        *_sides(UPPER, [(0.50, 0.506), (0.30, 0.306)], 0.0, 1.0, 'seam'),
        Patch(face(CABIN, REAR), 0.08, 0.92, 0.14, 0.88, 'glass'),
        Patch(face(CABIN, FRONT), 0.07, 0.93, 0.10, 0.90, 'glass'),
        Patch(face(CABIN, REAR), 0.12, 0.45, 0.5, 0.84, 'sheen'),
        Patch(face(CABIN, FRONT), 0.12, 0.5, 0.45, 0.86, 'sheen'),
        *_sides(CABIN, [(0.10, 0.47), (0.51, 0.90)], 0.14, 0.86, 'glass'),
    )
    return Model(prisms, patches, (-axle, axle), 0.33)


def _van(length: float, height: float) -> Model:
    """Return a van of a length and height in metres."""
    n, axle = length / 2, length * 0.31
    prisms = (
        _axle(-axle, 0.35, 0.94, 0.6),
        _axle(axle, 0.35, 0.94, 0.6),
        Prism(0.28, -n, n, 0.98, 1.15, -n, n - 0.05, 1.0),
        Prism(1.15, -n, n - 0.55, 1.0, height, 0.06 - n, n - 1.35, 0.92),
    )
    patches = (
        *_underbody(),
        Patch(face(BODY, REAR), 0.0, 1.0, 0.0, 0.2, 'trim'),
        Patch(face(BODY, FRONT), 0.0, 1.0, 0.0, 0.25, 'trim'),
        *_ends(BODY, 0.5, 0.95, width=0.10),
        Patch(face(UPPER, REAR), 0.08, 0.47, 0.30, 0.80, 'glass'),
        Patch(face(UPPER, REAR), 0.53, 0.92, 0.30, 0.80, 'glass'),
        Patch(face(UPPER, REAR), 0.495, 0.505, 0.0, 1.0, 'seam'),
        Patch(face(BODY, REAR), 0.495, 0.505, 0.2, 1.0, 'seam'),
        Patch(face(UPPER, FRONT), 0.06, 0.94, 0.12, 0.82, 'glass'),
        Patch(face(UPPER, FRONT), 0.1, 0.5, 0.4, 0.78, 'sheen'),
        *_sides(UPPER, [(0.80, 0.97)], 0.12, 0.70, 'glass'),
        *_sides(BODY, [(0.0, 1.0)], 0.0, 0.16, 'trim'),
        *_sides(BODY, [(0.0, 1.0)], 0.78, 0.88, 'gloss'),
        *_sides(UPPER, [(0.30, 0.305), (0.74, 0.745)], 0.0, 1.0, 'seam'),
        *_sides(BODY, [(0.28, 0.285), (0.66, 0.665)], 0.16, 1.0, 'seam'),
    )
    return Model(prisms, patches, (-axle, axle), 0.36)


MODELS = (
    _car(1.0, 1.0, (-1.98, 1.05, -1.55, 0.35)),
    _car(1.08, 0.98, (-1.55, 1.05, -0.95, 0.30)),
    _car(1.04, 1.16, (-2.02, 1.00, -1.75, 0.45)),
    _van(5.0, 2.05),
    _van(5.9, 2.65),
)
"""Hatchback, saloon, tall estate, small van, large van."""
