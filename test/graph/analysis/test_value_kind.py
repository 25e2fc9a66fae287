# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The kind of an output, traced through the operators after the one that determines it."""

import itertools

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from trt_segmentation.errors import ConfigError, ModelError
from trt_segmentation.graph.analysis.kind_tracing import read_meaning
from trt_segmentation.graph.analysis.measurement import MeasurementSetup, sample_image
from trt_segmentation.graph.onnx_tools.network import describe_network
from trt_segmentation.graph.pipeline.prepare import prepare
from trt_segmentation.graph.reading.resolve import complete_config, resolve
from trt_segmentation.model_config import ModelConfig

SIZE = 8, 12
SIGNED = {'scale': 1 / 127.5, 'mean': [1.0] * 3, 'std': [1.0] * 3}
"""The pixel as -1..1, so that a sum of channels is a logit."""

FLOAT, INT8, UINT8 = TensorProto.FLOAT, TensorProto.INT8, TensorProto.UINT8
TWO = [[-1.0] * 3, [1.0] * 3]
"""Weights of two classes, the second one bright."""


def node(kind, *inputs, output, **attributes):
    return helper.make_node(kind, inputs, [output], **attributes)


def network(networks, nodes, shape, *, dtype=FLOAT, weights=TWO, constants=(), opsets=(), **more):
    """Return a 1x1 convolution of ``pixels`` to ``s``, followed by nodes that give ``y``."""
    constants = {'one': np.array([1]), 'w': np.float32(weights)[:, :, None, None],
                 'scale': np.float32(1 / 255), 'zero': np.uint8(0), 'f1': np.float32(1),
                 'f255': np.float32(255), 'f254': np.float32(254),
                 'half': np.float32(0.5), 'f0': np.float32(0), 'low': np.int8(-128),
                 **dict(constants)}
    model = networks.onnx_model(
        [node('Conv', 'pixels', 'w', output='s', kernel_shape=[1, 1]), *nodes],
        [networks.tensor('pixels', [1, 3, *SIZE])], [networks.tensor('y', shape, dtype)],
        constants, **more)
    model.opset_import.extend(opsets)
    return model


@pytest.fixture(scope='module')
def mask_of(networks):
    """Runs a model on an image whose left half is black and right half white."""
    def run(model, measure=False, **sections):
        sections.setdefault('input', SIGNED)
        spec = resolve(describe_network(model, 'net.onnx'), networks.config_of(**sections),
                       measuring=MeasurementSetup() if measure else None)
        image = np.zeros((*SIZE, 3), np.uint8)
        image[:, SIZE[1] // 2:] = 255
        return spec, networks.Runner(prepare(spec, ('mask',)))(image)['mask']

    return run


def check(mask):
    wanted = np.zeros(SIZE, np.uint8)
    wanted[:, SIZE[1] // 2:] = 1
    np.testing.assert_array_equal(mask, wanted)


ONE, IDS = [[1.0] * 3], [1, 1, *SIZE]
SIGMOID, SOFTMAX = node('Sigmoid', 's', output='p'), node('Softmax', 's', output='p', axis=1)
ARGMAX = node('ArgMax', 's', output='a', axis=1)
PICK = node('Gather', 'p', 'one', output='q', axis=1)
KINDS = {
    'quantized sigmoid': (ONE, [SIGMOID, node('QuantizeLinear', 'p', 'scale', 'zero', output='q'),
                                node('DequantizeLinear', 'q', 'scale', 'zero', output='y')],
                          IDS, FLOAT, 'sigmoid'),
    'sigmoid as uint8': (ONE, [SIGMOID, node('QuantizeLinear', 'p', 'scale', 'zero', output='y')],
                         IDS, UINT8, 'sigmoid'),
    'sigmoid as int8': (ONE, [SIGMOID, node('QuantizeLinear', 'p', 'scale', 'low', output='y')],
                        IDS, INT8, 'sigmoid'),
    'sigmoid times 255': (ONE, [SIGMOID, node('Mul', 'p', 'f255', output='q'),
                                node('Cast', 'q', output='y', to=UINT8)], IDS, UINT8, 'sigmoid'),
    'sigmoid times a computed 255': (ONE, [
        SIGMOID, node('Add', 'f254', 'f1', output='t'), node('Mul', 'p', 't', output='q'),
        node('Cast', 'q', output='y', to=UINT8)], IDS, UINT8, 'sigmoid'),
    'clipped sigmoid': (ONE, [SIGMOID, node('Clip', 'p', 'f0', 'f1', output='y')], IDS, FLOAT,
                        'sigmoid'),
    'logits as int8': (TWO, [node('QuantizeLinear', 's', 'scale', 'low', output='y')],
                       [1, 2, *SIZE], INT8, 'logits'),
    'one class of a softmax': (TWO, [SOFTMAX, PICK, node('Identity', 'q', output='y')], IDS,
                               FLOAT, 'probabilities'),
    'one class of a log softmax': (TWO, [node('LogSoftmax', 's', output='p', axis=1), PICK,
                                         node('Identity', 'q', output='y')], IDS, FLOAT,
                                   'probabilities'),
    'both classes of a sigmoid': (ONE, [SIGMOID, node('Sub', 'f1', 'p', output='q'),
                                        node('Concat', 'q', 'p', output='y', axis=1)],
                                  [1, 2, *SIZE], FLOAT, 'probabilities'),
    'a threshold': (ONE, [node('Greater', 's', 'f0', output='y')], IDS, TensorProto.BOOL, 'ids'),
    'a threshold as float': (ONE, [SIGMOID, node('Greater', 'p', 'half', output='q'),
                                   node('Cast', 'q', output='y', to=FLOAT)], IDS, FLOAT, 'ids'),
    'a threshold as 0 and 255': (ONE, [node('Greater', 's', 'f0', output='q'),
                                       node('Where', 'q', 'f255', 'f0', output='r'),
                                       node('Cast', 'r', output='y', to=UINT8)],
                                 IDS, UINT8, 'ids'),
    'a rounded sigmoid': (ONE, [SIGMOID, node('Round', 'p', output='y')], IDS, FLOAT, 'ids'),
    'a hyperbolic tangent': (ONE, [node('Tanh', 's', output='y')], IDS, FLOAT, 'sigmoid'),
    'the same from 0 to 1': (ONE, [node('Tanh', 's', output='t'),
                                   node('Add', 't', 'f1', output='u'),
                                   node('Mul', 'u', 'half', output='y')], IDS, FLOAT, 'sigmoid'),
    **{f'ids as type {dtype}': (TWO, [ARGMAX, node('Cast', 'a', output='y', to=dtype)], IDS,
                                dtype, 'ids')
       for dtype in (FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, INT8, TensorProto.INT16,
                     TensorProto.UINT16, TensorProto.BOOL)},
}


@pytest.mark.parametrize('kind', KINDS)
def test_the_meaning_is_traced_to_its_operator(networks, mask_of, kind):
    weights, nodes, shape, dtype, wanted = KINDS[kind]
    spec, mask = mask_of(network(networks, nodes, shape, dtype=dtype, weights=weights))
    assert spec.kind == wanted
    assert {entry.key: entry.origin for entry in spec.provenance}['output.kind'] == 'graph'
    check(mask)
    again = resolve(spec.network, complete_config(spec))
    assert (again.kind, again.scores, again.output_name) == (spec.kind, spec.scores, 'y')


def test_the_trace_enters_local_functions(networks, mask_of):
    function = helper.make_function(
        'mine', 'Activated', ['x'], ['z'],
        [node('Sigmoid', 'x', output='p'), node('Identity', 'p', output='z')],
        [helper.make_opsetid('', 17)])
    model = network(networks, [helper.make_node('Activated', ['s'], ['q'], domain='mine'),
                               node('Identity', 'q', output='y')], IDS, weights=ONE,
                    opsets=[helper.make_opsetid('mine', 1)], ir_version=8)
    model.functions.append(function)
    spec, mask = mask_of(model)
    assert spec.kind == 'sigmoid'
    check(mask)


def test_a_long_sum_that_is_no_constant_ends(networks):
    names = ['s', *(f'sum{index}' for index in range(2000))]
    sums = [node('Add', name, name, output=after) for name, after in itertools.pairwise(names)]
    model = network(networks, [*sums, node('Mul', names[-1], names[-2], output='y')], IDS,
                    weights=ONE)
    assert read_meaning(model, 'y').kind == ''


@pytest.mark.parametrize('given', [{'along': 1}, {}])
def test_nodes_of_a_function_have_the_attributes_of_the_call(networks, mask_of, given):
    likely = helper.make_node('Softmax', ['x'], ['p'])
    likely.attribute.append(onnx.AttributeProto(name='axis', ref_attr_name='along',
                                                type=onnx.AttributeProto.INT))
    chosen = helper.make_node('If', ['yes'], ['z'], **{
        branch: helper.make_graph([node('Identity', 'p', output='kept')], branch, [], [
            helper.make_tensor_value_info('kept', FLOAT, [1, 2, *SIZE])])
        for branch in ('then_branch', 'else_branch')})
    function = helper.make_function(
        'mine', 'Likely', ['x', 'yes'], ['z'], [likely, chosen], [helper.make_opsetid('', 17)],
        ['along'] if given else [],
        [] if given else [helper.make_attribute('along', 1)])
    model = network(networks, [helper.make_node('Likely', ['s', 'yes'], ['q'], domain='mine',
                                                **given), node('Identity', 'q', output='y')],
                    [1, 2, *SIZE], weights=TWO, constants={'yes': np.array(True)},
                    opsets=[helper.make_opsetid('mine', 1)], ir_version=9)
    model.functions.append(function)
    spec, mask = mask_of(model)
    assert spec.kind == 'probabilities'
    assert {entry.key: entry.origin for entry in spec.provenance}['output.kind'] == 'graph'
    check(mask)


@pytest.mark.parametrize(('nodes', 'kind'), [
    ([helper.make_node('QLinearSigmoid', ['s', 'scale', 'zero', 'scale', 'zero'], ['y'],
                       domain='com.microsoft')], 'sigmoid'),
    ([helper.make_node('FusedConv', ['pixels', 'w'], ['y'], domain='com.microsoft',
                       activation='Sigmoid')], 'sigmoid'),
    ([helper.make_node('FusedConv', ['pixels', 'w'], ['y'], domain='com.microsoft',
                       activation='LeakyRelu')], 'logits'),
    ([node('QuantizeLinear', 's', 'scale', 'zero', output='q'),
      helper.make_node('QLinearLeakyRelu', ['q', 'scale', 'zero', 'scale', 'zero'], ['y'],
                       domain='com.microsoft')], 'logits')])
def test_fused_operators_of_onnx_runtime_are_known(networks, nodes, kind):
    model = network(networks, nodes, IDS, weights=ONE,
                    opsets=[helper.make_opsetid('com.microsoft', 1)])
    assert read_meaning(model, 'y').kind == kind


@pytest.mark.parametrize('kind', ['logits', 'sigmoid', 'probabilities'])
def test_a_kind_that_contradicts_the_graph_is_refused(networks, kind):
    model = network(networks, [ARGMAX, node('Cast', 'a', output='y', to=FLOAT)], IDS)
    with pytest.raises(ConfigError, match=f'output.kind is {kind}, .* class ids of ArgMax'):
        networks.spec_of(model, output={'kind': kind})


def test_kind_logits_is_refused_for_a_sigmoid(networks):
    model = network(networks, [SIGMOID, node('Clip', 'p', 'f0', 'f1', output='y')], IDS,
                    weights=ONE)
    with pytest.raises(ConfigError, match=r'is logits, but .* comes from a Sigmoid; .* sigmoid'):
        networks.spec_of(model, output={'kind': 'logits'})


# Not determined by the graph ------------------------------------------------------------------

EXP = [node('Neg', 's', output='n'), node('Exp', 'n', output='e'),
       node('Add', 'e', 'f1', output='d'), node('Div', 'f1', 'd', output='y')]
PARTS = [node('Exp', 's', output='e'), node('ReduceSum', 'e', 'one', output='d'),
         node('Div', 'e', 'd', output='y')]
MEASURED = {
    'a sigmoid in parts': (ONE, EXP, IDS, 'sigmoid', '0.0'),
    'a softmax in parts': (TWO, PARTS, [1, 2, *SIZE], 'probabilities', 'sums of 1'),
    'a sign': (ONE, [node('Sign', 's', output='g'), node('Relu', 'g', output='y')], IDS, 'ids',
               'integers 0 to 1'),
    'a sign times 255': (ONE, [node('Sign', 's', output='g'), node('Relu', 'g', output='r'),
                               node('Mul', 'r', 'f255', output='y')], IDS, 'ids', '0 to 255'),
    'a product': (ONE, [node('Abs', 's', output='b'), node('Mul', 's', 'b', output='y')], IDS,
                  'logits', ' to '),
}


@pytest.mark.parametrize('kind', MEASURED)
def test_a_kind_that_the_graph_does_not_determine_is_measured(networks, mask_of, kind):
    weights, nodes, shape, wanted, message = MEASURED[kind]
    spec, mask = mask_of(network(networks, nodes, shape, weights=weights), measure=True)
    origin = {entry.key: entry.origin for entry in spec.provenance}['output.kind']
    assert spec.kind == wanted
    if kind != 'a product':  # of which a factor is a convolution's
        assert origin.startswith('measured (') and message in origin
    check(mask)


def test_without_a_measurement_it_is_assumed(networks, mask_of):
    spec, _ = mask_of(network(networks, EXP, IDS, weights=ONE))
    assert (spec.kind, 'output.kind' in {entry.key for entry in spec.assumed}) == ('logits', True)


@pytest.mark.parametrize(('kind', 'nodes', 'fault'), [
    ('ids', EXP, 'class ids are integers'), ('logits', EXP, 'logits have both signs'),
    ('sigmoid', [node('Softplus', 's', output='y')], 'probabilities are within 0 and 1')])
def test_a_kind_that_contradicts_the_measurement_is_refused(networks, mask_of, kind, nodes, fault):
    with pytest.raises(ConfigError, match=f'output.kind is {kind}, but .* measured: .*{fault}'):
        mask_of(network(networks, nodes, IDS, weights=ONE), measure=True, output={'kind': kind})


def test_a_depth_is_no_segmentation(networks, mask_of):
    model = network(networks, [node('Softplus', 's', output='y')], IDS, weights=ONE)
    with pytest.raises(ConfigError, match=r'never negative; .* depth .* output\.kind'):
        mask_of(model, measure=True)


@pytest.mark.parametrize('size', [(1, 1), (7, 5), (64, 48)])
def test_the_image_that_is_measured_on_has_any_size(size):
    assert sample_image(*size).shape == (*size, 3)


# Any form ------------------------------------------------------------------------------------

AREA = SIZE[0] * SIZE[1]
FORMS = {
    'one map': (ONE, [1, *SIZE]), 'a map alone': (ONE, [*SIZE]), 'no batch': (TWO, [2, *SIZE]),
    'classes first': (TWO, [2, 1, *SIZE]), 'rows': (TWO, [1, 2, AREA]),
    'one row': (ONE, [1, AREA]), 'five axes': (TWO, [1, 1, 2, *SIZE])}


@pytest.mark.parametrize('form', FORMS)
def test_every_form_of_a_map_is_read(networks, mask_of, form):
    weights, shape = FORMS[form]
    model = network(networks, [node('Reshape', 's', 'shape', output='y')], shape, weights=weights,
                    constants={'shape': np.array(shape)})
    spec, mask = mask_of(model)
    assert spec.kind == 'logits'
    check(mask)
    assert resolve(spec.network, complete_config(spec)).scores == spec.scores


@pytest.mark.parametrize('shape', [[1, AREA, 2], [AREA, 2], [*SIZE, 2]])
def test_classes_may_be_last(networks, mask_of, shape):
    nodes = [node('Transpose', 's', output='t', perm=[0, 2, 3, 1]),
             node('Reshape', 't', 'shape', output='y')]
    check(mask_of(network(networks, nodes, shape, constants={'shape': np.array(shape)}))[1])


# Operators that keep the meaning --------------------------------------------------------------


def _quantize(x, y, scale, zero):
    return [node('QuantizeLinear', x, scale, zero, output=f'{x}_q'),
            node('DequantizeLinear', f'{x}_q', scale, zero, output=y)]


def _cast(dtype):
    return lambda x, y: [node('Cast', x, output=f'{x}_c', to=dtype),
                         node('Cast', f'{x}_c', output=y, to=FLOAT)]


def _branches(x, y):
    """An If whose branches keep the value."""
    bodies = [helper.make_graph([node('Identity', x, output=f'{y}_{end}')], end, [],
                                [helper.make_empty_tensor_value_info(f'{y}_{end}')])
              for end in ('then', 'else')]
    return node('If', 'yes', output=y, then_branch=bodies[0], else_branch=bodies[1])


def _turned(x, y):
    return [node('Transpose', x, output=f'{x}_t', perm=[0, 2, 3, 1]),
            node('Transpose', f'{x}_t', output=y, perm=[0, 3, 1, 2])]


STEPS = {
    'identity': lambda x, y: [node('Identity', x, output=y)],
    'float16': _cast(TensorProto.FLOAT16),
    'double': _cast(TensorProto.DOUBLE),
    'transpose': _turned,
    'resize': lambda x, y: [node('Resize', x, '', 'twice', output=f'{x}_r', mode='nearest'),
                            node('MaxPool', f'{x}_r', output=y, kernel_shape=[2, 2],
                                 strides=[2, 2])],
    'squeeze': lambda x, y: [node('Squeeze', x, 'first', output=f'{x}_s'),
                             node('Unsqueeze', f'{x}_s', 'first', output=y)],
    'quantize': lambda x, y: _quantize(x, y, 'fine', 'zero'),
    'signed': lambda x, y: _quantize(x, y, 'coarse', 'eight'),
    'clip': lambda x, y: [node('Clip', x, 'below', 'above', output=y)],
    'bounds': lambda x, y: [node('Max', x, 'below', output=f'{x}_m'),
                            node('Min', f'{x}_m', 'above', output=y)],
    'bfloat16': _cast(TensorProto.BFLOAT16),
    'pad': lambda x, y: [node('Pad', x, 'around', output=f'{x}_p'),
                         node('Slice', f'{x}_p', 'ones', 'ends', 'places', output=y)],
    'rows': lambda x, y: [node('Reshape', x, 'flat', output=f'{x}_f'),
                          node('Reshape', f'{x}_f', 'square', output=y)],
    'split': lambda x, y: [helper.make_node('Split', [x], [f'{x}_l', f'{x}_u'], axis=3),
                           node('Concat', f'{x}_l', f'{x}_u', output=y, axis=3)],
    'twice over two': lambda x, y: [node('Mul', x, 'two', output=f'{x}_d'),
                                    node('Div', f'{x}_d', 'two', output=y)],
    'away and back': lambda x, y: [node('Add', x, 'f255', output=f'{x}_a'),
                                   node('Sub', f'{x}_a', 'f255', output=y)],
    'mean of cells': lambda x, y: [node('Resize', x, '', 'twice', output=f'{x}_r',
                                        mode='nearest'),
                                   node('AveragePool', f'{x}_r', output=y, kernel_shape=[2, 2],
                                        strides=[2, 2])],
    'branches': lambda x, y: [_branches(x, y)],
    'function': lambda x, y: [helper.make_node('Kept', [x], [y], domain='mine')],
}
LAST = {'logits': [node('Identity', 's', output='x0')],
        'sigmoid': [node('Sigmoid', 's', output='x0')],
        'softmax': [node('Softmax', 's', output='x0', axis=1)],
        'foreground': [node('Softmax', 's', output='p', axis=1),
                       node('Slice', 'p', 'one', 'end', 'one', output='x0')],
        'ids': [ARGMAX, node('Cast', 'a', output='x0', to=FLOAT)],
        'threshold': [node('Greater', 's', 'f0', output='a'), node('Cast', 'a', output='x0',
                                                                   to=FLOAT)],
        'one hot': [node('ArgMax', 's', output='a', axis=1, keepdims=0),
                    node('OneHot', 'a', 'classes', 'f01', output='x0', axis=1)],
        'hyperbolic': [node('Tanh', 's', output='x0')],
        'logarithm': [node('LogSoftmax', 's', output='x0', axis=1)]}
MEANS = {'softmax': 'probabilities', 'foreground': 'probabilities', 'threshold': 'ids',
         'one hot': 'probabilities', 'hyperbolic': 'sigmoid', 'logarithm': 'logits'}
CHANNELS = {'softmax': 2, 'foreground': 2, 'ids': 2, 'threshold': 1, 'one hot': 2,
            'hyperbolic': 1, 'logarithm': 2}
WIDE = 'logits', 'ids', 'threshold', 'hyperbolic', 'logarithm'
"""Values that are not probabilities, so that clipping to 0..1 may change them."""


@given(last=st.sampled_from(sorted(LAST)), channels=st.sampled_from([1, 2]),
       steps=st.lists(st.sampled_from(sorted(STEPS)), max_size=6),
       dtype=st.sampled_from([FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, UINT8, INT8]))
def test_operators_that_keep_the_meaning_keep_the_mask(networks, mask_of, last, channels,
                                                       steps, dtype):
    channels = CHANNELS.get(last, channels)
    nodes = list(LAST[last])
    steps = [step for step in steps if step != 'quantize' or last not in WIDE]
    for index, step in enumerate(steps):
        nodes += STEPS[step](f'x{index}', f'x{index + 1}')
    x = f'x{len(steps)}'
    if dtype in (UINT8, INT8) and last in ('ids', 'threshold'):
        nodes.append(node('Cast', x, output='y', to=dtype))
    elif dtype in (UINT8, INT8):
        scale = ('fine', 'zero') if dtype == UINT8 and last not in WIDE else ('coarse', 'eight')
        dtype = UINT8 if scale[0] == 'fine' else INT8
        nodes.append(node('QuantizeLinear', x, *scale, output='y'))
    else:
        nodes.append(node('Cast', x, output='y', to=dtype))
    out = 1 if last in ('foreground', 'ids') else channels
    model = network(
        networks, nodes, [1, out, *SIZE], dtype=dtype, weights=ONE if channels == 1 else TWO,
        constants={'twice': np.float32([1, 1, 2, 2]), 'first': np.array([0]),
                   'fine': np.float32(1 / 255), 'coarse': np.float32(1 / 16), 'eight': np.int8(8),
                   'below': np.float32(-100 if last in WIDE else 0),
                   'above': np.float32(100 if last in WIDE else 1),
                   'end': np.array([2]), 'two': np.float32(2), 'yes': np.array(True),
                   'around': np.array([0, 0, 1, 1, 0, 0, 1, 1]), 'ones': np.array([1, 1]),
                   'ends': np.array([SIZE[0] + 1, SIZE[1] + 1]), 'places': np.array([2, 3]),
                   'flat': np.array([0, 0, -1]), 'square': np.array([0, 0, *SIZE]),
                   'classes': np.array([2]), 'f01': np.float32([0, 1])},
        opsets=[helper.make_opsetid('mine', 1)], ir_version=8)
    model.functions.append(helper.make_function(
        'mine', 'Kept', ['a'], ['b'], [node('Identity', 'a', output='b')],
        [helper.make_opsetid('', 17)]))
    onnx.checker.check_model(model)
    spec, mask = mask_of(model)
    assert spec.kind == MEANS.get(last, last)
    assert {entry.key: entry.origin for entry in spec.provenance}['output.kind'] == 'graph'
    check(mask)
    assert isinstance(complete_config(spec), ModelConfig)


# Quantized inputs ----------------------------------------------------------------------------


@pytest.mark.parametrize(('dtype', 'step', 'zero', 'origin'), [
    (INT8, None, 0, 'assumed'), (INT8, 1 / 255, -128, 'graph'), (INT8, 2 / 255, 0, 'graph'),
    (UINT8, 2 / 255, 128, 'graph'), (UINT8, 0.0187, 113, 'assumed'),
    (INT8, 0.0187, -15, 'assumed')])
def test_a_quantized_input_is_fed_by_its_scale_and_zero_point(networks, mask_of, dtype, step,
                                                              zero, origin):
    kind = np.int8 if dtype == INT8 else np.uint8
    first = node('Cast', 'pixels', output='x', to=FLOAT) if step is None else \
        node('DequantizeLinear', 'pixels', 'step', 'point', output='x')
    # The threshold lies in the middle of the values that are fed.
    middle = {1 / 255: 1.5}.get(step, 0.0)
    model = networks.onnx_model(
        [first, node('Conv', 'x', 'w', output='s'), node('Sub', 's', 'middle', output='y')],
        [networks.tensor('pixels', [1, 3, *SIZE], dtype)], [networks.tensor('y', IDS)],
        {'w': np.float32(ONE)[:, :, None, None], 'step': np.float32(step or 1),
         'point': kind(zero), 'middle': np.float32(middle)})
    spec, mask = mask_of(model, input={})
    assert {entry.key: entry.origin for entry in spec.provenance}['input.mean'] == origin
    check(mask)


def test_an_integer_input_never_wraps(networks, mask_of):
    model = networks.onnx_model(
        [node('Cast', 'pixels', output='x', to=FLOAT), node('Conv', 'x', 'w', output='y')],
        [networks.tensor('pixels', [1, 3, *SIZE], INT8)], [networks.tensor('y', IDS)],
        {'w': np.float32(ONE)[:, :, None, None]})
    check(mask_of(model, input={'mean': [100.0] * 3})[1])  # white is 155, beyond int8


# Boxes with a mask each ----------------------------------------------------------------------


def boxes_and_masks(networks, boxes, masks, last='Identity', names=('boxes', 'masks')):
    nodes = [node('ReduceMean', 'pixels', output='m', axes=[1, 2, 3], keepdims=0),
             node('Mul', 'm', 'values', output='v'), node('Add', 'v', 'b0', output=names[0]),
             node('Mul', 'm', 'maps', output='n'), node(last, 'n', output=names[1])]
    return networks.onnx_model(
        nodes, [networks.tensor('pixels', [1, 3, *SIZE])],
        [networks.tensor(names[0], boxes), networks.tensor(names[1], masks)],
        {'values': np.zeros(boxes, np.float32), 'maps': np.zeros(masks, np.float32),
         'b0': np.zeros(boxes, np.float32)})


@pytest.mark.parametrize(('boxes', 'masks', 'last'), [
    ([1, 5, 4], [1, 5, *SIZE], 'Sigmoid'), ([1, 5, 4], [1, 5, *SIZE], 'Identity'),
    ([5, 4], [5, 1, *SIZE], 'Sigmoid'), ([5, 4], [5, *SIZE], 'Sigmoid')])
def test_boxes_with_a_mask_each_are_no_classes(networks, boxes, masks, last):
    with pytest.raises(ConfigError, match=r'are boxes and their masks, as Mask R-CNN'):
        networks.spec_of(boxes_and_masks(networks, boxes, masks, last))


@pytest.mark.parametrize(('ratings', 'name'), [([1, 5], 'iou_predictions'), ([5], 'scores'),
                                               ([1, 5, 1], 'mask_scores')])
def test_masks_with_a_score_each_are_no_classes(networks, ratings, name):
    model = boxes_and_masks(networks, ratings, [1, 5, *SIZE], 'Identity', (name, 'masks'))
    with pytest.raises(ConfigError, match=rf"'{name}' .* scores or classes of masks, and the mas"):
        networks.spec_of(model)
    assert networks.spec_of(model, output={'name': 'masks'}).scores.channels == 5


def test_queries_with_boxes_are_those_of_known_families(networks):
    def model(boxes, classes, masks):
        found = boxes_and_masks(networks, [1, 5, 4], [1, 5, *SIZE], 'Identity', (boxes, masks))
        found.graph.initializer.append(onnx.numpy_helper.from_array(
            np.zeros([1, 5, 9], np.float32), 'zeros'))
        found.graph.node.append(node('Add', 'm', 'zeros', output=classes))
        found.graph.output.append(networks.tensor(classes, [1, 5, 9]))
        return found

    assert networks.spec_of(model('pred_boxes', 'logits', 'pred_masks')).pair.kind == 'queries'
    with pytest.raises(ConfigError, match=r"'dets' .* are boxes and their masks"):
        networks.spec_of(model('dets', 'labels', 'masks'))
    assert networks.spec_of(model('dets', 'labels', 'masks'), output={
        'kind': 'queries', 'class_name': 'labels'}).scores.channels == 8


def test_masks_of_0_to_1_are_no_queries(networks):
    model = boxes_and_masks(networks, [1, 5, 4], [1, 5, *SIZE], 'Sigmoid', ('a', 'b'))
    with pytest.raises(ConfigError, match='could be the segmentation'):
        networks.spec_of(model)


def test_four_values_are_classes_only_if_the_config_says_so(networks):
    model = boxes_and_masks(networks, [1, 5, 4], [1, 5, *SIZE], 'Identity', ('a', 'b'))
    with pytest.raises(ConfigError, match=r'if they are queries .* output\.kind: queries'):
        networks.spec_of(model)
    assert networks.spec_of(model, output={'kind': 'queries'}).scores.channels == 3


# Layouts -------------------------------------------------------------------------------------


@pytest.mark.parametrize('layout', ['nchw', 'nhwc'])
@pytest.mark.parametrize('size', [SIZE, (3, 3)])
def test_open_channels_are_read_off_the_first_convolution(networks, layout, size):
    model = networks.pointwise(TWO, size, layout=layout)
    if size != (3, 3):
        for value in (*model.graph.input, *model.graph.output):
            for dim in value.type.tensor_type.shape.dim:
                dim.Clear()
    spec = networks.spec_of(model, input={'size': [*size]})
    assert (spec.input_layout, spec.size, spec.scores.channels) == (layout, size, 2)


def test_an_ambiguous_layout_requires_a_config(networks):
    model = networks.onnx_model(
        [node('ReduceSum', 'pixels', 'one', output='y')],
        [networks.tensor('pixels', [1, None, *SIZE])], [networks.tensor('y', IDS)],
        {'one': np.array([1])})
    with pytest.raises(ConfigError, match=r'has dynamic channels, .* input\.layout: nchw'):
        networks.spec_of(model)
    spec = networks.spec_of(model, input={'layout': 'nchw'})
    assert {entry.key: entry.origin for entry in spec.provenance}['input.layout'] == 'config'
    assert complete_config(spec).input.layout == 'nchw'
    with pytest.raises(ConfigError, match=r'input\.layout is nhwc, .* 12 channels, not 3'):
        networks.spec_of(model, input={'layout': 'nhwc'})


def test_the_layout_with_a_fixed_number_of_classes_is_chosen(networks):
    model = network(networks, [node('Transpose', 's', output='y', perm=[0, 2, 3, 1])],
                    [1, 'h', 'w', 2])
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_param = 'open'
    spec = networks.spec_of(model, input={'resize': 'none'})
    assert (spec.scores.axis, spec.scores.channels) == (3, 2)


# Outputs without a segmentation -----------------------------------------------------------------


def declared(networks, outputs, size=SIZE):
    return networks.onnx_model([], [networks.tensor('pixels', [1, 3, *size])],
                               [networks.tensor(name, shape) for name, shape in outputs])


@pytest.mark.parametrize(('outputs', 'size', 'message'), [
    ([('scores', [1, 1000])], SIZE, 'a classification network or an embedding'),
    ([('image_embeds', [1, 512])], SIZE, 'it is an embedding'),
    ([('last_hidden_state', [1, 197, 768])], (224, 224), 'it is an embedding'),
    ([('output0', [1, 84, 8400])], (640, 640), 'boxes of a detection network'),
    ([('output0', [1, 84, 6400])], (640, 640), 'boxes of a detection network'),
    ([('y', [1, 201, 18, 4])], (288, 800), 'lane anchors'),
    ([('a', [1, 255, 80, 80]), ('b', [1, 255, 40, 40]), ('c', [1, 255, 20, 20])], (640, 640),
     'heads of a detection network')])
def test_an_output_without_segmentation_is_named(networks, outputs, size, message):
    with pytest.raises((ConfigError, ModelError), match=message):
        networks.spec_of(declared(networks, outputs, size))


@pytest.mark.parametrize('shape', [[1, 512, 512, 4], [1, 4, 512, 512]])
def test_few_classes_are_no_lanes(networks, shape):
    assert networks.spec_of(declared(networks, [('y', shape)], (512, 512))).scores.channels == 4


def test_a_network_in_float64_is_run_in_float32(networks, mask_of, caplog):
    model = networks.onnx_model(
        [node('Conv', 'pixels', 'w', output='c'), node('Mul', 'c', 'two', output='y')],
        [networks.tensor('pixels', [1, 3, *SIZE], TensorProto.DOUBLE)],
        [networks.tensor('y', IDS, TensorProto.DOUBLE)],
        {'w': np.ones((1, 3, 1, 1)), 'two': np.float64(2)})
    spec, mask = mask_of(model)
    assert 'net.onnx: computes in float64' in caplog.text
    assert {info.dtype for info in (*spec.network.inputs, *spec.network.outputs)} == {FLOAT}
    check(mask)
