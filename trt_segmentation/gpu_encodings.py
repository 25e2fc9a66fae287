# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Decides which encodings of cameras the GPU converts, for rosbags and for the node."""

import logging

from trt_segmentation.errors import BackendError
from trt_segmentation.segmenter import Segmenter

logger = logging.getLogger(__name__)


class GpuEncodings:
    """The encodings that a segmenter converts on the GPU.

    The converter of an encoding is fetched at its first image. If it cannot be fetched, or fails
    at an image, the CPU converts the encoding from then on.

    Args:
        segmenter: an open one.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self._known = frozenset(segmenter.gpu_encodings)
        self._requested: set[str] = set()
        self._ready: set[str] = set()

    def takes(self, encoding: str) -> bool:
        """Return whether images of an encoding go to the GPU as they are; fetch its converter at
        the first call."""
        if encoding in self._known and encoding not in self._requested:
            self._requested.add(encoding)
            self._fetch(encoding)
        return encoding in self._ready

    def fall_back(self, encoding: str, error: BackendError) -> None:
        """Let the CPU convert an encoding after one of its images failed on the GPU, for example
        since the GPU's memory is full. From any thread; the first call for an encoding is logged.

        Args:
            encoding: of the image; '' if the GPU did not convert it.
            error: of ``Segmenter.infer``.

        Raises:
            BackendError: ``error``, if it is not the converter's: it names settings, such as a
                size out of range.
        """
        if not encoding or error.settings:
            raise error
        try:
            self._ready.remove(encoding)
        except KeyError:  # another thread was first
            return
        self._warn(encoding, error)

    def _fetch(self, encoding: str) -> None:
        try:
            self._segmenter.fetch_converter(encoding)
        except Exception as error:  # also a bug in this package: the CPU converts
            self._warn(encoding, error)
        else:
            self._ready.add(encoding)
            logger.info('%s is converted on the GPU', encoding)

    def _warn(self, encoding: str, error: Exception) -> None:
        logger.warning('%s is converted on the CPU, since its converter on the GPU failed: %s',
                       encoding, error)
