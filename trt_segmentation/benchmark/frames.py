# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Loss and latency of the frames of a run from camera to subscriber, and the mean over runs.

All times are nanoseconds of the host's wall clock; the stamp identifies a frame.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from trt_segmentation.benchmark.timing import percentiles

MAX_LOSS = 0.05
"""Share of frames that may be lost at the peak rate, as in ros2_benchmark."""

TOLERANCE = 0.04
"""Relative precision to which the peak is searched."""


@dataclass(frozen=True)
class FrameTimes:
    """When one frame passed the steps of a node.

    Attributes:
        taking, taken: before and after the node takes the message from the middleware.
        called: the callback begins.
        infer, inferred: before and after the segmentation.
        published: the middleware has the mask; a thread publishes the other outputs.
        user, system: CPU time of the process so far.
    """

    taking: int
    taken: int
    called: int
    infer: int
    inferred: int
    published: int
    user: int = 0
    system: int = 0


def together(times: Sequence[FrameTimes]) -> FrameTimes:
    """Return the times of the first of several nodes that run at once, with all their CPU time."""
    return replace(times[0], user=sum(at.user for at in times),
                   system=sum(at.system for at in times))


@dataclass(frozen=True)
class Run:
    """What was observed while the camera published at one rate.

    Attributes:
        rate: requested, Hz.
        sent: stamps of the camera's frames, in order.
        times: by stamp, for the frames that the node published.
        received: by stamp, for the frames of which all results arrived: the time of arrival by
            output; with several cameras, by <camera>/<output>.
        bytes: mean size of the messages, by topic.
    """

    rate: float
    sent: Sequence[int]
    times: Mapping[int, FrameTimes]
    received: Mapping[int, Mapping[str, int]]
    bytes: Mapping[str, float] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        """Share of the frames of which not all results arrived, 0..1."""
        return 1 - len(self._arrived()) / len(self.sent)

    def figures(self) -> dict[str, Any]:
        """Return rates (Hz), counts, latency and callback (ms), mean times of the stages, CPU
        time of the node (ms), and bytes, the last two for each frame.

        Every frame that was sent is counted once: as received, as lost before the node (also if a
        newer frame replaced it while the node was busy), or as lost behind the node.
        """
        arrived = self._arrived()
        seconds = (self.sent[-1] - self.sent[0]) / 1e9
        sent_rate = (len(self.sent) - 1) / seconds if seconds else 0.0
        published = [self.times[stamp] for stamp in self.sent if stamp in self.times]
        behind = sum(stamp in self.times for stamp in self.sent if stamp not in self.received)
        callback = [(at.published - at.called) / 1e9 for at in published]
        beyond = [second - (at.inferred - at.infer) / 1e9
                  for second, at in zip(callback, published, strict=True)]
        return {
            'sent_rate': sent_rate, 'received_rate': sent_rate * len(arrived) / len(self.sent),
            'sent': len(self.sent), 'received': len(arrived), 'loss': self.loss,
            'lost_before_node': len(self.sent) - len(arrived) - behind,
            'lost_behind_node': behind,
            'latency_ms': percentiles([(self._last(stamp) - stamp) / 1e9 for stamp in arrived]),
            'mask_latency_ms': percentiles([(self._last(stamp, 'mask') - stamp) / 1e9
                                            for stamp in arrived]),
            'callback_ms': percentiles(callback), 'callback_beyond_infer_ms': percentiles(beyond),
            'split_ms': self._split([stamp for stamp in arrived if stamp in self.times]),
            'cpu_ms': _cpu(published), 'bytes': dict(self.bytes)}

    def _arrived(self) -> list[int]:
        return [stamp for stamp in self.sent if stamp in self.received]

    def _last(self, stamp: int, output: str = '') -> int:
        """Time at which the last result of a frame, or of one output, arrived."""
        return max(time for name, time in self.received[stamp].items() if name.endswith(output))

    def _split(self, stamps: Sequence[int]) -> dict[str, float]:
        """Mean milliseconds of each stage; their sum is the mean latency."""
        frames = [_stages(stamp, self.times[stamp], self._last(stamp)) for stamp in stamps]
        return {name: float(np.mean([stages[name] for stages in frames])) / 1e6
                for name in frames[0]} if frames else {}


def _cpu(published: Sequence[FrameTimes]) -> dict[str, float]:
    """Mean CPU milliseconds of the node for each published frame; empty for less than two."""
    if len(published) < 2:
        return {}
    first, last, frames = published[0], published[-1], len(published) - 1
    user, system = last.user - first.user, last.system - first.system
    return {name: value / 1e6 / frames for name, value in
            (('user', user), ('system', system), ('total', user + system))}


def _stages(stamp: int, at: FrameTimes, received: int) -> dict[str, int]:
    # The subscriber may receive a message before publish() returns.
    published = min(at.published, received)
    return {'to_node': at.taking - stamp, 'take': at.taken - at.taking,
            'dispatch': at.called - at.taken, 'read': at.infer - at.called,
            'infer': at.inferred - at.infer, 'publish': published - at.inferred,
            'to_subscriber': received - published}


def divide_infer(split: Mapping[str, float], parts: Mapping[str, float]) -> dict[str, float]:
    """Replace the stage ``infer`` by the parts of it that the runtime's profile has measured.

    Args:
        split: 'split_ms' of ``Run.figures``.
        parts: of ``benchmark.breakdown.split_ms``. Only their proportions are used, since nothing
            else ran while the profile was taken.
    """
    total = sum(parts.values())
    if not total or 'infer' not in split:
        return dict(split)
    divided: dict[str, float] = {}
    for name, value in split.items():
        if name == 'infer':
            divided |= {part: value * share / total for part, share in parts.items()}
        else:
            divided[name] = value
    return divided


def combine_runs(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the trimmed mean over runs of every figure, including nested ones."""
    result: dict[str, Any] = {}
    for name in dict.fromkeys(name for run in runs for name in run):
        values = [run[name] for run in runs if name in run]
        result[name] = combine_runs(values) if isinstance(values[0], Mapping) else \
            round(trimmed_mean(values), 4)
    return result


def trimmed_mean(values: Sequence[float]) -> float:
    """Return the mean without the lowest and the highest value, if there are at least three.

    ros2_benchmark combines the runs of a test in the same way.
    """
    kept = sorted(values)[1:-1] if len(values) > 2 else values
    return float(np.mean(kept))


def find_peak(loss_at: Callable[[float], float], lowest: float, highest: float) -> float:
    """Return the highest rate whose loss is at most ``MAX_LOSS``, to within ``TOLERANCE``.

    Args:
        loss_at: measures the loss (0..1) at a rate (Hz).
        lowest, highest: bounds of the search, Hz.

    Returns:
        Hz; 0 if the loss is higher even at the lowest rate; the highest rate if it is low enough.
    """
    if loss_at(lowest) > MAX_LOSS:
        return 0.0
    good, bad = lowest, min(2 * lowest, highest)
    while good < highest and loss_at(bad) <= MAX_LOSS:  # doubling needs few runs
        good, bad = bad, min(2 * bad, highest)
    if good >= highest:
        return highest
    while bad - good > TOLERANCE * good:
        middle = (good + bad) / 2
        good, bad = (middle, bad) if loss_at(middle) <= MAX_LOSS else (good, middle)
    return good
