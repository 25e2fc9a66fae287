# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Solids with flat faces: prisms, patches on them, and the light on their faces.

The five faces of prism number i are ``5 * i + side``. The corners of a face run from its lower
left along its rim to its upper left, as seen from outside.
"""

from typing import NamedTuple

import numpy as np

from demo_scenes.camera import View
from demo_scenes.world import Light

REAR, RIGHT, FRONT, LEFT, TOP = range(5)
"""Sides of a prism; what stands on the ground shows no bottom."""


class Prism(NamedTuple):
    """A body whose bottom and top are level rectangles, in metres along forward, left and up.

    The bottom is at height z0, from rear0 to front0 and half0 to each side; so the top.
    """

    z0: float
    rear0: float
    front0: float
    half0: float
    z1: float
    rear1: float
    front1: float
    half1: float


def face(prism: int, side: int) -> int:
    """Return the number of a face."""
    return 5 * prism + side


def prism_faces(prisms: tuple[Prism, ...]) -> np.ndarray:
    """Return the faces of prisms, float64 [5 P, 4, 3]."""
    faces = []
    for z0, a0, b0, w0, z1, a1, b1, w1 in prisms:
        low = [[a0, w0, z0], [a0, -w0, z0], [b0, -w0, z0], [b0, w0, z0]]
        top = [[a1, w1, z1], [a1, -w1, z1], [b1, -w1, z1], [b1, w1, z1]]
        for i, j in ((0, 1), (1, 2), (2, 3), (3, 0)):
            faces.append([low[i], low[j], top[j], top[i]])
        faces.append(top)
    return np.array(faces, float)


def patches(faces: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return quads [P, 4, 3] on faces [F, 4, 3].

    Args:
        faces: of any solid.
        where: [P, 5], rows (face, u0, u1, v0, v1), u from left to right and v upwards in 0..1.
    """
    corners = faces[where[:, 0].astype(int)]
    u = where[:, [1, 2, 2, 1]][..., None]
    v = where[:, [3, 3, 4, 4]][..., None]
    low = corners[:, None, 0] * (1 - u) + corners[:, None, 1] * u
    top = corners[:, None, 3] * (1 - u) + corners[:, None, 2] * u
    return low * (1 - v) + top * v


def facing(faces: np.ndarray, light: Light, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Return which world faces [F, 4, 3] show, bool [F], and the light on each, float64 [F].

    Light is diffuse; 1 is what a face about as steep to the sun as the ground gets.
    """
    normals = np.cross(faces[:, 1] - faces[:, 0], faces[:, 3] - faces[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
    seen = ((view.position - faces.mean(1)) * normals).sum(1) > 0
    direct = np.clip(normals @ np.array(light.sun), 0, None)
    return seen, light.ambient + (1 - light.ambient) * 1.5 * direct
