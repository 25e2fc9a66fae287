# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX into a TensorRT network, with errors that say which node and what to do."""

from typing import Any

import onnx

from trt_segmentation.backends.tensorrt.api import Log
from trt_segmentation.errors import BackendError, ModelError
from trt_segmentation.graph.preflight import fix_of
from trt_segmentation.graph.prepare import NETWORK_PREFIX


def parse(parser: Any, log: Log, model: bytes, source: str, name: str) -> None:
    """Let a parser fill its network.

    Args:
        parser: a ``trt.OnnxParser``.
        log: what TensorRT logs to.
        model: a serialized ONNX model.
        source: what to call the model in errors.
        name: TensorRT with its version.

    Raises:
        ModelError: ``model`` is no ONNX.
        BackendError: TensorRT does not take a node.
    """
    try:
        log.call(f'{name} does not take {source}', parser.parse, model)
        return
    except BackendError:
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        if not errors:
            raise
    first, *others = errors
    code = first.code().name
    if code == 'MODEL_DESERIALIZE_FAILED':
        raise ModelError(f'{source} is no ONNX model: {first.desc()}')
    op = _operator_of(first, model)[1]
    more = ', '.join(dict.fromkeys(_node_of(error, model) for error in others))
    also = f'; so it is with {more}' if more else ''
    raise BackendError(f'{name} does not take {_node_of(first, model)} of {source} ({code}: '
                       f'{first.desc()}){also}; {fix_of(op) or _advice(code, first.desc())}')


def _operator_of(error: Any, model: bytes) -> tuple[str, str]:
    """Name and operator of the node that an error is about."""
    if hasattr(error, 'node_name'):
        return error.node_name(), error.node_operator()
    nodes = onnx.ModelProto.FromString(model).graph.node
    index = error.node()
    return (nodes[index].name, nodes[index].op_type) if 0 <= index < len(nodes) else ('', '')


def _node_of(error: Any, model: bytes) -> str:
    node, op = _operator_of(error, model)
    return f"node '{node.removeprefix(NETWORK_PREFIX)}' ({op or 'unknown operator'})"


def _advice(code: str, text: str) -> str:
    if 'DYNAMIC' in code or 'dynamic' in text.lower():
        return 'export the network with a fixed input size'
    if code.startswith('UNSUPPORTED') or 'plugin' in text.lower():
        return ('TensorRT lacks this operator or this use of it: export the network with another '
                'opset (11 to 17 are the safest), or replace the operator')
    return 'export the network with another opset (11 to 17 are the safest), or simplify it'
