# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Helpers of the conversions to fp16 and int8."""

from collections import Counter
from collections.abc import Mapping

import onnx
from onnx import TensorProto

from trt_segmentation.errors import ModelError
from trt_segmentation.graph.onnx_tools.constants import constant_of
from trt_segmentation.graph.onnx_tools.network import check_model
from trt_segmentation.graph.precision.calibration import open_runtime
from trt_segmentation.graph.reading.resolve import ModelSpec

WEIGHTED_OPS = {'Conv', 'ConvTranspose', 'MatMul', 'Gemm'}
QUANTIZING_OPS = {'QuantizeLinear', 'DequantizeLinear'}
_ARRANGING_OPS = {'Reshape', 'Transpose'}

_IR_WITHOUT_WEIGHTS_AS_INPUTS = 4


def tidied(original: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in the form that the converters need.

    Functions become nodes, Constant nodes become initializers, no initializer is an input, and
    every node has a unique name.
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
        if (value := constant_of(node)) is not None:
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


def tensor_types(model: onnx.ModelProto, source: str) -> dict[str, str]:
    """The type of every tensor, such as 'tensor(float)', inferred by ONNX Runtime; ONNX's own
    inference does not find all types."""
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

FLOAT, FLOAT16 = 'tensor(float)', 'tensor(float16)'

_TYPE_NAMES = {TensorProto.FLOAT: FLOAT, TensorProto.FLOAT16: FLOAT16}


def check_converted(model: onnx.ModelProto, source: str, precision: str) -> None:
    """Check that ONNX Runtime opens a converted network, and that it is valid ONNX.

    Args:
        model: the converted network.
        source: its name in messages.
        precision: of the converted network.

    Raises:
        ModelError: one of the checks fails.
    """
    try:
        open_runtime(model, source)
        check_model(model)
    except Exception as error:  # the checker raises its own types
        raise ModelError(f'{source}: cannot be converted to {precision} ({one_line(error)}); use '
                         'precision fp32') from error


def decoding_nodes(spec: ModelSpec, graph: onnx.GraphProto) -> set[str]:
    """Names of the nodes that compute boxes and scores of instances from the network's last layers
    with weights. They stay in fp32 at any precision.

    In fp16, the corner of a box above 512 pixels is rounded to half a pixel, and scores near 1
    become equal, which changes the order of the suppression. int8 has 255 steps for a coordinate.
    The expected value of a distribution of distances (Generalized Focal Loss, arXiv 2006.04388) is
    such a node, too: as a convolution of a softmax it has weights, but they are 0, 1, 2 and so on.

    Args:
        spec: of the network.
        graph: the network's graph, or one that was converted from it.
    """
    makers = {name: node for node in graph.node for name in node.output}

    def is_last_layer(node: onnx.NodeProto) -> bool:
        if node.op_type not in WEIGHTED_OPS:
            return node.op_type in QUANTIZING_OPS
        source = makers.get(node.input[0])
        while source is not None and source.op_type in _ARRANGING_OPS:
            source = makers.get(source.input[0])
        return source is None or source.op_type != 'Softmax'

    found, seen = set(), set()
    waiting = [task.pair.classes.name for task in spec.tasks
               if task.pair is not None and task.pair.kind == 'instances']
    while waiting:
        name = waiting.pop()
        if name in makers and name not in seen and not is_last_layer(makers[name]):
            found.add(makers[name].name)
            waiting.extend(makers[name].input)
        seen.add(name)
    return found - {''}


def one_line(error: Exception) -> str:
    """Return type and message of an error in one line, its message cut after 300 characters."""
    return f'{type(error).__name__}: {" ".join(str(error).split())[:300]}'
