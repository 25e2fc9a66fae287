# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Real networks give their known results through the node, at the size of the image."""

import cv2
import pytest


def test_class_shares(known_answer, make_bench, image_message, tmp_path):
    config = tmp_path / 'net.yaml'
    config.write_text(known_answer.config_text)
    bench = make_bench(engine_path=known_answer.model, model_config=config)
    bench.listen('mask')
    image = cv2.imread(str(known_answer.image), cv2.IMREAD_COLOR)
    mask = bench.segment(image_message(image))
    assert mask.shape == image.shape[:2]
    for index, share in known_answer.shares.items():
        assert (mask == index).mean() == pytest.approx(share, abs=0.01)
