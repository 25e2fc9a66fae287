# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Instances of networks with queries: compared with NumPy."""

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trt_segmentation.backends.onnxruntime import OnnxRuntimeSession
from trt_segmentation.graph.onnx_tools.network import describe_network, outline_network
from trt_segmentation.graph.pipeline.prepare import available_outputs, prepare
from trt_segmentation.graph.reading.resolve import complete_config, resolve
from trt_segmentation.segmenter import Segmenter

SIZE, CELLS = (32, 48), (8, 12)
LABELS = ['car', 'bus', 'person']


def query_logits(seed, count, classes, dtype=np.float32):
    """Return masks [1, Q, h, w] and classes [1, Q, C + 1]: blobs, of which some are empty, with
    classes that are clear enough for a score above 0.5."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:CELLS[0], :CELLS[1]]
    centre = rng.uniform(0, CELLS, (count, 2))[:, :, None, None]
    radius = rng.uniform(-1, 6, (count, 1, 1))
    masks = 2 * (radius - np.hypot(y - centre[:, 0], x - centre[:, 1]))
    masks += rng.normal(0, 1, masks.shape)
    likely = rng.normal(0, 3, (count, classes + 1))
    return masks[None].astype(dtype), likely[None].astype(dtype)


def spec_of(networks, masks, likely, instances=True, opset=17, size=SIZE, **sections):
    model = networks.with_outputs({'masks': masks, 'classes': likely}, size=size, opset=opset)
    return resolve(describe_network(model, 'net.onnx'),
                   networks.config_of(**{'classes': {'labels': LABELS}} | sections),
                   instances=instances)


def transformers_pairs(networks, masks, likely):
    """Return mask, score and class of the pairs in descending order of their scores, by the
    statements of ``post_process_instance_segmentation``."""
    scores = networks.softmax(likely.astype(np.float32), axis=1)[:, :-1]
    best = np.argsort(-scores.ravel(), kind='stable')[:len(masks)]
    classes, queries = best % scores.shape[1], best // scores.shape[1]
    inside = masks[queries] > 0
    means = (networks.sigmoid(masks[queries]) * inside).sum((1, 2)) / (inside.sum((1, 2)) + 1e-6)
    scores = scores.ravel()[best] * means
    order = np.argsort(-scores, kind='stable')
    return inside[order], scores[order], classes[order]


def expected_outputs(networks, pairs, image, resize, threshold, kept=(0, 1, 2)):
    """Return ids [H, W] and detections [Q, 6]."""
    height, width = image
    top, left, high, wide = (0, 0, *SIZE) if resize == 'stretch' else \
        networks.letterbox_window(image, SIZE)
    cells = pairs[0].shape[1:]
    ids, free = np.zeros(cells, np.uint16), np.ones(cells, bool)
    detections = np.zeros((len(pairs[0]), 6))
    for index, (inside, score, each) in enumerate(zip(*pairs, strict=True)):
        covers, free = inside & free, free & ~inside
        if score < threshold or not score or each not in kept:
            continue
        ids[covers] = index + 1
        y, x = np.nonzero(inside)
        box = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1], float)
        box *= [SIZE[1] / cells[1], SIZE[0] / cells[0]] * 2
        box = (box - [left, top] * 2) * ([width / wide, height / high] * 2)
        detections[index, :4] = np.clip(box, 0, [width, height] * 2)
        detections[index, 4:] = score, kept.index(each)
    if resize == 'stretch':
        return networks.grown(ids, image), detections
    return networks.letterbox_grown(ids, image, SIZE), detections


def as_ids(pairs):
    """Return the bytes [H, W, 2] of ids as uint16 [H, W]."""
    return np.ascontiguousarray(pairs).view('<u2')[..., 0]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.sampled_from([1, 7, 60]),
       image=st.sampled_from([(32, 48), (20, 70), (90, 33)]),
       resize=st.sampled_from(['stretch', 'letterbox']), for_cpu=st.booleans(),
       grow=st.booleans(), merged=st.booleans(), threshold=st.sampled_from([0, 0.1, 0.5, 0.8]),
       opset=st.sampled_from([11, 13, 17, 18, 20]))
def test_ids_and_detections_are_those_of_transformers(networks, seed, count, image, resize,
                                                      for_cpu, grow, merged, threshold, opset):
    masks, likely = query_logits(seed, count, 3)
    classes = {'labels': LABELS}
    if merged:
        classes['merge'] = {'persons': ['person'], 'buses': ['bus']}
    spec = spec_of(networks, masks, likely, opset=opset, input={'resize': resize},
                   classes=classes, output={'grow_masks': grow, 'threshold': threshold})
    runner = networks.Runner(prepare(spec, for_cpu=for_cpu))
    found = runner(networks.random_image(*image))
    if grow:
        grown = networks.resized(np.moveaxis(masks[0], 0, 2).copy(), SIZE)
        masks = np.moveaxis(grown.reshape(*SIZE, count), 2, 0)[None]
        assume(np.abs(masks).min() > 1e-4)  # sums near 0 may round to the other side
    pairs = transformers_pairs(networks, masks[0], likely[0])
    scores = pairs[1][pairs[1] > 0]
    assume((scores[:-1] > scores[1:] * (1 + 1e-5)).all())  # equal scores have no order
    ids, detections = expected_outputs(networks, pairs, image, resize, threshold,
                                       (2, 1) if merged else (0, 1, 2))
    np.testing.assert_array_equal(as_ids(found['instances']), ids)
    np.testing.assert_allclose(found['detections'], detections, rtol=1e-5, atol=1e-3)


def clear_logits():
    """Return masks and classes of four queries: left, right, everything, nothing."""
    masks = np.full((1, 4, *CELLS), -4, np.float32)
    masks[0, 0, :, :6] = masks[0, 1, :, 6:] = masks[0, 2] = 4
    likely = np.zeros((1, 4, 4), np.float32)
    likely[0, [0, 1, 2, 3], [1, 2, 0, 1]] = 6, 7, 5, 9
    return masks, likely


def test_the_highest_score_wins_and_an_empty_mask_is_no_instance(networks):
    masks, likely = clear_logits()
    found = networks.Runner(prepare(spec_of(networks, masks, likely)))(
        networks.random_image(*SIZE))
    ids = as_ids(found['instances'])
    assert (ids[:, :24] == 2).all() and (ids[:, 24:] == 1).all()
    boxes = [[24, 0, 48, 32], [0, 0, 24, 32], [0, 0, 48, 32], [0, 0, 0, 0]]
    np.testing.assert_allclose(found['detections'][:, :4], boxes)
    assert found['detections'][:, 5].tolist() == [2, 1, 0, 0]
    likeliest = networks.softmax(likely[0], axis=1).max(1)[[1, 0, 2]]
    np.testing.assert_allclose(found['detections'][:, 4],
                               [*likeliest * networks.sigmoid(np.float32(4)), 0], rtol=1e-6)


def test_a_query_can_be_two_instances_whose_pixels_are_those_of_the_first(networks):
    masks, likely = clear_logits()
    likely[0, 0], likely[0, 2, 3] = [9, 9.1, 0, 0], 9
    spec = spec_of(networks, masks, likely, output={'threshold': 0.2})
    found = networks.Runner(prepare(spec))(networks.random_image(*SIZE))
    np.testing.assert_allclose(found['detections'][:, [0, 2, 5]],
                               [[24, 48, 2], [0, 24, 1], [0, 24, 0], [0, 0, 0]])
    ids = as_ids(found['instances'])
    assert (ids[:, :24] == 2).all() and (ids[:, 24:] == 1).all()


def test_a_query_of_nan_is_no_instance(networks):
    masks, likely = clear_logits()
    masks[0, 1, 3, 9] = likely[0, 2, 0] = np.nan
    found = networks.Runner(prepare(spec_of(networks, masks, likely)))(
        networks.random_image(*SIZE))
    assert found['detections'][:, 5].tolist() == [1, 0, 0, 0]
    ids = as_ids(found['instances'])
    assert (ids[:, :24] == 1).all() and not ids[:, 24:].any()


def test_the_only_class_is_the_foreground_of_the_mask(networks):
    masks, likely = clear_logits()
    spec = spec_of(networks, masks, likely[:, :, [1, 3]], output={'kind': 'queries'},
                   classes={'labels': ['background', 'car']})
    found = networks.Runner(prepare(spec))(networks.random_image(*SIZE))
    used = found['detections'][:, 4] > 0
    assert used.sum() == 1 and found['detections'][0, 5] == 1
    assert (as_ids(found['instances'])[:, :24] == 1).all()


def test_networks_of_half_precision_and_open_size(networks):
    masks, likely = query_logits(5, 12, 3, np.float16)
    fixed = spec_of(networks, masks, likely)
    image = networks.random_image(*SIZE)
    wanted = networks.Runner(prepare(fixed))(image)
    model = networks.with_outputs({'masks': masks, 'classes': likely}, size=('h', 'w'))
    for dim, name in zip(model.graph.output[0].type.tensor_type.shape.dim[2:], 'hw', strict=True):
        dim.dim_param = f'{name} of masks'
    spec = resolve(describe_network(model, 'net.onnx'), networks.config_of(
        input={'resize': 'none'}, classes={'labels': LABELS}), instances=True)
    found = networks.Runner(prepare(spec))(image)
    assert wanted['instances'].any()
    np.testing.assert_array_equal(found['instances'], wanted['instances'])
    np.testing.assert_allclose(found['detections'], wanted['detections'], rtol=1e-6)


def test_two_images_have_their_own_instances(networks):
    single, spec = (resolve(
        describe_network(networks.asked(SIZE), 'net.onnx'), networks.config_of(
            classes={'labels': LABELS}, output={'threshold': 0.1}), batch, instances=True)
        for batch in (1, 2))
    images = [networks.random_image(20, 30, seed) for seed in range(2)]
    names = ('instances', 'detections')
    found = Segmenter(OnnxRuntimeSession(spec), spec).infer_batch(images, outputs=names)
    alone = Segmenter(OnnxRuntimeSession(single), single)
    for image, each in zip(images, found, strict=True):
        wanted = alone.infer(image, outputs=names)
        assert each.instances.any()
        np.testing.assert_array_equal(each.instances, wanted.instances)
        np.testing.assert_allclose(each.detections, wanted.detections, rtol=1e-5)
    assert not np.array_equal(found[0].detections, found[1].detections)


def test_without_the_option_nothing_is_added(networks):
    off, on = (spec_of(networks, *clear_logits(), instances=each) for each in (False, True))
    assert available_outputs(off) == ('mask', 'confidence', 'overlay')
    assert available_outputs(on) == (*available_outputs(off), 'instances', 'detections')
    few, more = ([node.name for node in spec.network.model.graph.node] for spec in (off, on))
    assert more[:len(few)] == few
    assert all(name.startswith('instances/') for name in more[len(few):])
    outline = outline_network('net.engine', on.network.inputs, on.network.outputs)
    again = resolve(outline, complete_config(on))
    assert again.tasks[0].instances == on.tasks[0].instances
