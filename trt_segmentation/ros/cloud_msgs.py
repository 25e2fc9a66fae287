# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A parser for serialized clouds."""

from dataclasses import dataclass

import numpy as np
from sensor_msgs.msg import PointField
from std_msgs.msg import Header

from trt_segmentation.ros.cdr import (
    aligned,
    message_errors,
    read_bytes,
    read_header,
    read_text,
    unpacked,
)

_SMALLEST_FIELD = 16
"""Bytes of a PointField with an empty name that has no terminator, without padding at its end."""


@dataclass(frozen=True)
class ReceivedCloud:
    """The fields of a sensor_msgs/PointCloud2; ``data`` is a view of the message."""

    header: Header
    height: int
    width: int
    fields: tuple[PointField, ...]
    is_bigendian: bool
    point_step: int
    row_step: int
    data: np.ndarray
    is_dense: bool


def received_cloud(memory: np.ndarray) -> ReceivedCloud:
    """Parse a serialized sensor_msgs/PointCloud2 without copying its data.

    Args:
        memory: uint8, plain CDR (OMG DDS-RTPS 10.2) in either byte order.

    Raises:
        ImageError: the message is malformed.
    """
    with message_errors(memory, 'PointCloud2'):
        order, header, at = read_header(memory)
        height, width, count = unpacked(f'{order}III', memory, at)
        fields, at = _fields(memory, order, at + 12, count)
        (is_bigendian,) = unpacked('B', memory, at)
        at = aligned(at + 1)
        point_step, row_step = unpacked(f'{order}II', memory, at)
        data, at = read_bytes(memory, order, at + 8)
        (is_dense,) = unpacked('B', memory, at)
        return ReceivedCloud(header, height, width, fields, bool(is_bigendian), point_step,
                             row_step, data, bool(is_dense))


def _fields(memory: np.ndarray, order: str, at: int, count: int,
            ) -> tuple[tuple[PointField, ...], int]:
    """Return the fields of the points, and the offset of their end."""
    if count * _SMALLEST_FIELD > len(memory) - at:
        raise ValueError(f'{count} fields expected, {len(memory) - at} bytes left')
    fields = []
    for _ in range(count):
        name, at = read_text(memory, order, aligned(at))
        offset, datatype, number = unpacked(f'{order}IB3xI', memory, aligned(at))
        fields.append(PointField(name=name, offset=offset, datatype=datatype, count=number))
        at = aligned(at) + 12
    return tuple(fields), at
