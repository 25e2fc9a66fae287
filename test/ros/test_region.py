# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Only the region of interest is segmented."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trt_segmentation.errors import ImageError
from trt_segmentation.images.render import halved
from trt_segmentation.options import RunOptions
from trt_segmentation.ros.region import Region
from trt_segmentation.segmenter import Segmenter

ALL = 'mask', 'confidence', 'overlay'
HEIGHT, WIDTH = 30, 40


@pytest.fixture(scope='module')
def segmenter(networks, tmp_path_factory):
    path = tmp_path_factory.mktemp('model') / 'net.onnx'
    config = 'input: {color: bgr, scale: 0.01, resize: letterbox}'
    onnx.save(networks.pointwise(np.eye(3), (24, 32), metadata=config), path)
    return Segmenter.open(path)


@pytest.fixture(scope='module')
def half(segmenter):
    return Segmenter.open(segmenter.spec.network.source,
                          options=RunOptions('onnxruntime', overlay_scale=0.5))


def inferred(region, segmenter, image, outputs=ALL, color='bgr'):
    """Return the results in arrays that had other contents before."""
    out = {name: np.full((*image.shape[:2], 3) if name == 'overlay' else image.shape[:2], 77,
                         np.uint8) for name in outputs}
    region.infer_batch(segmenter, [image], color=color, outputs=outputs, outs=[out])
    return out


@st.composite
def regions(draw):
    x, y = draw(st.integers(0, WIDTH - 1)), draw(st.integers(0, HEIGHT - 1))
    return Region(x, y, draw(st.integers(1, WIDTH - x)), draw(st.integers(1, HEIGHT - y)))


@given(region=regions(), color=st.sampled_from(['bgr', 'rgb']))
def test_inside_is_the_crops_answer_and_outside_nothing(networks, segmenter, region, color):
    image = networks.random_image(HEIGHT, WIDTH)
    found = inferred(region, segmenter, image, color=color)
    inside = np.s_[region.y:region.y + region.height, region.x:region.x + region.width]
    crop = segmenter.infer(image[inside], color=color, outputs=ALL)
    outside = np.ones((HEIGHT, WIDTH), bool)
    outside[inside] = False
    for name, nothing in (('mask', 255), ('confidence', 0), ('overlay', image[outside])):
        np.testing.assert_array_equal(found[name][inside], crop.arrays[name])
        assert (found[name][outside] == nothing).all()


@settings(max_examples=20)
@given(region=regions())
def test_overlays_of_half_the_size(networks, half, region):
    image = networks.random_image(HEIGHT - 1, WIDTH)  # height 29: the last row counts twice
    if region.y + region.height == HEIGHT:
        region.height -= 1
    if not region.height:
        return
    out = {'overlay': np.full((15, 20, 3), 77, np.uint8), 'mask': np.zeros((29, 40), np.uint8)}
    region.infer_batch(half, [image], color='bgr', outputs=tuple(out), outs=[out])
    crop = half.infer(image[region.y:region.y + region.height, region.x:region.x + region.width],
                      outputs='overlay').overlay
    inside = np.s_[region.y // 2:region.y // 2 + len(crop),
                   region.x // 2:region.x // 2 + crop.shape[1]]
    np.testing.assert_array_equal(out['overlay'][inside], crop)
    wanted = halved(image)
    wanted[inside] = crop
    np.testing.assert_array_equal(out['overlay'], wanted)
    assert out['mask'].shape == image.shape[:2]


@pytest.mark.parametrize('name', ALL)
def test_each_output_can_be_had_alone(networks, segmenter, name):
    region, image = Region(3, 5, 20, 10), networks.random_image(HEIGHT, WIDTH)
    np.testing.assert_array_equal(inferred(region, segmenter, image, (name,))[name],
                                  inferred(region, segmenter, image)[name])


@pytest.mark.parametrize('region', [(0, 0, WIDTH + 1, 1), (0, 0, 1, HEIGHT + 1),
                                    (WIDTH, 0, 1, 1), (0, HEIGHT, 1, 1)])
def test_a_region_beyond_the_image_is_refused(networks, segmenter, region):
    with pytest.raises(ImageError, match=r'the region of interest is .* but the image is 40x30'):
        inferred(Region(*region), segmenter, networks.random_image(HEIGHT, WIDTH))


def test_several_images_have_one_region(networks, segmenter, tmp_path):
    path = tmp_path / 'net.onnx'
    onnx.save(segmenter.spec.network.model, path)
    together = Segmenter.open(path, options=RunOptions('onnxruntime', batch=2))
    images = [networks.random_image(HEIGHT, WIDTH, seed) for seed in range(2)]
    outs = [inferred(Region(3, 4, 5, 6), segmenter, image) for image in images]
    found = [{name: np.full_like(array, 77) for name, array in out.items()} for out in outs]
    Region(3, 4, 5, 6).infer_batch(together, images, color='bgr', outputs=ALL, outs=found)
    for out, wanted in zip(found, outs, strict=True):
        for name in ALL:
            np.testing.assert_array_equal(out[name], wanted[name])
