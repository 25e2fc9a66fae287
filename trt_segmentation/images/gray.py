# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Images for networks of one channel: their bytes as the graph reads them, and their display.

The prepared graph of such a network reads the unchanged bytes of an image. The number of bytes
per pixel defines their meaning:

=====  ==============================================================
bands  a pixel
=====  ==============================================================
1      its brightness
2      16 bits of brightness: the low byte, then the high byte
3      its colour
=====  ==============================================================
"""

from typing import Any

import numpy as np

GRAY_SHAPES = ('uint8 [height, width] or [height, width, 3], or uint16 [height, width], is '
               'needed by a network of one channel')


def is_wide(image: np.ndarray) -> bool:
    """Return whether an image has 16 bits per pixel."""
    return image.dtype.kind == 'u' and image.dtype.itemsize == 2


def is_color(image: Any) -> bool:
    """Return whether an array, also one in GPU memory, is uint8 [H, W, 3], which every network
    accepts."""
    return bool(image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
            and 0 not in image.shape)


def can_be_gray(image: np.ndarray) -> bool:
    """Return whether a network of one channel accepts an image."""
    if is_color(image):
        return True
    is_plane = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1)
    return is_plane and 0 not in image.shape and (image.dtype == np.uint8 or is_wide(image))


def as_bands(image: np.ndarray) -> np.ndarray:
    """Return an image as a prepared graph reads it; without a copy on little-endian machines.

    Args:
        image: uint8 [H, W, 3], [H, W] or [H, W, 1], or uint16 [H, W] or [H, W, 1]; C-contiguous.

    Returns:
        uint8 [H, W, bands], see the module.
    """
    if image.ndim == 2:
        image = image[..., None]
    return image.astype('<u2', copy=False).view(np.uint8) if is_wide(image) else image


def as_brightness(image: np.ndarray) -> np.ndarray:
    """Return an image for display: uint8 [H, W, 3] unchanged; one channel as uint8 [H, W, 1], with
    the high bytes of 16 bits.

    Args:
        image: see ``as_bands``.
    """
    if is_wide(image):
        image = (image >> 8).astype(np.uint8)
    return image[..., None] if image.ndim == 2 else image


def as_bgr(image: np.ndarray) -> np.ndarray:
    """Return an image for display as uint8 [H, W, 3]; see ``as_brightness``."""
    seen = as_brightness(image)
    return seen if seen.shape[2] == 3 else np.repeat(seen, 3, axis=2)
