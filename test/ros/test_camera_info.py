# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""CameraInfo of a mask whose size differs from the image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip('rclpy')

from sensor_msgs.msg import CameraInfo, RegionOfInterest

from trt_segmentation.ros.camera_info import is_scaled, scaled_camera_info

HEIGHT, WIDTH = 480, 640
EXTENT = st.integers(1, 2000)
FOCAL = st.floats(50, 5000)
POINT = st.tuples(st.floats(-5, 5), st.floats(-5, 5), st.floats(0.5, 50))
REGIONS = st.builds(
    lambda x, y, width, height: RegionOfInterest(x_offset=x, y_offset=y, width=width,
                                                 height=height),
    st.integers(0, 200), st.integers(0, 200), st.integers(2, 440), st.integers(4, 280))


def calibration(fx, fy, baseline, **more):
    """Return the info of a 640x480 camera, the right one of a stereo pair."""
    return CameraInfo(
        height=HEIGHT, width=WIDTH, distortion_model='plumb_bob', d=[0.1, -0.2, 0.0, 0.0, 0.3],
        k=[fx, 0.0, 320.3, 0.0, fy, 239.1, 0.0, 0.0, 1.0],
        r=np.eye(3).ravel().tolist(),
        p=[fx * 0.9, 0.0, 317.2, -fx * baseline, 0.0, fy * 0.9, 241.7, 0.0, 0.0, 0.0, 1.0, 0.0],
        **more)


def projected(matrix, point):
    """Return column and row of a point in the camera's frame, metres."""
    matrix = np.reshape(matrix, (3, -1))
    column, row, depth = matrix @ np.array([*point, 1.0][:matrix.shape[1]])
    return np.array([column, row]) / depth


def resized(pixel, source, size):
    """Return where a pixel of an image lies when that is resized; sizes are width, height."""
    return (pixel + 0.5) * np.array(size) / source - 0.5


@given(fx=FOCAL, fy=FOCAL, baseline=st.floats(0, 1), point=POINT, height=EXTENT, width=EXTENT)
def test_points_land_on_the_resized_pixel(fx, fy, baseline, point, height, width):
    info = calibration(fx, fy, baseline)
    scaled = scaled_camera_info(info, (height, width))
    assert (scaled.height, scaled.width) == (height, width)
    for ours, theirs in ((scaled.k, info.k), (scaled.p, info.p)):
        np.testing.assert_allclose(
            projected(ours, point),
            resized(projected(theirs, point), (WIDTH, HEIGHT), (width, height)),
            rtol=1e-9, atol=1e-6)


@given(roi=REGIONS, point=POINT, height=EXTENT, width=EXTENT)
def test_a_camera_that_crops_and_bins_is_followed(roi, point, height, width):
    info = calibration(500.0, 510.0, 0.1, roi=roi, binning_x=2, binning_y=4)
    scaled = scaled_camera_info(info, (height, width))
    binned = roi.width // 2 * 2, roi.height // 4 * 4  # an incomplete bin is not in the image
    for ours, theirs in ((scaled.k, info.k), (scaled.p, info.p)):
        in_region = projected(theirs, point) - (roi.x_offset, roi.y_offset)
        np.testing.assert_allclose(
            projected(ours, point), resized(in_region, binned, (width, height)), rtol=1e-9,
            atol=1e-6)
    assert scaled.roi == RegionOfInterest()
    assert (scaled.binning_x, scaled.binning_y) == (0, 0)


def test_an_impossible_binning_is_not_followed():
    info = calibration(500.0, 510.0, 0.1, binning_x=2 ** 32 - 1, binning_y=HEIGHT + 1)
    assert scaled_camera_info(info, (240, 320)).k[:3].tolist() == [250.0, 0.0, 159.9]


@pytest.mark.parametrize(('size', 'fields', 'expected'), [
    ((HEIGHT, WIDTH), {}, True), ((240, 320), {}, True), ((107, 142), {}, True),
    ((960, 1280), {}, True), ((360, 640), {}, False), ((640, 480), {}, False),
    ((239, 319), {'binning_x': 2, 'binning_y': 2}, True),
    ((480, 480), {'roi': RegionOfInterest(x_offset=80, width=480, height=480)}, True),
    ((HEIGHT, WIDTH), {'roi': RegionOfInterest(width=480, height=480)}, False)])
def test_which_images_are_the_cameras_image_scaled(size, fields, expected):
    assert is_scaled(calibration(500.0, 510.0, 0.1, **fields), size) == expected


def test_a_camera_that_is_not_calibrated_stays_so():
    scaled = scaled_camera_info(CameraInfo(height=HEIGHT, width=WIDTH), (240, 320))
    assert (scaled.height, scaled.width) == (240, 320)
    assert not scaled.k.any() and not scaled.p.any()


def test_fields_that_do_not_depend_on_the_size_are_kept():
    info = calibration(500.0, 510.0, 0.1)
    scaled = scaled_camera_info(info, (HEIGHT, WIDTH))
    assert scaled == info
    half = scaled_camera_info(info, (240, 320))
    assert (half.d, half.distortion_model, half.header) == (info.d, 'plumb_bob', info.header)
    np.testing.assert_array_equal(half.r, info.r)
    assert info == calibration(500.0, 510.0, 0.1), 'the camera\'s own message is left alone'
