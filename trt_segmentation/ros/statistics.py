# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What the node counts and measures.

Times called ``now`` are seconds of a monotonic clock: rates do not care for simulated time.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trt_segmentation.ros.stamps import nanoseconds

KEEP_LATEST = 'keep_latest'
"""A newer frame came while the one before was worked on, or the transport lost it."""

UNSYNCHRONISED = 'unsynchronised'
"""No frames of the other cameras were taken at the same time; only where there are several."""

NO_SUBSCRIBER = 'no_subscriber'
DISABLED = 'disabled'
BAD_FRAME = 'bad_frame'
BACKEND_FAILED = 'backend_failed'
DEFECT = 'defect'

NOT_PUBLISHED = 'not_published'
"""The middleware refused the mask."""

UNWANTED = (NO_SUBSCRIBER, DISABLED)
"""Reasons for which nobody misses a frame."""

REASONS = (KEEP_LATEST, *UNWANTED, BAD_FRAME, BACKEND_FAILED, NOT_PUBLISHED, DEFECT)

_FAILURES = (BACKEND_FAILED, NOT_PUBLISHED, DEFECT)

_MAX_PUBLISHERS = 64
"""That are told apart on one topic; the one that has been silent for longest is forgotten."""

WINDOW = 5.0
"""Seconds over which rates and the share of dropped frames are taken."""

MAX_AGE = 60.0
"""Seconds; an image whose stamp is older was stamped by another clock, or before ours was set."""

PERCENTS = (50, 95, 99)


@dataclass(frozen=True)
class Figures:
    """What was measured, at one moment.

    Attributes:
        measured_for, silent_for: seconds since activation, and since the node, idle, waits for
            an image.
        input_rate, output_rate: Hz. Frames that the camera sent and that never came are input,
            where the middleware tells of them.
        frames: number that the camera sent within ``WINDOW``.
        dropped: those of them that were dropped, by reason.
        latency, callback: seconds by percentile, from stamp to publish and of the callback
            alone; empty before there is a frame.
        stamp_age: seconds that the newest frame's stamp was old when it was published.
        failures, why: frames that failed in a row until now, and the last one's error.
        incompatible: '' or the sentence about a publisher whose QoS does not fit, until an image
            shows that another one's does.
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
    incompatible: str = ''


@dataclass
class FrameCounts:
    """Where every frame of the camera went since the node was activated.

    Attributes:
        received: frames that reached the callback.
        segmented: frames whose results were published.
        dropped: all others, by reason.
    """

    received: int = 0
    segmented: int = 0
    dropped: Counter = field(default_factory=Counter)
    _last_sequences: dict[bytes, int] = field(default_factory=dict)

    def note_arrival(self, sequence: int | None, publisher: bytes = b'') -> int:
        """Count a frame, and those that its publisher sent before it and that never came.

        Args:
            sequence: the publisher's sequence number; None where the middleware has none.
            publisher: identifies it: several may share the topic, and each counts its own frames.

        Returns:
            The number of those that never came; 0 where that cannot be known.
        """
        self.received += 1
        if sequence is None:
            return 0
        last = self._last_sequences.pop(publisher, sequence)
        self._last_sequences[publisher] = sequence  # now the newest
        if len(self._last_sequences) > _MAX_PUBLISHERS:
            del self._last_sequences[next(iter(self._last_sequences))]
        lost = max(0, sequence - last - 1)
        if lost:
            self.dropped[KEEP_LATEST] += lost
        return lost


class RateMeter:
    """How many of something there were lately, and how often it comes.

    Args:
        window: seconds that count as lately.
        capacity: events that are remembered; 4096 fill 5 s at 800 Hz.
    """

    def __init__(self, window: float = WINDOW, capacity: int = 4096) -> None:
        self._window = window
        self._times = np.full(capacity, -np.inf)
        self._counts = np.zeros(capacity)
        self._next = 0

    def note(self, now: float, count: int = 1) -> None:
        """Remember that ``count`` of them were there."""
        self._times[self._next] = now
        self._counts[self._next] = count
        self._next = (self._next + 1) % len(self._times)

    def count(self, now: float) -> int:
        """Return how many there were within the window."""
        return int(self._counts[self._times > now - self._window].sum())

    def rate(self, now: float) -> float:
        """Return how often they come, Hz; 0 when they have stopped."""
        newest, before = self._times[self._next - 1], self._times[self._next - 2]
        if not np.isfinite(before):
            return 0.0
        # A window holds two frames at least, however slowly they come.
        recent = self._times > now - max(self._window, 3 * (newest - before))
        if not recent.any() or self._times[recent].min() == newest:
            return 0.0
        oldest = self._times[recent].min()
        steady = self._counts[self._times > oldest].sum() / (newest - oldest)
        # The time since the newest counts as soon as it is longer than usual.
        return float(min(steady, self._counts[recent].sum() / (now - oldest)))


class LatencyMeter:
    """The newest durations.

    Args:
        capacity: how many.
    """

    def __init__(self, capacity: int = 300) -> None:
        self._seconds = np.full(capacity, np.nan)
        self._next = 0

    def note(self, seconds: float) -> None:
        """Remember one."""
        self._seconds[self._next] = seconds
        self._next = (self._next + 1) % len(self._seconds)

    def percentiles(self) -> dict[int, float]:
        """Return the seconds at each of ``PERCENTS``; empty before there is one."""
        known = self._seconds[~np.isnan(self._seconds)]
        if not known.size:
            return {}
        return dict(zip(PERCENTS, np.percentile(known, PERCENTS).tolist(), strict=True))


class Monitor:
    """Measures one activation of the node; a new activation gets a new one.

    Args:
        started: time of the activation.
        reasons: for which frames may be dropped.
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
        self._incompatible = ''

    def note_arrival(self, now: float, sequence: int | None, publisher: bytes = b'') -> None:
        """A frame reached the callback; see ``FrameCounts.note_arrival``."""
        lost = self.counts.note_arrival(sequence, publisher)
        self._input.note(now, 1 + lost)
        if lost:
            self._dropped[KEEP_LATEST].note(now, lost)
        self._idle_since = now
        self._incompatible = ''

    def note_published(self, now: float, stamp_age: float, callback_seconds: float) -> None:
        """Its results were published.

        Args:
            now: time of it.
            stamp_age: see ``stamp_age``; what no latency can be is counted, but not measured.
            callback_seconds: from its arrival until now.
        """
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
        """It was dropped.

        Args:
            now: time of it.
            reason: one of the monitor's.
            why: the error in one sentence.
        """
        self.counts.dropped[reason] += 1
        self._dropped[reason].note(now)
        if reason in _FAILURES:
            self._failures += 1
            self._why = why
        elif reason in UNWANTED:  # whether the next one would fail cannot be known
            self.forget_failures()
        self._idle_since = now

    def forget_failures(self) -> None:
        """What failed has been replaced, or is no longer wanted."""
        self._failures, self._why = 0, ''

    def note_qos_event(self, sentence: str) -> None:
        """A publisher was found whose QoS does not fit; the sentence says what to set."""
        self._incompatible = sentence

    def figures(self, now: float) -> Figures:
        """Return what was measured until now."""
        dropped = {reason: meter.count(now) for reason, meter in self._dropped.items()}
        return Figures(
            measured_for=now - self._started, silent_for=now - self._idle_since,
            input_rate=self._input.rate(now), output_rate=self._output.rate(now),
            frames=self._input.count(now),
            dropped={reason: number for reason, number in dropped.items() if number},
            latency=self._latency.percentiles(), callback=self._callback.percentiles(),
            stamp_age=self._stamp_age, failures=self._failures, why=self._why,
            incompatible=self._incompatible)


def stamp_age(clock: int, stamp: Any) -> float:
    """Return how old a stamp is, seconds; negative for one from the future.

    Args:
        clock: nanoseconds of the node's clock, which may be simulated.
        stamp: builtin_interfaces/Time of the image's header.
    """
    return (clock - nanoseconds(stamp)) / 1e9
