# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Wall time of steps in turn, and its percentiles."""

import mmap

from trt_segmentation.benchmark.timing import WARM_UP, measure, percentiles


def test_steps_run_in_turn_after_a_warm_up():
    calls = []
    steps = {'a': lambda: calls.append('a'), 'b': lambda: calls.append('b')}
    measured = measure(steps, 3)
    assert ''.join(calls) == 'a' * WARM_UP + 'b' * WARM_UP + 'ababab'
    assert {name: len(series) for name, series in measured.seconds.items()} == {'a': 3, 'b': 3}
    assert all(second > 0 for series in measured.seconds.values() for second in series)


def test_memory_that_a_step_keeps_is_growth():
    kept = []

    def keep():
        kept.append(mmap.mmap(-1, 8_000_000))  # never memory that was freed before
        kept[-1].write(bytes(8_000_000))

    assert measure({'keep': keep}, 10).growth_mb > 60


def test_percentiles_are_milliseconds():
    assert percentiles([second / 1000 for second in range(101)]) == {
        'p50': 50.0, 'p95': 95.0, 'p99': 99.0}
    assert percentiles([]) == {}
