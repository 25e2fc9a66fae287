# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Loss and latency of frames and the mean over runs, against figures calculated by hand."""

from dataclasses import replace

import pytest

from trt_segmentation.benchmark.frames import (
    MAX_LOSS,
    TOLERANCE,
    FrameTimes,
    Run,
    combine_runs,
    divide_infer,
    find_peak,
    together,
    trimmed_mean,
)

MS = 1_000_000
SENT = [0, 100 * MS, 200 * MS, 300 * MS]


def times(stamp):
    """Return those of a frame whose stages take 2, 1, 3, 4, 20 and 5 ms."""
    taking = stamp + 2 * MS
    return FrameTimes(taking, taking + MS, taking + 4 * MS, taking + 8 * MS, taking + 28 * MS,
                      taking + 33 * MS)


@pytest.fixture
def run():
    """Four frames: one arrives, one is lost behind the node, two before it."""
    return Run(10.0, SENT, {SENT[0]: times(SENT[0]), SENT[1]: times(SENT[1])},
               {SENT[0]: {'mask': SENT[0] + 36 * MS, 'overlay': SENT[0] + 40 * MS}})


def test_every_frame_is_received_or_lost(run):
    figures = run.figures()
    assert (figures['sent'], figures['received'], figures['loss']) == (4, 1, 0.75)
    assert (figures['lost_before_node'], figures['lost_behind_node']) == (2, 1)


def test_rates_are_those_of_the_camera_and_of_the_subscriber(run):
    figures = run.figures()
    assert (figures['sent_rate'], figures['received_rate']) == (10.0, 2.5)


def test_the_stages_add_up_to_the_latency(run):
    figures = run.figures()
    assert figures['split_ms'] == {'to_node': 2, 'take': 1, 'dispatch': 3, 'read': 4,
                                   'infer': 20, 'publish': 5, 'to_subscriber': 5}
    assert sum(figures['split_ms'].values()) == figures['latency_ms']['p50'] == 40
    assert figures['mask_latency_ms']['p50'] == 36
    assert figures['callback_ms']['p50'] == 29
    assert figures['callback_beyond_infer_ms']['p50'] == 9


def test_a_subscriber_may_receive_before_publish_returns():
    run = Run(10.0, SENT, {0: times(0)}, {0: {'mask': 33 * MS}})
    split = run.figures()['split_ms']
    assert (split['publish'], split['to_subscriber']) == (3, 0)


def test_cpu_time_is_divided_by_the_frames_between_the_first_and_the_last():
    at = {stamp: replace(times(stamp), user=5 * MS + 6 * index * MS, system=2 * index * MS)
          for index, stamp in enumerate(SENT) if index != 1}  # frame 1 was dropped
    figures = Run(10.0, SENT, at, {}).figures()
    assert figures['cpu_ms'] == {'user': 9, 'system': 3, 'total': 12}
    assert Run(10.0, SENT, {0: times(0)}, {}).figures()['cpu_ms'] == {}


def test_nodes_that_run_at_once_have_the_cpu_time_of_all():
    first, second = (replace(times(stamp), user=stamp + 3, system=7) for stamp in (0, 10))
    assert together([first, second]) == replace(first, user=16, system=14)


def test_the_mask_of_several_cameras_is_there_with_the_last_of_them():
    run = Run(10.0, SENT, {}, {0: {'a/mask': 30 * MS, 'b/mask': 35 * MS, 'a/overlay': 50 * MS}})
    assert run.figures()['mask_latency_ms']['p50'] == 35
    assert run.figures()['latency_ms']['p50'] == 50


def test_a_run_without_a_result_has_no_latency():
    figures = Run(10.0, SENT, {}, {}).figures()
    assert figures['loss'] == 1
    assert figures['latency_ms'] == figures['mask_latency_ms'] == figures['split_ms'] == {}


@pytest.mark.parametrize(('values', 'mean'), [
    ([5, 1, 3, 2, 100], 10 / 3), ([1, 2, 3], 2), ([1, 3], 2), ([7], 7)])
def test_the_best_and_the_worst_run_are_dropped(values, mean):
    assert trimmed_mean(values) == pytest.approx(mean)


def test_runs_are_combined_figure_by_figure_without_empty_ones():
    runs = [{'rate': value, 'ms': {'p50': 10 - value}} for value in (1, 2, 9)]
    runs.append({'rate': 3, 'ms': {}})
    assert combine_runs(runs) == {'rate': 2.5, 'ms': {'p50': 8}}


def test_infer_is_divided_by_the_proportions_of_the_profile():
    split = {'take': 1.0, 'infer': 8.0, 'publish': 2.0}
    assert list(divide_infer(split, {'head': 1.0, 'tail': 3.0}).items()) == [
        ('take', 1.0), ('head', 2.0), ('tail', 6.0), ('publish', 2.0)]
    assert divide_infer(split, {}) == split


@pytest.mark.parametrize('capacity', [1.5, 7, 33.3, 140, 1000])
def test_the_peak_is_the_highest_rate_that_loses_little(capacity):
    tried = []

    def loss_at(rate):
        tried.append(rate)
        return max(0.0, 1 - capacity / rate)

    peak = find_peak(loss_at, 1, 2000)
    best = capacity / (1 - MAX_LOSS)
    assert best / (1 + TOLERANCE) <= peak <= best
    assert len(tried) < 20


def test_the_peak_stays_within_its_bounds():
    assert find_peak(lambda rate: 1.0, 1, 2000) == 0
    assert find_peak(lambda rate: 0.0, 1, 2000) == 2000
