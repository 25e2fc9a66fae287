# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The meaning of values in a graph, and access to one operator and its constants."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from trt_segmentation.graph.onnx_tools.constants import constant_of


@dataclass(frozen=True)
class Meaning:
    """The meaning of values: ``value = scale * x + offset``, where ``x`` is of ``kind``.

    Attributes:
        kind: 'logits', 'probabilities', 'sigmoid', 'ids', 'confidence' (the highest probability
            of a pixel, without its class), or '' if the graph does not determine it.
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
        arguments: of a function call, the caller's name of each function input.
    """

    producers: Mapping[str, NodeProto]
    constants: Mapping[str, TensorProto]
    outer: 'Scope | None' = None
    arguments: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: onnx.GraphProto, outer: 'Scope | None' = None) -> 'Scope':
        """Return the scope of a graph that is nested in ``outer``."""
        return cls(producers_of(graph.node), {tensor.name: tensor for tensor in graph.initializer},
                   outer)


def producers_of(nodes: list[NodeProto]) -> dict[str, NodeProto]:
    """Return the node that computes each value, by value name."""
    return {output: node for node in nodes for output in node.output if output}


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
        return _constant_of(self.scope, self.node.input[place])

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
                     if each.name == name and not each.ref_attr_name), otherwise)

    def made(self, kind: str, **known: Any) -> Meaning:
        """Return a meaning that this operator determines."""
        return Meaning(kind, self.node.op_type, source=(id(self.scope), self.name),
                       **known)


def _constant_of(scope: Scope | None, name: str) -> np.ndarray | None:
    while scope is not None:
        if name in scope.constants:
            return np.asarray(numpy_helper.to_array(scope.constants[name]))
        if (node := scope.producers.get(name)) is not None:
            return _value_of(scope, node)
        name, scope = scope.arguments.get(name, name), scope.outer
    return None


def _value_of(scope: Scope, node: NodeProto) -> np.ndarray | None:
    """The output of a node with constant inputs: Constant, Identity or DequantizeLinear."""
    if node.op_type in ('Identity', 'DequantizeLinear'):
        given = [_constant_of(scope, name) for name in node.input if name]
        known = [each for each in given if each is not None]
        if len(known) < len(given):
            return None
        return known[0] if node.op_type == 'Identity' else _dequantized(node, *known)
    tensor = constant_of(node)
    return None if tensor is None else np.asarray(numpy_helper.to_array(tensor))


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
