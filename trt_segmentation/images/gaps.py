# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Gaps in time between successive images, after which temporal smoothing starts again."""

MAX_GAP = 1.0
"""Default of the longest time between successive images that is no gap, seconds."""


class GapDetector:
    """Finds gaps between the stamps of successive images.

    Args:
        max_gap: nanoseconds; longer differences, and stamps that go back, are gaps.
    """

    def __init__(self, max_gap: int = int(MAX_GAP * 10 ** 9)) -> None:
        self.max_gap = max_gap
        self._last = 0

    def is_gap(self, stamp: int) -> bool:
        """Return whether there is a gap before an image with this stamp, nanoseconds."""
        since, self._last = stamp - self._last, stamp
        return not 0 <= since <= self.max_gap
