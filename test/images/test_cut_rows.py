# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Parts that are cut out of a camera's bytes have the pixels of the part."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trt_segmentation.graph.pipeline.camera_bytes import CAMERA_ENCODINGS, camera_format
from trt_segmentation.images.decoding import can_be_cut, cut_rows, rows_to_bgr

HEIGHT, WIDTH = 12, 16


@settings(max_examples=40)
@given(st.data())
def test_a_part_has_the_pixels_that_the_image_has_there(data):
    encoding = data.draw(st.sampled_from(CAMERA_ENCODINGS))
    x, y = data.draw(st.integers(0, WIDTH - 2)), data.draw(st.integers(0, HEIGHT - 2))
    width, height = data.draw(st.integers(1, WIDTH - x)), data.draw(st.integers(1, HEIGHT - y))
    across, down = camera_format(encoding).cell
    is_even = not (x % across or width % across or y % down or height % down)
    assert can_be_cut(encoding, x, y, width, height) \
        == (is_even and not encoding.startswith('bayer'))
    if not can_be_cut(encoding, x, y, width, height):
        return
    rows = np.random.default_rng(0).integers(
        0, 256, camera_format(encoding).shape(HEIGHT, WIDTH), np.uint8)
    part = np.empty(camera_format(encoding).shape(height, width), np.uint8)
    cut_rows(rows, encoding, x, y, part)
    np.testing.assert_array_equal(rows_to_bgr(part, encoding),
                                  rows_to_bgr(rows, encoding)[y:y + height, x:x + width])


@pytest.mark.parametrize('encoding', ['nv12', 'yuyv', 'mono8', 'rgba8'])
def test_every_encoding_can_be_cut_at_even_places(encoding):
    assert can_be_cut(encoding, 2, 4, 6, 8)
