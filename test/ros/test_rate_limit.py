# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Parameter max_rate: the schedule with a simulated clock, and the node over DDS."""

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trt_segmentation.ros.rate_limit import RateLimit

START = 12345.678
FRAME = 33_333_333
"""Nanoseconds between the frames of a camera at 30 Hz."""


def admitted(limit, times):
    return [time for time in times if limit.admit(START + time)]


def camera(rate, seconds, jitter=()):
    """Return the times of frames, each later by the next of ``jitter`` in periods."""
    delays = itertools.cycle(jitter or (0,))
    return [(index + delay) / rate for index, delay in zip(range(int(rate * seconds)), delays,
                                                           strict=False)]


@given(rate=st.floats(0.2, 60), faster=st.floats(1.0, 8.0),
       jitter=st.lists(st.floats(0, 0.9), min_size=1, max_size=50))
def test_a_minute_has_the_maximum_rate_to_a_frame(rate, faster, jitter):
    frames = admitted(RateLimit(rate), camera(rate * faster, 60, jitter))
    assert abs(len(frames) - 60 * rate) <= 2


@pytest.mark.parametrize(('camera_rate', 'rate', 'number'), [
    (30, 10, 600), (30, 29, 1740), (30, 7, 420), (30, 20, 1200), (100, 33.3, 1998),
    (30, 30, 1800), (10, 30, 600)])
def test_the_rate_over_a_minute(camera_rate, rate, number):
    frames = admitted(RateLimit(rate), camera(camera_rate, 60))
    assert abs(len(frames) - number) <= 1


def test_the_rate_does_not_drift_over_a_day():
    limit = RateLimit(1.7)
    frames = sum(limit.admit(START + index / 5) for index in range(5 * 86400))
    assert abs(frames - 1.7 * 86400) <= 1


def test_a_pause_leaves_no_burst():
    limit = RateLimit(10)
    assert len(admitted(limit, camera(100, 1))) == 10
    after = [60.03 + index / 1000 for index in range(69)]
    assert len(admitted(limit, after)) == 2


def test_without_a_limit_every_frame_is_admitted():
    limit = RateLimit()
    assert not limit.is_limited
    limit.set_rate(5)
    assert limit.is_limited


def test_an_unreadable_frame_leaves_its_slot_to_the_next_one():
    limit, used = RateLimit(1), []
    for index in range(90):
        if limit.admit(START + index / 30):
            used.append(index)
            if len(used) % 2:  # the first frame of every slot is unreadable
                limit.give_back()
    assert used == [0, 1, 31, 32, 61, 62]


@pytest.mark.parametrize('rate', [4.0, 10.0, 14.0, 29.0])
def test_cameras_of_a_batch_are_admitted_together(rate):
    limit, sets = RateLimit(rate), 1800
    used = []
    for index in range(sets):
        answers = {limit.admit(START + index / 30 + delay / 1e9, number,
                               index * FRAME + delay, tolerance=10_000_000)
                   for number, delay in enumerate((0, 4_000_000, 9_000_000))}
        assert len(answers) == 1
        used += answers
    assert abs(sum(used) - 60 * rate) <= 1


def test_frames_of_one_camera_are_never_one_batch():
    limit = RateLimit(1)
    assert [limit.admit(START, 0, stamp, tolerance=10**9) for stamp in (0, 1, 2)] \
        == [True, False, False]


def test_a_bad_frame_does_not_cost_the_next_good_one(make_bench, image_message, scene, model):
    bench = make_bench(engine_path=model, max_rate=0.001)
    bench.listen('mask')
    bad = image_message(scene)
    bad.encoding = '32FC1'
    for _ in range(3):
        bench.send_in_vain(bad, 'bad_frame')
    bench.segment(image_message(scene))
    bench.send_in_vain(image_message(scene), 'max_rate')


def test_frames_above_the_rate_are_dropped_and_counted(make_bench, image_message, scene, model):
    rate = 2.0
    bench = make_bench(engine_path=model, max_rate=rate, max_drop_share=0.05)
    bench.listen('mask')
    message = image_message(scene)
    bench.segment(message)  # discovery is complete
    started, before = time.monotonic(), bench.counts()

    def numbers():
        after = bench.counts()
        return [after[f'frames {of}'] - before[f'frames {of}']
                for of in ('received', 'segmented', 'dropped, max_rate')]

    def are_many():
        _, segmented, limited = numbers()
        return segmented >= 2 and limited >= 10

    bench.send_until(message, are_many, 'frames above the rate')
    received, segmented, limited = numbers()
    assert received == segmented + limited
    assert segmented <= rate * (time.monotonic() - started) + 2
    assert 'max_rate' not in bench.status().message  # they are dropped as requested
    assert bench.set_parameter('max_rate', 0.0).successful
    limited = bench.counts()['frames dropped, max_rate']
    for _ in range(3):
        bench.segment(message)
    assert bench.counts()['frames dropped, max_rate'] == limited
    refused = bench.set_parameter('max_rate', -1.0)
    assert not refused.successful
    assert 'max_rate' in refused.reason
