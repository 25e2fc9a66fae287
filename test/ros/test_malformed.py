# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Whatever is published on the image topic, the node answers the next good frame."""

from array import array

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import Image

from trt_segmentation.demo.scenes import render
from trt_segmentation.segmenter import Segmenter

MALFORMED = 500
ENCODINGS = ['bgr8', 'rgb8', 'bgra8', 'mono8', 'mono16', '8UC3', 'bayer_rggb8', 'uyvy',
             'yuv422_yuy2', '16UC1', '32FC1', 'nv12', 'jpeg', '', 'BGR8', 'rgb8 ', '\u00e9']
SIZES = st.one_of(st.integers(0, 9), st.sampled_from([16, 33, 4096, 2**16, 2**31, 2**32 - 1]))

malformed_images = st.builds(
    lambda height, width, step, encoding, big, data: Image(
        height=height, width=width, step=step, encoding=encoding, is_bigendian=big,
        data=array('B', data)),
    SIZES, SIZES, SIZES, st.sampled_from(ENCODINGS), st.integers(0, 1),
    st.binary(max_size=120))


def test_good_frames_between_malformed_ones_are_answered(make_bench, image_message, pixels_of):
    bench = make_bench()
    bench.listen('mask')
    scene = render(3, 64, 64).image
    expected = Segmenter.open().infer(scene).mask.copy()
    good = image_message(scene)
    sent = 0

    @settings(max_examples=MALFORMED, deadline=None, derandomize=True, database=None,
              phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(malformed_images)
    def interleave(bad):
        nonlocal sent
        if sent >= MALFORMED:
            return
        sent += 1
        bench.send(bad)
        bench.spin_for(0.004)
        stamp = bench.send(good)
        np.testing.assert_array_equal(pixels_of(bench.answer('mask', stamp)), expected)
        bench.received['mask'].clear()

    interleave()
    assert sent == MALFORMED
    counts = bench.counts()
    assert counts['frames dropped, bad_frame'] > MALFORMED // 2
    assert counts['frames segmented'] >= sent
    assert sum(counts.values()) - counts['frames received'] == 2 * sent
    code, log = bench.stop()
    assert code == 0
    assert 'Traceback' not in log
