# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What became of the frames of a run from camera to subscriber, and what runs say together.

All times are nanoseconds of the host's wall clock; a frame is known by its stamp.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trt_segmentation.benchmark.timing import percentiles

MAX_LOSS = 0.05
"""Share of frames that may be lost at a rate that still counts, as in ros2_benchmark."""

TOLERANCE = 0.04
"""Share of a rate to which the peak is searched."""


@dataclass(frozen=True)
class Marks:
    """When one frame passed the stations of a node.

    Attributes:
        taking, taken: before and after the message was taken from the middleware.
        called: the callback began.
        infer, inferred: around the segmentation alone.
        published: the mask is with the middleware; a thread publishes the other outputs.
    """

    taking: int
    taken: int
    called: int
    infer: int
    inferred: int
    published: int


@dataclass(frozen=True)
class Run:
    """What was seen while a camera ran at one rate.

    Attributes:
        rate: asked for, Hz.
        sent: stamps, in order.
        marks: by stamp, of the frames that the node published.
        received: by stamp, of the frames whose results all arrived, when each of them did, by the
            output's name.
    """

    rate: float
    sent: Sequence[int]
    marks: Mapping[int, Marks]
    received: Mapping[int, Mapping[str, int]]

    @property
    def loss(self) -> float:
        """Share of the frames whose results did not all arrive."""
        return 1 - len(self._arrived()) / len(self.sent)

    def figures(self) -> dict[str, Any]:
        """Return rates (Hz), counts, latency and callback (ms), and the mean way of a frame.

        Every frame that was sent is received, lost on its way to the node (or overtaken by a
        newer one while the node worked), or lost behind it.
        """
        arrived = self._arrived()
        seconds = (self.sent[-1] - self.sent[0]) / 1e9
        pace = (len(self.sent) - 1) / seconds if seconds else 0.0
        passed = [self.marks[stamp] for stamp in self.sent if stamp in self.marks]
        behind = sum(stamp in self.marks for stamp in self.sent if stamp not in self.received)
        callback = [(mark.published - mark.called) / 1e9 for mark in passed]
        beyond = [second - (mark.inferred - mark.infer) / 1e9
                  for second, mark in zip(callback, passed, strict=True)]
        return {
            'sent_rate': pace, 'received_rate': pace * len(arrived) / len(self.sent),
            'sent': len(self.sent), 'received': len(arrived), 'loss': self.loss,
            'lost_before_node': len(self.sent) - len(arrived) - behind,
            'lost_behind_node': behind,
            'latency_ms': percentiles([(self._last(stamp) - stamp) / 1e9 for stamp in arrived]),
            'mask_latency_ms': percentiles([(self.received[stamp]['mask'] - stamp) / 1e9
                                            for stamp in arrived]),
            'callback_ms': percentiles(callback), 'callback_beyond_infer_ms': percentiles(beyond),
            'split_ms': self._split([stamp for stamp in arrived if stamp in self.marks])}

    def _arrived(self) -> list[int]:
        return [stamp for stamp in self.sent if stamp in self.received]

    def _last(self, stamp: int) -> int:
        """When all of a frame's results were there."""
        return max(self.received[stamp].values())

    def _split(self, stamps: Sequence[int]) -> dict[str, float]:
        """Mean milliseconds of each stretch; together they are the mean latency."""
        ways = [_way(stamp, self.marks[stamp], self._last(stamp)) for stamp in stamps]
        return {name: float(np.mean([way[name] for way in ways])) / 1e6 for name in ways[0]} \
            if ways else {}


def _way(stamp: int, at: Marks, received: int) -> dict[str, int]:
    published = min(at.published, received)  # who waits for it can be faster than publish returns
    return {'to_node': at.taking - stamp, 'take': at.taken - at.taking,
            'dispatch': at.called - at.taken, 'read': at.infer - at.called,
            'infer': at.inferred - at.infer, 'publish': published - at.inferred,
            'to_subscriber': received - published}


def with_parts(split: Mapping[str, float], parts: Mapping[str, float]) -> dict[str, float]:
    """Divide ``infer`` as the runtime's profile says, in place.

    Args:
        split: of ``Run.figures``.
        parts: of ``benchmark.breakdown.split_ms``: only their proportions count, since the profile
            was taken while nothing else ran.
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


def together(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the trimmed mean of every figure of some runs, nested ones included."""
    result: dict[str, Any] = {}
    for name in dict.fromkeys(name for run in runs for name in run):
        values = [run[name] for run in runs if name in run]
        result[name] = together(values) if isinstance(values[0], Mapping) else \
            round(trimmed_mean(values), 4)
    return result


def trimmed_mean(values: Sequence[float]) -> float:
    """Return the mean without the best and the worst, where there are three at least.

    That is how ros2_benchmark makes one figure of the runs of a test.
    """
    kept = sorted(values)[1:-1] if len(values) > 2 else values
    return float(np.mean(kept))


def find_peak(loss_at: Callable[[float], float], lowest: float, highest: float) -> float:
    """Return the highest rate with a loss of ``MAX_LOSS`` at most, to ``TOLERANCE`` of it.

    Args:
        loss_at: measures the loss (0..1) at a rate (Hz).
        lowest, highest: between them is searched.

    Returns:
        Hz; 0 where even the lowest loses more, the highest where not even that does.
    """
    if loss_at(lowest) > MAX_LOSS:
        return 0.0
    good, bad = lowest, min(2 * lowest, highest)
    while good < highest and loss_at(bad) <= MAX_LOSS:  # doubling: far rates cost few runs
        good, bad = bad, min(2 * bad, highest)
    if good >= highest:
        return highest
    while bad - good > TOLERANCE * good:
        middle = (good + bad) / 2
        good, bad = (middle, bad) if loss_at(middle) <= MAX_LOSS else (good, middle)
    return good
