# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Search of the peak with runs of known outcome; test/ros has the real processes."""

import pytest

from trt_segmentation.benchmark.dds import measure_peak
from trt_segmentation.benchmark.frames import MAX_LOSS, Run


class Bench:
    """Stands in for the processes: a node and a camera that each have a highest rate.

    Args:
        node, camera: their highest rates, Hz.
        luck: factors on the node's rate in the first runs.
    """

    def __init__(self, node, camera, luck=(1.0,) * 100):
        self._node, self._camera, self._luck = node, camera, iter(luck)
        self.rates = []

    def run(self, implementation, rate, seconds):
        self.rates.append(rate)
        rate_sent = min(rate, self._camera)
        sent = [int(1e9 * index / rate_sent) for index in range(max(2, round(rate * seconds)))]
        capacity = self._node * next(self._luck, 1.0)
        kept = round(len(sent) * min(1.0, capacity / rate_sent))
        return Run(rate, sent, {}, {stamp: {'mask': sent[-1] + 1} for stamp in sent[:kept]})


def test_the_peak_is_where_the_node_begins_to_lose_frames():
    peak = measure_peak(Bench(40, 1000), 'node', 3, 10)
    assert peak['rate'] == pytest.approx(40, rel=0.1)
    assert peak['loss'] <= MAX_LOSS
    assert len(peak['runs']) == 3
    assert not peak['camera_limited']


def test_a_camera_that_cannot_go_faster_is_reported():
    peak = measure_peak(Bench(500, 60), 'node', 3, 10)
    assert peak['sent_rate'] == pytest.approx(60, rel=0.1)
    assert peak['camera_limited']


def test_a_peak_found_by_chance_is_lowered():
    assert measure_peak(Bench(40, 1000, (2.0,) * 12), 'node', 3, 10)['loss'] <= MAX_LOSS


def test_one_disturbed_run_does_not_end_the_search():
    assert measure_peak(Bench(40, 1000, (1, 1, 0.1)), 'node', 3, 10)['rate'] > 35


def test_the_peak_is_zero_if_no_rate_is_low_enough():
    assert measure_peak(Bench(0.1, 1000), 'node', 3, 10)['rate'] == 0


def test_the_search_starts_at_the_highest_measured_rate_without_loss():
    bench = Bench(70, 1000)
    measured = [{'rate': 10.0, 'loss': 0.0}, {'rate': 30.0, 'loss': 0.0},
                {'rate': 90.0, 'loss': 0.3}]
    peak = measure_peak(bench, 'node', 3, 10, measured)
    assert peak['rate'] == pytest.approx(70, rel=0.1)
    assert min(bench.rates) == 30


def test_a_measured_rate_that_is_lost_now_does_not_end_the_search():
    peak = measure_peak(Bench(40, 1000), 'node', 3, 10, [{'rate': 90.0, 'loss': 0.0}])
    assert peak['rate'] == pytest.approx(40, rel=0.1)
