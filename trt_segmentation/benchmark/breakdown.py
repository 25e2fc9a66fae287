# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Where the time of ``infer`` goes: copies, head, network, tail."""

import re
from collections.abc import Mapping

import numpy as np

from trt_segmentation.segmenter import Segmenter

PARTS = ('copy_in', 'head', 'network', 'tail', 'copy_out')

_OURS = re.compile(r'(?<![\w/])(head|network|tail)/')
"""The prefixes of ``graph.pipeline.prepare`` in a layer's name; a network's own folders come
after one."""


def part_of(layer: str) -> str:
    """Return the part of the graph that a layer belongs to: 'head', 'network' or 'tail'.

    Args:
        layer: as the runtime names it. What spans two parts, and what has no name of the graph's
            (a network may leave its nodes without), counts for the network.
    """
    found = set(_OURS.findall(layer))
    return found.pop() if len(found) == 1 else 'network'


def split_ms(segmenter: Segmenter, image: np.ndarray, outputs: tuple[str, ...], count: int,
             ) -> dict[str, float]:
    """Measure the parts of ``infer``.

    On a GPU, copies and the run are timed by events without a profiler; its layer times only say
    how the run divides. On a CPU, the layer times are the answer, and nothing is copied.

    Args:
        segmenter, image, outputs: as of ``Segmenter.infer``.
        count: how often.

    Returns:
        Milliseconds by part, those of ``PARTS`` that there are; nothing without a profiler.
    """
    runs = [_by_part(layers) for layers in segmenter.layer_times(image, outputs, count)]
    if not runs:
        return {}
    parts = {part: float(np.median([run[part] for run in runs])) for part in runs[0]}
    if gpu := segmenter.gpu_times(image, outputs, count):
        factor = gpu['run'] / (sum(parts.values()) or 1.0)
        parts = {'copy_in': gpu['copy_in'],
                 **{part: value * factor for part, value in parts.items()},
                 'copy_out': gpu['copy_out']}
    return {part: round(value, 4) for part, value in parts.items()}


def _by_part(layers: Mapping[str, float]) -> dict[str, float]:
    parts = dict.fromkeys(('head', 'network', 'tail'), 0.0)
    for name, milliseconds in layers.items():
        parts[part_of(name)] += milliseconds
    return parts
