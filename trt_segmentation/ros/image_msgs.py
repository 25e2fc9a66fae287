# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The node's image messages: what cv_bridge reads, too, and those that the network writes into."""

import sys
from functools import cached_property
from typing import Any

import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from trt_segmentation.errors import ImageError
from trt_segmentation.image_decoding import ENCODINGS, ImageDecoder
from trt_segmentation.ros.serialized import SerializedImage


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
