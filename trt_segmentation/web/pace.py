# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Measures the period of messages to detect overdue ones."""

from collections import deque

SOONEST = 1.5
"""Minimum seconds before a message is overdue. With ``live.STATE_PERIOD``, the page shows within
2 s that a node has stopped that publishes each second."""

UNKNOWN = 5.0
"""Seconds after which a message is overdue while its period is unknown, as in rqt_robot_monitor
and diagnostic_aggregator."""

_TOLERANCE = 1.5
_GAPS = 6


class Pace:
    """The measured period of messages, so that slow publishers are not reported as silent."""

    def __init__(self) -> None:
        self._gaps: deque[float] = deque(maxlen=_GAPS)
        self._last: float | None = None

    def note(self, now: float) -> None:
        """Record the arrival of a message.

        Args:
            now: seconds of a monotonic clock.
        """
        if self._last is not None:
            self._gaps.append(now - self._last)
        self._last = now

    def forget(self) -> None:
        """Forget the last arrival, but not the period: the subscription pauses."""
        self._last = None

    def age(self, now: float) -> float | None:
        """Return the seconds since the last message; None before the first."""
        return None if self._last is None else now - self._last

    @property
    def limit(self) -> float:
        """Return the seconds after which a message is overdue.

        It depends on the second longest of the last gaps, so that one long gap has no effect.
        """
        if not self._gaps:
            return UNKNOWN
        period = sorted(self._gaps)[-2:][0]
        return max(SOONEST, _TOLERANCE * period)
