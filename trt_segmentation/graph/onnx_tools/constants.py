# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Constants of a graph: its initializers, and what its Constant nodes give."""

from collections.abc import Iterable

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

_DTYPES = {'value_float': np.float32, 'value_floats': np.float32,
           'value_int': np.int64, 'value_ints': np.int64}
"""By attribute of a Constant, the type of its output (onnx.ai/onnx/operators/onnx__Constant)."""


def constant_of(node: NodeProto) -> TensorProto | None:
    """Return the tensor that a Constant node gives; None for other nodes, for strings and for
    sparse tensors."""
    for attribute in node.attribute if node.op_type == 'Constant' else ():
        if attribute.name == 'value':
            return attribute.t
        if attribute.name in _DTYPES:
            values = helper.get_attribute_value(attribute)
            return numpy_helper.from_array(np.array(values, _DTYPES[attribute.name]))
    return None


def constants_by_name(nodes: Iterable[NodeProto], weights: Iterable[TensorProto],
                      ) -> dict[str, TensorProto]:
    """Return all constants.

    Args:
        nodes: of a graph.
        weights: its initializers.
    """
    found = {tensor.name: tensor for tensor in weights}
    for node in nodes:
        if (tensor := constant_of(node)) is not None:
            found[node.output[0]] = tensor
    return found
