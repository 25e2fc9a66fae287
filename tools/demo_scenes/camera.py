# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The pinhole camera: where points of the world appear in the picture."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

SHIFT = 4
"""Fractional bits of the fixed-point pixels that OpenCV's polygon functions are given."""

_NEAR = 0.3
"""Distance in metres ahead of the camera from which on things are drawn."""

_FAR_OUT = 2e4
"""Pixel coordinates are cut off here, so that they fit OpenCV's fixed-point arithmetic."""


@dataclass(frozen=True)
class View:
    """A camera without lens distortion at one place.

    Optical coordinates are REP-103's for cameras: (right, down, forward) in metres.

    Attributes:
        height, width: of the picture in pixels.
        focal: float64 [2], focal length in pixels along the picture's x and y.
        position: float64 [3], world coordinates.
        rotation: float64 [3, 3], rows right, down, forward in world axes. Right is level.
    """

    height: int
    width: int
    focal: np.ndarray
    position: np.ndarray
    rotation: np.ndarray

    @cached_property
    def centre(self) -> np.ndarray:
        """float64 [2], x and y of the pixel that the optical axis meets."""
        return np.array([self.width - 1, self.height - 1]) / 2

    @cached_property
    def horizon(self) -> float:
        """The y of the horizon in pixels; it may lie outside the picture."""
        return self.centre[1] - self.focal[1] * self.rotation[2, 2] / self.rotation[1, 2]

    @property
    def ground_rows(self) -> slice:
        """Rows below the horizon; at least one row is ground and one sky."""
        return slice(int(np.clip(math.ceil(self.horizon), 1, self.height - 1)), self.height)

    @property
    def ground_slope(self) -> np.ndarray:
        """float64 [R], metres that the ray of each ground row drops for each metre ahead."""
        rows = self.ground_rows
        below = np.arange(rows.start, rows.stop) - self.horizon
        return np.maximum(below / self.focal[1], 1e-4)

    def to_optical(self, points: np.ndarray) -> np.ndarray:
        """Return optical coordinates of world points [..., 3]."""
        return (points - self.position) @ self.rotation.T

    def to_pixels(self, optical: np.ndarray) -> np.ndarray:
        """Return pixels (x, y) [..., 2] of optical points [..., 3] ahead of the camera."""
        return optical[..., :2] / optical[..., 2:] * self.focal + self.centre

    def depth(self, point: np.ndarray) -> float:
        """Return how many metres ahead a world point [3] is."""
        return float((point - self.position) @ self.rotation[2])

    def inverse_depth(self, points: np.ndarray) -> np.ndarray:
        """Return the plane through world points [N, 3] as the camera sees it.

        Returns:
            float64 [3]: a pixel (x, y) that shows the plane is 1 / ((x, y, 1) @ plane) metres
            ahead. All are 0 for a plane that is seen from its edge.
        """
        optical = self.to_optical(points)
        normal = np.cross(optical, np.roll(optical, -1, 0)).sum(0)  # Newell's method
        offset = float(normal @ optical.mean(0))
        if abs(offset) < 1e-9:
            return np.zeros(3)
        (fx, fy), (cx, cy) = self.focal, self.centre
        return np.array([normal[0] / fx, normal[1] / fy,
                         normal[2] - normal[0] * cx / fx - normal[1] * cy / fy]) / offset

    def sees(self, points: np.ndarray) -> bool:
        """Tell whether an upright thing over world points [N, 3] may lie between the sides."""
        right, _, depth = self.to_optical(points).T
        limit = np.maximum(depth, 0.0) * (self.width / 2 / self.focal[0])
        return bool(depth.max() > _NEAR
                    and not (right > limit).all() and not (-right > limit).all())

    def outline(self, points: np.ndarray) -> np.ndarray | None:
        """Return a world polygon [N, 3] in the picture.

        Returns:
            int32 [M, 2], fixed-point pixels; None where none of it is ahead.
        """
        optical = self.to_optical(points)
        if optical[:, 2].min() < _NEAR:
            optical = _clip_near(optical)
        return fixed(self.to_pixels(optical)) if len(optical) > 2 else None

    def outlines(self, faces: np.ndarray) -> list[np.ndarray | None]:
        """Return ``outline`` of each world polygon in [F, N, 3]."""
        optical = self.to_optical(faces)
        if optical[..., 2].min() < _NEAR:
            return [self.outline(face) for face in faces]
        return list(fixed(self.to_pixels(optical)))

    def whole_outlines(self, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Project world polygons without cutting any.

        Args:
            faces: float64 [F, N, 3].

        Returns:
            Fixed-point pixels int32 [F, N, 2], and bool [F]: which are wholly ahead, so that
            their pixels can be used.
        """
        optical = self.to_optical(faces)
        ahead = optical[..., 2].min(1) > _NEAR
        optical[..., 2] = np.maximum(optical[..., 2], _NEAR)
        return fixed(self.to_pixels(optical)), ahead

    def plane(self, z: float, scale: float, row: int, period: float) -> np.ndarray:
        """Return how pixels lie on a horizontal plane.

        Args:
            z: height of the plane in metres.
            scale: units of the plane's coordinates in a metre.
            row: the picture's row that counts as row 0.
            period: metres after which the plane repeats, so that its coordinates stay small.

        Returns:
            float64 [3, 3], homography from pixels to coordinates along world x and y.
        """
        (fx, fy), (cx, cy) = self.focal, self.centre
        inverse = np.array([[1 / fx, 0, -cx / fx], [0, 1 / fy, (row - cy) / fy], [0, 0, 1]])
        rays = self.rotation.T @ inverse
        above = self.position[2] - z
        x, y = self.position[0] % period, self.position[1] % period + period
        rows = [x * rays[2] - above * rays[0], y * rays[2] - above * rays[1]]
        return np.stack([rows[0] * scale, rows[1] * scale, rays[2]])


def fixed(pixels: np.ndarray) -> np.ndarray:
    """Return pixels as int32 with ``SHIFT`` fractional bits."""
    return np.rint(np.clip(pixels, -_FAR_OUT, _FAR_OUT) * (1 << SHIFT)).astype(np.int32)


def _clip_near(optical: np.ndarray) -> np.ndarray:
    """Return the part [M, 3] of a polygon [N, 3] that lies beyond the near plane."""
    kept = []
    for a, b in zip(optical, np.roll(optical, -1, 0), strict=True):
        if a[2] >= _NEAR:
            kept.append(a)
        if (a[2] >= _NEAR) != (b[2] >= _NEAR):
            kept.append(a + (b - a) * ((_NEAR - a[2]) / (b[2] - a[2])))
    return np.array(kept).reshape(-1, 3)
