# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What the values of an output mean, read off the operators that made them.

The value is followed back to the operator that gave it its meaning. What is passed on the way
either keeps the meaning (Cast, Resize, Transpose, Clip of a probability to 0..1) or is an affine
step that can be undone (QuantizeLinear, a factor of 255).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

_DEEPEST = 100
"""Operators that are passed on the way back."""


@dataclass(frozen=True)
class Meaning:
    """What values mean; ``value = scale * meant + offset``, where ``meant`` is of ``kind``.

    Attributes:
        kind: 'logits', 'probabilities', 'sigmoid', 'ids', or '' where the graph does not decide.
        made_by: the operator that gave the meaning; '' where none did.
        scale, offset: of the last steps, such as a quantization. 1 and 0 for most.
        log: whether ``meant`` is the logarithm of probabilities.
        one_sided: of logits, whether they never are negative, as after a Relu.
        largest: the highest id, where the graph tells; None where it does not.
        axis: of a Softmax, the axis it sums over, where nothing moves the axes afterwards.
        source: which value ``meant`` was first; that of two values tells whether they belong
            together.
        flipped: whether ``meant`` is 1 minus that value.
    """

    kind: str = ''
    made_by: str = ''
    scale: float = 1.0
    offset: float = 0.0
    log: bool = False
    one_sided: bool = False
    largest: int | None = None
    axis: int | None = None
    source: tuple[int, str] = (0, '')
    flipped: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether values are what is meant, without scale and offset."""
        return math.isclose(self.scale, 1.0, rel_tol=1e-4) and abs(self.offset) < 1e-4

    @property
    def is_share(self) -> bool:
        """Whether what is meant lies between 0 and 1."""
        return not self.log and (self.kind in ('probabilities', 'sigmoid') or self.largest == 1)


UNDECIDED = Meaning()


def read_meaning(model: onnx.ModelProto, name: str) -> Meaning:
    """Return what the values of a graph's output mean.

    Args:
        model: the network.
        name: of the output.
    """
    return _Reader(model).read(_Scope.of(model.graph), name, 0)


@dataclass(eq=False)
class _Scope:
    """A graph, a body of an If, or one call of a local function."""

    makers: Mapping[str, NodeProto]
    constants: Mapping[str, TensorProto]
    outer: '_Scope | None' = None
    arguments: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: onnx.GraphProto, outer: '_Scope | None' = None) -> '_Scope':
        return cls(_makers(graph.node), {tensor.name: tensor for tensor in graph.initializer},
                   outer)


def _makers(nodes: list[NodeProto]) -> dict[str, NodeProto]:
    return {output: node for node in nodes for output in node.output if output}


class _Reader:
    def __init__(self, model: onnx.ModelProto) -> None:
        self._functions = {(function.domain, function.name): function
                           for function in model.functions}
        self._known: dict[tuple[int, str], Meaning] = {}
        self._scopes: list[_Scope] = []  # keeps their ids from being used again

    def read(self, scope: _Scope, name: str, depth: int) -> Meaning:
        key = (id(scope), name)
        if depth > _DEEPEST:
            return UNDECIDED
        if key not in self._known:
            self._known[key] = UNDECIDED  # of a circle
            self._known[key] = self._read(scope, name, depth + 1)
        return self._known[key]

    def _read(self, scope: _Scope, name: str, depth: int) -> Meaning:
        node = scope.makers.get(name)
        if node is None:
            if name in scope.constants or scope.outer is None:
                return UNDECIDED
            return self.read(scope.outer, scope.arguments.get(name, name), depth)
        function = self._functions.get((node.domain, node.op_type))
        if function is not None:
            return self._read_call(scope, node, function, name, depth)
        if node.op_type == 'If':
            return self._read_branches(scope, node, list(node.output).index(name), depth)
        step = _Step(self, scope, node, name, depth)
        read = _READERS.get(node.op_type)
        return read(step) if read is not None else UNDECIDED

    def _read_call(self, scope: _Scope, node: NodeProto, function: onnx.FunctionProto, name: str,
                   depth: int) -> Meaning:
        inner = _Scope(_makers(list(function.node)), {}, scope,
                       dict(zip(function.input, node.input, strict=False)))
        self._scopes.append(inner)
        return self.read(inner, function.output[list(node.output).index(name)], depth)

    def _read_branches(self, scope: _Scope, node: NodeProto, place: int, depth: int) -> Meaning:
        found = []
        for attribute in node.attribute:
            inner = _Scope.of(attribute.g, scope)
            self._scopes.append(inner)
            found.append(self.read(inner, attribute.g.output[place].name, depth))
        same = len({(each.kind, each.scale, each.offset, each.log) for each in found}) == 1
        return found[0] if same else UNDECIDED


@dataclass(frozen=True)
class _Step:
    """One operator on the way back."""

    reader: _Reader
    scope: _Scope
    node: NodeProto
    name: str
    depth: int

    def read(self, place: int = 0) -> Meaning:
        """Return what an input means."""
        if place >= len(self.node.input) or not self.node.input[place]:
            return UNDECIDED
        return self.reader.read(self.scope, self.node.input[place], self.depth)

    def constant(self, place: int) -> np.ndarray | None:
        """Return an input that is a constant; None where it is not one, or is left out."""
        if place >= len(self.node.input) or not self.node.input[place]:
            return None
        scope: _Scope | None = self.scope
        name = self.node.input[place]
        while scope is not None:
            if name in scope.constants:
                return np.asarray(numpy_helper.to_array(scope.constants[name]))
            if (node := scope.makers.get(name)) is not None:
                return _value_of(node)
            name, scope = scope.arguments.get(name, name), scope.outer
        return None

    def number(self, place: int, otherwise: float | None = None) -> float | None:
        """Return an input that is one constant number."""
        if place >= len(self.node.input) or not self.node.input[place]:
            return otherwise
        found = self.constant(place)
        if found is None or found.size != 1 or found.dtype.kind not in 'fiub':
            return None
        return float(found.reshape(-1)[0])

    def attribute(self, name: str, otherwise: Any = None) -> Any:
        """Return an attribute's value."""
        return next((helper.get_attribute_value(each) for each in self.node.attribute
                     if each.name == name and not each.ref_attr_name), otherwise)

    def made(self, kind: str, **known: Any) -> Meaning:
        """Return the meaning that this operator gives."""
        return Meaning(kind, self.node.op_type, source=(id(self.scope), self.name),
                       **known)


def _value_of(node: NodeProto) -> np.ndarray | None:
    if node.op_type != 'Constant':
        return None
    for attribute in node.attribute:
        if attribute.name == 'value':
            return np.asarray(numpy_helper.to_array(attribute.t))
        if attribute.name in ('value_float', 'value_int', 'value_floats', 'value_ints'):
            return np.asarray(helper.get_attribute_value(attribute))
    return None


def affine(meaning: Meaning, factor: float, added: float) -> Meaning:
    """Return what ``factor * value + added`` means."""
    if not meaning.kind or factor == 0:
        return UNDECIDED
    scale, offset = meaning.scale * factor, meaning.offset * factor + added
    if scale < 0 and meaning.is_share:  # 1 - p is as much a probability as p
        return replace(meaning, scale=-scale, offset=offset + scale, flipped=not meaning.flipped)
    return replace(meaning, scale=scale, offset=offset) if scale > 0 else UNDECIDED


def _reader(names: str) -> Callable:
    def register(read: Callable[[_Step], Meaning]) -> Callable[[_Step], Meaning]:
        _READERS.update(dict.fromkeys(names.split(), read))
        return read

    return register


_READERS: dict[str, Callable[[_Step], Meaning]] = {}


@_reader('Identity Resize Upsample Expand Pad Dropout CastLike AveragePool MaxPool '
         'GlobalAveragePool GlobalMaxPool')
def _same(step: _Step) -> Meaning:
    return step.read()


@_reader('Transpose Reshape Squeeze Unsqueeze Flatten Slice Gather GatherND GatherElements Split '
         'Tile DepthToSpace SpaceToDepth GridSample NhwcMaxPool')
def _moved(step: _Step) -> Meaning:
    return replace(step.read(), axis=None)


@_reader('Cast')
def _cast(step: _Step) -> Meaning:
    found, to = step.read(), step.attribute('to')
    is_real = to in (None, TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16,
                     TensorProto.DOUBLE)
    if is_real or found.kind == 'ids' or not found.is_share or found.scale > 2:
        return found
    return UNDECIDED  # a probability that was cut to 0 or 1


@_reader('QuantizeLinear')
def _quantize(step: _Step) -> Meaning:
    return _quantized(step, step.read(), 1)


def _quantized(step: _Step, found: Meaning, place: int) -> Meaning:
    scale, zero = step.number(place), step.number(place + 1, 0.0)
    if scale is None or zero is None or scale <= 0:
        return UNDECIDED
    return affine(found, 1 / scale, zero)


@_reader('DequantizeLinear')
def _dequantize(step: _Step) -> Meaning:
    scale, zero = step.number(1), step.number(2, 0.0)
    if scale is None or zero is None or scale <= 0:
        found = step.read()
        return found if found.kind == 'logits' else UNDECIDED
    return affine(step.read(), scale, -zero * scale)


@_reader('Sigmoid HardSigmoid')
def _sigmoid(step: _Step) -> Meaning:
    return step.made('sigmoid')


@_reader('Softmax')
def _softmax(step: _Step) -> Meaning:
    axis = step.attribute('axis', None)
    return step.made('probabilities', axis=axis)


@_reader('LogSoftmax')
def _log_softmax(step: _Step) -> Meaning:
    return step.made('probabilities', log=True)


@_reader('QLinearSigmoid')
def _quantized_sigmoid(step: _Step) -> Meaning:
    return _quantized(step, step.made('sigmoid'), 3)


@_reader('QLinearSoftmax')
def _quantized_softmax(step: _Step) -> Meaning:
    return _quantized(step, step.made('probabilities'), 3)


@_reader('Log')
def _log(step: _Step) -> Meaning:
    found = step.read()
    return replace(found, log=True) if found.is_share and found.is_plain else UNDECIDED


@_reader('Exp')
def _exp(step: _Step) -> Meaning:
    found = step.read()
    return replace(found, log=False) if found.log and found.is_plain else UNDECIDED


@_reader('Conv ConvTranspose Gemm MatMul BatchNormalization InstanceNormalization '
         'LayerNormalization GroupNormalization Einsum ConvInteger MatMulInteger FusedMatMul '
         'QGemm MatMulNBits NhwcConv')
def _linear(step: _Step) -> Meaning:
    return step.made('logits')


@_reader('FusedConv FusedGemm NhwcFusedConv')
def _fused(step: _Step) -> Meaning:
    activation = step.attribute('activation', b'')
    if activation in (b'Sigmoid', b'HardSigmoid'):
        return step.made('sigmoid')
    return step.made('logits', one_sided=activation == b'Relu')


@_reader('QLinearConv QLinearMatMul')
def _quantized_linear(step: _Step) -> Meaning:
    return _quantized(step, step.made('logits'), 6)


@_reader('QLinearAdd QLinearMul')
def _quantized_sum(step: _Step) -> Meaning:
    found = step.read(0), step.read(3)
    is_linear = any(each.kind == 'logits' for each in found)
    return _quantized(step, step.made('logits'), 6) if is_linear else UNDECIDED


@_reader('QLinearLeakyRelu')
def _quantized_leaky(step: _Step) -> Meaning:
    return _quantized(step, step.made('logits'), 3)


@_reader('QLinearConcat')
def _quantized_concat(step: _Step) -> Meaning:
    kinds = {step.read(place).kind for place in range(2, len(step.node.input), 3)}
    kind = kinds.pop() if len(kinds) == 1 else ''
    return _quantized(step, step.made(kind), 0) if kind == 'logits' else UNDECIDED


@_reader('Tanh')
def _tanh(step: _Step) -> Meaning:
    # 2 * sigmoid(2 * x) - 1
    return step.made('sigmoid', scale=2.0, offset=-1.0)


@_reader('LeakyRelu PRelu Elu Selu Softsign Gelu HardSwish Mish Swish QuickGelu FastGelu')
def _signed(step: _Step) -> Meaning:
    found = step.read()
    return found if found.kind == 'logits' else UNDECIDED


@_reader('Clip Relu Min Max')
def _bounded(step: _Step) -> Meaning:
    found, lowest, highest = _bounds(step)
    if found.is_share and found.kind != 'ids' and lowest is not None and highest is not None:
        part = found.scale / 100
        keeps = (lowest <= found.offset + part
                 and highest >= found.offset + found.scale - part)
        return found if keeps else UNDECIDED
    if lowest is None or highest is None:
        return UNDECIDED
    if found.kind == 'ids':
        return found if lowest <= found.offset else UNDECIDED
    if found.kind == 'logits':
        zero = found.offset
        return replace(found, one_sided=found.one_sided or lowest >= zero or highest <= zero)
    return UNDECIDED


def _bounds(step: _Step) -> tuple[Meaning, float | None, float | None]:
    """The value that is bounded, and by what; None where that is not known."""
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


@_reader('Softplus')
def _softplus(step: _Step) -> Meaning:
    found = step.read()
    return replace(found, one_sided=True) if found.kind == 'logits' else UNDECIDED


@_reader('ReduceMean ReduceSum ReduceMax Abs Sqrt Pow')
def _mixed(step: _Step) -> Meaning:
    found = step.read()
    if step.node.op_type in ('Abs', 'Sqrt', 'Pow'):
        return UNDECIDED
    return found if found.kind == 'logits' else UNDECIDED


@_reader('Neg')
def _negative(step: _Step) -> Meaning:
    return _times(step.read(), -1.0)


@_reader('Mul Div')
def _product(step: _Step) -> Meaning:
    divides = step.node.op_type == 'Div'
    for place in (0, 1):
        number = step.number(1 - place)
        if number and not (divides and place == 1):
            return _times(step.read(place), 1 / number if divides else number)
    # A factor of its own for each channel, a gate, or the scale of a dynamic quantization.
    if divides:
        return UNDECIDED
    found = step.read(0), step.read(1)
    return next((each for each in found if each.kind == 'logits'), UNDECIDED)


def _times(found: Meaning, factor: float) -> Meaning:
    # The zero of logits stays where it is, and a factor makes them other logits.
    if found.kind == 'logits' and found.offset == 0:
        return found
    return affine(found, factor, 0.0)


@_reader('Add Sub Sum')
def _sum(step: _Step) -> Meaning:
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
        return replace(found, largest=None)  # other ids
    return affine(found, 1.0, number)


@_reader('ArgMax ArgMin')
def _best(step: _Step) -> Meaning:
    return step.made('ids')


@_reader('TopK')
def _top(step: _Step) -> Meaning:
    return step.made('ids') if list(step.node.output).index(step.name) == 1 else UNDECIDED


@_reader('Greater GreaterOrEqual Less LessOrEqual Equal And Or Xor Not')
def _comparison(step: _Step) -> Meaning:
    return step.made('ids', largest=1)


@_reader('Round Floor Ceil')
def _rounded(step: _Step) -> Meaning:
    found = step.read()
    if found.kind == 'ids' or found.scale > 2:
        return found
    middle = {'Round': 0.0, 'Floor': 0.5, 'Ceil': -0.5}[step.node.op_type]
    if found.is_share and found.scale == 1 and math.isclose(found.offset, middle, abs_tol=1e-6):
        return step.made('ids', largest=1)  # a comparison with 0.5
    return UNDECIDED


@_reader('Where')
def _where(step: _Step) -> Meaning:
    positive, negative = step.number(1), step.number(2)
    if positive is not None and negative is not None and positive != negative:
        two = affine(step.made('ids', largest=1), positive - negative, negative)
        return two if two.offset == 0 else UNDECIDED
    found = step.read(1 if positive is None else 2)
    if found.kind == 'ids' and (positive is None) != (negative is None):
        return replace(found, largest=None)
    return UNDECIDED


@_reader('Concat')
def _concat(step: _Step) -> Meaning:
    found = [step.read(place) for place in range(len(step.node.input))
             if step.constant(place) is None]
    if not found or len({(each.kind, each.scale, each.offset, each.log) for each in found}) > 1:
        return UNDECIDED
    first = found[0]
    if first.kind == 'logits':
        return first
    if first.kind == 'ids' or len(found) < len(step.node.input):
        return UNDECIDED
    same = len({each.source for each in found}) == 1
    if len(found) == 2 and same and found[0].flipped != found[1].flipped:
        return replace(first, kind='probabilities', axis=None)
    if first.kind == 'sigmoid' and any(each.flipped for each in found):
        return UNDECIDED
    return replace(first, axis=None) if first.kind == 'sigmoid' or same else UNDECIDED
