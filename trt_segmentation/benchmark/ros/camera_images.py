# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Images of the demo clip as messages, in the encodings of cameras."""

from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from trt_segmentation.benchmark.camera_frames import camera_bytes
from trt_segmentation.benchmark.dds import JPEG
from trt_segmentation.ros.serialized import SerializedData

JPEG_QUALITY = 95
"""Of 100; the default of compressed_image_transport."""

FRAME_ID = 'camera_color_optical_frame'


def camera_message(image: np.ndarray, encoding: str) -> SerializedData:
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
        rows = camera_bytes(image, encoding)
        data = rows.reshape(-1)
        msg = Image(height=height, width=width, encoding=encoding, step=rows.shape[1])
    msg.header.frame_id = FRAME_ID
    serialized = SerializedData(msg, data.nbytes)
    serialized.data[:] = data
    return serialized
