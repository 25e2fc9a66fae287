# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The tail: postprocessing, from the network's output to mask, confidence and overlay.

N is the number of images, 1 for one camera.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from onnx import TensorProto

from trt_segmentation.classes.mask_ids import MaskIds
from trt_segmentation.graph.onnx_tools.graph_builder import GraphBuilder
from trt_segmentation.graph.pipeline.head import Window
from trt_segmentation.graph.reading.scores import Scores

_NO_CLASS_BYTE = 255
"""Each byte of the mask value of a pixel without a class, in every encoding."""

_EXCLUDED_SCORE = np.float32(-1e38)
"""Replaces minus infinity before scores are interpolated. It is not the lowest float32, so that
rounding does not reach minus infinity."""

_LOWEST_SCORE = np.float32(-1e30)
"""A pixel whose highest score is lower has no class: every class is excluded there."""

# TensorRT 8.6 converts every float constant to fp16, whatever precision the layers have, and warns
# about values out of range. So large values are scaled down, or computed from smaller constants,
# when the engine runs. The factors are powers of two, which is exact.

_TWO_TO_14 = np.float32(2 ** 14)
_REDUCTIONS = 6
"""Divisions by 2**14 that bring the lowest score into the range of fp16."""


@dataclass(frozen=True)
class Decision:
    """The classes of all pixels of a class map, as names of tensors.

    Attributes:
        classes: int32 or int64 [N, h, w], the network's ids; any id at pixels without a class.
        no_class: bool [N, h, w], true at pixels without a class; '' if each pixel has a class.
        confidence: float32 [N, h, w], 0..1; '' if the network does not give one.
    """

    classes: str
    no_class: str = ''
    confidence: str = ''


@dataclass(frozen=True)
class DecisionRule:
    """The rule that turns scores into classes.

    Attributes:
        kind: one of ``model_config.KINDS``.
        threshold: lowest probability of a foreground (one channel) or a class (several sigmoid
            channels); not used by the other kinds.
        unlabelled: the network's id for "no class".
        limit: ids from this value on are no class.
    """

    kind: str
    threshold: float
    unlabelled: int
    limit: int


def add_decision(op: GraphBuilder, scores: Scores, rule: DecisionRule) -> Decision:
    """Decide the class and the confidence of every pixel, at the size of ``scores``.

    Args:
        scores: float32 for 'logits', 'probabilities' and 'sigmoid', an integer type for 'ids'.
        rule: see there.
    """
    decision = _DECISIONS[rule.kind](op, scores, rule)
    if rule.unlabelled >= rule.limit:
        return decision
    ids = op.cast(decision.classes, TensorProto.INT32)
    ignored = op('Equal', ids, op.constant(np.int32(rule.unlabelled)))
    return _without_class(op, decision, ignored)


def _without_class(op: GraphBuilder, decision: Decision, where: str) -> Decision:
    no_class = op('Or', decision.no_class, where) if decision.no_class else where
    if not decision.confidence:
        return Decision(decision.classes, no_class)
    zero = op.constant(np.float32(0))
    return Decision(decision.classes, no_class, op('Where', where, zero, decision.confidence))


def _decide_logits(op: GraphBuilder, scores: Scores, rule: DecisionRule) -> Decision:
    if scores.channels == 1:
        probability = op('Sigmoid', op.squeeze(scores.name, scores.channel_axis))
        return _decide_foreground(op, probability, rule.threshold)
    best = _add_best(op, scores)
    exponentials = replace(scores, name=op('Exp', op('Sub', scores.name, best.highest)))
    confidence = op('Reciprocal', op.squeeze(_add_sum(op, exponentials, best),
                                             scores.channel_axis))
    return _decide_best(op, scores, best, confidence)


def add_probabilities(op: GraphBuilder, scores: Scores, kind: str) -> str:
    """Return the probabilities of the classes, float32 in the shape of ``scores``.

    Args:
        scores: float32.
        kind: of the scores; only 'logits' are no probabilities yet.
    """
    if kind != 'logits':
        return scores.name
    if scores.channels == 1:
        return op('Sigmoid', scores.name)
    best = _add_best(op, scores)
    exponentials = replace(scores, name=op('Exp', op('Sub', scores.name, best.highest)))
    return op('Div', exponentials.name, _add_sum(op, exponentials, best))


def _decide_probabilities(op: GraphBuilder, scores: Scores, rule: DecisionRule) -> Decision:
    if scores.channels == 1:
        return _decide_foreground(op, op.squeeze(scores.name, scores.channel_axis),
                                  rule.threshold)
    best = _add_best(op, scores)
    return _decide_best(op, scores, best, op.squeeze(best.highest, scores.channel_axis))


def _decide_sigmoid(op: GraphBuilder, scores: Scores, rule: DecisionRule) -> Decision:
    decision = _decide_probabilities(op, scores, rule)
    if scores.channels == 1:
        return decision
    below = op('Less', decision.confidence, op.constant(np.float32(rule.threshold)))
    return _without_class(op, decision, below)


def _decide_ids(op: GraphBuilder, scores: Scores, rule: DecisionRule) -> Decision:
    ids = scores.name if scores.axis is None else op.squeeze(scores.name, scores.axis)
    if scores.dtype == TensorProto.UINT8:
        return Decision(op.cast(ids, TensorProto.INT32))
    # Compared before the cast: int64 ids beyond int32 would wrap around.
    dtype = np.int64 if scores.dtype == TensorProto.INT64 else np.int32
    ids = ids if scores.dtype == TensorProto.INT64 else op.cast(ids, TensorProto.INT32)
    negative = op('Less', ids, op.constant(dtype(0)))
    too_high = op('Greater', ids, op.constant(dtype(rule.limit - 1)))
    no_class = op('Or', negative, too_high)
    # Ids are used as indices, so they must be in range.
    return Decision(op('Where', no_class, op.constant(dtype(0)), ids), no_class)


_DECISIONS: dict[str, Callable[[GraphBuilder, Scores, DecisionRule], Decision]] = {
    'logits': _decide_logits,
    'probabilities': _decide_probabilities,
    'sigmoid': _decide_sigmoid,
    'ids': _decide_ids,
}


@dataclass(frozen=True)
class _Best:
    """The highest score and its class: float32 and int64, [N, 1, h, w] or [N, h, w, 1]."""

    highest: str
    classes: str


def _add_best(op: GraphBuilder, scores: Scores) -> _Best:
    classes = op('ArgMax', scores.name, axis=scores.axis, keepdims=1)
    if op.for_cpu:  # gathers one value per pixel instead of a second pass over all scores
        return _Best(op('GatherElements', scores.name, classes, axis=scores.axis), classes)
    return _Best(op.reduce('ReduceMax', scores.name, scores.channel_axis, keepdims=1), classes)


def _add_sum(op: GraphBuilder, scores: Scores, best: _Best) -> str:
    """Return the sum over the classes, in the shape of ``best``."""
    if not op.for_cpu:
        return op.reduce('ReduceSum', scores.name, scores.channel_axis, keepdims=1)
    # In ONNX Runtime, MatMul is about ten times as fast as ReduceSum.
    ones = np.ones(scores.channels, np.float32)
    if scores.axis != 1:
        return op('MatMul', scores.name, op.constant(ones[:, None]))
    planes = op('Reshape', scores.name, op.ints(0, scores.channels, -1))
    summed = op('MatMul', op.constant(ones[None]), planes)
    return op('Reshape', summed, op('Shape', best.highest))


def _decide_best(op: GraphBuilder, scores: Scores, best: _Best, confidence: str) -> Decision:
    """Class of the highest score; no class if it is infinite or any score is NaN."""
    # A sum propagates every NaN; a maximum may not.
    is_nan = op('IsNaN', _add_sum(op, scores, best))
    highest, lowest = best.highest, _LOWEST_SCORE
    infinite = op('IsInf', highest)
    for _ in range(0 if op.for_cpu else _REDUCTIONS):
        highest, lowest = op('Div', highest, op.constant(_TWO_TO_14)), lowest / _TWO_TO_14
    excluded = op('Less', highest, op.constant(lowest))
    no_class = op('Or', is_nan, op('Or', infinite, excluded))
    classes, no_class = (op.squeeze(x, scores.channel_axis) for x in (best.classes, no_class))
    return _without_class(op, Decision(classes, confidence=confidence), no_class)


def _decide_foreground(op: GraphBuilder, probability: str, threshold: float) -> Decision:
    """Class 1 if the probability reaches the threshold, else class 0; for one channel."""
    one = op.constant(np.float32(1))
    background = op('Less', probability, op.constant(np.float32(threshold)))
    classes = op('Where', background, op.constant(np.int32(0)), op.constant(np.int32(1)))
    confidence = op('Where', background, op('Sub', one, probability), probability)
    return _without_class(op, Decision(classes, confidence=confidence),
                          op('IsNaN', probability))


def add_finite_scores(op: GraphBuilder, scores: Scores) -> Scores:
    """Return float32 scores that can be interpolated.

    Minus infinity excludes a class. Multiplied by an interpolation weight of 0 it would be NaN.
    """
    if op.for_cpu:
        excluded = op('Equal', scores.name, op.constant(np.float32(-math.inf)))
        finite = op.constant(_EXCLUDED_SCORE)
    else:
        excluded = op('IsInf', scores.name)
        finite = op('Max', scores.name, _add_excluded_score(op, excluded))  # inf stays inf
    return replace(scores, name=op('Where', excluded, finite, scores.name))


def _add_excluded_score(op: GraphBuilder, where: str) -> str:
    """Return ``_EXCLUDED_SCORE`` where a bool tensor is true, else 0."""
    score = op('Mul', op.cast(where, TensorProto.FLOAT), op.constant(_TWO_TO_14))
    for _ in range(3):
        score = op('Mul', score, score)
    score = op('Mul', score, op.constant(_TWO_TO_14))
    return op('Mul', score, op.constant(_EXCLUDED_SCORE / np.float32(2 ** 126)))


def add_resized_scores(op: GraphBuilder, scores: Scores, extents: tuple[str, str], *,
                       align_corners: bool = False, batch: int = 1) -> Scores:
    """Resize scores by bilinear interpolation, before the decision.

    Args:
        scores: from ``add_finite_scores``, at any size.
        extents: height and width of the result, names of int64 [1] tensors.
        align_corners: see ``OutputConfig``.
        batch: number of images.
    """
    channels = op.ints(scores.channels)
    shape = (channels, *extents) if scores.axis == 1 else (*extents, channels)
    sizes = op('Concat', op.ints(batch), *shape, axis=0)
    return replace(scores, name=op.resize_linear(scores.name, sizes, align_corners))


def add_cropped_scores(op: GraphBuilder, scores: Scores, window: Window) -> Scores:
    """Crop scores to the source image.

    Args:
        scores: at the size of the letterboxed network input.
        window: where the source lies in the network input.
    """
    starts = op('Concat', window.top, window.left, axis=0)
    ends = op('Add', starts, op('Concat', window.height, window.width, axis=0))
    axes = op.ints(scores.height_axis, scores.height_axis + 1)
    return replace(scores, name=op('Slice', scores.name, starts, ends, axes))


@dataclass(frozen=True)
class NearestIndex:
    """The row and the column of a class map for each pixel of a mask: int32 [H], [W]."""

    rows: str
    columns: str


def add_nearest_index(op: GraphBuilder, class_map: str, extents: tuple[str, str],
                      window: Window | None, size: tuple[int, int] | None,
                      scale: tuple[Fraction, Fraction] | None) -> NearestIndex:
    """Find the nearest cell of a class map for each pixel of a mask, exactly, in integers.

    Pixel i of H covers the map's cell ``floor((i + 1/2) * h / H)``: half-pixel centres as in the
    head's resize (OpenCV's ``INTER_NEAREST_EXACT``; its ``INTER_NEAREST`` is off by up to half
    a cell). No intermediate value reaches 2**31 for images of up to 16384 pixels per side and
    network inputs of up to 4096.

    Args:
        class_map: [N, h, w].
        extents: H and W of the mask, names of int64 [1] tensors.
        window: where the source lies in the letterboxed network input; None if stretched.
        size: height and width of the network input; needed with ``window``.
        scale: h and w divided by those of the network input; None if they are dynamic.
    """
    def along(axis: int, start: str, extent: str) -> str:
        pixels = extents[axis]
        centre = op('Add', op('Mul', op.upto(pixels), op.ints(2)), op.ints(1))
        if size is None or window is None:
            numerator = op('Mul', centre, op.size(class_map, axis + 1))
            return op.cast(op('Div', numerator, op('Mul', pixels, op.ints(2))),
                           TensorProto.INT32)
        halves = op('Mul', pixels, op.ints(2))
        place = op('Add', op('Mul', centre, extent), op('Mul', start, halves))
        cells, of = (op.size(class_map, axis + 1), size[axis]) if scale is None else \
            (op.ints(scale[axis].numerator), scale[axis].denominator)
        # place * cells / (halves * of) exceeds 2**31, and TensorRT computes in 32 bits. A
        # division in two steps does not exceed it: floor(x / of) is floor(floor(x) / of).
        whole = op('Div', place, halves)
        rest = op('Sub', place, op('Mul', whole, halves))
        scaled = op('Add', op('Mul', whole, cells), op('Div', op('Mul', rest, cells), halves))
        return op.cast(op('Div', scaled, op.ints(of)), TensorProto.INT32)

    if window is None:
        return NearestIndex(along(0, '', ''), along(1, '', ''))
    return NearestIndex(along(0, window.top, window.height), along(1, window.left, window.width))


class Painter:
    """Writes the tail's byte outputs.

    TensorRT does not compute in uint8, so for TensorRT all values are float32 until a last cast.
    ONNX Runtime has uint8 kernels that move a quarter of the memory. Both forms give the same
    bytes, except for ties in the overlay's rounding.

    Args:
        op: receives the nodes.
        nearest: resizes class maps to the output's size; None if they have it already.
        mask_ids: maps the network's class ids to mask ids.
    """

    def __init__(self, op: GraphBuilder, nearest: NearestIndex | None, mask_ids: MaskIds) -> None:
        self._op = op
        self._nearest = nearest
        self._mask_ids = mask_ids
        self._dtype = TensorProto.UINT8 if op.for_cpu else TensorProto.FLOAT
        self._numpy_dtype: type[np.generic] = np.uint8 if op.for_cpu else np.float32
        self._blend = self._blend_uint8 if op.for_cpu else self._blend_float
        self._look_up = self._look_up_elements if op.for_cpu else self._look_up_rows

    def paint_classes(self, decision: Decision, output: str) -> None:
        """Add ``output``: mask ids as uint8 [N, H, W]. Ids of 16 bits are two bytes, [N, H, W, 2],
        low byte first, as in a little-endian uint16 [N, H, W]."""
        planes = [self._plane(decision, table) for table in self._mask_ids.planes]
        if len(planes) == 1:
            resized = self._resized(planes[0])
        else:
            pairs = [self._op.unsqueeze(plane, 3) for plane in planes]
            resized = self._resized(self._op('Concat', *pairs, axis=3), colour=True)
        self._op('Cast', resized, to=TensorProto.UINT8, output=output)

    def paint_bytes(self, pairs: str, output: str) -> None:
        """Add ``output``: bytes [N, h, w, 2], in float32, resized and as uint8."""
        resized = self._resized(self._narrowed(pairs), colour=True)
        self._op('Cast', resized, to=TensorProto.UINT8, output=output)

    def paint_confidence(self, decision: Decision, output: str) -> None:
        """Add ``output``: confidence as uint8 [N, H, W] of 0..255, rounded."""
        op, confidence = self._op, decision.confidence
        if self._mask_ids.drops_classes:
            confidence = op('Mul', confidence,
                            self._look_up(self._mask_ids.kept, decision.classes))
        limits = (op.constant(np.float32(0)), op.constant(np.float32(1)))
        scaled = op('Mul', op('Clip', confidence, *limits), op.constant(np.float32(255)))
        rounded = op('Floor', op('Add', scaled, op.constant(np.float32(0.5))))
        self._op('Cast', self._resized(self._narrowed(rounded)), to=TensorProto.UINT8,
                 output=output)

    def paint_overlay(self, decision: Decision, image: str, source: str, palette: str, alpha: str,
                      output: str) -> None:
        """Add ``output``: uint8 [N, H, W, 3], the image blended with its classes' colours.

        Args:
            decision: at the image's size, or at the size that ``nearest`` resizes from.
            image: uint8 [N, H, W, 3], or [N, H, W, 1] if gray, in the size of the overlay; read
                by graphs for ONNX Runtime.
            source: the same as float32; read by graphs for TensorRT.
            palette: uint8 [ids of the mask, 3], channels in the image's order.
            alpha: float32 scalar, 0 (image) .. 1 (colour).
        """
        op, mask_ids = self._op, self._mask_ids
        palette, classes = self._narrowed(palette), op.cast(decision.classes, TensorProto.INT32)
        if mask_ids.table is not None:  # mapping the palette is cheaper than mapping all pixels
            palette = op('Gather', palette, op.constant(mask_ids.table.astype(np.int32)), axis=0)
        if decision.no_class:
            no_class = op.constant(np.int32(mask_ids.no_class))
            classes = op('Where', decision.no_class, no_class, classes)
        colours = op('Gather', palette, classes, axis=0)
        self._blend(image, source, self._resized(colours, colour=True), alpha, output)

    def _plane(self, decision: Decision, table: np.ndarray | None) -> str:
        """One byte of each pixel's mask id, at the size of the decision."""
        if table is None:
            plane = self._narrowed(self._op.cast(decision.classes, TensorProto.INT32))
        else:
            plane = self._look_up(table.astype(self._numpy_dtype), decision.classes)
        if not decision.no_class:
            return plane
        no_class = self._op.constant(self._numpy_dtype(_NO_CLASS_BYTE))
        return self._op('Where', decision.no_class, no_class, plane)

    def _look_up_rows(self, table: np.ndarray, ids: str) -> str:
        ids = self._op.cast(ids, TensorProto.INT32)  # the integer type of TensorRT
        return self._op('Gather', self._op.constant(table), ids, axis=0)

    def _look_up_elements(self, table: np.ndarray, ids: str) -> str:
        """The same for ONNX Runtime, ten times as fast: no memcpy per element."""
        op = self._op
        flat = op('Reshape', ids, op.ints(-1))
        found = op('GatherElements', op.constant(table), flat, axis=0)
        return op('Reshape', found, op('Shape', ids))

    def _narrowed(self, x: str) -> str:
        return self._op.cast(x, self._dtype)

    def _resized(self, x: str, colour: bool = False) -> str:
        """Resize [N, h, w], or colours [N, h, w, 3], to the output's size.

        Gather copies all elements behind its axis in one block. So columns are gathered with the
        height as the last axis, which gives thousands of long blocks instead of a million short
        ones.
        """
        if self._nearest is None:
            return x
        height_last, height_first = ((0, 2, 3, 1), (0, 3, 1, 2)) if colour else \
            ((0, 2, 1), (0, 2, 1))
        x = self._op('Transpose', x, perm=height_last)
        x = self._op('Gather', x, self._nearest.columns, axis=1)
        x = self._op('Transpose', x, perm=height_first)
        return self._op('Gather', x, self._nearest.rows, axis=1)

    def _blend_float(self, image: str, source: str, colours: str, alpha: str,
                     output: str) -> None:
        op = self._op
        moved = op('Add', source, op('Mul', op('Sub', colours, source), alpha))
        rounded = op('Floor', op('Add', moved, op.constant(np.float32(0.5))))
        op('Cast', rounded, to=TensorProto.UINT8, output=output)

    def _blend_uint8(self, image: str, source: str, colours: str, alpha: str,
                     output: str) -> None:
        """The same sum as a quantized addition, which ONNX Runtime runs as one kernel."""
        op = self._op
        one, zero = op.constant(np.float32(1)), op.constant(np.uint8(0))
        background = op('DequantizeLinear', image, op('Sub', one, alpha), zero)
        foreground = op('DequantizeLinear', colours, alpha, zero)
        op('QuantizeLinear', op('Add', background, foreground), one, zero, output=output)
