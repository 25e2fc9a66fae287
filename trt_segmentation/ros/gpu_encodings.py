# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Segments frames in the encodings of their cameras where the GPU converts them, and fetches the
converters in the background."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trt_segmentation.errors import BackendError
from trt_segmentation.gpu_encodings import GpuEncodings
from trt_segmentation.graph.pipeline.output_names import kind_of
from trt_segmentation.ros.camera import Frame
from trt_segmentation.ros.log_bridge import LogBridge
from trt_segmentation.ros.region import Region
from trt_segmentation.segmenter import Segmenter


class FrameEncodings(GpuEncodings):
    """Segments frames in the encodings that the GPU converts. Until the converter of an encoding
    is there, the CPU converts.

    Args:
        segmenter: an open one.
        log_bridge: receives what is logged during a build.
        wanted: encodings whose converters are fetched now, not at their first image.
        region: of interest; None for the whole image.
    """

    def __init__(self, segmenter: Segmenter, log_bridge: LogBridge, wanted: Sequence[str] = (),
                 region: Region | None = None) -> None:
        super().__init__(segmenter)
        self._log_bridge = log_bridge
        self._region = region
        if region is not None:
            self._known = frozenset(filter(region.can_be_encoded, self._known))
        self._used: set[str] = set()
        self._closed = False
        for encoding in wanted:
            self.takes(encoding)

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

        If the first image of an encoding fails on the GPU, it and all later ones are converted by
        the CPU. If a later one fails, the cause is not the converter.
        """
        encoding = frames[0].encoding
        try:
            self._infer(frames, outputs=outputs, outs=outs)
        except BackendError as error:
            if encoding in self._used:
                raise
            self.fall_back(encoding, error)
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
        """Fetch a converter in the background."""
        def fetch() -> None:
            with self._log_bridge.capturing():
                super(FrameEncodings, self)._fetch(encoding)

        threading.Thread(target=fetch, daemon=True, name=f'converter of {encoding}').start()

    def _warn(self, encoding: str, error: Exception) -> None:
        if not self._closed:
            super()._warn(encoding, error)


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
