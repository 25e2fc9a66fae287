# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What the launch files offer and start, where launch_ros is installed."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from trt_segmentation.ros.parameters import rules

pytest.importorskip('launch_ros')

ROOT = Path(__file__).parents[2]
NODE = '-m', 'trt_segmentation.ros.node'
CONFIG = 'input: {color: bgr, scale: 1}'


@pytest.fixture(autouse=True)
def share(monkeypatch):
    """Let the launch files find the package here."""
    import ament_index_python.packages
    monkeypatch.setattr(ament_index_python.packages, 'get_package_share_directory',
                        lambda name: str(ROOT))


@pytest.fixture
def started(monkeypatch):
    """Run a launch file, but no process: ``started('seg', rviz='true')`` returns what its nodes
    were made from."""
    import launch_ros.actions

    import launch
    nodes = []

    class Recorder(launch.Action):
        def __init__(self, **arguments):
            super().__init__()
            nodes.append(SimpleNamespace(**arguments))

    monkeypatch.setattr(launch_ros.actions, 'Node', Recorder)

    def run(name, **arguments):
        context = launch.LaunchContext(argv=[])
        context.launch_configurations.update(arguments)
        waiting = [description_of(name)]
        while waiting:
            waiting[:0] = waiting.pop(0).visit(context) or []
        return nodes

    return run


def description_of(name):
    path = ROOT / 'launch' / f'{name}.launch.py'
    spec = importlib.util.spec_from_file_location(f'{name}_launch', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


def test_every_parameter_is_a_described_argument():
    arguments = {entry.name: entry.description for entry in description_of('seg').entities
                 if hasattr(entry, 'description')}
    assert {*rules(), 'image_topic', 'namespace', 'params_file', 'rviz'} <= set(arguments)
    assert all(arguments.values())


def test_arguments_become_parameters_of_their_types(started):
    node, = started('seg', overlay_alpha='1', device='2', roi='[1, 2, 3, 4]', confidence='false')
    assert node.parameters[-1] == {'overlay_alpha': 1.0, 'device': 2, 'roi': [1, 2, 3, 4],
                                   'confidence': False}
    assert isinstance(node.parameters[-1]['overlay_alpha'], float)


@pytest.mark.parametrize(('arguments', 'topic'), [
    ({}, 'camera_info'), ({'image_topic': 'image_raw'}, 'camera_info'),
    ({'image_topic': '/cam/image_raw'}, '/cam/camera_info'),
    ({'image_topic': '/cam/image_raw', 'camera_info_topic': '/other'}, '/other')])
def test_camera_info_lies_beside_the_image(started, arguments, topic):
    node, = started('seg', **arguments)
    assert dict(node.remappings)['camera_info'] == topic


def test_each_camera_gets_a_node_and_a_gpu(started):
    nodes = started('multi_camera', cameras='front, left,right', devices='0,1', precision='fp16')
    assert [node.namespace for node in nodes] == ['front', 'left', 'right']
    assert [node.parameters[-1] for node in nodes] == [
        {'device': device, 'precision': 'fp16'} for device in (0, 1, 0)]
    assert [dict(node.remappings)['image'] for node in nodes] == [
        '/front/image_raw', '/left/image_raw', '/right/image_raw']
    assert dict(nodes[1].remappings)['camera_info'] == '/left/camera_info'


def test_cameras_are_dealt_out_to_one_node_a_gpu(started):
    nodes = started('multi_camera', cameras='front,left,right', devices='0,2', batch='true',
                    precision='fp16')
    assert [node.namespace for node in nodes] == ['device_0', 'device_2']
    assert [node.parameters[-1] for node in nodes] == [
        {'device': 0, 'cameras': ['front', 'right'], 'precision': 'fp16'},
        {'device': 2, 'cameras': ['left'], 'precision': 'fp16'}]
    remapped = dict(nodes[0].remappings)
    for camera in ('front', 'right'):
        assert remapped[f'{camera}/image'] == f'/{camera}/image_raw'
        assert remapped[f'{camera}/camera_info'] == f'/{camera}/camera_info'
        for topic in ('mask', 'mask/compressed', 'confidence', 'overlay', 'camera_info'):
            assert remapped[f'~/{camera}/{topic}'] == f'/{camera}/segmentation/{topic}'
    assert not any('left' in source for source in remapped)


def test_several_cameras_of_seg_launch(started):
    node, = started('seg', cameras='[front, left]')
    assert dict(node.remappings) == {
        f'{camera}/{topic}': f'{camera}/{topic}'
        for camera in ('front', 'left') for topic in ('image', 'camera_info')}


def test_remapped_cameras_are_served_where_a_node_each_would(
        started, make_bench, networks, image_message, pixels_of, tmp_path):
    onnx.save(networks.pointwise(np.eye(3), (48, 64), metadata=CONFIG), tmp_path / 'net.onnx')
    wanted, = started('multi_camera', cameras='front,left', batch='true')
    remappings = [argument for source, target in wanted.remappings
                  for argument in ('-r', f'{source}:={target}')]
    bench = make_bench(engine_path=tmp_path / 'net.onnx', cameras='[front, left]',
                       program=(*NODE, '--ros-args', *remappings))
    publishers = {name: bench.node.create_publisher(Image, f'/{name}/image_raw',
                                                    qos_profile_sensor_data)
                  for name in ('front', 'left')}
    masks = {name: bench.collect(Image, f'/{name}/segmentation/mask') for name in publishers}
    images = {name: networks.random_image(48, 64, seed) for seed, name in enumerate(publishers)}
    bench.spin_until(lambda: all(each.get_subscription_count() for each in publishers.values())
                     and all(bench.node.count_publishers(f'/{name}/segmentation/mask')
                             for name in publishers), 'the node')
    bench.wait_until_met()
    stamp = bench.node.get_clock().now().to_msg()
    for name, publisher in publishers.items():
        message = image_message(images[name])
        message.header.stamp = stamp
        publisher.publish(message)
    bench.spin_until(lambda: all(masks.values()), 'masks')
    for name, found in masks.items():
        np.testing.assert_array_equal(pixels_of(found[0]), images[name].argmax(axis=2))


@pytest.mark.parametrize(('cameras', 'devices'), [('', '0'), ('front,front', '0'), ('front', ',')])
def test_cameras_that_make_no_sense_are_refused(started, cameras, devices):
    with pytest.raises(RuntimeError, match='cameras needs one name or more, each once'):
        started('multi_camera', cameras=cameras, devices=devices)


def test_a_failed_build_fails_the_launch(started):
    node, = started('seg', build_only='true')
    assert node.on_exit(SimpleNamespace(returncode=0), None) is None
    with pytest.raises(RuntimeError, match='no engine was built, exit code 1'):
        node.on_exit(SimpleNamespace(returncode=1), None)
