# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Bilinear resize of uint8 images for ONNX Runtime, which converts only the rows that it reads.

The operator Resize interpolates float32, so that all pixels of a camera would be cast first: four
times the bytes of the image, most of which are not read if the image shrinks much. Here, the two
rows that each row of the result lies between are gathered as bytes. DequantizeLinear converts them
and multiplies each row by twice its weight. Resize then halves their number, which is the mean of
each pair, and interpolates the columns.
"""

import numpy as np
from onnx import TensorProto

from trt_segmentation.graph.onnx_tools.graph_builder import GraphBuilder

_SCALE_PER_ROW = range(13, 22)
"""Opsets whose DequantizeLinear takes a scale for each index of an axis, in every ONNX Runtime
that knows the opset."""

LEAST_SHRINKING = 3
"""Rows of the image for each row of the result, from which on gathering is faster."""


def add_resize_from_bytes(op: GraphBuilder, image: str, height: str, sizes: str) -> str:
    """Resize as ``GraphBuilder.resize_linear`` does, to rounding in float32.

    Args:
        image: uint8 [N, H, W, C].
        height: rows h of the result, name of an int64 [1] tensor.
        sizes: name of the int64 vector N, h, w, C.

    Returns:
        Name of the result, float32 [N, h, w, C].
    """
    def from_all(inner: GraphBuilder) -> str:
        return inner.resize_linear(inner.cast(image, TensorProto.FLOAT), sizes)

    def from_pairs(inner: GraphBuilder) -> str:
        return inner.resize_linear(_add_weighted_pairs(inner, image, rows, height), sizes)

    if op.opset not in _SCALE_PER_ROW:
        return from_all(op)
    rows = op.size(image, 1)
    least = op('Mul', height, op.ints(LEAST_SHRINKING))
    return op.choose(op.squeeze(op('Less', rows, least), 0), from_all, from_pairs)


def _add_weighted_pairs(op: GraphBuilder, image: str, rows: str, height: str) -> str:
    """Return the rows that each row of the result lies between, times twice their weights.

    Half-pixel centres: row i lies at (i + 1/2) H / h - 1/2, which is ((2 i + 1) H - h) / 2 h. If
    the image shrinks to half its height or less, both rows are inside the image.

    Args:
        image: uint8 [N, H, W, C].
        rows, height: H and h, names of int64 [1] tensors.

    Returns:
        float32 [N, 2 h, W, C]
    """
    centres = op('Add', op('Mul', op.upto(height), op.ints(2)), op.ints(1))
    places, divisor = op('Sub', op('Mul', centres, rows), height), op('Mul', height, op.ints(2))
    above = op('Div', places, divisor)
    rest = op('Sub', places, op('Mul', above, divisor))
    below_weight = op('Div', op.cast(rest, TensorProto.FLOAT),
                      op.cast(height, TensorProto.FLOAT))
    above_weight = op('Sub', op.constant(np.float32(2)), below_weight)
    pairs = _interleaved(op, above, op('Add', above, op.ints(1)))
    weights = _interleaved(op, above_weight, below_weight)
    return op('DequantizeLinear', op('Gather', image, pairs, axis=1), weights, axis=1)


def _interleaved(op: GraphBuilder, first: str, second: str) -> str:
    """Return first[0], second[0], first[1], second[1], ..."""
    columns = op('Concat', op.unsqueeze(first, 1), op.unsqueeze(second, 1), axis=1)
    return op('Reshape', columns, op.ints(-1))
