# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The tail of one task: from its scores to its mask, confidence, instances and overlay."""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from functools import partial

from onnx import TensorProto

from trt_segmentation.classes.mask_ids import MaskIds, mask_ids_of
from trt_segmentation.graph.onnx_tools.graph_builder import GraphBuilder
from trt_segmentation.graph.pipeline.head import Window, add_is_wide
from trt_segmentation.graph.pipeline.instance_outputs import Fit, add_instances, named_in_graph
from trt_segmentation.graph.pipeline.output_names import INSTANCE_OUTPUTS, joined
from trt_segmentation.graph.pipeline.overlay_scale import add_half_extents, add_halved
from trt_segmentation.graph.pipeline.shuffled_scores import (
    Shuffle,
    add_scores_of,
    add_shuffled_rows,
)
from trt_segmentation.graph.pipeline.smoothing import add_smoothing
from trt_segmentation.graph.pipeline.tail import (
    Decision,
    DecisionRule,
    NearestIndex,
    Painter,
    add_cropped_scores,
    add_decision,
    add_finite_scores,
    add_nearest_index,
    add_resized_scores,
)
from trt_segmentation.graph.pipeline.tensors import (
    NETWORK_PREFIX,
    float_scores,
    is_smoothed,
    smoothing_names,
)
from trt_segmentation.graph.reading.resolve import ModelSpec, TaskSpec
from trt_segmentation.graph.reading.scores import Scores


def add_task_tail(tail: GraphBuilder, spec: ModelSpec, task: TaskSpec,
                  outputs: Mapping[str, str], source: str, window: Window | None,
                  mask_interpolation: str, shuffle: Shuffle | None) -> None:
    """Add a task's outputs.

    Args:
        tail: of the task.
        spec, task: the network, and one of its tasks.
        source: the image as the head reads it: uint8 for ONNX Runtime, else float32.
        outputs: the full names of the requested ones, by their names in ``OUTPUTS``.
        window: of the letterbox; None without one.
        mask_interpolation: see ``prepare``.
        shuffle: the network's last node if it is part of the tail.
    """
    decide = _decide_on_resized_scores if mask_interpolation == 'bilinear' \
        and task.kind != 'ids' else _decide_at_network_size
    resizes_scores = decide is _decide_on_resized_scores or task.align_corners
    scores = _read_scores(tail, task, shuffle, in_order=resizes_scores)
    if is_smoothed(spec, task):
        scores = add_smoothing(tail, scores, task.kind, smoothing_names(task))
        task = replace(task, kind='sigmoid' if task.kind == 'sigmoid' else 'probabilities')
    if shuffle is not None and not resizes_scores:
        decide = partial(_decide_shuffled, shuffle=shuffle)
    of_image = tail.size(source, 1), tail.size(source, 2)
    of_mask = _extents(tail, spec.mask_size) or of_image
    if resizes_scores:
        scores = add_finite_scores(tail, scores)
    if task.align_corners or (decide is _decide_on_resized_scores and window is not None):
        scores = add_resized_scores(tail, scores, _extents(tail, spec.size) or of_image,
                                    align_corners=task.align_corners, batch=spec.batch)
    decision, nearest = decide(tail, spec, task, scores, of_mask, window)
    mask_ids = _mask_ids(spec, task)
    painter = Painter(tail, nearest, mask_ids)
    if 'mask' in outputs:
        painter.paint_classes(decision, outputs['mask'])
    if 'confidence' in outputs:
        painter.paint_confidence(decision, outputs['confidence'])
    if task.instances and not outputs.keys().isdisjoint(INSTANCE_OUTPUTS):
        tensors = named_in_graph(task.instances, NETWORK_PREFIX)
        of_places = tail.size(tensors.places, 2), tail.size(tensors.places, 3)
        cells = add_nearest_index(tail, of_places, of_mask, window, spec.size,
                                  _letterbox_scale(spec, task))
        add_instances(tail, tensors, outputs, Fit(of_image, spec.size, window), cells, mask_ids,
                      task.threshold, first_class=int(task.scores.channels == 1))
    if 'overlay' in outputs:
        of_overlay, image = of_image, 'image'
        if spec.overlay_scale != 1:
            of_overlay = add_half_extents(tail, of_image)
            image = source = add_halved(tail, source, of_image, of_overlay)
        if of_mask != of_overlay:
            decision, nearest = decide(tail, spec, task, scores, of_overlay, window)
        painter = Painter(tail, nearest, mask_ids)
        if spec.gray_bits:
            image = source = _add_visible_bands(tail, source)
        painter.paint_overlay(decision, image, source, joined(task.name, 'palette'), 'alpha',
                              outputs['overlay'])


def _read_scores(tail: GraphBuilder, task: TaskSpec, shuffle: Shuffle | None, in_order: bool,
                 ) -> Scores:
    """Return the scores as float32, or ids; ``in_order`` is for pixels that are not shuffled."""
    scores = replace(task.scores, name=NETWORK_PREFIX + task.scores.name)
    if shuffle is not None:
        scores = add_scores_of(tail, scores, shuffle, in_order)
    if task.kind == 'ids' or (tail.for_cpu and scores.dtype == TensorProto.FLOAT):
        return scores
    return replace(scores, name=tail('Cast', scores.name, to=TensorProto.FLOAT,
                                     output=float_scores(task)))


def _add_visible_bands(tail: GraphBuilder, image: str) -> str:
    """Return the visible bands of [N, H, W, bands]: all three, or the last one in their place."""
    bands = tail.size(image, 3)
    seen = tail('Slice', image, add_is_wide(tail, bands), bands, tail.ints(3))
    if not tail.for_cpu:
        return seen  # [N, H, W, 1] for 1 or 2 bands
    # ONNX Runtime takes three times as long to add one channel to three by broadcasting.
    return tail.columns(tail('Concat', seen, seen, seen, axis=3), 0, 3)


def _extents(tail: GraphBuilder, size: tuple[int, int] | None) -> tuple[str, str] | None:
    return None if size is None else (tail.ints(size[0]), tail.ints(size[1]))


def _mask_ids(spec: ModelSpec, task: TaskSpec) -> MaskIds:
    channels = None if task.kind == 'ids' else max(task.scores.channels, 2)
    return mask_ids_of(spec.encoding, task.merge, channels)


def _rule(spec: ModelSpec, task: TaskSpec) -> DecisionRule:
    return DecisionRule(task.kind, task.threshold, task.unlabelled,
                        _mask_ids(spec, task).no_class)


def _decide_on_resized_scores(
        tail: GraphBuilder, spec: ModelSpec, task: TaskSpec, scores: Scores,
        extents: tuple[str, str], window: Window | None) -> tuple[Decision, NearestIndex | None]:
    if window is not None:  # the scores have the size of the network's input
        scores = add_cropped_scores(tail, scores, window)
    scores = add_resized_scores(tail, scores, extents, batch=spec.batch)
    return add_decision(tail, scores, _rule(spec, task)), None


def _decide_at_network_size(
        tail: GraphBuilder, spec: ModelSpec, task: TaskSpec, scores: Scores,
        extents: tuple[str, str], window: Window | None) -> tuple[Decision, NearestIndex | None]:
    decision = add_decision(tail, scores, _rule(spec, task))
    cells = tail.size(decision.classes, 1), tail.size(decision.classes, 2)
    return decision, add_nearest_index(tail, cells, extents, window, spec.size,
                                       _letterbox_scale(spec, task))


def _decide_shuffled(
        tail: GraphBuilder, spec: ModelSpec, task: TaskSpec, scores: Scores,
        extents: tuple[str, str], window: Window | None, *, shuffle: Shuffle,
        ) -> tuple[Decision, NearestIndex | None]:
    height, width = tail.size(shuffle.source, 2), tail.size(shuffle.source, 3)
    block = tail.ints(shuffle.block)
    cells = tail('Mul', height, block), tail('Mul', width, block)
    nearest = add_nearest_index(tail, cells, extents, window, spec.size,
                                _letterbox_scale(spec, task))
    rows = add_shuffled_rows(tail, nearest.rows, height, shuffle.block)
    return (add_decision(tail, scores, _rule(spec, task)),
            NearestIndex(rows, nearest.columns, shuffle.block, height))


def _letterbox_scale(spec: ModelSpec, task: TaskSpec) -> tuple[Fraction, Fraction] | None:
    """Height and width of a task's output divided by those of the network input."""
    if spec.resize != 'letterbox' or spec.size is None:
        return None
    if task.align_corners:
        return Fraction(1), Fraction(1)
    scores = task.scores
    shape = next(info.shape for info in spec.network.outputs if info.name == scores.name)
    height, width = shape[scores.height_axis:scores.height_axis + 2] if shape else (None, None)
    if height is None or width is None:
        return None
    return Fraction(height, spec.size[0]), Fraction(width, spec.size[1])
