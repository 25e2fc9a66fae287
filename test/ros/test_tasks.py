# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A network with several tasks in the real node over DDS: each task has its own topics."""

import cv2
import numpy as np
import onnx
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import Trigger

from trt_segmentation.ros import label_info
from trt_segmentation.segmenter import Segmenter

SIZE = 48, 64
ROAD = np.array([[1, -1, 0], [-1, 0.5, 0.5]], np.float32)
LANES = np.eye(3, dtype=np.float32)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def config_of(networks, **lanes):
    return networks.config_of(
        input={'color': 'bgr', 'scale': 1.0, 'mean': [0.0] * 3, 'std': [1.0] * 3},
        outputs=[{'name': 'drivable', 'labels': ['other', 'road'], 'threshold': 0.25},
                 {'name': 'lanes', 'labels': ['none', 'left', 'right'],
                  'colors': [[0, 0, 0], [9, 20, 250], [250, 9, 20]], **lanes}]).to_text()


@pytest.fixture(scope='module')
def two_heads(networks, tmp_path_factory):
    """The path of a network with the outputs drivable and lanes."""
    path = tmp_path_factory.mktemp('tasks') / 'net.onnx'
    onnx.save(networks.heads({'drivable': ROAD, 'lanes': LANES}, SIZE,
                             metadata=config_of(networks)), path)
    return path


@pytest.fixture(scope='module')
def bench(make_module_bench, two_heads):
    return make_module_bench(engine_path=str(two_heads), diagnostics_period=0.1)


@pytest.fixture
def image(networks):
    return networks.random_image(*SIZE)


def wait_for(bench, topics):
    bench.spin_until(lambda: all(bench.node.count_publishers(f'{bench.namespace}/segmentation/'
                                                             f'{topic}') for topic in topics),
                     'the topics of the tasks')


def test_each_task_has_its_topics(bench, two_heads, image, image_message, pixels_of):
    outputs = Segmenter.open(two_heads).available_outputs
    infos = {task: bench.collect(label_info.LabelInfo, f'segmentation/{task}/label_info', LATCHED)
             for task in ('drivable', 'lanes')} if label_info.LabelInfo else {}
    pngs = bench.collect(CompressedImage, 'segmentation/lanes/mask/compressed')
    bench.listen(*(name for name in outputs if not name.endswith('confidence')))
    wait_for(bench, ['lanes/mask/compressed'])
    expected = Segmenter.open(two_heads).infer(image, outputs=outputs).arrays
    stamp = bench.send(image_message(image))
    for name in bench.received:
        msg = bench.answer(name, stamp)
        assert msg.encoding == ('bgr8' if name.endswith('overlay') else 'mono8')
        np.testing.assert_array_equal(pixels_of(msg), expected[name], name)
    np.testing.assert_array_equal(expected['lanes/mask'], image.argmax(axis=2))
    bench.spin_until(lambda: pngs, 'a PNG')
    png = cv2.imdecode(np.frombuffer(pngs[0].data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(png, expected['lanes/mask'])
    bench.spin_until(lambda: all(infos.values()), 'what the ids mean')
    for task, labels, threshold in (('drivable', ['other', 'road'], 0.25),
                                    ('lanes', ['none', 'left', 'right'], 0.5)):
        for info in infos.get(task, [])[-1:]:
            assert [(each.class_id, each.class_name) for each in info.class_map] == \
                list(enumerate(labels))
            assert info.threshold == pytest.approx(threshold)
    values = {value.key: value.value for value in bench.status().values}
    assert values['class colors, lanes'] == '#000000 #0914fa #fa0914'


def test_a_network_has_no_topics_beside_those_of_its_tasks(bench):
    bench.wait_until_active()
    wait_for(bench, ['lanes/mask'])
    offered = {name.removeprefix(f'{bench.namespace}/segmentation/')
               for name, _ in bench.node.get_topic_names_and_types()
               if name.startswith(f'{bench.namespace}/segmentation/')}
    assert {name for name in offered if name.rpartition('/')[2] in ('mask', 'overlay')} == {
        'drivable/mask', 'drivable/overlay', 'lanes/mask', 'lanes/overlay'}


def test_another_network_is_loaded_only_with_the_same_tasks(
        bench, networks, two_heads, image, image_message, pixels_of):
    if 'lanes/mask' not in bench.received:
        bench.listen('lanes/mask')
    swapped, single = two_heads.with_name('swapped.onnx'), two_heads.with_name('single.onnx')
    onnx.save(networks.heads({'drivable': ROAD, 'lanes': LANES[::-1]}, SIZE,
                             metadata=config_of(networks)), swapped)
    onnx.save(networks.heads({'lanes': LANES}, SIZE), single)
    bench.set_parameter('engine_path', str(single))
    refused = bench.call(Trigger, 'load_model', Trigger.Request())
    assert not refused.success
    assert 'has mask, confidence, overlay, but the running one has drivable/' in refused.message
    bench.set_parameter('engine_path', str(swapped))
    assert bench.call(Trigger, 'load_model', Trigger.Request()).success
    np.testing.assert_array_equal(bench.segment(image_message(image), 'lanes/mask'),
                                  image[..., ::-1].argmax(axis=2))


def test_cameras_and_tasks(make_bench, two_heads, image, image_message, pixels_of):
    bench = make_bench(engine_path=str(two_heads), cameras='[front, rear]', sync_tolerance=1.0)
    received = {name: bench.collect(Image, f'segmentation/{name}')
                for name in ('front/lanes/mask', 'rear/drivable/mask')}
    cameras = {name: bench.node.create_publisher(Image, f'{name}/image', 5)
               for name in ('front', 'rear')}
    bench.spin_until(lambda: all(each.get_subscription_count() for each in cameras.values()),
                     'the cameras of the node')
    wait_for(bench, received)
    bench.wait_until_met()
    message = image_message(image)
    message.header.stamp = bench.node.get_clock().now().to_msg()
    rear = image_message(np.ascontiguousarray(image[::-1]))
    rear.header.stamp = message.header.stamp

    def publish_both():
        cameras['front'].publish(message)
        cameras['rear'].publish(rear)

    bench.publish_until(publish_both, lambda: all(received.values()), 'masks of both')
    np.testing.assert_array_equal(pixels_of(received['front/lanes/mask'][0]),
                                  image.argmax(axis=2))
    np.testing.assert_array_equal(
        pixels_of(received['rear/drivable/mask'][0]),
        (image[::-1].astype(np.float32) @ ROAD.T).argmax(axis=2))


def test_a_region_and_rgb(make_bench, two_heads, image, image_message, pixels_of):
    bench = make_bench(engine_path=str(two_heads), roi='[8, 4, 32, 40]')
    bench.listen('lanes/mask', 'lanes/overlay')
    stamp = bench.send(image_message(np.ascontiguousarray(image[..., ::-1]), 'rgb8'))
    mask, overlay = (pixels_of(bench.answer(f'lanes/{name}', stamp))
                     for name in ('mask', 'overlay'))
    outside = np.ones(SIZE, bool)
    outside[4:44, 8:40] = False
    assert (mask[outside] == 255).all()
    assert set(np.unique(mask[~outside])) == {0, 1, 2}
    np.testing.assert_array_equal(overlay[outside], image[outside])
