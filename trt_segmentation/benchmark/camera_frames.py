# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Images in the encodings of cameras, made from BGR."""

import cv2
import numpy as np

from trt_segmentation.images.decoding import ENCODINGS


def camera_bytes(bgr: np.ndarray, encoding: str) -> np.ndarray:
    """Return what a camera would send for an image.

    Args:
        bgr: uint8 [H, W, 3]; even sizes for encodings whose pixels share chroma values.
        encoding: of 8 bits, one of ``images.decoding.ENCODINGS``.

    Returns:
        uint8 [rows, bytes per row], C-contiguous.
    """
    height = bgr.shape[0]
    if encoding.startswith('bayer_'):
        return _mosaic(bgr, encoding.removeprefix('bayer_'))
    known = ENCODINGS[encoding]
    if known.cell == (1, 1):
        pixels = bgr if known.color == 'bgr' else bgr[..., ::-1]
        if known.conversion is not None:
            pixels = cv2.cvtColor(bgr, _FROM_BGR[known.conversion])
        return np.ascontiguousarray(pixels).reshape(height, -1)
    luma, u, v = _planes(bgr)
    if known.cell == (2, 2):
        pair = (u, v) if known.conversion == cv2.COLOR_YUV2BGR_NV12 else (v, u)
        return np.vstack([luma, np.stack(pair, axis=-1).reshape(height // 2, -1)])
    u, v = (np.repeat(each, 2, axis=0) for each in (u, v))
    lanes = [luma[:, ::2], u, luma[:, 1::2], v]
    if known.conversion == cv2.COLOR_YUV2BGR_UYVY:
        lanes = [u, luma[:, ::2], v, luma[:, 1::2]]
    return np.stack(lanes, axis=-1).reshape(height, -1)


_FROM_BGR = {cv2.COLOR_BGRA2BGR: cv2.COLOR_BGR2BGRA, cv2.COLOR_RGBA2BGR: cv2.COLOR_BGR2RGBA,
             cv2.COLOR_GRAY2BGR: cv2.COLOR_BGR2GRAY}


def _mosaic(bgr: np.ndarray, pattern: str) -> np.ndarray:
    mosaic = np.empty(bgr.shape[:2], np.uint8)
    for index, color in enumerate(pattern[:4]):
        cell = (slice(index // 2, None, 2), slice(index % 2, None, 2))
        mosaic[cell] = bgr[..., 'bgr'.index(color)][cell]
    return mosaic


def _planes(bgr: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Luma, and U and V at half the width and height."""
    height, width = bgr.shape[:2]
    planes = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420).reshape(-1)
    luma, rest = np.split(planes, [height * width])
    u, v = rest.reshape(2, height // 2, width // 2)
    return luma.reshape(height, width), u, v
