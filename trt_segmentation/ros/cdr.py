# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Parts of serialized messages: plain CDR (OMG DDS-RTPS 10.2) in either byte order.

Offsets count from the start of the message, whose encapsulation has 4 bytes; so a field that is
aligned in the message is aligned in these offsets, too.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from trt_segmentation.errors import ImageError


@contextmanager
def message_errors(memory: np.ndarray, name: str) -> Iterator[None]:
    """Convert the exceptions of a malformed message into an ImageError.

    Args:
        memory: uint8, the message.
        name: of its type in sensor_msgs.
    """
    try:
        yield
    except (struct.error, ValueError) as error:
        raise ImageError(f'a message of {len(memory)} bytes is not a valid '
                         f'sensor_msgs/{name} ({error})') from error


def read_header(memory: np.ndarray) -> tuple[str, Header, int]:
    """Return the byte order for struct, the std_msgs/Header, and the offset of the next field,
    if that is aligned to 4 bytes.

    Raises:
        struct.error, ValueError: the message is malformed; so with all functions below.
    """
    order = '<' if len(memory) > 1 and memory[1] & 1 else '>'  # odd encapsulations are '<'
    sec, nanosec = unpacked(f'{order}iI', memory, 4)
    frame_id, at = read_text(memory, order, 12)
    return order, Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id=frame_id), aligned(at)


def unpacked(form: str, memory: np.ndarray, at: int) -> tuple[Any, ...]:
    """Return values at an offset, with a format of struct."""
    return struct.unpack_from(form, memory.data, at)


def read_bytes(memory: np.ndarray, order: str, at: int) -> tuple[np.ndarray, int]:
    """Return a sequence of bytes, a view, and the offset of its end; ``at`` is that of its
    length."""
    (length,) = unpacked(f'{order}I', memory, at)
    start, end = at + 4, at + 4 + length
    if end > len(memory):
        raise ValueError(f'{length} bytes expected, {len(memory) - start} left')
    return memory[start:end], end


def read_text(memory: np.ndarray, order: str, at: int) -> tuple[str, int]:
    """Return a null-terminated string, and the offset of its end; see ``read_bytes``."""
    string, end = read_bytes(memory, order, at)
    return string.tobytes().rstrip(b'\0').decode(), end


def aligned(at: int) -> int:
    """Return the offset of the next 4-byte number."""
    return at + -at % 4
