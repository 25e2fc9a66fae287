# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Determines the meaning of an output from the operators that compute it.

The trace goes back from the output to the operator that determines the meaning. Operators in
between keep the meaning (Cast, Resize, Transpose, Clip of a probability to 0..1) or are affine
(QuantizeLinear, a factor of 255), which is inverted later.
"""

import onnx
from onnx import NodeProto

from trt_segmentation.graph.analysis.kind_rules import RULES
from trt_segmentation.graph.analysis.value_kind import UNDECIDED, Meaning, Scope, Step, value_of
from trt_segmentation.graph.onnx_tools.inlining import function_nodes
from trt_segmentation.graph.onnx_tools.opset import opset_of
from trt_segmentation.graph.onnx_tools.toposort import producers_of

_MAX_DEPTH = 60
"""Maximum number of operators in a trace; each takes about 7 of Python's 1000 stack frames."""


def read_meaning(model: onnx.ModelProto, name: str) -> Meaning:
    """Return the meaning of an output's values.

    Args:
        model: the network.
        name: of the output.
    """
    return _Reader(model).read(Scope.of(model.graph), name, 0)


_WEIGHTED = ('Conv', 'MatMul', 'Gemm', 'Einsum')
"""Parts of the names of operators with weights."""


def has_fixed_weights(model: onnx.ModelProto, name: str) -> bool:
    """Return whether an output is a convolution or matrix product with constant weights; False
    for a product of two computed values, or if the graph does not show it.

    Args:
        model: the network.
        name: of the output.
    """
    scope = Scope.of(model.graph)
    node = scope.producers.get(read_meaning(model, name).source[1])
    if node is None or not any(part in node.op_type for part in _WEIGHTED):
        return False
    factors = node.input[0:4:3] if node.op_type.startswith('Q') else node.input[:2]
    return any(value_of(scope, each, opset_of(model)) is not None for each in factors)


class _Reader:
    def __init__(self, model: onnx.ModelProto) -> None:
        self._functions = {(function.domain, function.name): function
                           for function in model.functions}
        self._opset = opset_of(model)
        self._known: dict[tuple[int, str], Meaning] = {}
        self._scopes: list[Scope] = []  # keeps them alive, so that ids stay unique

    def read(self, scope: Scope, name: str, depth: int) -> Meaning:
        key = (id(scope), name)
        if depth > _MAX_DEPTH:
            return UNDECIDED
        if key not in self._known:
            self._known[key] = UNDECIDED  # ends cycles
            self._known[key] = self._read(scope, name, depth + 1)
        return self._known[key]

    def _read(self, scope: Scope, name: str, depth: int) -> Meaning:
        node = scope.producers.get(name)
        if node is None:
            if name in scope.constants or scope.outer is None:
                return UNDECIDED
            return self.read(scope.outer, name, depth)
        function = self._functions.get((node.domain, node.op_type))
        if function is not None:
            inner = Scope(producers_of(function_nodes(node, function)), {}, scope)
            self._scopes.append(inner)
            return self.read(inner, name, depth)
        if node.op_type == 'If':
            return self._read_branches(scope, node, list(node.output).index(name), depth)
        step = Step(lambda scope, name: self.read(scope, name, depth), scope, node, name,
                    self._opset)
        read = RULES.get(node.op_type)
        return read(step) if read is not None else UNDECIDED

    def _read_branches(self, scope: Scope, node: NodeProto, place: int, depth: int) -> Meaning:
        found = []
        for attribute in node.attribute:
            inner = Scope.of(attribute.g, scope)
            self._scopes.append(inner)
            found.append(self.read(inner, attribute.g.output[place].name, depth))
        same = len({(each.kind, each.scale, each.offset, each.log) for each in found}) == 1
        return found[0] if same else UNDECIDED
