# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Real networks give their known answers through the Segmenter, at the image's own size."""

import cv2
import pytest

from trt_segmentation.segmenter import Segmenter


def test_class_shares(known_answer):
    segmenter = Segmenter.open(known_answer.model, config=known_answer.config)
    image = cv2.imread(str(known_answer.image), cv2.IMREAD_COLOR)
    mask = segmenter.infer(image).mask
    assert mask.shape == image.shape[:2]
    for index, share in known_answer.shares.items():
        assert (mask == index).mean() == pytest.approx(share, abs=0.01)
