# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Scores that a last DepthToSpace rearranges: decided before it, with the bytes of after it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from trt_segmentation.backends.base import output_dtype, output_shape
from trt_segmentation.backends.onnxruntime import OnnxRuntimeSession
from trt_segmentation.graph.pipeline.prepare import available_outputs, prepare, prepare_network
from trt_segmentation.graph.pipeline.tensors import scores_names
from trt_segmentation.graph.reading.resolve import with_mask
from trt_segmentation.options import RunOptions

MOVED, KEPT = ('network/blocks',), ('network/scores',)


def shuffled(model, block, *, mode='CRD', readers=()):
    """Let a network move its scores by a DepthToSpace; ``readers`` are nodes that read them."""
    graph = model.graph
    graph.node[-1].output[0] = 'blocks'
    graph.node.append(helper.make_node('DepthToSpace', ['blocks'], ['scores'], blocksize=block,
                                       mode=mode))
    graph.node.extend(readers)
    shape = graph.output[0].type.tensor_type.shape.dim
    shape[1].dim_value //= block ** 2
    for extent in shape[2:]:
        extent.dim_value *= block
    return model


@pytest.fixture(scope='session')
def fixed(networks):
    """Makes a network that gives ``values`` [1, C*r*r, h, w], moved."""
    def network_of(values, block, **options):
        size = [block * each for each in values.shape[2:]]
        return shuffled(networks.fixed(values, size=size), block, **options)

    return network_of


def infer(spec, image, outputs, **options):
    """Segment an image in a session; the outputs by name, ids of 16 bits as two bytes."""
    session = OnnxRuntimeSession(spec, num_threads=1, **options)
    for task in spec.tasks:
        session.set_palette(spec.palette_table('bgr', task), task.name)
    session.set_channels(spec.channels('bgr'))
    size = image.shape[:2]
    out = {name: np.empty(output_shape(name, size, spec.mask_size),
                          output_dtype(name, spec.encoding)) for name in outputs}
    session.resize(*size, outputs)
    session.infer([image], [out])
    session.close()
    return {name: array if array.itemsize == 1 else array[..., None].view(np.uint8)
            for name, array in out.items()}


def special_scores(channels, height, width, seed):
    """Few values, so that many classes tie; some are infinite or no numbers."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(-2, 3, (1, channels, height, width)).astype(np.float32)
    for value in (-np.inf, np.inf, np.nan):
        scores[rng.random(scores.shape) < 0.02] = value
    scores[..., rng.random((height, width)) < 0.1] = -np.inf
    return scores


@settings(max_examples=15, deadline=None)
@given(channels=st.integers(1, 5), block=st.integers(2, 4), seed=st.integers(0, 2 ** 16),
       cells=st.tuples(st.integers(1, 6), st.integers(1, 6)),
       size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
       kind=st.sampled_from(['logits', 'sigmoid', 'probabilities']),
       resize=st.sampled_from(['stretch', 'letterbox']),
       interpolation=st.sampled_from(['nearest', 'nearest', 'bilinear']),
       encoding=st.sampled_from(['mono8', 'mono16']),
       mask_size=st.sampled_from([None, (7, 9)]), for_cpu=st.booleans())
def test_the_bytes_are_those_of_the_whole_graph(
        networks, fixed, channels, block, seed, cells, size, kind, resize, interpolation,
        encoding, mask_size, for_cpu):
    values = special_scores(channels * block ** 2, *cells, seed)
    spec = networks.spec_of(fixed(values, block), input={'resize': resize, 'layout': 'nchw'},
                            output={'kind': kind, 'layout': 'nchw'})
    spec = with_mask(spec, RunOptions(mask_encoding=encoding, mask_size=mask_size))
    assert scores_names(spec) == MOVED
    image, outputs = networks.random_image(*size), available_outputs(spec)
    options = {'mask_interpolation': interpolation, 'for_cpu': for_cpu}
    wanted = networks.Runner(prepare(spec, **options))(image)
    found = infer(spec, image, outputs, **options)
    for name in outputs:
        np.testing.assert_array_equal(found[name], wanted[name], name)


def test_a_batch_is_the_same_bytes_as_one_by_one(networks):
    weights = np.random.default_rng(0).standard_normal((12, 3))
    model = shuffled(networks.pointwise(weights, (10, 14), stride=2), 2)
    one, three = (networks.spec_of(model, batch, output={'kind': 'logits'}) for batch in (1, 3))
    size, outputs = (11, 17), ('mask', 'confidence', 'overlay')
    images = [networks.random_image(*size, seed) for seed in range(3)]
    outs = [{name: np.empty(output_shape(name, size, None), np.uint8) for name in outputs}
            for _ in images]
    session = OnnxRuntimeSession(three, num_threads=1)
    session.set_palette(three.palette_table('bgr', three.task))
    session.set_channels(three.channels('bgr'))
    session.resize(*size, outputs)
    session.infer(images, outs)
    assert scores_names(three) == MOVED
    for image, out in zip(images, outs, strict=True):
        for name, wanted in infer(one, image, outputs).items():
            np.testing.assert_array_equal(out[name], wanted, name)


def test_each_task_of_a_network_has_its_own_order(networks):
    rng = np.random.default_rng(0)
    weights = {name: rng.standard_normal((count, 3)) for name, count in
               (('lanes', 3), ('drivable', 8))}
    model = networks.heads(weights, (6, 8))
    model.graph.node[1].output[0] = 'blocks'
    model.graph.node.append(helper.make_node('DepthToSpace', ['blocks'], ['drivable'],
                                             blocksize=2, mode='CRD'))
    model.graph.output[1].CopyFrom(networks.tensor('drivable', [1, 2, 12, 16]))
    spec = networks.spec_of(model, input={'color': 'bgr'},
                            outputs=[{'name': 'drivable'}, {'name': 'lanes'}])
    image, outputs = networks.random_image(9, 20), available_outputs(spec)
    wanted = networks.Runner(prepare(spec, for_cpu=True))(image)
    assert set(scores_names(spec)) == {'network/blocks', 'network/lanes'}
    for asked in (outputs, ('drivable/mask',), ('lanes/mask',)):
        for name, found in infer(spec, image, asked).items():
            np.testing.assert_array_equal(found, wanted[name], name)


def test_the_network_does_not_move_scores(networks, fixed):
    spec = networks.spec_of(fixed(special_scores(8, 3, 4, 0), 2), output={'kind': 'logits'})
    types = {node.op_type for node in prepare_network(spec).graph.node}
    assert 'ReduceMax' in types and 'DepthToSpace' not in types


@pytest.mark.parametrize('block, mode, reader', [(2, 'DCR', ''), (1, 'CRD', ''),
                                                 (2, 'CRD', 'node'), (2, 'CRD', 'body')])
def test_other_networks_are_left_as_they_are(networks, fixed, block, mode, reader):
    nodes = {'node': helper.make_node('ReduceMax', ['scores'], ['highest']),
             'body': _branches('scores')}
    model = fixed(special_scores(4 * block ** 2, 3, 4, 0), block, mode=mode,
                  readers=[nodes[reader]] if reader else [])
    spec = networks.spec_of(model, output={'kind': 'logits'})
    assert scores_names(spec) == KEPT
    assert 'DepthToSpace' in {node.op_type for node in prepare_network(spec).graph.node}


def _branches(name):
    """A node that reads ``name`` in its bodies."""
    body = helper.make_graph([helper.make_node('Identity', [name], ['same'])], 'body', [],
                             [helper.make_tensor_value_info('same', 1, None)])
    return helper.make_node('If', ['condition'], ['chosen'], then_branch=body, else_branch=body)


def test_smoothed_scores_are_in_order(networks, fixed):
    spec = networks.spec_of(fixed(special_scores(8, 3, 4, 0), 2), output={'kind': 'logits'})
    assert scores_names(with_mask(spec, RunOptions(smoothing=True))) == KEPT
