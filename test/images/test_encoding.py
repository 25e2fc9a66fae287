# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Encoding as PNG and JPEG."""

import numpy as np
import pytest

from trt_segmentation.errors import ImageError
from trt_segmentation.images.encoding import encode_jpeg


def test_a_side_that_no_jpeg_has_is_refused():
    with pytest.raises(ImageError, match='an image of 66000x8 cannot be encoded as jpg'):
        encode_jpeg(np.zeros((8, 66000, 3), np.uint8), 80)
