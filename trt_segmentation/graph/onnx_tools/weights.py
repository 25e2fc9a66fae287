# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Copies and digests of a model that avoid copying its large weights."""

import hashlib
import math
from typing import Any

import onnx
from onnx import TensorProto, helper

_MAX_SMALL = 1024
"""Maximum number of elements of a small tensor; shapes, axes and scales have fewer."""


def is_large(tensor: TensorProto) -> bool:
    """Return whether ``without_weights`` omits a tensor."""
    return tensor.HasField('raw_data') and math.prod(tensor.dims) > _MAX_SMALL


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model whose large weights are replaced by inputs of the same types and shapes.

    The checker and shape inference give the same results for it, and do not copy the weights.
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
    """Return the SHA-256 of a model with its weights, as 64 hexadecimal digits."""
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
