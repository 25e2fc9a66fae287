# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Serialized messages equal those of rclpy for the same image."""

import time
from array import array
from types import SimpleNamespace

import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from trt_segmentation.ros import serialized
from trt_segmentation.ros.image_msgs import OutgoingImage
from trt_segmentation.ros.serialized import ReceiveBuffer, SerializedData

TIMEOUT = 20.0


@pytest.fixture
def wire(context, tmp_path):
    """A publisher of images, and a function that publishes and returns the received message."""
    publishing, listening = (rclpy.create_node(name, context=context, namespace=tmp_path.name)
                             for name in ('publishing', 'listening'))
    received = []
    listening.create_subscription(Image, 'image', received.append, 10)
    publisher = publishing.create_publisher(Image, 'image', 10)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(listening)

    def through(publish):
        end = time.monotonic() + TIMEOUT
        while not publisher.get_subscription_count():
            assert time.monotonic() < end, 'the two do not find each other'
            time.sleep(0.01)
        received.clear()
        publish(publisher)
        while not received:
            assert time.monotonic() < end, 'nothing arrives'
            executor.spin_once(timeout_sec=0.1)
        return received[0]

    yield through
    executor.shutdown()
    for node in (publishing, listening):
        node.destroy_node()


def image(frame_id, encoding='bgr8', channels=3):
    msg = Image(header=Header(frame_id=frame_id), height=3, width=5, encoding=encoding,
                step=5 * channels)
    msg.header.stamp.sec, msg.header.stamp.nanosec = 7, 8
    return msg


@pytest.mark.parametrize('with_rcl', [True, False])
@pytest.mark.parametrize('frame_id', ['', 'c', 'camera_color_optical_frame'])
def test_it_arrives_as_the_message_it_stands_for(wire, monkeypatch, frame_id, with_rcl):
    if not with_rcl:
        monkeypatch.setattr(serialized, 'find_rcl', lambda: None)
    expected = image(frame_id)
    expected.data = array('B', range(45))
    ours = SerializedData(image(frame_id), 45)
    ours.data[:] = np.arange(45)
    ours.set_stamp(7, 8)
    assert wire(ours.publish) == expected


def test_rcl_is_found():
    assert serialized.find_rcl() is not None


def test_a_frame_of_another_name_keeps_its_pixels(wire):
    outgoing = OutgoingImage('mono16', 2, 3)
    for frame_id in ('left', 'right_camera', 'right_camera'):
        outgoing.pixels[...] = [[1, 2, 3], [400, 500, 65535]]
        found = wire(lambda publisher, name=frame_id: outgoing.publish(
            Header(frame_id=name), publisher))
        assert (found.header.frame_id, found.encoding, found.step) == (frame_id, 'mono16', 6)
        pixels = np.frombuffer(found.data, np.uint16).reshape(2, 3)
        np.testing.assert_array_equal(pixels, outgoing.pixels)


def test_a_publish_error_of_rcl_is_raised(context, monkeypatch):
    rcl = SimpleNamespace(rcl_publish_serialized_message=lambda *arguments: 300,
                          rcutils_reset_error=lambda: None)
    monkeypatch.setattr(serialized, 'find_rcl', lambda: rcl)
    node = rclpy.create_node('refused', context=context)
    publisher = node.create_publisher(Image, 'refused/image', 1)
    with pytest.raises(RuntimeError, match=r'/refused/image .* returned 300'):
        SerializedData(image('camera'), 45).publish(publisher)
    context.shutdown()
    with pytest.raises(RuntimeError):  # rclpy's own: the publisher is gone
        SerializedData(image('camera'), 45).publish(publisher)


def test_memory_grows_with_the_messages_that_are_received(context):
    """Small, large, small: each as it was sent."""
    node = rclpy.create_node('both', context=context)
    publisher = node.create_publisher(Image, 'both/image', 10)
    subscription = node.create_subscription(Image, 'both/image', print, 10)
    memory, end, numbers = ReceiveBuffer(), time.monotonic() + TIMEOUT, []
    assert memory.take(subscription) is None
    while not publisher.get_subscription_count():
        assert time.monotonic() < end, 'the two do not find each other'
        time.sleep(0.01)
    for size in (5, 5000, 100_000, 7):
        sent = Image(height=1, width=size, data=array('B', range(256)) * (size // 256 + 1))
        publisher.publish(sent)
        while (taken := memory.take(subscription)) is None:
            assert time.monotonic() < end, 'nothing arrives'
            time.sleep(0.01)
        assert deserialize_message(taken[0].tobytes(), Image) == sent
        numbers.append(taken[1]['publication_sequence_number'])
    assert numbers == list(range(numbers[0], numbers[0] + 4))
    assert memory.take(subscription) is None


def test_a_take_error_of_rcl_is_raised(context, monkeypatch):
    rcl = SimpleNamespace(rcl_take_serialized_message=lambda *arguments: 400,
                          rcutils_reset_error=lambda: None)
    monkeypatch.setattr(serialized, 'find_rcl', lambda: rcl)
    node = rclpy.create_node('refused', context=context)
    subscription = node.create_subscription(Image, 'refused/image', print, 1)
    with pytest.raises(RuntimeError, match=r'/refused/image cannot be received: .* returned 400'):
        ReceiveBuffer().take(subscription)


def test_the_bytes_are_those_of_the_message():
    ours = SerializedData(image('camera'), 45)
    ours.data[:] = 9
    assert set(deserialize_message(ours._buffer.tobytes(), Image).data) == {9}
