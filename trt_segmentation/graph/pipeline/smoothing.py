# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Temporal smoothing: an exponential mean of the class probabilities over successive images."""

from dataclasses import dataclass, replace

import numpy as np

from trt_segmentation.graph.onnx_tools.graph_builder import GraphBuilder
from trt_segmentation.graph.pipeline.tail import add_probabilities
from trt_segmentation.graph.reading.scores import Scores

WEIGHT = 'smoothing'
"""Input, float32 []: weight of the previous mean, 0 (the image alone) to ``MAX_WEIGHT``."""

PREVIOUS = 'previous'
"""Input, float32 in the shape of the scores: ``STATE`` after the previous image. It must be
finite, also where the weight is 0; zeros before the first image."""

STATE = 'state'
"""Output, float32: the mean, which is ``PREVIOUS`` of the next image."""

MAX_WEIGHT = 0.95


@dataclass(frozen=True)
class SmoothingNames:
    """Full names of a task's ``PREVIOUS`` and ``STATE``."""

    previous: str
    state: str


def add_smoothing(op: GraphBuilder, scores: Scores, kind: str, names: SmoothingNames) -> Scores:
    """Replace the scores by ``weight * previous + (1 - weight) * probabilities``.

    A pixel whose scores have no probabilities (NaN, or nothing but infinite scores) has no class
    in this image. There, the state keeps its previous value, so later images are not affected.

    Args:
        op: receives the nodes.
        scores: float32, at the size of the network's output.
        kind: of the scores, one of ``model_config.KINDS`` except 'ids'.
        names: of the state.

    Returns:
        The means: probabilities. The kind is 'sigmoid' if it was, else 'probabilities'.
    """
    current = add_probabilities(op, scores, kind)
    rest = op('Sub', op.constant(np.float32(1)), WEIGHT)
    mean = op('Add', op('Mul', names.previous, WEIGHT), op('Mul', current, rest))
    op('Where', op('IsNaN', mean), names.previous, mean, output=names.state)
    return replace(scores, name=mean)
