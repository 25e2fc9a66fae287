# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Serialized messages in memory of ours, published from there and received into it.

rclpy knows a serialized message only as ``bytes``, which nothing can be written into: it copies
those once more on the way out, and makes new ones for every message on the way in. rcl, the C
library below it, takes any memory.
"""

import ctypes
import inspect
import os
import struct
from functools import cache
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image

_STAMP_AT = 4
"""Of a serialized message with a header: behind the encapsulation (OMG DDS-RTPS 10.2)."""


_TAKE_FAILED = 401
"""RCL_RET_SUBSCRIPTION_TAKE_FAILED of rcl/types.h: no message waits, or no longer."""

_pointer, _size = ctypes.c_void_p, ctypes.c_size_t
_Allocate = ctypes.CFUNCTYPE(_pointer, _size, _pointer)
_Deallocate = ctypes.CFUNCTYPE(None, _pointer, _pointer)
_Reallocate = ctypes.CFUNCTYPE(_pointer, _pointer, _size, _pointer)
_ZeroAllocate = ctypes.CFUNCTYPE(_pointer, _size, _size, _pointer)


class _Allocator(ctypes.Structure):
    """rcutils_allocator_t; only a message that is received needs one."""

    _fields_ = [('allocate', _Allocate), ('deallocate', _Deallocate),
                ('reallocate', _Reallocate), ('zero_allocate', _ZeroAllocate),
                ('state', _pointer)]


class _SerializedMessage(ctypes.Structure):
    """rcl_serialized_message_t."""

    _fields_ = [('buffer', _pointer), ('buffer_length', _size), ('buffer_capacity', _size),
                ('allocator', _Allocator)]


class _MessageInfo(ctypes.Structure):
    """The beginning of rmw_message_info_t (rmw/types.h), and room for what follows.

    It is the same from Humble to Rolling: Humble's identifiers are 24 bytes long, of which the
    first 16 are the publisher's (its GUID in DDS, its GID in Zenoh).
    """

    _fields_ = [('source_timestamp', ctypes.c_int64), ('received_timestamp', ctypes.c_int64),
                ('publication_sequence_number', ctypes.c_uint64),
                ('reception_sequence_number', ctypes.c_uint64),
                ('implementation_identifier', _pointer), ('publisher_gid', ctypes.c_uint8 * 16),
                ('rest', ctypes.c_uint8 * 200)]


_NO_SEQUENCE_NUMBER = 2**64 - 1
"""RMW_MESSAGE_INFO_SEQUENCE_NUMBER_UNSUPPORTED of rmw/types.h."""


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
        # The length of data, 0 so far.
        struct.pack_into('=I', self._memory.data, len(head) - 4, size)
        self.pixels = self._memory[len(head):]
        self._message = _SerializedMessage(self._memory.ctypes.data, self._memory.nbytes,
                                           self._memory.nbytes)

    def set_stamp(self, seconds: int, nanoseconds: int) -> None:
        """Write the stamp."""
        struct.pack_into('=iI', self._memory.data, _STAMP_AT, seconds, nanoseconds)

    def publish(self, publisher: Any) -> None:
        """Hand the message to the middleware, which copies it.

        Args:
            publisher: rclpy's, of the type Image; a lifecycle publisher that is not active
                publishes nothing.

        Raises:
            RuntimeError: rcl refuses, or the context is shut down.
        """
        rcl = find_rcl()
        if rcl is None:
            publisher.publish(deserialize_message(self._memory.tobytes(), Image))
            return
        if not getattr(publisher, 'is_activated', True):
            return
        with publisher.handle:
            status = rcl.rcl_publish_serialized_message(
                publisher.handle.pointer, ctypes.byref(self._message), None)
        if status:
            raise _failure(rcl, status, f'{publisher.topic_name} cannot be published: '
                                        'rcl_publish_serialized_message')


class ReceivingMemory:
    """Memory that the messages of a subscription are taken into, one after the other.

    It grows with the largest of them.
    """

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)
        self._info = _MessageInfo()
        self._message = _SerializedMessage(None, 0, 0, _Allocator(
            allocate=_Allocate(lambda size, state: None),
            deallocate=_Deallocate(lambda address, state: None),
            reallocate=_Reallocate(self._grow),
            zero_allocate=_ZeroAllocate(lambda count, size, state: None)))

    def take(self, subscription: Any) -> tuple[np.ndarray, dict] | None:
        """Take the oldest message that waits.

        Args:
            subscription: rclpy's.

        Returns:
            The serialized message, uint8 and good until the next one is taken, and its
            publication_sequence_number and publisher_gid, where the middleware tells; None where
            no message waits.

        Raises:
            RuntimeError: there is no rcl, or it refuses.
            rclpy.exceptions.InvalidHandle: the subscription is destroyed.
        """
        rcl = find_rcl()
        with subscription.handle:
            status = rcl.rcl_take_serialized_message(
                subscription.handle.pointer, ctypes.byref(self._message),
                ctypes.byref(self._info), None)
        if status == _TAKE_FAILED:
            rcl.rcutils_reset_error()
            return None
        if status:
            raise _failure(rcl, status, f'{subscription.topic_name} cannot be received: '
                                        'rcl_take_serialized_message')
        info = {}
        if self._info.publication_sequence_number != _NO_SEQUENCE_NUMBER:
            info = {'publication_sequence_number': self._info.publication_sequence_number,
                    'publisher_gid': bytes(self._info.publisher_gid)}
        return self._memory[:self._message.buffer_length], info

    def _grow(self, address: int | None, size: int, state: int | None) -> int:
        """Give C more memory; what was in the old one is not kept, since nobody reads it."""
        if size > self._memory.nbytes:
            self._memory = np.empty(size, np.uint8)
        return self._memory.ctypes.data


def serialized_stamp(message: bytes) -> int:
    """Return the stamp of a serialized message that begins with a header, in nanoseconds."""
    order = '<' if message[1] & 1 else '>'  # odd encapsulations are little-endian
    seconds, nanoseconds = struct.unpack_from(f'{order}iI', message, _STAMP_AT)
    return seconds * 10**9 + nanoseconds


def _failure(rcl: Any, status: int, what: str) -> RuntimeError:
    """Return the error of an rcl function that returned a status."""
    rcl.rcutils_reset_error()
    return RuntimeError(f'{what} returned {status}')


@cache
def find_rcl() -> Any:
    """Return the rcl that rclpy has loaded; None where it cannot be found."""
    try:
        rcl = ctypes.CDLL('librcl.so', mode=os.RTLD_NOLOAD | os.RTLD_NOW)
        for function, count in ((rcl.rcl_publish_serialized_message, 3),
                                (rcl.rcl_take_serialized_message, 4)):
            function.argtypes = [ctypes.c_void_p] * count
            function.restype = ctypes.c_int
        rcl.rcutils_reset_error.restype = None
    except (OSError, AttributeError):
        return None
    return rcl


def can_take_serialized() -> bool:
    """Return whether messages that are taken serialized are certain to arrive.

    From ROS 2 Lyrical on, a publisher of an Image has a second channel for subscribers that know
    ``rosidl::Buffer``, as rclpy's do; up to rmw_fastrtps 9.5.0, who takes serialized messages does
    not read it, and nothing says so (ros2/rmw_fastrtps#881). Messages are taken as rclpy's there.
    """
    knows_buffers = 'acceptable_buffer_backends' in inspect.signature(
        Node.create_subscription).parameters
    return find_rcl() is not None and not knows_buffers
