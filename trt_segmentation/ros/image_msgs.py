# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/Image in and out, without a copy where the encoding allows it."""

from array import array
from dataclasses import dataclass

import cv2
import numpy as np
from sensor_msgs.msg import Image

from trt_segmentation.errors import ImageError


@dataclass(frozen=True)
class Encoding:
    """How one of sensor_msgs' encodings becomes three 8-bit channels.

    Attributes:
        channels: values per pixel.
        color: channel order of the result.
        conversion: OpenCV's colour conversion code; None where the bytes are used as they are.
        itemsize: bytes per value.
    """

    channels: int
    color: str = 'bgr'
    conversion: int | None = None
    itemsize: int = 1


# OpenCV names a Bayer pattern by its second row's second and third pixel, ROS by its first row's
# first two: rggb there is BG here.
ENCODINGS = {
    'bgr8': Encoding(3),
    '8UC3': Encoding(3),
    'rgb8': Encoding(3, 'rgb'),
    'bgra8': Encoding(4, 'bgr', cv2.COLOR_BGRA2BGR),
    '8UC4': Encoding(4, 'bgr', cv2.COLOR_BGRA2BGR),
    'rgba8': Encoding(4, 'bgr', cv2.COLOR_RGBA2BGR),
    'mono8': Encoding(1, 'bgr', cv2.COLOR_GRAY2BGR),
    '8UC1': Encoding(1, 'bgr', cv2.COLOR_GRAY2BGR),
    'mono16': Encoding(1, 'bgr', cv2.COLOR_GRAY2BGR, itemsize=2),
    'bayer_rggb8': Encoding(1, 'bgr', cv2.COLOR_BayerBG2BGR),
    'bayer_bggr8': Encoding(1, 'bgr', cv2.COLOR_BayerRG2BGR),
    'bayer_gbrg8': Encoding(1, 'bgr', cv2.COLOR_BayerGR2BGR),
    'bayer_grbg8': Encoding(1, 'bgr', cv2.COLOR_BayerGB2BGR),
    'uyvy': Encoding(2, 'bgr', cv2.COLOR_YUV2BGR_UYVY),
    'yuv422': Encoding(2, 'bgr', cv2.COLOR_YUV2BGR_UYVY),
    'yuyv': Encoding(2, 'bgr', cv2.COLOR_YUV2BGR_YUY2),
    'yuv422_yuy2': Encoding(2, 'bgr', cv2.COLOR_YUV2BGR_YUY2),
}


class ImageReader:
    """Reads incoming messages; owns the memory for those that need converting."""

    def __init__(self) -> None:
        self._bgr = np.empty((0, 0, 3), np.uint8)
        self._bytes = np.empty((0, 0), np.uint8)

    def read(self, msg: Image) -> tuple[np.ndarray, str]:
        """Return a message's pixels.

        Args:
            msg: in one of ``ENCODINGS``, its rows padded or not.

        Returns:
            uint8 [height, width, 3], C-contiguous, and its channel order ('bgr', 'rgb'). The
            array is the message's own memory or the reader's: good until the next call.

        Raises:
            ImageError: the encoding is not known, or size, step and data do not fit together.
        """
        encoding = ENCODINGS.get(msg.encoding)
        if encoding is None:
            raise ImageError(f"encoding '{msg.encoding}' ({msg.width}x{msg.height}) cannot be "
                             f'segmented; known are {", ".join(ENCODINGS)}')
        rows = _rows(msg, encoding)
        shape = (msg.height, msg.width, 3)
        if encoding.conversion is None and rows.flags.c_contiguous:
            return rows.reshape(shape), encoding.color
        if self._bgr.shape != shape:
            self._bgr = np.empty(shape, np.uint8)
        if encoding.conversion is None:
            np.copyto(self._bgr.reshape(rows.shape), rows)
        else:
            self._convert(msg, rows, encoding)
        return self._bgr, encoding.color

    def _convert(self, msg: Image, rows: np.ndarray, encoding: Encoding) -> None:
        if encoding.itemsize == 2:
            rows = self._high_bytes(msg, rows)
        if encoding.channels > 1:
            rows = np.lib.stride_tricks.as_strided(
                rows, (msg.height, msg.width, encoding.channels),
                (rows.strides[0], encoding.channels, 1))
        try:
            cv2.cvtColor(rows, encoding.conversion, dst=self._bgr)
        except cv2.error as error:
            raise ImageError(f"encoding '{msg.encoding}' at {msg.width}x{msg.height} cannot be "
                             f'converted ({error.err})') from error

    def _high_bytes(self, msg: Image, rows: np.ndarray) -> np.ndarray:
        if self._bytes.shape != (msg.height, msg.width):
            self._bytes = np.empty((msg.height, msg.width), np.uint8)
        np.copyto(self._bytes, rows[:, (0 if msg.is_bigendian else 1)::2])
        return self._bytes


def _rows(msg: Image, encoding: Encoding) -> np.ndarray:
    """The message's rows as uint8 [height, bytes of pixels], padding cut off."""
    what = f"encoding '{msg.encoding}', {msg.width}x{msg.height}"
    if msg.width == 0 or msg.height == 0:
        raise ImageError(f'{what}: an image without pixels')
    row = msg.width * encoding.channels * encoding.itemsize
    if msg.step < row:
        raise ImageError(f'{what}: step is {msg.step}, a row has {row} bytes')
    expected = msg.step * msg.height
    if len(msg.data) < expected:
        raise ImageError(f'{what}: data has {len(msg.data)} bytes, step {msg.step} times height '
                         f'makes {expected}')
    if encoding.channels == 2 and msg.width % 2:
        raise ImageError(f'{what}: pixels come in pairs, the width must be even')
    data = np.frombuffer(msg.data, np.uint8, expected)
    return data.reshape(msg.height, msg.step)[:, :row]


class OutgoingImage:
    """A message whose memory is sized once and written by the network for every frame.

    Args:
        encoding: 'mono8' or 'bgr8'.
        height, width: pixels.

    Attributes:
        msg: the message; ``step`` is tight.
        pixels: its memory: uint8 [height, width] or [height, width, 3].
    """

    def __init__(self, encoding: str, height: int, width: int) -> None:
        channels = 3 if encoding == 'bgr8' else 1
        step = width * channels
        self.msg = Image(height=height, width=width, encoding=encoding, step=step,
                         data=array('B', bytes(step * height)))
        shape = (height, width, 3) if channels == 3 else (height, width)
        self.pixels = np.frombuffer(self.msg.data, np.uint8).reshape(shape)


def swap_red_and_blue(pixels: np.ndarray) -> None:
    """Turn RGB pixels into BGR ones or back, in place: uint8 [height, width, 3]."""
    cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR, dst=pixels)
