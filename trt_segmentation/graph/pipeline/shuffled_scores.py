# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Scores whose pixels the network rearranges in its last node, decided before that node.

Many networks end in a DepthToSpace (PyTorch's PixelShuffle): a convolution computes the scores of
each block of r x r pixels as channels, and DepthToSpace moves every score to its pixel. ONNX
Runtime moves them one by one. The class of a pixel does not depend on its place, so the tail
decides in front of this node, and moves classes instead of scores. This is part of the resize to
the size of the mask, and costs nothing there.

With C classes, the scores in front of DepthToSpace are [N, C*r*r, h, w], in the order (class, row
in the block, column in the block, row of blocks, column of blocks). This is also [N, C, r*r*h, w]:
scores of an image whose pixels are in another order. Its class map [N, r*r*h, w] is called
shuffled here.
"""

from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import TensorProto

from trt_segmentation.graph.onnx_tools.graph_builder import GraphBuilder
from trt_segmentation.graph.onnx_tools.toposort import names_read
from trt_segmentation.graph.reading.scores import Scores


@dataclass(frozen=True)
class Shuffle:
    """The last node of a network.

    Attributes:
        source: name of its input, float32 [N, C*r*r, h, w].
        block: r.
    """

    source: str
    block: int


def find_shuffle(model: onnx.ModelProto, scores: Scores) -> Shuffle | None:
    """Return the DepthToSpace that gives the scores; None if another node gives or reads them."""
    if scores.axis != 1 or scores.dtype != TensorProto.FLOAT:
        return None
    if any(scores.name in names_read(node) for node in model.graph.node):
        return None
    for node in model.graph.node:
        if scores.name in node.output and node.op_type == 'DepthToSpace' and not node.domain:
            attributes = {each.name: onnx.helper.get_attribute_value(each)
                          for each in node.attribute}
            if attributes.get('mode') == b'CRD' and attributes['blocksize'] > 1:
                return Shuffle(node.input[0], attributes['blocksize'])
    return None


def add_scores_of(op: GraphBuilder, scores: Scores, shuffle: Shuffle, in_order: bool) -> Scores:
    """Return the scores: as the network gives them, or [N, C, r*r*h, w] in shuffled order.

    Args:
        scores: what DepthToSpace gives.
        shuffle: the node.
        in_order: whether to add the node.
    """
    if in_order:
        name = op('DepthToSpace', shuffle.source, blocksize=shuffle.block, mode='CRD')
    else:
        name = op('Reshape', shuffle.source, op.ints(0, scores.channels, -1, 0))
    return replace(scores, name=name)


def add_shuffled_rows(op: GraphBuilder, rows: str, height: str, block: int) -> str:
    """Find rows of a class map in a shuffled one.

    Args:
        rows: int32 [H], rows of the class map.
        height: rows of blocks h, name of an int64 [1] tensor.
        block: r.

    Returns:
        int32 [H], indices of [N, r*h, ...] as ``gather_shuffled_columns`` returns it.
    """
    of_blocks, within = _divided(op, rows, block)
    return op('Add', op('Mul', within, op.cast(height, TensorProto.INT32)), of_blocks)


def gather_shuffled_columns(op: GraphBuilder, x: str, columns: str, height: str, block: int,
                            planes: int | None) -> str:
    """Gather columns of a shuffled class map, or of its colours.

    Gather copies runs of h elements, since a column of the class map consists of r such runs.

    Args:
        x: [N, w, r*r*h], or [N, w, planes, r*r*h].
        columns: int32 [W], columns of the class map.
        height: rows of blocks h, name of an int64 [1] tensor.
        block: r.
        planes: bytes of a cell; None for a map without this axis.

    Returns:
        [N, W, r*h] or [N, W, planes, r*h]; the rows are in the order (row in the block, row of
        blocks).
    """
    of_blocks, within = _divided(op, columns, block)
    count = planes or 1
    first = op('Add', op('Mul', of_blocks, op.constant(np.int32(count * block ** 2))), within)
    runs = np.arange(0, count * block ** 2, block, dtype=np.int32)
    places = op('Add', op.unsqueeze(first, 1), op.constant(runs))
    x = op('Reshape', x, op('Concat', op.ints(0, -1), height, axis=0))
    x = op('Gather', x, places, axis=1)
    return op('Reshape', x, op.ints(0, 0, -1) if planes is None else op.ints(0, 0, planes, -1))


def _divided(op: GraphBuilder, pixels: str, block: int) -> tuple[str, str]:
    """Return quotient and remainder of int32 values divided by ``block``."""
    divisor = op.constant(np.int32(block))
    quotient = op('Div', pixels, divisor)
    return quotient, op('Sub', pixels, op('Mul', quotient, divisor))
