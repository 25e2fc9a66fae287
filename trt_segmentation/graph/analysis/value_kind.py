# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What values of a network mean, and one operator on the way to what gave them that meaning."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper


@dataclass(frozen=True)
class Meaning:
    """What values mean; ``value = scale * meant + offset``, where ``meant`` is of ``kind``.

    Attributes:
        kind: 'logits', 'probabilities', 'sigmoid', 'ids', 'confidence' (the highest probability
            of a pixel, without its class), or '' where the graph does not decide.
        made_by: the operator that gave the meaning; '' where none did.
        scale, offset: of the last steps, such as a quantization. 1 and 0 for most.
        log: whether ``meant`` is the logarithm of probabilities.
        one_sided: of logits, whether they never are negative, as after a Relu.
        largest: the highest id, where the graph tells; None where it does not.
        axis: where the classes are, -1 for the last axis; None where that is not known.
        is_part: whether some of the classes may have been left behind.
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
    is_part: bool = False
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


def affine(meaning: Meaning, factor: float, added: float) -> Meaning:
    """Return what ``factor * value + added`` means."""
    if not meaning.kind or factor == 0:
        return UNDECIDED
    scale, offset = meaning.scale * factor, meaning.offset * factor + added
    if scale < 0 and meaning.is_share:  # 1 - p is as much a probability as p
        return replace(meaning, scale=-scale, offset=offset + scale, flipped=not meaning.flipped)
    return replace(meaning, scale=scale, offset=offset) if scale > 0 else UNDECIDED


@dataclass(eq=False)
class Scope:
    """A graph, a body of an If, or one call of a local function."""

    makers: Mapping[str, NodeProto]
    constants: Mapping[str, TensorProto]
    outer: 'Scope | None' = None
    arguments: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: onnx.GraphProto, outer: 'Scope | None' = None) -> 'Scope':
        """Return the scope of a graph, inside of that of ``outer``."""
        return cls(makers_of(graph.node), {tensor.name: tensor for tensor in graph.initializer},
                   outer)


def makers_of(nodes: list[NodeProto]) -> dict[str, NodeProto]:
    """Return the node that computes each value, by the name of the value."""
    return {output: node for node in nodes for output in node.output if output}


@dataclass(frozen=True)
class Step:
    """One operator on the way back."""

    read_value: Callable[[Scope, str], Meaning]
    scope: Scope
    node: NodeProto
    name: str

    def read(self, place: int = 0) -> Meaning:
        """Return what an input means."""
        if place >= len(self.node.input) or not self.node.input[place]:
            return UNDECIDED
        return self.read_value(self.scope, self.node.input[place])

    def constant(self, place: int) -> np.ndarray | None:
        """Return an input that is a constant; None where it is not one, or is left out."""
        if place >= len(self.node.input) or not self.node.input[place]:
            return None
        return _constant_of(self.scope, self.node.input[place])

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


def _constant_of(scope: Scope | None, name: str) -> np.ndarray | None:
    while scope is not None:
        if name in scope.constants:
            return np.asarray(numpy_helper.to_array(scope.constants[name]))
        if (node := scope.makers.get(name)) is not None:
            return _value_of(scope, node)
        name, scope = scope.arguments.get(name, name), scope.outer
    return None


def _value_of(scope: Scope, node: NodeProto) -> np.ndarray | None:
    """What a node gives whose inputs are constants, as far as weights are stored so."""
    if node.op_type in ('Identity', 'DequantizeLinear'):
        given = [_constant_of(scope, name) for name in node.input if name]
        known = [each for each in given if each is not None]
        if len(known) < len(given):
            return None
        return known[0] if node.op_type == 'Identity' else _dequantized(node, *known)
    if node.op_type != 'Constant':
        return None
    for attribute in node.attribute:
        if attribute.name == 'value':
            return np.asarray(numpy_helper.to_array(attribute.t))
        if attribute.name in ('value_float', 'value_int', 'value_floats', 'value_ints'):
            return np.asarray(helper.get_attribute_value(attribute))
    return None


def _dequantized(node: NodeProto, values: np.ndarray, scale: np.ndarray,
                 zero: np.ndarray | None = None) -> np.ndarray | None:
    """What a DequantizeLinear gives; None where scales are of blocks."""
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
