# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Conversion of a network to int8, by inserting QuantizeLinear and DequantizeLinear nodes."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from trt_segmentation.errors import ModelError
from trt_segmentation.graph.onnx_tools.network import Network, describe_network
from trt_segmentation.graph.onnx_tools.onnxruntime_api import import_onnxruntime
from trt_segmentation.graph.onnx_tools.opset import opset_of, raise_opset
from trt_segmentation.graph.onnx_tools.toposort import sort_nodes
from trt_segmentation.graph.precision.calibration import (
    Ranges,
    calibrated_ranges,
    missing_ranges_error,
)
from trt_segmentation.graph.precision.rewriting import (
    FLOAT,
    QUANTIZING_OPS,
    WEIGHTED_OPS,
    check_converted,
    decoding_nodes,
    one_line,
    tensor_types,
    tidied,
)
from trt_segmentation.graph.reading.resolve import ModelSpec
from trt_segmentation.options import CalibrationOptions

_QDQ_OPSET = 13
"""First opset with per-channel scales in QuantizeLinear."""

_POOLING_OPS = {'AveragePool', 'MaxPool'}
_QUANTIZED_OPS = [*sorted(WEIGHTED_OPS), 'Add', *sorted(_POOLING_OPS)]

_QDQ_OPTIONS = {
    'ActivationSymmetric': True, 'WeightSymmetric': True,  # TensorRT accepts only zero point 0
    'QuantizeBias': False, 'QDQDisableWeightAdjustForInt32Bias': True,  # biases stay float
    'AddQDQPairToWeight': True,  # float weights, which every TensorRT accepts
    'ForceQuantizeNoInputCheck': True,  # also pooling whose input no other node quantizes
    'DedicatedQDQPair': True,  # one pair per reader, so that each can be fused
    'OpTypesToExcludeOutputQuantization': _QUANTIZED_OPS,  # fused with the next node
}
"""The options that the comments in ONNX Runtime's ``QDQQuantizer`` recommend for TensorRT."""


def check_calibration(network: Network, options: CalibrationOptions) -> None:
    """Check that a network which needs calibration has data for it; reads no image.

    Raises:
        ConfigError: there are neither images nor a table of ranges.
    """
    table = Path(options.table) if options.table else None
    if not options.images and not (table and table.is_file()) and not is_quantized(network):
        raise missing_ranges_error(network.source, options)


def to_int8(spec: ModelSpec, images: Iterable[np.ndarray],
            options: CalibrationOptions) -> ModelSpec:
    """Quantize a network to int8 with QuantizeLinear and DequantizeLinear nodes.

    It quantizes the inputs of nodes that are faster in int8 in TensorRT:

    * Conv, ConvTranspose, Gemm and MatMul with constant weights (per channel);
    * one input of an Add that joins two branches, so that it fuses with the convolution at the
      other input;
    * pooling, so that the values between the convolutions around it stay int8.

    All other nodes stay in float. So do convolutions of a single pixel (squeeze and excitation;
    conversions take longer than the convolution), products of two activations (TensorRT's fused
    attention needs them in float) and ``decoding_nodes``.

    Args:
        spec: with the network in fp32; one that is quantized already is returned unchanged.
        images: uint8 [H, W, 3], BGR, any size; not read if there is a saved table.
        options: calibration method, and path of the table of ranges.

    Raises:
        ConfigError: there is no calibration data, or the saved table does not fit.
        ModelError: the network cannot be quantized.
    """
    network = spec.network
    if is_quantized(network):
        return spec
    model = tidied(_at_opset(network.model, _QDQ_OPSET, network.source))
    _unshare_weights(model.graph)
    types = tensor_types(model, network.source)
    decoding = decoding_nodes(spec, model.graph)
    nodes = [node for node in _quantizable_nodes(model, types) if node.name not in decoding]
    if not any(node.op_type in WEIGHTED_OPS for node in nodes):
        raise ModelError(f'{network.source}: nothing in this network can be quantized; int8 needs '
                         'a network in fp32 with Conv, ConvTranspose, MatMul or Gemm')
    weights = {tensor.name for tensor in model.graph.initializer}
    names = sorted({name for node in nodes for name in node.input[:2] if name not in weights})
    ranges = calibrated_ranges(spec, model, names, images, options)
    quantized = _quantized(model, [node.name for node in nodes], ranges, network.source)
    check_converted(quantized, network.source, 'int8')
    return replace(spec, network=describe_network(quantized, network.source))


def is_quantized(network: Network) -> bool:
    """Return whether the network has QuantizeLinear or DequantizeLinear nodes."""
    return any(node.op_type in QUANTIZING_OPS for node in network.model.graph.node)


def _at_opset(model: onnx.ModelProto, opset: int, source: str) -> onnx.ModelProto:
    """The model, converted to an opset if its own is older."""
    try:
        return raise_opset(model, opset)
    except Exception as error:  # the converter raises many types
        raise ModelError(f'{source}: int8 needs opset {opset}, to which opset {opset_of(model)} '
                         f'cannot be converted ({one_line(error)}); export the network with '
                         f'opset {opset} or later') from error


def _unshare_weights(graph: onnx.GraphProto) -> None:
    """Copy weights that several nodes share. ONNX Runtime cannot open a graph that quantizes one
    tensor for two convolutions ("Attempt to replace the existing tensor")."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    seen: Counter[str] = Counter()
    for node in graph.node:
        if node.op_type in WEIGHTED_OPS and len(node.input) > 1 and node.input[1] in weights:
            name = node.input[1]
            seen[name] += 1
            if seen[name] > 1:
                copy = graph.initializer.add()
                copy.CopyFrom(weights[name])
                copy.name = node.input[1] = f'{name}_of_reader_{seen[name]}'


def _quantizable_nodes(model: onnx.ModelProto, types: Mapping[str, str]) -> list[onnx.NodeProto]:
    """The nodes whose inputs are quantized; see ``to_int8``."""
    weights = {tensor.name for tensor in model.graph.initializer}
    shapes = _shapes(model)

    def is_single_pixel(name: str) -> bool:
        return shapes.get(name, ())[2:] == (1, 1)

    def fits(node: onnx.NodeProto) -> bool:
        if node.domain not in ('', 'ai.onnx') \
                or any(types.get(name) != FLOAT for name in node.input[:2]):
            return False
        if node.op_type in _POOLING_OPS:
            return not is_single_pixel(node.output[0])
        if len(node.input) < 2 or is_single_pixel(node.input[0]):
            return False
        first, second = node.input[:2]
        if node.op_type == 'Add':  # joins two branches; adds no bias or broadcast vector
            return not weights & {first, second} and first != second \
                and first in shapes and shapes[first] == shapes.get(second)
        return node.op_type in WEIGHTED_OPS and first not in weights and second in weights

    return [node for node in model.graph.node if fits(node)]


def _shapes(model: onnx.ModelProto) -> dict[str, tuple]:
    with contextlib.suppress(Exception):  # continue with the shapes that are known
        model = onnx.shape_inference.infer_shapes(model)
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    return {value.name: tuple(dim.dim_value or dim.dim_param
                              for dim in value.type.tensor_type.shape.dim)
            for value in values if value.type.tensor_type.HasField('shape')}


def _quantized(model: onnx.ModelProto, nodes: list[str], ranges: Ranges,
               source: str) -> onnx.ModelProto:
    ort = import_onnxruntime('quantization')
    tensors_data = import_onnxruntime('quantization.calibrate').TensorsData
    data = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    try:
        quantizer: Any = ort.QDQQuantizer(
            model, True, False, ort.QuantType.QInt8, ort.QuantType.QInt8,
            tensors_data(ort.CalibrationMethod.MinMax, data), nodes, [], _QUANTIZED_OPS,
            dict(_QDQ_OPTIONS))
        quantizer.quantize_model()
    except Exception as error:  # the quantizer also raises AssertionError
        raise ModelError(f'{source}: cannot be quantized ({one_line(error)}); use precision '
                         'fp16') from error
    quantized = quantizer.model.model
    _fuse_additions(quantized.graph)
    sort_nodes(quantized.graph)
    return quantized


def _fuse_additions(graph: onnx.GraphProto) -> None:
    """Let an Add of two branches read one convolution in float, so that TensorRT fuses them.

    TensorRT's best practices recommend to quantize only the residual input of an addition.
    """
    maker = {name: node for node in graph.node for name in node.output}
    readers = Counter(name for node in graph.node for name in node.input)

    def origin(name: str) -> str:
        """The output of a convolution that a pair quantizes for only this reader, or ''."""
        for op_type in ('DequantizeLinear', 'QuantizeLinear'):
            if name not in maker or maker[name].op_type != op_type or readers[name] != 1:
                return ''
            name = maker[name].input[0]
        fits = name in maker and maker[name].op_type in WEIGHTED_OPS and readers[name] == 1
        return name if fits else ''

    unread = set()
    for node in graph.node:
        index = next((i for i, name in enumerate(node.input) if origin(name)), None)
        if node.op_type == 'Add' and index is not None:
            dequantized = node.input[index]
            unread |= {dequantized, maker[dequantized].input[0]}
            node.input[index] = origin(dequantized)
    nodes = [node for node in graph.node if not unread.intersection(node.output)]
    del graph.node[:]
    graph.node.extend(nodes)
