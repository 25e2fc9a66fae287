# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Merged classes and 16-bit masks in the prepared graph, compared with NumPy."""

from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trt_segmentation.classes.mask_encoding import MONO8, MONO16
from trt_segmentation.errors import ConfigError
from trt_segmentation.graph.pipeline.prepare import prepare
from trt_segmentation.graph.reading.resolve import complete_config, resolve, with_mask
from trt_segmentation.options import RunOptions

FORMS = st.booleans()
INTERPOLATIONS = st.sampled_from(['nearest', 'bilinear'])


@st.composite
def merges(draw, channels):
    """A merge of classes 0 .. channels - 1, and the mask id of each, -1 for none."""
    count = draw(st.integers(1, 4))
    mask_ids = draw(st.lists(st.integers(-1, count - 1), min_size=channels, max_size=channels)
                    .filter(lambda ids: set(range(count)) <= set(ids)))
    merge = {f'merged {k}': [i for i, mask_id in enumerate(mask_ids) if mask_id == k]
             for k in range(count)}
    rest = draw(st.integers(-1, count - 1)) if -1 not in mask_ids else -1
    if rest >= 0:
        merge[f'merged {rest}'] = 'rest'
    return merge, np.array(mask_ids)


def run(networks, spec, image, **options):
    """The outputs of a prepared graph, 16-bit masks as such."""
    found = networks.Runner(prepare(spec, **options))(image)
    if spec.encoding == MONO16:
        found['mask'] = found['mask'].view(np.uint16)[..., 0]
    return found


@given(data=st.data(), seed=st.integers(0, 2 ** 16), for_cpu=FORMS, wide=st.booleans(),
       interpolation=INTERPOLATIONS)
def test_the_winning_class_is_mapped(networks, data, seed, for_cpu, wide, interpolation):
    channels, size = 7, (6, 5)
    merge, mask_ids = data.draw(merges(channels))
    scores, image = networks.random_scores(channels, *size, seed), networks.random_image(*size)
    encoding = MONO16 if wide else MONO8
    model = networks.fixed(scores)
    plain, merged = (replace(networks.spec_of(model, output={'kind': 'logits'}, classes=classes),
                             encoding=encoding)
                     for classes in ({}, {'merge': merge}))
    options = {'for_cpu': for_cpu, 'mask_interpolation': interpolation}
    before, after = (run(networks, spec, image, **options) for spec in (plain, merged))
    winners = scores[0].argmax(axis=0)
    expected = mask_ids[winners]
    kept = expected >= 0
    np.testing.assert_array_equal(before['mask'], winners)
    np.testing.assert_array_equal(after['mask'], np.where(kept, expected, encoding.unlabelled))
    np.testing.assert_array_equal(after['confidence'], np.where(kept, before['confidence'], 0))
    colors = np.array([*merged.palette.colors, (0, 0, 0)])[expected][..., ::-1]
    assert np.abs(after['overlay'] - (image / 2 + colors / 2)).max() <= 0.5 + 1e-6


@given(data=st.data(), seed=st.integers(0, 2 ** 16), for_cpu=FORMS,
       dtype=st.sampled_from([np.uint8, np.int32, np.int64]))
def test_ids_are_mapped(networks, data, seed, for_cpu, dtype):
    merge, mask_ids = data.draw(merges(5))
    limits = (0, 256) if dtype == np.uint8 else (-300, 70000)
    rng = np.random.default_rng(seed)
    ids = np.where(rng.random((1, 6, 5)) < 0.8, rng.integers(0, 5, (1, 6, 5)),
                   rng.integers(*limits, (1, 6, 5))).astype(dtype)
    spec = networks.spec_of(networks.fixed(ids), classes={
        'labels': list('abcde'), 'merge': merge})
    found = run(networks, spec, networks.random_image(6, 5), for_cpu=for_cpu)
    known = (ids[0] >= 0) & (ids[0] < 5)
    expected = np.where(known, mask_ids[np.where(known, ids[0], 0)], -1)
    np.testing.assert_array_equal(found['mask'], np.where(expected < 0, 255, expected))


@given(seed=st.integers(0, 2 ** 16), for_cpu=FORMS)
def test_ids_of_16_bits_are_kept(networks, seed, for_cpu):
    ids = np.random.default_rng(seed).integers(-5, 66000, (1, 6, 5), np.int32)
    spec = networks.spec_of(networks.fixed(ids), classes={'unlabelled': 7})
    found = run(networks, replace(spec, encoding=MONO16), networks.random_image(6, 5),
                for_cpu=for_cpu)
    good = (ids[0] >= 0) & (ids[0] < 65535) & (ids[0] != 7)
    np.testing.assert_array_equal(found['mask'], np.where(good, ids[0], 65535))


@pytest.mark.parametrize('opset', [11, 12, 13, 17, 20])
@pytest.mark.parametrize('for_cpu', [False, True])
def test_each_opset_writes_16_bits_at_each_size(networks, opset, for_cpu):
    scores = networks.random_scores(300, 3, 4)
    spec = networks.spec_of(networks.fixed(scores, size=(12, 16), opset=opset))
    spec = with_mask(spec, RunOptions(mask_encoding='mono16', mask_size=(7, 9)))
    prepared = prepare(spec, for_cpu=for_cpu)
    onnx.checker.check_model(prepared.model, full_check=True)
    found = run(networks, spec, networks.random_image(20, 30), for_cpu=for_cpu)
    expected = networks.grown(scores[0].argmax(axis=0), (7, 9))
    assert expected.max() > 255
    np.testing.assert_array_equal(found['mask'], expected)


def test_a_pixel_without_a_score_has_no_class_in_16_bits(networks):
    scores = networks.random_scores(300, 2, 2)
    scores[0, 17, 0, 0] = np.nan
    spec = with_mask(networks.spec_of(networks.fixed(scores)), RunOptions(mask_encoding='mono16'))
    found = run(networks, spec, networks.random_image(2, 2))
    assert found['mask'][0, 0] == 65535
    assert (found['mask'].ravel()[1:] < 300).all()


def test_class_255_is_a_class_where_there_are_more(networks):
    scores = np.zeros((1, 300, 2, 2), np.float32)
    scores[0, 255] = 9
    spec = with_mask(networks.spec_of(networks.fixed(scores)), RunOptions(mask_encoding='mono16'))
    assert (run(networks, spec, networks.random_image(2, 2))['mask'] == 255).all()


def test_too_many_classes_for_8_bits_are_refused_with_two_ways_out(networks):
    model = networks.fixed(networks.random_scores(256, 2, 2))
    with pytest.raises(ConfigError, match=r'needs 256 class ids.* at most 255.*set mask_encoding '
                                          r'to mono16.*classes\.merge'):
        with_mask(networks.spec_of(model), RunOptions())
    merged = networks.spec_of(model, classes={'merge': {'last': [255], 'other': 'rest'}})
    assert with_mask(merged, RunOptions()).encoding == MONO8


def test_a_complete_config_keeps_the_merge(networks):
    model = networks.fixed(networks.random_scores(5, 2, 2))
    spec = networks.spec_of(model, classes={'merge': {'a': [0, 3], 'b': 'rest'}})
    again = resolve(spec.network, complete_config(spec))
    assert (again.labels, again.palette, again.merge) == (spec.labels, spec.palette, spec.merge)


def test_merging_adds_no_node_that_runs_for_every_pixel(networks):
    model = networks.fixed(networks.random_scores(5, 8, 8))
    plain = networks.spec_of(model)
    merged = networks.spec_of(model, classes={'merge': {'a': [0, 3], 'b': 'rest'}})
    before, after = (Counter(node.op_type for node in prepare(spec, ('mask',)).model.graph.node)
                     for spec in (plain, merged))
    assert before - after == {'Cast': 1}  # ids to float
    assert after - before == {'Gather': 1}  # gives floats
