# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Reading ONNX files, and the files that are refused."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trt_segmentation.errors import ModelError
from trt_segmentation.graph.onnx_tools.network import (
    TensorInfo,
    describe_network,
    dtype_name,
    fix_input_shape,
    read_network,
    shape_text,
)
from trt_segmentation.graph.pipeline.prepare import prepare

WEIGHTS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [.375, .375, .375]], np.float32)


def saved(model, folder, name='net.onnx', **options):
    path = folder / name
    onnx.save(model, path, **options)
    return path


def with_output_nodes(networks, *op_types, **attributes):
    """Return a network whose scores pass these ops, each with one input, in turn."""
    model = networks.pointwise(WEIGHTS, (8, 8))
    nodes = [helper.make_node(op, [a], [b], **attributes.get(op, {})) for op, a, b in
             zip(op_types, ['scores', *map(str, range(9))], map(str, range(9)), strict=False)]
    model.graph.node.extend(nodes)
    model.graph.output[0].CopyFrom(networks.tensor(nodes[-1].output[0], None))
    return model


def test_inputs_and_outputs(networks):
    network = describe_network(networks.pointwise(WEIGHTS, ('h', 8), stride=2), 'net.onnx')
    assert network.inputs == (TensorInfo('pixels', TensorProto.FLOAT, (1, 3, None, 8)),)
    assert network.outputs == (TensorInfo('scores', TensorProto.FLOAT, (1, 4, None, 4), 'Conv'),)
    assert (network.source, network.opset) == ('net.onnx', 17)
    assert str(network.inputs[0]) == "'pixels' float32 [1, 3, ?, 8]"


def test_weights_are_no_inputs(networks):
    model = networks.pointwise(WEIGHTS, (8, 8), opset=11, ir_version=3, weights_as_inputs=True)
    assert len(model.graph.input) == 2
    assert [info.name for info in describe_network(model, '').inputs] == ['pixels']


def test_undeclared_output_shapes_are_inferred(networks):
    model = networks.pointwise(WEIGHTS, (9, 16), stride=4)
    model.graph.output[0].CopyFrom(networks.tensor('scores', None))
    assert describe_network(model, '').outputs[0].shape == (1, 4, 3, 4)


@pytest.mark.parametrize(('op_types', 'maker'), [
    (['Softmax'], 'Softmax'), (['Sigmoid'], 'Sigmoid'), (['Softmax', 'Identity'], 'Softmax'),
    (['Sigmoid', 'Transpose', 'Transpose'], 'Sigmoid'), (['Identity', 'Cast'], 'Conv'),
    (['Softmax', 'Cast', 'Flatten'], 'Softmax'), (['Softmax', 'Relu'], 'Relu')])
def test_the_operator_of_an_output(networks, op_types, maker):
    model = with_output_nodes(networks, *op_types, Cast={'to': TensorProto.FLOAT16})
    assert describe_network(model, '').outputs[0].made_by == maker


def test_an_output_that_no_node_made(networks):
    model = networks.onnx_model([], [networks.tensor('x', [1, 3, 8, 8])],
                                [networks.tensor('x', [1, 3, 8, 8])])
    assert describe_network(model, '').outputs[0].made_by == ''


@pytest.mark.parametrize('declared', [[1, 7, 3, 4], [1, 4, 4], [1, 4, 6, 8]])
def test_declared_output_shapes_are_corrected(networks, declared):
    model = networks.pointwise(WEIGHTS, (9, 16), stride=4)
    model.graph.output[0].CopyFrom(networks.tensor('scores', declared))
    assert describe_network(model, '').outputs[0].shape == (1, 4, 3, 4)


def test_an_input_that_no_node_reads_is_left_out(networks, tmp_path):
    model = networks.pointwise(WEIGHTS, (8, 8))
    model.graph.input.append(networks.tensor('im_shape', [1, 2]))
    model.graph.initializer.append(numpy_helper.from_array(np.int16([1]), 'left'))
    weights = [tensor.name for tensor in model.graph.initializer if tensor.name != 'left']
    network = read_network(saved(model, tmp_path))
    assert [info.name for info in network.inputs] == ['pixels']
    assert [value.name for value in network.model.graph.input] == ['pixels']
    assert [tensor.name for tensor in network.model.graph.initializer] == weights != []


def test_metadata(networks):
    network = describe_network(networks.pointwise(WEIGHTS, (8, 8), metadata='a: b'), '')
    assert network.metadata == {'trt_segmentation': 'a: b'}
    assert describe_network(networks.pointwise(WEIGHTS, (8, 8)), '').metadata == {}


@pytest.mark.parametrize('opset', [7, 9, 10])
def test_old_opsets_are_converted(networks, tmp_path, opset):
    config = 'input: {color: bgr, scale: 1}'
    model = networks.pointwise(WEIGHTS, (6, 7), opset=opset, metadata=config,
                               weights_as_inputs=opset < 9)
    network = read_network(saved(model, tmp_path))
    assert network.opset == 11
    assert [entry.version for entry in network.model.opset_import] == [11]
    assert network.metadata == {'trt_segmentation': config}
    assert network.outputs[0].shape == (1, 4, 6, 7)
    image = networks.random_image(6, 7)
    mask = networks.Runner(prepare(networks.spec_of(network.model), ('mask',)))(image)['mask']
    np.testing.assert_array_equal(mask, (image @ WEIGHTS.T).argmax(axis=2))


@pytest.mark.parametrize('opset', [11, 13, 'newest'])
def test_new_opsets_stay_as_they_are(networks, tmp_path, opset):
    opset = networks.newest_opset() if opset == 'newest' else opset
    model = networks.pointwise(WEIGHTS, (6, 7), opset=opset)
    network = read_network(saved(model, tmp_path))
    assert (network.opset, network.model) == (opset, model)


def test_a_failed_conversion_is_reported(networks):
    nodes = [helper.make_node('Cast', ['pixels'], ['scores'], to='FLOAT')]  # as opset 5 had it
    model = networks.onnx_model(nodes, [networks.tensor('pixels', [1, 3, 8, 8])],
                                [networks.tensor('scores', [1, 3, 8, 8])], opset=5, ir_version=3)
    with pytest.raises(ModelError, match=r'net\.onnx: opset 5 cannot be converted to 11 \(.+\); '
                                         'export it with opset 11 or newer'):
        describe_network(model, 'net.onnx')


def test_weights_in_a_file_of_their_own(networks, tmp_path):
    model = networks.pointwise(WEIGHTS, (6, 7))
    path = saved(model, tmp_path, save_as_external_data=True, location='weights',
                 size_threshold=0)
    assert (tmp_path / 'weights').is_file()
    network = read_network(path)
    assert numpy_helper.to_array(network.model.graph.initializer[0]).tolist() == \
        WEIGHTS[:, :, None, None].tolist()
    (tmp_path / 'weights').unlink()
    with pytest.raises(ModelError, match=r"'weights' is in 'weights', which is missing; copy"):
        read_network(path)


def test_grids_in_float64_become_float32(networks):
    rows, columns = np.meshgrid([-0.5, 0.5], [-0.5, 0.5], indexing='ij')
    grid = np.stack([columns, rows], axis=-1)[None]
    nodes = [helper.make_node('Add', ['grid', 'nil'], ['places']),
             helper.make_node('GridSample', ['pixels', 'places'], ['scores'])]
    model = networks.onnx_model(nodes, [networks.tensor('pixels', [1, 3, 2, 2])],
                                [networks.tensor('scores', [1, 3, 2, 2])],
                                {'grid': grid, 'nil': np.float64(0)})
    image = networks.random_image(2, 2)
    spec = networks.spec_of(model, input={'color': 'bgr', **networks.PASSED_THROUGH})
    mask = networks.Runner(prepare(spec, ('mask',)))(image)['mask']
    np.testing.assert_array_equal(mask, image.argmax(axis=2))


# Files that are refused --------------------------------------------------------------------


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r'nowhere\.onnx: there is no such file'):
        read_network(tmp_path / 'nowhere.onnx')
    with pytest.raises(ModelError, match='is a folder; name the'):
        read_network(str(tmp_path))


@pytest.mark.parametrize('content', [b'\0', b'PK\x03\x04 a zip', b'<html>404</html>',
                                     b'\xff' * 1000])
def test_a_file_that_is_not_onnx_is_refused(tmp_path, content):
    path = tmp_path / 'net.onnx'
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r'net\.onnx: this is no valid ONNX model .* again'):
        read_network(path)


def test_a_truncated_file_is_refused_wherever_it_was_cut(networks, tmp_path):
    data = networks.pointwise(WEIGHTS, (6, 7)).SerializeToString()
    path = tmp_path / 'net.onnx'
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(ModelError, match=r'net\.onnx: '):
            read_network(path)
    path.write_bytes(data)
    read_network(path)


def test_a_file_of_weights_alone_is_refused(networks, tmp_path):
    model = networks.pointwise(WEIGHTS, (6, 7))
    del model.graph.output[:], model.graph.node[:]
    with pytest.raises(ModelError, match=r'net\.onnx: the graph has no output; export the'):
        read_network(saved(model, tmp_path))


def test_a_broken_graph_is_refused(networks, tmp_path):
    model = networks.pointwise(WEIGHTS, (6, 7))
    model.graph.node[-1].input[0] = 'nowhere'
    with pytest.raises(ModelError, match=r'net\.onnx: this is no valid ONNX model .*nowhere'):
        read_network(saved(model, tmp_path))


# Fixed input shapes ------------------------------------------------------------------------


@pytest.mark.parametrize('size', [('h', 'w'), (None, None), (8, 'w'), (8, 12)])
def test_a_fixed_input_fixes_the_output(networks, size):
    network = describe_network(networks.pointwise(WEIGHTS, size, stride=5), 'net.onnx')
    network.model.graph.output[0].type.tensor_type.shape.dim[2].dim_param = 'out'
    before = network.model.SerializeToString()
    fixed = fix_input_shape(network, (1, 3, 8, 12))
    assert fixed.inputs[0].shape == (1, 3, 8, 12)
    assert fixed.outputs[0].shape == (1, 4, 2, 3)
    assert fixed.source == 'net.onnx'
    assert network.model.SerializeToString() == before


def test_an_open_batch_is_fixed_too(networks):
    model = networks.pointwise(WEIGHTS, (8, 12))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = 'batch'
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = 'batch'
    fixed = fix_input_shape(describe_network(model, ''), (1, 3, 8, 12))
    assert fixed.inputs[0].shape == (1, 3, 8, 12)
    assert fixed.outputs[0].shape == (1, 4, 8, 12)


def test_a_network_without_open_extents_stays_as_it_is(networks):
    network = describe_network(networks.pointwise(WEIGHTS, (8, 12)), 'net.onnx')
    assert fix_input_shape(network, (1, 3, 8, 12)) is network
    hidden = networks.pointwise(WEIGHTS, (8, 12))
    hidden.graph.output[0].type.tensor_type.shape.dim[2].dim_param = 'height'
    fixed = fix_input_shape(describe_network(hidden, 'net.onnx'), (1, 3, 8, 12))
    assert fixed.outputs[0].shape == (1, 4, 8, 12)


# Text --------------------------------------------------------------------------------------


@pytest.mark.parametrize(('dtype', 'name'), [
    (TensorProto.FLOAT, 'float32'), (TensorProto.FLOAT16, 'float16'), (TensorProto.UINT8, 'uint8'),
    (TensorProto.INT64, 'int64'), (TensorProto.UNDEFINED, 'unknown type')])
def test_dtype_name(dtype, name):
    assert dtype_name(dtype) == name


@pytest.mark.parametrize(('shape', 'text'), [
    ((1, 3, None, 8), '[1, 3, ?, 8]'), ((), '[]'), (None, 'of unknown rank')])
def test_shape_text(shape, text):
    assert shape_text(shape) == text


def test_unsorted_nodes_are_sorted(networks, tmp_path):
    model = networks.pointwise(WEIGHTS, (4, 6), activation='Softmax')
    nodes = list(model.graph.node)[::-1]
    assert len(nodes) > 1
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(read_network(saved(model, tmp_path)).model)
    model.graph.node[-1].input[0] = model.graph.node[0].output[0]  # in a circle
    with pytest.raises(ModelError, match='topologically sorted'):
        read_network(saved(model, tmp_path))
