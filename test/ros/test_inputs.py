# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The image subscription, and its messages about incompatible publishers."""

import time
from array import array

import cv2
import numpy as np
import pytest
import rclpy
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from trt_segmentation.ros import inputs, serialized
from trt_segmentation.ros.image_msgs import ImageReader
from trt_segmentation.ros.inputs import (
    DURABILITIES,
    RELIABILITIES,
    TRANSPORTS,
    ImageInput,
    UnsupportedEventTypeError,
)

TIMEOUT = 20.0
PIXELS = np.full((6, 8, 3), 50, np.uint8)


class Wire:
    """A node with the input and a camera node in one process, connected by DDS."""

    def __init__(self, name):
        self.context = rclpy.Context()
        self.context.init()
        self.executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self.namespace = f'/wire_{name}_{time.monotonic_ns()}'
        self.frames, self.events = [], []
        self.type = Image

    def node(self, name, arguments=()):
        node = rclpy.create_node(name, namespace=self.namespace, context=self.context,
                                 cli_args=['--ros-args', *arguments])
        self.executor.add_node(node)
        return node

    def listen(self, *remappings, **options):
        node = self.node('listener', [word for rule in remappings for word in ('-r', rule)])
        self.type = TRANSPORTS[options.get('transport', 'raw')].message
        return ImageInput(node, self.on_image, on_event=self.events.append, **options)

    def on_image(self, msg, info):
        if isinstance(msg, np.ndarray):
            msg = deserialize_message(msg.tobytes(), self.type)
        self.frames.append((msg, info))

    def camera(self, message_type, topic, reliability='best_effort', durability='volatile'):
        qos = QoSProfile(depth=1, reliability=RELIABILITIES[reliability],
                         durability=DURABILITIES[durability])
        return self.node('camera').create_publisher(message_type, topic, qos)

    def spin_until(self, condition):
        end = time.monotonic() + TIMEOUT
        while not condition():
            assert time.monotonic() < end, f'timed out; events: {self.events}'
            self.executor.spin_once(timeout_sec=0.05)

    def receive(self, camera, msg):
        """Publish until it arrives: the first may be sent before both sides have matched."""
        def arrived():
            camera.publish(msg)
            self.executor.spin_once(timeout_sec=0.05)
            return self.frames

        self.spin_until(arrived)
        return self.frames[-1]

    def close(self):
        for node in self.executor.get_nodes():
            node.destroy_node()
        self.executor.shutdown()
        self.context.try_shutdown()


@pytest.fixture(params=['serialized', 'messages'])
def wire(request, monkeypatch):
    if request.param == 'messages':  # as where rcl cannot be found
        monkeypatch.setattr(inputs, 'can_take_serialized', lambda: False)
    wire = Wire(request.node.originalname)
    wire.is_serialized = request.param == 'serialized'
    yield wire
    wire.close()


@pytest.fixture
def frame(image_message):
    return image_message(PIXELS)


def test_frames_come_with_number_and_publisher(wire, frame):
    wire.listen()
    found = []
    for camera in (wire.camera(Image, 'image'), wire.camera(Image, 'image')):
        wire.frames.clear()
        msg, info = wire.receive(camera, frame)
        assert msg == frame
        found.append(info)
    assert wire.events == []
    told = getattr(getattr(rclpy.subscription, 'MessageInfo', None), '__annotations__', {})
    if not wire.is_serialized and 'publisher_gid' not in told:  # numbers would mean nothing
        assert found == [{}, {}]
        return
    assert all(info['publication_sequence_number'] >= 1 for info in found)
    assert len({info['publisher_gid'] for info in found}) == 2


@pytest.mark.parametrize(('extension', 'tolerance'), [('.jpg', 2), ('.png', 0)])
def test_compressed_frames_arrive_and_decode(wire, extension, tolerance):
    sensor = wire.listen(transport='compressed')
    assert sensor.topic == f'{wire.namespace}/image/compressed'
    data = cv2.imencode(extension, PIXELS)[1].tobytes()
    sent = CompressedImage(format=extension[1:], data=array('B', data))
    msg, _ = wire.receive(wire.camera(CompressedImage, 'image/compressed'), sent)
    np.testing.assert_allclose(ImageReader().read(msg)[0], PIXELS, atol=tolerance)


@pytest.mark.parametrize(('rule', 'transport', 'topic'), [
    ('image:=/front/image_raw', 'raw', '/front/image_raw'),
    ('image:=/front/image_raw', 'compressed', '/front/image_raw/compressed'),
    ('image/compressed:=/front/jpeg', 'compressed', '/front/jpeg')])
def test_remapping_holds_for_both_transports(wire, rule, transport, topic):
    sensor = wire.listen(rule, transport=transport)
    assert sensor.topic == topic
    wire.camera(Image if transport == 'raw' else CompressedImage, topic)
    wire.spin_until(lambda: sensor.publishers().count == 1)


@pytest.mark.parametrize(('policy', 'asked', 'offered'), [
    ('reliability', 'reliable', 'best_effort'), ('durability', 'transient_local', 'volatile')])
def test_a_publisher_with_incompatible_qos_is_reported(wire, frame, policy, asked, offered):
    sensor = wire.listen(**{policy: asked})
    camera = wire.camera(Image, 'image', **{policy: offered})
    wire.spin_until(lambda: wire.events)
    camera.publish(frame)
    assert wire.events == [
        f'{sensor.topic}: the QoS of a publisher is incompatible: it offers {policy} {offered}, '
        f'but {asked} is requested; set qos_{policy} to {offered}']
    wire.spin_until(lambda: sensor.publishers().count == 1)
    assert wire.frames == []


@pytest.mark.parametrize('listener', [{}, {'reliability': 'reliable'}])
def test_a_reliable_publisher_matches_both(wire, frame, listener):
    wire.listen(**listener)
    wire.receive(wire.camera(Image, 'image', 'reliable'), frame)
    assert wire.events == []


def test_transient_local_brings_what_was_published_before(wire, frame):
    wire.camera(Image, 'image', 'reliable', 'transient_local').publish(frame)
    wire.listen(reliability='reliable', durability='transient_local')
    wire.spin_until(lambda: wire.frames)
    assert wire.frames[0][0] == frame


def test_defaults_are_those_of_sensor_data_and_the_newest_frame(wire):
    sensor = wire.listen()
    wire.spin_until(lambda: wire.executor.get_nodes()[0].count_subscribers(sensor.topic))
    qos = wire.executor.get_nodes()[0].get_subscriptions_info_by_topic(sensor.topic)[0].qos_profile
    assert qos.reliability == ReliabilityPolicy.BEST_EFFORT
    assert qos.durability == DurabilityPolicy.VOLATILE
    own = next(iter(wire.executor.get_nodes()[0].subscriptions)).qos_profile
    assert own.depth == 1


def test_a_destroyed_input_receives_nothing_and_counts_no_more(wire):
    sensor = wire.listen()
    camera = wire.camera(Image, 'image')
    wire.spin_until(camera.get_subscription_count)
    sensor.destroy()
    wire.spin_until(lambda: camera.get_subscription_count() == 0)


def test_middleware_without_the_event_is_used_without_it(wire, frame, monkeypatch):
    node = wire.node('listener')
    create = node.create_subscription

    def without_events(*args, event_callbacks=None, **others):
        if event_callbacks is not None:
            raise UnsupportedEventTypeError('incompatible QoS')
        return create(*args, **others)

    monkeypatch.setattr(node, 'create_subscription', without_events)
    ImageInput(node, wire.on_image, on_event=wire.events.append)
    assert wire.receive(wire.camera(Image, 'image'), frame)[0] == frame


@pytest.mark.parametrize(('rule', 'transport', 'sent', 'topic', 'remedy'), [
    ('image:=/cam/image/compressed', 'raw', CompressedImage, '/cam/image/compressed',
     'its publisher has type sensor_msgs/msg/CompressedImage; set input_transport to compressed '
     'and remap image to /cam/image'),
    ('image:=/cam/jpeg', 'raw', CompressedImage, '/cam/jpeg',
     'its publisher has type sensor_msgs/msg/CompressedImage; set input_transport to compressed '
     'and remap image/compressed to /cam/jpeg'),
    ('image:=/cam/image', 'raw', CompressedImage, '/cam/image/compressed',
     'only /cam/image/compressed is published; set input_transport to compressed'),
    ('image:=/cam/image/compressed', 'compressed', CompressedImage, '/cam/image/compressed',
     'only /cam/image/compressed is published; remap image to /cam/image, because '
     '/compressed is appended'),
    ('image:=/cam/image', 'compressed', Image, '/cam/image',
     'only /cam/image is published; set input_transport to raw'),
    ('image/compressed:=/cam/image', 'compressed', Image, '/cam/image',
     'its publisher has type sensor_msgs/msg/Image; set input_transport to raw and remap image to '
     '/cam/image'),
    ('image:=/cam/points', 'raw', CameraInfo, '/cam/points',
     'its publisher has type sensor_msgs/msg/CameraInfo; sensor_msgs/msg/Image is required')])
def test_a_publisher_of_another_type_or_beside_is_named(wire, rule, transport, sent, topic,
                                                        remedy):
    sensor = wire.listen(rule, transport=transport)
    assert sensor.publishers().mismatch == ''
    elsewhere = rclpy.Context()  # one participant has one type for a topic
    elsewhere.init()
    camera = rclpy.create_node('elsewhere', context=elsewhere)
    camera.create_publisher(sent, topic, 1)
    try:
        wire.spin_until(lambda: sensor.publishers().mismatch)
        assert sensor.publishers().mismatch == remedy
    finally:
        camera.destroy_node()
        elsewhere.try_shutdown()


def test_frames_come_without_message_info_on_humble(wire, frame, monkeypatch):
    monkeypatch.setattr(inputs, 'can_take_serialized', lambda: False)
    monkeypatch.setattr(inputs, 'Subscription', object)
    wire.listen()
    assert wire.receive(wire.camera(Image, 'image'), frame) == (frame, {})


def test_serialized_messages_are_not_taken_where_that_is_not_certain(monkeypatch):
    assert serialized.can_take_serialized()
    monkeypatch.setattr(serialized, 'find_rcl', lambda: None)
    assert not serialized.can_take_serialized()
    monkeypatch.undo()

    def of_lyrical(self, *arguments, acceptable_buffer_backends=('cpu',)):
        pass

    monkeypatch.setattr(Node, 'create_subscription', of_lyrical)
    assert not serialized.can_take_serialized()


def test_what_is_destroyed_delivers_nothing(wire, frame):
    sensor = wire.listen()
    wire.receive(wire.camera(Image, 'image'), frame)
    wire.frames.clear()
    sensor.destroy()
    sensor._deliver(frame, {})  # what the executor had taken before
    assert wire.frames == []
