# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Mono and thermal cameras before networks of one channel, over real DDS."""

import numpy as np
import onnx
import pytest

SIZE = (48, 64)
HALF = np.zeros(SIZE, np.uint8)
HALF[:, 32:] = 255


@pytest.fixture
def gray_bench(make_bench, networks, tmp_path):
    """Start a node with a network that finds the brighter half."""
    def make(**fed):
        onnx.save(networks.pointwise([[-1], [1]], SIZE), tmp_path / 'net.onnx')
        config = networks.config_of(input={'mean': [1.0], 'std': [1.0], **fed})
        (tmp_path / 'net.yaml').write_text(config.to_text())
        bench = make_bench(engine_path=tmp_path / 'net.onnx', model_config=tmp_path / 'net.yaml',
                           overlay_alpha=0.0)
        bench.listen('mask', 'overlay')
        return bench

    return make


def test_every_camera_feeds_it(gray_bench, image_message, pixels_of):
    bench = gray_bench(scale=1 / 127.5)
    wide = HALF.astype('<u2') << 8 | 77
    swapped = image_message(wide.astype('>u2'), 'mono16')
    swapped.is_bigendian = 1
    colour = np.repeat(HALF[..., None], 3, axis=2)
    for msg in (image_message(HALF, 'mono8'), image_message(wide, 'mono16'), swapped,
                image_message(colour, 'rgb8'), image_message(colour),
                image_message(HALF, 'mono8')):
        stamp = bench.send(msg)
        np.testing.assert_array_equal(pixels_of(bench.answer('mask', stamp)), HALF > 127)
        overlay = bench.answer('overlay', stamp)
        assert overlay.encoding == 'bgr8'
        np.testing.assert_array_equal(pixels_of(overlay), colour)
    bench.send_in_vain(image_message(wide, '16UC1'), 'bad_frame')
    assert 'write input.depth: 16 into its config' in bench.log()


def test_a_thermal_camera_is_fed_with_16_bits(gray_bench, image_message):
    bench = gray_bench(scale=1 / 30_000, depth=16)
    kelvin = np.where(HALF, 30_010, 29_990).astype('<u2')  # hundredths, within one higher byte
    assert len(np.unique(kelvin >> 8)) == 1
    for encoding in ('16UC1', 'mono16'):
        np.testing.assert_array_equal(bench.segment(image_message(kelvin, encoding)), HALF > 127)
