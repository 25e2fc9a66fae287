# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The labelled points of a mask, as the node computes them for ~/points from a message."""

from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField

from trt_segmentation.images.points import PointOptions, PointProjector
from trt_segmentation.ros.point_sources import read_cloud, read_depth

_LAYOUT: Any = {'names': ['x', 'y', 'z', 'rgb'], 'formats': [np.float32] * 4,
                'offsets': [0, 4, 8, 16], 'itemsize': 32}
_CLOUD_POINT = np.dtype(_LAYOUT)
"""Of PCL's PointXYZRGB, which most drivers of cameras with depth publish."""


def points_steps(mask: np.ndarray) -> dict[str, Callable[[], object]]:
    """Return functions that read a serialized message and compute the organized points of a mask,
    with class and confidence: from a depth image and from a cloud.

    Args:
        mask: uint8 or uint16 [height, width]; depth image (16UC1) and cloud (32 bytes a point)
            have the same size, and all pixels have a depth.
    """
    height, width = mask.shape
    millimetres = np.random.default_rng(0).integers(500, 8000, mask.shape, np.uint16)
    depth, cloud = _depth_image(millimetres), _cloud(millimetres)
    info = CameraInfo(height=height, width=width, k=[
        float(width), 0.0, width / 2, 0.0, float(width), height / 2, 0.0, 0.0, 1.0])
    confidence = np.full(mask.shape, 255, np.uint8)
    projector = PointProjector(mask.shape, mask.dtype, PointOptions(confidence=True))
    out = np.empty(projector.points.nbytes, np.uint8)
    return {
        'points, depth': lambda: projector.write(
            projector.project(*read_depth(depth, '', info), mask, confidence), out),
        'points, cloud': lambda: projector.write(
            projector.take(read_cloud(cloud, ''), mask, confidence), out)}


def _depth_image(millimetres: np.ndarray) -> bytes:
    """Return a serialized depth image."""
    height, width = millimetres.shape
    little = millimetres.astype('<u2')
    return serialize_message(Image(height=height, width=width, encoding='16UC1', step=2 * width,
                                   data=array('B', little.tobytes())))


def _cloud(millimetres: np.ndarray) -> bytes:
    """Return a serialized organized cloud."""
    height, width = millimetres.shape
    kind = _CLOUD_POINT.newbyteorder('<')
    points = np.zeros(millimetres.shape, kind)
    points['z'] = millimetres / 1000
    rows, columns = np.indices(millimetres.shape)
    points['x'] = (columns / width - 0.5) * points['z']
    points['y'] = (rows - height / 2) / width * points['z']
    fields = [PointField(name=name, offset=kind.fields[name][1], count=1,
                         datatype=PointField.FLOAT32) for name in kind.names]
    return serialize_message(PointCloud2(
        height=height, width=width, fields=fields, point_step=kind.itemsize,
        row_step=width * kind.itemsize, data=array('B', points.tobytes()), is_dense=True))
