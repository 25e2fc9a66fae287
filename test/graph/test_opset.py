# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A graph in an older opset computes the same."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from trt_segmentation.errors import ModelError
from trt_segmentation.graph.opset import lower_opset, opset_of
from trt_segmentation.graph.prepare import prepare

SHAPE = [1, 3, 4, 6]
OLD = 17


def run(model, **feed):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = {value.name for value in session.get_inputs()}
    return session.run(None, {name: value for name, value in feed.items() if name in names})


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


@pytest.mark.parametrize(('op', 'opset'), [('Gelu', 20), ('Mish', 18)])
def test_younger_operators_become_what_they_are_defined_by(networks, op, opset):
    model = single(networks, op, opset)
    lowered = lower_opset(model, OLD, 'net.onnx')
    assert op not in {node.op_type for node in lowered.graph.node}
    x = np.random.default_rng(0).normal(0, 3, SHAPE).astype(np.float32)
    np.testing.assert_allclose(run(lowered, x=x)[0], run(model, x=x)[0], atol=1e-5)


def test_what_is_old_enough_stays_as_it_is(networks):
    model = single(networks, 'Relu', OLD)
    assert lower_opset(model, OLD, 'net.onnx') is model


def test_what_cannot_be_said_is_refused(networks):
    model = single(networks, 'DeformConv', 19, ('x', 'w', 'offset'))
    with pytest.raises(ModelError) as error:
        lower_opset(model, OLD, 'net.onnx')
    assert str(error.value) == (
        'net.onnx has opset 19, and opset 17 cannot say all of it (No Previous Version of '
        'DeformConv exists); export it with opset 17 or older')
