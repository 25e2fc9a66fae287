# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The graphs that convert camera encodings, on ONNX Runtime, against OpenCV."""

from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from trt_segmentation.benchmark.camera_frames import camera_bytes
from trt_segmentation.errors import ImageError
from trt_segmentation.graph.onnx_tools.onnxruntime_api import import_onnxruntime
from trt_segmentation.graph.pipeline.camera_bytes import (
    CAMERA_BYTES,
    CAMERA_ENCODINGS,
    camera_format,
    camera_graph,
    camera_profile,
    image_size,
    main_name,
)
from trt_segmentation.images.decoding import ENCODINGS
from trt_segmentation.images.sources import SAMPLES, open_images

NAMES = sorted(set(map(main_name, CAMERA_ENCODINGS)))


@cache
def graph(encoding, batch):
    ort = import_onnxruntime()
    return ort.InferenceSession(camera_graph(encoding, batch).SerializeToString(),
                                providers=['CPUExecutionProvider'])


def converted(encoding, raw):
    return graph(encoding, len(raw)).run(['image'], {CAMERA_BYTES: raw})[0]


def by_opencv(encoding, raw):
    height, width = image_size(encoding, raw.shape)
    shape = raw.shape if camera_format(encoding).channels == 1 else (height, width, -1)
    return cv2.cvtColor(raw.reshape(shape), ENCODINGS[encoding].conversion)


def assert_near(encoding, raw, most):
    for image, one in zip(converted(encoding, raw), raw, strict=True):
        wanted = by_opencv(encoding, one)
        assert image.shape == wanted.shape
        assert np.abs(image.astype(int) - wanted).max() <= most


@pytest.mark.parametrize('encoding', NAMES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_random_images_of_any_legal_size_are_as_opencv_converts_them(encoding, data):
    known = camera_format(encoding)
    extents = st.integers(known.smallest, 40)
    height, width = known.fitting(data.draw(extents), data.draw(extents), up=True)
    batch, seed = data.draw(st.integers(1, 2)), data.draw(st.integers(0, 1000))
    limits = data.draw(st.sampled_from([(0, 256), (0, 20), (235, 256)]))
    raw = np.random.default_rng(seed).integers(
        *limits, (batch, *known.shape(height, width)), dtype=np.uint8)
    assert_near(encoding, raw, most=0 if known.cell == (1, 1) else 1)


@pytest.mark.parametrize('encoding', NAMES)
def test_photos_are_as_opencv_converts_them(encoding):
    _, photo = next(open_images(SAMPLES))
    even = np.ascontiguousarray(photo[:photo.shape[0] // 2 * 2, :photo.shape[1] // 2 * 2])
    raw = camera_bytes(even, encoding)
    assert_near(encoding, raw[None], most=0 if camera_format(encoding).cell == (1, 1) else 1)
    if not encoding.startswith('mono'):
        assert np.abs(by_opencv(encoding, raw).astype(int) - even).mean() < 10


@pytest.mark.parametrize('encoding', CAMERA_ENCODINGS)
def test_the_layout_is_that_of_the_decoder(encoding):
    decoded, known = ENCODINGS[encoding], camera_format(encoding)
    assert (decoded.channels, decoded.cell, decoded.itemsize) == (known.channels, known.cell, 1)
    assert known.shape(6, 8)[0] == decoded.rows(6)
    assert decoded.conversion == ENCODINGS[main_name(encoding)].conversion


def test_all_converted_encodings_of_8_bits_are_there():
    assert set(CAMERA_ENCODINGS) == {name for name, each in ENCODINGS.items()
                                     if each.conversion is not None and each.itemsize == 1}


@pytest.mark.parametrize(('encoding', 'shape', 'needed'), [
    ('nv12', (10, 8), r'uint8 \[height \* 3 / 2, width\], with an even height and width'),
    ('nv12', (9, 7), r'the image is \[9, 7\], which does not fit nv12; needed is uint8'),
    ('nv21', (3, 0), 'does not fit nv21'), ('uyvy', (4, 8, 2), r'\[4, 8, 2\]'),
    ('yuyv', (4, 10), r'uint8 \[height, width \* 2\], with an even width'),
    ('bgra8', (4, 10), r'needed is uint8 \[height, width \* 4\]$'),
    ('bayer_rggb8', (2, 8), 'at least 3x3 pixels'), ('mono8', (0, 4), 'does not fit mono8'),
    ('bgr8', (4, 12), "encoding 'bgr8' is not converted on the GPU; those that are: yuyv, ")])
def test_a_shape_that_no_image_has_is_refused(encoding, shape, needed):
    with pytest.raises(ImageError, match=needed):
        image_size(encoding, shape)


@pytest.mark.parametrize('encoding', NAMES)
def test_shapes_of_a_profile_fit_images_and_are_in_order(encoding):
    profile = camera_profile(encoding, 2, ((63, 65), (480, 640), (1081, 1921)))
    sizes = [image_size(encoding, shape[1:]) for shape in profile]
    assert {shape[0] for shape in profile} == {2}
    assert sizes == sorted(sizes)
    assert sizes[0] >= (63, 65)
    assert sizes[2] <= (1081, 1921)
    fixed = camera_profile(encoding, 1, ((65, 65),) * 3)
    assert len(set(fixed)) == 1


@pytest.mark.parametrize('encoding', NAMES)
def test_no_extent_is_left_to_a_reshape(encoding):
    """TensorRT 8.6 would reserve gigabytes for an extent of -1; see ``_reshaped``."""
    model = camera_graph(encoding)
    constants = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    sources = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type == 'Reshape':
            parts = sources[node.input[1]]
            assert parts.op_type == 'Concat'
            assert all((constants[name] > 0).all() for name in parts.input if name in constants)
