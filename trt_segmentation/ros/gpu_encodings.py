# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Decides which images the GPU converts, and fetches its converters in the background."""

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trt_segmentation.errors import BackendError, SegmentationError
from trt_segmentation.graph.pipeline.output_names import kind_of
from trt_segmentation.ros.camera import Frame
from trt_segmentation.ros.log_bridge import LogBridge
from trt_segmentation.ros.region import Region
from trt_segmentation.segmenter import Segmenter

logger = logging.getLogger(__name__)


class GpuEncodings:
    """The encodings that a segmenter converts on the GPU. The converter of an encoding is fetched
    at its first image. Until it is there, and if that fails, the CPU converts.

    Args:
        segmenter: an open one.
        log_bridge: receives what is logged during a build.
        wanted: encodings whose converters are fetched now, not at their first image.
        region: of interest; None for the whole image.
    """

    def __init__(self, segmenter: Segmenter, log_bridge: LogBridge, wanted: Sequence[str] = (),
                 region: Region | None = None) -> None:
        self._segmenter = segmenter
        self._log_bridge = log_bridge
        self._region = region
        self._known = frozenset(
            each for each in segmenter.gpu_encodings
            if region is None or region.can_be_encoded(each))
        self._requested: set[str] = set()
        self._ready: set[str] = set()
        self._used: set[str] = set()
        self._closed = False
        for encoding in wanted:
            self.takes(encoding)

    def takes(self, encoding: str) -> bool:
        """Return whether images of an encoding go to the GPU as they are; fetch its converter at
        the first call."""
        if encoding in self._known and encoding not in self._requested:
            self._requested.add(encoding)
            threading.Thread(target=self._fetch, args=(encoding,), daemon=True,
                             name=f'converter of {encoding}').start()
        return encoding in self._ready

    def uniform(self, frames: Sequence[Frame], outputs: Sequence[str]) -> Sequence[Frame]:
        """Return the frames of one batch; all converted by the CPU if their encodings differ, if
        the GPU does not convert theirs, or if an overlay shows them around the region."""
        encoding = frames[0].encoding
        needs_pixels = self._region is not None and any(kind_of(name) == 'overlay'
                                                        for name in outputs)
        if not needs_pixels and all(frame.encoding == encoding for frame in frames) \
                and (not encoding or self.takes(encoding)):
            return frames
        return [frame.on_cpu() for frame in frames]

    def infer_batch(self, frames: Sequence[Frame], outputs: tuple[str, ...],
                    outs: Sequence[Mapping[str, np.ndarray]]) -> None:
        """Segment ``uniform`` frames, or their region; see ``Segmenter.infer_batch``.

        If the first image of an encoding fails on the GPU, for example since there is no memory
        for the converter, it and all later ones are converted by the CPU.
        """
        encoding = frames[0].encoding
        try:
            self._infer(frames, outputs=outputs, outs=outs)
        except BackendError as error:
            # An error that names settings, such as a size out of range, is not the converter's.
            if not encoding or encoding in self._used or error.settings:
                raise
            self._ready.discard(encoding)
            self._warn(encoding, error)
            self._infer([frame.on_cpu() for frame in frames], outputs=outputs, outs=outs)
        else:
            self._used.add(encoding)

    def close(self) -> None:
        """Do not report errors of converters that are still being fetched."""
        self._closed = True

    def _infer(self, frames: Sequence[Frame], **how: Any) -> None:
        images = [frame.image for frame in frames]
        how.update(color=frames[0].color, encoding=frames[0].encoding)
        if self._region is None:
            self._segmenter.infer_batch(images, **how)
        else:
            self._region.infer_batch(self._segmenter, images, **how)

    def _fetch(self, encoding: str) -> None:
        with self._log_bridge.capturing():
            try:
                self._segmenter.fetch_converter(encoding)
            except SegmentationError as error:
                self._warn(encoding, error)
            except Exception as error:  # a bug in this package; the CPU converts
                self._warn(encoding, error)
            else:
                self._ready.add(encoding)
                logger.info('%s is converted on the GPU', encoding)

    def _warn(self, encoding: str, error: Exception) -> None:
        if not self._closed:
            logger.warning('%s is converted on the CPU, since its converter on the GPU failed: %s',
                           encoding, error)


def fetch_converters(segmenter: Segmenter, encodings: Sequence[str]) -> None:
    """Fetch the converters of encodings and wait for them, to fill the engine cache.

    Args:
        segmenter: an open one. Where it converts nothing on the GPU, nothing is done.
        encodings: some of ``graph.pipeline.camera_bytes.CAMERA_ENCODINGS``.

    Raises:
        BackendError: a converter cannot be built.
    """
    for encoding in encodings if segmenter.gpu_encodings else ():
        segmenter.fetch_converter(encoding)
