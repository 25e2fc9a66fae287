# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/CameraInfo of a mask that is not as large as the camera's image."""

import copy

from sensor_msgs.msg import CameraInfo


def scaled_camera_info(info: CameraInfo, size: tuple[int, int]) -> CameraInfo:
    """Return the calibration of the same camera for an image of another size.

    Pixel centres lie half a pixel inside, as everywhere in this package, so a principal point
    moves by ``c' = (c + 1/2) * s - 1/2``. Distortion does not depend on the size.

    Args:
        info: of the camera's image.
        size: height and width of the mask, pixels.
    """
    height, width = size
    across, down = width / info.width, height / info.height
    scaled = copy.deepcopy(info)
    scaled.height, scaled.width = height, width
    k, p = list(info.k), list(info.p)
    k[0], k[1], k[2] = k[0] * across, k[1] * across, _moved(k[2], across)
    k[4], k[5] = k[4] * down, _moved(k[5], down)
    p[0], p[1], p[2], p[3] = p[0] * across, p[1] * across, _moved(p[2], across), p[3] * across
    p[5], p[6], p[7] = p[5] * down, _moved(p[6], down), p[7] * down
    scaled.k, scaled.p = k, p
    scaled.roi.x_offset = round(info.roi.x_offset * across)
    scaled.roi.width = round(info.roi.width * across)
    scaled.roi.y_offset = round(info.roi.y_offset * down)
    scaled.roi.height = round(info.roi.height * down)
    return scaled


def _moved(centre: float, scale: float) -> float:
    return (centre + 0.5) * scale - 0.5
