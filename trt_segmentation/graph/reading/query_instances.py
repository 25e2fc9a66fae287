# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Instances of a network with queries.

Mask, class and score are those of ``post_process_instance_segmentation`` of Mask2Former and
MaskFormer in transformers 5.23: of all pairs of a query and a class, as many as there are queries,
those with the highest class probability. The mask of a pair is where the query's logits are above
0; its score is the class probability times the mean mask probability in the mask. One query can be
several instances, of different classes.

Two things that transformers leaves open are decided here: of several instances at a pixel, the one
with the highest score covers it (transformers draws them in the order of an unsorted TopK), and
the box of an instance is the smallest that holds its mask, as in detectron2's
``BitMasks.get_bounding_boxes``.

N is the number of images, Q that of queries and of instances, C that of classes without "no
object".
"""

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, ValueInfoProto

from trt_segmentation.graph.onnx_tools.graph_builder import GraphBuilder
from trt_segmentation.graph.onnx_tools.network import TensorInfo
from trt_segmentation.graph.reading.dual_outputs import add_axis, map_size
from trt_segmentation.graph.reading.instance_tensors import add_instance_tensors, own_rows

_BOX, _SCORE, _QUERY = 4, 4, 6
"""Columns of an instance: the box is those before ``_BOX``; behind the class is the query."""

_NO_AREA = 1e-6
"""Added to the number of pixels of a mask; of transformers."""


@dataclass(frozen=True)
class QueryMasks:
    """What is known about the queries of a network.

    Attributes:
        masks: logits [1, Q, h, w].
        covered: name of their sigmoids: [N, Q, h * w].
        classes: logits [1, Q, C + 1], the last one of "no object".
    """

    masks: TensorInfo
    covered: str
    classes: TensorInfo

    @property
    def count(self) -> int:
        """Q."""
        return (self.classes.shape or ())[1] or 0

    @property
    def class_count(self) -> int:
        """C."""
        return ((self.classes.shape or ())[2] or 1) - 1


def add_query_instances(op: GraphBuilder, queries: QueryMasks, image: TensorInfo, input_axis: int,
                        ) -> tuple[ValueInfoProto, ValueInfoProto]:
    """Add the outputs of ``instance_tensors``, and return them.

    Args:
        op: gets the nodes.
        queries: of the network.
        image: the input.
        input_axis: height axis of ``image``.
    """
    logits = op.cast(queries.masks.name, TensorProto.FLOAT)
    inside = op.cast(op('Greater', logits, op.constant(np.float32(0))), TensorProto.FLOAT)
    (top, bottom), (left, right) = (
        _add_ends(op, op.reduce('ReduceMax', inside, 3 - axis),
                  *add_axis(op, (queries.masks, 2 + axis), (image, input_axis + axis)))
        for axis in (0, 1))
    masks = op('Concat', left, top, right, bottom, _add_mean(op, inside, queries.covered), axis=2)
    rows = _add_rows(op, masks, queries)
    covering = _add_covering(op, inside, rows, queries.count)
    return add_instance_tensors(op, covering, op.columns(rows, 0, _QUERY),
                                map_size(queries.masks), queries.count)


def _add_ends(op: GraphBuilder, hit: str, cells: str, ratio: str) -> tuple[str, str]:
    """Return where masks begin and end along an axis of the image, in pixels of the input:
    [N, Q, 1] each. Without NonZero: the last cell is a maximum, and the first one, too, if cells
    are counted from the other end.

    Args:
        op: gets the nodes.
        hit: 1 where the mask has a cell, else 0: [N, Q, n].
        cells, ratio: see ``add_axis``.
    """
    cells = op.squeeze(cells, 1)
    count = op.cast(op.size(hit, 2), TensorProto.FLOAT)
    end = op('Mul', hit, op('Add', cells, op.constant(np.float32(1))))
    end = op.reduce('ReduceMax', end, 2, keepdims=1)
    start = op.reduce('ReduceMax', op('Mul', hit, op('Sub', count, cells)), 2, keepdims=1)
    return op('Div', op('Sub', count, start), ratio), op('Div', end, ratio)


def _add_mean(op: GraphBuilder, inside: str, covered: str) -> str:
    """Return the mean of the probabilities [N, Q, h * w] in each mask [N, Q, h, w]: [N, Q, 1]."""
    inside = op('Reshape', inside, op.ints(0, 0, -1))
    summed = op('Mul', op.cast(covered, TensorProto.FLOAT), inside)
    area = op('Add', op.reduce('ReduceSum', inside, 2, keepdims=1),
              op.constant(np.float32(_NO_AREA)))
    return op('Div', op.reduce('ReduceSum', summed, 2, keepdims=1), area)


def _add_rows(op: GraphBuilder, masks: str, queries: QueryMasks) -> str:
    """Return the instances in descending order of their scores: [N, Q, 7], box, score, class and
    query.

    Args:
        op: gets the nodes.
        masks: the box and the mean probability of each query: [N, Q, 5].
        queries: of the network.
    """
    likely = op('Softmax', op.cast(queries.classes.name, TensorProto.FLOAT), axis=2)
    likely = op('Reshape', op.columns(likely, 0, queries.class_count), op.ints(0, -1))
    likely, pairs = op.top(_add_known(op, likely), op.ints(queries.count), axis=1)
    count = op.ints(queries.class_count)
    query = op('Div', pairs, count)
    classes = op('Sub', pairs, op('Mul', query, count))
    masks = own_rows(op, masks, query, 1)
    scores = _add_known(op, op('Mul', likely, op.squeeze(op.columns(masks, _BOX, _BOX + 1), 2)))
    rows = op('Concat', op.columns(masks, 0, _BOX), op.unsqueeze(scores, 2), *(
        op.unsqueeze(op.cast(each, TensorProto.FLOAT), 2) for each in (classes, query)), axis=2)
    _, order = op.top(scores, op.ints(queries.count), axis=1)
    return own_rows(op, rows, order, 1)


def _add_known(op: GraphBuilder, scores: str) -> str:
    """Return scores with 0 for NaN, which TopK cannot sort."""
    zero = op.constant(np.float32(0))
    return op('Where', op('Greater', scores, zero), scores, zero)


def _add_covering(op: GraphBuilder, inside: str, rows: str, count: int) -> str:
    """Return the index of the first instance that covers each pixel, ``count`` without one: int32
    [N, 1, h, w].

    A query's pixels belong to the first of its instances, so that one maximum over the queries is
    enough.

    Args:
        op: gets the nodes.
        inside: the masks, 1 or 0: [N, Q, h, w].
        rows: the instances.
        count: Q.
    """
    own = op('Equal', op.columns(rows, _QUERY, _QUERY + 1),
             op.constant(np.arange(count, dtype=np.float32)))
    ranks = op('Mul', op.cast(own, TensorProto.FLOAT),
               op.constant(np.arange(count, 0, -1, dtype=np.float32)[:, None]))
    ranks = op.unsqueeze(op.unsqueeze(op.reduce('ReduceMax', ranks, 1), 2), 3)
    highest = op.reduce('ReduceMax', op('Mul', inside, ranks), 1, keepdims=1)
    return op.cast(op('Sub', op.constant(np.float32(count)), highest), TensorProto.INT32)
