# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Who may import what: the core stays light, ROS and the runtimes stay behind their doors."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import trt_segmentation

PACKAGE = Path(trt_segmentation.__file__).parent
ROS = {'rclpy', 'rcl_interfaces', 'builtin_interfaces', 'ament_index_python', 'launch',
       'launch_ros', 'cv_bridge', 'message_filters', 'tf2_ros'}
ROS_ROOMS = ('ros/', 'benchmark/ros/', 'demo/ros/')
ROOMS = (
    'cli', 'benchmark.ros', 'demo.ros', 'demo', 'benchmark', 'ros', 'bags', 'offline', 'web',
    'gpu_encodings', 'segmenter', 'array_checks', 'segmentation', 'backends', 'graph.precision',
    'graph.pipeline', 'graph.reading', 'graph.analysis', 'evaluation', 'images', 'model_config',
    'classes', 'graph.onnx_tools', 'requirements', 'cache_folder', 'options', 'errors')
"""Folders and loose modules from the top down; each imports only from those behind it."""

HEAVY = ('numpy', 'onnx', 'onnxruntime', 'cv2', 'rclpy', 'yaml', 'tensorrt', 'pycuda', 'torch')
BLOCK = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        root = name.partition('.')[0]
        if root in {blocked!r} or root.endswith('_msgs'):
            raise ImportError(name + ' is blocked')

sys.meta_path.insert(0, Blocker())
"""


@cache
def modules():
    """Return every module's path under the package, by its path relative to it."""
    return {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob('*.py'))}


def dotted(relative):
    """Return the name under which a module is imported."""
    return 'trt_segmentation.' + relative.removesuffix('.py').replace('/', '.')


def imported(tree, package=()):
    """Return the dotted names that a module imports anywhere in its text."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = '.'.join([*package[:len(package) - node.level + 1]] * bool(node.level)
                            + [node.module] * bool(node.module))
            names.update(f'{base}.{alias.name}' for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                ('import_module', '__import__')) and isinstance(node.args[0], ast.Constant):
            names.add(node.args[0].value)
    return names


@cache
def imports_of(relative):
    tree = ast.parse(modules()[relative].read_text(encoding='utf-8'))
    return frozenset(imported(tree, dotted(relative).split('.')[:-1]))


def importers(is_meant, allowed=()):
    """Return who imports a meant name, without those whose path begins with an allowed one."""
    return {relative: sorted(filter(is_meant, imports_of(relative))) for relative in modules()
            if not relative.startswith(tuple(allowed))
            and any(map(is_meant, imports_of(relative)))}


def root(name):
    return name.partition('.')[0]


def room_of(name):
    """Return which of ``ROOMS`` a dotted name in the package belongs to; '' for the package."""
    return max((room for room in ROOMS if f'{name}.'.startswith(f'trt_segmentation.{room}.')),
               key=len, default='')


def is_ros(name):
    return root(name) in ROS or root(name).endswith(('_msgs', '_srvs'))


def run_python(text):
    """Run a program in a fresh interpreter; return what it printed."""
    done = subprocess.run([sys.executable, '-c', text], capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(('text', 'names'), [
    ('import a.b, c', {'a.b', 'c'}), ('from a import b as d', {'a.b'}),
    ('def f():\n    if 1:\n        import rclpy.node', {'rclpy.node'}),
    ('from . import x', {'p.q.x'}), ('from .y import x', {'p.q.y.x'}),
    ('from ..y import x', {'p.y.x'}), ('importlib.import_module("rclpy")', {'rclpy'}),
    ('"import rclpy"', set())])
def test_imports_are_found(text, names):
    assert imported(ast.parse(text), ['p', 'q']) == names


def test_all_modules_are_looked_at():
    assert {'__init__.py', 'segmenter.py', 'ros/node.py', 'graph/pipeline/tail.py', 'cli/demo.py',
            'backends/onnxruntime.py'} <= set(modules())
    assert any(is_ros(name) for name in imports_of('ros/node.py'))
    assert 'onnxruntime' in imports_of('graph/onnx_tools/onnxruntime_api.py')


def test_only_ros_imports_ros():
    assert importers(is_ros, ROS_ROOMS) == {}


def test_only_ros_and_the_demos_environment_import_our_ros():
    found = importers(lambda name: name.startswith('trt_segmentation.ros'), ROS_ROOMS)
    allowed = found.pop('cli/demo.py', [])
    assert found == {}
    assert all(name.startswith('trt_segmentation.ros.transport.') for name in allowed)


def test_only_commands_and_benchmarks_play_the_demos_clip():
    users = importers(lambda name: name.startswith('trt_segmentation.demo'),
                      ['cli/', 'demo/', 'benchmark/ros/'])
    assert users == {}


def test_only_its_backend_imports_tensorrt():
    assert importers(lambda name: root(name) in ('tensorrt', 'pycuda'),
                     ['backends/tensorrt']) == {}


def test_one_module_imports_onnxruntime():
    def is_meant(name):
        return root(name) == 'onnxruntime'

    assert list(importers(is_meant)) == ['graph/onnx_tools/onnxruntime_api.py']
    tools = sorted((Path(__file__).parents[1] / 'tools').rglob('*.py'))
    assert len(tools) > 20
    assert [path for path in tools
            if any(map(is_meant, imported(ast.parse(path.read_text(encoding='utf-8')))))] == []


def test_only_its_backend_and_the_precisions_use_onnxruntime():
    users = importers(lambda name: name.endswith('.onnxruntime_api.import_onnxruntime'),
                      ['backends/onnxruntime.py', 'graph/'])
    assert users == {}


def test_every_module_is_in_a_room():
    assert [relative for relative in modules() if not room_of(dotted(relative))] \
        == ['__init__.py', 'graph/__init__.py']


def test_dependencies_point_downwards():
    upwards = {}
    for relative in modules():
        room = room_of(dotted(relative))
        above = ROOMS[:ROOMS.index(room)] if room else ()
        if found := sorted(name for name in imports_of(relative) if room_of(name) in above):
            upwards[relative] = found
    assert upwards == {}


def test_importing_the_package_imports_nothing_heavy():
    loaded = run_python('import trt_segmentation, sys; print(*sys.modules)')
    assert 'trt_segmentation' in loaded
    assert {root(name) for name in loaded} & set(HEAVY) == set()


def test_public_names_are_imported_when_they_are_used():
    loaded = run_python('import trt_segmentation, sys\n'
                        'assert set(trt_segmentation.__all__) <= set(dir(trt_segmentation))\n'
                        'trt_segmentation.RunOptions(), trt_segmentation.ConfigError("")\n'
                        'print(*sys.modules)')
    assert {root(name) for name in loaded} & set(HEAVY) == set()
    run_python('from trt_segmentation import *; Segmenter.open, Segmentation, ModelConfig')
    for name in trt_segmentation.__all__:
        value = getattr(trt_segmentation, name)
        assert value.__name__ == name
        assert value is getattr(sys.modules[value.__module__], name)
    with pytest.raises(AttributeError, match="module 'trt_segmentation' has no attribute 'Node'"):
        trt_segmentation.Node  # noqa: B018


def test_importing_the_segmenter_opens_no_runtime():
    loaded = run_python('import trt_segmentation.segmenter, sys; print(*sys.modules)')
    assert 'numpy' in loaded
    assert {root(name) for name in loaded} & {'onnxruntime', 'rclpy', 'tensorrt', 'cv2'} == set()


def test_everything_but_ros_imports_without_ros_and_runtimes():
    names = [dotted(relative) for relative in modules()
             if not relative.startswith((*ROS_ROOMS, 'backends/tensorrt'))
             and not relative.endswith('__init__.py')]
    assert len(names) > 15
    names.remove('trt_segmentation.backends.onnxruntime')
    names.append('trt_segmentation.ros.transport')
    blocked = ROS | {'tensorrt', 'pycuda', 'onnxruntime'}
    run_python(BLOCK.format(blocked=blocked) + '\n'.join(f'import {name}' for name in names))


def test_what_is_blocked_cannot_be_imported():
    with pytest.raises(AssertionError, match='rclpy is blocked'):
        run_python(BLOCK.format(blocked=ROS) + 'import rclpy')
    with pytest.raises(AssertionError, match='sensor_msgs is blocked'):
        run_python(BLOCK.format(blocked=ROS) + 'import sensor_msgs.msg')
