# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Instance ids and detections: compared with NumPy."""

import json
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trt_segmentation.backends.onnxruntime import OnnxRuntimeSession
from trt_segmentation.cli.main import main
from trt_segmentation.errors import ConfigError
from trt_segmentation.graph.onnx_tools.network import describe_network, outline_network
from trt_segmentation.graph.pipeline.prepare import available_outputs, prepare
from trt_segmentation.graph.reading.instances import CANDIDATES
from trt_segmentation.graph.reading.resolve import complete_config, resolve, with_mask
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

SIZE, CELLS = (32, 48), (8, 12)
CLASSES, MASKS = 3, 4
LABELS = ['car', 'bus', 'person']
THRESHOLD = 0.25


def final_rows(seed, count):
    """Return rows [count, 6 + m] of an instance segmentation, some of them below the threshold
    and some partly outside, and prototypes [1, m, h, w]."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(-6, 40, (count, 2))
    rows = np.concatenate([low, low + rng.uniform(2, 30, (count, 2)),
                           rng.permutation(count)[:, None] / count,
                           rng.integers(0, CLASSES, (count, 1)),
                           rng.normal(size=(count, MASKS))], axis=1).astype(np.float32)
    return rows, rng.normal(size=(1, MASKS, *CELLS)).astype(np.float32)


def spec_of(networks, rows, prototypes, instances=True, **sections):
    model = networks.instances(rows[None], prototypes, size=SIZE)
    return resolve(describe_network(model, 'net.onnx'),
                   networks.config_of(**{'classes': {'labels': LABELS}} | sections),
                   instances=instances)


def expected_outputs(networks, rows, prototypes, image, resize, kept=(0, 1, 2)):
    """Return ids [H, W] and detections [K, 6], with one Python statement for each rule."""
    rows = rows[np.argsort(-rows[:, 4], kind='stable')][:CANDIDATES]
    height, width = image
    top, left, high, wide = (0, 0, *SIZE) if resize == 'stretch' else \
        networks.letterbox_window(image, SIZE)
    ids = np.zeros(CELLS, np.uint16)
    detections = np.zeros((len(rows), 6), np.float32)
    y, x = np.mgrid[:CELLS[0], :CELLS[1]].astype(np.float32)
    ratio = np.float32([CELLS[1] / SIZE[1], CELLS[0] / SIZE[0]] * 2)
    taken = np.zeros(CELLS, bool)
    for index, row in enumerate(rows):
        x_min, y_min, x_max, y_max = row[:4] * ratio
        covers = np.tensordot(row[6:], prototypes[0], 1) > 0
        covers &= (x >= x_min) & (x < x_max) & (y >= y_min) & (y < y_max) & ~taken
        taken |= covers
        if row[4] < THRESHOLD or row[5] not in kept:
            continue
        ids[covers] = index + 1
        box = (row[:4] - [left, top] * 2) * ([width / wide, height / high] * 2)
        detections[index, :4] = np.clip(box, 0, [width, height] * 2)
        detections[index, 4:] = row[4], kept.index(row[5])
    if resize == 'stretch':
        return networks.grown(ids, image), detections
    return networks.letterbox_grown(ids, image, SIZE), detections


def as_ids(pairs):
    """Return the bytes [H, W, 2] of ids as uint16 [H, W]."""
    return np.ascontiguousarray(pairs).view('<u2')[..., 0]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.sampled_from([1, 12, 90, 350]),
       image=st.sampled_from([(32, 48), (20, 70), (90, 33)]),
       resize=st.sampled_from(['stretch', 'letterbox']), for_cpu=st.booleans(),
       merged=st.booleans())
def test_ids_and_detections_are_those_of_numpy(networks, seed, count, image, resize, for_cpu,
                                               merged):
    rows, prototypes = final_rows(seed, count)
    classes = {'labels': LABELS}
    if merged:
        classes['merge'] = {'persons': ['person'], 'buses': ['bus']}
    spec = spec_of(networks, rows, prototypes, input={'resize': resize}, classes=classes)
    kept = (2, 1) if merged else (0, 1, 2)
    ids, detections = expected_outputs(networks, rows, prototypes, image, resize, kept)
    found = networks.Runner(prepare(spec, for_cpu=for_cpu))(networks.random_image(*image))
    np.testing.assert_array_equal(as_ids(found['instances']), ids)
    np.testing.assert_allclose(found['detections'], detections, rtol=1e-5, atol=1e-3)
    # A pixel of an instance has its class in the mask, and no other pixel has a class.
    table = np.append(255, detections[:, 5].astype(int))
    np.testing.assert_array_equal(found['mask'], table[ids])


def test_without_the_option_nothing_is_added(networks):
    rows, prototypes = final_rows(1, 12)
    off = spec_of(networks, rows, prototypes, instances=False)
    assert available_outputs(off) == ('mask', 'confidence', 'overlay')
    on = spec_of(networks, rows, prototypes)
    assert available_outputs(on) == (*available_outputs(off), 'instances', 'detections')
    found, more = ({name for node in prepare(spec).model.graph.node for name in node.output}
                   for spec in (off, on))
    assert more >= {'network/instances/places', 'network/instances/found'}
    assert found.isdisjoint({'network/instances/places', 'network/instances/found'})
    counts, larger = (Counter(node.op_type for node in prepare(spec).model.graph.node)
                      for spec in (off, on))
    assert counts < larger


def test_the_only_class_is_the_foreground_of_the_mask(networks):
    rows, prototypes = final_rows(6, 30)
    low, high, score, _, coefficients = np.split(rows, [2, 4, 5, 6], axis=1)
    anchors = np.concatenate([(low + high) / 2, high - low, score, coefficients], axis=1)
    model = networks.instances(anchors.T[None], prototypes, size=SIZE)
    spec = resolve(describe_network(model, 'net.onnx'), networks.config_of(
        output={'kind': 'instances'}, classes={'labels': ['background', 'car']}), instances=True)
    assert spec.scores.channels == 1
    found = networks.Runner(prepare(spec))(networks.random_image(*SIZE))
    used = found['detections'][:, 4] > 0
    assert used.any() and (found['detections'][used, 5] == 1).all()
    np.testing.assert_array_equal(found['mask'], as_ids(found['instances']) > 0)


def test_two_images_have_their_own_instances(networks):
    model = networks.spotted(SIZE)
    single = resolve(describe_network(model, 'net.onnx'),
                     networks.config_of(classes={'labels': LABELS}), instances=True)
    spec = replace(single, batch=2)
    names = ('instances', 'detections')
    images = [networks.random_image(20, 30, seed) for seed in range(2)]
    segmenter = Segmenter(OnnxRuntimeSession(spec), spec)
    first, second = segmenter.infer_batch(images, outputs=names)
    alone = Segmenter(OnnxRuntimeSession(single), single)
    for image, found in zip(images, (first, second), strict=True):
        wanted = alone.infer(image, outputs=names)
        np.testing.assert_array_equal(found.instances, wanted.instances)
        np.testing.assert_array_equal(found.detections, wanted.detections)
    assert first.instances.dtype == np.uint16 and first.instances.max() > 0
    assert not np.array_equal(first.detections, second.detections)


def test_an_engine_of_such_a_graph_has_its_instances(networks):
    rows, prototypes = final_rows(3, 12)
    spec = spec_of(networks, rows, prototypes)
    outline = outline_network('net.engine', spec.network.inputs, spec.network.outputs)
    again = resolve(outline, complete_config(spec))
    assert again.tasks[0].instances == spec.tasks[0].instances
    assert available_outputs(again) == available_outputs(spec)


def test_a_network_without_instances_is_refused(networks):
    spec = networks.spec_of(networks.fixed(np.zeros((1, 2, 4, 4), np.float32)))
    with pytest.raises(ConfigError, match='instances were requested, but its output is logits'):
        with_mask(spec, RunOptions(instances=True))


def test_run_writes_ids_and_detections(networks, tmp_path):
    rows, prototypes = final_rows(4, 12)
    model = networks.instances(rows[None], prototypes, size=SIZE)
    onnx.save(model, tmp_path / 'net.onnx')
    (tmp_path / 'net.yaml').write_text(json.dumps({'classes': {'labels': LABELS}}))
    image = networks.random_image(40, 60)
    cv2.imwrite(str(tmp_path / 'street.png'), image)
    assert main(['run', str(tmp_path / 'street.png'), '--output', str(tmp_path / 'out'),
                 '--model', str(tmp_path / 'net.onnx'), '--config', str(tmp_path / 'net.yaml'),
                 '--backend', 'onnxruntime', '--outputs', 'mask', 'instances',
                 'detections']) == 0
    ids, detections = expected_outputs(networks, rows, prototypes, (40, 60), 'letterbox')
    written = cv2.imread(str(tmp_path / 'out/street_instances.png'), cv2.IMREAD_UNCHANGED)
    assert written.dtype == np.uint16
    listed = json.loads((tmp_path / 'out/street_detections.json').read_text())
    np.testing.assert_array_equal(written, ids)
    used = np.flatnonzero(detections[:, 4])
    assert [each['id'] for each in listed] == (used + 1).tolist()
    assert [each['class'] for each in listed] == [LABELS[int(detections[i, 5])] for i in used]
    np.testing.assert_allclose([each['box'] for each in listed], detections[used, :4], atol=2e-3)
    np.testing.assert_allclose([each['score'] for each in listed], detections[used, 4], atol=1e-5)
