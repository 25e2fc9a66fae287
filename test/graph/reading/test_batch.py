# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Batches: the same bytes as image by image, and errors of networks without a batch."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from trt_segmentation.backends.batch_check import check_independence
from trt_segmentation.errors import ConfigError, ModelError
from trt_segmentation.graph.onnx_tools.network import read_network
from trt_segmentation.graph.pipeline.prepare import available_outputs, prepare
from trt_segmentation.graph.reading.batch import batched
from trt_segmentation.graph.reading.resolve import resolve, with_mask
from trt_segmentation.model_config import ModelConfig
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import demo_model

WEIGHTS = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, -1]]
SIZE = 8, 12
BATCH_HINT = 'export it with a dynamic batch axis, or run one node for each camera$'


def run(spec, images, **how):
    """Return the outputs of a prepared graph of so many images, by name."""
    prepared = prepare(spec, **how)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(prepared.model.SerializeToString(), options,
                                           ['CPUExecutionProvider'])
    fed = {'image': np.stack(images), 'channels': np.array([0, 1, 2], np.int32),
           'palette': spec.palette_table('bgr'), 'alpha': np.array(0.4, np.float32)}
    names = [value.name for value in session.get_inputs()]
    found = session.run(None, {name: fed[name] for name in names})
    return dict(zip(prepared.outputs, found, strict=True))


def assert_as_one_by_one(networks, model, images, sections, options=None, **how):
    specs = [networks.spec_of(model, batch, **sections) for batch in (len(images), 1)]
    if options is not None:
        specs = [with_mask(spec, options) for spec in specs]
    together, alone = specs
    found = run(together, images, **how)
    assert set(found) == set(available_outputs(together))
    for index, image in enumerate(images):
        for name, wanted in run(alone, [image], **how).items():
            np.testing.assert_array_equal(found[name][index], wanted[0], f'{name} of {index}')


def seeing(networks):
    return st.sampled_from(sorted(networks.SEEING))


@pytest.fixture(scope='module', params=['stretch', 'letterbox', 'none'])
def resize(request):
    return request.param


@pytest.mark.parametrize('growth', ['nearest', 'bilinear'])
@pytest.mark.parametrize('for_cpu', [False, True])
def test_a_batch_is_the_same_bytes_as_one_by_one(networks, resize, growth, for_cpu):
    @settings(max_examples=12, deadline=None)
    @given(seeing(networks), st.integers(2, 4), st.tuples(st.integers(3, 40), st.integers(3, 40)),
           st.sampled_from(['mono8', 'mono16']), st.sampled_from([None, (7, 9)]))
    def check(name, count, size, encoding, mask_size):
        model = networks.SEEING[name]()
        if resize == 'none':
            opened(model)
            size = size[0] // 2 * 2 + 4, size[1] // 2 * 2 + 4
        images = [networks.random_image(*size, seed) for seed in range(count)]
        assert_as_one_by_one(networks, model, images, {'input': {'resize': resize}},
                             RunOptions(mask_encoding=encoding, mask_size=mask_size),
                             mask_interpolation=growth, for_cpu=for_cpu)

    def opened(model):
        for value in (*model.graph.input, *model.graph.output):
            dims, names = value.type.tensor_type.shape.dim, iter('hw')
            for dim in dims:
                if dim.dim_value in (32, 48, 16, 24, 8, 12):
                    dim.dim_param = next(names) + value.name

    check()


@pytest.mark.parametrize('grow', [False, True])
@pytest.mark.parametrize('resize', ['stretch', 'letterbox'])
def test_queries_are_combined_image_by_image(networks, grow, resize):
    images = [networks.random_image(20, 30, seed) // (seed + 1) for seed in range(3)]
    assert_as_one_by_one(networks, networks.asked((32, 48)), images,
                         {'input': {'resize': resize},
                          'output': {'kind': 'queries', 'grow_masks': grow}})


@pytest.mark.parametrize('grow', [False, True])
@pytest.mark.parametrize('final', [False, True])
def test_instances_are_painted_image_by_image(networks, grow, final):
    images = [networks.random_image(20, 30, seed) for seed in range(3)]
    sections = {'output': {'kind': 'instances', 'grow_masks': grow},
                'input': {'resize': 'letterbox', 'border': 114},
                'classes': {'labels': ['car', 'bus', 'person']}}
    assert_as_one_by_one(networks, networks.spotted((32, 48), final), images, sections)
    masks = run(networks.spec_of(networks.spotted((32, 48), final), 3, **sections), images)
    assert all(len(np.unique(mask)) > 1 for mask in masks['mask'])


@pytest.mark.parametrize('encoding', ['mono8', 'mono16'])
def test_merged_classes_of_a_batch(networks, encoding):
    images = [networks.random_image(20, 30, seed) for seed in range(3)]
    classes = {'labels': list('abcd'), 'merge': {'one': ['c', 'a'], 'other': 'rest'}}
    assert_as_one_by_one(networks, networks.pointwise(WEIGHTS, SIZE), images,
                         {'classes': classes}, RunOptions(mask_encoding=encoding), for_cpu=True)


def test_external_networks(networks, known_answer):
    network = read_network(known_answer.model)
    images = [networks.random_image(60, 80, seed) for seed in range(2)]
    try:
        together = resolve(network, known_answer.config, 2)
    except ModelError as error:  # exported with a fixed batch of 1
        assert 'of one image' in str(error)
        return
    check_independence(together)
    alone = resolve(network, known_answer.config)
    found = run(together, images)
    for index, image in enumerate(images):
        for name, wanted in run(alone, [image]).items():
            np.testing.assert_array_equal(found[name][index], wanted[0])


def test_a_batch_of_one_is_the_graph_of_one(networks):
    network = read_network(demo_model())
    one, explicit = (prepare(resolve(network, ModelConfig(), *batch)).model.SerializeToString(
        deterministic=True) for batch in ((), (1,)))
    assert one == explicit
    assert batched(network.model, 1) is network.model


def test_an_unused_sequence_is_no_fault_of_the_batch(networks):
    model = networks.pointwise(WEIGHTS, SIZE)
    scores = model.graph.output[0].name
    model.graph.node.append(helper.make_node('SequenceConstruct', [scores], ['parts']))
    model.graph.output.append(helper.make_tensor_sequence_value_info(
        'parts', TensorProto.FLOAT, None))
    assert networks.spec_of(model, 2).batch == 2


def test_the_prepared_graph_has_shapes(networks):
    spec = with_mask(networks.spec_of(networks.pointwise(WEIGHTS, SIZE), 3),
                     RunOptions(mask_encoding='mono16'))
    graph = prepare(spec).model.graph
    shapes = {value.name: [dim.dim_value or dim.dim_param
                           for dim in value.type.tensor_type.shape.dim]
              for value in (*graph.input, *graph.output)}
    assert shapes['image'] == [3, 'height', 'width', 3]
    assert shapes['mask'] == [3, 'height', 'width', 2]
    assert shapes['confidence'] == [3, 'height', 'width']
    assert shapes['overlay'] == [3, 'height', 'width', 3]


# Networks that do not accept a batch ----------------------------------------------------------


def reshaping(networks, *shapes, by_nodes=False):
    """A network that reshapes its pixels to these shapes in turn, of weights or of nodes."""
    nodes, last = [], 'pixels'
    for index, shape in enumerate(shapes):
        if by_nodes:
            nodes.append(helper.make_node('Constant', [], [f'shape_{index}'], value_ints=shape))
        output = 'scores' if index + 1 == len(shapes) else f'step_{index}'
        nodes.append(helper.make_node('Reshape', [last, f'shape_{index}'], [output],
                                      f'reshape_{index}'))
        last = output
    return networks.onnx_model(
        nodes, [networks.tensor('pixels', networks.image_shape(SIZE))],
        [networks.tensor('scores', networks.image_shape(SIZE))],
        {} if by_nodes else
        {f'shape_{index}': np.array(shape) for index, shape in enumerate(shapes)})


@pytest.mark.parametrize(('shapes', 'node'), [
    ([(1, 3, 96), (1, 3, 8, 12)], 'reshape_0'), ([(0, 3, 96), (1, 3, 8, 12)], 'reshape_1'),
    ([(1, 3, -1), (-1, 3, 8, 12)], 'reshape_0'),  # which would mix them without an error
    ([(-1, 8, 12), (1, 3, 8, 12)], 'reshape_1')])
@pytest.mark.parametrize('by_nodes', [False, True])
def test_a_fixed_target_shape_is_named(networks, shapes, node, by_nodes):
    model = reshaping(networks, *shapes, by_nodes=by_nodes)
    networks.spec_of(model, 1)
    with pytest.raises(ModelError, match=rf"^net.onnx: cannot take 3 images at once: Reshape "
                                         rf"'{node}' has the fixed shape \[.*\] of one image; "
                                         + BATCH_HINT):
        networks.spec_of(model, 3)


@pytest.mark.parametrize('shapes', [[(0, 3, 96), (0, 3, 8, 12)], [(-1, 8, 12), (-1, 3, 8, 12)]])
def test_shapes_that_leave_the_batch_open_are_taken(networks, shapes):
    images = [networks.random_image(*SIZE, seed) for seed in range(3)]
    assert_as_one_by_one(networks, reshaping(networks, *shapes), images, {})


def test_a_concatenation_with_something_of_one_image_is_named(networks):
    nodes = [helper.make_node('Concat', ['pixels', 'more'], ['scores'], 'joined', axis=1)]
    model = networks.onnx_model(nodes, [networks.tensor('pixels', [1, 3, *SIZE])],
                                [networks.tensor('scores', [1, 4, *SIZE])],
                                {'more': np.zeros((1, 1, *SIZE), np.float32)})
    with pytest.raises(ModelError, match=r"at once: Concat 'joined' does not fit \(.*\); "
                                         + BATCH_HINT):
        networks.spec_of(model, 2)


def test_a_fixed_resize_shape_is_named(networks):
    nodes = [helper.make_node('Resize', ['pixels', '', '', 'sizes'], ['scores'], 'grown')]
    model = networks.onnx_model(nodes, [networks.tensor('pixels', [1, 3, *SIZE])],
                                [networks.tensor('scores', [1, 3, 16, 24])],
                                {'sizes': np.array([1, 3, 16, 24])})
    with pytest.raises(ModelError, match=r"at once: Resize 'grown' has the fixed shape "
                                         r'\[1, 3, 16, 24\] of one image; ' + BATCH_HINT):
        networks.spec_of(model, 2)


def test_an_output_of_one_image_is_named(networks):
    model = networks.fixed(networks.random_scores(4, *SIZE))
    with pytest.raises(ModelError, match="at once: the first extent of output 'scores' is 1 for "
                                         'any number of images; ' + BATCH_HINT):
        networks.spec_of(model, 2)


def test_instances_of_one_image_are_named(networks):
    model = networks.spotted((32, 48))
    rows = next(tensor for tensor in model.graph.initializer if tensor.name == 'rows')
    rows.CopyFrom(onnx.numpy_helper.from_array(np.array([1, 11, -1]), 'rows'))
    assert networks.spec_of(model, 1).pair.kind == 'instances'
    with pytest.raises(ModelError, match=r"at once: Reshape 'found' has the fixed shape "
                                         r'\[1, 11, -1\] of one image; ' + BATCH_HINT):
        networks.spec_of(model, 2)


@pytest.mark.parametrize('batch', [0, -1])
def test_no_images_are_no_batch(networks, batch):
    with pytest.raises(ConfigError, match=f'batch is {batch}; it must be 1 or more images'):
        networks.spec_of(networks.pointwise(WEIGHTS, SIZE), batch)


def test_weights_with_the_extents_of_a_batch_are_no_fault(networks):
    model = networks.pointwise(WEIGHTS, SIZE)
    model.graph.node.insert(0, helper.make_node('Reshape', ['flat', 'shape'], ['weights_3']))
    model.graph.initializer.extend([
        onnx.numpy_helper.from_array(np.ones((3, 4), np.float32), 'flat'),
        onnx.numpy_helper.from_array(np.array([1, 12]), 'shape')])
    assert networks.spec_of(model, 3).batch == 3


def test_a_model_that_inference_rejects_is_accepted(networks):
    model = networks.pointwise(WEIGHTS, SIZE, dtype=TensorProto.FLOAT)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 9  # no such thing
    assert networks.spec_of(model, 3).batch == 3
