# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A graph in another opset computes the same."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, parser

from trt_segmentation.errors import ModelError
from trt_segmentation.graph.onnx_tools import opset as lowered_by
from trt_segmentation.graph.onnx_tools.opset import (
    converter_is_complete,
    lower_opset,
    opset_of,
    raise_opset,
    with_basic_operators,
)
from trt_segmentation.graph.pipeline.prepare import prepare

SHAPE = [1, 3, 4, 6]
OLD = 17
lowering = pytest.mark.skipif(not converter_is_complete(),
                              reason=f'onnx {onnx.__version__} does not lower opsets correctly')


def run(model, **feed):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = {value.name for value in session.get_inputs()}
    return session.run(None, {name: value for name, value in feed.items() if name in names})


@lowering
@pytest.mark.parametrize('opset', [18, 20, 'newest'])
@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear'])
def test_prepared_graphs_of_every_kind_give_the_same(networks, kind, opset, interpolation):
    opset = networks.newest_opset() if opset == 'newest' else opset
    spec = networks.spec_of(networks.KINDS[kind](opset=opset), input={'resize': 'letterbox'})
    assert opset_of(assert_lowered_gives_the_same(networks, spec, interpolation)) == opset


def assert_lowered_gives_the_same(networks, spec, interpolation='nearest'):
    """Return the prepared graph as it was."""
    model = prepare(spec, mask_interpolation=interpolation).model
    lowered = lower_opset(model, OLD, 'net.onnx')
    onnx.checker.check_model(lowered)
    assert opset_of(lowered) == OLD < opset_of(model)
    feed = {'image': networks.random_image(9, 14)[None], 'palette': spec.palette_table('bgr'),
            'channels': np.array(spec.channels('bgr'), np.int32),
            'alpha': np.array(0.5, np.float32)}
    for expected, found in zip(run(model, **feed), run(lowered, **feed), strict=True):
        np.testing.assert_array_equal(found, expected)
    return model


@lowering
@pytest.mark.parametrize('name', ['instances', 'queries'])
@pytest.mark.parametrize('grow', [False, True])
def test_pairs_give_the_same(networks, name, grow):
    model = networks.SEEING[name]()
    model.opset_import[0].version = 18
    spec = networks.spec_of(model, output={'kind': name, 'grow_masks': grow},
                            input={'resize': 'letterbox', 'border': 114})
    assert_lowered_gives_the_same(networks, spec)


def single(networks, op, opset, inputs=('x',), **attributes):
    return networks.onnx_model([helper.make_node(op, inputs, ['y'], 'the_node', **attributes)],
                               [networks.tensor(name, SHAPE) for name in inputs],
                               [networks.tensor('y', SHAPE)], opset=opset)


@lowering
@pytest.mark.parametrize(('op', 'opset'), [('Gelu', 20), ('Mish', 18)])
def test_newer_operators_are_replaced_by_their_definitions(networks, op, opset):
    model = single(networks, op, opset)
    lowered = lower_opset(model, OLD, 'net.onnx')
    assert op not in {node.op_type for node in lowered.graph.node}
    x = np.random.default_rng(0).normal(0, 3, SHAPE).astype(np.float32)
    np.testing.assert_allclose(run(lowered, x=x)[0], run(model, x=x)[0], atol=1e-5)


@lowering
@pytest.mark.parametrize(('axis', 'count'), [(1, 3), (2, 2), (3, 4), (-1, 4)])
def test_a_split_with_num_outputs_gets_lengths(networks, axis, count):
    parts = [f'part_{index}' for index in range(count)]
    model = networks.onnx_model(
        [helper.make_node('Split', ['x'], parts, axis=axis, num_outputs=count)],
        [networks.tensor('x', SHAPE)], [networks.tensor(part, [None] * 4) for part in parts],
        opset=18)
    lowered = lower_opset(model, OLD, 'net.onnx')
    onnx.checker.check_model(lowered)
    x = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    for expected, found in zip(run(model, x=x), run(lowered, x=x), strict=True):
        np.testing.assert_array_equal(found, expected)


@lowering
def test_a_split_of_an_open_extent_is_refused(networks):
    model = networks.onnx_model([helper.make_node('Split', ['x'], ['a', 'b'], num_outputs=2)],
                                [networks.tensor('x', ['n'])],
                                [networks.tensor(name, [None]) for name in 'ab'], opset=18)
    with pytest.raises(ModelError, match=r'cannot be converted to opset 17 .*Split'):
        lower_opset(model, OLD, 'net.onnx')


@pytest.mark.parametrize('part', [{'start': 1}, {'end': 2}, {'start': 1, 'end': 3},
                                  {'start': -2}, {'end': -1}, {'start': -9, 'end': 9}])
def test_a_part_of_a_shape_becomes_a_slice_of_it(networks, part):
    model = networks.onnx_model([helper.make_node('Shape', ['x'], ['y'], 'the_node', **part)],
                                [networks.tensor('x', SHAPE)],
                                [networks.tensor('y', [None], TensorProto.INT64)])
    older = with_basic_operators(model)
    onnx.checker.check_model(older)
    assert not any(node.attribute for node in older.graph.node)
    x = np.zeros(SHAPE, np.float32)
    np.testing.assert_array_equal(run(older, x=x)[0], run(model, x=x)[0])
    np.testing.assert_array_equal(run(older, x=x)[0], SHAPE[part.get('start'):part.get('end')])


@pytest.mark.parametrize('like', ['an input', 'a weight', 'a result'])
def test_castlike_becomes_a_cast(networks, like):
    nodes = [helper.make_node('Cast', ['x'], ['a result'], to=TensorProto.INT32),
             helper.make_node('CastLike', ['x', like], ['y'], 'the_node')]
    inputs = [networks.tensor('x', SHAPE), networks.tensor('an input', [1], TensorProto.INT32)]
    model = networks.onnx_model(nodes, inputs, [networks.tensor('y', SHAPE, TensorProto.INT32)],
                                {'a weight': np.zeros(1, np.int32)})
    older = with_basic_operators(model)
    onnx.checker.check_model(older)
    assert [node.op_type for node in older.graph.node] == ['Cast', 'Cast']
    feed = {'x': np.random.default_rng(0).normal(0, 9, SHAPE).astype(np.float32),
            'an input': np.zeros(1, np.int32)}
    np.testing.assert_array_equal(run(older, **feed)[0], run(model, **feed)[0])


def test_an_older_opset_is_not_changed(networks):
    model = single(networks, 'Relu', OLD)
    assert lower_opset(model, OLD, 'net.onnx') is model


def test_an_incomplete_converter_is_not_trusted(networks, monkeypatch):
    monkeypatch.setattr(lowered_by, 'converter_is_complete', lambda: False)
    with pytest.raises(ModelError, match=r'net.onnx has opset 18, and the runtime needs opset 17, '
                       r'to which onnx [\d.]+ cannot convert it .* install onnx 1.23 or newer'):
        lower_opset(single(networks, 'Relu', 18), OLD, 'net.onnx')


@lowering
def test_an_operator_without_an_older_form_is_refused(networks):
    model = single(networks, 'DeformConv', 19, ('x', 'w', 'offset'))
    with pytest.raises(ModelError) as error:
        lower_opset(model, OLD, 'net.onnx')
    assert str(error.value) == (
        'net.onnx has opset 19 and cannot be converted to opset 17 (No Previous Version of '
        'DeformConv exists); export it with opset 17 or older')


# Newer opsets ------------------------------------------------------------------------------

RAISED = 11
ROWS = np.array([1, 5, 2, 8, 3, 9], np.float32)
ASYMMETRIC = {('nearest', 2.0): [1, 1, 5, 5, 2, 2, 8, 8, 3, 3, 9, 9],
              ('nearest', 0.5): [1, 2, 3],
              ('nearest', 0.4): [1, 8],
              ('linear', 2.0): [1, 3, 5, 3.5, 2, 5, 8, 5.5, 3, 6, 9, 9],
              ('linear', 0.5): [1, 2, 3]}
"""By mode and scale, ``ROWS`` resized as before opset 11: output i is sampled at i / scale."""


def old_resize(networks, mode, scale):
    """Return a model of opset 9 if it grows and else of 10, whose rows are scaled."""
    scales = np.array([1, 1, scale, 1], np.float32)
    op, opset = ('Upsample', 9) if scale > 1 else ('Resize', 10)
    node = helper.make_node(op, ['x', 'scales'], ['y'], mode=mode)
    return networks.onnx_model([node], [networks.tensor('x', [1, 1, 6, 1])],
                               [networks.tensor('y', None)], {'scales': scales}, opset=opset)


def assert_raised_gives(model, expected):
    raised = raise_opset(model, RAISED)
    assert opset_of(raised) == RAISED
    onnx.checker.check_model(raised)
    for each in (model, raised):
        np.testing.assert_allclose(run(each, x=ROWS.reshape(1, 1, 6, 1))[0].ravel(), expected,
                                   rtol=1e-6)


@pytest.mark.parametrize(('mode', 'scale'), ASYMMETRIC)
def test_a_resize_samples_as_in_its_old_opset(networks, mode, scale):
    assert_raised_gives(old_resize(networks, mode, scale), ASYMMETRIC[mode, scale])


def test_scales_of_an_upsample_as_attribute(networks):
    node = helper.make_node('Upsample', ['x'], ['y'], mode='linear', scales=[1., 1, 2, 1])
    model = networks.onnx_model([node], [networks.tensor('x', [1, 1, 6, 1])],
                                [networks.tensor('y', None)], opset=7)
    assert_raised_gives(model, ASYMMETRIC['linear', 2.0])


@pytest.mark.parametrize(('mode', 'scale'), [('linear', 2), ('nearest', 0.4)])
def test_a_resize_in_a_branch_samples_as_in_its_old_opset(mode, scale):
    model = parser.parse_model(f'''<ir_version: 7, opset_import: ["": 10]>
        net (float[1,1,6,1] x) => (float[a,b,c,d] y) {{
            scales = Constant<value = float[4] {{1, 1, {scale}, 1}}>()
            always = Constant<value = bool {{1}}>()
            y = If(always)<
                then_branch = taken () => (float[a,b,c,d] p)
                    {{ p = Resize<mode="{mode}">(x, scales) }},
                else_branch = other () => (float[a,b,c,d] q)
                    {{ q = Resize<mode="{mode}">(x, scales) }}>
        }}''')
    assert_raised_gives(model, ASYMMETRIC[mode, scale])


def test_a_resize_in_a_function_samples_as_in_its_old_opset():
    model = parser.parse_model('''<ir_version: 8, opset_import: ["": 10, "mine": 1]>
        net (float[1,1,6,1] x) => (float[a,b,c,d] y) { y = mine.grow(x) }
        <domain: "mine", opset_import: ["": 10]> grow (a) => (b) {
            scales = Constant<value = float[4] {1, 1, 2, 1}>()
            b = Resize<mode="linear">(a, scales)
        }''')
    assert_raised_gives(model, ASYMMETRIC['linear', 2.0])


def test_a_newer_opset_is_not_changed(networks):
    model = single(networks, 'Relu', 13)
    assert raise_opset(model, RAISED) is model
