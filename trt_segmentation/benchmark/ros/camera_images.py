# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Images of the demo clip as messages, in the encodings of cameras."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from trt_segmentation.benchmark.dds import JPEG
from trt_segmentation.ros.serialized import SerializedImage

JPEG_QUALITY = 95
"""Of 100; the default of compressed_image_transport."""

FRAME_ID = 'camera_color_optical_frame'


def camera_message(image: np.ndarray, encoding: str) -> SerializedImage:
    """Return an image as a serialized message.

    Args:
        image: uint8 BGR [height, width, 3]; height and width are even, unless the encoding is
            bgr8 or jpeg.
        encoding: of ``dds.CAMERA_ENCODINGS``. 'jpeg' is a sensor_msgs/CompressedImage, the others
            are sensor_msgs/Image.
    """
    height, width = image.shape[:2]
    msg: Any
    if encoding == JPEG:
        quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        data = cv2.imencode('.jpg', image, quality)[1].reshape(-1)
        msg = CompressedImage(format='bgr8; jpeg compressed bgr8')
    else:
        pixels = _ENCODERS[encoding](image)
        data = pixels.reshape(-1)
        msg = Image(height=height, width=width, encoding=encoding,
                    step=pixels[0].nbytes)
    msg.header.frame_id = FRAME_ID
    serialized = SerializedImage(msg, data.nbytes)
    serialized.pixels[:] = data
    return serialized


def _nv12(image: np.ndarray) -> np.ndarray:
    """Return uint8 [height * 3 / 2, width]: the luma plane, then pairs of U and V."""
    luma, u, v = _i420(image)
    chroma = np.stack((u, v), axis=-1).reshape(-1, luma.shape[1])
    return np.concatenate((luma, chroma))


def _yuyv(image: np.ndarray) -> np.ndarray:
    """Return uint8 [height, width, 2]; two rows share their chroma values."""
    luma, u, v = _i420(image)
    pixels = np.empty((*luma.shape, 2), np.uint8)
    pixels[..., 0] = luma
    pixels[:, 0::2, 1], pixels[:, 1::2, 1] = np.repeat(u, 2, axis=0), np.repeat(v, 2, axis=0)
    return pixels


def _bayer_rggb8(image: np.ndarray) -> np.ndarray:
    """Return uint8 [height, width], one of the three channels at each pixel."""
    mosaic = image[..., 1].copy()
    mosaic[0::2, 0::2], mosaic[1::2, 1::2] = image[0::2, 0::2, 2], image[1::2, 1::2, 0]
    return mosaic


def _i420(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Y [height, width], U and V [height / 2, width / 2]."""
    height, width = image.shape[:2]
    planes = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).reshape(-1)
    chroma = planes[height * width:].reshape(2, height // 2, width // 2)
    return planes[:height * width].reshape(height, width), chroma[0], chroma[1]


_ENCODERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    'bgr8': lambda image: image, 'nv12': _nv12, 'yuyv': _yuyv, 'bayer_rggb8': _bayer_rggb8}
