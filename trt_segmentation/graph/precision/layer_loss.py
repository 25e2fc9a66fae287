# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Signal-to-noise ratios of the layers' outputs in a converted network, worst layers first."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, compose, helper

from trt_segmentation.graph.onnx_tools.opset import opset_of, raise_opset
from trt_segmentation.graph.onnx_tools.toposort import sort_nodes
from trt_segmentation.graph.precision.calibration import network_inputs, open_runtime
from trt_segmentation.graph.precision.fp16 import fp16_emulated
from trt_segmentation.graph.precision.int8 import is_quantized
from trt_segmentation.graph.precision.rewriting import FLOAT, tensor_types, tidied
from trt_segmentation.graph.reading.resolve import ModelSpec

_COPY = 'converted/'
_MADE = '/made'


@dataclass(frozen=True)
class LayerLoss:
    """The loss of precision in the output of one layer.

    Attributes:
        node: name of the layer's node.
        op_type: for example 'Conv'.
        own_db: signal-to-noise ratio in dB of the layer's output when it reads the values of
            fp32, so that only its own error counts. -inf if its output overflows.
        total_db: the same in the converted network, with the errors of all layers before it; inf
            without an error.
    """

    node: str
    op_type: str
    own_db: float
    total_db: float


@dataclass(frozen=True)
class _Layer:
    """A node in both graphs, and names of one output: in fp32, converted, and as it is read."""

    node: onnx.NodeProto
    exact: str
    made: str
    read: str


def layer_losses(spec: ModelSpec, converted: ModelSpec, kept: Collection[str],
                 images: Sequence[np.ndarray]) -> list[LayerLoss]:
    """Compare the layers of a network in fp16 or int8 with those in fp32, on ONNX Runtime.

    Both networks are joined into one graph that outputs only sums of squares, so that memory does
    not hold every tensor of an image.

    Args:
        spec: the network in fp32.
        converted: the result of ``to_fp16`` or ``to_int8``.
        kept: names of the nodes that ``to_fp16`` kept in fp32.
        images: uint8 [H, W, 3], BGR, any size, at least one.

    Returns:
        The layers with an error, the one with the lowest ``own_db`` first. Layers whose output
        is 0 or not finite in fp32 have no ratio and are left out.

    Raises:
        ModelError: ONNX Runtime does not accept the network.
    """
    source = spec.network.source
    computed = _computed(spec, converted, kept)
    reference = tidied(raise_opset(spec.network.model, opset_of(computed)))
    layers = _layers(reference, computed, tensor_types(reference, source))
    feeds = list(network_inputs(spec, images))
    own, total = (_ratios(_joined(reference, computed, layers, isolated), layers, feeds, source)
                  for isolated in (True, False))
    losses = [LayerLoss(layer.node.name, layer.node.op_type, own[layer.exact],
                        total[layer.exact])
              for layer in layers if own.get(layer.exact, math.inf) < math.inf]
    return sorted(losses, key=lambda loss: loss.own_db)


def _computed(spec: ModelSpec, converted: ModelSpec, kept: Collection[str]) -> onnx.ModelProto:
    """The network that emulates the converted one, with results in fp32."""
    if is_quantized(converted.network) and not is_quantized(spec.network):
        return converted.network.model
    model = tidied(spec.network.model)
    return fp16_emulated(model, tensor_types(model, spec.network.source), set(kept))


def _layers(reference: onnx.ModelProto, computed: onnx.ModelProto, types: Mapping[str, str],
            ) -> list[_Layer]:
    """The float outputs of all nodes in both graphs, in the order of the network."""
    nodes = {node.name: node for node in computed.graph.node}
    rounded = _rounded_names(computed.graph)
    return [_Layer(node, exact, made, rounded.get(made, made))
            for node in reference.graph.node if node.name in nodes
            for exact, made in zip(node.output, nodes[node.name].output, strict=True)
            if types.get(exact) == FLOAT]


def _rounded_names(graph: onnx.GraphProto) -> dict[str, str]:
    """Names of tensors after their cast to fp16 and back, by their names before it."""
    casts = {cast_type: {node.input[0]: node.output[0] for node in graph.node
                         if node.op_type == 'Cast'
                         and helper.get_node_attr_value(node, 'to') == cast_type}
             for cast_type in (TensorProto.FLOAT16, TensorProto.FLOAT)}
    return {name: casts[TensorProto.FLOAT][half]
            for name, half in casts[TensorProto.FLOAT16].items()
            if half in casts[TensorProto.FLOAT]}


def _joined(reference: onnx.ModelProto, computed: onnx.ModelProto, layers: Sequence[_Layer],
            isolated: bool) -> onnx.ModelProto:
    """Both networks and, for every layer, the energy of its output and of the difference.

    Args:
        isolated: whether every layer of the converted network reads the values of fp32.
    """
    joined = onnx.ModelProto()
    joined.CopyFrom(computed)
    joined.graph.CopyFrom(reference.graph)
    other = compose.add_prefix_graph(computed.graph, _COPY, rename_inputs=False)
    given = {_COPY + value.name: value.name for value in computed.graph.input}
    for node in other.node:  # onnx before 1.18 ignores rename_inputs in the nodes
        node.input[:] = [given.get(name, name) for name in node.input]
    nodes = joined.graph.node
    nodes.extend(other.node)
    joined.graph.initializer.extend(other.initializer)
    read = _isolate_layers(joined.graph, layers) if isolated else \
        {layer.exact: _COPY + layer.read for layer in layers}
    del joined.graph.output[:]
    for index, layer in enumerate(layers):
        names = [f'{part}/{index}' for part in ('difference', 'signal', 'noise')]
        difference, signal, noise = names
        nodes.extend([
            helper.make_node('Sub', [layer.exact, read[layer.exact]], [difference], difference),
            helper.make_node('ReduceSumSquare', [layer.exact], [signal], signal, keepdims=0),
            helper.make_node('ReduceSumSquare', [difference], [noise], noise, keepdims=0)])
        joined.graph.output.extend(onnx.ValueInfoProto(name=name) for name in (signal, noise))
    sort_nodes(joined.graph)
    return joined


def _isolate_layers(graph: onnx.GraphProto, layers: Sequence[_Layer]) -> dict[str, str]:
    """Replace the output of every converted layer by the values of fp32 for its readers.

    Returns:
        The names of the original outputs, rounded as readers get them, by their names in fp32.
    """
    exact = {_COPY + layer.made: layer.exact for layer in layers}
    for node in graph.node:
        node.output[:] = [name + _MADE if name in exact else name for name in node.output]
    graph.node.extend(helper.make_node('Identity', [name], [copy], copy)
                      for copy, name in exact.items())
    read = {}
    for layer in layers:
        made = _COPY + layer.made + _MADE
        read[layer.exact] = made
        if layer.read != layer.made:
            half, read[layer.exact] = f'{made}/half', f'{made}/rounded'
            graph.node.extend([
                helper.make_node('Cast', [made], [half], half, to=TensorProto.FLOAT16),
                helper.make_node('Cast', [half], [read[layer.exact]], read[layer.exact],
                                 to=TensorProto.FLOAT)])
    return read


def _ratios(joined: onnx.ModelProto, layers: Sequence[_Layer],
            feeds: Sequence[Mapping[str, np.ndarray]], source: str) -> dict[str, float]:
    """Signal-to-noise ratios in dB over all feeds, by the layers' names in fp32."""
    runtime = open_runtime(joined, source)
    energies = np.zeros((len(layers), 2))
    for feed in feeds:
        energies += np.array(runtime.run(None, feed), np.float64).reshape(-1, 2)
    return {layer.exact: _decibels(signal, noise)
            for layer, (signal, noise) in zip(layers, energies, strict=True)
            if np.isfinite(signal) and signal > 0}


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if np.isfinite(noise) else -math.inf
