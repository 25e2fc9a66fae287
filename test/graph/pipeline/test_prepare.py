# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The prepared graph, for networks of many opsets, format versions, names and control flows."""

from collections import Counter
from dataclasses import replace
from itertools import product

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trt_segmentation.classes.mask_encoding import MONO8, MONO16
from trt_segmentation.errors import ModelError, SegmentationError
from trt_segmentation.graph.pipeline.prepare import MASK_INTERPOLATIONS, available_outputs, prepare
from trt_segmentation.graph.precision.fp16 import LARGEST_FP16

WEIGHTS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [.375, .375, .375]], np.float32)
OPSETS = [11, 12, 13, 17, 18, 20, 'newest']
ALL = ('mask', 'confidence', 'overlay')


@pytest.fixture(scope='session')
def plain_spec(networks):
    """Makes the spec of a network that gets a BGR image's pixels as they are."""
    def spec_of(model, **sections):
        told = {'color': 'bgr', **networks.PASSED_THROUGH, **sections.pop('input', {})}
        return networks.spec_of(model, input=told, **sections)

    return spec_of


def classes_of(image, weights=WEIGHTS):
    """Return the classes of an image's pixels under a 1x1 convolution."""
    return (image.astype(np.float32) @ weights.T).argmax(axis=2).astype(np.uint8)


def needed_nodes(graph):
    """Return how many nodes the graph's outputs depend on."""
    makers = {name: node for node in graph.node for name in node.output}
    waiting, found = [output.name for output in graph.output], set()
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.output[0] not in found:
            found.add(node.output[0])
            waiting.extend(node.input)
    return len(found)


def names_of(values):
    return [value.name for value in values]


# Outputs -----------------------------------------------------------------------------------


@pytest.mark.parametrize('outputs', [('mask',), ('confidence',), ('overlay',), ('overlay', 'mask'),
                                     ALL])
@pytest.mark.parametrize('for_cpu', [False, True])
def test_only_requested_outputs_are_given(networks, plain_spec, outputs, for_cpu):
    spec = plain_spec(networks.pointwise(WEIGHTS, (8, 9)))
    image = networks.random_image(11, 7)
    everything = networks.Runner(prepare(spec, for_cpu=for_cpu))(image)
    prepared = prepare(spec, outputs, for_cpu=for_cpu)
    assert prepared.outputs == outputs
    runner = networks.Runner(prepared)
    assert tuple(runner.outputs) == outputs
    controls = ['palette', 'alpha'] if 'overlay' in outputs else []
    assert runner.inputs == ['image', 'channels', *controls]
    for name, array in runner(image).items():
        np.testing.assert_array_equal(array, everything[name])


@pytest.mark.parametrize('outputs', [('mask',), ('confidence',), ('overlay',), ALL])
@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear'])
@pytest.mark.parametrize('kind', ['logits', 'sigmoid'])
def test_nothing_else_is_computed(networks, plain_spec, kind, interpolation, outputs):
    model = networks.fixed(networks.random_scores(4, 8, 9))
    prepared = prepare(plain_spec(model, output={'kind': kind}), outputs,
                       mask_interpolation=interpolation)
    graph = prepared.model.graph
    added, needed = len(graph.node), needed_nodes(graph)
    assert added == needed


def test_the_default_is_all_that_the_network_can_give(networks, plain_spec):
    scores = plain_spec(networks.pointwise(WEIGHTS, (8, 9)))
    ids = plain_spec(networks.fixed(np.zeros((1, 4, 5), np.int64)))
    for spec, wanted in ((scores, ALL), (ids, ('mask', 'overlay'))):
        assert available_outputs(spec) == wanted
        prepared = prepare(spec)
        assert prepared.outputs == wanted
        assert tuple(names_of(prepared.model.graph.output)) == wanted


@pytest.mark.parametrize('name', ['confidence', 'depth'])
def test_an_output_that_the_network_cannot_give_is_refused(networks, plain_spec, name):
    spec = plain_spec(networks.fixed(np.zeros((1, 4, 5), np.int64)))
    with pytest.raises(ModelError, match=f'net.onnx: cannot give {name}; .*ids gives mask, over'):
        prepare(spec, ('mask', name))


def test_an_unknown_interpolation_is_refused(networks, plain_spec):
    spec = plain_spec(networks.pointwise(WEIGHTS, (8, 9)))
    with pytest.raises(SegmentationError, match=r'cubic.*nearest.*bilinear'):
        prepare(spec, mask_interpolation='cubic')


# Opsets and versions of the format ---------------------------------------------------------


@pytest.mark.parametrize('for_cpu', [False, True])
@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear'])
@pytest.mark.parametrize('resize', ['stretch', 'letterbox'])
@pytest.mark.parametrize('opset', OPSETS)
def test_every_opset(networks, plain_spec, opset, resize, interpolation, for_cpu):
    opset = networks.newest_opset() if opset == 'newest' else opset
    image = networks.random_image(15, 28)
    results = []
    for version in (opset, 16):
        model = networks.pointwise(WEIGHTS, (16, 20), stride=4, opset=version)
        spec = plain_spec(model, input={'resize': resize})
        prepared = prepare(spec, mask_interpolation=interpolation, for_cpu=for_cpu)
        onnx.checker.check_model(prepared.model, full_check=True)
        assert [entry.version for entry in prepared.model.opset_import] == [version]
        results.append(networks.Runner(prepared)(image))
    assert len(np.unique(results[1]['mask'])) > 2
    for name in ALL:
        np.testing.assert_array_equal(results[0][name], results[1][name])


@pytest.mark.parametrize('opset', OPSETS)
@pytest.mark.parametrize('kind', ['one logit', 'probabilities', 'sigmoid', 'one probability',
                                  'ids', 'ids with channels'])
def test_every_kind_in_every_opset(networks, plain_spec, opset, kind):
    opset = networks.newest_opset() if opset == 'newest' else opset
    scores = networks.softmax(networks.random_scores(4, 5, 6), 1).astype(np.float32)
    foreground, ids = scores[:, :1], scores.argmax(axis=1)
    values, told, wanted = {
        'one logit': (foreground - 0.4, {'kind': 'logits'}, foreground[0, 0] >= 0.4),
        'probabilities': (scores, {'kind': 'probabilities'}, ids[0]),
        'sigmoid': (scores, {'kind': 'sigmoid', 'threshold': 0}, ids[0]),
        'one probability': (foreground, {'kind': 'probabilities', 'threshold': 0.3},
                            foreground[0, 0] >= 0.3),
        'ids': (ids, {}, ids[0]),
        'ids with channels': (ids[:, None], {}, ids[0]),
    }[kind]
    prepared = prepare(plain_spec(networks.fixed(values, size=(5, 6), opset=opset), output=told))
    onnx.checker.check_model(prepared.model, full_check=True)
    result = networks.Runner(prepared)(networks.random_image(5, 6))
    np.testing.assert_array_equal(result['mask'], wanted)


@pytest.mark.parametrize('opset', [8, 10, 11])
def test_weights_among_the_inputs(networks, plain_spec, opset):
    model = networks.pointwise(WEIGHTS, (6, 7), opset=opset, ir_version=3, weights_as_inputs=True)
    assert names_of(model.graph.input) == ['pixels', 'weights']
    prepared = prepare(plain_spec(model))
    onnx.checker.check_model(prepared.model, full_check=True)
    assert names_of(prepared.model.graph.input) == ['image', 'channels', 'palette', 'alpha']
    image = networks.random_image(6, 7)
    result = networks.Runner(prepared)(image)
    np.testing.assert_array_equal(result['mask'], classes_of(image))


def test_the_default_domain_under_its_other_name(networks, plain_spec):
    model = networks.pointwise(WEIGHTS, (6, 7), domain='ai.onnx')
    image = networks.random_image(6, 7)
    result = networks.Runner(prepare(plain_spec(model)))(image)
    np.testing.assert_array_equal(result['mask'], classes_of(image))


# Names -------------------------------------------------------------------------------------


@pytest.mark.parametrize('names', [
    ('image', 'mask'), ('mask', 'image'), ('overlay', 'confidence'), ('channels', 'palette'),
    ('alpha', 'head/Cast_0'), ('tail/constant_0', 'tail/Cast_0')])
@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear'])
def test_the_networks_names_do_not_clash(networks, plain_spec, names, interpolation):
    model = networks.pointwise(WEIGHTS, (6, 7), names=names)
    prepared = prepare(plain_spec(model), mask_interpolation=interpolation)
    onnx.checker.check_model(prepared.model, full_check=True)
    image = networks.random_image(6, 7)
    result = networks.Runner(prepared)(image, alpha=0)
    np.testing.assert_array_equal(result['mask'], classes_of(image))
    np.testing.assert_array_equal(result['overlay'], image)


def test_the_networks_symbolic_extents_are_not_the_cameras(networks, plain_spec):
    size = (6, 7)
    nodes = [  # a shape that no inference finds, declared under the camera's names
        helper.make_node('Shape', ['pixels'], ['shape']),
        helper.make_node('ReduceMax', ['pixels'], ['brightest'], keepdims=0),
        helper.make_node('Mul', ['brightest', 'nil'], ['zero']),
        helper.make_node('Cast', ['zero'], ['whole'], to=TensorProto.INT64),
        helper.make_node('Add', ['shape', 'whole'], ['same']),
        helper.make_node('Reshape', ['pixels', 'same'], ['a']),
        helper.make_node('Neg', ['a'], ['b']),
        helper.make_node('Neg', ['b'], ['c']),
        helper.make_node('Mul', ['c', 'c'], ['scores'])]
    shape = [1, 'height', 'width', 3]
    model = networks.onnx_model(
        nodes, [networks.tensor('pixels', shape)], [networks.tensor('scores', shape)],
        {'nil': np.float32(0)})
    model.graph.value_info.extend(networks.tensor(name, shape) for name in 'abc')
    spec = plain_spec(model, input={'size': list(size)}, output={'layout': 'nhwc'})
    image = networks.random_image(13, 14)
    fed = networks.resized(image, size)
    for outputs in (('mask',), ALL):
        result = networks.Runner(prepare(spec, outputs))(image)
        np.testing.assert_array_equal(
            result['mask'], networks.grown(fed.argmax(axis=2), image.shape[:2]))


def test_every_name_is_made_once(networks, plain_spec):
    graph = prepare(plain_spec(networks.pointwise(WEIGHTS, (6, 7))), for_cpu=True).model.graph
    made = [*names_of(graph.input), *names_of(graph.initializer),
            *(name for node in graph.node for name in node.output)]
    assert [name for name, count in Counter(made).items() if count > 1] == []


# Control flow ------------------------------------------------------------------------------


def branch(name, nodes, output):
    """Return a subgraph without inputs: all it reads belongs to the graph around it."""
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(
        output, TensorProto.FLOAT, None)])


def nested_if():
    """Return an If in an If, with outer weights and activations, and inner names like outer."""
    def convolution(weights, output):
        return helper.make_node('Conv', ['pixels', weights], [output], kernel_shape=[1, 1])

    inner = helper.make_node('If', ['very_bright'], ['inner'],
                             then_branch=branch('then', [convolution('c', 'x')], 'x'),
                             else_branch=branch('else', [convolution('b', 'x')], 'x'))
    return helper.make_node(
        'If', ['bright'], ['scores'],
        then_branch=branch('then', [inner, helper.make_node('Identity', ['inner'], ['x'])], 'x'),
        else_branch=branch('else', [convolution('a', 'mask')], 'mask'))


@pytest.mark.parametrize('opset', [11, 17, 'newest'])
def test_branches_see_the_names_around_them(networks, plain_spec, opset):
    opset = networks.newest_opset() if opset == 'newest' else opset
    nodes = [helper.make_node('ReduceMax', ['pixels'], ['brightest'], keepdims=0),
             helper.make_node('Greater', ['brightest', 'fifty'], ['bright']),
             helper.make_node('Greater', ['brightest', 'hundred'], ['very_bright']),
             nested_if()]
    kernels = {name: np.roll(WEIGHTS, shift, axis=0) for name, shift in zip('abc', range(3),
                                                                             strict=True)}
    model = networks.onnx_model(
        nodes, [networks.tensor('pixels', [1, 3, 6, 7])],
        [networks.tensor('scores', [1, 4, 6, 7])],
        {'fifty': np.float32(50), 'hundred': np.float32(100),
         **{name: kernel[:, :, None, None] for name, kernel in kernels.items()}}, opset=opset)
    runner = networks.Runner(prepare(plain_spec(model), ('mask',)))
    for name, brightest in (('a', 40), ('b', 90), ('c', 200)):
        image = networks.random_image(6, 7) % brightest
        image[0, 0] = brightest
        np.testing.assert_array_equal(runner(image)['mask'], classes_of(image, kernels[name]))


def test_branches_see_the_constants_of_the_branch_around_them(networks, plain_spec):
    convolution = helper.make_node('Conv', ['pixels', 'kernel'], ['x'], kernel_shape=[1, 1])
    inner = helper.make_node('If', ['bright'], ['y'],
                             then_branch=branch('then', [convolution], 'x'),
                             else_branch=branch('else', [convolution], 'x'))
    bodies = {name: branch(name, [inner], 'y') for name in ('then_branch', 'else_branch')}
    for body in bodies.values():
        body.initializer.append(numpy_helper.from_array(WEIGHTS[:, :, None, None], 'kernel'))
    nodes = [helper.make_node('ReduceMax', ['pixels'], ['brightest'], keepdims=0),
             helper.make_node('Cast', ['brightest'], ['bright'], to=TensorProto.BOOL),
             helper.make_node('If', ['bright'], ['scores'], **bodies)]
    model = networks.onnx_model(nodes, [networks.tensor('pixels', [1, 3, 6, 7])],
                                [networks.tensor('scores', [1, 4, 6, 7])])
    image = networks.random_image(6, 7)
    np.testing.assert_array_equal(
        networks.Runner(prepare(plain_spec(model), ('mask',)))(image)['mask'], classes_of(image))


def test_functions_of_the_network(networks, plain_spec):
    opsets = [helper.make_opsetid('', 17), helper.make_opsetid('own', 1)]
    body = [helper.make_node('Conv', ['x', 'w'], ['image'], kernel_shape=[1, 1]),
            helper.make_node('Identity', ['image'], ['y'])]
    model = networks.onnx_model(
        [helper.make_node('Classify', ['pixels', 'w'], ['scores'], domain='own')],
        [networks.tensor('pixels', [1, 3, 6, 7])], [networks.tensor('scores', [1, 4, 6, 7])],
        {'w': WEIGHTS[:, :, None, None]})
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    model.functions.append(helper.make_function('own', 'Classify', ['x', 'w'], ['y'], body,
                                                opsets[:1]))
    image = networks.random_image(6, 7)
    mask = networks.Runner(prepare(plain_spec(model), ('mask',)))(image)['mask']
    np.testing.assert_array_equal(mask, classes_of(image))


def test_preparing_leaves_the_network_as_it_was(networks, plain_spec):
    spec = plain_spec(networks.pointwise(WEIGHTS, (6, 7)))
    before = spec.network.model.SerializeToString()
    prepare(spec)
    prepare(spec, ('mask',), mask_interpolation='bilinear', for_cpu=True)
    assert spec.network.model.SerializeToString() == before


OURS = 'head/', 'tail/', 'network/instances/', 'network/queries/'
VARIANTS = {
    'stretch': {}, 'letterbox': {'input': {'resize': 'letterbox'}},
    'border': {'input': {'resize': 'letterbox', 'border': 114}},
    'bytes': {'input': {'scale': 1.0, 'mean': [123.7, 116.3, 103.5], 'std': [58.4, 57.1, 57.4]}},
    'merge': {'classes': {'merge': {'one': [0], 'rest': 'rest'}}},
    'unlabelled': {'classes': {'unlabelled': 0}},
    'corners': {'output': {'align_corners': True}}}


@pytest.mark.parametrize('interpolation', MASK_INTERPOLATIONS)
@pytest.mark.parametrize('encoding', [MONO8, MONO16], ids=lambda encoding: encoding.name)
def test_fp16_holds_every_constant_of_ours(networks, interpolation, encoding):
    """TensorRT 8.6 warns about others, whatever precision the layers have."""
    makers = {**networks.KINDS, **networks.SEEING}
    seen = 0
    for kind, sections in product(makers, VARIANTS.values()):
        if 'output' in sections and ('ids' in kind or kind in ('queries', 'instances')):
            continue
        spec = replace(networks.spec_of(makers[kind](), **sections), encoding=encoding)
        graph = prepare(spec, mask_interpolation=interpolation).model.graph
        for tensor in graph.initializer:
            values = numpy_helper.to_array(tensor)
            if tensor.name.startswith(OURS) and values.dtype.kind == 'f':
                assert np.abs(values).max(initial=0) <= LARGEST_FP16, (kind, sections, tensor.name)
                seen += 1
    assert seen > 500
