# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Textures made of noise, computed once: ground and clouds, foliage, walls."""

import math
from functools import lru_cache

import cv2
import numpy as np

from demo_scenes.camera import View

NOISE_MEAN, NOISE_STD = 128, 42
"""Mean and standard deviation of ``noise``, of 0..255."""

CROWN_KINDS, BUSH_KINDS = range(6), range(6, 9)
"""Kinds of ``foliage``: round crowns, and bushes that stand flat on the ground."""

TILE = 512
"""Period of noise and walls in texels."""

FOLIAGE_SIZE = 256
"""Side of ``foliage`` at level 0."""

WALL_TEXELS = 96.0
"""Texels a metre of ``wall`` at level 0."""

_MAP = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


def noise(exponent: float, key: int, size: int = TILE) -> np.ndarray:
    """Return periodic noise whose power falls with frequency f as f**-exponent.

    Returns:
        uint8 [size, size], of ``NOISE_MEAN`` and ``NOISE_STD``; other keys give other noise.
    """
    white = np.random.default_rng([key, size]).standard_normal((size, size))
    f = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    f[0, 0] = 1.0
    spectrum = np.fft.rfft2(white) * f ** (-exponent / 2)
    spectrum[0, 0] = 0.0
    field = np.fft.irfft2(spectrum, (size, size))
    return np.clip(NOISE_MEAN + NOISE_STD * field / field.std(), 0, 255).astype(np.uint8)


@lru_cache(maxsize=8)
def _tiled_noise(exponent: float, key: int) -> np.ndarray:
    """Return four periods of noise side by side: reading outside an array is the slow path."""
    return np.tile(noise(exponent, key), (2, 2))


def plane_noise(view: View, z: float, scale: float, rows: slice, exponent: float, key: int,
                shift: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """Return how noise that lies on a horizontal plane looks.

    Args:
        view: where from.
        z: height of the plane in metres.
        scale: texels a metre.
        rows: which rows of the picture are wanted.
        exponent, key: see ``noise``.
        shift: texels by which the noise is moved.

    Returns:
        uint8 [R, W].
    """
    move = np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]])
    matrix = move @ view.plane(z, scale, rows.start, TILE / scale)
    size = (view.width, rows.stop - rows.start)
    return cv2.warpPerspective(_tiled_noise(exponent, key), matrix, size, flags=_MAP,
                               borderMode=cv2.BORDER_WRAP)


@lru_cache(maxsize=64)
def foliage(kind: int, level: int) -> np.ndarray:
    """Return a crown or bush seen from the side.

    Args:
        kind: of ``CROWN_KINDS`` or ``BUSH_KINDS``.
        level: how often it is halved in size.

    Returns:
        uint8 [N, N, 2], brightness and coverage 0..255, N = ``FOLIAGE_SIZE`` >> level.
    """
    if level:
        return _halved(foliage(kind, level - 1))
    rough = noise(2.6, 100 + kind, FOLIAGE_SIZE).astype(np.float32) / NOISE_STD - 3.05
    fine = noise(1.3, 200 + kind, FOLIAGE_SIZE).astype(np.float32) / NOISE_STD - 3.05
    y, x = np.mgrid[-1 : 1 : FOLIAGE_SIZE * 1j, -1 : 1 : FOLIAGE_SIZE * 1j].astype(np.float32)
    low = np.minimum(y, 0.45) if kind in BUSH_KINDS else y
    radius = np.hypot(x * 1.12, low * 1.12) + 0.10 * rough + 0.025 * fine
    cover = np.clip((0.93 - radius) * 500 + 128, 0, 255)
    glow = 118 - 46 * y - 20 * x + 26 * rough + 20 * fine - 40 * (radius > 0.86)
    return np.dstack([np.clip(glow, 0, 255), cover]).astype(np.uint8)


def warped_foliage(kind: int, level: int, matrix: np.ndarray,
                   size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return ``foliage`` in the picture.

    Args:
        kind, level: see ``foliage``.
        matrix: float64 [2, 3], affine map from pixels to texels.
        size: width and height of what is returned, in pixels.

    Returns:
        Brightness uint8 [H, W], and a mask uint8 [H, W] that is 255 where there are leaves.
    """
    glow, cover = cv2.split(cv2.warpAffine(foliage(kind, level), matrix, size, flags=_MAP))
    return glow, cv2.compare(cover, 127, cv2.CMP_GT)


@lru_cache(maxsize=16)
def _wall(brick: bool, level: int) -> np.ndarray:
    """Return the relief of brick or plaster, halved ``level`` times: periodic, about 128.

    Bricks are 8 texels high and 32 long, mortar included, which are 8 and 33 centimetres.
    """
    if level:
        return _halved(_wall(brick, level - 1))
    field = NOISE_MEAN + 0.13 * (noise(1.9, 11).astype(np.float32) - NOISE_MEAN)
    if brick:
        y, x = np.mgrid[0:TILE, 0:TILE]
        course = y // 8
        x = x + 16 * (course % 2)
        tone = np.random.default_rng(12).uniform(-17, 17, (TILE // 8, TILE // 32 + 1))
        mortar = (y % 8 == 0) | (x % 32 == 0)
        field += np.where(mortar, 20, tone[course, x // 32 % (TILE // 32)])
    return np.tile(np.clip(field, 0, 255).astype(np.uint8), (3, 4))


def warped_wall(brick: bool, extent: tuple[float, float], corners: np.ndarray, fine: float,
                size: tuple[int, int]) -> np.ndarray:
    """Return the relief of a wall in the picture.

    Args:
        brick: brick or plaster.
        extent: length and height of the wall in metres.
        corners: float32 [4, 2], pixels of the wall's lower left corner and on along its rim.
        fine: pixels a metre where the wall is nearest.
        size: width and height of what is returned, in pixels.

    Returns:
        uint8 [H, W], brightness of which 128 is the wall's own.
    """
    level = int(np.clip(round(math.log2(WALL_TEXELS / fine)), 0, 5))
    length, height = extent
    wall = np.array([[0, height], [length, height], [length, 0], [0, 0]])
    texels = (wall * (WALL_TEXELS / (1 << level))).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(corners, texels)
    return cv2.warpPerspective(_wall(brick, level), matrix, size, flags=_MAP,
                               borderMode=cv2.BORDER_WRAP)


def _halved(texture: np.ndarray) -> np.ndarray:
    return cv2.resize(texture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
