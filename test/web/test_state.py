# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What the page is told of a mask and of diagnostics."""

import json

import numpy as np
import pytest

from trt_segmentation.web.source import Status, View
from trt_segmentation.web.state import COLORS_KEY, state_of


def state(**known):
    told = state_of(View('/segmentation', '/segmentation/overlay', **known))
    assert json.loads(json.dumps(told)) == told
    return told


def test_nothing_is_claimed_before_anything_came():
    told = state()
    assert (told['picture_age'], told['unlabelled'], told['status']) == (None, None, None)
    assert told['classes'] == []


@pytest.mark.parametrize(('dtype', 'nothing'), [(np.uint8, 255), (np.uint16, 65535)])
def test_shares_are_those_of_the_masks_pixels_the_largest_first(dtype, nothing):
    mask = np.array([0] * 2 + [3] * 5 + [nothing] * 3, dtype)
    told = state(mask=mask, labels={0: 'road', 1: 'sky', 3: 'car'})
    assert [(shown['name'], shown['share']) for shown in told['classes']] == [
        ('car', 0.5), ('road', 0.2)]
    assert told['unlabelled'] == 0.3


def test_in_a_16_bit_mask_255_is_a_class():
    told = state(mask=np.full((2, 2), 255, np.uint16), labels={255: 'lamp'})
    assert [shown['name'] for shown in told['classes']] == ['lamp']


def test_classes_that_hardly_differ_stay_in_order():
    mask = np.repeat(np.uint8([0, 1, 2]), [4990, 5010, 9000])
    names = [shown['name'] for shown in state(mask=mask)['classes']]
    assert names == ['class 2', 'class 0', 'class 1']


def test_colours_are_those_that_the_node_tells():
    status = Status(0, 'segmenting', {COLORS_KEY: '#804080 #4682b4'})
    told = state(mask=np.uint8([0, 1, 1, 2, 2, 2]), status=status)
    assert [shown['color'] for shown in told['classes']] == [None, '#4682b4', '#804080']
    assert COLORS_KEY not in told['status']['values']


def test_figures_are_the_nodes_own():
    told = state(status=Status(1, 'images too slow', {
        'backend': 'tensorrt', 'precision': 'fp16', 'input rate, Hz': '29.9',
        'output rate, Hz': '30.1', 'latency p50, ms': '2.5', 'latency p95, ms': '4.0'}))['status']
    assert (told['level'], told['message']) == ('WARN', 'images too slow')
    assert told['running'] == 'tensorrt, fp16'
    assert told['figures'] == {'input': '29.9', 'output': '30.1', 'p50': '2.5', 'p95': '4.0'}


def test_frames_that_nobody_wanted_are_no_loss():
    values = {'frames dropped, keep_latest': '3', 'frames dropped, bad_frame': '4',
              'frames dropped, no_subscriber': '1000', 'frames dropped, disabled': '50'}
    assert state(status=Status(0, 'segmenting', values))['status']['figures'] == {'dropped': '7'}


def test_a_node_that_talks_no_more_is_stale():
    told = state(status=Status(0, 'segmenting', age=6.0))['status']
    assert told['level'] == 'STALE'
    assert told['message'] == 'the node has stopped talking on /diagnostics'


def test_other_nodes_are_named():
    assert state(others=('/front/segmentation', '/segmentation'))['others'] == [
        '/front/segmentation']
