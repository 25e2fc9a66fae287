# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/CameraInfo of a mask whose size differs from the image."""

import copy
from typing import Any

from sensor_msgs.msg import CameraInfo, RegionOfInterest


def image_size_of(info: CameraInfo) -> tuple[int, int]:
    """Return height and width of the image that a camera_info is of: its ``roi``, binned."""
    roi = info.roi  # all 0 means the whole image
    return ((roi.height or info.height) // max(info.binning_y, 1),
            (roi.width or info.width) // max(info.binning_x, 1))


def is_scaled(info: CameraInfo, size: tuple[int, int]) -> bool:
    """Return whether an image of ``size`` (height, width) can be the image of a camera_info,
    scaled, with sides that are rounded to whole pixels."""
    height, width = image_size_of(info)
    return abs(size[1] * height - size[0] * width) <= max(height, width)


def scaled_camera_info(info: CameraInfo, size: tuple[int, int]) -> CameraInfo:
    """Scale the calibration of a camera to another image size.

    Pixel i covers [i - 1/2, i + 1/2], so a principal point c becomes ``(c + 1/2) * s - 1/2``.
    ``roi`` and binning are applied, and reset in the result. The distortion does not change.

    Args:
        info: of the camera's image.
        size: height and width of the mask, pixels.
    """
    height, width = size
    roi = info.roi
    x = width / _binned(roi.width or info.width, info.binning_x), roi.x_offset
    y = height / _binned(roi.height or info.height, info.binning_y), roi.y_offset
    scaled = copy.deepcopy(info)
    scaled.height, scaled.width = height, width
    scaled.k = [*_row(info.k[0:3], *x), *_row(info.k[3:6], *y), *info.k[6:9]]
    scaled.p = [*_row(info.p[0:4], *x), *_row(info.p[4:8], *y), *info.p[8:12]]
    scaled.binning_x = scaled.binning_y = 0
    scaled.roi = RegionOfInterest()
    return scaled


def _binned(extent: int, binning: int) -> int:
    """Return how many of the sensor's pixels are in the image: none of an incomplete bin."""
    return extent - extent % max(binning, 1) or extent


def _row(row: Any, scale: float, offset: int) -> list[float]:
    """Scale one row of K or P; the third value is the principal point. All values of a camera that
    is not calibrated are 0."""
    if not any(row):
        return list(row)
    moved = [value * scale for value in row]
    moved[2] = (row[2] - offset + 0.5) * scale - 0.5
    return moved
