# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Time of each part of ``infer``: copies, head, network, tail."""

import re
from collections.abc import Mapping

import numpy as np

from trt_segmentation.segmenter import Segmenter

PARTS = ('copy_in', 'head', 'network', 'tail', 'copy_out')

_PREFIX = re.compile(r'(?<![\w/])(head|network|tail)/')
"""The prefixes that ``graph.pipeline.prepare`` puts first in a layer's name; the name that the
layer has in the network follows."""


def part_of(layer: str) -> str:
    """Return the part of the graph that a layer belongs to: 'head', 'network' or 'tail'.

    Args:
        layer: as the runtime names it. A layer that spans two parts counts for the network, and
            so does one without a prefix (the nodes of a network may have no names).
    """
    found = set(_PREFIX.findall(layer))
    return found.pop() if len(found) == 1 else 'network'


def split_ms(segmenter: Segmenter, image: np.ndarray, outputs: tuple[str, ...], count: int,
             ) -> dict[str, float]:
    """Measure the parts of ``infer``.

    On a GPU, events time the copies and the run without a profiler; the profiler's layer times
    only divide the run into its parts. On a CPU, the layer times are the result, and there are no
    copies.

    Args:
        segmenter, image, outputs: as of ``Segmenter.infer``.
        count: number of runs.

    Returns:
        Milliseconds (median) by part, some of ``PARTS``; empty if the runtime has no profiler.
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
