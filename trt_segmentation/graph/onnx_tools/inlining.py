# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Inlines calls of local functions in a list of nodes."""

from collections.abc import Iterator, Mapping, Sequence

import onnx
from onnx import FunctionProto, NodeProto

_Functions = Mapping[tuple[str, str], FunctionProto]


def expanded_nodes(model: onnx.ModelProto) -> list[NodeProto]:
    """Return the nodes of a model's graph with calls of local functions inlined.

    Values inside a function get the name of the calling node as a prefix. Bodies of If, Loop and
    Scan are not changed.
    """
    functions = {(each.domain, each.name): each for each in model.functions}
    return list(_expanded(model.graph.node, functions))


def _expanded(nodes: Sequence[NodeProto], functions: _Functions) -> Iterator[NodeProto]:
    for node in nodes:
        function = functions.get((node.domain, node.op_type))
        if function is None:
            yield node
        else:
            yield from _expanded(_body(node, function), functions)


def _body(call: NodeProto, function: FunctionProto) -> list[NodeProto]:
    """The nodes of a function, renamed for one call."""
    names = dict(zip(function.input, call.input, strict=False))
    names |= dict(zip(function.output, call.output, strict=False))
    prefix = f'{call.output[0]}/'

    def renamed(name: str) -> str:
        return names.get(name, prefix + name) if name else ''

    nodes = []
    for inner in function.node:
        node = NodeProto()
        node.CopyFrom(inner)
        node.input[:] = [renamed(name) for name in inner.input]
        node.output[:] = [renamed(name) for name in inner.output]
        nodes.append(node)
    return nodes
