# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The topic ~/classes: fractions of the image and of a region, against NumPy and over DDS."""

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from hypothesis import given
from hypothesis import strategies as st

from trt_segmentation.classes.mask_encoding import MONO8, MONO16
from trt_segmentation.demo.clip import LABELS
from trt_segmentation.ros.class_shares import part_of, region_fault, shares

ENCODINGS = st.sampled_from([MONO8, MONO16])


@given(encoding=ENCODINGS, height=st.integers(1, 20), width=st.integers(1, 20),
       count=st.integers(1, 200), seed=st.integers(0, 99))
def test_shares_are_the_fractions_of_the_pixels(encoding, height, width, count, seed):
    random = np.random.default_rng(seed)
    mask = random.integers(0, count + 1, (height, width)).astype(encoding.dtype)
    mask[mask == count] = encoding.unlabelled
    names = [f'class {index}' for index in range(count)]
    part = mask[height // 3:, width // 3:]  # rows are not contiguous
    found = shares(part, encoding, names)
    assert found == {name: pytest.approx(np.mean(part == index))
                     for index, name in enumerate(names)}


def test_without_names_the_ids_that_occur_are_listed():
    mask = np.array([[3, 3], [9, 255]], np.uint8)
    assert shares(mask, MONO8, ()) == {'3': 0.5, '9': 0.25}


@given(x=st.integers(0, 9), y=st.integers(0, 9), width=st.integers(1, 10),
       height=st.integers(1, 10), factor=st.integers(1, 30))
def test_a_region_has_the_same_place_at_every_size(x, y, width, height, factor):
    width, height = min(width, 10 - x), min(height, 10 - y)
    region = [x / 10, y / 10, width / 10, height / 10]
    assert region_fault(region) == ''
    rows, columns = np.mgrid[:10 * factor, :10 * factor]
    found = part_of(rows, region), part_of(columns, region)
    assert found[0].shape == (height * factor, width * factor)
    assert (found[0].min(), found[1].min()) == (y * factor, x * factor)


@given(region=st.lists(st.floats(0, 1), min_size=4, max_size=4), side=st.integers(1, 5))
def test_a_valid_region_has_at_least_one_pixel(region, side):
    if any(region) and not region_fault(region):
        assert part_of(np.zeros((side, side), np.uint8), region).size > 0


@pytest.mark.parametrize('region', [[0.5, 0.0, 0.6, 1.0], [0.0, 0.5, 1.0, 0.6],
                                    [0.5, 0.5, 0.0, 0.5], [0.0, 0.1, 0.0, 0.0]])
def test_a_region_beyond_the_image_is_refused(region):
    assert 'classes_region is' in region_fault(region)


def parts_of(message):
    return {status.name: {value.key: float(value.value) for value in status.values}
            for status in message.status}


def wanted(mask):
    return {name: pytest.approx(np.mean(mask == index), abs=1e-6)
            for index, name in enumerate(LABELS)}


def test_shares_come_without_a_subscriber_of_the_mask(make_bench, image_message, scene, segmenter,
                                                      stamp_of):
    bench = make_bench(classes_region='[0.25, 0.5, 0.5, 0.5]')
    messages = bench.collect(DiagnosticArray, 'segmentation/classes')
    bench.wait_until_active()
    bench.wait_until_met()
    mask = segmenter.infer(scene).mask.copy()
    stamps = bench.send_until(image_message(scene), lambda: messages, 'shares')
    assert stamp_of(messages[0]) in stamps
    assert messages[0].header.frame_id == 'camera_color_optical_frame'
    assert parts_of(messages[0]) == {'image': wanted(mask), 'region': wanted(mask[90:, 80:240])}
    assert bench.set_parameter('classes_region', [0.0, 0.0, 0.0, 0.0]).successful
    messages.clear()
    bench.send_until(image_message(scene), lambda: len(messages) > 1, 'shares of the image')
    assert parts_of(messages[-1]) == {'image': wanted(mask)}
    refused = bench.set_parameter('classes_region', [0.5, 0.0, 0.7, 1.0])
    assert not refused.successful
    assert 'at most 1' in refused.reason
