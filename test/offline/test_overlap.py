# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Reading ahead, and lanes: complete, in order, and without leaked threads."""

import threading
import time

import numpy as np
import pytest

from trt_segmentation.offline.overlap import LaneCount, Lanes, read_ahead
from trt_segmentation.segmenter import Segmenter


def threads():
    return {thread.name for thread in threading.enumerate()}


def counted(stop, error=None):
    yield from range(stop)
    if error is not None:
        raise error


@pytest.mark.parametrize('stop', [0, 1, 3, 50])
def test_all_items_arrive_in_order(stop):
    assert list(read_ahead(counted(stop), 3)) == list(range(stop))
    assert 'read ahead' not in threads()


def test_an_error_arrives_after_the_items_before_it():
    items = read_ahead(counted(5, ValueError('damaged')), 2)
    assert [next(items) for _ in range(5)] == list(range(5))
    with pytest.raises(ValueError, match='damaged'):
        next(items)


def test_closing_ends_the_thread_and_the_generator():
    closed = []

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.append(threading.current_thread().name)

    items = read_ahead(endless(), 2)
    next(items)
    items.close()
    assert closed == ['read ahead']
    assert 'read ahead' not in threads()


@pytest.fixture(scope='module')
def segmenter():
    return Segmenter.open()


def images(count, size=(64, 96)):
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (*size, 3), np.uint8) for _ in range(count)]


@pytest.mark.parametrize('count', [LaneCount(), LaneCount(2, 1), LaneCount(2, 2),
                                   LaneCount(4, 2), LaneCount(4, 1, in_order=True)])
def test_lanes_give_every_image_its_own_result_in_order(segmenter, count):
    given = images(20) + images(10, (80, 64))
    expected = [segmenter.infer(image).copy().mask for image in given]
    written, in_order = {}, []
    lanes = Lanes(segmenter, ('mask',), count)
    for index, image in enumerate(given):
        def write(result, index=index):
            time.sleep(0.001 * (index % 3))
            written[index] = result.mask.copy()
        done = lanes.segment(image, 'bgr', write,
                             lambda result: in_order.append(result.mask.copy()))
    done.result()
    lanes.close()
    for index, mask in enumerate(expected):
        np.testing.assert_array_equal(written[index], mask)
        np.testing.assert_array_equal(in_order[index], mask)
    assert not [name for name in threads() if name.startswith(('segment', 'write', 'infer'))]
    assert segmenter.infer(given[0]).mask.shape == (64, 96), 'it is still open'


def test_an_error_of_write_is_raised(segmenter):
    def write(result):
        raise OSError('full')

    lanes = Lanes(segmenter, ('mask',), LaneCount(2, 2))
    with pytest.raises(OSError, match='full'):
        lanes.segment(images(1)[0], 'bgr', write).result()
    with pytest.raises(OSError, match='full'):
        lanes.segment(images(1)[0], 'bgr', None, write).result()
    lanes.close()
