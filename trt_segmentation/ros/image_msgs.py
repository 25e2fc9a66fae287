# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The image messages of the node: parsers for serialized input, a reader that falls back to
cv_bridge, and output messages that the network writes into."""

import sys
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from trt_segmentation.errors import ImageError
from trt_segmentation.images.decoding import ENCODINGS, ImageDecoder
from trt_segmentation.ros.cdr import (
    aligned,
    message_errors,
    read_bytes,
    read_header,
    read_text,
    unpacked,
)
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
    with message_errors(memory, 'Image'):
        order, header, at = read_header(memory)
        height, width = unpacked(f'{order}II', memory, at)
        encoding, at = read_text(memory, order, at + 8)
        (is_bigendian,) = unpacked('B', memory, at)
        at = aligned(at + 1)
        (step,) = unpacked(f'{order}I', memory, at)
        data, _ = read_bytes(memory, order, at + 4)
        return ReceivedImage(header, height, width, encoding, is_bigendian, step, data)


def received_compressed_image(memory: np.ndarray) -> ReceivedCompressedImage:
    """Parse a serialized sensor_msgs/CompressedImage; see ``received_image``."""
    with message_errors(memory, 'CompressedImage'):
        order, header, at = read_header(memory)
        format_, at = read_text(memory, order, at)
        data, _ = read_bytes(memory, order, aligned(at))
        return ReceivedCompressedImage(header, format_, data)


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
