# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Converts a model to the common form: float32 instead of float64, no inputs or outputs of
bfloat16, and an input with a batch axis."""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from onnx import AttributeProto, NodeProto, TensorProto, helper, numpy_helper

logger = logging.getLogger(__name__)

_COLOURS = 3
_SQUEEZE_AXES_AS_INPUT = 13


def canonicalized(model: onnx.ModelProto, source: str, opset: int) -> onnx.ModelProto:
    """Return the model without float64, with a batch axis, and with float32 at its bfloat16 ends.

    Args:
        model: returned unchanged if it is in this form.
        source: its name in messages.
        opset: version of the default ONNX domain.
    """
    if not model.graph.node:  # an engine, of which only inputs and outputs are known
        return model
    inputs = _image_inputs(model.graph)
    computes_double = any(
        _dtype(value) == TensorProto.DOUBLE for value in inputs) or any(
        tensor.data_type == TensorProto.DOUBLE and len(tensor.dims) > 1
        for tensor in model.graph.initializer)
    lacks_batch = len(inputs) == 1 and _is_one_image(inputs[0])
    rare = [value for value in (*inputs, *model.graph.output)
            if _dtype(value) == TensorProto.BFLOAT16]
    if not computes_double and not lacks_batch and not rare:
        return model
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    if computes_double:
        logger.warning('%s: computes in float64, which TensorRT does not support and ONNX Runtime '
                       'supports only in part; it runs in float32. Export it in float32', source)
        _narrow(changed)
    if lacks_batch:
        _add_batch_axis(changed, inputs[0].name, opset)
    if rare:
        _cast_ends(changed, {value.name for value in rare})
    return changed


def _image_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    weights = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in weights]


def _dtype(value: onnx.ValueInfoProto) -> int:
    return value.type.tensor_type.elem_type


# float64 -------------------------------------------------------------------------------------


def _narrow(model: onnx.ModelProto) -> None:
    """Convert everything in float64 to float32."""
    _narrow_graph(model.graph)
    for function in model.functions:
        _narrow_nodes(function.node)


def _narrow_graph(graph: onnx.GraphProto) -> None:
    for tensor in graph.initializer:
        _narrow_tensor(tensor)
    for value in (*graph.input, *graph.output, *graph.value_info):
        if _dtype(value) == TensorProto.DOUBLE:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    _narrow_nodes(graph.node)


def _narrow_nodes(nodes: Sequence[NodeProto]) -> None:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                _narrow_tensor(attribute.t)
            elif attribute.name in ('to', 'dtype', 'output_dtype') \
                    and attribute.i == TensorProto.DOUBLE:
                attribute.i = TensorProto.FLOAT
            for body in _bodies(attribute):
                _narrow_graph(body)


def _bodies(attribute: AttributeProto) -> Iterator[onnx.GraphProto]:
    if attribute.type == AttributeProto.GRAPH:
        yield attribute.g
    yield from attribute.graphs


def _narrow_tensor(tensor: TensorProto) -> None:
    if tensor.data_type == TensorProto.DOUBLE:
        tensor.CopyFrom(numpy_helper.from_array(
            numpy_helper.to_array(tensor).astype(np.float32), tensor.name))


# bfloat16 ------------------------------------------------------------------------------------


def _cast_ends(model: onnx.ModelProto, names: set[str]) -> None:
    """Give these inputs and outputs the type float32, under the same names. NumPy has no bfloat16,
    so neither cameras' pixels nor measured values can have it."""
    graph = model.graph
    outputs = {value.name for value in graph.output}
    for value in (*graph.input, *graph.output):
        if value.name not in names:
            continue
        inner = f'{value.name}/bfloat16'
        for node in graph.node:
            _rename(node, value.name, inner)
            node.output[:] = [inner if each == value.name else each for each in node.output]
        if value.name in outputs:
            graph.node.append(helper.make_node('Cast', [inner], [value.name], f'{inner}/cast',
                                               to=TensorProto.FLOAT))
        else:
            graph.node.insert(0, helper.make_node('Cast', [value.name], [inner], f'{inner}/cast',
                                                  to=TensorProto.BFLOAT16))
        value.type.tensor_type.elem_type = TensorProto.FLOAT


# Missing batch axis ----------------------------------------------------------------------------


def _is_one_image(value: onnx.ValueInfoProto) -> bool:
    """Whether the shape is [3, h, w] or [h, w, 3]."""
    dims = value.type.tensor_type.shape.dim
    return len(dims) == 3 and _COLOURS in (dims[0].dim_value, dims[2].dim_value)


def _add_batch_axis(model: onnx.ModelProto, name: str, opset: int) -> None:
    """Give the input a batch axis of extent 1, under the same name."""
    inner = f'{name}/image'
    for node in model.graph.node:
        _rename(node, name, inner)
    value = next(each for each in model.graph.input if each.name == name)
    shape = [dim.dim_value or dim.dim_param or None
             for dim in value.type.tensor_type.shape.dim]
    value.CopyFrom(helper.make_tensor_value_info(name, _dtype(value), [1, *shape]))
    inputs, attributes = [name], {'axes': [0]}
    if opset >= _SQUEEZE_AXES_AS_INPUT:
        axis = f'{name}/batch_axis'
        model.graph.initializer.append(numpy_helper.from_array(np.array([0]), axis))
        inputs, attributes = [name, axis], {}
    model.graph.node.insert(0, helper.make_node('Squeeze', inputs, [inner], inner, **attributes))


def _rename(node: NodeProto, name: str, new: str) -> None:
    node.input[:] = [new if each == name else each for each in node.input]
    for attribute in node.attribute:
        for body in _bodies(attribute):
            for inner in body.node:
                _rename(inner, name, new)
