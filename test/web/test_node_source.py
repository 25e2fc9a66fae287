# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The viewer's source: messages of a node in any order."""

import importlib.util

import cv2
import numpy as np
import pytest

pytestmark = [pytest.mark.ros, pytest.mark.skipif(importlib.util.find_spec('rclpy') is None,
                                                  reason='rclpy is not installed')]


class Immediately:
    """An executor that runs what it is given at once."""

    def create_task(self, callback, *arguments):
        callback(*arguments)


class Topics:
    """A node whose subscriptions are fed by a test."""

    def __init__(self):
        self.callbacks = {}

    def create_subscription(self, _, topic, callback, *qos, **options):
        self.callbacks[topic] = callback
        return topic

    def destroy_subscription(self, topic):
        del self.callbacks[topic]


class Feed:
    """A source of a node whose messages a test makes up."""

    def __init__(self, task='', transport='raw'):
        from trt_segmentation.ros.viewer import NodeSource
        self.topics = Topics()
        self.source = NodeSource(self.topics, Immediately(), '/front/segmentation', task,
                                 transport)
        self.news = 0
        self.start()

    def start(self):
        self.source.start(self._count)

    def _count(self):
        self.news += 1

    def image(self, name, stamp, pixels, encoding):
        """Send an image, uint8 [H, W, ...]."""
        from builtin_interfaces.msg import Time
        from rclpy.serialization import serialize_message
        from sensor_msgs.msg import Image
        from std_msgs.msg import Header
        height, width = pixels.shape[:2]
        self.topics.callbacks[f'/front/segmentation/{name}'](serialize_message(Image(
            header=Header(stamp=Time(sec=stamp, nanosec=7), frame_id='camera'), height=height,
            width=width, encoding=encoding, step=pixels.nbytes // height,
            data=pixels.tobytes())))

    def overlay(self, stamp):
        self.image('overlay', stamp, np.full((2, 3, 3), stamp, np.uint8), 'bgr8')

    def mask(self, stamp):
        self.image('mask', stamp, np.full((2, 3), stamp, np.uint8), 'mono8')

    def diagnostics(self):
        from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
        self.topics.callbacks['/diagnostics'](DiagnosticArray(status=[
            DiagnosticStatus(level=b'\0', name=name, message='segmenting')
            for name in ('front/segmentation: segmentation', 'rear: segmentation', 'other')]))

    def taken(self):
        """Take a picture; return its stamp, and that of the mask it is shown with."""
        pixels, view = self.source.picture(), self.source.view()
        return int(pixels[0, 0, 0]), None if view.mask is None else int(view.mask[0]), \
            view.mask_is_of_picture


@pytest.fixture
def feed():
    return Feed()


@pytest.fixture
def clock(monkeypatch):
    """Set the time that passes for the viewer: ``clock(3.0)``."""
    from trt_segmentation.ros import viewer
    now = [100.0]
    monkeypatch.setattr(viewer.time, 'monotonic', lambda: now[0])
    return lambda moment: now.__setitem__(0, 100.0 + moment)


def test_shares_are_those_of_the_picture_that_was_taken(feed):
    for stamp in (1, 2, 3):
        feed.mask(stamp)
    feed.overlay(1)
    assert feed.taken() == (1, 1, True)
    feed.overlay(2)
    assert feed.source.view().mask[0] == 1, 'the newer picture is not shown yet'
    assert feed.taken() == (2, 2, True)
    assert feed.news == 2


def test_of_several_tasks_one_is_shown():
    feed = Feed('lanes')
    assert {name for name in feed.topics.callbacks if name != '/diagnostics'} >= {
        '/front/segmentation/lanes/mask', '/front/segmentation/lanes/overlay'}
    assert '/front/segmentation/mask' not in feed.topics.callbacks
    feed.image('lanes/mask', 1, np.full((2, 3), 1, np.uint8), 'mono8')
    feed.image('lanes/overlay', 1, np.full((2, 3, 3), 1, np.uint8), 'bgr8')
    assert feed.taken() == (1, 1, True)
    view = feed.source.view()
    assert (view.topic, view.task) == ('/front/segmentation/lanes/overlay', 'lanes')


def test_compressed_overlays_are_shown_with_their_masks():
    from builtin_interfaces.msg import Time
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import CompressedImage
    from std_msgs.msg import Header
    feed = Feed(transport='compressed')
    assert '/front/segmentation/overlay' not in feed.topics.callbacks
    for stamp in (40, 80):
        data = cv2.imencode('.jpg', np.full((16, 16, 3), stamp, np.uint8))[1].tobytes()
        feed.topics.callbacks['/front/segmentation/overlay/compressed'](serialize_message(
            CompressedImage(header=Header(stamp=Time(sec=stamp, nanosec=7)), data=data,
                            format='bgr8; jpeg compressed bgr8')))
        feed.mask(stamp)
        assert feed.taken() == (stamp, stamp, True)
    assert feed.source.view().topic == '/front/segmentation/overlay/compressed'


def test_a_mask_that_comes_after_its_picture_is_taken_then(feed):
    feed.mask(1)
    feed.overlay(1)
    feed.overlay(2)
    assert feed.source.picture() is not None
    assert feed.source.view().mask is None, 'the only mask is of a picture that was never shown'
    feed.mask(2)
    assert feed.taken() == (2, 2, True)
    feed.overlay(3)
    feed.mask(4)
    assert feed.taken() == (3, 2, False)
    feed.mask(3)
    assert feed.taken() == (3, 3, True)


def test_stamps_differ_by_a_nanosecond_too():
    from trt_segmentation.ros.serialized import serialized_stamp
    head = (5).to_bytes(4, 'little') + (7).to_bytes(4, 'little')
    assert serialized_stamp(b'\0\1\0\0' + head) == 5_000_000_007
    assert serialized_stamp(b'\0\0\0\0' + head[3::-1] + head[:3:-1]) == 5_000_000_007


def test_nothing_is_kept_when_nobody_looks(feed, clock):
    for second in range(0, 20, 5):
        clock(second)
        feed.diagnostics()
    feed.mask(1)
    feed.overlay(1)
    feed.taken()
    feed.source.stop()
    assert feed.topics.callbacks == {}
    feed.start()
    view = feed.source.view()
    assert (view.picture_age, view.mask, view.status, view.others) == (None, None, None, ())
    feed.diagnostics()
    assert feed.source.view().status.limit == 7.5, 'how often they come is known'


def test_ages_and_limits_are_measured(feed, clock):
    for second in range(4):
        clock(second)
        feed.diagnostics()
        feed.overlay(second)
    clock(4.2)
    view = feed.source.view()
    assert view.others == ('/front/segmentation', '/rear')
    assert (view.picture_limit, view.status.limit) == (1.5, 1.5)
    assert (view.picture_age, view.status.age) == pytest.approx((1.2, 1.2))
