# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A camera at twice the maximum rate of the node: the newest frame is used, no queue grows."""

import time
from dataclasses import dataclass

import numpy as np
import pytest

from trt_segmentation.demo.clip import read_frame

MEASURED_FRAMES = 60
SECONDS = 6


@dataclass(frozen=True)
class Run:
    """The result of a run under load.

    Attributes:
        alone: seconds from stamp to mask, of frames that were sent one by one.
        sent: stamps in the order of sending, nanoseconds.
        answered: stamps of the masks in the order in which they came.
        latency: seconds from stamp to mask, of each mask.
        periods: seconds between two masks.
        counts: the node's frame counters at the end.
    """

    alone: np.ndarray
    sent: list[int]
    answered: list[int]
    latency: np.ndarray
    periods: np.ndarray
    counts: dict[str, int]

    def __str__(self):
        def shown(seconds):
            return ' / '.join(f'{value * 1e3:.1f}' for value in np.percentile(seconds, (50, 95)))

        dropped = {key: number for key, number in self.counts.items() if 'dropped' in key}
        return (f'sent {len(self.sent)}, masks {len(self.answered)}, {dropped}; ms, median / p95: '
                f'latency alone {shown(self.alone)}, under load {shown(self.latency)}, between '
                f'masks {shown(self.periods)}')


class Masks:
    """The received masks: their stamps, and the times of their arrival, nanoseconds."""

    def __init__(self, bench, stamp_of):
        self.bench, self.stamps, self.times = bench, [], []
        self._stamp_of = stamp_of

    def take(self):
        """Take what has come; ``received`` would otherwise hold every mask."""
        now = self.bench.node.get_clock().now().nanoseconds
        for msg in self.bench.received['mask']:
            self.stamps.append(self._stamp_of(msg))
            self.times.append(now)
        self.bench.received['mask'].clear()

    def wait_for(self, stamp):
        def is_there():
            self.take()
            return self.stamps and self.stamps[-1] == stamp

        self.bench.spin_until(is_there, 'the mask of the last frame')

    def latency(self):
        return (np.array(self.times) - np.array(self.stamps)) / 1e9


def send_one_by_one(bench, msg, stamp_of):
    """Send frames, each when the one before is answered; return the seconds that each took."""
    masks = Masks(bench, stamp_of)
    for _ in range(MEASURED_FRAMES):
        masks.wait_for(bench.send(msg))
    return masks.latency()


def send_at(bench, msg, period, seconds, stamp_of):
    """Send frames at a steady rate, and wait for the last one's mask; return stamps and masks."""
    masks, sent = Masks(bench, stamp_of), []
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        while time.monotonic() < start + len(sent) * period:
            bench.executor.spin_once(timeout_sec=period / 10)
            masks.take()
        sent.append(bench.send(msg))
    masks.wait_for(sent[-1])
    return sent, masks


def overload(bench, msg, seconds, stamp_of):
    """Measure the node's rate, then send twice as much."""
    bench.listen('mask')
    bench.segment(msg)  # what is lost before a first frame cannot be known
    bench.received['mask'].clear()
    alone = send_one_by_one(bench, msg, stamp_of)
    sent, masks = send_at(bench, msg, np.median(alone) / 2, seconds, stamp_of)
    return Run(alone, sent, masks.stamps, masks.latency(), np.diff(masks.times) / 1e9,
               bench.counts())


@pytest.fixture(scope='module', params=[
    SECONDS, pytest.param(60, marks=pytest.mark.slow)], ids=lambda seconds: f'{seconds}s')
def run(request, make_module_bench, image_message, stamp_of):
    msg = image_message(read_frame(7, 480, 640).image)
    result = overload(make_module_bench(num_threads=1), msg, request.param, stamp_of)
    print(f'\n{request.param} s: {result}')
    return result


def test_it_was_too_much_for_the_node(run):
    assert len(run.sent) > 1.2 * len(run.answered)


def test_newest_frame_wins(run):
    assert np.all(np.diff(run.answered) > 0)
    assert run.answered[-1] == run.sent[-1]
    assert set(run.answered) <= set(run.sent)


def test_a_frame_waits_for_one_other_at_most(run):
    """It waits while one frame is worked on, and is worked on itself: two periods. For transport
    (the way in, the way out, the consumer's turn) it may take as long again as a frame that is
    sent alone takes in all."""
    assert np.median(run.latency) <= 2 * np.median(run.periods)
    assert np.percentile(run.latency, 95) <= \
        2 * np.percentile(run.periods, 95) + np.percentile(run.alone, 95)


def test_nothing_piles_up(run):
    tenth = len(run.latency) // 10
    assert np.median(run.latency[-tenth:]) <= 2 * np.median(run.latency[:tenth])


def test_every_frame_is_accounted_for(run):
    dropped = {key: number for key, number in run.counts.items() if 'dropped' in key}
    before = 1 + MEASURED_FRAMES
    assert run.counts['frames segmented'] == before + len(run.answered)
    assert before + len(run.sent) == run.counts['frames segmented'] + sum(dropped.values())
    assert [key for key, number in dropped.items() if number] == ['frames dropped, keep_latest']
