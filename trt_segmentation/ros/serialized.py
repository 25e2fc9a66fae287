# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Serialized messages in reused buffers, for publishing and receiving.

rclpy represents a serialized message as ``bytes``, which are immutable: it copies them when it
publishes, and allocates new ones for every received message. rcl, the C library below rclpy,
accepts any buffer.
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

from trt_segmentation.errors import ImageError

_STAMP_OFFSET = 4
"""Offset of the stamp of a message with a header, after the encapsulation (OMG DDS-RTPS 10.2)."""


_ALIGNMENT = 16
"""Bytes; NumPy is slower on unaligned numbers."""

_TAKE_FAILED = 401
"""RCL_RET_SUBSCRIPTION_TAKE_FAILED of rcl/types.h: there is no message to take."""

_pointer, _size = ctypes.c_void_p, ctypes.c_size_t
_Allocate = ctypes.CFUNCTYPE(_pointer, _size, _pointer)
_Deallocate = ctypes.CFUNCTYPE(None, _pointer, _pointer)
_Reallocate = ctypes.CFUNCTYPE(_pointer, _pointer, _size, _pointer)
_ZeroAllocate = ctypes.CFUNCTYPE(_pointer, _size, _size, _pointer)


class _Allocator(ctypes.Structure):
    """rcutils_allocator_t; used only to receive messages."""

    _fields_ = [('allocate', _Allocate), ('deallocate', _Deallocate),
                ('reallocate', _Reallocate), ('zero_allocate', _ZeroAllocate),
                ('state', _pointer)]


class _SerializedMessage(ctypes.Structure):
    """rcl_serialized_message_t."""

    _fields_ = [('buffer', _pointer), ('buffer_length', _size), ('buffer_capacity', _size),
                ('allocator', _Allocator)]


class _MessageInfo(ctypes.Structure):
    """The first fields of rmw_message_info_t (rmw/types.h), and space for the others.

    They are the same from Humble to Rolling. Humble's identifiers have 24 bytes; the first 16
    identify the publisher (its GUID in DDS, its GID in Zenoh).
    """

    _fields_ = [('source_timestamp', ctypes.c_int64), ('received_timestamp', ctypes.c_int64),
                ('publication_sequence_number', ctypes.c_uint64),
                ('reception_sequence_number', ctypes.c_uint64),
                ('implementation_identifier', _pointer), ('publisher_gid', ctypes.c_uint8 * 16),
                ('rest', ctypes.c_uint8 * 200)]


_NO_SEQUENCE_NUMBER = 2**64 - 1
"""RMW_MESSAGE_INFO_SEQUENCE_NUMBER_UNSUPPORTED of rmw/types.h."""


class SerializedData:
    """A serialized message with an array of bytes, in a buffer that is reused for every frame.

    Args:
        msg: a message that starts with a header, such as sensor_msgs/Image, with an empty
            ``data``.
        size: bytes of ``data``.
        tail: bytes of the fields after ``data``: 0 for Image, 1 for PointCloud2.

    Attributes:
        data: uint8 [size], aligned to 16 bytes.
    """

    def __init__(self, msg: Any, size: int, tail: int = 0) -> None:
        self._type, self._tail = type(msg), tail
        self._memory = np.empty(0, np.uint8)
        self.describe(msg, size)

    def describe(self, msg: Any, size: int) -> None:
        """Replace all fields and the size of ``data``, whose contents are lost.

        The buffer is reused if it is large enough.

        Args:
            msg: as for the class.
            size: bytes of ``data``.
        """
        fields = np.frombuffer(serialize_message(msg), np.uint8)
        start, total = len(fields) - self._tail, len(fields) + size
        if len(self._memory) < total + _ALIGNMENT:
            self._memory = np.empty(total + _ALIGNMENT, np.uint8)
        skipped = -(self._memory.ctypes.data + start) % _ALIGNMENT
        self._buffer = self._memory[skipped:skipped + total]
        self._buffer[:start] = fields[:start]
        self._buffer[start + size:] = fields[start:]
        # Replace the length of data, which is 0.
        struct.pack_into('=I', self._buffer.data, start - 4, size)
        self.data = self._buffer[start:start + size]
        self._message = _SerializedMessage(self._buffer.ctypes.data, total, total)

    @property
    def nbytes(self) -> int:
        """Size of the whole message."""
        return self._buffer.nbytes

    def set_stamp(self, seconds: int, nanoseconds: int) -> None:
        """Write the stamp."""
        struct.pack_into('=iI', self._buffer.data, _STAMP_OFFSET, seconds, nanoseconds)

    def publish(self, publisher: Any) -> None:
        """Publish the message; the middleware copies it.

        Args:
            publisher: rclpy publisher of the type; an inactive lifecycle publisher publishes
                nothing.

        Raises:
            RuntimeError: rcl failed, or the context is shut down.
        """
        rcl = find_rcl()
        if rcl is None:
            publisher.publish(deserialize_message(self._buffer.tobytes(), self._type))
            return
        if not getattr(publisher, 'is_activated', True):
            return
        with publisher.handle:
            status = rcl.rcl_publish_serialized_message(
                publisher.handle.pointer, ctypes.byref(self._message), None)
        if status:
            raise _failure(rcl, status, f'{publisher.topic_name} cannot be published: '
                                        'rcl_publish_serialized_message')


class ReceiveBuffer:
    """A reused buffer for the messages of a subscription.

    It grows to the size of the largest message.
    """

    def __init__(self) -> None:
        self._buffer = np.empty(0, np.uint8)
        self._info = _MessageInfo()
        self._message = _SerializedMessage(None, 0, 0, _Allocator(
            allocate=_Allocate(lambda size, state: None),
            deallocate=_Deallocate(lambda address, state: None),
            reallocate=_Reallocate(self._grow),
            zero_allocate=_ZeroAllocate(lambda count, size, state: None)))

    def take(self, subscription: Any) -> tuple[np.ndarray, dict] | None:
        """Take the oldest message in the queue.

        Args:
            subscription: an rclpy subscription.

        Returns:
            The serialized message, uint8, valid until the next one is taken, and its
            publication_sequence_number and publisher_gid, if the middleware provides them; None if
            there is no message.

        Raises:
            RuntimeError: rcl failed.
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
        return self._buffer[:self._message.buffer_length], info

    def _grow(self, address: int | None, size: int, state: int | None) -> int:
        """Allocator callback: enlarge the buffer; its old contents are not needed."""
        if size > self._buffer.nbytes:
            self._buffer = np.empty(size, np.uint8)
        return self._buffer.ctypes.data


def serialized_stamp(message: bytes | np.ndarray) -> int:
    """Return the stamp of a serialized message that starts with a header, nanoseconds.

    Raises:
        ImageError: the message is too short.
    """
    if len(message) < _STAMP_OFFSET + 8:
        raise ImageError(f'a message of {len(message)} bytes has no stamp; it is too short to '
                         'start with a header')
    order = '<' if message[1] & 1 else '>'  # odd encapsulations are little-endian
    seconds, nanoseconds = struct.unpack(
        f'{order}iI', bytes(message[_STAMP_OFFSET:_STAMP_OFFSET + 8]))
    return seconds * 10**9 + nanoseconds


def _failure(rcl: Any, status: int, call: str) -> RuntimeError:
    """Return the error for a failed call of an rcl function."""
    rcl.rcutils_reset_error()
    return RuntimeError(f'{call} returned {status}')


@cache
def find_rcl() -> Any:
    """Return the rcl library that rclpy has loaded; None if it cannot be found."""
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
    """Return whether serialized messages can be taken without losing any.

    From ROS 2 Lyrical on, a publisher of Image has a second channel for subscribers that support
    ``rosidl::Buffer``, which rclpy does. Up to rmw_fastrtps 9.5.0, a subscriber that takes
    serialized messages silently receives none from this channel (ros2/rmw_fastrtps#881). There,
    rclpy takes the messages.
    """
    supports_buffers = 'acceptable_buffer_backends' in inspect.signature(
        Node.create_subscription).parameters
    return find_rcl() is not None and not supports_buffers
