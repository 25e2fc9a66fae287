# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Synchroniser: which frames are matched, and that each is used or dropped exactly once."""

from hypothesis import given
from hypothesis import strategies as st

from trt_segmentation.ros.synchroniser import Synchroniser

TOLERANCE = 20


@st.composite
def arrivals(draw):
    """A number of cameras, and frames (camera and stamp) in the order of arrival."""
    count = draw(st.integers(1, 5))
    frames = st.tuples(st.integers(0, count - 1), st.integers(0, 300))
    return count, draw(st.lists(frames, max_size=60))


def run(count, frames, tolerance=TOLERANCE):
    """Return the groups of (camera, stamp, number), and the cameras of the dropped frames."""
    synchroniser, groups, discarded = Synchroniser(count), [], []
    for number, (camera, stamp) in enumerate(frames):
        dropped, group = synchroniser.add(camera, stamp, (camera, stamp, number), tolerance)
        discarded += dropped
        groups += [group] if group else []
    return groups, discarded, synchroniser.clear()


@given(arrivals())
def test_every_frame_is_used_dropped_or_waits(case):
    count, frames = case
    groups, discarded, waiting = run(count, frames)
    used = [camera for group in groups for camera, _, _ in group]
    assert sorted(used + discarded + waiting) == sorted(camera for camera, _ in frames)
    assert len(set(waiting)) == len(waiting) < max(count, 2)


@given(arrivals())
def test_a_group_is_one_frame_of_each_camera_close_together(case):
    count, frames = case
    for group in run(count, frames)[0]:
        assert [camera for camera, _, _ in group] == list(range(count))
        stamps = [stamp for _, stamp, _ in group]
        assert max(stamps) - min(stamps) <= TOLERANCE


@given(arrivals())
def test_a_group_has_the_newest_frame_of_each_camera(case):
    count, frames = case
    for group in run(count, frames)[0]:
        last = max(number for _, _, number in group)
        for camera, _, number in group:
            assert not any(other == camera for other, _ in frames[number + 1:last + 1])


@given(st.lists(st.integers(0, 300), max_size=20))
def test_one_camera_waits_for_nobody(stamps):
    groups, discarded, waiting = run(1, [(0, stamp) for stamp in stamps])
    assert [group[0][1] for group in groups] == stamps
    assert discarded == waiting == []


@given(st.integers(2, 5), st.integers(1, 20), st.integers(0, TOLERANCE), st.randoms())
def test_cameras_in_step_lose_nothing_whatever_the_order(count, rounds, jitter, random):
    frames = []
    for step in range(rounds):
        row = [(camera, 100 * step + random.randint(0, jitter)) for camera in range(count)]
        random.shuffle(row)
        frames += row
    groups, discarded, waiting = run(count, frames)
    assert len(groups) == rounds
    assert discarded == waiting == []


def test_the_tolerance_is_inclusive():
    assert len(run(2, [(0, 0), (1, TOLERANCE)])[0]) == 1
    assert run(2, [(0, 0), (1, TOLERANCE + 1)]) == ([], [0], [1])


def test_a_frame_that_comes_too_late_for_the_others_is_dropped():
    assert run(2, [(0, 100), (1, 0)]) == ([], [1], [0])


def test_stamps_that_jump_back_cost_one_frame_of_each_camera():
    frames = [(0, 1000), (1, 0), (0, 0), (1, 30), (0, 30)]
    groups, discarded, waiting = run(2, frames)
    assert [[stamp for _, stamp, _ in group] for group in groups] == [[30, 30]]
    assert sorted(discarded) == [0, 0, 1]
    assert waiting == []


def test_a_frame_can_be_discarded_before_the_newer_one_is_read():
    synchroniser = Synchroniser(2)
    synchroniser.add(0, 5, 'old', TOLERANCE)
    assert [synchroniser.discard(0), synchroniser.discard(0)] == [True, False]
    assert synchroniser.add(1, 5, 'other', TOLERANCE) == ([], [])
    assert synchroniser.add(0, 6, 'new', TOLERANCE) == ([], ['new', 'other'])
