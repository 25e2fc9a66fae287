# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""When something that comes again and again is overdue."""

from collections import deque

SOONEST = 1.5
"""Seconds of silence at least before something is overdue: with ``live.STATE_PERIOD``, the page
shows within 2 s that a node has stopped that publishes each second."""

UNKNOWN = 5.0
"""Seconds after which it is overdue while nobody knows how often it comes: what rqt_robot_monitor
and diagnostic_aggregator take."""

_TOLERANCE = 1.5
_GAPS = 6


class Pace:
    """How often something comes, measured, so that what is slow by choice is not called silent."""

    def __init__(self) -> None:
        self._gaps: deque[float] = deque(maxlen=_GAPS)
        self._came: float | None = None

    def note(self, now: float) -> None:
        """Note that it came.

        Args:
            now: seconds of a monotonic clock.
        """
        if self._came is not None:
            self._gaps.append(now - self._came)
        self._came = now

    def forget(self) -> None:
        """Forget when it came last, but not how often it comes: nobody listens for a while."""
        self._came = None

    def age(self, now: float) -> float | None:
        """Return the seconds since it came; None if it has not come."""
        return None if self._came is None else now - self._came

    @property
    def limit(self) -> float:
        """Return the seconds after which it is overdue.

        The second longest of the last gaps counts: one long gap, as of a process that was stopped,
        is an exception.
        """
        if not self._gaps:
            return UNKNOWN
        usual = sorted(self._gaps)[-2:][0]
        return max(SOONEST, _TOLERANCE * usual)
