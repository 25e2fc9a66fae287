# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Parses ONNX into a TensorRT network, with errors that name the node and the fix."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from trt_segmentation.backends.tensorrt.api import Capabilities, Log
from trt_segmentation.backends.tensorrt.unsupported import fix_of
from trt_segmentation.errors import BackendError, MissingBackendError, ModelError
from trt_segmentation.graph.onnx_tools.opset import lower_opset, opset_of, with_basic_operators
from trt_segmentation.graph.pipeline.tensors import NETWORK_PREFIX

_EVERYWHERE_OPSET = 17
"""The newest that the parser of TensorRT 8.6 documents; those of 10 and later support more."""

_SURE_OPSET = 14
"""Up to this opset, no parser overlooks an input."""


@dataclass(frozen=True)
class Parsed:
    """A network that TensorRT has read.

    Attributes:
        builder: of the network.
        network: TensorRT's.
        parser: holds the weights; must live until the plan is built.
    """

    builder: Any
    network: Any
    parser: Any


def read_onnx(trt: Any, log: Log, model: bytes, source: str, name: str) -> Parsed:
    """Parse an ONNX model with TensorRT.

    Args:
        trt: the module of TensorRT.
        log: what it logs to.
        model: a serialized ONNX model.
        source: name of the model in errors.
        name: TensorRT with its version.

    Raises:
        MissingBackendError: TensorRT finds no GPU.
        ModelError: ``model`` is not an ONNX model, or has an opset that this TensorRT does not
            support and that cannot be converted to an older one.
        BackendError: TensorRT does not support a node.
    """
    can = Capabilities.of(trt)
    builder = log.call(f'{name} finds no GPU to build for', trt.Builder, log.logger,
                       raises=MissingBackendError)

    def empty() -> Parsed:
        network = log.call(f'{name} cannot make a network', builder.create_network,
                           creation_flags(trt, can))
        return Parsed(builder, network, trt.OnnxParser(network, log.logger))

    known = _as_known(model, empty, source)
    parsed = empty()
    parse(parsed.parser, log, known, source, name)
    return parsed


def creation_flags(trt: Any, can: Capabilities) -> int:
    """Return the flags to create a network with."""
    # Strongly typed for fp32, too: it never forbids TF32, which is a flag of the build.
    names = ['EXPLICIT_BATCH'] * can.explicit_batch + ['STRONGLY_TYPED'] * can.strongly_typed
    flags = [getattr(trt.NetworkDefinitionCreationFlag, name, None) for name in names]
    return sum(1 << int(flag) for flag in flags if flag is not None)


def _as_known(model: bytes, empty: Callable[[], Parsed], source: str) -> bytes:
    """The model with an opset and operators that the parser supports."""
    try:
        opset = opset_of(proto := onnx.ModelProto.FromString(model))
    except DecodeError:  # which the parser reports better
        return model
    if opset <= _SURE_OPSET or reads_axes(empty()):
        return model
    return with_basic_operators(lower_opset(proto, _EVERYWHERE_OPSET, source)).SerializeToString()


def reads_axes(parsed: Parsed) -> bool:
    """Return whether a parser reads the axes of a reduction where opset 18 puts them.

    The parser of TensorRT 8.6 accepts models of any opset, but overlooks newer inputs: it reduces
    over all axes, and the masks would be silently wrong.

    Args:
        parsed: with an empty network.
    """
    shape = (2, 3)
    node = helper.make_node('ReduceMax', ['x', 'axes'], ['y'], keepdims=0)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, extents)
            for name, extents in (('x', shape), ('y', shape[:1])))
    axes = numpy_helper.from_array(np.array([1], np.int64), 'axes')
    model = helper.make_model(helper.make_graph([node], 'probe', [x], [y], [axes]), ir_version=8,
                              opset_imports=[helper.make_opsetid('', 18)])
    return parsed.parser.parse(model.SerializeToString()) \
        and tuple(parsed.network.get_output(0).shape) == shape[:1]


def parse(parser: Any, log: Log, model: bytes, source: str, name: str) -> None:
    """Parse a model into the parser's network.

    Args:
        parser: a ``trt.OnnxParser``.
        log: what TensorRT logs to.
        model: a serialized ONNX model.
        source: name of the model in errors.
        name: TensorRT with its version.

    Raises:
        ModelError: ``model`` is not an ONNX model.
        BackendError: TensorRT does not support a node.
    """
    try:
        log.call(f'{name} does not support {source}', parser.parse, model)
        return
    except BackendError:
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        if not errors:
            raise
    first, *others = errors
    code = str(first.code()).rpartition('.')[2]  # in 8.6, its name is a method
    if code == 'MODEL_DESERIALIZE_FAILED':
        raise ModelError(f'{source} is not an ONNX model: {first.desc()}')
    op = _operator_of(first, model)[1]
    more = ', '.join(dict.fromkeys(_node_of(error, model) for error in others))
    also = f'; nor {more}' if more else ''
    fix = fix_of(op, onnx.ModelProto.FromString(model)) or _advice(code, first.desc())
    raise BackendError(f'{name} does not support {_node_of(first, model)} of {source} ({code}: '
                       f'{first.desc()}){also}; {fix}')


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
