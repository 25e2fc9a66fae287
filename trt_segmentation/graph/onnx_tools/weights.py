# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Models of hundreds of megabytes, handled by the few kilobytes that are not weights."""

import hashlib
import math
from typing import Any

import onnx
from onnx import TensorProto, helper

_FEW = 1024
"""Elements that a tensor may have and still be kept: shapes, axes and scales are smaller."""


def is_large(tensor: TensorProto) -> bool:
    """Return whether a tensor is left out of ``without_weights``."""
    return tensor.HasField('raw_data') and math.prod(tensor.dims) > _FEW


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model whose large weights are inputs of their types and shapes.

    Checks and shape inference find the same in it, and need not copy the weights.
    """
    light = onnx.ModelProto()
    _copy_fields(model, light, left_out='graph')
    _copy_fields(model.graph, light.graph, left_out='initializer')
    listed = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if not is_large(tensor):
            light.graph.initializer.append(tensor)
        elif tensor.name not in listed:
            light.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return light


def model_digest(model: onnx.ModelProto) -> str:
    """Return the SHA-256 of all that a model consists of, as 64 hexadecimal digits."""
    digest = hashlib.sha256(without_weights(model).SerializeToString(deterministic=True))
    for tensor in model.graph.initializer:
        if is_large(tensor):
            digest.update(f'{tensor.name} {tensor.data_type} {list(tensor.dims)}\n'.encode())
            digest.update(hashlib.sha256(tensor.raw_data).digest())
    return digest.hexdigest()


def _copy_fields(source: Any, target: Any, left_out: str) -> None:
    for field, value in source.ListFields():
        if field.name == left_out:
            continue
        if hasattr(value, 'ListFields') or hasattr(value, 'MergeFrom'):  # a message, or several
            getattr(target, field.name).MergeFrom(value)
        else:
            setattr(target, field.name, value)
