# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The meaning of values in a graph, and access to one operator and its constants."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from trt_segmentation.graph.onnx_tools.constants import constant_of
from trt_segmentation.graph.onnx_tools.toposort import producers_of


@dataclass(frozen=True)
class Meaning:
    """The meaning of values: ``value = scale * x + offset``, where ``x`` is of ``kind``.

    Attributes:
        kind: 'logits', 'probabilities', 'sigmoid', 'ids', 'confidence' (the highest score of a
            pixel, without its class), 'cost' (minus the logarithm of a probability), 'mixture'
            (ids in some channels, other values in others), or '' if the graph does not determine
            it.
        made_by: the operator that determines the meaning; '' if there is none.
        scale, offset: of later affine steps, such as a quantization; mostly 1 and 0.
        log: whether ``x`` is the logarithm of a probability.
        one_sided: whether logits have one sign only, as after a Relu.
        largest: the highest id; None if the graph does not determine it.
        axis: the class axis, -1 for the last one; None if it is not known.
        is_part: whether some of the classes may have been removed.
        source: the scope and name of the value that ``x`` comes from. Two values of one source
            belong together.
        flipped: whether ``x`` is 1 minus the source.
    """

    kind: str = ''
    made_by: str = ''
    scale: float = 1.0
    offset: float = 0.0
    log: bool = False
    one_sided: bool = False
    largest: int | None = None
    axis: int | None = None
    is_part: bool = False
    source: tuple[int, str] = (0, '')
    flipped: bool = False

    @property
    def is_unscaled(self) -> bool:
        """Whether scale is 1 and offset is 0."""
        return math.isclose(self.scale, 1.0, rel_tol=1e-4) and abs(self.offset) < 1e-4

    @property
    def is_fraction(self) -> bool:
        """Whether ``x`` is within 0..1."""
        return not self.log and (self.kind in ('probabilities', 'sigmoid') or self.largest == 1)

    @property
    def is_raw(self) -> bool:
        """Whether the values may have both signs, as logits or a Tanh have them."""
        return self.kind in ('', 'logits') or (self.kind == 'sigmoid' and self.offset < 0)


UNDECIDED = Meaning()


def affine(meaning: Meaning, factor: float, added: float) -> Meaning:
    """Return the meaning of ``factor * value + added``."""
    if not meaning.kind or factor == 0:
        return UNDECIDED
    scale, offset = meaning.scale * factor, meaning.offset * factor + added
    if scale < 0 and meaning.is_fraction:  # 1 - p is a probability, too
        return replace(meaning, scale=-scale, offset=offset + scale, flipped=not meaning.flipped)
    return replace(meaning, scale=scale, offset=offset) if scale > 0 else UNDECIDED


@dataclass(eq=False)
class Scope:
    """A graph, a branch of an If, or one call of a local function.

    Attributes:
        producers: the node that computes each value.
        constants: initializers by name.
        outer: the enclosing scope.
    """

    producers: Mapping[str, NodeProto]
    constants: Mapping[str, TensorProto]
    outer: 'Scope | None' = None

    @classmethod
    def of(cls, graph: onnx.GraphProto, outer: 'Scope | None' = None) -> 'Scope':
        """Return the scope of a graph that is nested in ``outer``."""
        return cls(producers_of(graph.node), {tensor.name: tensor for tensor in graph.initializer},
                   outer)


@dataclass(frozen=True)
class Step:
    """One operator, seen from its output ``name``; ``opset`` is that of the model."""

    read_value: Callable[[Scope, str], Meaning]
    scope: Scope
    node: NodeProto
    name: str
    opset: int

    def read(self, place: int = 0) -> Meaning:
        """Return the meaning of an input."""
        if place >= len(self.node.input) or not self.node.input[place]:
            return UNDECIDED
        return self.read_value(self.scope, self.node.input[place])

    def constant(self, place: int) -> np.ndarray | None:
        """Return a constant input; None if it is not constant or is omitted."""
        if place >= len(self.node.input) or not self.node.input[place]:
            return None
        return value_of(self.scope, self.node.input[place], self.opset)

    def number(self, place: int, otherwise: float | None = None) -> float | None:
        """Return a scalar constant input; ``otherwise`` if it is omitted, else None."""
        if place >= len(self.node.input) or not self.node.input[place]:
            return otherwise
        found = self.constant(place)
        if found is None or found.size != 1 or found.dtype.kind not in 'fiub':
            return None
        return float(found.reshape(-1)[0])

    def attribute(self, name: str, otherwise: Any = None) -> Any:
        """Return an attribute's value; ``otherwise`` if it is not set."""
        return next((helper.get_attribute_value(each) for each in self.node.attribute
                     if each.name == name), otherwise)

    def made(self, kind: str, **known: Any) -> Meaning:
        """Return a meaning that this operator determines."""
        return Meaning(kind, self.node.op_type, source=(id(self.scope), self.name),
                       **known)


_MAX_STEPS = 16
"""Of successive operators that compute a constant."""


def value_of(scope: Scope | None, name: str, opset: int, steps: int = _MAX_STEPS,
             ) -> np.ndarray | None:
    """Return a value that does not depend on the network's input; None if it does, or if an
    operator computes it that is not one of ``_FOLDED``.

    Args:
        scope: in which the value is known as ``name``.
        name: of the value.
        opset: of the model.
        steps: maximum number of successive operators.
    """
    while scope is not None:
        if name in scope.constants:
            return np.asarray(numpy_helper.to_array(scope.constants[name]))
        if (node := scope.producers.get(name)) is not None:
            return _computed(scope, node, opset, steps)
        scope = scope.outer
    return None


_FOLDED = frozenset((
    'Cast', 'Reshape', 'Unsqueeze', 'Squeeze', 'Flatten', 'Expand', 'Transpose', 'Concat', 'Add',
    'Sub', 'Mul', 'Div', 'Neg', 'Sqrt', 'Reciprocal', 'Max', 'Min', 'Pow'))
"""Operators with which exporters that do not fold constants compute them, such as the mean of a
normalisation."""


def _computed(scope: Scope, node: NodeProto, opset: int, steps: int) -> np.ndarray | None:
    """The output of a node with constant inputs."""
    if (tensor := constant_of(node)) is not None:
        return np.asarray(numpy_helper.to_array(tensor))
    is_same, is_folded = node.op_type in ('Identity', 'CastLike'), node.op_type in _FOLDED
    if not steps or not (is_same or is_folded or node.op_type == 'DequantizeLinear'):
        return None
    given = []
    for name in node.input[:1] if is_same else filter(None, node.input):
        if (known := value_of(scope, name, opset, steps - 1)) is None:
            return None  # at once: most inputs depend on the image, over many operators
        given.append(known)
    if is_same:
        return given[0]
    return _folded(node, given, opset) if is_folded else _dequantized(node, *given)


def _folded(node: NodeProto, given: list[np.ndarray], opset: int) -> np.ndarray | None:
    """The output of an operator of ``_FOLDED``; None if it cannot be computed."""
    from onnx.reference import ReferenceEvaluator  # few networks need it
    names = [name for name in node.input if name]
    graph = helper.make_graph(
        [node], 'constant', [helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in zip(names, given, strict=True)],
        [helper.make_empty_tensor_value_info(node.output[0])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', opset)])
    try:
        (found,) = ReferenceEvaluator(model).run(None, dict(zip(names, given, strict=True)))
    except Exception:  # the evaluator raises what NumPy and its operators raise
        return None
    return np.asarray(found)


def _dequantized(node: NodeProto, values: np.ndarray, scale: np.ndarray,
                 zero: np.ndarray | None = None) -> np.ndarray | None:
    """The output of a DequantizeLinear; None for blockwise scales."""
    axis = next((each.i for each in node.attribute if each.name == 'axis'), 1)
    shape = [1] * values.ndim
    if scale.size > 1:
        if scale.ndim != 1 or not values.ndim or values.shape[axis] != scale.size:
            return None
        shape[axis] = scale.size
    moved = values.astype(np.float32)
    if zero is not None:
        moved = moved - zero.astype(np.float32).reshape(shape)
    return np.asarray(moved * scale.astype(np.float32).reshape(shape))
