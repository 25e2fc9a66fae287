# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Where a network's input has its channels, read off the first convolution."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import onnx
from onnx import NodeProto, helper

_COLOURS = 3

_KEEP_AXES = {'Identity', 'Cast', 'Mul', 'Div', 'Add', 'Sub', 'Neg', 'QuantizeLinear', 'Pow',
              'DequantizeLinear', 'Pad', 'Resize', 'Clip', 'Dropout', 'BatchNormalization',
              'Slice', 'Split', 'Concat'}
"""Operators that leave the axes where they are."""

_WEIGHTS = {'Conv': 1, 'FusedConv': 1, 'ConvInteger': 1, 'QLinearConv': 3}
"""By convolution, the input that holds its weights: [out, in / group, height, width]."""

_MOST = 200
"""Values that are looked at."""


@dataclass(frozen=True, eq=False)
class _Scope:
    """A graph, or one call of a local function.

    Attributes:
        readers: nodes by what they read.
        extents: of constants, by name.
        outer: of a function, where it is called; None of a graph.
        outputs: of a function, by its own name for each, the caller's.
    """

    readers: Mapping[str, Sequence[NodeProto]]
    extents: Mapping[str, tuple[int, ...]]
    outer: '_Scope | None' = None
    outputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Place:
    """A value that is made of the image, and which axes of the image it has."""

    scope: _Scope
    name: str
    order: tuple[int, ...]


def layout_of_convolution(model: onnx.ModelProto, name: str) -> str | None:
    """Return 'nchw' or 'nhwc', whichever gives the first convolution three channels; None where
    no convolution of three channels is near.

    Args:
        model: the network.
        name: of its input.
    """
    functions = {(each.domain, each.name): each for each in model.functions}
    graph = _Scope(_readers(model.graph.node), _extents_of_weights(model.graph.node, {
        tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}))
    waiting = deque([_Place(graph, name, (0, 1, 2, 3))])
    for _ in range(_MOST):
        if not waiting:
            return None
        place = waiting.popleft()
        if place.scope.outer and place.name in place.scope.outputs:
            waiting.append(_Place(place.scope.outer, place.scope.outputs[place.name],
                                  place.order))
        for node in place.scope.readers.get(place.name, ()):
            if node.op_type in _WEIGHTS:
                is_image = place.name == node.input[0]
                if not is_image or _channels_of(node, place.scope.extents) != _COLOURS:
                    return None
                return {1: 'nchw', 3: 'nhwc'}.get(place.order[1])
            called = functions.get((node.domain, node.op_type))
            waiting.extend(_within(place, node, called) if called else _behind(place, node))
    return None


def _readers(nodes: Sequence[NodeProto]) -> dict[str, list[NodeProto]]:
    readers: dict[str, list[NodeProto]] = {}
    for node in nodes:
        for name in dict.fromkeys(node.input):
            readers.setdefault(name, []).append(node)
    return readers


def _behind(place: _Place, node: NodeProto) -> Iterator[_Place]:
    """Where the image is behind a node that reads it."""
    order: tuple[int, ...] = ()
    if node.op_type == 'Transpose':
        order = _turned(node, place.order)
    elif node.op_type in _KEEP_AXES or (
            node.op_type == 'Gather' and len(place.scope.extents.get(node.input[1], ())) == 1):
        order = place.order
    if order:
        for output in node.output:
            yield _Place(place.scope, output, order)


def _within(place: _Place, node: NodeProto, function: onnx.FunctionProto) -> Iterator[_Place]:
    """Where the image is within a local function that reads it."""
    given = dict(zip(function.input, node.input, strict=False))
    known = {inner: place.scope.extents[outer] for inner, outer in given.items()
             if outer in place.scope.extents}
    scope = _Scope(_readers(function.node), _extents_of_weights(function.node, known),
                   place.scope, dict(zip(function.output, node.output, strict=False)))
    for inner, outer in given.items():
        if outer == place.name:
            yield _Place(scope, inner, place.order)


def _turned(node: NodeProto, order: Sequence[int]) -> tuple[int, ...]:
    places = next((tuple(helper.get_attribute_value(each)) for each in node.attribute
                   if each.name == 'perm'), ())
    return tuple(order[place] for place in places) if len(places) == len(order) else ()


def _extents_of_weights(nodes: Sequence[NodeProto], known: Mapping[str, tuple[int, ...]],
                        ) -> dict[str, tuple[int, ...]]:
    """Extents of constants by name, those behind a DequantizeLinear or a Cast among them."""
    extents = dict(known)
    for node in nodes:
        if node.op_type == 'Constant' and node.attribute[0].name == 'value':
            extents[node.output[0]] = tuple(node.attribute[0].t.dims)
        elif node.op_type in _KEEP_AXES and node.input and node.input[0] in extents:
            extents.setdefault(node.output[0], extents[node.input[0]])
    return extents


def _channels_of(node: NodeProto, extents: Mapping[str, tuple[int, ...]]) -> int:
    """How many channels a convolution takes; 0 where that is not known."""
    place = _WEIGHTS[node.op_type]
    weights = extents.get(node.input[place], ()) if place < len(node.input) else ()
    groups = next((each.i for each in node.attribute if each.name == 'group'), 1)
    return weights[1] * groups if len(weights) == 4 else 0
