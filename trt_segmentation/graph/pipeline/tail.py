# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The tail: from what the network says to class ids, confidence and overlay at camera size.

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
"""What minus infinity becomes where scores are interpolated; rounding must not reach -inf."""

_LOWEST_SCORE = np.float32(-1e30)
"""Where even the highest score of a pixel is below, every class is excluded there."""

# TensorRT 8.6 tries every float constant in fp16, whatever the layers are pinned to, and warns of
# those that fp16 does not hold. There, large numbers are brought into its range, or made of
# smaller ones, while the engine runs: by powers of two, which is exact.

_TWO_TO_14 = np.float32(2 ** 14)
_REDUCTIONS = 6
"""So often divided by 2**14, the lowest score is in fp16's range."""


@dataclass(frozen=True)
class Decision:
    """What was decided for every pixel of a class map.

    Attributes:
        classes: int32 or int64 [N, h, w], the network's ids; any where there is no class.
        nothing: bool [N, h, w], where there is no class; empty where each pixel has one.
        confidence: float32 [N, h, w], 0..1; empty where the network does not tell.
    """

    classes: str
    nothing: str = ''
    confidence: str = ''


@dataclass(frozen=True)
class DecisionRule:
    """How scores become classes.

    Attributes:
        kind: one of ``model_config.KINDS``.
        threshold: probability from which on a foreground (one channel) or a class (several
            sigmoid channels) counts; not used by the other kinds.
        unlabelled: the network's id for "no class".
        limit: ids from here on are no class.
    """

    kind: str
    threshold: float
    unlabelled: int
    limit: int


def add_decision(op: GraphBuilder, scores: Scores, rule: DecisionRule) -> Decision:
    """Decide the class and the confidence of every pixel, at the size of ``scores``.

    Args:
        scores: float32 for 'logits', 'probabilities' and 'sigmoid', an integer type for 'ids'.
        rule: how.
    """
    decision = _DECISIONS[rule.kind](op, scores, rule)
    if rule.unlabelled >= rule.limit:
        return decision
    ids = op.cast(decision.classes, TensorProto.INT32)
    ignored = op('Equal', ids, op.constant(np.int32(rule.unlabelled)))
    return _without_class(op, decision, ignored)


def _without_class(op: GraphBuilder, decision: Decision, where: str) -> Decision:
    nothing = op('Or', decision.nothing, where) if decision.nothing else where
    if not decision.confidence:
        return Decision(decision.classes, nothing)
    zero = op.constant(np.float32(0))
    return Decision(decision.classes, nothing, op('Where', where, zero, decision.confidence))


def _decide_logits(op: GraphBuilder, scores: Scores, rule: DecisionRule) -> Decision:
    if scores.channels == 1:
        probability = op('Sigmoid', op.squeeze(scores.name, scores.channel_axis))
        return _decide_foreground(op, probability, rule.threshold)
    best = _add_best(op, scores)
    exponentials = replace(scores, name=op('Exp', op('Sub', scores.name, best.highest)))
    confidence = op('Reciprocal', op.squeeze(_add_sum(op, exponentials, best),
                                             scores.channel_axis))
    return _decide_best(op, scores, best, confidence)


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
    nothing = op('Or', negative, too_high)
    # Ids are indices from here on.
    return Decision(op('Where', nothing, op.constant(dtype(0)), ids), nothing)


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
    if op.for_cpu:  # one value a pixel instead of a second pass over all of them
        return _Best(op('GatherElements', scores.name, classes, axis=scores.axis), classes)
    return _Best(op.reduce('ReduceMax', scores.name, scores.channel_axis, keepdims=1), classes)


def _add_sum(op: GraphBuilder, scores: Scores, best: _Best) -> str:
    """Return the sum over the classes, in the shape of the best."""
    if not op.for_cpu:
        return op.reduce('ReduceSum', scores.name, scores.channel_axis, keepdims=1)
    # ONNX Runtime's products of matrices are some ten times as fast as its sums.
    ones = np.ones(scores.channels, np.float32)
    if scores.axis != 1:
        return op('MatMul', scores.name, op.constant(ones[:, None]))
    planes = op('Reshape', scores.name, op.ints(0, scores.channels, -1))
    summed = op('MatMul', op.constant(ones[None]), planes)
    return op('Reshape', summed, op('Shape', best.highest))


def _decide_best(op: GraphBuilder, scores: Scores, best: _Best, confidence: str) -> Decision:
    """Class of the highest score; none where the highest is infinite or one is NaN."""
    # A sum carries every NaN, which a maximum need not.
    broken = op('IsNaN', _add_sum(op, scores, best))
    highest, lowest = best.highest, _LOWEST_SCORE
    infinite = op('IsInf', highest)
    for _ in range(0 if op.for_cpu else _REDUCTIONS):
        highest, lowest = op('Div', highest, op.constant(_TWO_TO_14)), lowest / _TWO_TO_14
    excluded = op('Less', highest, op.constant(lowest))
    nothing = op('Or', broken, op('Or', infinite, excluded))
    classes, nothing = (op.squeeze(x, scores.channel_axis) for x in (best.classes, nothing))
    return _without_class(op, Decision(classes, confidence=confidence), nothing)


def _decide_foreground(op: GraphBuilder, probability: str, threshold: float) -> Decision:
    """Class 1 where the one channel's probability reaches the threshold, else class 0."""
    one = op.constant(np.float32(1))
    background = op('Less', probability, op.constant(np.float32(threshold)))
    classes = op('Where', background, op.constant(np.int32(0)), op.constant(np.int32(1)))
    confidence = op('Where', background, op('Sub', one, probability), probability)
    return _without_class(op, Decision(classes, confidence=confidence),
                          op('IsNaN', probability))


def add_finite_scores(op: GraphBuilder, scores: Scores) -> Scores:
    """Return float32 scores that can be interpolated.

    Minus infinity rules a class out; times an interpolation weight of 0 it would be NaN.
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


def add_grown_scores(op: GraphBuilder, scores: Scores, extents: tuple[str, str], *,
                     align_corners: bool = False, batch: int = 1) -> Scores:
    """Bring scores to another size by bilinear interpolation, before the decision.

    Args:
        scores: of ``add_finite_scores``, at any size.
        extents: height and width wanted, names of int64 [1].
        align_corners: see ``OutputConfig``.
        batch: number of images.
    """
    channels = op.ints(scores.channels)
    shape = (channels, *extents) if scores.axis == 1 else (*extents, channels)
    sizes = op('Concat', op.ints(batch), *shape, axis=0)
    return replace(scores, name=op.resize_linear(scores.name, sizes, align_corners))


def add_cropped_scores(op: GraphBuilder, scores: Scores, window: Window) -> Scores:
    """Return what scores say of the source.

    Args:
        scores: at the size of the letterboxed network input.
        window: where the source lies in it.
    """
    starts = op('Concat', window.top, window.left, axis=0)
    ends = op('Add', starts, op('Concat', window.height, window.width, axis=0))
    axes = op.ints(scores.height_axis, scores.height_axis + 1)
    return replace(scores, name=op('Slice', scores.name, starts, ends, axes))


@dataclass(frozen=True)
class NearestIndex:
    """Which row and which column of a class map each pixel takes: int32 [H], [W]."""

    rows: str
    columns: str


def add_nearest_index(op: GraphBuilder, class_map: str, extents: tuple[str, str],
                      window: Window | None, size: tuple[int, int] | None,
                      scale: tuple[Fraction, Fraction] | None) -> NearestIndex:
    """Find the nearest cell of a class map for each pixel of a mask, exactly, in integers.

    Pixel i of H covers the map's cell ``floor((i + 1/2) * h / H)``: half-pixel centres as in the
    head's resize (OpenCV's ``INTER_NEAREST_EXACT``; its ``INTER_NEAREST`` is off by up to half
    a cell). No value on the way reaches 2**31 for images of up to 16384 pixels a side and
    networks of up to 4096.

    Args:
        class_map: [N, h, w].
        extents: H and W of the mask, names of int64 [1].
        window: where the source lies in the letterboxed network input; None where stretched.
        size: height and width of the network input; needed with ``window``.
        scale: h and w over the network input's; None where the graph leaves them open.
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
        # place * cells / (halves * of) passes 2**31, and TensorRT computes in 32 bits. Divided
        # in two steps it does not: floor(x / of) is floor(floor(x) / of).
        whole = op('Div', place, halves)
        rest = op('Sub', place, op('Mul', whole, halves))
        scaled = op('Add', op('Mul', whole, cells), op('Div', op('Mul', rest, cells), halves))
        return op.cast(op('Div', scaled, op.ints(of)), TensorProto.INT32)

    if window is None:
        return NearestIndex(along(0, '', ''), along(1, '', ''))
    return NearestIndex(along(0, window.top, window.height), along(1, window.left, window.width))


class Painter:
    """Writes the tail's byte outputs.

    TensorRT computes nothing in uint8: there, everything stays float32 up to one last cast.
    ONNX Runtime has uint8 kernels that move a quarter of the memory. Both forms give the same
    bytes, but for ties in the overlay's rounding.

    Args:
        op: where the nodes go.
        nearest: how class maps grow to the source's size; None where they have it.
        coding: which mask id stands for which class.
    """

    def __init__(self, op: GraphBuilder, nearest: NearestIndex | None, coding: MaskIds) -> None:
        self._op = op
        self._nearest = nearest
        self._coding = coding
        self._dtype = TensorProto.UINT8 if op.for_cpu else TensorProto.FLOAT
        self._numpy_dtype: type[np.generic] = np.uint8 if op.for_cpu else np.float32
        self._blend = self._blend_uint8 if op.for_cpu else self._blend_float
        self._look_up = self._look_up_elements if op.for_cpu else self._look_up_rows

    def paint_classes(self, decision: Decision, output: str) -> None:
        """Add ``output``: mask ids as uint8 [N, H, W]; those of 16 bits as their two bytes,
        [N, H, W, 2], the lower one first: the memory of a little-endian uint16 [N, H, W]."""
        planes = [self._plane(decision, table) for table in self._coding.planes]
        if len(planes) == 1:
            grown = self._grown(planes[0])
        else:
            pairs = [self._op.unsqueeze(plane, 3) for plane in planes]
            grown = self._grown(self._op('Concat', *pairs, axis=3), colour=True)
        self._op('Cast', grown, to=TensorProto.UINT8, output=output)

    def paint_confidence(self, decision: Decision, output: str) -> None:
        """Add ``output``: confidence as uint8 [N, H, W] of 0..255, rounded."""
        op, confidence = self._op, decision.confidence
        if self._coding.drops:
            confidence = op('Mul', confidence,
                            self._look_up(self._coding.kept, decision.classes))
        limits = (op.constant(np.float32(0)), op.constant(np.float32(1)))
        scaled = op('Mul', op('Clip', confidence, *limits), op.constant(np.float32(255)))
        rounded = op('Floor', op('Add', scaled, op.constant(np.float32(0.5))))
        self._op('Cast', self._grown(self._narrowed(rounded)), to=TensorProto.UINT8,
                 output=output)

    def paint_overlay(self, decision: Decision, image: str, source: str, palette: str, alpha: str,
                      output: str) -> None:
        """Add ``output``: uint8 [N, H, W, 3], the image blended with its classes' colours.

        Args:
            decision: of the image's size, or to be grown to it.
            image: uint8 [N, H, W, 3], or [N, H, W, 1] of a gray one.
            source: the same as float32; where the graph is for TensorRT, only this is read, else
                only the other.
            palette: uint8 [ids of the mask, 3], channels in the image's order.
            alpha: float32 scalar, 0 (image) .. 1 (colour).
        """
        op, coding = self._op, self._coding
        palette, classes = self._narrowed(palette), op.cast(decision.classes, TensorProto.INT32)
        if coding.table is not None:  # the colours of few ids, not the ids of many pixels
            palette = op('Gather', palette, op.constant(coding.table.astype(np.int32)), axis=0)
        if decision.nothing:
            nothing = op.constant(np.int32(coding.nothing))
            classes = op('Where', decision.nothing, nothing, classes)
        colours = op('Gather', palette, classes, axis=0)
        self._blend(image, source, self._grown(colours, colour=True), alpha, output)

    def _plane(self, decision: Decision, table: np.ndarray | None) -> str:
        """One byte of each mask id, at the size of the decision."""
        if table is None:
            plane = self._narrowed(self._op.cast(decision.classes, TensorProto.INT32))
        else:
            plane = self._look_up(table.astype(self._numpy_dtype), decision.classes)
        if not decision.nothing:
            return plane
        nothing = self._op.constant(self._numpy_dtype(_NO_CLASS_BYTE))
        return self._op('Where', decision.nothing, nothing, plane)

    def _look_up_rows(self, table: np.ndarray, ids: str) -> str:
        ids = self._op.cast(ids, TensorProto.INT32)  # which TensorRT computes in
        return self._op('Gather', self._op.constant(table), ids, axis=0)

    def _look_up_elements(self, table: np.ndarray, ids: str) -> str:
        """The same, as ONNX Runtime does it ten times as fast: without a memcpy an element."""
        op = self._op
        flat = op('Reshape', ids, op.ints(-1))
        found = op('GatherElements', op.constant(table), flat, axis=0)
        return op('Reshape', found, op('Shape', ids))

    def _narrowed(self, x: str) -> str:
        return self._op.cast(x, self._dtype)

    def _grown(self, x: str, colour: bool = False) -> str:
        """Return [N, h, w], or colours [N, h, w, 3], at the source's size.

        A gather copies whatever lies behind its axis in one piece. So the columns are gathered
        with the height moved behind them: thousands of long pieces, not a million short ones.
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
        """The same sum as quantized addition, which ONNX Runtime runs as one kernel."""
        op = self._op
        one, zero = op.constant(np.float32(1)), op.constant(np.uint8(0))
        background = op('DequantizeLinear', image, op('Sub', one, alpha), zero)
        foreground = op('DequantizeLinear', colours, alpha, zero)
        op('QuantizeLinear', op('Add', background, foreground), one, zero, output=output)
