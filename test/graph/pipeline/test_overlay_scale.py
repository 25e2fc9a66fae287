# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Overlays of half the image's size, against NumPy."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trt_segmentation.backends.base import output_shape
from trt_segmentation.errors import ConfigError
from trt_segmentation.graph.pipeline.overlay_scale import overlay_size
from trt_segmentation.graph.pipeline.prepare import prepare
from trt_segmentation.graph.reading.resolve import with_mask
from trt_segmentation.images.render import halved
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

INPUT = (24, 32)
SIZES = st.tuples(st.integers(1, 41), st.integers(1, 41))


def mean_of_pixels(image):
    """Return the exact mean of 2x2 pixels; the last row and column of odd sizes count twice."""
    height, width = image.shape[:2]
    even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), 'edge').astype(float)
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4


def half_spec(networks, scores, **options):
    return replace(networks.spec_of(networks.fixed(scores, size=INPUT), **options),
                   overlay_scale=0.5)


@pytest.mark.parametrize(('for_cpu', 'error'), [(False, 0.501), (True, 0.9)])
@pytest.mark.parametrize('resize', ['stretch', 'letterbox'])
@settings(max_examples=12)
@given(source=SIZES)
def test_the_overlay_is_the_mean_of_pixels_with_the_nearest_classes_colours(
        networks, for_cpu, error, resize, source):
    scores = networks.random_scores(3, 6, 8)
    spec = half_spec(networks, scores, input={'resize': resize})
    image, size = networks.random_image(*source), overlay_size(source, 0.5)
    runner = networks.Runner(prepare(spec, for_cpu=for_cpu))
    found = runner(image)
    ids = scores[0].argmax(0)
    ids = networks.letterbox_grown(ids, source, INPUT, size) if resize == 'letterbox' else \
        networks.grown(ids, size)
    wanted = (mean_of_pixels(image) + spec.palette_table('bgr')[ids]) / 2
    assert found['overlay'].shape == wanted.shape
    assert np.abs(found['overlay'] - wanted).max() <= error
    assert found['mask'].shape == source


@settings(max_examples=30)
@given(source=SIZES, channels=st.sampled_from([1, 3]))
def test_halved_images_are_the_rounded_mean(networks, source, channels):
    image = networks.random_image(*source)[..., :channels]
    given_image = image[..., 0] if channels == 1 else image
    found = halved(given_image).reshape(*overlay_size(source, 0.5), channels)
    assert np.abs(found - mean_of_pixels(image)).max() <= 0.5


@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear'])
def test_mask_size_and_interpolation_do_not_change_it(networks, interpolation):
    spec, image = half_spec(networks, networks.random_scores(3, 6, 8)), \
        networks.random_image(31, 50)
    options = {'mask_interpolation': interpolation}
    alone = networks.Runner(prepare(spec, ('overlay',), **options))(image)['overlay']
    assert alone.shape == (16, 25, 3)
    sized = networks.Runner(prepare(replace(spec, mask_size=(5, 7)), **options))(image)
    np.testing.assert_array_equal(sized['overlay'], alone)
    assert sized['mask'].shape == (5, 7)


def test_the_graph_is_valid_and_declares_no_size_of_the_image(networks):
    model = prepare(half_spec(networks, networks.random_scores(3, 6, 8))).model
    onnx.checker.check_model(model, full_check=True)
    dims = {value.name: [dim.dim_param or dim.dim_value for dim in
                         value.type.tensor_type.shape.dim] for value in model.graph.output}
    assert dims['overlay'] == [1, 'overlay_height', 'overlay_width', 3]
    assert dims['mask'] == [1, 'height', 'width']


def test_batches_and_opacities(networks, tmp_path):
    path = tmp_path / 'net.onnx'
    onnx.save(networks.pointwise(np.eye(3), (24, 32)), path)
    images = [networks.random_image(31, 40, seed) for seed in range(2)]
    one = RunOptions('onnxruntime', overlay_scale=0.5)
    with Segmenter.open(path, options=one) as alone, \
            Segmenter.open(path, options=replace(one, batch=2)) as both:
        assert alone.output_shape('overlay', (31, 40)) == (16, 20, 3)
        wanted = [alone.infer(image, outputs='overlay').overlay.copy() for image in images]
        for image, found, expected in zip(
                images, both.infer_batch(images, outputs='overlay'), wanted, strict=True):
            np.testing.assert_array_equal(found.overlay, expected)
            alone.overlay_alpha = 0.0
            shown = alone.infer(image, outputs='overlay').overlay
            assert np.abs(shown - mean_of_pixels(image)).max() <= 0.75


def test_gray_images_are_halved_of_both_depths(networks):
    spec = replace(networks.spec_of(networks.pointwise(np.ones((2, 1)), (24, 32)),
                                    input={'color': 'gray'}), overlay_scale=0.5)
    gray = networks.random_image(31, 40)[..., 0]
    wanted = mean_of_pixels(gray[..., None])
    for for_cpu in (False, True):
        runner = networks.Runner(prepare(spec, ('overlay',), for_cpu=for_cpu))
        for image in (gray, gray.astype(np.uint16) * 256 + gray[::-1]):
            found = runner(image, alpha=0)['overlay']
            assert found.shape == (16, 20, 3)
            assert np.abs(found - wanted).max() <= 0.75


def test_another_scale_is_refused(networks):
    spec = networks.spec_of(networks.fixed(networks.random_scores(3, 6, 8)))
    with pytest.raises(ConfigError, match=r'overlay_scale is 0\.25; it is one of 1, 0\.5'):
        with_mask(spec, RunOptions(overlay_scale=0.25))
    assert output_shape('overlay', (7, 9)) == (7, 9, 3)
