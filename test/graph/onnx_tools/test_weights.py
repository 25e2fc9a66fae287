# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Models without their large weights, and the digest of a whole model."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from trt_segmentation.errors import ModelError
from trt_segmentation.graph.onnx_tools.network import read_network
from trt_segmentation.graph.onnx_tools.weights import model_digest, without_weights

CHANNELS = 512


@pytest.fixture
def model(networks):
    """A network with one large weight, 512x3x1x1, and with a shape among its constants."""
    return networks.pointwise(np.ones((CHANNELS, 3), np.float32), (6, 7))


def large(model):
    (weight,) = (tensor for tensor in model.graph.initializer if len(tensor.raw_data) > 4096)
    return weight


def test_large_weights_become_inputs_and_the_rest_stays(model):
    light = without_weights(model)
    weight = large(model)
    assert len(light.SerializeToString()) < 1000 < len(model.SerializeToString())
    assert weight.name in {value.name for value in light.graph.input}
    onnx.checker.check_model(light)
    found = onnx.shape_inference.infer_shapes(light).graph.output
    assert found == onnx.shape_inference.infer_shapes(model).graph.output
    for field in ('node', 'output'):
        assert getattr(light.graph, field) == getattr(model.graph, field)
    assert (light.opset_import, light.ir_version) == (model.opset_import, model.ir_version)


def test_a_weight_that_is_an_input_already_stays_one_input(networks):
    model = networks.pointwise(np.ones((CHANNELS, 3), np.float32), (6, 7), ir_version=3)
    weight = large(model)
    if weight.name not in {value.name for value in model.graph.input}:
        model.graph.input.append(helper.make_tensor_value_info(
            weight.name, weight.data_type, weight.dims))
    names = [value.name for value in without_weights(model).graph.input]
    assert names.count(weight.name) == 1


@given(place=st.integers(0, 4 * 3 * CHANNELS - 1), change=st.integers(1, 255))
def test_every_byte_of_a_weight_counts(networks, place, change):
    model = networks.pointwise(np.ones((CHANNELS, 3), np.float32), (6, 7))
    before, weight = model_digest(model), large(model)
    data = bytearray(weight.raw_data)
    data[place] ^= change
    weight.raw_data = bytes(data)
    assert model_digest(model) != before


def _renamed_weight(model):
    large(model).name = 'other'


def _other_shape(model):
    large(model).dims[:] = [3, CHANNELS, 1, 1]


def _other_type(model):
    large(model).data_type = onnx.TensorProto.INT32


def _other_node(model):
    model.graph.node[-1].op_type = 'Other'


def _small_constant(model):
    model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), 'shape'))


def _swapped_weights(model):
    first, second = (numpy_helper.from_array(np.full(2000, value, np.float32), name)
                     for value, name in ((1, 'a'), (2, 'b')))
    model.graph.initializer.extend([first, second])


@pytest.mark.parametrize('change', [
    _renamed_weight, _other_shape, _other_type, _other_node, _small_constant, _swapped_weights,
    lambda model: model.opset_import[0].__setattr__('version', 13),
    lambda model: model.metadata_props.add(key='a', value='b'),
    lambda model: model.graph.output[0].type.tensor_type.shape.dim[2].__setattr__('dim_value', 9)])
def test_everything_else_counts_too(model, change):
    before = model_digest(model)
    change(model)
    assert model_digest(model) != before


def test_the_same_model_has_the_same_digest(model):
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    assert model_digest(copy) == model_digest(model)


def _quantized(model):
    """Store the large weight in 8 bits."""
    weight = large(model)
    name = weight.name
    weight.CopyFrom(numpy_helper.from_array(
        numpy_helper.to_array(weight).astype(np.int8), f'{name}/int8'))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1), f'{name}/scale'))
    model.graph.node.insert(0, helper.make_node(
        'DequantizeLinear', [f'{name}/int8', f'{name}/scale'], [name]))
    return weight


@pytest.mark.parametrize('weight_of', [large, _quantized])
def test_a_large_weight_that_was_cut_is_reported(model, tmp_path, weight_of):
    weight = weight_of(model)
    onnx.save(model, tmp_path / 'net.onnx')
    read_network(tmp_path / 'net.onnx')
    weight.raw_data = weight.raw_data[:-40]
    onnx.save(model, tmp_path / 'net.onnx')
    with pytest.raises(ModelError, match=rf"net\.onnx: its tensor '{weight.name}' of shape "
                                         r'\[512, 3, 1, 1\] is damaged \(.+\); copy or export'):
        read_network(tmp_path / 'net.onnx')
