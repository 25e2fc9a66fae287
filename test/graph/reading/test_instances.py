# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Instances become classes as in Ultralytics' code: compared with NumPy."""

from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from trt_segmentation.errors import ConfigError, ModelError
from trt_segmentation.graph.analysis.measurement import MeasurementSetup
from trt_segmentation.graph.onnx_tools.network import TensorInfo, describe_network, outline_network
from trt_segmentation.graph.pipeline.prepare import prepare
from trt_segmentation.graph.reading.instances import CANDIDATES, MAX_INSTANCES, OVERLAP
from trt_segmentation.graph.reading.resolve import complete_config, resolve
from trt_segmentation.model_config import ModelConfig

SIZE, CELLS = (32, 48), (8, 12)
SCORES = 'network/instances/scores'
CLASSES, MASKS = 3, 4
LABELS = {'labels': ['car', 'bus', 'person']}


def network(networks, found, prototypes, **options):
    """Return a network that gives these instances and prototypes for every image."""
    return networks.instances(found, prototypes, **({'size': SIZE} | options))


def random_instances(seed, count=40, classes=CLASSES):
    """Return anchors [1, 4 + classes + m, count] around few objects, and prototypes."""
    rng = np.random.default_rng(seed)
    objects = np.stack([rng.uniform(0, SIZE[1], 6), rng.uniform(0, SIZE[0], 6),
                        rng.uniform(4, 30, 6), rng.uniform(4, 30, 6)])
    boxes = objects[:, rng.integers(0, 6, count)] + rng.normal(0, 1, (4, count))
    scores = rng.permutation(classes * count).reshape(classes, count) / (classes * count)
    coefficients = rng.normal(size=(MASKS, count))
    found = np.concatenate([boxes, scores, coefficients])[None].astype(np.float32)
    return found, rng.normal(size=(1, MASKS, *CELLS)).astype(np.float32)


def suppressed(rows):
    """Greedy non-maximum suppression of rows, the highest score first."""
    kept = []
    for row in rows[np.argsort(-rows[:, 4], kind='stable')]:
        for other in kept:
            low, high = np.maximum(row[:2], other[:2]), np.minimum(row[2:4], other[2:4])
            common = np.prod(np.maximum(high - low, 0))
            union = sum(np.prod(box[2:4] - box[:2]) for box in (row, other)) - common
            if row[5] == other[5] and common > OVERLAP * union:
                break
        else:
            kept.append(row)
    return np.array(kept)


def as_rows(found, classes=CLASSES):
    """Return anchors as final instances [n, 6 + m]."""
    centre, extent, scores, coefficients = np.split(found[0], [2, 4, 4 + classes])
    return np.concatenate([centre - extent / 2, centre + extent / 2, scores.max(0)[None],
                           scores.argmax(0)[None], coefficients]).T


def painted(networks, rows, prototypes, classes=CLASSES, size=CELLS, most=MAX_INSTANCES):
    """Return scores [classes, h, w]: the highest of the instances that cover a pixel."""
    scores = np.zeros((classes, *size), np.float32)
    prototypes = np.moveaxis(networks.resized(np.moveaxis(prototypes[0], 0, 2), size), 2, 0)
    y, x = np.mgrid[:size[0], :size[1]].astype(np.float32)
    ratio = np.float32([size[1] / SIZE[1], size[0] / SIZE[0]] * 2)
    for row in rows[np.argsort(rows[:, 4], kind='stable')][-most:]:  # the highest comes last
        left, top, right, bottom = row[:4] * ratio
        covers = np.tensordot(row[6:], prototypes, 1) > 0
        covers &= (x >= left) & (x < right) & (y >= top) & (y < bottom)
        scores[:, covers] = 0
        scores[int(row[5]), covers] = row[4]
    return scores


def found_scores(networks, spec):
    run = networks.Runner(prepare(spec), [SCORES])(networks.random_image(*SIZE))
    return run.pop(SCORES), run


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), opset=st.sampled_from([11, 12, 13, 17, 18, 20]),
       count=st.sampled_from([12, 40, 700]))
def test_anchors_are_suppressed_and_painted_as_in_numpy(networks, seed, opset, count):
    found, prototypes = random_instances(seed, count)
    if count > 512:
        found[:, 4:4 + CLASSES, 40:] *= 0.01  # not of the highest, in either way of counting
    spec = networks.spec_of(network(networks, found, prototypes, opset=opset), classes=LABELS)
    assert spec.pair.kind == 'instances'
    expected = painted(networks, suppressed(as_rows(found)), prototypes)
    scores, run = found_scores(networks, spec)
    np.testing.assert_allclose(scores.max(0)[scores.max(0) > 0.01],
                               expected.max(0)[scores.max(0) > 0.01], rtol=1e-5)
    best, ids = expected.max(0), expected.argmax(0)
    mask = np.where(best >= 0.25, ids, 255)
    np.testing.assert_array_equal(run['mask'], networks.grown(mask, SIZE))
    confidence = networks.as_byte(np.where(best >= 0.25, best, 0))
    np.testing.assert_array_equal(run['confidence'], networks.grown(confidence, SIZE))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.sampled_from([12, 90, 350]), empty=st.integers(0, 9))
def test_final_instances_are_painted_as_they_are(networks, seed, count, empty):
    found, prototypes = random_instances(seed, count)
    rows = np.pad(as_rows(found), ((0, empty), (0, 0)))  # as nms=True of Ultralytics has them
    spec = networks.spec_of(network(networks, rows[None], prototypes), classes=LABELS)
    scores, _ = found_scores(networks, spec)
    expected = painted(networks, rows, prototypes, most=CANDIDATES)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


@pytest.mark.parametrize('count', [150, 400])
def test_of_many_anchors_the_best_get_a_mask(networks, count):
    found, prototypes = random_instances(5, count)
    rng = np.random.default_rng(5)
    found[0, :2] = rng.uniform(0, [[SIZE[1]], [SIZE[0]]], (2, count))
    found[0, 2:4] = rng.uniform(2, 6, (2, count))  # apart, so that nearly all are kept
    kept = suppressed(as_rows(found))
    assert len(kept) > (MAX_INSTANCES if count > MAX_INSTANCES else 100)
    spec = networks.spec_of(network(networks, found, prototypes), classes=LABELS)
    scores, _ = found_scores(networks, spec)
    np.testing.assert_allclose(scores, painted(networks, kept, prototypes), rtol=1e-5)


def test_grow_masks_resizes_before_the_threshold(networks):
    found, prototypes = random_instances(1)
    spec = networks.spec_of(network(networks, found, prototypes), classes=LABELS,
                            output={'grow_masks': True})
    expected = painted(networks, suppressed(as_rows(found)), prototypes, size=SIZE)
    scores, run = found_scores(networks, spec)
    assert (np.isclose(scores, expected)).mean() > 0.998  # sums round: logits of 0
    assert (run['mask'] != networks.grown(run['mask'][2::4, 2::4], SIZE)).any()


def test_of_one_class_all_else_is_background(networks):
    found, prototypes = random_instances(2, classes=1)
    spec = networks.spec_of(network(networks, found, prototypes))
    assert spec.labels == ('background', 'foreground')
    _, run = found_scores(networks, spec)
    best = painted(networks, suppressed(as_rows(found, 1)), prototypes, 1).max(0)
    np.testing.assert_array_equal(run['mask'], networks.grown((best >= 0.25).astype(int), SIZE))


def test_half_precision_and_an_open_size(networks):
    found, prototypes = random_instances(3)
    model = network(networks, found, prototypes, size=('h', 'w'), dtype=np.float16)
    for value in model.graph.output:
        for dim in value.type.tensor_type.shape.dim[2:]:
            dim.dim_param = f'{value.name}_open'
    spec = networks.spec_of(model, input={'resize': 'none'}, classes=LABELS)
    _, run = found_scores(networks, spec)
    rounded = [array.astype(np.float16).astype(np.float32) for array in (found, prototypes)]
    best = painted(networks, suppressed(as_rows(rounded[0])), rounded[1])
    mask = networks.grown(np.where(best.max(0) >= 0.25, best.argmax(0), 255), SIZE)
    assert (run['mask'] == mask).mean() > 0.99  # scores that are equal by now


def test_provenance(networks):
    spec = networks.spec_of(network(networks, *random_instances(0)))
    provenance = {entry.key: (entry.value, entry.origin) for entry in spec.provenance}
    assert provenance['output.kind'] == ('instances', 'graph')
    assert provenance['output.name'] == ('output1', 'graph')
    assert provenance['output.class_name'] == ('output0', 'graph')
    assert provenance['output.grow_masks'] == (False, 'default')
    assert provenance['output.threshold'] == (0.25, 'default')
    assert provenance['classes.labels'][0] == ('class 0', 'class 1', 'class 2')


def test_without_known_names_the_coefficients_are_measured(networks):
    model = networks.with_outputs(dict(zip(('a', 'b'), random_instances(0), strict=True)),
                                  size=SIZE)
    read, config = describe_network(model, 'net.onnx'), ModelConfig()
    for measuring, origin in ((MeasurementSetup(), 'measured (coefficients -'), (None, 'assumed')):
        spec = resolve(read, config, measuring=measuring)
        found = next(entry for entry in spec.provenance if entry.key == 'output.kind')
        assert (found.value, found.origin[:len(origin)]) == ('instances', origin)


def test_a_complete_config_gives_the_same_spec(networks):
    read = describe_network(network(networks, *random_instances(0)), 'net.onnx')
    config = ModelConfig.from_text('output: {grow_masks: true}\n'
                                   'input: {resize: letterbox, border: 114}', 'test')
    spec = resolve(read, config)
    again = resolve(read, ModelConfig.from_text(complete_config(spec).to_text(), 'test'))
    assert again.assumed == ()
    assert replace(again, provenance=(), network=read) == \
        replace(spec, provenance=(), network=read)


def test_an_own_engine_has_the_combined_output(networks):
    spec = networks.spec_of(network(networks, *random_instances(0)))
    engine = outline_network('net.engine', spec.network.inputs, spec.network.outputs)
    assert resolve(engine, complete_config(spec)).scores == spec.scores


def test_an_external_engine_is_refused():
    image = TensorInfo('pixels', TensorProto.FLOAT, (1, 3, 64, 64))
    engine = outline_network('net.engine', [image], [
        TensorInfo('output0', TensorProto.FLOAT, (1, 39, 84)),
        TensorInfo('output1', TensorProto.FLOAT, (1, 32, 16, 16))])
    with pytest.raises(ModelError, match=r'net\.engine: .*instances.*open its \.onnx file'):
        resolve(engine, ModelConfig())


def test_final_instances_need_their_classes(networks):
    found, prototypes = random_instances(0)
    with pytest.raises(ConfigError, match=r'number of classes; .* as classes\.labels; .*\.name'):
        networks.spec_of(network(networks, as_rows(found)[None], prototypes))


@pytest.mark.parametrize(('config', 'message'), [
    ({'kind': 'instances', 'class_name': 'nowhere'}, r'is instances, but no matching .*output1'),
    ({'threshold': 0}, r'threshold is 0, .* set it above 0'),
    ({'kind': 'logits', 'name': 'output1', 'grow_masks': True},
     r'grow_masks is .True., but output\.kind is logits')])
def test_contradictions(networks, config, message):
    with pytest.raises(ConfigError, match=message):
        networks.spec_of(network(networks, *random_instances(0)), output=config)


def test_boxes_are_compared_with_cells_once_however_many_there_are(networks):
    """Not once for each block, which TensorRT 8.6 computes incorrectly: see ``_add_scores``."""
    few, many = (
        Counter(node.op_type for node in prepare(networks.spec_of(
            network(networks, *random_instances(0, count)), classes=LABELS)).model.graph.node)
        for count in (40, 350))
    assert few['MatMul'] < many['MatMul']
    assert few['Less'] == many['Less']


_RESHAPING = {'Transpose', 'Reshape', 'Squeeze', 'Unsqueeze'}


@pytest.mark.parametrize('open_count', [False, True])
def test_no_operation_gets_one_tensor_in_two_shapes(networks, open_count):
    """TensorRT 8.6 may use one for both operands: see ``_add_suppression``."""
    model = network(networks, *random_instances(0))
    if open_count:
        next(value for value in model.graph.output if value.name == 'output0'
             ).type.tensor_type.shape.dim[2].dim_param = 'anchors'
    graph = prepare(networks.spec_of(model, classes=LABELS)).model.graph
    makers = {name: node for node in graph.node for name in node.output}

    def source(name):
        while name in makers and makers[name].op_type in _RESHAPING:
            name = makers[name].input[0]
        return name

    for node in graph.node:
        for a, b in combinations(node.input, 2):
            assert a == b or source(a) != source(b) or source(a) not in makers, node
