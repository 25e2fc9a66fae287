# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Masks of another size than the image, such as for smaller point clouds."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trt_segmentation.graph.pipeline.prepare import prepare

INPUT = (24, 32)
SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))
CELLS = st.sampled_from([(24, 32), (12, 16), (6, 8), (3, 4)])


def results(networks, spec, image, **options):
    return networks.Runner(prepare(spec, **options))(image)


@given(cells=CELLS, source=SIZES, wanted=SIZES)
def test_each_pixel_takes_the_nearest_cell(networks, cells, source, wanted):
    scores = networks.random_scores(3, *cells)
    spec = replace(networks.spec_of(networks.fixed(scores, size=INPUT)), mask_size=wanted)
    found = results(networks, spec, networks.random_image(*source))
    np.testing.assert_array_equal(found['mask'], networks.grown(scores[0].argmax(0), wanted))
    best = networks.as_byte(networks.softmax(scores[0]).max(axis=0))
    difference = found['confidence'].astype(int) - networks.grown(best, wanted)
    assert np.abs(difference).max() <= 1


@given(cells=CELLS, source=SIZES, wanted=SIZES)
def test_letterboxed_masks_show_the_source_without_its_borders(networks, cells, source, wanted):
    scores = networks.random_scores(3, *cells)
    spec = networks.spec_of(networks.fixed(scores, size=INPUT), input={'resize': 'letterbox'})
    found = results(networks, replace(spec, mask_size=wanted), networks.random_image(*source))
    expected = networks.letterbox_grown(scores[0].argmax(0), source, INPUT, wanted)
    np.testing.assert_array_equal(found['mask'], expected)


def test_bilinear_scores_are_decided_at_the_masks_size(networks):
    scores = networks.random_scores(3, 6, 8)
    spec = replace(networks.spec_of(networks.fixed(scores)), mask_size=(13, 21))
    found = results(networks, spec, networks.random_image(30, 50), mask_interpolation='bilinear')
    grown = networks.resized(np.moveaxis(scores[0], 0, 2), (13, 21))
    margin = np.diff(np.sort(grown, axis=2)[..., -2:], axis=2)[..., 0]
    clear = margin > 1e-4
    np.testing.assert_array_equal(found['mask'][clear], grown.argmax(axis=2)[clear])
    assert clear.mean() > 0.9


@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear'])
@pytest.mark.parametrize('for_cpu', [False, True])
def test_the_overlay_keeps_the_size_of_the_image(networks, interpolation, for_cpu):
    spec = networks.spec_of(networks.fixed(networks.random_scores(3, 6, 8)))
    image = networks.random_image(30, 50)
    options = {'mask_interpolation': interpolation, 'for_cpu': for_cpu}
    overlay = results(networks, spec, image, **options)['overlay']
    found = results(networks, replace(spec, mask_size=(5, 7)), image, **options)
    np.testing.assert_array_equal(found['overlay'], overlay)
    assert found['mask'].shape == found['confidence'].shape == (5, 7)


def test_the_size_is_declared(networks):
    spec = replace(networks.spec_of(networks.fixed(networks.random_scores(3, 6, 8))),
                   mask_size=(5, 7))
    model = prepare(spec).model
    onnx.checker.check_model(model, full_check=True)
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
              for value in model.graph.output}
    assert shapes['mask'] == shapes['confidence'] == [1, 5, 7]
