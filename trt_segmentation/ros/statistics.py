# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Frame counts, rates and latencies of the node.

Times called ``now`` are seconds of a monotonic clock, so rates are independent of simulated time.
"""

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trt_segmentation.ros.stamps import nanoseconds

KEEP_LATEST = 'keep_latest'
"""A newer frame arrived while the node was busy, or the transport lost the frame."""

UNSYNCHRONISED = 'unsynchronised'
"""No match with the other cameras within the tolerance; used only with several cameras."""

REPLACED = 'replaced'
"""A newer frame was read while it waited for the network; used only with two frames in flight. It
was received, unlike the frames of ``KEEP_LATEST``."""

NO_SUBSCRIBER = 'no_subscriber'
DISABLED = 'disabled'

MAX_RATE = 'max_rate'
"""Above the rate limit; see ``RateLimit``."""

BAD_FRAME = 'bad_frame'
BACKEND_FAILED = 'backend_failed'
DEFECT = 'defect'

NOT_PUBLISHED = 'not_published'
"""The middleware failed to publish the results."""

_NOT_REQUESTED = (NO_SUBSCRIBER, DISABLED)

EXPECTED = (*_NOT_REQUESTED, MAX_RATE)
"""Reasons that are not a fault: no results are requested, or no more than these."""

REASONS = (KEEP_LATEST, *EXPECTED, BAD_FRAME, BACKEND_FAILED, NOT_PUBLISHED, DEFECT)

_FAILURES = (BACKEND_FAILED, NOT_PUBLISHED, DEFECT)

_MAX_PUBLISHERS = 64
"""Maximum number of publishers that are tracked on one topic; the least recent one is removed."""

WINDOW = 5.0
"""Seconds over which rates and the fraction of dropped frames are computed."""

MAX_AGE = 60.0
"""Seconds; older stamps come from another clock, or from before the clock was set."""

PERCENTS = (50, 95, 99)


@dataclass(frozen=True)
class Statistics:
    """A snapshot of the statistics.

    Attributes:
        measured_for: seconds since activation.
        silent_for: seconds since the last frame was received or processed.
        input_rate, output_rate: Hz. The input includes lost frames, if the middleware provides
            sequence numbers.
        frames: number of input frames within ``WINDOW``.
        dropped: number of dropped frames within ``WINDOW``, by reason.
        latency, callback: seconds by percentile, from stamp to publish and of the callback
            alone; empty before the first frame.
        stamp_age: age of the newest frame's stamp when it was published, seconds.
        failures, why: number of consecutive failed frames, and the error of the last one.
        bad_frame: the error of the last frame that could not be read.
        incompatible: '' or the message about a publisher with incompatible QoS; reset by the next
            image.
    """

    measured_for: float = 0.0
    silent_for: float = 0.0
    input_rate: float = 0.0
    output_rate: float = 0.0
    frames: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    latency: Mapping[int, float] = field(default_factory=dict)
    callback: Mapping[int, float] = field(default_factory=dict)
    stamp_age: float = 0.0
    failures: int = 0
    why: str = ''
    bad_frame: str = ''
    incompatible: str = ''


@dataclass
class FrameCounts:
    """The number of frames since activation, by result.

    Attributes:
        received: frames that reached the callback.
        segmented: frames whose results were published.
        dropped: all other frames, by reason.
    """

    received: int = 0
    segmented: int = 0
    dropped: Counter = field(default_factory=Counter)
    _last_sequences: dict[bytes, int] = field(default_factory=dict)

    def note_arrival(self, sequence: int | None, publisher: bytes = b'') -> int:
        """Count a frame, and the frames of its publisher that were lost before it.

        Args:
            sequence: the publisher's sequence number; None if the middleware has none.
            publisher: id of the publisher; each publisher on a topic counts its own frames.

        Returns:
            The number of lost frames; 0 if it is unknown.
        """
        self.received += 1
        if sequence is None:
            return 0
        last = self._last_sequences.pop(publisher, sequence)
        self._last_sequences[publisher] = sequence  # moves it to the end
        if len(self._last_sequences) > _MAX_PUBLISHERS:
            del self._last_sequences[next(iter(self._last_sequences))]
        lost = max(0, sequence - last - 1)
        if lost:
            self.dropped[KEEP_LATEST] += lost
        return lost


class RateMeter:
    """Counts events within a time window, and computes their rate.

    Args:
        window: length of the window, seconds.
        capacity: number of stored events; 4096 are enough for 5 s at 800 Hz.
    """

    def __init__(self, window: float = WINDOW, capacity: int = 4096) -> None:
        self._window = window
        self._times = np.full(capacity, -np.inf)
        self._counts = np.zeros(capacity)
        self._next = 0

    def note(self, now: float, count: int = 1) -> None:
        """Add ``count`` events."""
        self._times[self._next] = now
        self._counts[self._next] = count
        self._next = (self._next + 1) % len(self._times)

    def count(self, now: float) -> int:
        """Return the number of events within the window."""
        return int(self._counts[self._times > now - self._window].sum())

    def rate(self, now: float) -> float:
        """Return the rate of the events, Hz; 0 after they have stopped."""
        newest, before = self._times[self._next - 1], self._times[self._next - 2]
        if not np.isfinite(before):
            return 0.0
        # Enlarge the window for slow events, so that it contains at least two.
        recent = self._times > now - max(self._window, 3 * (newest - before))
        if not recent.any() or self._times[recent].min() == newest:
            return 0.0
        oldest = self._times[recent].min()
        steady = self._counts[self._times > oldest].sum() / (newest - oldest)
        # The time since the newest event lowers the rate once it exceeds the period.
        return float(min(steady, self._counts[recent].sum() / (now - oldest)))


class CpuMeter:
    """The share of one CPU core that this process uses; more than 1 with several threads."""

    def __init__(self) -> None:
        self._then = time.monotonic(), time.process_time()

    def share(self) -> float:
        """Return the mean share since the last call, or since the start."""
        before, now = self._then, (time.monotonic(), time.process_time())
        self._then = now
        elapsed = now[0] - before[0]
        return (now[1] - before[1]) / elapsed if elapsed > 0 else 0.0


class LatencyMeter:
    """Percentiles of the newest durations.

    Args:
        capacity: number of durations.
    """

    def __init__(self, capacity: int = 300) -> None:
        self._seconds = np.full(capacity, np.nan)
        self._next = 0

    def note(self, seconds: float) -> None:
        """Add a duration."""
        self._seconds[self._next] = seconds
        self._next = (self._next + 1) % len(self._seconds)

    def percentiles(self) -> dict[int, float]:
        """Return the seconds at each of ``PERCENTS``; empty before the first one."""
        known = self._seconds[~np.isnan(self._seconds)]
        if not known.size:
            return {}
        return dict(zip(PERCENTS, np.percentile(known, PERCENTS).tolist(), strict=True))


class Monitor:
    """Collects the statistics of one activation of the node, from any thread.

    Args:
        started: time of the activation.
        reasons: possible reasons for dropped frames.
    """

    def __init__(self, started: float, reasons: tuple[str, ...] = REASONS) -> None:
        self.reasons = reasons
        self.counts = FrameCounts()
        self.stamps_ahead = 0
        self.stamps_old = 0
        self._started = started
        self._idle_since = started
        self._input, self._output = RateMeter(), RateMeter()
        self._dropped = {reason: RateMeter() for reason in reasons}
        self._latency, self._callback = LatencyMeter(), LatencyMeter()
        self._stamp_age = 0.0
        self._failures, self._why = 0, ''
        self._bad_frame = self._incompatible = ''
        self._lock = threading.Lock()

    def note_arrival(self, now: float, sequence: int | None, publisher: bytes = b'') -> None:
        """Record a frame that reached the callback; see ``FrameCounts.note_arrival``."""
        with self._lock:
            lost = self.counts.note_arrival(sequence, publisher)
            self._input.note(now, 1 + lost)
            if lost:
                self._dropped[KEEP_LATEST].note(now, lost)
            self._idle_since = now
            self._incompatible = ''

    def note_published(self, now: float, stamp_age: float, callback_seconds: float) -> None:
        """Record a frame whose results were published.

        Args:
            now: time of the publish.
            stamp_age: see ``stamp_age``; an implausible one is counted, but not used as latency.
            callback_seconds: from arrival to publish, including the time it waited for the worker.
        """
        with self._lock:
            self.counts.segmented += 1
            self._output.note(now)
            self._callback.note(callback_seconds)
            self._stamp_age = stamp_age
            if stamp_age < 0:
                self.stamps_ahead += 1
            elif stamp_age > MAX_AGE:
                self.stamps_old += 1
            else:
                self._latency.note(stamp_age)
            self._failures = 0
            self._idle_since = now

    def note_dropped(self, now: float, reason: str, why: str = '') -> None:
        """Record a dropped frame.

        Args:
            now: time of the drop.
            reason: one of ``reasons``.
            why: the error message.
        """
        with self._lock:
            self.counts.dropped[reason] += 1
            self._dropped[reason].note(now)
            if reason in _FAILURES:
                self._failures += 1
                self._why = why
            elif reason == BAD_FRAME:
                self._bad_frame = why
            elif reason in _NOT_REQUESTED:  # unknown whether the next frame would fail
                self.reset_failures()
            self._idle_since = now

    def reset_failures(self) -> None:
        """Reset the consecutive failures, after a change of the network or of the subscribers."""
        self._failures, self._why = 0, ''

    def note_qos_event(self, sentence: str) -> None:
        """Record the message about a publisher with incompatible QoS."""
        self._incompatible = sentence

    def statistics(self, now: float) -> Statistics:
        """Return the current statistics."""
        dropped = {reason: meter.count(now) for reason, meter in self._dropped.items()}
        return Statistics(
            measured_for=now - self._started, silent_for=now - self._idle_since,
            input_rate=self._input.rate(now), output_rate=self._output.rate(now),
            frames=self._input.count(now),
            dropped={reason: number for reason, number in dropped.items() if number},
            latency=self._latency.percentiles(), callback=self._callback.percentiles(),
            stamp_age=self._stamp_age, failures=self._failures, why=self._why,
            bad_frame=self._bad_frame, incompatible=self._incompatible)


def stamp_age(clock: int, stamp: Any) -> float:
    """Return the age of a stamp, seconds; negative for a stamp in the future.

    Args:
        clock: time of the node, which may be simulated, nanoseconds.
        stamp: builtin_interfaces/Time of the image's header.
    """
    return (clock - nanoseconds(stamp)) / 1e9
