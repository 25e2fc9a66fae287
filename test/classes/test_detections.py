# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Rows of detections with names."""

import numpy as np

from trt_segmentation.classes.detections import Detection, used_rows


def test_used_rows_have_ids_and_names():
    rows = np.array([[1, 2, 3, 4, 0.5, 1], [0] * 6, [0, 0, 8, 8, 0.25, 2]], np.float32)
    assert list(used_rows(rows, ['car', 'bus'])) == [
        Detection(1, 1, 'bus', 0.5, (1, 2, 3, 4)), Detection(3, 2, '2', 0.25, (0, 0, 8, 8))]
    assert not list(used_rows(rows[1:2], []))
