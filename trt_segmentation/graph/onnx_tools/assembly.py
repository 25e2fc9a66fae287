# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Graphs put together from nodes of several."""

from collections.abc import Iterable

import onnx
from onnx import compose, helper

from trt_segmentation.graph.onnx_tools.toposort import names_read

_OLDEST_IR = 7
"""Lowest version of the ONNX format; older ones list every weight among the graph's inputs."""


def empty_model(opset: int) -> onnx.ModelProto:
    """Return a model without nodes, of an opset version."""
    return helper.make_model(onnx.GraphProto(), ir_version=_OLDEST_IR, opset_imports=[
        helper.make_opsetid('', opset)])


def assemble(base: onnx.ModelProto, nodes: Iterable[onnx.NodeProto],
              constants: Iterable[onnx.TensorProto], outputs: list[onnx.ValueInfoProto],
              inputs: Iterable[onnx.ValueInfoProto]) -> onnx.ModelProto:
    """Replace the nodes, inputs and outputs of ``base`` in place, add constants, and return it.

    Constants and inputs that no node reads are left out. No weight is copied.
    """
    graph, copies = base.graph, onnx.GraphProto()
    copies.node.extend(nodes)  # copied before they are deleted from the graph
    del graph.node[:], graph.input[:], graph.output[:]
    for name in ('metadata_props', 'doc_string', 'training_info'):
        base.ClearField(name)
    base.producer_name, base.producer_version = 'trt_segmentation', ''
    base.ir_version = max(base.ir_version, _OLDEST_IR)
    graph.name = 'prepared'
    graph.node.extend(copies.node)
    used = {name for node in graph.node for name in names_read(node)}
    graph.initializer.extend(constant for constant in constants if constant.name in used)
    graph.input.extend(value for value in inputs if value.name in used)
    graph.output.extend(outputs)
    return base


def needed_nodes(nodes: list[onnx.NodeProto], outputs: list[onnx.ValueInfoProto],
                  ) -> list[onnx.NodeProto]:
    """Return the nodes that the outputs depend on; runtimes would compute the others, too."""
    needed, kept = {value.name for value in outputs}, []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    return kept[::-1]


def with_prefix(model: onnx.ModelProto, prefix: str) -> onnx.ModelProto:
    """Return a copy of a model with a prefix before every name, so that none clashes with those
    of other graphs."""
    prefixed = compose.add_prefix(model, prefix)
    outer = {name for node in model.graph.node for name in node.output}
    outer.update(value.name for value in (*model.graph.input, *model.graph.initializer))
    for node in prefixed.graph.node:
        _prefix_captured_names(node, outer, prefix)
    return prefixed


def _prefix_captured_names(node: onnx.NodeProto, outer: set[str], prefix: str) -> None:
    """Prefix the names that bodies of If, Loop and Scan read from outside; add_prefix does not."""
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            own = {name for inner in body.node for name in inner.output}
            own.update(value.name for value in (*body.input, *body.initializer))
            known = outer | {name.removeprefix(prefix) for name in own}
            for inner in body.node:
                inner.input[:] = [prefix + name if name in known else name
                                  for name in inner.input]
                _prefix_captured_names(inner, known, prefix)
