# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""One engine at several camera sizes in turn."""

import logging
import time
from typing import Any

from trt_segmentation.demo.clip import read_frame
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

SIZES = ((480, 640), (720, 1280), (1080, 1920), (2160, 3840))
ROUNDS = 2


class _Builds(logging.Handler):
    """Counts the engines that are built."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += record.getMessage().startswith('built ')


def check_sizes(options: RunOptions) -> list[dict[str, Any]]:
    """Return one row for each change of size: agreement, milliseconds of the first image."""
    builds = _Builds()
    logging.getLogger('trt_segmentation').addHandler(builds)
    reference = Segmenter.open(options=RunOptions('onnxruntime'))
    segmenter = Segmenter.open(options=options)
    before = builds.count
    rows = []
    for number in range(ROUNDS):
        for height, width in SIZES:
            image = read_frame(3, height, width).image
            start = time.perf_counter()
            mask = segmenter.infer(image).mask
            first = time.perf_counter() - start
            rows.append({'round': number + 1, 'size': f'{width}x{height}',
                         'agreement': float((mask == reference.infer(image).mask).mean()),
                         'first_image_ms': first * 1e3, 'builds': builds.count - before})
    segmenter.close()
    return rows
