# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Rules that give the meaning of an operator's output from the meaning of its inputs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from onnx import TensorProto

from trt_segmentation.graph.analysis.value_kind import UNDECIDED, Meaning, Step, affine

RULES: dict[str, Callable[[Step], Meaning]] = {}
"""By operator name, in any domain: the rule for its outputs."""


SOFTMAX_OF_ONE_AXIS = 13
"""Opset from which a Softmax is over one axis, by default the last one."""


def _rule(names: str) -> Callable:
    def register(read: Callable[[Step], Meaning]) -> Callable[[Step], Meaning]:
        RULES.update(dict.fromkeys(names.split(), read))
        return read

    return register


@_rule('Identity Resize Upsample Pad Dropout CastLike AveragePool MaxPool Tile NhwcMaxPool '
       'GlobalAveragePool GlobalMaxPool DepthToSpace SpaceToDepth GridSample ReorderInput '
       'ReorderOutput')
def _same(step: Step) -> Meaning:
    return step.read()


@_rule('Slice Split')
def _cut(step: Step) -> Meaning:
    found, axes = step.read(), _cut_axes(step)
    keeps = found.axis is not None and axes is not None and found.axis not in axes \
        and min((found.axis, *axes)) >= 0
    return found if keeps else replace(found, is_part=True)


def _cut_axes(step: Step) -> list[int] | None:
    """The axes along which a Slice or Split cuts; None if they are not known."""
    if step.node.op_type == 'Split':
        return [step.attribute('axis', 0)]
    given = step.attribute('axes')
    if given is None and (constant := step.constant(3)) is not None:
        given = constant.reshape(-1).tolist()
    return given


@_rule('Gather GatherND')
def _picked(step: Step) -> Meaning:
    return replace(step.read(), axis=None, is_part=True)


@_rule('GatherElements')
def _picked_for_each(step: Step) -> Meaning:
    found = step.read()
    if found.kind in ('logits', *_FRACTIONS) and step.read(1).kind == 'ids':
        return _confidence(step, found)
    return replace(found, axis=None, is_part=True)


@_rule('Reshape Squeeze Unsqueeze Flatten Expand')
def _moved(step: Step) -> Meaning:
    return replace(step.read(), axis=None)


@_rule('Transpose')
def _transposed(step: Step) -> Meaning:
    found, places = step.read(), step.attribute('perm')
    axis = None if found.axis is None or places is None or not -len(places) <= found.axis < \
        len(places) else list(places).index(found.axis % len(places))
    return replace(found, axis=axis)


@_rule('QLinearAveragePool QLinearGlobalAveragePool')
def _quantized_pool(step: Step) -> Meaning:
    return _quantized(step, _dequantized(step, step.read(), 1), 3)


@_rule('Cast')
def _cast(step: Step) -> Meaning:
    found, to = step.read(), step.attribute('to')
    is_real = to in (None, TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16,
                     TensorProto.DOUBLE)
    if found.kind == 'ids':
        return replace(found, largest=1) if to == TensorProto.BOOL else found
    if is_real or not found.is_fraction or found.scale > 2:
        return found
    return _thresholded(step, found, 0.5)  # a Cast to integers truncates


def _thresholded(step: Step, found: Meaning, middle: float) -> Meaning:
    """The meaning of a rounded probability, if the rounding is a comparison with 0.5."""
    is_middle = found.scale == 1 and math.isclose(found.offset, middle, abs_tol=1e-6)
    return step.made('ids', largest=1, axis=found.axis) if found.is_fraction and is_middle \
        else UNDECIDED


@_rule('QuantizeLinear')
def _quantize(step: Step) -> Meaning:
    return _quantized(step, step.read(), 1)


def _quantized(step: Step, found: Meaning, place: int) -> Meaning:
    read = _scale_and_zero(step, place)
    return affine(found, 1 / read[0], read[1]) if read else UNDECIDED


def _scale_and_zero(step: Step, place: int) -> tuple[float, float] | None:
    """The scale at input ``place`` and the zero point after it; None if they are no scalars."""
    scale, zero = step.number(place), step.number(place + 1, 0.0)
    return None if scale is None or zero is None or scale <= 0 else (scale, zero)


@_rule('DequantizeLinear')
def _dequantize(step: Step) -> Meaning:
    return _dequantized(step, step.read(), 1)


def _dequantized(step: Step, found: Meaning, place: int) -> Meaning:
    read = _scale_and_zero(step, place)
    if read is None:
        return found if found.kind == 'logits' else UNDECIDED
    scale, zero = read
    return affine(found, scale, -zero * scale)


@_rule('Sigmoid HardSigmoid')
def _sigmoid(step: Step) -> Meaning:
    return step.made('sigmoid', axis=step.read().axis)


@_rule('Softmax BiasSoftmax Hardmax')
def _softmax(step: Step) -> Meaning:
    return step.made('probabilities', axis=_softmax_axis(step))


def _softmax_axis(step: Step) -> int | None:
    """The axis of a Softmax; None if it may be over several axes, as before opset 13."""
    return step.attribute('axis', -1 if step.opset >= SOFTMAX_OF_ONE_AXIS else None)


@_rule('OneHot')
def _one_hot(step: Step) -> Meaning:
    values = step.constant(2)
    if values is None or values.size != 2 or step.read().kind != 'ids':
        return UNDECIDED
    off, on = (float(value) for value in values.reshape(-1))
    return affine(step.made('probabilities', axis=step.attribute('axis', -1)), on - off, off)


@_rule('LogSoftmax')
def _log_softmax(step: Step) -> Meaning:
    return step.made('probabilities', log=True, axis=_softmax_axis(step))


@_rule('QLinearSigmoid')
def _quantized_sigmoid(step: Step) -> Meaning:
    return _quantized(step, step.made('sigmoid'), 3)


@_rule('QLinearSoftmax')
def _quantized_softmax(step: Step) -> Meaning:
    return _quantized(step, step.made('probabilities'), 3)


@_rule('Log')
def _log(step: Step) -> Meaning:
    found = step.read()
    return replace(found, log=True) if found.is_fraction and found.is_unscaled else UNDECIDED


@_rule('Exp')
def _exp(step: Step) -> Meaning:
    found = step.read()
    return replace(found, log=False) if found.log and found.is_unscaled else UNDECIDED


@_rule('BatchNormalization InstanceNormalization GroupNorm GroupNormalization')
def _normalized(step: Step) -> Meaning:
    return step.made('logits', axis=step.read().axis)


@_rule('MatMul Gemm Einsum MatMulInteger FusedMatMul LayerNormalization QGemm MatMulNBits '
       'SimplifiedLayerNormalization SkipLayerNormalization SkipSimplifiedLayerNormalization '
       'SkipGroupNorm MatMulIntegerToFloat DynamicQuantizeMatMul FusedGemm BiasAdd')
def _product_of_matrices(step: Step) -> Meaning:
    is_right = step.node.op_type != 'Einsum' and step.constant(1) is not None
    return replace(_activated(step), axis=-1 if is_right else None)


_FRACTIONS = 'sigmoid', 'probabilities'


@_rule('Conv ConvTranspose ConvInteger FusedConv NhwcConv NhwcFusedConv')
def _convolution(step: Step) -> Meaning:
    found = step.read()
    if found.kind in _FRACTIONS and not step.attribute('activation'):
        weights = step.constant(1)
        if _is_smoothing(step, weights):
            return found
        if weights is not None and weights.shape[0] == 1:
            return UNDECIDED  # a mix of probability maps; it may be one or be logits
    axis = -1 if step.node.op_type.startswith('Nhwc') else 1
    return replace(_activated(step), axis=axis)


def _is_smoothing(step: Step, weights: np.ndarray | None) -> bool:
    """Whether a convolution computes weighted means, as upsampling or blurring does."""
    if weights is None or weights.ndim != 4 or weights.shape[1] != 1:
        return False
    has_bias = (bias := step.constant(2)) is not None and bias.any()
    grows = step.node.op_type == 'ConvTranspose'
    whole = math.prod(step.attribute('strides') or (1, 1)) if grows else 1
    sums = weights.sum((1, 2, 3))
    return not has_bias and bool((weights >= 0).all() and np.allclose(sums, whole, rtol=0.02))


def _activated(step: Step) -> Meaning:
    """The meaning of a linear operator's output, with its fused activation if it has one."""
    activation = step.attribute('activation', b'') or b''
    if activation in (b'Sigmoid', b'HardSigmoid'):
        return step.made('sigmoid')
    if activation == b'Tanh':
        return step.made('sigmoid', scale=2.0, offset=-1.0)
    return step.made('logits', one_sided=activation in (b'Relu', b'Clip'))


@_rule('QLinearConv QLinearMatMul')
def _quantized_linear(step: Step) -> Meaning:
    if step.node.op_type != 'QLinearConv':
        return _quantized(step, step.made('logits', axis=-1), 6)
    if step.read().kind in _FRACTIONS:  # see _convolution
        weights = step.constant(3)
        if weights is not None and weights.shape[0] == 1:
            return UNDECIDED
    return _quantized(step, step.made('logits', axis=1), 6)


@_rule('QLinearAdd QLinearMul')
def _quantized_sum(step: Step) -> Meaning:
    found = step.read(0), step.read(3)
    is_linear = any(each.kind == 'logits' for each in found)
    return _quantized(step, step.made('logits'), 6) if is_linear else UNDECIDED


@_rule('QLinearLeakyRelu')
def _quantized_leaky(step: Step) -> Meaning:
    found = _dequantized(step, step.read(), 1)
    return _quantized(step, found, 3) if found.kind == 'logits' else UNDECIDED


@_rule('QLinearConcat')
def _quantized_concat(step: Step) -> Meaning:
    found = [_dequantized(step, step.read(place), place + 1)
             for place in range(2, len(step.node.input), 3)]
    return _quantized(step, _joined(found), 0)


@_rule('Tanh Erf Softsign')
def _from_minus_1_to_1(step: Step) -> Meaning:
    # Tanh is 2 * sigmoid(2 * x) - 1; the others have a similar curve.
    return step.made('sigmoid', scale=2.0, offset=-1.0)


@_rule('LeakyRelu PRelu Elu Selu Gelu HardSwish Mish Swish QuickGelu FastGelu')
def _signed(step: Step) -> Meaning:
    found = step.read()
    return found if found.kind == 'logits' else UNDECIDED


@_rule('Clip Relu Min Max')
def _bounded(step: Step) -> Meaning:
    found, lowest, highest = _bounds(step)
    if found.is_fraction and found.kind != 'ids' and lowest is not None and highest is not None:
        part = found.scale / 100
        keeps = (lowest <= found.offset + part
                 and highest >= found.offset + found.scale - part)
        return found if keeps else UNDECIDED
    if lowest is None or highest is None:
        return UNDECIDED
    if found.log:  # the logarithm of 0 is clipped to some lower bound
        keeps = highest >= found.offset and lowest <= found.offset - 5 * found.scale
        return found if keeps else UNDECIDED
    if found.kind == 'ids':
        return found if lowest <= found.offset else UNDECIDED
    if found.kind == 'logits':
        zero = found.offset
        return replace(found, one_sided=found.one_sided or lowest >= zero or highest <= zero)
    return UNDECIDED


def _bounds(step: Step) -> tuple[Meaning, float | None, float | None]:
    """The value that is clipped, and its bounds; None for a bound that is not known."""
    operator = step.node.op_type
    if operator == 'Relu':
        return step.read(), 0.0, math.inf
    if operator == 'Clip':
        lowest, highest = step.attribute('min'), step.attribute('max')
        return (step.read(), step.number(1, -math.inf if lowest is None else lowest),
                step.number(2, math.inf if highest is None else highest))
    for place in range(len(step.node.input) if len(step.node.input) == 2 else 0):
        if (number := step.number(1 - place)) is not None:
            found = step.read(place)
            return (found, -math.inf, number) if operator == 'Min' else (found, number, math.inf)
    return UNDECIDED, None, None


@_rule('Softplus')
def _softplus(step: Step) -> Meaning:
    found = step.read()
    return replace(found, one_sided=True) if found.kind == 'logits' else UNDECIDED


@_rule('ReduceMean ReduceSum ReduceMax')
def _reduced(step: Step) -> Meaning:
    operator, found = step.node.op_type, step.read()
    axes = step.attribute('axes')
    if axes is None and (constant := step.constant(1)) is not None:
        axes = constant.reshape(-1).tolist()
    if operator == 'ReduceMax' and _are_of_all_classes(found, axes or ()):
        return _confidence(step, found)
    if found.kind == 'logits' or (operator != 'ReduceSum' and found.kind == 'sigmoid'):
        return replace(found, axis=None)
    return UNDECIDED


_RANK = 4
"""Number of axes of class scores."""


def _are_of_all_classes(found: Meaning, axes: Sequence[int]) -> bool:
    """Whether a pixel's highest value along ``axes`` is the score of its most likely class."""
    if found.is_part or found.kind not in ('probabilities', 'logits'):
        return False
    if found.axis is None:
        return found.kind == 'probabilities' and not found.log
    return found.axis % _RANK in {axis % _RANK for axis in axes}


def _confidence(step: Step, found: Meaning) -> Meaning:
    return replace(found, kind='confidence', made_by=step.node.op_type, axis=None)


@_rule('Mean')
def _mean(step: Step) -> Meaning:
    found = [step.read(place) for place in range(len(step.node.input))]
    return found[0] if _are_alike(found) and found[0].kind not in ('', 'ids') else UNDECIDED


@_rule('Neg')
def _negative(step: Step) -> Meaning:
    return _times(step.read(), -1.0)


@_rule('Mul Div')
def _product(step: Step) -> Meaning:
    divides = step.node.op_type == 'Div'
    if divides and (divisor := step.constant(1)) is not None and divisor.dtype.kind in 'iu':
        return UNDECIDED  # a division of integers rounds
    for place in (0, 1):
        number = step.number(1 - place)
        if number == 0 and not divides:
            return UNDECIDED
        if number and not (divides and place == 1):
            return _times(step.read(place), 1 / number if divides else number)
    # A factor for each channel, a gate, or the scale of a dynamic quantization.
    if divides:
        return UNDECIDED
    found = next((each for each in (step.read(0), step.read(1)) if each.kind == 'logits'),
                 UNDECIDED)
    return replace(found, made_by=step.node.op_type) if found.kind else found


def _times(found: Meaning, factor: float) -> Meaning:
    # Scaled logits are logits, and their zero does not move.
    if found.kind == 'logits' and found.offset == 0:
        return found
    if found.log and factor < 0:
        return replace(found, kind='cost', log=False, scale=-found.scale * factor,
                       offset=found.offset * factor)
    return affine(found, factor, 0.0)


@_rule('Add Sub Sum')
def _sum(step: Step) -> Meaning:
    negative = step.node.op_type == 'Sub'
    if len(step.node.input) == 2:
        for place in (0, 1):
            if (number := step.number(1 - place)) is not None:
                found = step.read(place)
                if negative and place == 1:
                    return _plus(_times(found, -1.0), number)
                return _plus(found, -number if negative else number)
    parts = (step.read(place) for place in range(len(step.node.input)))
    return next((each for each in parts if each.kind == 'logits'), UNDECIDED)


def _plus(found: Meaning, number: float) -> Meaning:
    if found.kind == 'logits':
        return found
    if found.kind == 'ids' and not found.flipped and (number / found.scale).is_integer():
        return replace(found, largest=None)  # shifted ids
    return affine(found, 1.0, number)


@_rule('ArgMax ArgMin')
def _best(step: Step) -> Meaning:
    keeps = step.attribute('keepdims', 1)
    return step.made('ids', axis=step.attribute('axis', 0) if keeps else None)


@_rule('TopK')
def _top(step: Step) -> Meaning:
    if list(step.node.output).index(step.name) == 1:
        return step.made('ids', axis=step.attribute('axis', -1))
    found = step.read()
    return _confidence(step, found) if _are_of_all_classes(found, [step.attribute('axis', -1)]) \
        else UNDECIDED


@_rule('Greater GreaterOrEqual Less LessOrEqual Equal And Or Xor Not')
def _comparison(step: Step) -> Meaning:
    axes = [step.read(place).axis for place in range(len(step.node.input))]
    return step.made('ids', largest=1,
                     axis=next((axis for axis in axes if axis is not None), None))


@_rule('Sign')
def _sign(step: Step) -> Meaning:
    found = step.read()
    is_centred = found.kind == 'logits' and not found.one_sided and found.offset == 0
    return step.made('ids', largest=1, scale=2.0, offset=-1.0) if is_centred else UNDECIDED


@_rule('Round Floor Ceil')
def _rounded(step: Step) -> Meaning:
    found = step.read()
    if found.kind == 'ids' or found.scale > 2:
        return found
    middle = {'Round': 0.0, 'Floor': 0.5, 'Ceil': -0.5}[step.node.op_type]
    return _thresholded(step, found, middle)


@_rule('Where')
def _where(step: Step) -> Meaning:
    positive, negative = step.number(1), step.number(2)
    if positive is not None and negative is not None and positive != negative:
        two = affine(step.made('ids', largest=1), positive - negative, negative)
        return _with_ids_of(two) if two.offset == 0 else UNDECIDED
    found = step.read(1 if positive is None else 2)
    if found.kind == 'ids' and (positive is None) != (negative is None):
        return replace(found, largest=None)
    return UNDECIDED


def _with_ids_of(two: Meaning) -> Meaning:
    """0 and 255 are classes 0 and 1, drawn as black and white; 0 and 15 are classes 0 and 15."""
    is_id = float(two.scale).is_integer() and two.scale not in (1, 255)
    return replace(two, scale=1.0, largest=int(two.scale)) if is_id else two


@_rule('Concat')
def _concat(step: Step) -> Meaning:
    found = [step.read(place) for place in range(len(step.node.input))
             if step.constant(place) is None]
    if len(found) < len(step.node.input) and (not found or found[0].kind != 'logits'):
        return UNDECIDED
    return _joined(found)


def _are_alike(found: Sequence[Meaning]) -> bool:
    """Whether meanings agree except for their source; quantization rounds scales."""
    first = found[0]
    return all(each.kind == first.kind and each.log == first.log
               and math.isclose(each.scale, first.scale, rel_tol=1e-4)
               and math.isclose(each.offset, first.offset, abs_tol=1e-4 * abs(first.scale))
               for each in found)


def _are_mixed(found: Sequence[Meaning]) -> bool:
    """Whether some values are ids of several classes, and others are not."""
    are_ids = [each.kind == 'ids' and each.largest != 1 for each in found if each.kind]
    return any(are_ids) and not all(are_ids)


def _joined(found: Sequence[Meaning]) -> Meaning:
    """The meaning of concatenated values, along the classes or along the pixels."""
    first = found[0]
    if not _are_alike(found):
        return Meaning('mixture') if _are_mixed(found) else UNDECIDED
    if first.kind in ('', 'logits'):
        return first
    if first.kind == 'ids':
        same = len({each.largest for each in found}) == 1
        return replace(first, largest=first.largest if same else None, axis=None)
    same = len({each.source for each in found}) == 1
    if len(found) == 2 and same and found[0].flipped != found[1].flipped:
        return replace(first, kind='probabilities', axis=None, flipped=False)
    if first.kind == 'sigmoid' and any(each.flipped for each in found):
        return UNDECIDED
    return replace(first, axis=None) if first.kind == 'sigmoid' or same else UNDECIDED
