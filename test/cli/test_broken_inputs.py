# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Invalid files: the message names the file, the fault and the fix, without a traceback."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from trt_segmentation.cli.main import main

SIZE = 16, 24
WEIGHTS = np.eye(3, dtype=np.float32)


@dataclass(frozen=True)
class Broken:
    """One invalid input.

    Attributes:
        make: writes the file, given its path and the module of small networks.
        words: the fact and the fix, as the message says them.
        config: text of the model config; '' for none.
        name: of the file.
        blamed: the file that the message names.
        commands: those that must fail.
    """

    make: Callable
    words: tuple[str, ...]
    config: str = ''
    name: str = 'net.onnx'
    blamed: str = 'net.onnx'
    commands: tuple[str, ...] = ('inspect', 'run')


def saved(model_of):
    """Write what ``model_of(networks)`` returns."""
    return lambda path, networks: path.write_bytes(model_of(networks).SerializeToString())


def text(content):
    return lambda path, networks: path.write_text(content)


def good(networks, **options):
    return networks.pointwise(WEIGHTS, SIZE, **options)


def truncated(path, networks):
    data = good(networks).SerializeToString()
    path.write_bytes(data[:len(data) * 2 // 3])


def one_node(networks, op, shape, made, *, inputs=('pixels',), domain='', dtype=TensorProto.FLOAT,
             out=TensorProto.FLOAT, weights=None, **attributes):
    """A network of one node: ``made`` is its output's shape."""
    nodes = [helper.make_node(op, inputs, ['scores'], 'the_node', domain=domain, **attributes)]
    return networks.onnx_model(nodes, [networks.tensor('pixels', shape, dtype)],
                               [networks.tensor('scores', made, out)], weights)


def pooled(networks, made):
    if len(made) == 4:
        return one_node(networks, 'GlobalAveragePool', [1, 3, 96, 96], made)
    return one_node(networks, 'ReduceMean', [1, 3, *SIZE], made, axes=[2, 3], keepdims=0)


def detection(networks):
    """Boxes [1, 84, N], as a detector of the YOLO family gives them."""
    return one_node(networks, 'Reshape', [1, 3, *SIZE], [1, 6, SIZE[0] * SIZE[1] // 2],
                    inputs=('pixels', 'shape'), weights={'shape': np.array([1, 6, -1])})


def yolo(networks, task, shape):
    """Boxes of this shape, and prototypes with 4 channels; metadata where there is a task."""
    metadata = {'author': 'Ultralytics', 'task': task, 'imgsz': str(list(SIZE)),
                'names': "{0: 'car', 1: 'bus', 2: 'person'}"} if task else {}
    return networks.instances(np.zeros(shape), np.zeros((1, 4, 4, 6)), size=SIZE,
                              metadata=metadata)


def halved(networks):
    """A network that halves its input and grows it again, as a U-Net does."""
    nodes = [helper.make_node('MaxPool', ['pixels'], ['half'], kernel_shape=[2, 2],
                              strides=[2, 2]),
             helper.make_node('Resize', ['half', '', 'twice'], ['whole']),
             helper.make_node('Add', ['whole', 'pixels'], ['scores'])]
    shape = [1, 3, None, None]
    return networks.onnx_model(
        nodes, [networks.tensor('pixels', shape)], [networks.tensor('scores', shape)],
        {'twice': np.float32([1, 1, 2, 2])})


def two_detections(networks):
    nodes = [helper.make_node('Reshape', ['pixels', 'boxes_shape'], ['boxes']),
             helper.make_node('ReduceMax', ['boxes'], ['scores'], axes=[2], keepdims=0)]
    count = 3 * SIZE[0] * SIZE[1] // 4
    return networks.onnx_model(
        nodes, [networks.tensor('pixels', [1, 3, *SIZE])],
        [networks.tensor('boxes', [1, count, 4]), networks.tensor('scores', [1, count])],
        {'boxes_shape': np.array([1, -1, 4])})


def two_images(networks):
    nodes = [helper.make_node('Add', ['left', 'right'], ['scores'])]
    inputs = [networks.tensor(name, [1, 3, *SIZE]) for name in ('left', 'right')]
    return networks.onnx_model(nodes, inputs, [networks.tensor('scores', [1, 3, *SIZE])])


def weights_of(value):
    def model(networks):
        weights = WEIGHTS.copy()
        weights[1, 2] = value
        return networks.pointwise(weights, SIZE)
    return model


def relu(shape, **options):
    return lambda networks: one_node(networks, 'Relu', shape, shape, **options)


def outside_data(location):
    def model(networks):
        model = good(networks)
        weights = model.graph.initializer[0]
        weights.ClearField('raw_data')
        weights.data_location = TensorProto.EXTERNAL
        weights.external_data.add(key='location', value=location)
        return model
    return model


def too_new(networks):
    model = good(networks)
    model.opset_import[0].version = 99
    return model


def custom_domain(networks):
    model = one_node(networks, 'MultiScaleDeformableAttn', [1, 3, *SIZE], [1, 3, *SIZE],
                     domain='mmdeploy')
    model.opset_import.append(helper.make_opsetid('mmdeploy', 1))
    return model


def unknown_operator(networks):
    return one_node(networks, 'Segmentify', [1, 3, *SIZE], [1, 3, *SIZE])


def weights_only(networks):
    graph = helper.make_graph([], 'weights', [], [], [numpy_helper.from_array(WEIGHTS, 'w')])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)])


def nothing(path, networks):
    pass


GOOD = saved(good)
FIVE = [1, 1, 3, *SIZE]
BROKEN = {
    'missing': Broken(nothing, ('there is no such file',)),
    'a folder': Broken(lambda path, networks: path.mkdir(), ('is a folder', 'name the .onnx')),
    'empty': Broken(text(''), ('is empty', 'export it again')),
    'Git LFS pointer': Broken(text('version https://git-lfs.github.com/spec/v1\noid sha256:1\n'),
                              ('Git LFS pointer', 'git lfs pull')),
    'not ONNX': Broken(text('# My network\n'), ('no valid ONNX', 'damaged', 'export it again')),
    'truncated': Broken(truncated, ('no valid ONNX', 'damaged', 'export it again')),
    'a PyTorch checkpoint': Broken(text('x'), ('is no model', '.onnx'), name='net.pth',
                                   blamed='net.pth'),
    'weights only': Broken(saved(weights_only), ('no output', 'export the network')),
    'detection': Broken(saved(detection), ('no segmentation', 'needed')),
    'YOLO detection': Broken(saved(lambda n: yolo(n, 'detect', (1, 7, 40))),
                             ("the task 'detect'", 'boxes', 'yolo11n-seg.pt')),
    'YOLO instances without classes': Broken(saved(lambda n: yolo(n, '', (1, 40, 10))),
                                             ('number of classes', 'classes.labels')),
    'YOLO of other classes': Broken(saved(lambda n: yolo(n, 'segment', (1, 12, 40))),
                                    ('labels has 3 entries', '4 classes')),
    'boxes and scores': Broken(saved(two_detections), ("'boxes'", 'needed')),
    'classification': Broken(saved(lambda n: pooled(n, [1, 3])), ("'scores'", 'are needed')),
    '1x1 output': Broken(saved(lambda n: pooled(n, [1, 3, 1, 1])),
                         ('1x1', 'class for the whole image', 'needed')),
    'two images': Broken(saved(two_images), ("'left'", 'one image input is needed')),
    'four channels': Broken(saved(relu([1, 4, *SIZE])), ('3 channels', 'colour image')),
    'five dimensions': Broken(saved(relu(FIVE)), ('no batch of images', 'it must be')),
    'a batch of 8': Broken(saved(relu([8, 3, *SIZE])), ('has a batch of 8', 'batch of 1')),
    'strings': Broken(saved(lambda n: one_node(n, 'Identity', [1, 3, *SIZE], [1, 3, *SIZE],
                                               dtype=TensorProto.STRING, out=TensorProto.STRING)),
                      ('no image type', 'float32')),
    'an empty dimension': Broken(saved(relu([1, 3, 0, 24])),
                                 ('has a dynamic size', 'set input.size')),
    'NaN weights': Broken(saved(weights_of(np.nan)), ("'weights'", 'NaN', 'export')),
    'infinite weights': Broken(saved(weights_of(np.inf)), ("'weights'", 'infinite', 'export')),
    'data missing': Broken(saved(outside_data('net.onnx.data')),
                           ("'net.onnx.data'", 'to the folder')),
    'data elsewhere': Broken(saved(outside_data('../secret.bin')),
                             ("'../secret.bin'", "outside the model's folder", 'export it again')),
    'opset too new': Broken(saved(too_new), ('opset 99', 'export it with')),
    'operator of another domain': Broken(saved(custom_domain),
                                         ('mmdeploy', 'MultiScaleDeformableAttn', 'export'),
                                         commands=('run',)),
    'unknown operator': Broken(saved(unknown_operator), ('Segmentify', 'export')),
    # inspect proposes a size that it has tried.
    'open size': Broken(saved(lambda n: n.pointwise(WEIGHTS, (None, None))),
                        ('has a dynamic size', 'set input.size'), commands=('run',)),
    'a size that does not fit': Broken(saved(halved), ('input.size is 33x34', 'multiples of 2',
                                                       '[34, 34]'), 'input: {size: [33, 34]}'),
    'config not YAML': Broken(GOOD, ('no valid YAML',), 'classes: {labels: [a',
                              blamed='net.yaml'),
    'config without that key': Broken(GOOD, ('unknown key names', 'labels'),
                                      'classes: {names: [a, b, c]}', blamed='net.yaml'),
    'config key twice': Broken(GOOD, ("'classes' twice", 'remove one'),
                               'classes: {labels: [a, b, c]}\nclasses: {unlabelled: 0}',
                               blamed='net.yaml'),
    'label count': Broken(GOOD, ('labels has 2 entries', '3 classes'),
                          'classes: {labels: [a, b]}'),
    'labels twice': Broken(GOOD, ('repeats a', 'must be unique'), 'classes: {labels: [a, b, a]}',
                           blamed='net.yaml'),
    'labels and colours': Broken(GOOD, ('3 entries', 'colors 2'),
                                 'classes: {labels: [a, b, c], colors: [[0, 0, 0], [1, 1, 1]]}',
                                 blamed='net.yaml'),
    'merge of unknown classes': Broken(GOOD, ("'rod'", 'similar names are road'),
                                       'classes: {labels: [road, b, c], merge: {way: [rod]}}'),
    'layout contradicted': Broken(GOOD, ('output.layout is nhwc', 'fits nchw'),
                                  'output: {layout: nhwc}'),
    'size contradicted': Broken(GOOD, ('height 99', 'remove input.size'),
                                'input: {size: [99, 24]}'),
    'output not there': Broken(GOOD, ("'logits'", 'outputs are scores'), 'output: {name: logits}'),
    'kind contradicted': Broken(GOOD, ('kind is ids', 'float32'), 'output: {kind: ids}'),
    'too many classes': Broken(saved(lambda n: n.fixed(n.random_scores(300, 4, 4))),
                               ('300 class ids', '--mask-encoding', 'classes.merge')),
}
NODE = 'missing', 'truncated', 'detection', 'NaN weights', 'label count', 'config not YAML'
"""Cases for the node: it reports the same message as the library."""


@pytest.fixture
def broken(request, tmp_path, networks):
    """One of ``BROKEN``, written; with arguments that name it."""
    case = BROKEN[request.param]
    path, config = tmp_path / case.name, tmp_path / 'net.yaml'
    case.make(path, networks)
    if case.config:
        config.write_text(case.config)
    return case, str(path), str(config) if case.config else '', str(tmp_path / case.blamed)


def assert_says(case, blamed, message):
    assert message.count(blamed) == 1, 'the file is named once'
    for words in case.words:
        assert words in message
    assert 'Traceback' not in message


def test_there_are_enough_of_them():
    assert len(BROKEN) >= 20


@pytest.mark.parametrize(('broken', 'command'), [
    (name, command) for name, case in BROKEN.items() for command in case.commands],
    indirect=['broken'])
def test_a_message_names_the_file_the_fact_and_the_fix(broken, command, tmp_path, capfd):
    case, path, config, blamed = broken
    image = tmp_path / 'street.png'
    cv2.imwrite(str(image), np.zeros((*SIZE, 3), np.uint8))
    arguments = {'inspect': ['inspect', path],
                 'run': ['run', str(image), '--model', path, '--output', str(tmp_path / 'out'),
                         '--backend', 'onnxruntime']}[command]
    assert main([*arguments, *(['--config', config] if config else [])]) == 1
    message = capfd.readouterr().err
    assert message.startswith('error: ')
    assert message.count('\n') == 1, 'one line'
    assert_says(case, blamed, message)


@pytest.mark.ros
@pytest.mark.parametrize('broken', NODE, indirect=True)
def test_the_node_is_not_configured_and_says_the_same(broken):
    pytest.importorskip('rclpy')
    case, path, config, blamed = broken
    arguments = ['-p', f'engine_path:={path}', '-p', 'backend:=onnxruntime',
                 '-p', 'build_only:=true', *(['-p', f'model_config:={config}'] if config else [])]
    done = subprocess.run(
        [sys.executable, '-m', 'trt_segmentation.ros.node', '--ros-args', *arguments],
        capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    message, = (line for line in done.stderr.splitlines() if 'configure failed' in line)
    assert_says(case, blamed, message)
    assert 'Traceback' not in done.stderr
