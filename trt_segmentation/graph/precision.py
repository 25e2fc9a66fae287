# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Networks in fp16 and int8: the same graph, with its precision written into it."""

import contextlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter

from trt_segmentation.backends.options import CalibrationOptions
from trt_segmentation.errors import ConfigError, ModelError
from trt_segmentation.graph.calibration import (
    Ranges,
    calibrated_ranges,
    image_feed,
    network_inputs,
    open_runtime,
)
from trt_segmentation.graph.network import Network, describe_network
from trt_segmentation.graph.prepare import NETWORK_PREFIX, prepare
from trt_segmentation.graph.resolve import ModelSpec

LARGEST_FP16 = 65504.0
"""Largest finite value of IEEE 754 binary16."""

MIN_AGREEMENT = 0.99
"""Share of mask pixels that fp16 must leave as they are."""

_ROUNDS = 5
_WEIGHTED_OPS = {'Conv', 'ConvTranspose', 'MatMul', 'Gemm'}
_QUANTIZING_OPS = {'QuantizeLinear', 'DequantizeLinear'}
_EXTENT_OPS = {'Shape', 'Size'}

# ONNX Runtime's converter leaves these alone, too. Its list has Min and Max besides, which
# take fp16 since opset 8 and bound many activations.
_FP32_OPS = {'CumSum', 'DynamicQuantizeLinear', 'NonMaxSuppression', 'QLinearConv',
             'QLinearMatMul', 'Range', 'RoiAlign', 'TopK', 'Upsample', *_QUANTIZING_OPS}

_IR_WITHOUT_WEIGHTS_AS_INPUTS = 4

_QDQ_OPSET = 13
"""From here on QuantizeLinear knows scales by channel."""

_QDQ_OPTIONS = {
    'ActivationSymmetric': True, 'WeightSymmetric': True,  # TensorRT takes no zero point but 0
    'QuantizeBias': False, 'QDQDisableWeightAdjustForInt32Bias': True,  # biases stay float
    'AddQDQPairToWeight': True,  # float weights, which every TensorRT takes
    'DedicatedQDQPair': True,  # one pair a reader, so that each can be fused
    'OpTypesToExcludeOutputQuantization': [*_WEIGHTED_OPS, 'Add'],  # fused with what follows
}
"""As ONNX Runtime's notes in ``QDQQuantizer`` recommend for TensorRT."""


@dataclass(frozen=True)
class Fp16:
    """A network in fp16.

    Attributes:
        spec: its spec; inputs and outputs have the types they had.
        kept: names of the nodes that stay in fp32.
        agreement: share of mask pixels that are as fp32 makes them, 0..1.
    """

    spec: ModelSpec
    kept: tuple[str, ...]
    agreement: float


def to_fp16(spec: ModelSpec, images: Sequence[np.ndarray]) -> Fp16:
    """Convert a network to fp16, but for the nodes that fp16 cannot hold.

    The largest values of the network on the images tell which those are. Where masks differ
    too much all the same, smaller values count as large, too.

    Args:
        spec: with the network in fp32; one in fp16 is returned as it is.
        images: uint8 [H, W, 3], BGR, any size, at least one.

    Raises:
        ConfigError: there is no image.
        ModelError: the network cannot be converted.
    """
    model = _tidied(spec.network.model)
    types = _tensor_types(model, spec.network.source)
    if _computes_in_fp16(model, types):
        return Fp16(spec, (), 1.0)
    if not images:
        raise ConfigError(f'{spec.network.source}: fp16 is checked on images; give at least one')
    peaks = _peaks(spec, model, types, images)
    always = {node.name for node in model.graph.node
              if node.domain not in ('', 'ai.onnx') or node.op_type in _FP32_OPS
              or any(_bodies(node))} | _extent_nodes(model.graph)
    results: list[tuple[bool, Fp16]] = []
    tried: set[str] | None = None
    for power in range(_ROUNDS):
        kept = always | _loud_nodes(model.graph, peaks, LARGEST_FP16 / 4 ** power)
        if kept == tried:
            continue
        tried = kept
        finite, result = _attempt(spec, model, types, kept, images)
        if finite and result.agreement >= MIN_AGREEMENT:
            return result
        results.append((finite, result))
    finite, best = max(results, key=lambda result: (result[0], result[1].agreement))
    logging.getLogger(__name__).warning(
        '%s: the fp16 mask agrees with the fp32 mask on %.2f %% of the pixels%s',
        spec.network.source, 100 * best.agreement, '' if finite else ', and some scores overflow')
    return best


def _attempt(spec: ModelSpec, model: onnx.ModelProto, types: Mapping[str, str], kept: set[str],
             images: Sequence[np.ndarray]) -> tuple[bool, Fp16]:
    """Convert all but the kept nodes; return whether scores stay finite, and the result."""
    source = spec.network.source
    models = _converted(model, types, kept, source), _rounded(model, types, kept)
    candidates = [replace(spec, network=describe_network(each, source)) for each in models]
    finite, agreement = _compare(spec, candidates, images)
    names = tuple(node.name for node in model.graph.node if node.name in kept)
    return finite, Fp16(candidates[0], names, agreement)


def to_int8(spec: ModelSpec, images: Iterable[np.ndarray],
            options: CalibrationOptions) -> ModelSpec:
    """Quantize a network to int8 with QuantizeLinear and DequantizeLinear nodes.

    Quantized are the inputs of what TensorRT has int8 kernels for and gains by: Conv,
    ConvTranspose, Gemm and MatMul with constant weights (by channel), and one side of an Add that
    joins two branches, so that it fuses with the convolution on its other side. Left alone are
    pooling (TensorRT moves quantization through MaxPool, and averages are cheap), products of two
    activations (its fused attention wants them in float), and everything else.

    Args:
        spec: with the network in fp32; one with such nodes already is returned as it is.
        images: uint8 [H, W, 3], BGR, any size; not looked at where there is a saved table.
        options: calibration method, and where the table of ranges is kept.

    Raises:
        ConfigError: there is nothing to calibrate on, or the saved table does not fit.
        ModelError: the network cannot be quantized.
    """
    network = spec.network
    if is_quantized(network):
        return spec
    model = _tidied(_at_opset(network.model, _QDQ_OPSET, network.source))
    types = _tensor_types(model, network.source)
    nodes = _quantizable_nodes(model, types)
    if not nodes:
        raise ModelError(f'{network.source}: nothing in this network can be quantized; int8 needs '
                         'a network in fp32 with Conv, ConvTranspose, MatMul or Gemm')
    weights = {tensor.name for tensor in model.graph.initializer}
    names = sorted({name for node in nodes for name in node.input[:2] if name not in weights})
    ranges = calibrated_ranges(spec, model, names, images, options)
    quantized = _quantized(model, [node.name for node in nodes], ranges, network.source)
    _check(quantized, network.source, 'int8')
    return replace(spec, network=describe_network(quantized, network.source))


def is_quantized(network: Network) -> bool:
    """Return whether the network has QuantizeLinear or DequantizeLinear nodes."""
    return any(node.op_type in _QUANTIZING_OPS for node in network.model.graph.node)


def _tidied(original: onnx.ModelProto) -> onnx.ModelProto:
    """A copy as the converters want it: plain nodes with names of their own.

    Functions become nodes, Constant nodes become initializers, and no initializer is an input.
    """
    model = onnx.ModelProto()
    model.CopyFrom(original)
    if model.functions:
        from onnx import inliner
        model = inliner.inline_local_functions(model)
    model.ir_version = max(model.ir_version, _IR_WITHOUT_WEIGHTS_AS_INPUTS)
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)
    nodes = []
    for node in graph.node:
        value = next((a.t for a in node.attribute if a.name == 'value'), None)
        if node.op_type == 'Constant' and value is not None:
            graph.initializer.append(value)
            graph.initializer[-1].name = node.output[0]
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    taken = Counter(node.name for node in graph.node)
    for index, node in enumerate(graph.node):
        if not node.name or taken[node.name] > 1:
            node.name = _free_name(f'{node.op_type}_{index}', taken)
            taken[node.name] += 1
    return model


def _free_name(name: str, taken: Mapping[str, int]) -> str:
    while name in taken:
        name += '_'
    return name


def _tensor_types(model: onnx.ModelProto, source: str) -> dict[str, str]:
    """Every tensor's type as ONNX Runtime finds it: 'tensor(float)'; ONNX's inference has gaps."""
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    given = {value.name for value in (*model.graph.input, *model.graph.output)}
    extended.graph.output.extend(
        onnx.ValueInfoProto(name=name) for node in model.graph.node for name in node.output
        if name and name not in given)
    runtime = open_runtime(extended, source)
    types = {value.name: value.type for value in (*runtime.get_inputs(), *runtime.get_outputs())}
    for tensor in model.graph.initializer:
        types[tensor.name] = _TYPE_NAMES.get(tensor.data_type, '')
    return types


_FLOAT, _FLOAT16 = 'tensor(float)', 'tensor(float16)'
_TYPE_NAMES = {TensorProto.FLOAT: _FLOAT, TensorProto.FLOAT16: _FLOAT16}


def _computes_in_fp16(model: onnx.ModelProto, types: Mapping[str, str]) -> bool:
    weighted = [types.get(node.output[0]) for node in model.graph.node
                if node.op_type in _WEIGHTED_OPS]
    return _FLOAT16 in (weighted or types.values()) and _FLOAT not in weighted


def _peaks(spec: ModelSpec, model: onnx.ModelProto, types: Mapping[str, str],
           images: Sequence[np.ndarray]) -> dict[str, float]:
    """The largest magnitude of every fp32 tensor over the images."""
    graph = model.graph
    peaks = {tensor.name: _largest(numpy_helper.to_array(tensor)) for tensor in graph.initializer
             if tensor.data_type == TensorProto.FLOAT}
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    names = [name for name, kind in types.items() if kind == _FLOAT and name not in peaks]
    for index, name in enumerate(names):  # scalars leave the runtime, not tensors
        extended.graph.node.extend([
            helper.make_node('Abs', [name], [f'peak/abs_{index}'], f'peak/abs_{index}'),
            helper.make_node('ReduceMax', [f'peak/abs_{index}'], [f'peak/{index}'],
                             f'peak/max_{index}', keepdims=1)])
        extended.graph.output.append(onnx.ValueInfoProto(name=f'peak/{index}'))
    runtime = open_runtime(extended, spec.network.source)
    wanted = [f'peak/{index}' for index in range(len(names))]
    for feed in network_inputs(spec, images):
        for name, peak in zip(names, runtime.run(wanted, feed), strict=True):
            peaks[name] = np.fmax(peaks.get(name, 0.0), np.max(peak, initial=0.0))
            if np.isnan(peak).any():
                peaks[name] = np.inf
    return peaks


def _largest(array: np.ndarray) -> float:
    """Largest finite magnitude: fp16 has infinities of its own."""
    return float(np.abs(array[np.isfinite(array)]).max(initial=0.0))


def _bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs inside If, Loop and Scan."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _captured(graph: onnx.GraphProto) -> set[str]:
    """Names that a body reads from outside."""
    own = {name for node in graph.node for name in node.output}
    own.update(value.name for value in (*graph.input, *graph.initializer))
    return {name for node in graph.node for name in _read(node)} - own - {''}


def _read(node: onnx.NodeProto) -> set[str]:
    return set(node.input).union(*(_captured(body) for body in _bodies(node)))


def _loud_nodes(graph: onnx.GraphProto, peaks: Mapping[str, float], limit: float) -> set[str]:
    """Names of the nodes that make or read a value above a limit."""
    return {node.name for node in graph.node
            if any(peaks.get(name, 0.0) > limit for name in (*_read(node), *node.output))}


def _extent_nodes(graph: onnx.GraphProto) -> set[str]:
    """Names of the nodes that compute from extents and constants alone.

    fp16 has integers up to 2048 only, and a scale of 1.33 that is rounded moves an extent.
    """
    known = {tensor.name for tensor in graph.initializer} | {''}
    nodes = set()
    for node in graph.node:
        if node.op_type in _EXTENT_OPS:
            known.update(node.output)
        elif known.issuperset(_read(node)):
            known.update(node.output)
            nodes.add(node.name)
    return nodes


def _converted(model: onnx.ModelProto, types: Mapping[str, str], kept: set[str],
               source: str) -> onnx.ModelProto:
    from onnxruntime.transformers.float16 import convert_float_to_float16
    draft = onnx.ModelProto()
    draft.CopyFrom(model)
    graph = draft.graph
    del graph.value_info[:]
    own = {value.name for value in (*graph.input, *graph.output)}
    weights = {tensor.name for tensor in graph.initializer}
    graph.value_info.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name, kind in types.items() if kind == _FLOAT and name not in own | weights)
    _give_own_scales(graph)
    kept = kept | _uncapture(graph, types)
    try:
        draft = convert_float_to_float16(
            draft, keep_io_types=True, disable_shape_infer=True, op_block_list=[],
            node_block_list=sorted(kept))
    except Exception as error:  # it asserts, too
        raise ModelError(f'{source}: cannot be converted to fp16 ({_one_line(error)}); use '
                         'precision fp32') from error
    _join_casts(draft.graph)
    del draft.graph.value_info[:]
    _check(draft, source, 'fp16')
    return draft


def _give_own_scales(graph: onnx.GraphProto) -> None:
    """Give every Resize scales of its own: they stay in fp32, shared ones would be cast.

    Empty ones, which mean that there are sizes, must stay empty constants.
    """
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == 'Resize' and len(node.input) > 2 and node.input[2] in tensors:
            graph.initializer.append(tensors[node.input[2]])
            graph.initializer[-1].name = node.input[2] = f'{node.name}/scales'


def _uncapture(graph: onnx.GraphProto, types: Mapping[str, str]) -> set[str]:
    """Give bodies fp32 copies of what they capture, and return the names of what copies.

    The converter casts what a node reads, not what its bodies read.
    """
    nodes, added = [], {}
    for node in graph.node:
        captured = set().union(*(_captured(body) for body in _bodies(node)))
        for name in sorted(captured):
            if types.get(name) == _FLOAT and name not in added:
                added[name] = f'{name}/captured'
                nodes.append(helper.make_node('Identity', [name], [added[name]], added[name]))
        for body in _bodies(node):
            _rename(body, added)
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return set(added.values())


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        for body in _bodies(node):
            _rename(body, names)


def _join_casts(graph: onnx.GraphProto) -> None:
    """Let values go from one fp32 node to the next without a detour through fp16.

    The converter puts casts on both sides of every node that it keeps; between two of them a
    large value would overflow after all.
    """
    halves = {node.output[0]: node.input[0] for node in graph.node
              if node.op_type == 'Cast' and _cast_type(node) == TensorProto.FLOAT16}
    for node in graph.node:
        if node.op_type == 'Cast' and _cast_type(node) == TensorProto.FLOAT:
            node.input[0] = halves.get(node.input[0], node.input[0])
    _sort(graph)
    needed = {value.name for value in graph.output}
    nodes = []
    for node in reversed(graph.node):
        if node.op_type != 'Cast' or node.output[0] in needed:
            needed |= _read(node)
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(reversed(nodes))


def _cast_type(node: onnx.NodeProto) -> int:
    return next(attribute.i for attribute in node.attribute if attribute.name == 'to')


def _sort(graph: onnx.GraphProto) -> None:
    """Put makers before readers, as ONNX demands; the converters append their nodes."""
    maker = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    readers = {index: [maker[name] for name in sorted(_read(node)) if name in maker]
               for index, node in enumerate(graph.node)}
    nodes = [graph.node[index] for index in TopologicalSorter(readers).static_order()]
    del graph.node[:]
    graph.node.extend(nodes)


def _check(model: onnx.ModelProto, source: str, precision: str) -> None:
    try:
        open_runtime(model, source)
        onnx.checker.check_model(model)
    except Exception as error:  # the checker has its own
        raise ModelError(f'{source}: cannot be converted to {precision} ({_one_line(error)}); use '
                         'precision fp32') from error


def _one_line(error: Exception) -> str:
    return f'{type(error).__name__}: {" ".join(str(error).split())[:300]}'


def _rounded(model: onnx.ModelProto, types: Mapping[str, str], kept: set[str],
             ) -> onnx.ModelProto:
    """The fp32 network with casts to fp16 and back wherever the converted one holds fp16.

    ONNX Runtime computes a network in fp16 on the CPU in fp32, and rounds only its ends.
    """
    rounded = onnx.ModelProto()
    rounded.CopyFrom(model)
    graph = rounded.graph
    halves = {name for node in graph.node if node.name not in kept for name in node.output}
    ends = {value.name: f'{value.name}/exact' for value in graph.output
            if value.name in halves and types[value.name] == _FLOAT}
    sources = dict.fromkeys(ends, '')
    for node in graph.node:
        node.output[:] = [ends.get(name, name) for name in node.output]
        count = 1 if node.op_type == 'Resize' else len(node.input)  # its scales stay fp32
        for index, name in enumerate(node.input[:count]):
            if types.get(name) == _FLOAT and (node.name not in kept or name in halves):
                node.input[index] = f'{name}/rounded'
                sources[name] = node.input[index]
    for name, copy in sources.items():
        exact, half = ends.get(name, name), f'{name}/half'
        graph.node.append(helper.make_node('Cast', [exact], [half], half, to=TensorProto.FLOAT16))
        graph.node.extend(helper.make_node('Cast', [half], [end], end, to=TensorProto.FLOAT)
                          for end in (copy, name if name in ends else '') if end)
    _sort(graph)
    return rounded


def _compare(spec: ModelSpec, others: Sequence[ModelSpec], images: Sequence[np.ndarray],
             ) -> tuple[bool, float]:
    """Whether the others' scores stay finite, and their least share of equal mask pixels."""
    expected = list(_results(spec, images))
    finite, agreements = True, []
    for other in others:
        same = []
        for (mask, known), (other_mask, found) in zip(expected, _results(other, images),
                                                      strict=True):
            finite &= bool((found | ~known).all())
            same.append(mask == other_mask)
        agreements.append(sum(map(np.sum, same)) / sum(part.size for part in same))
    return finite, float(min(agreements))


def _results(spec: ModelSpec, images: Sequence[np.ndarray],
             ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Mask of each image, and where its scores are finite."""
    model = prepare(spec, ('mask',)).model
    scores = NETWORK_PREFIX + spec.scores.name
    model.graph.output.append(onnx.ValueInfoProto(name=scores))
    runtime = open_runtime(model, spec.network.source)
    for image in images:
        mask, values = runtime.run(['mask', scores], image_feed(spec, image))
        yield mask, np.isfinite(values)


def _at_opset(model: onnx.ModelProto, opset: int, source: str) -> onnx.ModelProto:
    """The model at an opset, where its own is older."""
    own = next(entry.version for entry in model.opset_import if entry.domain in ('', 'ai.onnx'))
    if own >= opset:
        return model
    try:
        return version_converter.convert_version(model, opset)
    except Exception as error:  # the converter raises whatever its C++ does
        raise ModelError(f'{source}: int8 needs opset {opset}, to which opset {own} cannot be '
                         f'converted ({_one_line(error)}); export it anew') from error


def _quantizable_nodes(model: onnx.ModelProto, types: Mapping[str, str]) -> list[onnx.NodeProto]:
    """The nodes whose inputs are quantized; see ``to_int8``."""
    weights = {tensor.name for tensor in model.graph.initializer}
    shapes = _shapes(model)

    def fits(node: onnx.NodeProto) -> bool:
        if node.domain not in ('', 'ai.onnx') or len(node.input) < 2 \
                or any(types.get(name) != _FLOAT for name in node.input[:2]):
            return False
        first, second = node.input[:2]
        if node.op_type == 'Add':  # of two branches, not of a bias or a broadcast vector
            return not weights & {first, second} and first != second \
                and first in shapes and shapes[first] == shapes.get(second)
        return node.op_type in _WEIGHTED_OPS and first not in weights and second in weights

    return [node for node in model.graph.node if fits(node)]


def _shapes(model: onnx.ModelProto) -> dict[str, tuple]:
    with contextlib.suppress(Exception):  # inference is a help, not a check
        model = onnx.shape_inference.infer_shapes(model)
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    return {value.name: tuple(dim.dim_value or dim.dim_param
                              for dim in value.type.tensor_type.shape.dim)
            for value in values if value.type.tensor_type.HasField('shape')}


def _quantized(model: onnx.ModelProto, nodes: list[str], ranges: Ranges,
               source: str) -> onnx.ModelProto:
    from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    data = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    try:
        quantizer: Any = QDQQuantizer(
            model, True, False, QuantType.QInt8, QuantType.QInt8,
            TensorsData(CalibrationMethod.MinMax, data), nodes, [], [*_WEIGHTED_OPS, 'Add'],
            dict(_QDQ_OPTIONS))
        quantizer.quantize_model()
    except Exception as error:  # it asserts, too
        raise ModelError(f'{source}: cannot be quantized ({_one_line(error)}); use precision '
                         'fp16') from error
    quantized = quantizer.model.model
    _fuse_additions(quantized.graph)
    _sort(quantized.graph)
    return quantized


def _fuse_additions(graph: onnx.GraphProto) -> None:
    """Let an Add of two branches read one convolution in float, so that TensorRT fuses them.

    TensorRT's best practices: quantize the residual input of an addition, not the other.
    """
    maker = {name: node for node in graph.node for name in node.output}
    readers = Counter(name for node in graph.node for name in node.input)

    def origin(name: str) -> str:
        """The convolution's output that a pair quantizes for this reader alone, or ''."""
        for op_type in ('DequantizeLinear', 'QuantizeLinear'):
            if name not in maker or maker[name].op_type != op_type or readers[name] != 1:
                return ''
            name = maker[name].input[0]
        fits = name in maker and maker[name].op_type in _WEIGHTED_OPS and readers[name] == 1
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
