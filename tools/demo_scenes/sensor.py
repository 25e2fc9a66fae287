# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Lens and sensor: they change the picture, never the labels."""

from functools import lru_cache

import cv2
import numpy as np

from demo_scenes.canvas import Canvas
from demo_scenes.world import Light, Stream

_GRAIN_MEAN, _GRAIN_STD = 128, 32
"""Of the grain, of 0..255."""

_GRAIN_MARGIN = 64
"""The grain is larger than the picture by so many pixels; each frame shows another part."""


def photograph(canvas: Canvas, distance: float) -> np.ndarray:
    """Return the picture uint8 [H, W, 3] after tone curve, vignette, blur and noise."""
    world, (height, width) = canvas.world, canvas.labels.shape
    image = cv2.LUT(canvas.image, _tone_curve(world.light))
    image = cv2.multiply(image, _vignette(height, width), scale=1 / 255)
    sigma = world.lens.blur * height / 720
    if sigma > 0.25:
        image = cv2.GaussianBlur(image, (3, 3), sigma)
    rng = world.random(Stream.SENSOR, abs(round(distance * 1000)))
    y, x = rng.integers(0, _GRAIN_MARGIN, 2)
    grain = _grain(height, width)[y : y + height, x : x + width]
    amount = world.lens.noise
    return cv2.addWeighted(image, 1.0, grain, amount, -_GRAIN_MEAN * amount)


def _tone_curve(light: Light) -> np.ndarray:
    """Return the lookup table of exposure and white balance, uint8 [256, 1, 3]."""
    x = np.linspace(0, 1, 256)[:, None] * light.gain * np.asarray(light.cast)
    return np.clip(255 * x**1.04, 0, 255).astype(np.uint8)[:, None]


@lru_cache(maxsize=4)
def _vignette(height: int, width: int) -> np.ndarray:
    """Return the light that reaches each pixel, uint8 [H, W, 3], 255 for all."""
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    fall = 255 * (1 - 0.13 * (x * x + 0.7 * y * y))
    return np.repeat(np.clip(fall, 0, 255).astype(np.uint8)[..., None], 3, 2)


@lru_cache(maxsize=4)
def _grain(height: int, width: int) -> np.ndarray:
    """Return white noise uint8 [H + margin, W + margin, 3]."""
    rng = np.random.default_rng([7, height, width])
    shape = (height + _GRAIN_MARGIN, width + _GRAIN_MARGIN, 3)
    field = _GRAIN_MEAN + _GRAIN_STD * rng.standard_normal(shape, np.float32)
    return np.clip(field, 0, 255).astype(np.uint8)
