# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Topological order of nodes, and the values that a node reads and computes."""

from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter

import onnx


def bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs inside an If, Loop or Scan."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def names_captured(graph: onnx.GraphProto) -> set[str]:
    """Return the names that a body reads from the enclosing graph."""
    own = {name for node in graph.node for name in node.output}
    own.update(value.name for value in (*graph.input, *graph.initializer))
    return {name for node in graph.node for name in names_read(node)} - own - {''}


def names_read(node: onnx.NodeProto) -> set[str]:
    """Return the names that a node and its bodies read."""
    return set(node.input).union(*(names_captured(body) for body in bodies(node)))


def producers_of(nodes: Iterable[onnx.NodeProto]) -> dict[str, onnx.NodeProto]:
    """Return the node that computes each value, by value name."""
    return {output: node for node in nodes for output in node.output if output}


def sort_nodes(graph: onnx.GraphProto) -> None:
    """Sort nodes topologically, as ONNX requires; converters to fp16 append theirs unsorted.

    Raises:
        graphlib.CycleError: the graph has a cycle.
    """
    producer = {name: index for index, node in enumerate(graph.node)
                for name in node.output if name}
    readers = {index: [producer[name] for name in sorted(names_read(node)) if name in producer]
               for index, node in enumerate(graph.node)}
    nodes = [graph.node[index] for index in TopologicalSorter(readers).static_order()]
    del graph.node[:]
    graph.node.extend(nodes)


def is_sorted(graph: onnx.GraphProto) -> bool:
    """Return whether every node comes after the producers of its inputs."""
    later = {name for node in graph.node for name in node.output if name}
    for node in graph.node:
        if not later.isdisjoint(names_read(node)):
            return False
        later.difference_update(node.output)
    return True
