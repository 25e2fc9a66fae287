# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The state that the page gets from a mask and diagnostics."""

import json

import numpy as np
import pytest

from trt_segmentation.web.pace import SOONEST, UNKNOWN, Pace
from trt_segmentation.web.pairing import Pairing
from trt_segmentation.web.source import Status, View
from trt_segmentation.web.state import COLORS_KEY, colors_key, state_of


def state(**known):
    result = state_of(View('/segmentation', '/segmentation/overlay', **known))
    assert json.loads(json.dumps(result)) == result
    return result


def test_nothing_is_claimed_before_anything_came():
    result = state()
    assert (result['picture_age'], result['unlabelled'], result['status']) == (None, None, None)
    assert result['classes'] == []


@pytest.mark.parametrize(('dtype', 'nothing'), [(np.uint8, 255), (np.uint16, 65535)])
def test_shares_are_those_of_the_masks_pixels_the_largest_first(dtype, nothing):
    mask = np.array([0] * 2 + [3] * 5 + [nothing] * 3, dtype)
    result = state(mask=mask, labels={0: 'road', 1: 'sky', 3: 'car'})
    assert [(shown['name'], shown['share']) for shown in result['classes']] == [
        ('car', 0.5), ('road', 0.2)]
    assert result['unlabelled'] == 0.3


def test_colours_are_those_of_the_task_that_is_shown():
    values = {colors_key('lanes'): '#000000 #0914fa', colors_key('drivable'): '#ffffff #eeeeee'}
    result = state(mask=np.ones(4, np.uint8), status=Status(0, 'segmenting', values), task='lanes')
    assert [shown['color'] for shown in result['classes']] == ['#0914fa']
    assert result['status']['values'] == {}


def test_in_a_16_bit_mask_255_is_a_class():
    result = state(mask=np.full((2, 2), 255, np.uint16), labels={255: 'lamp'})
    assert [shown['name'] for shown in result['classes']] == ['lamp']


def test_classes_that_hardly_differ_stay_in_order():
    mask = np.repeat(np.uint8([0, 1, 2]), [4990, 5010, 9000])
    names = [shown['name'] for shown in state(mask=mask)['classes']]
    assert names == ['class 2', 'class 0', 'class 1']


def test_colours_are_those_of_the_node():
    status = Status(0, 'segmenting', {COLORS_KEY: '#804080 #4682b4'})
    result = state(mask=np.uint8([0, 1, 1, 2, 2, 2]), status=status)
    assert [shown['color'] for shown in result['classes']] == [None, '#4682b4', '#804080']
    assert COLORS_KEY not in result['status']['values']


def test_figures_are_the_nodes_own():
    result = state(status=Status(1, 'images too slow', {
        'backend': 'tensorrt', 'precision': 'fp16', 'input rate, Hz': '29.9',
        'output rate, Hz': '30.1', 'latency p50, ms': '2.5', 'latency p95, ms': '4.0'}))['status']
    assert (result['level'], result['message']) == ('WARN', 'images too slow')
    assert result['running'] == 'tensorrt, fp16'
    assert result['figures'] == {'input': '29.9', 'output': '30.1', 'p50': '2.5', 'p95': '4.0'}


def test_frames_without_subscribers_are_not_dropped_frames():
    values = {'frames dropped, keep_latest': '3', 'frames dropped, bad_frame': '4',
              'frames dropped, no_subscriber': '1000', 'frames dropped, disabled': '50'}
    assert state(status=Status(0, 'segmenting', values))['status']['figures'] == {'dropped': '7'}


def test_a_node_whose_diagnostics_are_overdue_is_stale():
    for age, stale in ((1.4, False), (1.6, True)):
        result = state(status=Status(0, 'segmenting', age=age))['status']
        assert result['stale'] == stale
        assert result['level'] == ('STALE' if stale else 'OK')
        assert result['message'] == ('no messages from the node' if stale else 'segmenting')
        assert result['silent_for'] == (age if stale else None)
    assert not state(status=Status(0, 'segmenting', age=7.0, limit=7.5))['status']['stale']


def test_pictures_without_diagnostics_are_named():
    result = state(picture_age=0.1, status=Status(0, 'segmenting', age=6.0))
    assert (result['picture_stale'], result['status']['stale']) == (False, True)
    assert result['status']['message'] == 'no diagnostics from the node'
    assert result['status']['silent_for'] == 6.0


def test_of_a_picture_and_diagnostics_the_last_sign_of_life_counts():
    result = state(picture_age=2.0, status=Status(0, 'segmenting', age=2.5))
    assert result['picture_stale']
    assert (result['status']['message'], result['status']['silent_for']) == (
        'no messages from the node', 2.0)


@pytest.mark.parametrize(('picture_age', 'age', 'stale'), [
    (1.4, 3.0, False),  # a picture can still come in time
    (1.6, 3.0, True),   # it has not: the figures of 3 s ago are no longer true
    (4.0, 0.5, False),  # diagnostics have come since: only the camera is silent
    (4.0, 2.4, False),
    (4.0, 7.6, True),
    (None, 7.0, False)])
def test_where_diagnostics_are_rare_pictures_tell_sooner(picture_age, age, stale):
    result = state(picture_age=picture_age, status=Status(0, 'segmenting', age=age, limit=7.5))
    assert result['status']['stale'] == stale


def test_a_camera_that_stops_does_not_make_the_node_stale():
    for tenth in range(100):  # diagnostics each second, the last picture at 0
        result = state(picture_age=tenth / 10, status=Status(0, 'segmenting', age=tenth % 10 / 10))
        assert result['picture_stale'] == (tenth > 15)
        assert not result['status']['stale']


def test_shares_say_whether_they_are_of_the_picture():
    assert state(mask=np.uint8([0]))['mask_is_of_picture']
    assert not state(mask=np.uint8([0]), mask_is_of_picture=False)['mask_is_of_picture']


# Pace


def pace_of(*times):
    pace = Pace()
    for moment in times:
        pace.note(moment)
    return pace


@pytest.mark.parametrize(('gaps', 'limit'), [
    ([], UNKNOWN), ([0.03] * 9, SOONEST), ([1.0] * 9, 1.5), ([5.0], 7.5), ([5.0, 5.1], 7.5),
    ([1.0, 1.0, 60.0, 1.0], 1.5), ([1.0, 1.0, 2.0, 2.0], 3.0), ([5.0] * 9 + [1.0] * 6, 1.5)])
def test_what_comes_seldom_is_overdue_later(gaps, limit):
    assert pace_of(*np.cumsum([100.0, *gaps])).limit == pytest.approx(limit, abs=1e-9)


def test_how_often_it_comes_is_known_after_a_break():
    pace = pace_of(0.0, 5.0, 10.0)
    assert pace.age(12.0) == 2.0
    pace.forget()
    assert pace.age(12.0) is None
    pace.note(1000.0)
    assert pace.limit == 7.5


# Pairing


def test_the_mask_is_that_of_the_picture_whichever_comes_first():
    pairing = Pairing()
    assert (pairing.mask, pairing.is_of_picture) == (None, False)
    pairing.keep(1, 'one')
    assert pairing.mask is None
    pairing.show(1)
    pairing.keep(2, 'two')
    assert (pairing.mask, pairing.is_of_picture) == ('one', True)
    pairing.show(3)
    assert (pairing.mask, pairing.is_of_picture) == ('one', False)
    pairing.keep(3, 'three')
    assert (pairing.mask, pairing.is_of_picture) == ('three', True)
    pairing.clear()
    assert (pairing.mask, pairing.is_of_picture) == (None, False)


def test_few_masks_are_kept():
    pairing = Pairing()
    for stamp in range(100):
        pairing.keep(stamp, stamp)
    found = []
    for stamp in range(100):
        pairing.show(stamp)
        found += [stamp] * pairing.is_of_picture
    assert found == [95, 96, 97, 98, 99]


def test_cameras_without_stamps_have_their_newest_mask():
    pairing = Pairing()
    pairing.show(0)
    for mask in 'ab':
        pairing.keep(0, mask)
    assert (pairing.mask, pairing.is_of_picture) == ('b', True)


def test_other_nodes_are_named():
    assert state(others=('/front/segmentation', '/segmentation'))['others'] == [
        '/front/segmentation']
