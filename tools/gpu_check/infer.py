# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Time of an image in a new buffer and in a reused one."""

import time
from itertools import cycle
from typing import Any

import numpy as np
from subjects import Builds, Subject, fitting

from trt_segmentation.demo.clip import read_frame
from trt_segmentation.segmenter import Segmenter

SIZE = 1080, 1920
ROUNDS = 8
FRAMES = 40
SETTLING = 4
"""First frames of a round, not measured: a buffer is page-locked when it is used again."""

BUFFERS = 'new', 'reused'


def check_infer(subject: Subject, precision: str, builds: Builds) -> dict[str, Any]:
    """Segment one image repeatedly, and two in turn, which are never page-locked.

    Returns:
        For each of ``BUFFERS``, milliseconds of ``Segmenter.infer``, 1920x1080 to a mask in a
        reused buffer ('p50', 'p99'), and medians of the times on the GPU ('copy_in', 'run',
        'copy_out').
    """
    with Segmenter.open(subject.model, config=subject.config or None,
                        options=subject.options(precision, builds)) as segmenter:
        image = fitting(read_frame(0, *SIZE).image, segmenter.spec)
        out = {'mask': np.empty(segmenter.output_shape('mask', SIZE),
                                segmenter.output_dtype('mask'))}
        images_of = {'new': [image, image.copy()], 'reused': [image]}
        wall: dict[str, list[float]] = {buffer: [] for buffer in BUFFERS}
        gpu: dict[str, list[tuple[float, ...]]] = {buffer: [] for buffer in BUFFERS}
        for buffer in ROUNDS * BUFFERS:
            images = cycle(images_of[buffer])
            wall[buffer] += [_infer_ms(segmenter, next(images), out)
                             for _ in range(FRAMES)][SETTLING:]
            gpu[buffer] += [_gpu_ms(segmenter, next(images), out)
                            for _ in range(FRAMES)][SETTLING:]
    return {'size': '{}x{}'.format(*SIZE),
            **{buffer: _medians(wall[buffer], gpu[buffer]) for buffer in BUFFERS}}


def _infer_ms(segmenter: Segmenter, image: np.ndarray, out: dict[str, np.ndarray]) -> float:
    started = time.perf_counter()
    segmenter.infer(image, out=out)
    return 1000 * (time.perf_counter() - started)


def _gpu_ms(segmenter: Segmenter, image: np.ndarray, out: dict[str, np.ndarray],
            ) -> tuple[float, ...]:
    """Return copy in, run, copy out; unlike ``Segmenter.gpu_times``, without page-locking."""
    session: Any = segmenter._session
    times = session.measure([image.reshape(*image.shape[:2], -1)], [out])
    return times.copy_in, times.run, times.copy_out


def _medians(wall: list[float], gpu: list[tuple[float, ...]]) -> dict[str, float]:
    parts = np.median(gpu, axis=0)
    return {'p50': float(np.percentile(wall, 50)), 'p99': float(np.percentile(wall, 99)),
            **dict(zip(('copy_in', 'run', 'copy_out'), map(float, parts), strict=True))}
