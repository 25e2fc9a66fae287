# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The kind of output values in the forms that exporters and quantizers write."""

from functools import partial

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from trt_segmentation.errors import ConfigError, ModelError
from trt_segmentation.graph.analysis.measurement import measurement_of
from trt_segmentation.graph.pipeline.prepare import prepare

FLOAT, HALF, BOOL = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BOOL
UINT8, INT8, INT32, INT64 = (TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32,
                             TensorProto.INT64)
SIZE = 8, 12
ONE, TWO, ROW = [1, 1, *SIZE], [1, 2, *SIZE], [1, *SIZE]
f32 = np.float32
MIDDLE = f32(0.5)
CHANNELS = np.array([1])


def p(op, classes=1):
    """Probability of white, or of each class."""
    return op('Sigmoid', op.conv()) if classes == 1 else op('Softmax', op.conv(classes), axis=1)


def white(op):
    """Of 2 classes, whether it is white: bool."""
    return op('Greater', op.conv(), f32(0))


def best(op, **more):
    return op('ArgMax', op.conv(2), axis=1, **more)


def hidden(op, steepness=3):
    """A sigmoid that no operator names."""
    e = op('Exp', op('Mul', op.conv(), f32(steepness)))
    return op('Div', e, op('Add', e, f32(1)))


def summed(op, x, **more):
    return op('ReduceSum', x, CHANNELS, **more)


def bytes_of(op, x):
    return op('Cast', op('Mul', x, f32(255)), to=UINT8)


def negated(op, step):
    """Minus the logarithm of probabilities, which takes the place of '' in a step."""
    log, (operator, *operands) = op('LogSoftmax', op.conv(2), axis=1), step
    return op(operator, *(log if isinstance(each, str) else each for each in operands))


GRAPH = {
    # Probabilities
    'resized and transposed': (lambda op: op('Transpose', op('Resize', p(op), '', f32(
        [1, 1, 2, 2])), perm=[0, 2, 3, 1]), [1, 16, 24, 1], FLOAT, 'sigmoid'),
    'grown by a fixed deconvolution': (lambda op: op('ConvTranspose', p(op), np.full(
        (1, 1, 2, 2), f32(1)), strides=[2, 2]), [1, 1, 16, 24], FLOAT, 'sigmoid'),
    'from -0.5': (lambda op: op('Sub', p(op), MIDDLE), ONE, FLOAT, 'sigmoid'),
    'from -1 to 1': (lambda op: op('Sub', op('Mul', p(op), f32(2)), f32(1)), ONE, FLOAT,
                     'sigmoid'),
    'softsign from 0': (lambda op: op('Add', op('Mul', op('Softsign', op.conv()), MIDDLE),
                                      MIDDLE), ONE, FLOAT, 'sigmoid'),
    'error function from 0': (lambda op: op('Mul', op('Add', op('Erf', op.conv()), f32(1)),
                                            MIDDLE), ONE, FLOAT, 'sigmoid'),
    'per cent': (lambda op: op('Cast', op('Mul', p(op), f32(100)), to=INT32), ONE, INT32,
                 'sigmoid'),
    'bytes over 255': (lambda op: op('Div', op('Cast', bytes_of(op, p(op)), to=FLOAT), f32(255)),
                       ONE, FLOAT, 'sigmoid'),
    'mean of sigmoids': (lambda op: op('Mean', p(op), p(op)), ONE, FLOAT, 'sigmoid'),
    'highest sigmoid': (lambda op: op('ReduceMax', op('Concat', p(op), p(op), axis=1), axes=[1]),
                        ONE, FLOAT, 'sigmoid'),
    'one of split': (lambda op: op('Split', p(op, 2), np.array([1, 1]), axis=1, outs=2)[1], ONE,
                     FLOAT, 'probabilities'),
    'a convolution that keeps them': (lambda op: op('Conv', p(op, 2), f32(
        np.ones((2, 1, 1, 1))), group=2), TWO, FLOAT, 'probabilities'),
    'one of a softmax without axis': (lambda op: op('Gather', p(op, 2), np.int64(1), axis=1), ROW,
                                      FLOAT, 'probabilities'),
    'one hot': (lambda op: op('OneHot', best(op, keepdims=0), np.array([2]), f32([0, 1]), axis=1),
                TWO, FLOAT, 'probabilities'),
    'one hot integers': (lambda op: op('OneHot', best(op, keepdims=0), np.array([2]),
                                       np.array([0, 1]), axis=1), TWO, INT64, 'probabilities'),
    'hard maximum': (lambda op: op('Hardmax', op.conv(2), axis=1), TWO, FLOAT, 'probabilities'),
    'threshold of each class': (lambda op: op('Greater', op('Sigmoid', op.conv(2)), MIDDLE), TWO,
                                BOOL, 'sigmoid'),
    'the same as 255': (lambda op: op('Where', op('Greater', op.conv(2), f32(0)), f32(255),
                                      f32(0)), TWO, FLOAT, 'sigmoid'),
    'black or white': (lambda op: op('Concat', op('Not', white(op)), white(op), axis=1), TWO,
                       BOOL, 'sigmoid'),
    # Ids
    'sign': (lambda op: op('Sign', op.conv()), ONE, FLOAT, 'ids'),
    'rounded up': (lambda op: op('Ceil', op('Sub', p(op), MIDDLE)), ONE, FLOAT, 'ids'),
    'cut after 0.5': (lambda op: op('Cast', op('Add', p(op), MIDDLE), to=INT32), ONE, INT32,
                      'ids'),
    'not less': (lambda op: op('Not', op('LessOrEqual', op.conv(), f32(0))), ONE, BOOL, 'ids'),
    'equal': (lambda op: op('Equal', best(op), np.int64(1)), ONE, BOOL, 'ids'),
    'nearest prototype': (lambda op: op('ArgMin', op('Neg', op.conv(2)), axis=1, keepdims=0), ROW,
                          INT64, 'ids'),
    'best of one': (lambda op: op('TopK', op.conv(2), CHANNELS, axis=1, outs=2)[1], ONE, INT64,
                    'ids'),
    'ids times 255': (lambda op: op('Cast', op('Mul', best(op), np.int64(255)), to=UINT8), ONE,
                      UINT8, 'ids'),
    'ids within bounds': (lambda op: op('Clip', op('Cast', best(op), to=INT32), np.int32(0),
                                        np.int32(18)), ONE, INT32, 'ids'),
    'unsure ones left out': (lambda op: op('Where', op('Less', op('ReduceMax', p(op, 2), axes=[1],
                                                                  keepdims=0), f32(0.1)),
                                           np.int64(255), best(op, keepdims=0)), ROW, INT64,
                             'ids'),
    # Logits
    'layers of matrices': (lambda op: op('Transpose', op('MatMul', op(
        'Transpose', 'x', perm=[0, 2, 3, 1]), f32([[-1, 1]] * 3)), perm=[0, 3, 1, 2]), TWO, FLOAT,
        'logits'),
    'features of sigmoids': (lambda op: op('Conv', op('Sigmoid', op.conv(2)), f32(
        [[[[1]], [[-1]]], [[[-1]], [[1]]]])), TWO, FLOAT, 'logits'),
    'cut off at 0': (lambda op: op('Relu', op.conv(2)), TWO, FLOAT, 'logits'),
}
MEASURED = {
    'a class times 1': (lambda op: summed(op, op('Mul', p(op, 2), f32([[[[0]], [[1]]]]))), ONE,
                        FLOAT, 'sigmoid', '0.'),
    'a product with a column': (lambda op: op('MatMul', op('Transpose', p(op, 2),
                                                           perm=[0, 2, 3, 1]), f32([[0], [1]])),
                                [1, *SIZE, 1], FLOAT, 'sigmoid', '0.'),
    'a mixture of maps': (lambda op: op('Conv', op('Concat', p(op), p(op), axis=1),
                                        f32([[[[4]], [[4]]]]), f32([-4])), ONE, FLOAT, 'logits',
                          '-'),
    'some classes': (lambda op: summed(op, op('Slice', p(op, 4), CHANNELS, np.array([4]),
                                              CHANNELS)), ONE, FLOAT, 'sigmoid', '0.'),
    'bytes': (lambda op: bytes_of(op, hidden(op)), ONE, UINT8, 'sigmoid', 'integers '),
    'bytes as float': (lambda op: op('Mul', hidden(op), f32(255)), ONE, FLOAT, 'sigmoid', '0.'),
    'sign after sigmoid': (lambda op: op('Sign', op('Sub', hidden(op), MIDDLE)), ONE, FLOAT,
                           'ids', 'integers -1 to 1'),
    'a table of ids': (lambda op: op('Gather', np.array([1, 0]), op('ArgMin', op.conv(2), axis=1,
                                                                    keepdims=0)), ROW, INT64,
                       'ids', 'integers 0 to 1'),
    'a division of ids': (lambda op: op('Div', op('Mul', best(op), np.int64(3)), np.int64(2)), ONE,
                          INT64, 'ids', 'integers 0 to 1'),
    'all of three classes but one': (lambda op: op('Slice', p(op, 3), np.array([0]), np.array(
        [2]), CHANNELS), TWO, FLOAT, 'probabilities', '0.'),
    'unit vectors': (lambda op: op('LpNormalization', op.conv(2), axis=1), TWO, FLOAT, 'logits',
                     '-0.7071 to 0.7071'),
}
ASSUMED = {
    'one value': (lambda op: op('Add', op('Mul', op.conv(), f32(0)), f32(0.3)), ONE, FLOAT,
                  'logits', 'only one value'),
    'no number': (lambda op: op('Div', op('Mul', op.conv(), f32(0)), f32(0)), ONE, FLOAT,
                  'logits', 'no finite value'),
    'little': (lambda op: op('Mul', hidden(op), f32(0.02)), ONE, FLOAT, 'sigmoid',
               'all on one side of 0.5'),
    'no logits': (lambda op: op('Sub', op('Exp', op.conv()), f32(0.15)), ONE, FLOAT, 'logits',
                  'almost all on one side of 0'),
    'some bytes': (lambda op: bytes_of(op, hidden(op, 1)), ONE, UINT8, 'ids',
                   'too many different values for classes'),
    'integers of classes': (lambda op: bytes_of(op, op('Div', op('Exp', op.conv(2)), summed(
        op, op('Exp', op.conv(2))))), TWO, UINT8, 'logits', 'integers in several channels'),
}


@pytest.mark.parametrize('name', GRAPH)
def test_kinds_from_the_graph(networks, halves, name):
    build, shape, dtype, kind = GRAPH[name]
    spec, mask = halves.segment(networks, halves.network(build, (shape, dtype)))
    assert (spec.kind, halves.origin_of(spec, 'output.kind')) == (kind, 'graph')
    halves.check(mask)


@pytest.mark.parametrize('name', MEASURED)
def test_kinds_from_measured_values(networks, halves, name):
    build, shape, dtype, kind, message = MEASURED[name]
    model = halves.network(build, (shape, dtype))
    spec, mask = halves.segment(networks, model)
    origin = halves.origin_of(spec, 'output.kind')
    assert spec.kind == kind
    assert origin.startswith(f'measured ({message}')
    halves.check(mask)
    halves.check(halves.segment(networks, model, output={'kind': kind})[1])  # as it is written


@pytest.mark.parametrize('name', ASSUMED)
def test_what_remains_ambiguous_is_assumed_with_a_warning(networks, halves, caplog, name):
    build, shape, dtype, kind, message = ASSUMED[name]
    spec, _ = halves.segment(networks, halves.network(build, (shape, dtype)))
    assert (spec.kind, halves.origin_of(spec, 'output.kind')) == (kind, 'assumed')
    assert message in caplog.text
    assert 'Write output.kind into the model config' in caplog.text


@pytest.mark.parametrize(('build', 'shape', 'dtype', 'message'), [
    (lambda op: op('ReduceMax', p(op, 3), axes=[1]), ONE, FLOAT, 'a confidence'),
    (lambda op: op('TopK', p(op, 3), CHANNELS, axis=1, outs=2)[0], ONE, FLOAT, 'a confidence'),
    (lambda op: op('ReduceMax', op.conv(3), axes=[1]), ONE, FLOAT, 'a confidence'),
    (lambda op: op('ReduceMax', op('LogSoftmax', op.conv(3), axis=1), axes=[-3]), ONE, FLOAT,
     'a confidence'),
    (lambda op: op('GatherElements', p(op, 2), best(op), axis=1), ONE, FLOAT, 'a confidence'),
    (lambda op: op('Gather', np.uint8([[9, 80, 3], [128, 64, 128]]), best(op, keepdims=0)),
     [1, *SIZE, 3], UINT8, 'an image of class colours'),
    (lambda op: op('Transpose', op('Gather', f32([[9, 80, 3], [128, 64, 128]]), best(
        op, keepdims=0)), perm=[0, 3, 1, 2]), [1, 3, *SIZE], FLOAT, 'an image of class colours'),
    (lambda op: op('Gather', f32([[0.1, 0.5, 0], [0.5, 0.25, 0.5]]), best(op, keepdims=0)),
     [1, *SIZE, 3], FLOAT, 'an image of class colours'),
    (lambda op: op('LpNormalization', op.conv(3), axis=1), [1, 3, *SIZE], FLOAT, 'normals'),
    (lambda op: op('Transpose', best(op, keepdims=0), perm=[0, 2, 1]), [1, *SIZE[::-1]], INT64,
     'with the aspect ratio of the input'),
    (lambda op: op('Softmax', op.conv(2), axis=3), TWO, FLOAT, 'a Softmax over axis 3, but its '
     'classes are along axis 1'),
    (lambda op: op('LogSoftmax', op.conv(2)), TWO, FLOAT, 'a LogSoftmax over axis 3'),
    (lambda op: op('Softmax', op('Reshape', op.conv(2), np.array([1, 2, -1])), axis=-1),
     [1, 2, SIZE[0] * SIZE[1]], FLOAT, 'over axis 2, but its classes are along axis 1'),
    (lambda op: op('Reshape', op('Softmax', op('Reshape', op.conv(2), np.array([1, 2, -1]))),
                   np.array(TWO)), TWO, FLOAT, 'Softmax, but was measured: .* over another axis'),
    (lambda op: op('Neg', op('LogSoftmax', op.conv(2), axis=1)), TWO, FLOAT,
     'is lowest for the most likely class'),
    *[(partial(negated, step=step), TWO, FLOAT, 'is lowest for the most likely class')
      for step in (('Sub', f32(0), ''), ('Mul', '', f32(-1)), ('Mul', f32(-0.5), ''),
                   ('Div', '', f32(-1)))],
    (lambda op: op('Neg', op('Log', op('Clip', p(op, 2), f32(1e-7), f32(1)))), TWO, FLOAT,
     'is lowest for the most likely class'),
    (lambda op: op('Neg', op('Log', op('Sigmoid', op.conv(2)))), TWO, FLOAT,
     'is lowest for the most likely class'),
    (lambda op: op('Sub', f32(1), p(op, 3)), [1, 3, *SIZE], FLOAT,
     'is lowest for the most likely class'),
    (lambda op: op('Concat', op('Cast', best(op), to=FLOAT), op('ReduceMax', p(op, 2), axes=[1]),
                   axis=1), TWO, FLOAT, 'joins class ids and other values'),
    (lambda op: op('Transpose', op('Concat', op('Sigmoid', op.conv()), op(
        'Cast', best(op), to=FLOAT), axis=1), perm=[0, 2, 3, 1]), [1, *SIZE, 2], FLOAT,
     'joins class ids and other values'),
    (lambda op: op('Softmax', op.conv(), axis=1), ONE, FLOAT, 'a Softmax over one class'),
    (lambda op: op('Relu', op.conv()), ONE, FLOAT, 'a depth or a distance'),
    (lambda op: op('Mul', *[op.conv()] * 2), ONE, FLOAT, 'a depth or a distance')])
def test_an_output_without_classes_is_refused(networks, halves, build, shape, dtype, message):
    with pytest.raises((ConfigError, ModelError), match=message):
        halves.segment(networks, halves.network(build, (shape, dtype)))


CONFIDENT = {
    'softmax': (lambda op: op('Softmax', soft(op), axis=1), None),
    'last axis': (lambda op: op('Softmax', op('Transpose', soft(op), perm=[0, 2, 3, 1])), None),
    'logarithms': (lambda op: op('LogSoftmax', soft(op), axis=1), None),
    'logarithms as configured': (lambda op: op('LogSoftmax', soft(op), axis=1), 'probabilities'),
    'logarithms behind a subtraction': (lambda op: op('Sub', soft(op), op(
        'ReduceLogSumExp', soft(op), axes=[1])), None),
    'quantized logarithms': (lambda op: quantized(op, op('LogSoftmax', soft(op), axis=1), 0.01,
                                                  255), None),
    'logarithms of sigmoids': (lambda op: op('Log', op('Sigmoid', op('Mul', soft(op), f32(2)))),
                               None),
    'a crop': (lambda op: op('Slice', op('Pad', op('Softmax', soft(op), axis=1), np.array(
        [0, 0, 2, 2, 0, 0, 2, 2])), np.array([2, 2]), np.array([2 + SIZE[0], 2 + SIZE[1]]),
        np.array([2, 3])), None),
}


def soft(op):
    """Two logits, of which a softmax is about 0.82 and 0.18."""
    return op('Mul', op.conv(2), f32(0.25))


def quantized(op, x, step, zero):
    found = op('QuantizeLinear', x, f32(step), np.uint8(zero))
    return op('DequantizeLinear', found, f32(step), np.uint8(zero))


@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear'])
@pytest.mark.parametrize('name', CONFIDENT)
def test_the_confidence_is_the_probability_of_the_class(networks, halves, name, interpolation):
    build, kind = CONFIDENT[name]
    shape = [1, *SIZE, 2] if name == 'last axis' else TWO
    spec, _ = halves.segment(networks, halves.network(build, (shape, FLOAT)),
                             output={'kind': kind})
    prepared = prepare(spec, ('mask', 'confidence'), mask_interpolation=interpolation)
    found = networks.Runner(prepared)(halves.image())
    halves.check(found['mask'])
    wanted = networks.as_byte(networks.sigmoid(1.5))
    assert abs(found['confidence'].astype(int) - wanted).max() <= 2


def test_a_background_made_of_the_rest_is_a_class(networks, halves):
    def build(op):  # no first class, white, and none
        each = op('Sigmoid', op.conv(3))
        part = op('Slice', each, CHANNELS, np.array([3]), CHANNELS)
        rest = op('Sub', f32(1), op('ReduceMax', part, axes=[1]))
        return op('Concat', rest, part, axis=1)

    spec, mask = halves.segment(networks, halves.network(build, ([1, 3, *SIZE], FLOAT)))
    assert spec.kind == 'probabilities'
    halves.check(mask)


def test_a_pixel_of_a_class_that_was_left_out_has_no_class(networks, halves):
    def build(op):  # black is the background, the first of three classes
        likely = op('Softmax', op('Mul', op.conv(3), f32(3)), axis=1)
        return op('Slice', likely, CHANNELS, np.array([3]), CHANNELS)

    spec, mask = halves.segment(networks, halves.network(build, (TWO, FLOAT)))
    assert spec.kind == 'sigmoid'
    assert (mask[0, 0], mask[0, -1]) == (255, 0)


def test_a_class_that_a_threshold_is_written_as_stays_that_class(networks, halves):
    def build(op):
        return op('Where', op('Equal', best(op), np.int64(1)), np.int64(15), np.int64(0))

    spec, mask = halves.segment(networks, halves.network(build, (ONE, INT64)))
    assert (spec.kind, mask[0, 0], mask[0, -1]) == ('ids', 0, 15)


def test_a_long_way_back_ends(networks, halves):
    def build(op):
        x = 'x'
        for _ in range(300):
            x = op('Clip', op('Conv', x, np.eye(3, dtype=f32)[:, :, None, None]), f32(-2), f32(2))
        return op.conv(2, x)

    halves.check(halves.segment(networks, halves.network(build, (TWO, FLOAT)))[1])


def test_sums_of_bytes_are_sums_of_one_whatever_the_number_of_classes():
    scores = np.random.default_rng(0).dirichlet(np.ones(40), (1, 4, 5)).transpose(0, 3, 1, 2)
    rounded = np.floor(scores * 255 + 0.5) / 255
    assert abs(rounded.sum(1) - 1).max() > 0.01
    assert measurement_of(rounded, 1).sums_to_one
    assert not measurement_of(rounded * 1.2, 1).sums_to_one


# As ONNX Runtime's quantizers and optimizer write them ------------------------------------------


class Calibration:
    """Black, grey and white."""

    def __init__(self):
        self._values = [-1, 0, 1]

    def get_next(self):
        return {'x': np.full((1, 3, *SIZE), f32(self._values.pop()))} if self._values else None


ENDS = {
    'sigmoid': (p, ONE),
    'softmax': (lambda op: p(op, 2), TWO), 'logit': (lambda op: op.conv(), ONE),
    'one of a softmax': (lambda op: op('Gather', p(op, 2), CHANNELS, axis=1), ONE),
    'both of a sigmoid': (lambda op: (lambda q: op('Concat', op('Sub', f32(1), q), q, axis=1))(
        p(op)), TWO),
    'pooled': (lambda op: op.pooled(2, p(op)), [1, 1, 4, 6]),
    'concatenated': (lambda op: op('Softmax', op('Concat', op('Neg', op.conv()), op.conv(),
                                                 axis=1), axis=1), TWO),
    'mixed': (lambda op: op('Conv', op('Concat', p(op), p(op), axis=1), f32([[[[0.5]], [[0.5]]]])),
              ONE),
    'ids': (lambda op: op('Cast', best(op), to=FLOAT), ONE)}


@pytest.mark.parametrize('end', ENDS)
@pytest.mark.parametrize(('form', 'activation'), [('QDQ', 'QInt8'), ('QOperator', 'QUInt8')])
def test_static_quantization_changes_no_meaning(networks, halves, tmp_path, end, form, activation):
    quantization = pytest.importorskip('onnxruntime.quantization')
    build, shape = ENDS[end]
    onnx.save(halves.network(build, (shape, FLOAT)), tmp_path / 'float.onnx')
    quantization.quantize_static(
        tmp_path / 'float.onnx', tmp_path / 'net.onnx', Calibration(),
        quant_format=quantization.QuantFormat[form],
        activation_type=quantization.QuantType[activation],
        weight_type=quantization.QuantType.QInt8)
    halves.check(halves.segment(networks, onnx.load(tmp_path / 'net.onnx'))[1])
