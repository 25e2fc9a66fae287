# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What page-locking saves: an image in memory that stays, against memory that changes."""

import time
from itertools import cycle
from typing import Any

import numpy as np
from subjects import Builds, Subject

from trt_segmentation.demo.clip import read_frame
from trt_segmentation.segmenter import Segmenter

SIZE = 1080, 1920
ROUNDS = 8
FRAMES = 40
SETTLING = 4
"""First frames of a round, which do not count: memory is locked the second time it comes."""


def check_copies(subject: Subject, precision: str, builds: Builds) -> dict[str, Any]:
    """Segment one image again and again, and two in turn, which are never page-locked.

    Returns:
        Median milliseconds of ``Segmenter.infer``, 1920x1080 BGR to a mask in memory that stays.
    """
    segmenter = Segmenter.open(subject.model, config=subject.config or None,
                               options=subject.options(precision, builds))
    image = read_frame(0, *SIZE).image
    ways = {'stays': [image], 'changes': [image, image.copy()]}
    out = {'mask': np.empty(segmenter.output_shape('mask', SIZE), np.uint8)}
    times: dict[str, list[float]] = {way: [] for way in ways}
    try:
        for way in ROUNDS * list(ways):
            found = []
            for _, each in zip(range(FRAMES), cycle(ways[way]), strict=False):
                started = time.perf_counter()
                segmenter.infer(each, out=out)
                found.append(1000 * (time.perf_counter() - started))
            times[way] += found[SETTLING:]
    finally:
        segmenter.close()
    return {f'{way}_ms': float(np.median(found)) for way, found in times.items()}
