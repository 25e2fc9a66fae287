# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Wall time of functions, called repeatedly and in turn."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

WARM_UP = 5
"""Calls of each step before the measurement."""

PERCENTS = (50, 95, 99)


@dataclass(frozen=True)
class Measured:
    """Result of ``measure``.

    Attributes:
        growth_mb: growth of resident memory, MB; 0 without /proc.
        seconds: of every call, by step.
    """

    growth_mb: float
    seconds: dict[str, list[float]]


def measure(steps: Mapping[str, Callable[[], object]], frames: int) -> Measured:
    """Run steps in turn, so that other load on the machine affects all of them equally.

    Args:
        steps: functions by name.
        frames: calls of each step, after ``WARM_UP`` calls that are not measured.
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
    """Return p50, p95 and p99 of durations in milliseconds, by name; empty without durations."""
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
