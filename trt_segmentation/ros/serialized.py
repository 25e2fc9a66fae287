# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Serialized messages in memory of ours, published from there.

rclpy takes a serialized message only as ``bytes``, which nothing can be written into, and copies
those once more. rcl, the C library below it, takes any memory.
"""

import ctypes
import os
import struct
from functools import cache
from typing import Any

import numpy as np
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image

_STAMP_AT = 4
"""Of a serialized message with a header: behind the encapsulation (OMG DDS-RTPS 10.2)."""


class _Allocator(ctypes.Structure):
    """rcutils_allocator_t; nothing here lets rcl allocate."""

    _fields_ = [(name, ctypes.c_void_p) for name in (
        'allocate', 'deallocate', 'reallocate', 'zero_allocate', 'state')]


class _SerializedMessage(ctypes.Structure):
    """rcl_serialized_message_t."""

    _fields_ = [('buffer', ctypes.c_void_p), ('buffer_length', ctypes.c_size_t),
                ('buffer_capacity', ctypes.c_size_t), ('allocator', _Allocator)]


class SerializedImage:
    """A sensor_msgs/Image, serialized, whose memory is sized once and written for every frame.

    Args:
        msg: all but the pixels; ``data`` is not looked at.

    Attributes:
        pixels: uint8 [height * step], the memory of ``data``.
    """

    def __init__(self, msg: Image) -> None:
        size = msg.height * msg.step
        head = serialize_message(Image(
            header=msg.header, height=msg.height, width=msg.width, encoding=msg.encoding,
            is_bigendian=msg.is_bigendian, step=msg.step))
        self._memory = np.empty(len(head) + size, np.uint8)
        self._memory[:len(head)] = np.frombuffer(head, np.uint8)
        struct.pack_into('=I', self._memory, len(head) - 4, size)  # the length of data, 0 so far
        self.pixels = self._memory[len(head):]
        self._message = _SerializedMessage(self._memory.ctypes.data, self._memory.nbytes,
                                           self._memory.nbytes)

    def set_stamp(self, seconds: int, nanoseconds: int) -> None:
        """Write the stamp."""
        struct.pack_into('=iI', self._memory, _STAMP_AT, seconds, nanoseconds)

    def publish(self, publisher: Any) -> None:
        """Hand the message to the middleware, which copies it.

        Args:
            publisher: rclpy's, of the type Image; a lifecycle publisher that is not active
                publishes nothing.

        Raises:
            RuntimeError: rcl refuses, or the context is shut down.
        """
        rcl = _find_rcl()
        if rcl is None:
            publisher.publish(self._memory.tobytes())
            return
        if not getattr(publisher, 'is_activated', True):
            return
        with publisher.handle:
            status = rcl.rcl_publish_serialized_message(
                publisher.handle.pointer, ctypes.byref(self._message), None)
        if status:
            rcl.rcutils_reset_error()
            raise RuntimeError(f'{publisher.topic_name} cannot be published: '
                               f'rcl_publish_serialized_message returned {status}')


@cache
def _find_rcl() -> Any:
    """Return the rcl that rclpy has loaded; None where it cannot be found."""
    try:
        rcl = ctypes.CDLL('librcl.so', mode=os.RTLD_NOLOAD | os.RTLD_NOW)
        publish = rcl.rcl_publish_serialized_message
        publish.argtypes = [ctypes.c_void_p] * 3
        publish.restype = ctypes.c_int
        rcl.rcutils_reset_error.restype = None
    except (OSError, AttributeError):
        return None
    return rcl
