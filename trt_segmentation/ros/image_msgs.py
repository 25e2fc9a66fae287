# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The image messages of the node: parsers for serialized input, a reader that falls back to
cv_bridge, and output messages that the network writes into."""

import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from trt_segmentation.errors import ImageError
from trt_segmentation.images.decoding import ENCODINGS, ImageDecoder
from trt_segmentation.ros.serialized import SerializedData


@dataclass(frozen=True)
class ReceivedImage:
    """The fields of a sensor_msgs/Image; ``data`` is a view of the receive buffer."""

    header: Header
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: np.ndarray


@dataclass(frozen=True)
class ReceivedCompressedImage:
    """The fields of a sensor_msgs/CompressedImage; see ``ReceivedImage``."""

    header: Header
    format: str
    data: np.ndarray


def received_image(memory: np.ndarray) -> ReceivedImage:
    """Parse a serialized sensor_msgs/Image without copying its data.

    Args:
        memory: uint8, plain CDR (OMG DDS-RTPS 10.2) in either byte order.

    Raises:
        ImageError: the message is malformed.
    """
    with _image_errors(memory, 'Image'):
        order, header, at = _header(memory)
        height, width, length = _unpacked(f'{order}III', memory, at)
        encoding, at = _part(memory, at + 12, length)
        (is_bigendian,) = _unpacked('B', memory, at)
        at += 1 + -(at + 1) % 4
        step, length = _unpacked(f'{order}II', memory, at)
        data, _ = _part(memory, at + 8, length)
        return ReceivedImage(header, height, width, _text(encoding), is_bigendian, step, data)


def received_compressed_image(memory: np.ndarray) -> ReceivedCompressedImage:
    """Parse a serialized sensor_msgs/CompressedImage; see ``received_image``."""
    with _image_errors(memory, 'CompressedImage'):
        order, header, at = _header(memory)
        (length,) = _unpacked(f'{order}I', memory, at)
        format_, at = _part(memory, at + 4, length)
        at += -at % 4
        (length,) = _unpacked(f'{order}I', memory, at)
        data, _ = _part(memory, at + 4, length)
        return ReceivedCompressedImage(header, _text(format_), data)


@contextmanager
def _image_errors(memory: np.ndarray, name: str) -> Iterator[None]:
    """Convert the exceptions of a malformed message into an ImageError."""
    try:
        yield
    except (struct.error, ValueError) as error:
        raise ImageError(f'a message of {len(memory)} bytes is not a valid '
                         f'sensor_msgs/{name} ({error})') from error


def _header(memory: np.ndarray) -> tuple[str, Header, int]:
    """Return the byte order for struct, the std_msgs/Header, and the offset of the next field."""
    order = '<' if len(memory) > 1 and memory[1] & 1 else '>'
    sec, nanosec, length = _unpacked(f'{order}iII', memory, 4)
    frame_id, at = _part(memory, 16, length)
    header = Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id=_text(frame_id))
    return order, header, at + -at % 4


def _unpacked(form: str, memory: np.ndarray, at: int) -> tuple[Any, ...]:
    return struct.unpack_from(form, memory.data, at)


def _part(memory: np.ndarray, start: int, length: int) -> tuple[np.ndarray, int]:
    """Return a slice, and the offset of its end."""
    end = start + length
    if end > len(memory):
        raise ValueError(f'{length} bytes expected, {len(memory) - start} left')
    return memory[start:end], end


def _text(string: np.ndarray) -> str:
    """Decode a null-terminated string."""
    return string.tobytes().rstrip(b'\0').decode()


class ImageReader(ImageDecoder):
    """Reads the encodings of ``ImageDecoder``, and those of cv_bridge if it is installed."""

    @cached_property
    def _cv_bridge(self) -> Any:
        try:
            from cv_bridge import CvBridge
        except ImportError:
            return None
        return CvBridge()

    def read_other(self, msg: Image) -> np.ndarray:
        """Convert an image with cv_bridge to uint8 BGR [H, W, 3]."""
        error_start = f"encoding '{msg.encoding}' ({msg.width}x{msg.height}) cannot be segmented"
        if self._cv_bridge is None:
            raise ImageError(f'{error_start}; supported are {", ".join(ENCODINGS)}, and the '
                             'encodings of cv_bridge if it is installed')
        try:
            pixels = self._cv_bridge.imgmsg_to_cv2(msg, 'bgr8')
        except Exception as error:  # of cv_bridge, OpenCV or NumPy
            raise ImageError(f'{error_start}: cv_bridge failed: {error}') from error
        if pixels.shape != (msg.height, msg.width, 3) or pixels.dtype != np.uint8:
            raise ImageError(f'{error_start}: cv_bridge returned {pixels.dtype} '
                             f'{pixels.shape}')
        return np.ascontiguousarray(pixels)


_OUTGOING = {'mono8': (np.uint8, 1), 'mono16': (np.uint16, 1), 'bgr8': (np.uint8, 3)}


class OutgoingImage:
    """An output message with a reused buffer that the network writes every frame into.

    Args:
        encoding: 'mono8', 'mono16' or 'bgr8'.
        height, width: pixels.

    Attributes:
        pixels: view of the buffer: uint8 or, for mono16, uint16 [height, width], or uint8
            [height, width, 3]. It is replaced when the frame_id changes.
    """

    def __init__(self, encoding: str, height: int, width: int) -> None:
        self._dtype, channels = _OUTGOING[encoding]
        self._shape = (height, width, 3) if channels == 3 else (height, width)
        step = width * channels * np.dtype(self._dtype).itemsize
        self._description = Image(height=height, width=width, encoding=encoding, step=step,
                                  is_bigendian=int(sys.byteorder == 'big'))
        self._serialize()

    def publish(self, header: Header, publisher: Any) -> None:
        """Publish the pixels.

        Args:
            header: with the stamp and the frame_id.
            publisher: of sensor_msgs/Image.

        Raises:
            RuntimeError: the middleware failed to publish.
        """
        if header.frame_id != self._description.header.frame_id:
            written = self.pixels
            self._description.header.frame_id = header.frame_id
            self._serialize()
            self.pixels[...] = written
        self._message.set_stamp(header.stamp.sec, header.stamp.nanosec)
        self._message.publish(publisher)

    def _serialize(self) -> None:
        self._message = SerializedData(
            self._description, self._description.height * self._description.step)
        self.pixels = self._message.data.view(self._dtype).reshape(self._shape)
