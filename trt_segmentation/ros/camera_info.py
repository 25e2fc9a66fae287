# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/CameraInfo of a mask that is not as large as the camera's image."""

import copy
from typing import Any

from sensor_msgs.msg import CameraInfo, RegionOfInterest


def scaled_camera_info(info: CameraInfo, size: tuple[int, int]) -> CameraInfo:
    """Return the calibration of the same camera for an image of another size.

    Pixel centres lie half a pixel inside, as everywhere in this package, so a principal point
    moves by ``c' = (c + 1/2) * s - 1/2``. What the camera cuts off (``roi``) and puts together
    (``binning_x``, ``binning_y``) is worked into the result, which has neither. Distortion
    depends on none of this.

    Args:
        info: of the camera's image.
        size: height and width of the mask, pixels.
    """
    height, width = size
    seen = info.roi
    # All 0 stands for the whole image.
    across = width / (seen.width or info.width), seen.x_offset
    down = height / (seen.height or info.height), seen.y_offset
    scaled = copy.deepcopy(info)
    scaled.height, scaled.width = height, width
    scaled.k = [*_row(info.k[0:3], *across), *_row(info.k[3:6], *down), *info.k[6:9]]
    scaled.p = [*_row(info.p[0:4], *across), *_row(info.p[4:8], *down), *info.p[8:12]]
    scaled.binning_x = scaled.binning_y = 0
    scaled.roi = RegionOfInterest()
    return scaled


def _row(row: Any, scale: float, offset: int) -> list[float]:
    """Scale one row of K or P; the third value is the principal point's."""
    moved = [value * scale for value in row]
    moved[2] = (row[2] - offset + 0.5) * scale - 0.5
    return moved
