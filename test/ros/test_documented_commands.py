# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The ros2 commands that the documentation shows, with the real launch files and the real node.

The processes of ros2 itself are not run: PyPI has none. See tools/documented_commands.py.
"""

import importlib
import json
from pathlib import Path

import documented_commands as documented
import launch_files
import onnx
import pytest
import yaml

from trt_segmentation.errors import ConfigError

ROOT = Path(__file__).parents[2]


FOUND = {each.words: each for each in documented.read_examples()
         if documented.treatment(each)[0] == documented.NODE}.values()
STARTS = [each for each in FOUND if each.program in ('ros2 launch', 'ros2 run')]
ASKS = [each for each in FOUND if each not in STARTS]


def named(example):
    return f'{example.place} {" ".join(example.words)[:60]}'


@pytest.fixture(scope='module')
def folder(tmp_path_factory, networks):
    """The folder in which nodes are started, with the network that the pages name."""
    folder = tmp_path_factory.mktemp('documented')
    onnx.save(networks.pointwise(networks.COLOUR_WEIGHTS, (32, 48)), folder / 'net.onnx')
    (folder / 'net.yaml').write_text(networks.COLOUR_CONFIG)
    return folder


@pytest.fixture(scope='module')
def start(folder):
    """Function that makes a node, active, from its arguments on the command line."""
    import rclpy

    from trt_segmentation.ros.node import SegmentationNode
    context = rclpy.Context()
    context.init()
    nodes = []

    def make(arguments):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            node = SegmentationNode(context=context, use_global_arguments=False, cli_args=[
                *arguments, *([] if '--ros-args' in arguments else ['--ros-args']),
                '-p', 'tune_allocator:=false'])
            nodes.append(node)
            for transition in (node.trigger_configure, node.trigger_activate):
                assert transition().name == 'SUCCESS', arguments
        return node

    yield make
    for node in nodes:
        node.destroy_node()
    context.shutdown()


@pytest.fixture(scope='module')
def node(start):
    """The node /segmentation, with all of its topics."""
    return start(['--ros-args', '-p', 'points:=depth', '-p', 'mask_height:=16', '-p',
                  'mask_width:=24', '-p', 'engine_path:=net.onnx'])


def arguments_of(example):
    """The arguments of each node that a command starts."""
    words = example.words
    assert words[2] == 'trt_segmentation', 'another package'
    if words[1] == 'run':
        assert words[3] == 'segmentation_node'
        return [list(words[4:])]
    started = launch_files.started_nodes(words[3], dict(each.split(':=', 1) for each in words[4:]))
    return [_arguments_of_node(each) for each in started if each.package == 'trt_segmentation']


def _arguments_of_node(started):
    file, parameters = started.parameters
    assert started.executable == 'segmentation_node'
    words = ['--ros-args', '--params-file', file, '-r', f'__ns:={started.namespace or "/"}']
    for source, target in started.remappings:
        words += ['-r', f'{source}:={target}']
    for name, value in parameters.items():
        words += ['-p', f'{name}:={json.dumps(value)}']
    return words


@pytest.mark.parametrize('example', STARTS, ids=named)
def test_starts_a_node(example, start):
    from trt_segmentation.ros.parameters import unknown_parameters
    for arguments in arguments_of(example):
        started = start(arguments)
        assert not unknown_parameters(started), example.place
        topics = {each.topic_name for each in started.subscriptions}
        remapped = dict(each.split(':=') for each in arguments if ':=' in each)
        images = [target for source, target in remapped.items() if source.endswith('image')]
        missing = [each for each in images if not {each, f'{each}/compressed'} & topics]
        assert not missing, f'{example.place}: no subscription of {missing}, only of {topics}'


@pytest.mark.parametrize('example', ASKS, ids=named)
def test_names_what_the_node_has(example, node):
    kind, *rest = example.words[1:]
    {'param': _check_parameter, 'topic': _check_topic, 'service': _check_service,
     'lifecycle': _check_transition}[kind](node, *rest)


def _check_parameter(node, verb, owner='', name='', text=''):
    from rclpy.parameter import Parameter
    assert verb in ('set', 'get', 'describe', 'list')
    assert owner.endswith('/segmentation')
    assert not name or node.has_parameter(name), name
    if verb == 'set':
        result, = node.set_parameters([Parameter(name, value=yaml.safe_load(text))])
        assert result.successful, result.reason


def _own(name):
    """The name in the node /segmentation of one in another namespace."""
    before, separator, after = name.partition('/segmentation/')
    return f'{separator}{after}' if separator else before


def _check_topic(node, verb, *rest):
    assert verb in ('echo', 'hz', 'bw', 'delay', 'info', 'list')
    topics = {each.topic_name for each in (*node.publishers, *node.subscriptions)}
    for name in (each for each in rest if each.startswith('/')):
        if name.endswith('label_info'):
            pytest.importorskip('vision_msgs')
        assert _own(name) in topics or name.startswith('/camera'), name


def _check_service(node, verb, name='', kind='', text='{}'):
    assert verb in ('call', 'type', 'list')
    services = {node.resolve_service_name(each.srv_name): each.srv_type
                for each in node.services}
    if name:
        assert _own(name) in services, name
    if kind:
        package, folder, kind = kind.split('/')
        wanted = getattr(importlib.import_module(f'{package}.{folder}'), kind)
        assert services[_own(name)] is wanted
        wanted.Request(**yaml.safe_load(text))


def _check_transition(node, verb, owner='', name=''):
    assert verb in ('set', 'get', 'list', 'nodes')
    assert not owner or owner.endswith('/segmentation')
    assert verb != 'set' or name in ('configure', 'activate', 'deactivate', 'cleanup', 'shutdown')


@pytest.mark.parametrize('line', [
    'ros2 topic echo /segmentation/masks', 'ros2 topic hz /segmentation/lanes/mask',
    'ros2 param set /segmentation overlay_alpha 2.0', 'ros2 param get /segmentation alpha',
    'ros2 service call /segmentation/enable std_srvs/srv/Trigger',
    'ros2 service call /segmentation/disable', 'ros2 lifecycle set /segmentation start'])
def test_what_the_node_has_not_is_found(line, node):
    with pytest.raises(AssertionError):
        test_names_what_the_node_has(next(documented.examples_of('page', f'```bash\n{line}\n```')),
                                     node)


@pytest.mark.parametrize(('line', 'fault'), [
    ('seg.launch.py topic:=/camera', 'no argument topic'),
    ('seg.launch.py overlay_alpha:=2', 'must be 0 to 1'),
    ('multi_camera.launch.py', 'needs the argument cameras')])
def test_a_wrong_launch_is_found(line, fault):
    example, = documented.examples_of(
        'page', f'```bash\nros2 launch trt_segmentation {line}\n```')
    with pytest.raises((ValueError, ConfigError), match=fault):
        arguments_of(example)
