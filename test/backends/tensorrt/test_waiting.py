# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Waiting for the GPU, on a clock and a stream of the test."""

from types import SimpleNamespace

import pytest
from hypothesis import given, strategies

from trt_segmentation.backends.tensorrt import waiting
from trt_segmentation.backends.tensorrt.waiting import SPUN, Waiter


class Gpu:
    """A clock, and a stream whose work is done at a time; counts the seconds that are spun."""

    def __init__(self):
        self.now = self.done_at = self.spun = 0.0
        self.time = SimpleNamespace(perf_counter=lambda: self.now, sleep=self._sleep)

    def run(self, waiter, seconds):
        """Do work of some seconds and wait for it; return how late that returned."""
        self.done_at = self.now + seconds
        waiter.wait(self)
        return self.now - self.done_at

    def is_done(self):
        return self.now >= self.done_at

    def synchronize(self):
        self.spun += max(self.done_at - self.now, 0.0)
        self.now = max(self.now, self.done_at)

    def _sleep(self, seconds):
        assert seconds > 0
        self.now += seconds


@pytest.fixture
def gpu(monkeypatch):
    made = Gpu()
    monkeypatch.setattr(waiting, 'time', made.time)
    return made


def test_steady_work_is_waited_for_asleep_and_in_time(gpu):
    waiter = Waiter()
    for _ in range(100):
        gpu.run(waiter, 0.010)
    gpu.spun = 0.0
    assert sum(gpu.run(waiter, 0.010) for _ in range(10)) == pytest.approx(0)
    assert gpu.spun == pytest.approx(10 * SPUN, rel=0.01)


def test_short_work_is_spun(gpu):
    waiter = Waiter()
    for _ in range(100):
        gpu.run(waiter, SPUN)
    assert gpu.spun == pytest.approx(100 * SPUN)


def test_faster_work_is_late_for_some_images_only(gpu):
    waiter = Waiter()
    for _ in range(100):
        gpu.run(waiter, 0.010)
    late = [gpu.run(waiter, 0.002) for _ in range(100)]
    assert 0 < max(late) < 0.008 and late == sorted(late, reverse=True)
    assert late[30:] == pytest.approx([0] * 70)


@given(strategies.lists(strategies.floats(0, 0.1), max_size=50))
def test_it_never_returns_before_the_work_is_done(durations):
    gpu, waiter = Gpu(), Waiter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waiting, 'time', gpu.time)
        late = [gpu.run(waiter, seconds) for seconds in durations]
    assert all(0 <= each < 0.1 for each in late)


def test_an_error_of_the_gpu_arrives(gpu):
    class BrokenError(Exception):
        pass

    def fail():
        raise BrokenError

    waiter = Waiter()
    for _ in range(100):
        gpu.run(waiter, 0.010)
    for query in ('is_done', 'synchronize'):
        stream = SimpleNamespace(is_done=lambda: False, synchronize=lambda: None)
        setattr(stream, query, fail)
        with pytest.raises(BrokenError):
            waiter.wait(stream)
