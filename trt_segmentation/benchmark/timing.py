# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Wall time of things that are done again and again, in turn."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

WARM_UP = 5
"""Calls of each step before the clock runs."""

PERCENTS = (50, 95, 99)


@dataclass(frozen=True)
class Measured:
    """What ``measure`` found.

    Attributes:
        growth_mb: by how much resident memory grew, MB; 0 where there is no /proc.
        seconds: of every call, by step.
    """

    growth_mb: float
    seconds: dict[str, list[float]]


def measure(steps: Mapping[str, Callable[[], object]], frames: int) -> Measured:
    """Run steps in turn, so that whatever else the machine does hits all of them alike.

    Args:
        steps: by name.
        frames: how often each one is run, after ``WARM_UP`` calls that do not count.
    """
    for step in steps.values():
        for _ in range(WARM_UP):
            step()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    before = _resident_mb()
    for _ in tqdm(range(frames), unit='frame', disable=None):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    return Measured(_resident_mb() - before, seconds)


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return p50, p95 and p99 of durations in milliseconds, by name; nothing of none."""
    if not len(seconds):
        return {}
    values = np.percentile(seconds, PERCENTS) * 1e3
    return {f'p{percent}': round(float(value), 3)
            for percent, value in zip(PERCENTS, values, strict=True)}


def _resident_mb() -> float:
    try:
        pages = int(Path('/proc/self/statm').read_text(encoding='ascii').split()[1])
    except OSError:
        return 0.0
    return pages * 4096 / 1e6
