# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Inlines calls of local functions in a list of nodes."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest

import onnx
from onnx import AttributeProto, FunctionProto, NodeProto

from trt_segmentation.graph.onnx_tools.toposort import bodies

_Functions = Mapping[tuple[str, str], FunctionProto]


def expanded_nodes(model: onnx.ModelProto) -> list[NodeProto]:
    """Return the nodes of a model's graph with calls of local functions inlined, except those in
    bodies of If, Loop and Scan. Values inside a function are named as in ``function_nodes``."""
    functions = {(each.domain, each.name): each for each in model.functions}
    return list(_expanded(model.graph.node, functions))


def _expanded(nodes: Sequence[NodeProto], functions: _Functions) -> Iterator[NodeProto]:
    for node in nodes:
        function = functions.get((node.domain, node.op_type))
        if function is None:
            yield node
        else:
            yield from _expanded(function_nodes(node, function), functions)


def function_nodes(call: NodeProto, function: FunctionProto) -> list[NodeProto]:
    """Return the nodes of a function for one call: with its attributes, the names of its inputs
    and outputs, and its first output as the prefix of all other names."""
    names = {name: f'{call.output[0]}/{name}' for node in function.node for name in node.output}
    for inner, outer in ((function.input, call.input), (function.output, call.output)):
        names |= dict(zip_longest(inner, outer, fillvalue=''))
    attributes = {each.name: each for each in (*function.attribute_proto, *call.attribute)}
    return [_renamed(node, names | {'': ''}, attributes) for node in function.node]


def _renamed(node: NodeProto, names: Mapping[str, str], attributes: Mapping[str, AttributeProto],
             ) -> NodeProto:
    """A copy of a node of a function, and of the nodes in its bodies."""
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [names.get(name, name) for name in node.input]
    copy.output[:] = [names.get(name, name) for name in node.output]
    del copy.attribute[:]
    for attribute in node.attribute:
        given = attributes.get(attribute.ref_attr_name) if attribute.ref_attr_name else attribute
        if given is None:  # left out, so that the operator takes its default
            continue
        found = copy.attribute.add()
        found.CopyFrom(given)
        found.name = attribute.name
    for body in bodies(copy):
        for inner in body.node:
            inner.CopyFrom(_renamed(inner, names, attributes))
    return copy
