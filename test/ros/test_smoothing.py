# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Parameter temporal_smoothing, over DDS."""

import numpy as np
import onnx
import pytest
from std_srvs.srv import Trigger

from trt_segmentation.images.gaps import GapDetector

RED, BLUE = (np.full((48, 64, 3), colour, np.uint8) for colour in ((0, 0, 200), (200, 0, 0)))


@pytest.fixture
def certain(networks, tmp_path):
    """The path of a network that is certain of the brightest channel of a pixel."""
    config = 'input: {color: bgr, scale: 0.1}\noutput: {kind: logits}'
    onnx.save(networks.pointwise(np.eye(3), (48, 64), metadata=config), tmp_path / 'net.onnx')
    return tmp_path / 'net.onnx'


def test_the_mean_of_the_images_decides(make_bench, image_message, certain):
    bench = make_bench(engine_path=certain, backend='onnxruntime', temporal_smoothing=0.8,
                       smoothing_max_gap=3600.0)
    bench.listen('mask')
    red, blue = image_message(RED), image_message(BLUE)
    assert (bench.segment(red) == 2).all()
    assert [bench.segment(blue)[0, 0] for _ in range(4)] == [2, 2, 2, 0]  # 0.8 ** 4 < 0.5
    assert bench.set_parameter('smoothing_max_gap', 0.0).successful
    assert (bench.segment(red) == 2).all()
    assert bench.set_parameter('smoothing_max_gap', 3600.0).successful
    assert bench.set_parameter('temporal_smoothing', 0.0).successful
    assert (bench.segment(blue) == 0).all()


def test_smoothing_is_switched_on_by_loading_the_network(make_bench, image_message,
                                                         certain):
    bench = make_bench(engine_path=certain, backend='onnxruntime')
    bench.listen('mask')
    assert bench.set_parameter('temporal_smoothing', 0.9).successful
    assert not bench.set_parameter('temporal_smoothing', 0.96).successful
    assert bench.set_parameter('smoothing_max_gap', 3600.0).successful
    red, blue = image_message(RED), image_message(BLUE)
    assert (bench.segment(red) == 2).all()
    assert (bench.segment(blue) == 0).all()
    assert bench.call(Trigger, 'load_model', Trigger.Request()).success
    assert (bench.segment(red) == 2).all()
    assert (bench.segment(blue) == 2).all()
    assert 'call ~/load_model to switch it on' in bench.log()


def test_gaps_are_found():
    gaps = GapDetector(10)
    assert [gaps.is_gap(stamp) for stamp in (100, 105, 115, 126, 126, 125, 130)] \
        == [True, False, False, True, False, True, False]
