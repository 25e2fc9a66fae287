# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Layer losses are those computed by hand, and the worst layer comes first."""

import math

import numpy as np
import pytest
from onnx import TensorProto, helper

from trt_segmentation.graph.precision.fp16 import to_fp16
from trt_segmentation.graph.precision.int8 import to_int8
from trt_segmentation.graph.precision.layer_loss import layer_losses
from trt_segmentation.options import CalibrationOptions

node = helper.make_node
SIZE = (8, 12)
MINMAX = CalibrationOptions(method='minmax')
RNG = np.random.default_rng(5)


@pytest.fixture
def images(networks):
    return [networks.random_image(*SIZE, seed) for seed in range(3)]


@pytest.fixture
def chain(networks):
    """Returns a network of three 1x1 convolutions, with a factor on their channels."""
    def make(first, second, *between, weights=(), **options):
        kernels = {f'w{index}': RNG.normal(0, 1, (*shape, 1, 1)).astype(np.float32)
                   for index, shape in enumerate([(4, 3), (4, 4), (3, 4)])}
        kernels['w0'] *= np.reshape(np.float32(first), (-1, 1, 1, 1))
        kernels['w1'] *= np.reshape(np.float32(second), (1, -1, 1, 1))
        nodes = [node('Conv', ['pixels', 'w0'], ['a'], 'one'), *between,
                 node('Conv', ['b' if between else 'a', 'w1'], ['c'], 'two'),
                 node('Conv', ['c', 'w2'], ['scores'], 'three')]
        return networks.spec_of(networks.onnx_model(
            nodes, [networks.tensor('pixels', [1, 3, *SIZE])],
            [networks.tensor('scores', [1, 3, *SIZE])], {**kernels, **dict(weights)}, **options),
            input=networks.PASSED_THROUGH)
    return make


def in_fp16(spec, images, kept=()):
    return layer_losses(spec, to_fp16(spec, images).spec, kept, images)


def in_int8(spec, images):
    return layer_losses(spec, to_int8(spec, images, MINMAX), (), images)


def test_a_loss_in_fp16_is_that_of_rounded_factors_and_a_rounded_result(networks, images):
    weights = RNG.normal(0, 1, (3, 3)).astype(np.float32)
    spec = networks.spec_of(networks.pointwise(weights, SIZE), input=networks.PASSED_THROUGH)
    found = {loss.op_type: loss for loss in in_fp16(spec, images)}['Conv']
    pixels = np.concatenate([image[..., ::-1].reshape(-1, 3) for image in images]).astype(float)
    exact = pixels @ weights.T
    half = (pixels @ weights.astype(np.float16).T.astype(float)).astype(np.float16)
    ratio = 10 * np.log10(np.sum(exact ** 2) / np.sum((exact - half) ** 2))
    assert found.own_db == pytest.approx(ratio, abs=0.05)
    assert found.total_db == pytest.approx(ratio, abs=0.05)


def test_the_layer_that_overflows_in_fp16_comes_first(chain, images):
    found = in_fp16(chain(2000, 1 / 2000), images)
    assert (found[0].node, found[0].op_type, found[0].own_db) == ('one', 'Conv', -math.inf)


def test_a_layer_that_stays_in_fp32_loses_nothing_itself(chain, images):
    spec = chain(2000, 1 / 2000)
    kept = to_fp16(spec, images).kept
    found = {loss.node: loss.own_db for loss in in_fp16(spec, images, kept)}
    assert 'one' in kept
    assert 'one' not in found
    assert found['three'] > 50


def test_the_layer_that_reads_an_outlier_channel_in_int8_comes_first(chain, images):
    found = in_int8(chain([1000, 1, 1, 1], [1 / 1000, 1, 1, 1]), images)
    by_name = {loss.node: loss for loss in found}
    assert found[0].node == 'two'
    assert found[0].own_db < 20 < 30 < by_name['one'].own_db
    assert by_name['three'].own_db > by_name['three'].total_db + 10


def test_without_an_outlier_no_layer_loses_much_in_int8(chain, images):
    assert min(loss.own_db for loss in in_int8(chain(1, 1), images)) > 30


def test_layers_are_found_in_a_network_that_had_to_change_its_opset(chain, images):
    there_and_back = [node('Unsqueeze', ['a'], ['wide'], 'there', axes=[0]),
                      node('Squeeze', ['wide'], ['b'], 'back', axes=[0])]
    found = in_int8(chain(1, 1, *there_and_back, opset=11), images)
    assert {loss.node for loss in found} == {'one', 'two', 'three'}


def test_layers_that_are_not_finite_in_fp32_have_no_ratio(chain, images):
    endless = [node('Abs', ['a'], ['size'], 'abs'),
               node('Div', ['size', 'zero'], ['endless'], 'div'),
               node('Min', ['endless', 'six'], ['b'], 'min')]
    spec = chain(1, 1, *endless, weights={'zero': np.float32(0), 'six': np.float32(6)})
    names = {loss.node for loss in in_fp16(spec, images)}
    assert 'one' in names
    assert 'div' not in names


def test_bodies_of_branches_are_no_obstacle(chain, images):
    branches = [helper.make_graph(
        [node(op_type, ['a'], [op_type], 'same')], op_type, [],
        [helper.make_tensor_value_info(op_type, TensorProto.FLOAT, None)])
        for op_type in ('Neg', 'Identity')]
    either = node('If', ['yes'], ['b'], 'if', then_branch=branches[0], else_branch=branches[1])
    spec = chain(1, 1, either, weights={'yes': np.bool_(True)})
    converted = to_fp16(spec, images)
    found = {loss.node for loss in layer_losses(spec, converted.spec, converted.kept, images)}
    assert {'one', 'two', 'three'} <= found
