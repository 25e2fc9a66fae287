# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Outlines of instances on the picture of the page."""

import cv2
import numpy as np

_COLOR = 255, 255, 255
_PICTURE_WIDTH = 800
"""One pixel of thickness for so many pixels of the picture's width."""


def with_outlines(picture: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return a copy of a picture with a line along the inner border of each instance.

    Args:
        picture: uint8 [H, W, 3].
        ids: uint16, the instance at each pixel, 0 for none; if it has another size, the
            nearest pixel is used.
    """
    height, width = picture.shape[:2]
    if ids.shape != (height, width):
        ids = cv2.resize(ids, (width, height), interpolation=cv2.INTER_NEAREST)
    reach = max(1, round(width / _PICTURE_WIDTH))
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    is_border = (ids > 0) & (cv2.erode(ids, kernel) != cv2.dilate(ids, kernel))
    outlined = picture.copy()
    outlined[is_border] = _COLOR
    return outlined


def instance_count(ids: np.ndarray) -> int:
    """Return the number of instances in an image of ids; 0 is none."""
    return int(np.count_nonzero(np.bincount(ids.ravel(), minlength=1)[1:]))
