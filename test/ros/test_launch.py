# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The arguments and nodes of the launch files; needs launch_ros."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from trt_segmentation.errors import ConfigError
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
def rviz(monkeypatch):
    """Let rviz2 be installed."""
    import ament_index_python.packages
    monkeypatch.setattr(ament_index_python.packages, 'get_package_prefix', lambda name: '/opt')


@pytest.fixture
def warnings(monkeypatch):
    """The warnings of the launch files."""
    import launch.logging
    found = []
    monkeypatch.setattr(launch.logging, 'get_logger',
                        lambda name: SimpleNamespace(warning=found.append))
    return found


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
        visit([description_of(name)], arguments)
        return nodes

    return run


def visit(entities, arguments):
    """Visit what a parent launch file includes; return its launch configurations afterwards."""
    import launch
    context = launch.LaunchContext(argv=[])
    context.launch_configurations.update(arguments)
    waiting = list(entities)
    while waiting:
        waiting[:0] = waiting.pop(0).visit(context) or []
    return dict(context.launch_configurations)


def description_of(name):
    path = ROOT / 'launch' / f'{name}.launch.py'
    spec = importlib.util.spec_from_file_location(f'{name}_launch', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


def test_every_parameter_is_a_described_argument():
    arguments = {entry.name: entry.description for entry in description_of('seg').entities
                 if hasattr(entry, 'description')}
    assert {*rules(), 'image_topic', 'namespace', 'params_file', 'rviz', 'use_sim_time',
            'log_level'} <= set(arguments)
    assert all(arguments.values())
    assert "One of '' (empty), depth, cloud. " in arguments['points']


def test_multi_camera_shows_what_it_passes_on():
    arguments = {entry.name for entry in description_of('multi_camera').get_launch_arguments()}
    assert {'cameras', 'devices', 'image_topics', 'namespace', 'precision', 'params_file',
            'use_sim_time', 'log_level'} <= arguments
    assert not {'device', 'image_topic', 'output_topics'} & arguments  # made for each camera


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
    assert [node.namespace for node in nodes] == ['/front', '/left', '/right']
    assert [node.parameters[-1] for node in nodes] == [
        {'device': device, 'precision': 'fp16'} for device in (0, 1, 0)]
    assert [dict(node.remappings)['image'] for node in nodes] == [
        '/front/image_raw', '/left/image_raw', '/right/image_raw']
    assert dict(nodes[1].remappings)['camera_info'] == '/left/camera_info'


def test_cameras_are_dealt_out_to_one_node_a_gpu(started):
    nodes = started('multi_camera', cameras='front,left,right', devices='0,2', batch='true',
                    precision='fp16')
    assert [node.namespace for node in nodes] == ['/device_0', '/device_2']
    assert [node.parameters[-1] for node in nodes] == [
        {'device': 0, 'cameras': ['front', 'right'], 'precision': 'fp16'},
        {'device': 2, 'cameras': ['left'], 'precision': 'fp16'}]
    remapped = dict(nodes[0].remappings)
    for camera in ('front', 'right'):
        assert remapped[f'{camera}/image'] == f'/{camera}/image_raw'
        assert remapped[f'{camera}/camera_info'] == f'/{camera}/camera_info'
        for topic in ('mask', 'mask/compressed', 'confidence', 'overlay', 'overlay/compressed',
                      'classes', 'instances', 'detections', 'points', 'camera_info'):
            assert remapped[f'~/{camera}/{topic}'] == f'/{camera}/segmentation/{topic}'
    assert not any('left' in source for source in remapped)


@pytest.mark.parametrize(('namespace', 'pushed', 'base'), [
    ('robot1', None, '/robot1'), ('', '/robot1', '/robot1'), ('arm', '/robot1', '/robot1/arm'),
    ('/robot1', '/fleet', '/robot1')])
@pytest.mark.parametrize('batch', ['false', 'true'])
def test_multi_camera_stays_in_its_namespace(started, namespace, pushed, base, batch):
    around = {'ros_namespace': pushed} if pushed else {}  # as PushRosNamespace sets it
    nodes = started('multi_camera', cameras='front,left', namespace=namespace, batch=batch,
                    camera_info_topics='{camera}/info', **around)
    own = ['/device_0'] if batch == 'true' else ['/front', '/left']
    assert [node.namespace for node in nodes] == [f'{base}{name}' for name in own]
    for number, camera in enumerate(('front', 'left')):
        node, prefix = (nodes[0], f'{camera}/') if batch == 'true' else (nodes[number], '')
        remapped = dict(node.remappings)
        assert remapped[f'{prefix}image'] == f'{base}/{camera}/image_raw'
        assert remapped[f'{prefix}camera_info'] == f'{base}/{camera}/info'
        if prefix:
            assert remapped[f'~/{prefix}mask'] == f'{base}/{camera}/segmentation/mask'


def test_an_absolute_topic_stays_where_it_is(started):
    node, = started('multi_camera', cameras='front', namespace='robot1',
                    image_topics='/{camera}/rgb')
    assert dict(node.remappings)['image'] == '/front/rgb'


def test_a_parent_pushes_the_namespace_where_it_is_read():
    from launch_ros.actions import PushRosNamespace
    assert visit([PushRosNamespace('robot1')], {})['ros_namespace'] == '/robot1'


@pytest.mark.parametrize('name', ['seg', 'multi_camera'])
def test_nothing_is_left_behind_in_a_parent_launch_file(started, name):
    arguments = {'cameras': '[a, b]', 'log_level': 'INFO'} if name == 'seg' else {'cameras': 'a'}
    assert visit([description_of(name)], arguments) == arguments


@pytest.mark.parametrize('name', ['seg', 'multi_camera'])
def test_an_empty_argument_is_the_default(started, name):
    empty = {entry.name: '' for entry in description_of(name).get_launch_arguments()
             if entry.name not in ('cameras', 'devices', 'image_topics')}
    mine = {'cameras': 'a'} if name == 'multi_camera' else {}
    expected, found = started(name, **mine), started(name, **empty, **mine)
    assert [vars(node) for node in found[:1]] == [vars(node) for node in expected[:1]]


def test_what_a_parent_meant_otherwise_is_refused(started):
    with pytest.raises(ConfigError, match=r"device is 'left_camera'.*Set 'device' in"):
        started('seg', device='left_camera')


def test_the_file_of_parameters_is_there(started, tmp_path):
    (tmp_path / 'mine.yaml').write_text('/**: {ros__parameters: {precision: fp16}}')
    node, = started('seg', params_file=f'{tmp_path}/mine.yaml')
    assert node.parameters == [f'{tmp_path}/mine.yaml', {}]
    with pytest.raises(ConfigError, match='does not exist'):
        started('seg', params_file=f'{tmp_path}/other.yaml')


def test_a_file_of_parameters_for_other_nodes_is_a_warning(started, tmp_path, warnings):
    (tmp_path / 'nav2.yaml').write_text('/planner_server: {ros__parameters: {a: 1}}')
    started('seg', params_file=f'{tmp_path}/nav2.yaml', namespace='robot1')
    assert 'sets no parameter of /robot1/segmentation: it contains /planner_server' in warnings[0]


def test_simulated_time(started, rviz):
    node, shown = started('seg', use_sim_time='True', rviz='True')
    assert node.parameters[-1] == {'use_sim_time': True} == shown.parameters[-1]


def test_log_level_is_taken_in_any_case(started):
    node, = started('seg', log_level='Warning')
    assert node.arguments == ['--ros-args', '--log-level', 'warn']


def test_rviz_shows_the_topics_of_the_namespace(started, rviz):
    _, shown = started('seg', rviz='true', namespace='front', ros_namespace='/robot1')
    assert dict(shown.remappings)['/segmentation/mask'] == '/robot1/front/segmentation/mask'


def test_without_rviz_the_node_runs(started, warnings):
    node, = started('seg', rviz='true')
    assert node.executable == 'segmentation_node'
    assert 'rviz2 is not installed, so RViz is not started' in warnings[0]


@pytest.mark.parametrize(('arguments', 'fault'), [
    ({'image_topics': '/image_raw'}, 'image_topics is .* the same topic for all cameras'),
    ({'camera_info_topics': '/info'}, 'camera_info_topics is .* the same topic for all cameras'),
    ({'image_topics': '/{camera}/{side}'}, r'the only placeholder is \{camera}'),
    ({'cameras': 'front-left,b'}, 'names must be unique')])
def test_topics_of_several_cameras_differ(started, arguments, fault):
    with pytest.raises(ConfigError, match=fault):
        started('multi_camera', **{'cameras': 'front,left', **arguments})


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

    sent = [(publisher, image_message(images[name])) for name, publisher in publishers.items()]
    bench.publish_until(lambda: bench.publish_together(sent), lambda: all(masks.values()), 'masks')
    for name, found in masks.items():
        np.testing.assert_array_equal(pixels_of(found[0]), images[name].argmax(axis=2))


@pytest.mark.parametrize(('cameras', 'devices'), [('', '0'), ('front,front', '0'), ('front', ',')])
def test_cameras_that_make_no_sense_are_refused(started, cameras, devices):
    with pytest.raises(RuntimeError, match='cameras needs at least one name, each unique'):
        started('multi_camera', cameras=cameras, devices=devices)


def test_a_failed_build_fails_the_launch(started):
    node, = started('seg', build_only='true')
    assert node.on_exit(SimpleNamespace(returncode=0), None) is None
    with pytest.raises(RuntimeError, match='no engine was built, exit code 1'):
        node.on_exit(SimpleNamespace(returncode=1), None)
