# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""How the node compresses its outputs: masks as PNG, overlays as JPEG."""

from collections.abc import Callable

import cv2
import numpy as np

PNG_FORMAT = '{}; png compressed '
"""The format of compressed_image_transport, with the encoding. JPEG would change class ids."""

JPEG_FORMAT = 'bgr8; jpeg compressed bgr8'

JpegEncoder = Callable[[np.ndarray, int], bytes]
"""Encodes uint8 BGR [H, W, 3] with a quality of 1 to 100."""

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
    """Return an image as a JPEG file; see ``JpegEncoder``."""
    return _encode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])


def _encode(suffix: str, pixels: np.ndarray, options: list[int]) -> bytes:
    _, data = cv2.imencode(suffix, pixels, options)
    return data.tobytes()
