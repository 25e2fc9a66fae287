# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Encoding of images as PNG and JPEG by OpenCV."""

import cv2
import numpy as np

from trt_segmentation.errors import ImageError

_PNG_OPTIONS = [cv2.IMWRITE_PNG_COMPRESSION, 1]
if hasattr(cv2, 'IMWRITE_PNG_FILTER'):  # the default tries all filters on every row
    _PNG_OPTIONS += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]


def encode_png(pixels: np.ndarray) -> bytes:
    """Return a mask as a PNG file.

    Args:
        pixels: uint8 or uint16 [H, W].
    """
    return _encode('.png', pixels, _PNG_OPTIONS)


def encode_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """Return an image as a JPEG file.

    Args:
        pixels: uint8 BGR [H, W, 3].
        quality: 1 to 100.

    Raises:
        ImageError: a side is longer than a JPEG can have.
    """
    return _encode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])


def _encode(suffix: str, pixels: np.ndarray, options: list[int]) -> bytes:
    height, width = pixels.shape[:2]
    try:
        is_encoded, data = cv2.imencode(suffix, pixels, options)
    except cv2.error:  # OpenCV 5 returns False
        is_encoded = False
    if not is_encoded:
        raise ImageError(f'an image of {width}x{height} cannot be encoded as {suffix[1:]}; a JPEG '
                         'has at most 65500 pixels a side')
    return data.tobytes()
