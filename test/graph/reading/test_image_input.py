# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The input of a network from its graph: layout, type, range, a missing batch axis."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from trt_segmentation.backends.batch_check import check_independence
from trt_segmentation.errors import ModelError
from trt_segmentation.graph.onnx_tools.network import read_network, value_shape

FLOAT = TensorProto.FLOAT
SIZE = 8, 12
IMAGE, LAST, SCORES = [1, 3, *SIZE], [1, *SIZE, 3], ([1, 2, *SIZE], FLOAT)
f32 = np.float32
MEAN = f32([123.675, 116.28, 103.53]).reshape(1, 3, 1, 1)
STD = f32([58.395, 57.12, 57.375]).reshape(1, 3, 1, 1)
PIXELS, UNIT = 1.0, 1 / 255


def first(op, x='x'):
    return op('Transpose', x, perm=[0, 3, 1, 2])


def normalized(op, x='x', mean=MEAN, std=STD):
    return op('Div', op('Sub', x, mean), std)


def batch_norm(op, mean, variance):
    return op('BatchNormalization', 'x', *map(f32, ([1] * 3, [0] * 3, mean, variance)))


NO_ZERO_POINT = np.uint8(0)


def quantized(op, step, zero=NO_ZERO_POINT):
    found = op('QuantizeLinear', 'x', f32(step), zero)
    return op('DequantizeLinear', found, f32(step), zero)


def in_function(op):
    nodes = [helper.make_node('Sub', ['a', 'm'], ['b']),
             helper.make_node('Div', ['b', 's'], ['c'])]
    op.functions.append(helper.make_function('mine', 'norm', ['a', 'm', 's'], ['c'], nodes,
                                             [helper.make_opsetid('', 17)]))
    return op('norm', 'x', MEAN, STD, domain='mine')


RANGES = {
    "ImageNet's mean and std of pixels": (normalized, PIXELS),
    'the same of pixels / 255': (lambda op: normalized(op, mean=MEAN / 255, std=STD / 255), UNIT),
    'to -1..1': (lambda op: op('Sub', op('Mul', 'x', f32(1 / 127.5)), f32(1)), PIXELS),
    'from 0..1 to -1..1': (lambda op: op('Sub', op('Mul', 'x', f32(2)), f32(1)), UNIT),
    'by 255, then the rest': (lambda op: normalized(op, op('Div', 'x', f32(255)), MEAN / 255,
                                                    STD / 255), PIXELS),
    'the mean alone': (lambda op: op('Sub', 'x', f32([104, 117, 123]).reshape(1, 3, 1, 1)),
                       PIXELS),
    'colours turned round': (lambda op: op('Sub', op('Gather', 'x', np.array([2, 1, 0]), axis=1),
                                           f32(127)), PIXELS),
    'colours cut in reverse': (lambda op: normalized(op, op('Slice', 'x', *(
        np.array([value]) for value in (-1, -9, 1, -1)))), PIXELS),
    'each colour of a split': (lambda op: op('Concat', *(
        normalized(op, each, MEAN[:, index], STD[:, index]) for index, each in enumerate(
            op('Split', 'x', outs=3, axis=1))), axis=1), PIXELS),
    'each colour of 0..1 picked': (lambda op: op('Concat', *(
        normalized(op, op('Gather', 'x', np.array([index]), axis=1), MEAN[:, index] / 255,
                   STD[:, index] / 255) for index in range(3)), axis=1), UNIT),
    'a convolution of each colour': (lambda op: op('Conv', 'x', (1 / STD).reshape(3, 1, 1, 1), (
        -MEAN / STD).reshape(3), group=3), PIXELS),
    'a convolution that turns the colours round': (lambda op: op('Conv', 'x', f32(
        np.eye(3)[::-1] / 57)[..., None, None], f32([-2] * 3)), PIXELS),
    'a convolution that mixes the colours': (lambda op: op('Conv', 'x', f32(
        np.full((3, 3, 1, 1), 1 / 57)), f32([-2] * 3)), None),
    'the scale and bias of a batch norm': (lambda op: op('BatchNormalization', 'x', *(
        f32([value] * 3) for value in (1 / 57, -2, 0, 1))), PIXELS),
    'by 255, from -0.5 to 0.5': (lambda op: op('Sub', op('Div', 'x', f32(255)), f32(0.5)), PIXELS),
    'clipped pixels': (lambda op: op('Clip', 'x', f32(0), f32(255)), PIXELS),
    'clipped pixels / 255': (lambda op: op('Clip', 'x', f32(0), f32(1)), UNIT),
    'clipped normalised values': (lambda op: op('Clip', 'x', f32(-3), f32(3)), None),
    'quantized pixels': (lambda op: quantized(op, 0.98), PIXELS),
    'quantized pixels / 255': (lambda op: quantized(op, 1 / 255, np.int8(-128)), UNIT),
    'quantized normalised values': (lambda op: quantized(op, 0.0187, np.uint8(114)), None),
    'quantized pixels - 128': (lambda op: quantized(op, 1, np.int8(0)), None),
    'a batch norm': (lambda op: batch_norm(op, [120] * 3, [3400] * 3), PIXELS),
    'a batch norm of 0..1': (lambda op: batch_norm(op, [0.45] * 3, [0.05] * 3), UNIT),
    'a batch norm of normalised values': (lambda op: batch_norm(op, [0.45, 0.4, 0.38], [
        0.9, 0.8, 0.85]), None),
    'a batch norm of -1..1': (lambda op: batch_norm(op, [0.3] * 3, [0.3] * 3), None),
    'a batch norm of bright images in -1..1': (lambda op: batch_norm(op, [0.5] * 3, [0.2] * 3),
                                               None),
    'a batch norm of means beyond 0..1': (lambda op: batch_norm(op, [-0.2, 0.5, 1.2], [
        0.05] * 3), None),
    'a batch norm that deviates more than pixels': (lambda op: batch_norm(op, [120] * 3, [
        40000] * 3), None),
    'in a function': (in_function, PIXELS),
    'a mean for each pixel': (lambda op: op('Sub', 'x', np.broadcast_to(
        f32(120), (1, 3, *SIZE)).copy()), PIXELS),
    'constants that nodes compute': (lambda op: op('Div', op('Sub', 'x', op(
        'Unsqueeze', op('Mul', MEAN.reshape(3) / 255, f32(255)), np.array([1, 2]))), op(
        'Sqrt', op('Cast', (STD ** 2).astype(np.float64), to=FLOAT))), PIXELS),
    'constants in the type of the image': (lambda op: normalized(
        op, 'x', op('CastLike', MEAN, 'x'), op('CastLike', STD, 'x')), PIXELS),
    'colours indexed by a list': (lambda op: normalized(op, op('Transpose', op('GatherND', op(
        'Transpose', 'x', perm=[1, 0, 2, 3]), np.array([[2], [1], [0]])), perm=[1, 0, 2, 3])),
        PIXELS),
    'colours turned round by a split': (lambda op: normalized(op, op('Concat', *reversed(
        op('Split', 'x', outs=3, axis=1)), axis=1)), PIXELS),
    'branches that both normalise': (lambda op: op('Add', normalized(op), normalized(op)), PIXELS),
    'branches of different ranges': (lambda op: op(
        'Add', normalized(op), normalized(op, mean=MEAN / 255, std=STD / 255)), None),
    'beside its maximum': (lambda op: op('Add', normalized(op), op('Mul', op(
        'ReduceMax', 'x', axes=[2, 3]), f32(0))), PIXELS),
    'from 0..1 to pixels': (lambda op: op('Mul', 'x', f32(255)), UNIT),
    'from 0..1 to pixels without their mean': (lambda op: op(
        'Sub', op('Mul', 'x', f32(255)), MEAN), UNIT),
    'nothing': (lambda op: 'x', None),
    'an offset that is no mean': (lambda op: op('Add', 'x', f32(0.1)), None),
    'a factor that is no range': (lambda op: op('Mul', 'x', f32(0.5)), None),
}


@pytest.mark.parametrize('name', RANGES)
def test_the_range_is_read_off_a_network_that_normalizes_itself(networks, halves, name):
    build, scale = RANGES[name]
    model = halves.network(lambda op: op.conv(2, build(op)), SCORES, domains=['mine'])
    spec, mask = halves.segment(networks, model, input={})
    origin = halves.origin_of(spec, 'input.scale')
    if scale is None:
        assert origin == 'assumed'
    else:
        assert (origin, spec.scale, spec.mean, spec.std) == ('graph', scale, (0,) * 3, (1,) * 3)
        halves.check(mask)
    assert halves.segment(networks, model, input={'scale': 2})[0].scale == 2


def looked_up(op, x='x', size=256, kind='Gather', **attributes):
    """Return the image as indices into a table from -1 to 1."""
    axis = attributes.get('axis', 0)
    table = np.linspace(-1, 1, size, dtype=f32).reshape([1] * axis + [-1])
    return op(kind, table, op('Cast', x, to=TensorProto.INT64), **attributes)


@pytest.mark.parametrize(('build', 'scale'), [
    (looked_up, PIXELS),
    (lambda op: op('Squeeze', looked_up(op, axis=1), np.array([0])), PIXELS),
    (lambda op: looked_up(op, op('Unsqueeze', 'x', np.array([4])), kind='GatherND'), PIXELS),
    (lambda op: looked_up(op, op('Mul', 'x', f32(255))), UNIT)])
def test_an_image_that_indexes_a_table_is_fed_as_indices(networks, halves, build, scale):
    model = halves.network(lambda op: op.conv(2, build(op)), SCORES)
    spec, mask = halves.segment(networks, model, input={})
    assert (spec.scale, halves.origin_of(spec, 'input.scale')) == (scale, 'graph')
    halves.check(mask)


@pytest.mark.parametrize('build', [
    lambda op: normalized(op, looked_up(op, size=300)),
    lambda op: normalized(op, looked_up(op, size=300), MEAN / 255, STD / 255)])
def test_the_normalisation_of_looked_up_values_is_not_that_of_the_image(networks, halves, build):
    model = halves.network(lambda op: op.conv(2, build(op)), SCORES)
    spec, _ = halves.segment(networks, model, input={})
    assert halves.origin_of(spec, 'input.scale') == 'assumed'


@pytest.mark.parametrize('build', [
    lambda op: op('Mul', op('Add', 'x', f32(1)), f32(0.5)),
    lambda op: normalized(op, op('Add', op('Mul', 'x', f32(127.5)), f32(127.5)))])
def test_a_network_that_brings_minus_1_to_1_to_pixels_is_fed_minus_1_to_1(networks, halves, build):
    model = halves.network(lambda op: op('Sub', op.conv(1, build(op)), f32(0.1)),
                           ([1, 1, *SIZE], FLOAT))
    spec, mask = halves.segment(networks, model, input={})
    assert (spec.scale, spec.mean, spec.std) == (2 / 255, (1,) * 3, (1,) * 3)
    assert halves.origin_of(spec, 'input.scale') == 'graph'
    halves.check(mask)


IMAGENET = {'scale': 1 / 255, 'mean': [0.485, 0.456, 0.406], 'std': [0.229, 0.224, 0.225]}
SIGNED = {'scale': 1 / 127.5, 'mean': [1.0] * 3}


def of_fraction(op):
    return normalized(op, mean=MEAN / 255, std=STD / 255)


def of_signed(op):
    return normalized(op, op('Mul', op('Add', 'x', f32(1)), f32(0.5)), MEAN / 255, STD / 255)


@pytest.mark.parametrize(('build', 'config', 'message'), [
    (normalized, IMAGENET, 'feed -2.12 to 2.64, but the network has built-in normalisation for '
                           '0 to 255'),
    (of_fraction, IMAGENET, 'feed -2.12 to 2.64, but the network has built-in normalisation for '
                            '0 to 1'),
    (of_fraction, SIGNED, 'feed -1 to 1, but the network has built-in normalisation for 0 to 1'),
    (of_signed, IMAGENET, 'feed -2.12 to 2.64, but the network has built-in normalisation for '
                          '-1 to 1'),
    (normalized, {'scale': 2.0}, 'feed 0 to 510, but the network has built-in normalisation for '
                                 '0 to 255')])
def test_a_double_normalisation_causes_a_warning(networks, halves, caplog, build, config,
                                                 message):
    model = halves.network(lambda op: op.conv(2, build(op)), SCORES)
    halves.segment(networks, model, input=config)
    assert message in caplog.text


@pytest.mark.parametrize(('build', 'config'), [
    (normalized, {'scale': 1.0}), (of_fraction, {'scale': 1 / 255}),
    (of_fraction, {'scale': 1 / 256}), (of_fraction, {'scale': 1.2 / 255, 'mean': [0.1] * 3}),
    (of_signed, SIGNED), (lambda op: op('Div', 'x', f32(255)), {
        'scale': 1.0, 'mean': [123.0, 117.0, 104.0]})])
def test_a_range_that_the_network_may_take_causes_no_warning(networks, halves, caplog, build,
                                                             config):
    model = halves.network(lambda op: op.conv(2, build(op)), SCORES)
    halves.segment(networks, model, input=config)
    assert 'built-in' not in caplog.text


def test_pixels_over_255_are_fed_as_pixels(networks, halves):
    model = halves.network(lambda op: op('Sub', op.conv(1, op('Div', 'x', f32(255))), f32(1.5)),
                           ([1, 1, *SIZE], FLOAT))
    spec, mask = halves.segment(networks, model, input={})
    assert (spec.scale, halves.origin_of(spec, 'input.scale')) == (1, 'graph')
    halves.check(mask)


def pixels_of(op, x='x'):
    return op('Div', op('Sub', op('Cast', x, to=FLOAT), f32(127.5)), f32(127.5))


@pytest.mark.parametrize('dtype', ['UINT8', 'INT16', 'UINT16', 'INT32', 'UINT32', 'INT64'])
def test_integers_of_any_type_are_fed_pixels(networks, halves, dtype):
    dtype = TensorProto.DataType.Value(dtype)
    model = halves.network(lambda op: op.conv(2, pixels_of(op)), SCORES, fed=(IMAGE, dtype))
    spec, mask = halves.segment(networks, model, input={})
    assert (spec.scale, spec.mean) == (1, (0,) * 3)
    halves.check(mask)


@pytest.mark.parametrize(('step', 'zero'), [
    (1 / 32767, np.int16(0)), (1 / 65535, np.uint16(0)), (1 / 127.5, np.int8(0)),
    (0.0187, np.int8(-14))])
def test_a_quantized_input_is_known_behind_a_transpose(networks, halves, step, zero):
    dtype = helper.np_dtype_to_tensor_dtype(zero.dtype)
    low = 1.5 if zero.dtype == np.uint16 else 0
    model = halves.network(lambda op: op('Sub', op.conv(1, op('DequantizeLinear', first(op), f32(
        step), zero)), f32(low)), ([1, 1, *SIZE], FLOAT), fed=(LAST, dtype), opset=21)
    spec, mask = halves.segment(networks, model, input={})
    assert halves.origin_of(spec, 'input.scale') == ('assumed' if step == 0.0187 else 'graph')
    halves.check(mask)


@pytest.mark.parametrize(('build', 'shape'), [
    (lambda op: op('Unsqueeze', 'x', np.array([0])), [3, *SIZE]),
    (lambda op: op('Unsqueeze', op('Transpose', 'x', perm=[2, 0, 1]), np.array([0])), [*SIZE, 3]),
    (lambda op: op('Unsqueeze', op('Transpose', 'x', perm=[2, 0, 1]), np.array([0])),
     [None, None, 3])])
def test_one_image_needs_no_batch_axis(networks, halves, build, shape):
    def whole(op):
        return op('Squeeze', op.conv(2, build(op)), np.array([0]))

    model = halves.network(whole, ([2, *SIZE], FLOAT), fed=(shape, FLOAT))
    spec, mask = halves.segment(networks, model, input=halves.SIGNED | {'size': list(SIZE)})
    assert spec.input_layout == ('nchw' if shape[0] == 3 else 'nhwc')
    halves.check(mask)


@pytest.mark.parametrize('build', [
    lambda op: op('Softmax', op.conv(2), axis=1), lambda op: op('Mul', op.conv(2), np.float64(2)),
    lambda op: op('Clip', op.conv(2), np.float64(-1), np.float64(1))])
def test_float64_is_run_in_float32(networks, halves, caplog, build):
    model = halves.network(build, ([1, 2, *SIZE], TensorProto.DOUBLE), dtype=np.float64,
                           fed=(IMAGE, TensorProto.DOUBLE))
    spec, mask = halves.segment(networks, model)
    assert spec.scores.dtype == FLOAT
    assert 'net.onnx: computes in float64' in caplog.text
    halves.check(mask)


def test_bfloat16_ends_are_float32(networks, halves):
    def build(op):
        return op('Cast', op('Softmax', op.conv(2, op('Cast', 'x', to=FLOAT)), axis=1),
                  to=TensorProto.BFLOAT16)

    model = halves.network(build, ([None, 2, *SIZE], TensorProto.BFLOAT16),
                           fed=([None, 3, *SIZE], TensorProto.BFLOAT16))
    spec, mask = halves.segment(networks, model)
    assert (spec.kind, spec.scores.dtype) == ('probabilities', FLOAT)
    halves.check(mask)
    check_independence(replace(spec, batch=2))


def test_shapes_of_another_input_size_are_inferred_anew(networks, halves):
    def build(op):
        return op('Softmax', op('Relu', op.conv(2)), axis=1)

    model = onnx.shape_inference.infer_shapes(halves.network(
        build, ([1, 2, 64, 64], FLOAT), fed=([1, 3, 64, 64], FLOAT)))
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f'axis {axis}'
    spec, mask = halves.segment(networks, model, input=halves.SIGNED | {'size': list(SIZE)})
    assert {value_shape(value)[2:] for value in spec.network.model.graph.value_info} == {SIZE}
    halves.check(mask)


def test_the_convolution_is_found_despite_shape_operators(networks, halves):
    def build(op):
        for axis in range(60):
            op('Gather', op('Shape', 'x'), np.int64(axis % 4))
        return op.conv(2, op('Pad', op('Mul', 'x', f32(1)), np.zeros(8, np.int64)))

    for layout, wanted in (('nchw', build), ('nhwc', lambda op: op.conv(2, first(op)))):
        model = halves.network(wanted, ([None, 2, None, None], FLOAT), fed=([None] * 4, FLOAT))
        spec, mask = halves.segment(networks, model,
                                    input=halves.SIGNED | {'size': list(SIZE)})
        assert (spec.input_layout, halves.origin_of(spec, 'input.layout')) == (layout, 'graph')
        halves.check(mask)


def test_the_convolution_is_found_in_a_local_function(networks, halves):
    def build(op):
        op.functions.append(helper.make_function(
            'mine', 'head', ['a', 'w'], ['c'], [helper.make_node('Conv', ['a', 'w'], ['c'])],
            [helper.make_opsetid('', 17)]))
        return op('head', 'x', f32([[-1] * 3, [1] * 3])[:, :, None, None], domain='mine')

    model = halves.network(build, ([None, 2, None, None], FLOAT), fed=([None] * 4, FLOAT),
                           domains=['mine'])
    spec, mask = halves.segment(networks, model, input=halves.SIGNED | {'size': list(SIZE)})
    assert spec.input_layout == 'nchw'
    halves.check(mask)


def test_an_output_may_have_no_shape_in_the_file(networks, halves, tmp_path):
    model = halves.network(lambda op: op.conv(2), SCORES)
    model.graph.output[0].type.tensor_type.ClearField('shape')
    onnx.save(model, tmp_path / 'net.onnx')
    assert read_network(tmp_path / 'net.onnx').outputs[0].shape == (1, 2, *SIZE)


def test_an_input_of_unknown_rank_is_refused_as_that(networks, halves, tmp_path):
    model = halves.network(lambda op: op.conv(2), SCORES)
    model.graph.input[0].type.tensor_type.ClearField('shape')
    onnx.save(model, tmp_path / 'net.onnx')
    with pytest.raises(ModelError, match="input 'x' float32 of unknown rank is no batch"):
        networks.spec_of(read_network(tmp_path / 'net.onnx').model)
