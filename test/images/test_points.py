# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Labelled points equal those of the pinhole model, computed pixel by pixel in float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trt_segmentation.errors import ImageError
from trt_segmentation.images.points import Pinhole, PointOptions, PointProjector

CAMERA = Pinhole(52.5, 51.0, 7.3, 5.9)


def pinhole_points(depth, camera, mask, options):
    """Return x, y, z [rows, columns, 3] of every stride-th pixel; missing ones are NaN."""
    (height, width), rows = mask.shape, len(depth)
    v, u = np.mgrid[:height:options.stride, :width:options.stride]
    if rows >= height:  # the depth pixel at the centre of the mask pixel
        ratio = rows // height
        v, u = v * ratio + ratio // 2, u * ratio + ratio // 2
        z = depth[v, u].astype(float)
    else:
        ratio = height // rows
        z = depth[v // ratio, u // ratio].astype(float)
        v, u = (v + 0.5) / ratio - 0.5, (u + 0.5) / ratio - 0.5
    if depth.dtype == np.uint16:
        z /= 1000
    kept = (z > 0) & (z >= options.near - 1e-6) & (z <= options.far + 1e-6)
    if options.classes is not None:
        kept &= np.isin(mask[::options.stride, ::options.stride], options.classes)
    z[~kept] = np.nan
    return np.stack([(u - camera.cx) / camera.fx * z, (v - camera.cy) / camera.fy * z, z], -1)


def depth_image(rng, size, dtype):
    if dtype == np.uint16:
        return rng.integers(0, 9000, size, np.uint16) * rng.integers(0, 2, size, np.uint16)
    depth = rng.uniform(-1, 9, size).astype(np.float32)
    depth[rng.random(size) < 0.3] = rng.choice([np.nan, np.inf, -np.inf, 0])
    return depth


@given(seed=st.integers(0, 1000), dtype=st.sampled_from([np.uint16, np.float32]),
       mask_type=st.sampled_from([np.uint8, np.uint16]), ratio=st.sampled_from([1, 2, 3, -2, -4]),
       size=st.tuples(st.integers(1, 5), st.integers(1, 6)), stride=st.integers(1, 5),
       classes=st.sampled_from([None, (), (1,), (0, 3, 255)]), organized=st.booleans())
def test_points_are_those_of_the_pinhole_model(seed, dtype, mask_type, ratio, size, stride,
                                               classes, organized):
    rng = np.random.default_rng(seed)
    smaller, larger = size, (size[0] * abs(ratio), size[1] * abs(ratio))
    depth_size, mask_size = (larger, smaller) if ratio > 0 else (smaller, larger)
    depth = depth_image(rng, depth_size, dtype)
    mask = rng.choice(np.array([0, 1, 2, 3, 255], mask_type), mask_size)
    confidence = rng.integers(0, 256, mask_size, np.uint8)
    colors = rng.integers(0, 256, (4, 3), np.uint8)
    options = PointOptions(stride, 0.5, 7.0, organized, classes, True, colors)
    projector = PointProjector(mask_size, mask_type, options)
    for _ in range(2):  # the buffers are reused
        count = projector.project(depth, CAMERA, mask, confidence)
    expected = pinhole_points(depth, CAMERA, mask, options)
    kept = np.isfinite(expected[..., 2])
    assert count == kept.sum()
    if not organized:
        kept = kept[kept]
        expected = expected[np.isfinite(expected[..., 2])]
    out = np.empty(projector.points.dtype.itemsize * (kept.size if organized else count), np.uint8)
    projector.write(count, out)
    points = out.view(projector.points.dtype).reshape(kept.shape)
    for axis, name in enumerate('xyz'):
        np.testing.assert_allclose(points[name], expected[..., axis], rtol=1e-6, atol=1e-6)
    shown = np.s_[::stride, ::stride]
    of_points = np.s_[:] if organized else \
        np.isfinite(pinhole_points(depth, CAMERA, mask, options)[..., 2])
    np.testing.assert_array_equal(points['class_id'], mask[shown][of_points])
    np.testing.assert_array_equal(points['confidence'], confidence[shown][of_points])
    packed = np.zeros(256, np.uint32)
    packed[:4] = colors.astype(np.uint32) @ [65536, 256, 1]
    np.testing.assert_array_equal(points['rgb'].copy().view(np.uint32),
                                  packed[mask[shown][of_points]])


def test_a_point_has_only_the_fields_that_are_wanted():
    fields = PointProjector((2, 2), np.uint16, PointOptions()).points.dtype
    assert fields.names == ('x', 'y', 'z', 'class_id')
    assert (fields['class_id'], fields.itemsize) == (np.uint16, 16)


@pytest.mark.parametrize('size', [(3, 4), (6, 4), (5, 9), (0, 0), (4, 4)])
def test_depth_of_another_size_is_named(size):
    projector = PointProjector((2, 4), np.uint8, PointOptions())
    with pytest.raises(ImageError, match=r'depth image is \d+x\d+, but the mask is \d+x\d+'):
        projector.project(np.ones(size, np.float32), CAMERA, np.zeros((2, 4), np.uint8))
