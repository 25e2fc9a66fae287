# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Several masks of one network: each equals the mask of a network with this output only."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trt_segmentation.backends.onnxruntime import OnnxRuntimeSession
from trt_segmentation.errors import ConfigError, ImageError, ModelError
from trt_segmentation.graph.onnx_tools.network import (
    describe_network,
    outline_network,
    read_network,
)
from trt_segmentation.graph.pipeline.prepare import available_outputs, prepare
from trt_segmentation.graph.precision.fp16 import to_fp16
from trt_segmentation.graph.reading.resolve import complete_config, embedded_config, resolve
from trt_segmentation.model_config import ModelConfig
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

SIZE = 32, 48
FED = {'color': 'bgr', 'scale': 1.0, 'mean': [0.0] * 3, 'std': [1.0] * 3}
ROAD = np.array([[1, -1, 0], [-1, 0.5, 0.5]], np.float32)
LANES = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
TASKS = [{'name': 'drivable', 'labels': ['other', 'road']},
         {'name': 'lanes', 'labels': ['none', 'left', 'right'],
          'colors': [[1, 2, 3], [4, 5, 6], [250, 0, 9]]}]


@pytest.fixture
def model(networks, tmp_path):
    """The path of a network with the outputs drivable and lanes."""
    onnx.save(networks.heads({'drivable': ROAD, 'lanes': LANES}, SIZE), tmp_path / 'net.onnx')
    return tmp_path / 'net.onnx'


@pytest.fixture
def open_model(networks, model):
    """Opens the network on ONNX Runtime."""
    def open_model(outputs=TASKS, fed=FED, path=model, **options):
        return Segmenter.open(path, config=networks.config_of(input=fed, outputs=outputs),
                              options=RunOptions('onnxruntime', num_threads=1, **options))

    return open_model


def classes_of(image, weights):
    return (image.astype(np.float32) @ weights.T).argmax(axis=2)


# Masks -------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2 ** 16), classes=st.tuples(st.integers(2, 5), st.integers(2, 5)))
def test_each_mask_is_that_of_its_head(networks, seed, classes):
    rng = np.random.default_rng(seed)
    weights = {name: rng.integers(-9, 10, (count, 3)).astype(np.float32)
               for name, count in zip(('a', 'b'), classes, strict=True)}
    spec = networks.spec_of(networks.heads(weights, SIZE), input=FED,
                            outputs=[{'name': 'a'}, {'name': 'b'}])
    image = networks.random_image(*SIZE, seed)
    found = Segmenter(OnnxRuntimeSession(spec, 1), spec).infer(image)
    for name, each in weights.items():
        np.testing.assert_array_equal(found.task(name).mask, classes_of(image, each))


def test_each_overlay_has_the_colours_of_its_task(networks, open_model):
    image = networks.random_image(*SIZE)
    segmenter = open_model()
    segmenter.overlay_alpha = 1
    colors = np.array(TASKS[1]['colors'], np.uint8)[classes_of(image, LANES)]
    for color, expected in (('bgr', colors[..., ::-1]), ('rgb', colors)):
        pixels = image if color == 'bgr' else image[..., ::-1]
        found = segmenter.infer(pixels, color=color, outputs='overlay').task('lanes').overlay
        np.testing.assert_array_equal(found, expected)


def parts(networks):
    """Networks of all forms that become tasks of one: model, and its entry in ``outputs``."""
    rng = np.random.default_rng(0)
    scores = networks.random_scores(4, 8, 12)
    ids = rng.integers(0, 3, (1, *SIZE))
    merged = {'labels': list('abcd'), 'merge': {'ab': ['a', 'b'], 'others': 'rest'}}
    return {
        'plain': (networks.fixed(scores, size=SIZE), {'kind': 'logits'}),
        'half': (networks.fixed(scores.astype(np.float16), size=SIZE), {'kind': 'logits'}),
        'merged': (networks.fixed(scores[:, ::-1], size=SIZE), {'kind': 'logits', **merged}),
        'corners': (networks.fixed(scores, size=SIZE),
                    {'kind': 'logits', 'align_corners': True}),
        'flat': (networks.fixed(networks.random_scores(3, *SIZE)[0], size=SIZE),
                 {'kind': 'logits'}),
        'sigmoid': (networks.fixed(rng.random((1, 2, 16, 24), np.float32), size=SIZE),
                    {'kind': 'sigmoid', 'threshold': 0.7}),
        'ids': (networks.fixed(ids.astype(np.int16), size=SIZE), {'unlabelled': 2}),
        'float_ids': (networks.fixed(ids.astype(np.float32)[:, None], size=SIZE),
                      {'kind': 'ids'}),
    }


@pytest.mark.parametrize(('resize', 'how'), [
    ('stretch', {}), ('letterbox', {}), ('letterbox', {'mask_interpolation': 'bilinear'}),
    ('stretch', {'mask_size': (20, 30)}), ('stretch', {'mask_encoding': 'mono16'})])
def test_a_task_is_what_its_output_is_alone(networks, open_model, tmp_path, resize, how):
    made, fed = parts(networks), FED | {'resize': resize}
    path = tmp_path / 'joined.onnx'
    onnx.save(networks.joined({name: model for name, (model, _) in made.items()}), path)
    told = {name: {'name': f'{name}/scores', **entry} for name, (_, entry) in made.items()}
    segmenter = open_model([{'task': name, **entry} for name, entry in told.items()], fed, path,
                           **how)
    image = networks.random_image(45, 61)
    found = segmenter.infer(image, outputs=segmenter.available_outputs)
    for name, entry in told.items():
        sections = {'output': {}, 'classes': {}}
        for key, value in entry.items():
            section = 'classes' if key in ('labels', 'merge', 'unlabelled') else 'output'
            sections[section][key] = value
        alone = Segmenter.open(path, config=networks.config_of(input=fed, **sections),
                               options=RunOptions('onnxruntime', num_threads=1, **how))
        expected = alone.infer(image, outputs=alone.available_outputs).arrays
        assert found.task(name).arrays.keys() == expected.keys()
        for output, array in expected.items():
            np.testing.assert_array_equal(found.task(name).arrays[output], array,
                                          f'{name} {output}')


def test_several_images_at_once(networks, open_model):
    images = [networks.random_image(*SIZE, seed) for seed in range(3)]
    found = open_model(batch=3).infer_batch(images)
    for image, each in zip(images, found, strict=True):
        for task, weights in (('drivable', ROAD), ('lanes', LANES)):
            np.testing.assert_array_equal(each.task(task).mask, classes_of(image, weights))


def test_two_tasks_may_read_one_output(networks, open_model):
    segmenter = open_model([{'name': 'lanes', 'task': 'all'},
                            {'name': 'lanes', 'task': 'any', 'labels': list('abc'),
                             'merge': {'none': ['a'], 'lane': ['b', 'c']}}])
    image = networks.random_image(*SIZE)
    found = segmenter.infer(image)
    np.testing.assert_array_equal(found.task('any').mask, found.task('all').mask > 0)


def test_instances_and_scores_of_one_network(networks, tmp_path, open_model):
    rng = np.random.default_rng(0)
    found, prototypes = (rng.random(each, np.float32)
                         for each in ((1, 4 + 2 + 8, 40), (1, 8, 8, 12)))
    instances = networks.instances(found, prototypes, size=SIZE)
    path = tmp_path / 'joined.onnx'
    onnx.save(networks.joined({'things': instances, 'stuff': networks.fixed(
        networks.random_scores(3, *SIZE))}), path)
    pair = {'name': 'things/output1', 'class_name': 'things/output0', 'kind': 'instances',
            'labels': ['car', 'bus'], 'grow_masks': True}
    segmenter = open_model([{'task': 'things', **pair}, {'task': 'more', **pair},
                            {'task': 'stuff', 'name': 'stuff/scores'}], path=path)
    onnx.save(instances, path)
    alone = Segmenter.open(path, config=networks.config_of(
        input=FED, output={'name': 'output1', 'class_name': 'output0', 'kind': 'instances',
                           'grow_masks': True}, classes={'labels': ['car', 'bus']}))
    image = networks.random_image(*SIZE)
    result, expected = segmenter.infer(image), alone.infer(image).mask
    assert len(np.unique(expected)) > 1
    for task in ('things', 'more'):
        np.testing.assert_array_equal(result.task(task).mask, expected)
    assert segmenter.spec.tasks[0].pair.kind == 'instances'


def test_the_config_of_yolop_decides_as_its_own_code_does(networks, tmp_path):
    """Of each head's two sigmoids the larger one, whether or not it is above a half."""
    weights = {name: np.random.default_rng(seed).normal(-1, 1, (2, 3)).astype(np.float32)
               for seed, name in enumerate(('drive_area_seg', 'lane_line_seg'))}
    model = networks.heads(weights, SIZE)
    for node in list(model.graph.node):
        name, node.output[0] = node.output[0], f'{node.output[0]}/logits'
        model.graph.node.append(onnx.helper.make_node('Sigmoid', [node.output[0]], [name]))
    model.graph.node.append(onnx.helper.make_node('Flatten', ['pixels'], ['det_out']))
    model.graph.output.insert(0, networks.tensor('det_out', [1, 3 * SIZE[0] * SIZE[1]]))
    onnx.save(model, tmp_path / 'yolop.onnx')
    config = Path(__file__).parents[3] / 'config' / 'models' / 'yolop.yaml'
    segmenter = Segmenter.open(tmp_path / 'yolop.onnx', config=config)
    image = networks.random_image(*SIZE)
    rgb = image[..., ::-1] / np.float32(255)
    fed = (rgb - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    found = segmenter.infer(image)
    for task, name in (('drivable', 'drive_area_seg'), ('lanes', 'lane_line_seg')):
        scores = fed @ weights[name].T
        assert (scores.max(axis=2) < 0).any()
        assert (found.task(task).mask == scores.argmax(axis=2)).mean() > 0.999


# One inference -----------------------------------------------------------------------------


def test_the_network_is_in_the_graph_once(networks, open_model):
    spec = open_model().spec
    nodes = [node.op_type for node in prepare(spec).model.graph.node]
    assert nodes.count('Conv') == 2
    only_lanes = prepare(spec, ('lanes/mask',)).model
    assert [value.name for value in only_lanes.graph.output] == ['lanes/mask']
    assert not [node for node in only_lanes.graph.node if node.name.startswith('tail/drivable/')]
    assert 'lanes/palette' not in [value.name for value in only_lanes.graph.input]


class CountedRuns:
    """A session that counts how often it is run."""

    def __init__(self, session):
        self.session, self.runs = session, 0

    def run_with_iobinding(self, *arguments):
        self.runs += 1
        return self.session.run_with_iobinding(*arguments)

    def __getattr__(self, name):
        return getattr(self.session, name)


def test_all_masks_take_one_inference(networks, open_model):
    spec = open_model().spec
    session = OnnxRuntimeSession(spec, 1)
    session._network = counted = CountedRuns(session._network)
    segmenter = Segmenter(session, spec)
    for count in range(1, 4):
        segmenter.infer(networks.random_image(*SIZE, count), outputs=('mask', 'overlay'))
        assert counted.runs == count


def test_requested_outputs_can_change_with_each_image(networks, open_model):
    segmenter = open_model()
    for seed, outputs in enumerate(['drivable/mask', 'mask', 'lanes/mask', ('lanes/overlay',),
                                    'drivable/mask', 'mask']):
        image = networks.random_image(*SIZE, seed)
        found = segmenter.infer(image, outputs=outputs)
        for name, array in found.arrays.items():
            if name.endswith('mask'):
                weights = LANES if name == 'lanes/mask' else ROAD
                np.testing.assert_array_equal(array, classes_of(image, weights), str(outputs))
    twin = segmenter.twin()
    np.testing.assert_array_equal(twin.infer(image).task('lanes').mask, classes_of(image, LANES))


# Names -------------------------------------------------------------------------------------


def test_outputs_are_named_by_task(networks, open_model):
    segmenter, image = open_model(), networks.random_image(*SIZE)
    assert segmenter.available_outputs == (
        'drivable/mask', 'drivable/confidence', 'drivable/overlay',
        'lanes/mask', 'lanes/confidence', 'lanes/overlay')
    found = segmenter.infer(image, outputs=('mask', 'lanes/overlay'))
    assert list(found.arrays) == ['drivable/mask', 'lanes/mask', 'lanes/overlay']
    assert segmenter.output_dtype('lanes/mask') == np.uint8
    assert segmenter.output_shape('lanes/overlay', (5, 6)) == (5, 6, 3)
    with pytest.raises(ImageError,
                       match=r"drivable, lanes: write segmentation.task\('drivable'\).mask"):
        _ = found.mask
    with pytest.raises(ImageError, match="of task 'road' was requested, only of drivable, lanes"):
        found.task('road')
    with pytest.raises(ImageError, match='overlay was not requested'):
        _ = found.task('drivable').overlay
    with pytest.raises(ModelError, match=r'cannot give road/mask; .*lanes/overlay'):
        segmenter.infer(image, outputs='road/mask')


def test_a_single_entry_is_a_task_too(networks, open_model):
    segmenter, image = open_model(TASKS[1:]), networks.random_image(*SIZE)
    assert segmenter.available_outputs == ('lanes/mask', 'lanes/confidence', 'lanes/overlay')
    np.testing.assert_array_equal(segmenter.infer(image).task('lanes').mask,
                                  classes_of(image, LANES))


def test_functions_for_one_mask_name_the_keys_that_choose_it(open_model):
    with pytest.raises(ConfigError, match=r'\(drivable, lanes\).* output: \{name: drivable\}'):
        _ = open_model().spec.labels


# Resolved config ---------------------------------------------------------------------------


def test_provenance_is_per_task(open_model):
    provenance = {entry.key: entry for entry in open_model().spec.provenance}
    assert provenance['outputs.drivable.kind'].origin == 'graph'
    assert provenance['outputs.lanes.labels'].value == ('none', 'left', 'right')
    assert not [key for key in provenance if key.startswith(('output.', 'classes.'))]


def test_a_complete_config_gives_the_same_tasks(networks, open_model):
    spec = open_model([{**TASKS[0], 'threshold': 0.3}, {**TASKS[1], 'merge': {
        'none': ['none'], 'lane': ['left', 'right']}}]).spec
    text = complete_config(spec).to_text()
    again = resolve(read_network(spec.network.source), ModelConfig.from_text(text, 'test'))
    assert replace(again, provenance=(), network=spec.network) == replace(spec, provenance=())


def test_an_outline_needs_no_graph(networks, open_model, tmp_path):
    """An engine is opened like this; its outputs are those of the network and added ones."""
    made = parts(networks)
    path = tmp_path / 'joined.onnx'
    onnx.save(networks.joined({name: model for name, (model, _) in made.items()}), path)
    spec = open_model([{'task': name, 'name': f'{name}/scores', **entry}
                       for name, (_, entry) in made.items()], path=path).spec
    outline = outline_network('net.engine', spec.network.inputs, spec.network.outputs)
    again = resolve(outline, complete_config(spec))
    assert again.tasks == spec.tasks


def test_tasks_are_read_from_the_metadata(networks, tmp_path):
    metadata = networks.config_of(input=FED, outputs=TASKS).to_text()
    model = networks.heads({'drivable': ROAD, 'lanes': LANES}, SIZE, metadata=metadata)
    network = describe_network(model, 'net.onnx')
    assert [task.task for task in embedded_config(network).tasks] == ['drivable', 'lanes']
    assert available_outputs(resolve(network, ModelConfig()))[0] == 'drivable/mask'
    renamed = resolve(network, networks.config_of(
        outputs=[{'name': 'lanes', 'labels': ['a', 'b', 'c']}]))
    assert (renamed.labels, renamed.task.name) == (('a', 'b', 'c'), 'lanes')
    assert renamed.palette.colors[2] == (250, 0, 9)
    chosen = resolve(network, networks.config_of(output={'name': 'lanes'}))
    assert available_outputs(chosen)[0] == 'mask'
    assert chosen.labels == ('none', 'left', 'right')
    with pytest.raises(ConfigError, match=r'drivable, lanes; name one of them as output\.name'):
        resolve(network, networks.config_of(classes={'labels': ['a', 'b', 'c']}))


def test_errors_name_the_task(open_model):
    with pytest.raises(ConfigError, match=r'task lanes: .*output\.kind is probabilities'):
        open_model([TASKS[0], {**TASKS[1], 'kind': 'probabilities'}])
    with pytest.raises(ConfigError, match=r"task road: .*'road', but the graph's outputs are "):
        open_model([TASKS[0], {'name': 'road'}])
    with pytest.raises(ConfigError, match=r'task lanes: .*labels has 2 entries'):
        open_model([TASKS[0], {'name': 'lanes', 'labels': ['a', 'b']}])


def test_an_assumed_kind_of_a_task_is_reported(networks, open_model, caplog):
    path = Path(open_model().spec.network.source)
    model = networks.heads({'drivable': ROAD, 'lanes': LANES}, SIZE)
    conv = model.graph.node[1]
    conv.output[0] = 'lanes/logits'
    model.graph.node.append(onnx.helper.make_node('Sin', ['lanes/logits'], ['lanes']))
    onnx.save(model, path)
    provenance = {entry.key: entry for entry in open_model(measure=False).spec.provenance}
    assert provenance['outputs.lanes.kind'].origin == 'assumed'
    assert 'outputs.lanes.kind is assumed to be logits' in caplog.text
    assert 'drivable.kind' not in caplog.text


# Precision ---------------------------------------------------------------------------------


def test_fp16_looks_at_the_masks_of_all_tasks(networks, open_model):
    """Scores that overflow in half precision, in the second task only."""
    path = open_model().spec.network.source
    onnx.save(networks.heads({'drivable': ROAD, 'lanes': LANES * 5000}, SIZE), path)
    images = [networks.random_image(*SIZE)]
    converted = to_fp16(open_model(path=path).spec, images)
    assert len(converted.kept) == 1
    assert converted.agreement >= 0.99
    found = networks.Runner(prepare(converted.spec, ('lanes/mask',)))(images[0])['lanes/mask']
    np.testing.assert_array_equal(found, classes_of(images[0], LANES))
