# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Converted networks give the results of the network in fp32."""

import logging
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from trt_segmentation.demo.clip import read_frame
from trt_segmentation.errors import ConfigError, ModelError
from trt_segmentation.graph.onnx_tools.network import describe_network, read_network
from trt_segmentation.graph.pipeline.prepare import prepare
from trt_segmentation.graph.precision.fp16 import fp16_emulated, to_fp16
from trt_segmentation.graph.precision.int8 import is_quantized, to_int8
from trt_segmentation.graph.precision.rewriting import tensor_types, tidied
from trt_segmentation.graph.reading.resolve import resolve
from trt_segmentation.model_config import ModelConfig
from trt_segmentation.options import CalibrationOptions
from trt_segmentation.segmenter import demo_model

node = helper.make_node
SIZE = (8, 12)
MINMAX = CalibrationOptions(method='minmax')
RNG = np.random.default_rng(3)
FIRST = RNG.normal(0, 0.02, (4, 3, 3, 3)).astype(np.float32)
LAST = RNG.normal(0, 1, (3, 4, 1, 1)).astype(np.float32)


@pytest.fixture
def images(networks):
    return [networks.random_image(30, 40, seed) for seed in range(3)]


@pytest.fixture
def between(networks):
    """Returns a network of two convolutions with nodes between ``x`` and ``y``."""
    def make(*nodes, weights=(), unnamed=False, size=SIZE, **options):
        ends = [node('Conv', ['pixels', 'first'], ['x'], 'in', pads=[1] * 4),
                node('Conv', ['y', 'last'], ['scores'], 'out')]
        model = networks.onnx_model(
            [ends[0], *nodes, ends[1]], [networks.tensor('pixels', [1, 3, *SIZE])],
            [networks.tensor('scores', [1, 3, *size])],
            {'first': FIRST, 'last': LAST, **dict(weights)}, **options)
        for each in model.graph.node if unnamed else ():
            each.name = ''
        return networks.spec_of(model, input=networks.PASSED_THROUGH)
    return make


def masks(networks, spec, images):
    run = networks.Runner(prepare(spec, ('mask',)))
    return np.stack([run(image)['mask'] for image in images])


def agreement(networks, spec, other, images):
    pairs = zip(images, images, strict=True)
    return np.mean([(masks(networks, spec, [a]) == masks(networks, other, [b])).mean()
                    for a, b in pairs])


def made_in(spec, dtype):
    """Return the op types with an output of this type."""
    model = onnx.shape_inference.infer_shapes(spec.network.model)
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    return {each.op_type for each in model.graph.node
            if types.get(each.output[0]) == dtype} - {'Cast'}


def scores_in_real_fp16(spec, image):
    """Return the scores as the reference implementation computes them, in fp16 where it says."""
    pixels = cv2.resize(image, SIZE[::-1])[..., ::-1].transpose(2, 0, 1)[None]
    return ReferenceEvaluator(spec.network.model).run(
        None, {'pixels': np.ascontiguousarray(pixels, np.float32)})[0]


BODY = helper.make_graph([node('Add', ['x', 'shift'], ['shifted'], 'same')], 'then', [],
                         [helper.make_tensor_value_info('shifted', TensorProto.FLOAT, None)],
                         [numpy_helper.from_array(np.float32(1), 'shift')])
OTHER_BODY = helper.make_graph([node('Neg', ['x'], ['turned'], 'same')], 'else', [],
                               [helper.make_tensor_value_info('turned', TensorProto.FLOAT, None)])
LOOP = helper.make_graph(
    [node('Identity', ['go'], ['still']), node('Add', ['held', 'x'], ['more'])], 'body',
    [helper.make_tensor_value_info('index', TensorProto.INT64, []),
     helper.make_tensor_value_info('go', TensorProto.BOOL, []),
     helper.make_tensor_value_info('held', TensorProto.FLOAT, None)],
    [helper.make_tensor_value_info('still', TensorProto.BOOL, []),
     helper.make_tensor_value_info('more', TensorProto.FLOAT, None)])
CASES = {
    'relu': ([node('Relu', ['x'], ['y'])], {}),
    'constant node': ([node('Constant', [], ['two'], value=numpy_helper.from_array(np.float32(2))),
                       node('Mul', ['x', 'two'], ['y'])], {}),
    'resize': ([node('Resize', ['x', 'none', 'scales'], ['big'], mode='nearest'),
                node('MaxPool', ['big'], ['y'], kernel_shape=[2, 2], strides=[2, 2])],
               {'none': np.zeros(0, np.float32), 'scales': np.array([1, 1, 2, 2], np.float32)}),
    'shared empty roi and scales': (
        [node('Resize', ['x', 'none', 'none', 'sizes'], ['y'], mode='nearest')],
        {'none': np.zeros(0, np.float32), 'sizes': np.array([1, 4, *SIZE], np.int64)}),
    'extents in float': (
        [node('Shape', ['x'], ['shape']), node('Cast', ['shape'], ['wide'], to=TensorProto.FLOAT),
         node('Mul', ['wide', 'third'], ['thirds']), node('Mul', ['thirds', 'three'], ['same']),
         node('Cast', ['same'], ['extents'], to=TensorProto.INT64),
         node('Reshape', ['x', 'extents'], ['y'])],
        {'third': np.float32(1000.25), 'three': np.float32(1 / 1000.2)}),
    'fp16 island': ([node('Cast', ['x'], ['a'], to=TensorProto.FLOAT16),
                     node('Mul', ['a', 'half'], ['b']),
                     node('Cast', ['b'], ['y'], to=TensorProto.FLOAT)],
                    {'half': np.float16(0.5)}),
    'double island': ([node('Cast', ['x'], ['a'], to=TensorProto.DOUBLE),
                       node('Mul', ['a', 'half'], ['b']),
                       node('Cast', ['b'], ['y'], to=TensorProto.FLOAT)],
                      {'half': np.float64(0.5)}),
    'branches': ([node('If', ['yes'], ['y'], then_branch=BODY, else_branch=OTHER_BODY)],
                 {'yes': np.bool_(True)}),
    'loop': ([node('Loop', ['twice', 'yes', 'x'], ['y'], body=LOOP)],
             {'twice': np.int64(2), 'yes': np.bool_(True)}),
    'min and max': ([node('Max', ['x', 'low'], ['a']), node('Min', ['a', 'high'], ['y'])],
                    {'low': np.float32(-3), 'high': np.float32(6)}),
    'an empty tensor': (
        [node('Slice', ['x', 'none', 'none', 'channels'], ['a']),
         node('Concat', ['a', 'x'], ['y'], axis=1)],
        {'none': np.zeros(1, np.int64), 'channels': np.ones(1, np.int64)}),
    'large weights': ([node('Mul', ['x', 'large'], ['a']), node('Mul', ['a', 'small'], ['y'])],
                      {'large': np.float32(1e6), 'small': np.float32(1e-6)}),
}


@pytest.mark.parametrize('opset', [11, 13, 17, 20])
@pytest.mark.parametrize('case', CASES)
def test_fp16_gives_the_results_of_fp32(networks, between, images, case, opset):
    nodes, weights = CASES[case]
    spec = between(*nodes, weights=weights, unnamed=opset == 13, opset=opset)
    result = to_fp16(spec, images)
    assert result.agreement >= 0.99
    assert agreement(networks, spec, result.spec, images) >= 0.99
    assert 'Conv' in made_in(result.spec, TensorProto.FLOAT16)
    assert result.spec.network.inputs == spec.network.inputs
    assert result.spec.network.outputs[0].dtype == TensorProto.FLOAT


def overflowing(between):
    return between(node('Mul', ['x', 'large'], ['a'], 'up'), node('Relu', ['a'], ['b'], 'on'),
                   node('Mul', ['b', 'small'], ['y'], 'down'), node('Relu', ['y'], ['z'], 'rest'),
                   weights={'large': np.float32(6e4), 'small': np.float32(1 / 6e4)})


def test_what_overflows_fp16_and_comes_back_stays_in_fp32(networks, between, images):
    spec = overflowing(between)
    result = to_fp16(spec, images)
    assert result.kept == ('up', 'on', 'down')
    assert result.agreement >= 0.99
    found = scores_in_real_fp16(result.spec, images[0])
    expected = scores_in_real_fp16(spec, images[0])
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())


def test_without_the_kept_nodes_it_would_overflow(networks, between, images):
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel
    spec = overflowing(between)
    careless = OnnxModel(convert_float_to_float16(spec.network.model, keep_io_types=True))
    careless.topological_sort()
    spec = replace(spec, network=describe_network(careless.model, 'careless'))
    assert not np.isfinite(scores_in_real_fp16(spec, images[0])).all()


def test_weights_beyond_fp16_are_named(between, images, caplog):
    nodes = [node('Mul', ['x', 'up'], ['a'], 'too large'), node('Mul', ['a', 'down'], ['b']),
             node('Min', ['b', 'fits'], ['c']), node('Min', ['c', 'never'], ['y'], 'infinite')]
    weights = {'fits': np.float32(65504), 'up': np.float32(-1e6), 'down': np.float32(1e-6),
               'never': np.float32(np.inf)}
    result = to_fp16(between(*nodes, weights=weights), images)
    (warning,) = (record.getMessage() for record in caplog.records)
    assert "exceed: 'up' (1e+06), 'never' (inf); infinite ones stay infinite" in warning
    assert 'too large' in result.kept
    assert 'infinite' not in result.kept
    (never,) = (weight for weight in result.spec.network.model.graph.initializer
                if weight.name == 'never')
    assert numpy_helper.to_array(never) == np.float16(np.inf)


def test_of_many_weights_beyond_fp16_some_are_named(between, images, caplog):
    chain = ['x', *'abcdef', 'y']
    nodes = [node('Min', [first, f'high {index}'], [second])
             for index, (first, second) in enumerate(pairwise(chain))]
    weights = {f'high {index}': np.float32(1e9) for index in range(7)}
    to_fp16(between(*nodes, weights=weights), images)
    assert "'high 4' (1e+09) and 2 others" in caplog.text


def test_scores_beyond_fp16_reach_the_output(networks, images):
    model = networks.pointwise(np.eye(3) * 1e6, SIZE)
    spec = networks.spec_of(model, input=networks.PASSED_THROUGH)
    result = to_fp16(spec, images)
    assert result.agreement == 1
    assert np.abs(scores_in_real_fp16(result.spec, images[0])).max() > 1e7


def test_large_values_that_lose_their_digits_stay_in_fp32(between, images):
    nodes = [node('Add', ['x', 'far'], ['a'], 'away'), node('Sub', ['a', 'far'], ['y'], 'back')]
    result = to_fp16(between(*nodes, weights={'far': np.float32(3e4)}), images)
    assert result.kept == ('away', 'back')
    assert result.agreement >= 0.99


def test_boxes_stay_in_fp32_though_those_of_the_samples_are_small(networks, images):
    boxes = np.tile(np.float32([9, 9, 4, 4]), (20, 1)).T
    found = np.concatenate([boxes, np.linspace(0.3, 0.9, 60, dtype=np.float32).reshape(3, 20),
                            np.ones((4, 20), np.float32)])[None]
    spec = networks.spec_of(networks.instances(found, np.ones((1, 4, 8, 8), np.float32),
                                               size=(32, 32)))
    added = {each.name for each in spec.network.model.graph.node
             if each.name.startswith('instances/')}
    assert added
    assert added <= set(to_fp16(spec, images).kept)


def matched(detections, others, threshold):
    """Return for each instance that is clear of the threshold whether another one has its class,
    its score within 0.01, and a box with an intersection over union above 0.95."""
    rows, others = detections[detections[:, 4] > threshold + 0.01, None], others[None]
    common = np.clip(np.minimum(rows[..., 2:4], others[..., 2:4])
                     - np.maximum(rows[..., :2], others[..., :2]), 0, None).prod(-1)
    areas = [(each[..., 2:4] - each[..., :2]).prod(-1) for each in (rows, others)]
    same = common > 0.95 * (areas[0] + areas[1] - common)
    same &= np.abs(rows[..., 4] - others[..., 4]) < 0.01
    return (same & (rows[..., 5] == others[..., 5])).any(1)


def test_anchors_are_decoded_in_fp32(networks):
    """In fp16, a corner above 512 is rounded to half a pixel, and scores near 1 are equal."""
    spec = resolve(describe_network(networks.anchored(), 'net.onnx'), networks.config_of(
        input={'scale': 1 / 255, 'mean': [0.5] * 3, 'std': [0.25] * 3}), instances=True)
    image = cv2.resize(networks.random_image(4, 80), (640, 32), interpolation=cv2.INTER_NEAREST)
    result = to_fp16(spec, [image])
    assert not {'body', 'prototypes', 'distances', 'classes', 'coefficients'} & set(result.kept)
    model = tidied(spec.network.model)
    rounded = replace(spec, network=describe_network(
        fp16_emulated(model, tensor_types(model, 'net.onnx'), set(result.kept)), 'net.onnx'))
    exact, found = (networks.Runner(prepare(each))(image) for each in (spec, rounded))
    both = exact['detections'], found['detections']
    for rows, others in (both, both[::-1]):
        hits = matched(rows, others, spec.threshold)
        assert len(hits) > 100
        assert hits.mean() > 0.99
    assert (exact['mask'] == found['mask']).mean() > 0.99
    difference = np.abs(exact['confidence'].astype(int) - found['confidence'])
    assert (difference <= 2).mean() > 0.99


def test_instances_of_queries_stay_in_fp32(networks, images):
    """A sum over the pixels of a mask can exceed float16."""
    masks = np.random.default_rng(0).normal(2, 3, (1, 6, 48, 64)).astype(np.float32)
    likely = np.pad(np.diag(np.arange(3, 9, dtype=np.float32)), ((0, 0), (0, 1)))[None]
    model = networks.with_outputs({'masks': masks, 'classes': likely}, size=(384, 512))
    spec = resolve(describe_network(model, 'net.onnx'), networks.config_of(
        output={'grow_masks': True, 'threshold': 0.1}), instances=True)
    result = to_fp16(spec, images)
    assert {each.name for each in spec.network.model.graph.node
            if each.name.startswith('instances/')} <= set(result.kept)
    exact, rounded = (networks.Runner(prepare(each))(images[0]) for each in (spec, result.spec))
    used = exact['detections'][:, 4] > 0
    assert used.sum() == 6
    assert (exact['instances'] == rounded['instances']).mean() > 0.99
    np.testing.assert_allclose(rounded['detections'][used, 4:], exact['detections'][used, 4:],
                               atol=2e-3)


def test_a_mask_that_fp16_changes_gives_a_warning(networks, images, caplog):
    model = networks.pointwise([[1, 0, 0], [1.0001, 0, 0]], SIZE)  # equal in fp16
    with caplog.at_level(logging.WARNING):
        result = to_fp16(networks.spec_of(model, input=networks.PASSED_THROUGH), images)
    assert result.agreement < 0.1
    assert 'net.onnx: the fp16 mask agrees with the fp32 mask on' in caplog.text


def test_a_network_in_fp16_is_left_alone(between, images):
    once = to_fp16(between(node('Relu', ['x'], ['y'])), images).spec
    assert to_fp16(once, []).spec is once


def test_functions_are_converted_too(networks, between, images):
    spec = between(node('Twice', ['x'], ['y'], domain='own'))
    model = spec.network.model
    model.opset_import.append(helper.make_opsetid('own', 1))
    model.functions.append(helper.make_function(
        'own', 'Twice', ['a'], ['c'],
        [node('Constant', [], ['b'], value_float=2.0), node('Mul', ['a', 'b'], ['c'])],
        [helper.make_opsetid('', 17)]))
    result = to_fp16(spec, images)
    assert result.agreement >= 0.99
    assert 'Mul' in made_in(result.spec, TensorProto.FLOAT16)


def test_weights_that_are_listed_as_inputs_are_converted(networks, between, images):
    spec = between(node('Relu', ['x'], ['y']), opset=11, ir_version=3, weights_as_inputs=True)
    result = to_fp16(spec, images)
    types = {each.name: each.data_type for each in result.spec.network.model.graph.initializer}
    assert types['first'] == TensorProto.FLOAT16
    assert result.agreement >= 0.99


@pytest.mark.parametrize('convert', [
    lambda spec, images: to_fp16(spec, images).spec,
    lambda spec, images: to_int8(spec, images, MINMAX)])
@pytest.mark.parametrize('has_shape', [True, False])
def test_open_sizes_and_class_ids_are_converted(networks, convert, has_shape):
    model = networks.pointwise(np.eye(3), (None, None))
    model.graph.node.append(node('ArgMax', ['scores'], ['ids'], axis=1, keepdims=0))
    model.graph.output[0].CopyFrom(networks.tensor('ids', [1, None, None], TensorProto.INT64))
    if not has_shape:
        model.graph.output[0].type.tensor_type.ClearField('shape')
    images = [networks.random_image(*size) for size in ((9, 14), (20, 12))]
    spec = networks.spec_of(model, input={**networks.PASSED_THROUGH, 'resize': 'none'})
    assert agreement(networks, spec, convert(spec, images), images) >= 0.95


def test_fp16_needs_an_image(between):
    with pytest.raises(ConfigError, match=r'net\.onnx: fp16 is checked on images'):
        to_fp16(between(node('Relu', ['x'], ['y'])), [])


def test_a_network_that_the_runtime_does_not_accept_is_named(between, images):
    spec = between(node('Unheard', ['x'], ['y'], 'odd', domain='own'))
    spec.network.model.opset_import.append(helper.make_opsetid('own', 1))
    for convert in (lambda: to_fp16(spec, images), lambda: to_int8(spec, images, MINMAX)):
        with pytest.raises(ModelError, match=r'net\.onnx.*Unheard'):
            convert()


@pytest.mark.parametrize('opset', [11, 13, 17, 20])
@pytest.mark.parametrize('case', CASES)
def test_int8_gives_nearly_the_results_of_fp32(networks, between, images, case, opset):
    nodes, weights = CASES[case]
    spec = between(*nodes, weights=weights, unnamed=opset == 13, opset=opset)
    quantized = to_int8(spec, images, MINMAX)
    assert is_quantized(quantized.network)
    assert not is_quantized(spec.network)
    assert agreement(networks, spec, quantized, images) >= 0.9
    assert quantized.network.inputs == spec.network.inputs
    assert quantized.network.outputs[0].dtype == TensorProto.FLOAT


def readers_and_makers(spec):
    makers = {name: each for each in spec.network.model.graph.node for name in each.output}
    return [(each, [makers[name].op_type if name in makers else '' for name in each.input])
            for each in spec.network.model.graph.node]


def test_int8_is_symmetric_by_channel_and_leaves_biases(networks, between, images):
    spec = between(node('Conv', ['x', 'kernel', 'bias'], ['y'], 'biased'), opset=13,
                   weights={'kernel': RNG.normal(0, 1, (4, 4, 1, 1)).astype(np.float32),
                            'bias': np.full(4, 1e-3, np.float32)})
    quantized = to_int8(spec, images, MINMAX)
    tensors = {tensor.name: numpy_helper.to_array(tensor)
               for tensor in quantized.network.model.graph.initializer}
    points = [tensors[each.input[2]] for each in quantized.network.model.graph.node
              if each.op_type == 'QuantizeLinear']
    assert all(point.dtype == np.int8 and not point.any() for point in points)
    assert sorted({point.shape for point in points}) == [(), (3,), (4,)]
    (_, read), = [(each, read) for each, read in readers_and_makers(quantized)
                  if each.name == 'biased']
    assert read == ['DequantizeLinear', 'DequantizeLinear', '']


def test_an_addition_reads_one_convolution_in_float(between, images):
    spec = between(node('Relu', ['x'], ['r']), node('Conv', ['r', 'k'], ['c'], 'conv'),
                   node('Add', ['c', 'r'], ['y'], 'join'),
                   weights={'k': RNG.normal(0, 1, (4, 4, 1, 1)).astype(np.float32)})
    quantized = to_int8(spec, images, MINMAX)
    (_, read), = [(each, read) for each, read in readers_and_makers(quantized)
                  if each.name == 'join']
    assert read == ['Conv', 'DequantizeLinear']


def test_a_bias_and_a_product_of_activations_stay_in_float(between, images):
    spec = between(node('Add', ['x', 'bias'], ['a'], 'bias'),
                   node('Transpose', ['x'], ['t'], perm=[0, 1, 3, 2]),
                   node('MatMul', ['a', 't'], ['m'], 'product'),
                   node('MatMul', ['m', 'a'], ['y'], 'again'),
                   weights={'bias': np.ones((1, 4, 1, 1), np.float32)})
    for each, read in readers_and_makers(to_int8(spec, images, MINMAX)):
        if each.name in ('bias', 'product', 'again'):
            assert 'DequantizeLinear' not in read


@pytest.mark.parametrize('op_type', ['ConvTranspose', 'MatMul'])
def test_other_products_with_weights_are_quantized(networks, between, images, op_type):
    shape = (SIZE[1], SIZE[1]) if op_type == 'MatMul' else (4, 4, 1, 1)
    spec = between(node(op_type, ['x', 'k'], ['y'], 'it'),
                   weights={'k': RNG.normal(0, 1, shape).astype(np.float32)})
    quantized = to_int8(spec, images, MINMAX)
    (_, read), = [(each, read) for each, read in readers_and_makers(quantized)
                  if each.name == 'it']
    assert read == ['DequantizeLinear'] * 2
    assert agreement(networks, spec, quantized, images) >= 0.9


def test_weights_that_two_convolutions_share_are_quantized(networks, between, images):
    spec = between(node('Conv', ['x', 'k'], ['a']), node('Relu', ['a'], ['b']),
                   node('Conv', ['b', 'k'], ['y']),
                   weights={'k': RNG.normal(0, 1, (4, 4, 1, 1)).astype(np.float32)})
    assert agreement(networks, spec, to_int8(spec, images, MINMAX), images) >= 0.9


def test_pooling_between_convolutions_passes_int8_on(networks, between, images):
    kernel = RNG.normal(0, 1, (4, 4, 1, 1)).astype(np.float32)
    pooled = {'kernel_shape': [3, 3], 'pads': [1, 1, 1, 1]}
    spec = between(node('Conv', ['x', 'k'], ['a'], 'before'),
                   node('MaxPool', ['a'], ['b'], 'max', **pooled),
                   node('AveragePool', ['b'], ['c'], 'mean', **pooled),
                   node('Conv', ['c', 'k'], ['y'], 'after'), weights={'k': kernel})
    quantized = to_int8(spec, images, MINMAX)
    read = {each.op_type: made for each, made in readers_and_makers(quantized)}
    assert read['MaxPool'] == read['AveragePool'] == ['DequantizeLinear']
    assert agreement(networks, spec, quantized, images) >= 0.9


def test_squeeze_and_excitation_stays_in_float(between, images):
    kernel = RNG.normal(0, 1, (4, 4, 1, 1)).astype(np.float32)
    spec = between(node('AveragePool', ['x'], ['p'], 'mean', kernel_shape=list(SIZE)),
                   node('Conv', ['p', 'k'], ['s'], 'squeeze'), node('Sigmoid', ['s'], ['g']),
                   node('Conv', ['x', 'k'], ['c'], 'wide'), node('Mul', ['c', 'g'], ['y']),
                   weights={'k': kernel})
    read = {each.name: made for each, made in readers_and_makers(to_int8(spec, images, MINMAX))}
    assert read['squeeze'][0] == 'AveragePool'
    assert read['wide'] == ['DequantizeLinear'] * 2


def test_pooling_alone_is_not_worth_int8(networks, images):
    model = networks.onnx_model(
        [node('MaxPool', ['pixels'], ['scores'], kernel_shape=[1, 1])],
        [networks.tensor('pixels', [1, 3, *SIZE])], [networks.tensor('scores', [1, 3, *SIZE])])
    spec = networks.spec_of(model, input=networks.PASSED_THROUGH)
    with pytest.raises(ModelError, match='nothing in this network can be quantized'):
        to_int8(spec, images, MINMAX)


@pytest.mark.parametrize('method', ['entropy', 'percentile', 'minmax'])
def test_activations_that_are_always_zero_do_no_harm(networks, between, images, method):
    spec = between(node('Mul', ['x', 'zero'], ['o']), node('Conv', ['o', 'k'], ['c']),
                   node('Add', ['x', 'c'], ['y']),
                   weights={'zero': np.float32(0), 'k': np.zeros((4, 4, 1, 1), np.float32)})
    quantized = to_int8(spec, images, CalibrationOptions(method=method))
    scales = [numpy_helper.to_array(tensor) for tensor in quantized.network.model.graph.initializer
              if tensor.name.endswith('_scale')]
    assert scales
    assert all((np.isfinite(scale) & (scale > 0)).all() for scale in scales)
    assert agreement(networks, spec, quantized, images) >= 0.85


def test_a_quantized_network_is_left_alone(between, images):
    once = to_int8(between(node('Relu', ['x'], ['y'])), images, MINMAX)
    assert to_int8(once, [], CalibrationOptions()) is once


def test_int8_of_a_network_in_fp16_is_refused(between, images):
    half = to_fp16(between(node('Relu', ['x'], ['y'])), images).spec
    with pytest.raises(ModelError, match=r'net\.onnx: nothing in this network can be quantized'):
        to_int8(half, images, MINMAX)


PHOTOS = ('astronaut.png', 'chelsea.png', 'grace_hopper.jpg', 'road.png')


def test_real_networks_keep_their_masks(networks, known_answer):
    image = cv2.imread(str(known_answer.image), cv2.IMREAD_COLOR)
    spec = resolve(read_network(known_answer.model), known_answer.config)
    assert to_fp16(spec, [image]).agreement >= 0.99
    photos = [cv2.imread(str(known_answer.image.with_name(name))) for name in PHOTOS]
    scenes = [read_frame(number, 180, 320).image for number in range(4)]
    quantized = to_int8(spec, [*photos, *scenes], MINMAX)
    assert agreement(networks, spec, quantized, [image]) >= 0.95


def test_the_demo_network_keeps_its_masks(networks):
    spec = resolve(read_network(demo_model()), ModelConfig())
    seen, unseen = ([read_frame(number, 180, 320).image for number in numbers]
                    for numbers in (range(4), (6, 10, 14)))
    assert to_fp16(spec, unseen).agreement >= 0.99
    quantized = to_int8(spec, seen, CalibrationOptions(method='percentile'))
    assert agreement(networks, spec, quantized, unseen) >= 0.95
