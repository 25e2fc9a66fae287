# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Decides which images of a rosbag the GPU converts."""

import logging
from typing import Any

import numpy as np

from trt_segmentation.errors import BackendError
from trt_segmentation.images.decoding import ImageDecoder
from trt_segmentation.segmenter import Segmenter

logger = logging.getLogger(__name__)


class GpuEncodings:
    """The encodings that a segmenter converts on the GPU. Use it from one thread.

    The converter of an encoding is loaded, or built, before its first image, so that all images of
    a rosbag are converted in the same way. If that fails, the CPU converts them.

    Args:
        segmenter: an open one.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self._known = frozenset(segmenter.gpu_encodings)
        self._is_ready: dict[str, bool] = {}

    def read(self, message: Any, decoder: ImageDecoder) -> tuple[np.ndarray, str, str]:
        """Return what ``Segmenter.infer`` gets of a message: image, color and encoding.

        Args:
            message: see ``ImageDecoder.read``.
            decoder: its buffers hold the image until its next one.

        Raises:
            ImageError: the image cannot be decoded.
        """
        encoding = getattr(message, 'encoding', '')  # a CompressedImage has none
        if encoding in self._known and self._takes(encoding):
            return decoder.read_rows(message), 'bgr', encoding
        return (*decoder.read(message, self._segmenter.spec.gray_bits), '')

    def _takes(self, encoding: str) -> bool:
        if encoding not in self._is_ready:
            try:
                self._segmenter.fetch_converter(encoding)
                self._is_ready[encoding] = True
                logger.info('%s is converted on the GPU', encoding)
            except BackendError as error:
                self._is_ready[encoding] = False
                logger.warning('%s is converted on the CPU, since its converter on the GPU '
                               'failed: %s', encoding, error)
        return self._is_ready[encoding]
