# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Conversion of a network to fp16, except for nodes whose values exceed its range."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trt_segmentation.errors import ConfigError, ModelError
from trt_segmentation.graph.onnx_tools.network import describe_network
from trt_segmentation.graph.onnx_tools.onnxruntime_api import import_onnxruntime
from trt_segmentation.graph.onnx_tools.toposort import (
    bodies,
    names_captured,
    names_read,
    sort_nodes,
)
from trt_segmentation.graph.pipeline.prepare import named_outputs, prepare
from trt_segmentation.graph.pipeline.tensors import NETWORK_PREFIX
from trt_segmentation.graph.precision.calibration import image_feed, network_inputs, open_runtime
from trt_segmentation.graph.precision.rewriting import (
    FLOAT,
    FLOAT16,
    QUANTIZING_OPS,
    WEIGHTED_OPS,
    check_converted,
    decoding_nodes,
    one_line,
    tensor_types,
    tidied,
)
from trt_segmentation.graph.reading.instance_tensors import PREFIX as INSTANCES_PREFIX
from trt_segmentation.graph.reading.resolve import ModelSpec

LARGEST_FP16 = 65504.0
"""Largest finite value of IEEE 754 binary16."""

MIN_AGREEMENT = 0.99
"""Share of mask pixels that must be equal in fp16 and fp32."""

_ROUNDS = 5
_NAMED = 5

_EXTENT_OPS = {'Shape', 'Size'}

# ONNX Runtime's converter keeps these in fp32, too. Its list also has Min and Max, which accept
# fp16 since opset 8 and clip many activations.
_FP32_OPS = {'CumSum', 'DynamicQuantizeLinear', 'NonMaxSuppression', 'QLinearConv',
             'QLinearMatMul', 'Range', 'RoiAlign', 'TopK', 'Upsample', *QUANTIZING_OPS}


@dataclass(frozen=True)
class Fp16:
    """A network in fp16.

    Attributes:
        spec: of the converted network; the types of its inputs and outputs are unchanged.
        kept: names of the nodes that stay in fp32.
        agreement: share of mask pixels that are equal in fp16 and fp32, 0..1.
    """

    spec: ModelSpec
    kept: tuple[str, ...]
    agreement: float


def to_fp16(spec: ModelSpec, images: Sequence[np.ndarray]) -> Fp16:
    """Convert a network to fp16, except for the nodes whose values exceed its range.

    These nodes are found by the largest values of all tensors on the images. If masks differ too
    much, the limit is lowered step by step.

    Args:
        spec: with the network in fp32; one in fp16 is returned unchanged.
        images: uint8 [H, W, 3], BGR, any size, at least one.

    Raises:
        ConfigError: there is no image.
        ModelError: the network cannot be converted.
    """
    model = tidied(spec.network.model)
    types = tensor_types(model, spec.network.source)
    if _computes_in_fp16(model, types):
        return Fp16(spec, (), 1.0)
    if not images:
        raise ConfigError(f'{spec.network.source}: fp16 is checked on images; give at least one')
    _warn_of_large_weights(model.graph, spec.network.source)
    peaks = _peaks(spec, model, types, images)
    always = _extent_nodes(model.graph) | decoding_nodes(spec, model.graph) | {
        node.name for node in model.graph.node
        if node.domain not in ('', 'ai.onnx') or node.op_type in _FP32_OPS or any(bodies(node))
        or node.name.startswith(INSTANCES_PREFIX)}
    results: list[tuple[bool, Fp16]] = []
    tried: set[str] | None = None
    for power in range(_ROUNDS):
        kept = always | _nodes_above(model.graph, peaks, LARGEST_FP16 / 4 ** power)
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
    """Convert all nodes that are not kept; return whether scores stay finite, and the result."""
    source = spec.network.source
    models = _converted(model, types, kept, source), fp16_emulated(model, types, kept)
    candidates = [replace(spec, network=describe_network(each, source)) for each in models]
    finite, agreement = _compare(spec, candidates, images)
    names = tuple(node.name for node in model.graph.node if node.name in kept)
    return finite, Fp16(candidates[0], names, agreement)


def _computes_in_fp16(model: onnx.ModelProto, types: Mapping[str, str]) -> bool:
    weighted = [types.get(node.output[0]) for node in model.graph.node
                if node.op_type in WEIGHTED_OPS]
    return FLOAT16 in (weighted or types.values()) and FLOAT not in weighted


def _warn_of_large_weights(graph: onnx.GraphProto, source: str) -> None:
    """Log weights beyond the range of fp16. TensorRT 8.6 warns about them without their names."""
    found = []
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            array = numpy_helper.to_array(tensor)
            largest = np.inf if np.isinf(array).any() else _largest(array)
            if largest > LARGEST_FP16:
                found.append(f"'{tensor.name}' ({largest:.3g})")
    if found:
        more = f' and {len(found) - _NAMED} others' if len(found) > _NAMED else ''
        logging.getLogger(__name__).warning(
            '%s: the largest fp16 value is %g, which these weights exceed: %s%s; infinite ones '
            'stay infinite, and nodes that read finite ones stay in fp32', source, LARGEST_FP16,
            ', '.join(found[:_NAMED]), more)


def _peaks(spec: ModelSpec, model: onnx.ModelProto, types: Mapping[str, str],
           images: Sequence[np.ndarray]) -> dict[str, float]:
    """The largest magnitude of every fp32 tensor over the images."""
    graph = model.graph
    peaks = {tensor.name: _largest(numpy_helper.to_array(tensor)) for tensor in graph.initializer
             if tensor.data_type == TensorProto.FLOAT}
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    names = [name for name, kind in types.items() if kind == FLOAT and name not in peaks]
    for index, name in enumerate(names):  # the runtime returns scalars, not whole tensors
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
    """Largest finite magnitude; infinite values stay infinite in fp16."""
    return float(np.abs(array[np.isfinite(array)]).max(initial=0.0))


def _nodes_above(graph: onnx.GraphProto, peaks: Mapping[str, float], limit: float) -> set[str]:
    """Names of the nodes that read or write a value above a limit."""
    return {node.name for node in graph.node
            if any(peaks.get(name, 0.0) > limit for name in (*names_read(node), *node.output))}


def _extent_nodes(graph: onnx.GraphProto) -> set[str]:
    """Names of the nodes that compute only from tensor sizes and constants.

    fp16 represents integers exactly up to 2048 only, and a rounded scale such as 1.33 changes a
    size.
    """
    known = {tensor.name for tensor in graph.initializer} | {''}
    nodes = set()
    for node in graph.node:
        if node.op_type in _EXTENT_OPS:
            known.update(node.output)
        elif known.issuperset(names_read(node)):
            known.update(node.output)
            nodes.add(node.name)
    return nodes


def _converted(model: onnx.ModelProto, types: Mapping[str, str], kept: set[str],
               source: str) -> onnx.ModelProto:
    convert = import_onnxruntime('transformers.float16').convert_float_to_float16
    draft = onnx.ModelProto()
    draft.CopyFrom(model)
    graph = draft.graph
    del graph.value_info[:]
    own = {value.name for value in (*graph.input, *graph.output)}
    weights = {tensor.name for tensor in graph.initializer}
    graph.value_info.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name, kind in types.items() if kind == FLOAT and name not in own | weights)
    _unshare_scales(graph)
    kept = kept | _copy_captured(graph, types)
    try:
        draft = convert(
            draft, keep_io_types=True, disable_shape_infer=True, op_block_list=[],
            node_block_list=sorted(kept))
    except Exception as error:  # the converter also raises AssertionError
        raise ModelError(f'{source}: cannot be converted to fp16 ({one_line(error)}); use '
                         'precision fp32') from error
    _bypass_cast_pairs(draft.graph)
    del draft.graph.value_info[:]
    check_converted(draft, source, 'fp16')
    return draft


def _unshare_scales(graph: onnx.GraphProto) -> None:
    """Copy the scales of every Resize: they stay in fp32, but shared ones would be cast.

    Empty scales of a Resize with sizes must stay empty constants.
    """
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == 'Resize' and len(node.input) > 2 and node.input[2] in tensors:
            graph.initializer.append(tensors[node.input[2]])
            graph.initializer[-1].name = node.input[2] = f'{node.name}/scales'


def _copy_captured(graph: onnx.GraphProto, types: Mapping[str, str]) -> set[str]:
    """Let subgraphs read fp32 copies of outer tensors, and return the names of the copying nodes.

    The converter casts the inputs of a node, but not the outer tensors that its subgraphs read.
    """
    nodes, added = [], {}
    for node in graph.node:
        captured = set().union(*(names_captured(body) for body in bodies(node)))
        for name in sorted(captured):
            if types.get(name) == FLOAT and name not in added:
                added[name] = f'{name}/captured'
                nodes.append(helper.make_node('Identity', [name], [added[name]], added[name]))
        for body in bodies(node):
            _rename(body, added)
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return set(added.values())


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        for body in bodies(node):
            _rename(body, names)


def _bypass_cast_pairs(graph: onnx.GraphProto) -> None:
    """Remove casts to fp16 and back between two nodes in fp32.

    The converter puts casts before and after every node that stays in fp32. Between two such
    nodes, large values would overflow in fp16.
    """
    halves = {node.output[0]: node.input[0] for node in graph.node
              if node.op_type == 'Cast' and _cast_type(node) == TensorProto.FLOAT16}
    for node in graph.node:
        if node.op_type == 'Cast' and _cast_type(node) == TensorProto.FLOAT:
            node.input[0] = halves.get(node.input[0], node.input[0])
    sort_nodes(graph)
    needed = {value.name for value in graph.output}
    nodes = []
    for node in reversed(graph.node):
        if node.op_type != 'Cast' or node.output[0] in needed:
            needed |= names_read(node)
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(reversed(nodes))


def _cast_type(node: onnx.NodeProto) -> int:
    return next(attribute.i for attribute in node.attribute if attribute.name == 'to')


def fp16_emulated(model: onnx.ModelProto, types: Mapping[str, str], kept: set[str],
                  ) -> onnx.ModelProto:
    """The fp32 network with casts to fp16 and back for each tensor that is converted to fp16.

    On the CPU, ONNX Runtime computes an fp16 network in fp32 and rounds only inputs and outputs.
    """
    rounded = onnx.ModelProto()
    rounded.CopyFrom(model)
    graph = rounded.graph
    halves = {name for node in graph.node if node.name not in kept for name in node.output}
    ends = {value.name: f'{value.name}/exact' for value in graph.output
            if value.name in halves and types[value.name] == FLOAT}
    sources = dict.fromkeys(ends, '')
    for node in graph.node:
        node.output[:] = [ends.get(name, name) for name in node.output]
        count = 1 if node.op_type == 'Resize' else len(node.input)  # its scales stay fp32
        for index, name in enumerate(node.input[:count]):
            if types.get(name) == FLOAT and (node.name not in kept or name in halves):
                node.input[index] = f'{name}/rounded'
                sources[name] = node.input[index]
    for name, copy in sources.items():
        exact, half = ends.get(name, name), f'{name}/half'
        graph.node.append(helper.make_node('Cast', [exact], [half], half, to=TensorProto.FLOAT16))
        graph.node.extend(helper.make_node('Cast', [half], [end], end, to=TensorProto.FLOAT)
                          for end in (copy, name if name in ends else '') if end)
    sort_nodes(graph)
    return rounded


def _compare(spec: ModelSpec, others: Sequence[ModelSpec], images: Sequence[np.ndarray],
             ) -> tuple[bool, float]:
    """Whether scores of the others stay finite, and the lowest share of equal mask pixels."""
    expected = list(_results(spec, images))
    finite, agreements = True, []
    for other in others:
        same = []
        for (masks, known), (other_masks, found) in zip(expected, _results(other, images),
                                                        strict=True):
            finite &= bool((found | ~known).all())
            same.append([mask == other_mask
                         for mask, other_mask in zip(masks, other_masks, strict=True)])
        agreements += [sum(map(np.sum, of_task)) / sum(part.size for part in of_task)
                       for of_task in zip(*same, strict=True)]
    return finite, float(min(agreements))


def _results(spec: ModelSpec, images: Sequence[np.ndarray],
             ) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
    """The masks of each image, and whether each of their scores is finite."""
    masks = named_outputs(spec, ('mask',))
    model = prepare(spec, masks).model
    scores = dict.fromkeys(NETWORK_PREFIX + task.scores.name for task in spec.tasks)
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in scores)
    runtime = open_runtime(model, spec.network.source)
    for image in images:
        found = runtime.run([*masks, *scores], image_feed(spec, image))
        values = np.concatenate([each.ravel() for each in found[len(masks):]])
        yield found[:len(masks)], np.isfinite(values)
