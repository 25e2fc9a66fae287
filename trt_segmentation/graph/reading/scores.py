# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The network output that the tail reads."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scores:
    """Float scores or integer class ids: [N, C, h, w] or [N, h, w, C], ids also [N, h, w].

    Attributes:
        name: of the output.
        channels: C.
        axis: of C; None for ids without a channel axis.
        dtype: ONNX element type.
    """

    name: str
    channels: int
    axis: int | None
    dtype: int

    @property
    def channel_axis(self) -> int:
        assert self.axis is not None, 'ids without a channel axis have no scores'
        return self.axis

    @property
    def height_axis(self) -> int:
        return 2 if self.axis == 1 else 1
