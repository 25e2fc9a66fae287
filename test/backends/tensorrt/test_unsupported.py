# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What is said about TensorRT without TensorRT, and whether its parser agrees."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from trt_segmentation.backends.tensorrt.unsupported import find_unsupported
from trt_segmentation.cli.main import main
from trt_segmentation.graph.onnx_tools.network import read_network
from trt_segmentation.segmenter import demo_model

SHAPE = [1, 3, 16, 24]
TWICE = np.array([1, 1, 2, 2], np.float32)
BYTE = np.array([1], np.uint8)


def node(op, inputs, outputs=('made',), **attributes):
    return helper.make_node(op, inputs, outputs, 'the_node', **attributes)


def ending(made='made'):
    """Nodes that make scores of whatever ``made`` is."""
    return [helper.make_node('Cast', [made], ['float'], to=TensorProto.FLOAT),
            helper.make_node('ReduceMax', ['float'], ['top'], keepdims=0),
            helper.make_node('Add', ['pixels', 'top'], ['scores'])]


REFUSED = {
    'BitShift': [node('BitShift', ['byte', 'byte'], direction='LEFT')],
    'DynamicQuantizeLinear': [node('DynamicQuantizeLinear', ['pixels'], ('made', 's', 'z'))],
    'Unique': [node('Unique', ['pixels'])],
    'MaxPool': [node('MaxPool', ['pixels'], ('p', 'made'), kernel_shape=[2, 2])],
    'Resize': [node('Resize', ['pixels', '', 'twice'], mode='linear', antialias=1)],
}
PERHAPS = {
    'NonZero': [node('NonZero', ['pixels'])],
    'Hardmax': [node('Hardmax', ['pixels'])],
}
TAKEN = {
    'Mish': [node('Mish', ['pixels'])],
    'Relu': [node('Relu', ['pixels'])],
    'Resize': [node('Resize', ['pixels', '', 'twice'], mode='cubic')],
    'MaxPool': [node('MaxPool', ['pixels'], kernel_shape=[2, 2])],
    'TopK': [node('TopK', ['pixels', 'k'], ('made', 'i'))],
}


@pytest.fixture
def model_of(networks):
    def make(nodes, opset=18, **options):
        used = {name for each in nodes for name in each.input}
        weights = {'byte': BYTE, 'twice': TWICE, 'k': np.array([2])}
        return networks.onnx_model(
            [*nodes, *ending()], [networks.tensor('pixels', SHAPE)],
            [networks.tensor('scores', SHAPE)],
            {name: value for name, value in weights.items() if name in used}, opset=opset,
            **options)

    return make


def found(model):
    return [(finding.op, finding.node, finding.certain) for finding in find_unsupported(model)]


@pytest.mark.parametrize('op', REFUSED)
def test_what_tensorrt_lacks_is_found_with_a_way_out(model_of, op):
    model = model_of(REFUSED[op])
    assert found(model) == [(op, 'the_node', True)]
    said = str(find_unsupported(model)[0])
    assert said.startswith(f"node 'the_node' ({op}): ")
    assert '; ' in said


@pytest.mark.parametrize('op', PERHAPS)
def test_what_only_some_take_is_not_certain(model_of, op):
    assert found(model_of(PERHAPS[op])) == [(op, 'the_node', False)]


@pytest.mark.parametrize('op', TAKEN)
def test_what_tensorrt_takes_is_not_found(model_of, op):
    assert found(model_of(TAKEN[op])) == []


def test_the_demo_network_passes():
    assert find_unsupported(read_network(demo_model()).model) == []


def test_a_body_is_looked_into(model_of):
    body = helper.make_graph(REFUSED['Unique'], 'body', [],
                             [helper.make_tensor_value_info('made', TensorProto.FLOAT, None)])
    model = model_of([helper.make_node('If', ['yes'], ['made'], 'branch', then_branch=body,
                                       else_branch=body)])
    assert found(model) == [('Unique', 'the_node', True)] * 2


def test_operators_of_other_domains_need_a_plugin(model_of):
    made = model_of([helper.make_node('Deform', ['pixels'], ['made'], 'the_node', domain='mmcv')])
    assert found(made) == [('Deform', 'the_node', True)]
    assert "domain 'mmcv'" in str(find_unsupported(made)[0])


def test_a_function_of_the_model_itself_is_looked_into(model_of):
    model = model_of([helper.make_node('Own', ['pixels'], ['made'], 'call', domain='own')])
    model.opset_import.append(helper.make_opsetid('own', 1))
    model.functions.append(helper.make_function(
        'own', 'Own', ['pixels'], ['made'], REFUSED['Unique'], [helper.make_opsetid('', 18)]))
    assert found(model) == [('Unique', 'the_node', True)]


def test_new_opsets_are_doubted(model_of):
    assert 'opset 21 is newer' in str(find_unsupported(model_of(TAKEN['Relu'], opset=21))[0])


@pytest.mark.parametrize('op', [*REFUSED, *TAKEN])
def test_the_real_parser_agrees(model_of, networks, op):
    trt_preflight = pytest.importorskip('trt_segmentation.backends.tensorrt.parser_check')
    from trt_segmentation.errors import BackendError, MissingBackendError
    for table, is_taken in ((REFUSED, False), (TAKEN, True)):
        if op not in table:
            continue
        spec = networks.spec_of(model_of(table[op]))
        try:
            trt_preflight.parse_only(spec)
            assert is_taken
        except MissingBackendError as error:
            pytest.skip(f'no parser here: {error}')
        except BackendError as error:
            assert not is_taken
            assert f"'the_node' ({op})" in str(error)


@pytest.mark.parametrize('has_parser', [True, False])
def test_inspect_says_it_with_and_without_tensorrt(model_of, tmp_path, capsys, monkeypatch,
                                                    has_parser):
    path = tmp_path / 'net.onnx'
    onnx.save(model_of(REFUSED['Unique']), path)
    if not has_parser:
        monkeypatch.setattr('trt_segmentation.backends.tensorrt.api._MODULES', ('no_such_trt',))
        from trt_segmentation.backends.tensorrt.api import find_tensorrt
        monkeypatch.setattr('trt_segmentation.backends.tensorrt.parser_check.find_tensorrt',
                            find_tensorrt.__wrapped__)
    assert main(['inspect', str(path)]) == 0
    shown = capsys.readouterr()
    assert 'TensorRT: not supported' in shown.out
    assert "node 'the_node' (Unique)" in shown.out
    assert 'onnxslim' in shown.out
    assert shown.err == ''
