# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The node's image messages: those that are received serialized, what cv_bridge reads, too, and
those that the network writes into."""

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
from trt_segmentation.ros.serialized import SerializedImage


@dataclass(frozen=True)
class ReceivedImage:
    """A sensor_msgs/Image, by its fields; ``data`` is the memory that it was received into."""

    header: Header
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: np.ndarray


@dataclass(frozen=True)
class ReceivedCompressedImage:
    """A sensor_msgs/CompressedImage; see ``ReceivedImage``."""

    header: Header
    format: str
    data: np.ndarray


def received_image(memory: np.ndarray) -> ReceivedImage:
    """Read a serialized sensor_msgs/Image, without a copy of its data.

    Args:
        memory: uint8, in the Common Data Representation (OMG DDS-RTPS 10.2): plain, of either
            byte order.

    Raises:
        ImageError: it is none.
    """
    with _refusing(memory, 'Image'):
        order, header, at = _header(memory)
        height, width, length = _unpacked(f'{order}III', memory, at)
        encoding, at = _part(memory, at + 12, length)
        (is_bigendian,) = _unpacked('B', memory, at)
        at += 1 + -(at + 1) % 4
        step, length = _unpacked(f'{order}II', memory, at)
        data, _ = _part(memory, at + 8, length)
        return ReceivedImage(header, height, width, _text(encoding), is_bigendian, step, data)


def received_compressed_image(memory: np.ndarray) -> ReceivedCompressedImage:
    """Read a serialized sensor_msgs/CompressedImage; see ``received_image``."""
    with _refusing(memory, 'CompressedImage'):
        order, header, at = _header(memory)
        (length,) = _unpacked(f'{order}I', memory, at)
        format_, at = _part(memory, at + 4, length)
        at += -at % 4
        (length,) = _unpacked(f'{order}I', memory, at)
        data, _ = _part(memory, at + 4, length)
        return ReceivedCompressedImage(header, _text(format_), data)


@contextmanager
def _refusing(memory: np.ndarray, name: str) -> Iterator[None]:
    """Turn what a malformed message raises into an ImageError."""
    try:
        yield
    except (struct.error, ValueError) as error:
        raise ImageError(f'a message of {len(memory)} bytes is no sensor_msgs/{name} '
                         f'({error})') from error


def _header(memory: np.ndarray) -> tuple[str, Header, int]:
    """Return struct's sign of the byte order, the std_msgs/Header, and where the rest begins."""
    order = '<' if len(memory) > 1 and memory[1] & 1 else '>'
    sec, nanosec, length = _unpacked(f'{order}iII', memory, 4)
    frame_id, at = _part(memory, 16, length)
    header = Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id=_text(frame_id))
    return order, header, at + -at % 4


def _unpacked(form: str, memory: np.ndarray, at: int) -> tuple[Any, ...]:
    return struct.unpack_from(form, memory.data, at)


def _part(memory: np.ndarray, start: int, length: int) -> tuple[np.ndarray, int]:
    """Return that part, and where it ends."""
    end = start + length
    if end > len(memory):
        raise ValueError(f'{length} bytes announced, {len(memory) - start} there')
    return memory[start:end], end


def _text(string: np.ndarray) -> str:
    """Return a string that ends with a zero."""
    return string.tobytes().rstrip(b'\0').decode()


class ImageReader(ImageDecoder):
    """Reads what ``ImageDecoder`` reads, and what cv_bridge knows where that is installed."""

    @cached_property
    def _cv_bridge(self) -> Any:
        try:
            from cv_bridge import CvBridge
        except ImportError:
            return None
        return CvBridge()

    def read_other(self, msg: Image) -> np.ndarray:
        """Return the pixels as cv_bridge converts them: uint8 BGR [H, W, 3]."""
        what = f"encoding '{msg.encoding}' ({msg.width}x{msg.height}) cannot be segmented"
        if self._cv_bridge is None:
            raise ImageError(f'{what}; known are {", ".join(ENCODINGS)}, and what cv_bridge '
                             'knows, which is not installed')
        try:
            pixels = self._cv_bridge.imgmsg_to_cv2(msg, 'bgr8')
        except Exception as error:  # its own, OpenCV's, NumPy's
            raise ImageError(f'{what}: cv_bridge says {error}') from error
        if pixels.shape != (msg.height, msg.width, 3) or pixels.dtype != np.uint8:
            raise ImageError(f'{what}: cv_bridge makes {pixels.dtype} {pixels.shape} of it')
        return np.ascontiguousarray(pixels)


_OUTGOING = {'mono8': (np.uint8, 1), 'mono16': (np.uint16, 1), 'bgr8': (np.uint8, 3)}


class OutgoingImage:
    """A message whose memory is sized once and written by the network for every frame.

    Args:
        encoding: 'mono8', 'mono16' or 'bgr8'.
        height, width: pixels.

    Attributes:
        pixels: its memory: uint8 or, for mono16, uint16 [height, width], or uint8
            [height, width, 3]. Another one as soon as the frame of the camera has another name.
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
            header: stamp and frame_id to give them.
            publisher: of the type sensor_msgs/Image.

        Raises:
            RuntimeError: the middleware refuses.
        """
        if header.frame_id != self._description.header.frame_id:
            written = self.pixels
            self._description.header.frame_id = header.frame_id
            self._serialize()
            self.pixels[...] = written
        self._message.set_stamp(header.stamp.sec, header.stamp.nanosec)
        self._message.publish(publisher)

    def _serialize(self) -> None:
        self._message = SerializedImage(self._description)
        self.pixels = self._message.pixels.view(self._dtype).reshape(self._shape)
