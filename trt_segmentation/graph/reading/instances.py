# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Instance segmentation networks: boxes with a class and mask coefficients, and prototypes.

As in YOLACT (arXiv 1904.02689, section 3), an instance's mask is where the product of its
coefficients and the prototypes is above 0, cropped to its box. Ultralytics' YOLO segmentation
networks give the coefficients of every anchor, or of the final instances. Here, a pixel gets the
class of the instance with the highest score that covers it.

Many anchors detect the same object. The union of their masks is larger than the best one's mask,
so that Ultralytics has another class or none in the rest. Therefore the anchors first pass
Ultralytics' non-maximum suppression: it drops a box that overlaps a kept box of the same class
and a higher score by more than ``OVERLAP``. This is a recursion in the order of the scores. Here
it is a fixed number of matrix products, which every runtime supports. The result is exact unless
a chain of boxes that suppress one another is longer than ``_STEPS``; then too many boxes are
kept, never too few.

N is the number of images, 1 for one camera. K is the number of candidate instances.

The added output is ``<prefix>scores``, float32 [N, classes, h, w]: the score of the instance at a
pixel in the plane of its class, 0 in the other planes and without an instance. See
``instance_tensors`` for the prefix, and for the outputs that are added on request.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from onnx import TensorProto, ValueInfoProto, helper

from trt_segmentation.errors import ConfigError
from trt_segmentation.graph.analysis.kind_tracing import read_meaning
from trt_segmentation.graph.onnx_tools.graph_builder import GraphBuilder
from trt_segmentation.graph.onnx_tools.network import Network, TensorInfo
from trt_segmentation.graph.reading.dual_outputs import (
    HEIGHT_AXIS,
    Size,
    add_axis,
    add_extents,
    add_upsampled,
    check_has_graph,
    existing_output,
    input_size,
    map_size,
    rank,
    task_prefix,
    with_output,
)
from trt_segmentation.graph.reading.instance_tensors import (
    PREFIX,
    add_instance_tensors,
    own_rows,
)
from trt_segmentation.graph.reading.other_outputs import is_named

THRESHOLD = 0.25
"""Minimum score of an instance; Ultralytics' default of ``conf``."""

OVERLAP = 0.7
"""Maximum intersection over union; Ultralytics' default of ``iou``."""

CANDIDATES = 512
"""Number of anchors or final instances that are used, those with the highest scores."""

MAX_INSTANCES = 300
"""Maximum number of instances from anchors; Ultralytics' default of ``max_det``."""

_BLOCK = 50
"""Number of instances that are painted at once; all of them would take gigabytes."""

_STEPS = 8
"""Must be even: an odd number would keep too few boxes of a longer chain."""

_BOX = 4
_FINAL = 6
"""Values of a final instance before its coefficients: corners, score, class."""

_PROTOTYPES = ('proto', 'protos', 'prototype', 'prototypes')
"""Words in the names of prototypes."""

_KNOWN_NAMES = ('output1', 'output0')  # Ultralytics


@dataclass(frozen=True)
class Instances:
    """The two outputs of an instance segmentation network.

    Attributes:
        masks: prototypes [1, m, h, w].
        classes: final instances [1, n, 6 + m]: corners in pixels of the input, score, class and
            coefficients; or anchors [1, 4 + classes + m, n]: centre and extent of a box, a score
            for each class, coefficients.
        count: number of classes.
        grow: whether masks are resized to the network's input before the threshold of 0, as in
            Ultralytics' code.
    """

    kind: ClassVar[str] = 'instances'

    masks: TensorInfo
    classes: TensorInfo
    count: int
    grow: bool = False

    @property
    def coefficients(self) -> int:
        """Number of coefficients of an instance."""
        return _channels(self.masks)

    @property
    def has_telling_names(self) -> bool:
        """Whether the names are those of Ultralytics, or name prototypes."""
        return ((self.masks.name, self.classes.name) == _KNOWN_NAMES
                or is_named(self.masks, _PROTOTYPES))

    @property
    def are_final(self) -> bool:
        """Whether the network includes the non-maximum suppression."""
        return _are_final(self.masks, self.classes)


def find_instances(network: Network, name: str | None, class_name: str | None,
                   input_layout: str, count: int | None) -> tuple[Instances, ...]:
    """Return the pairs of outputs that may be instances.

    Args:
        network: with a resolved input.
        name, class_name: of prototypes and instances; None for any.
        input_layout: 'nchw' or 'nhwc'.
        count: number of classes; None if not known, which finds no final instances.
    """
    found = (_as_instances(masks, classes, count)
             for masks in network.outputs for classes in network.outputs
             if name in (None, masks.name) and class_name in (None, classes.name)
             and _may_be_prototypes(masks, input_size(network, input_layout))
             and rank(classes) == 3 and read_meaning(network.model, masks.name).is_raw)
    return tuple(instances for instances in found if instances is not None)


def required_instances(network: Network, name: str | None, class_name: str | None,
                       input_layout: str, count: int | None) -> Instances:
    """Return the only pair of outputs that may be instances.

    Raises:
        ConfigError: there is none, or more than one.
    """
    found = find_instances(network, name, class_name, input_layout, count)
    if len(found) == 1:
        return found[0]
    outputs = ', '.join(str(info) for info in network.outputs)
    if found:
        raise ConfigError(f'{network.source}: output.kind is instances, but several of its '
                          f'outputs match ({outputs}); name the prototypes as output.name and '
                          'the instances as output.class_name')
    if count is None and find_instances(network, name, class_name, input_layout, 1):
        other = '' if name else '; if they are only boxes, name the segmentation as output.name'
        raise ConfigError(f'{network.source}: its instances do not show the number of classes; '
                          f'write the classes as classes.labels{other}')
    classes = f'{count} classes' if count else 'classes'
    raise ConfigError(f'{network.source}: output.kind is instances, but no matching outputs are '
                      'prototypes [1, m, height, width], raw values at a fraction of the input '
                      f'size, and anchors [1, 4 + {classes} + m, n] or instances [1, n, 6 + m]; '
                      f'there are {outputs}{open_shape_hint(network)}')


def open_shape_hint(network: Network) -> str:
    """Return the part of an error for instances with a dynamic number of values; '' if there are
    none."""
    if not any(rank(info) == 3 and (info.shape or ())[1:] == (None, None)
               for info in network.outputs):
        return ''
    return ('; the number of values of an instance is dynamic: export it with fixed shapes (from '
            "Ultralytics, without dynamic=True, or with the default of nms)")


def with_instance_scores(network: Network, instances: Instances, input_layout: str,
                         batch: int = 1, task: str = '', listed: bool = False,
                         ) -> tuple[Network, TensorInfo]:
    """Return the network with an added output of scores, and that output.

    Args:
        network: with one input.
        instances: two of its outputs.
        input_layout: 'nchw' or 'nhwc'.
        batch: number of images in one inference.
        task: name of the task; '' if the network has one task.
        listed: whether to add the outputs of ``instance_tensors``, too.

    Raises:
        ModelError: it is an engine, of which only inputs and outputs are known.
    """
    op = GraphBuilder(task_prefix(PREFIX, task), network.opset)
    if found := existing_output(network, f'{op.prefix}scores'):
        return network, found
    check_has_graph(network, f'{instances.classes} and {instances.masks} are instances and their '
                    'prototypes')
    image, masks = network.inputs[0], instances.masks
    if instances.grow:
        masks = add_upsampled(op, masks, network, input_layout, batch)
    size = map_size(masks)
    best = _add_best(op, instances, batch)
    covering = _add_scores(op, instances, masks, image, HEIGHT_AXIS[input_layout], best)
    more: tuple[ValueInfoProto, ...] = ()
    if listed:
        class_ids = op.columns(best.rows, _FINAL - 1, _FINAL)
        found_rows = op('Concat', op.columns(best.rows, 0, _BOX), op.unsqueeze(best.scores, 2),
                        class_ids, axis=2)
        more = add_instance_tensors(op, covering, found_rows, size, best.count)
    return with_output(network, op, helper.make_tensor_value_info(
        f'{op.prefix}scores', TensorProto.FLOAT, [1, instances.count, *size]), more)


@dataclass(frozen=True)
class _Best:
    """The instances that get a mask, in descending order of their scores.

    Attributes:
        rows: float32 [N, count, 6 + m], in the format of final instances.
        scores: float32 [N, count].
        count: number of instances.
    """

    rows: str
    scores: str
    count: int


def _add_best(op: GraphBuilder, instances: Instances, batch: int) -> _Best:
    """Select the instances that get a mask."""
    found = op.cast(instances.classes.name, TensorProto.FLOAT)
    shape = instances.classes.shape or ()
    if instances.are_final:
        most, known = CANDIDATES, shape[1]
        scores = op.squeeze(op.columns(found, _BOX, _BOX + 1), 2)
        rows, scores = _add_highest(op, found, scores, most, known)
    else:
        most, known = MAX_INSTANCES, shape[2]
        found = op('Transpose', found, perm=[0, 2, 1])
        scores = op.reduce('ReduceMax', op.columns(found, _BOX, _BOX + instances.count), 2)
        found, scores = _add_highest(op, found, scores, CANDIDATES, known)
        rows = _add_final_rows(op, found, scores, instances)
        scores = op('Mul', scores, _add_suppression(op, rows))
        rows, scores = _add_highest(op, rows, scores, most, known)
    if known is not None:
        return _Best(rows, scores, min(most, known))
    return _Best(_add_padding(op, rows, (batch, most, _FINAL + instances.coefficients)),
                 _add_padding(op, scores, (batch, most)), most)


def _add_padding(op: GraphBuilder, x: str, shape: tuple[int, ...]) -> str:
    """Return ``x`` padded with zeros, which are empty instances, to ``shape[1]`` along axis 1."""
    padded = op('Concat', x, op.constant(np.zeros(shape, np.float32)), axis=1)
    return op.part(padded, 0, shape[1], 1)


def _add_highest(op: GraphBuilder, rows: str, scores: str, most: int, known: int | None,
                 ) -> tuple[str, str]:
    """Return the rows [N, n, v] with the highest scores [N, n] in descending order, and these
    scores: [N, K, v] and [N, K].

    Args:
        op: gets the nodes.
        rows, scores: see above.
        most: K, unless there are fewer.
        known: n; None if it is dynamic.
    """
    count = op.minimum(op.ints(most), op.size(rows, 1)) if known is None else \
        op.ints(min(most, known))
    best, places = op.top(scores, count, axis=1)
    return own_rows(op, rows, places, 1), best


def _add_final_rows(op: GraphBuilder, found: str, scores: str, instances: Instances) -> str:
    """Return anchors [N, K, 4 + classes + m] with scores [N, K] as rows [N, K, 6 + m]."""
    end = _BOX + instances.count
    half = op('Mul', op.columns(found, 2, _BOX), op.constant(np.float32(0.5)))
    centre = op.columns(found, 0, 2)
    classes = op('ArgMax', op.columns(found, _BOX, end), axis=2, keepdims=1)
    return op('Concat', op('Sub', centre, half), op('Add', centre, half),
              op.unsqueeze(scores, 2), op.cast(classes, TensorProto.FLOAT),
              op.columns(found, end, end + instances.coefficients), axis=2)


def _add_suppression(op: GraphBuilder, rows: str) -> str:
    """Return 1 for each row that the suppression keeps, else 0: float32 [N, K]. The rows
    [N, K, 6 + m] are in descending order of their scores."""
    transposed = op('Transpose', rows, perm=[0, 2, 1])

    def pair(column: int) -> tuple[str, str]:
        """One value of each row, along axis 1 and along axis 2.

        Each is a slice of a different tensor. A tensor [N, K, 1] and its transpose [N, 1, K] are
        the same bytes, and TensorRT 8.6 used one for both operands (H100, 2026-11-27): the result
        was that of rows paired with themselves.
        """
        return op.columns(rows, column, column + 1), op.part(transposed, column, column + 1, 1)

    def lengths(first: int) -> tuple[tuple[str, str], str]:
        """Along one axis of the image: the lengths of the boxes, as a pair, and the overlap of
        each two boxes."""
        low, high = pair(first), pair(first + 2)
        common = op('Relu', op('Sub', op('Min', *high), op('Max', *low)))
        return (op('Sub', high[0], low[0]), op('Sub', high[1], low[1])), common

    (widths, common_width), (heights, common_height) = lengths(0), lengths(1)
    areas = (op('Mul', *each) for each in zip(widths, heights, strict=True))
    common = op('Mul', common_width, common_height)
    union = op('Sub', op('Add', *areas), common)
    overlapping = op('Greater', common, op('Mul', union, op.constant(np.float32(OVERLAP))))
    order = op.upto(op.size(rows, 1)), op.upto(op.size(transposed, 2))
    earlier = op('Less', op.unsqueeze(order[0], 1), op.unsqueeze(order[1], 0))
    drops = op('And', op('And', earlier, op('Equal', *pair(_FINAL - 1))), overlapping)
    drops = op.cast(drops, TensorProto.FLOAT)
    dropped, limit = op.reduce('ReduceMax', drops, 1, keepdims=1), op.constant(np.float32(0.5))
    kept = op('Less', dropped, limit)
    for _ in range(_STEPS - 1):  # keep the boxes that no kept box suppresses
        dropped = op('MatMul', op.cast(kept, TensorProto.FLOAT), drops)
        kept = op('Less', dropped, limit)
    return op.squeeze(op.cast(kept, TensorProto.FLOAT), 1)


def _add_scores(op: GraphBuilder, instances: Instances, masks: TensorInfo, image: TensorInfo,
                input_axis: int, best: _Best) -> str:
    """Paint the instances into the planes of their classes; return the index of the first
    instance that covers each pixel, ``best.count`` if there is none: int32 [N, 1, h, w].

    All boxes are compared with cells at once, before the split into blocks. With a comparison in
    each block, TensorRT 8.6 computed the last ones incorrectly (H100, 2026-11-27: stripes as high
    as the image, 90.5 % of the pixels correct).

    Args:
        op: gets the nodes.
        instances: the two outputs.
        masks: prototypes at the size of the masks.
        image: the input.
        input_axis: height axis of ``image``.
        best: the instances that get a mask.
    """
    extents = add_extents(op, masks, 2)
    prototypes = op('Reshape', op.cast(masks.name, TensorProto.FLOAT),
                    op.ints(0, instances.coefficients, -1))
    prototypes = op('Transpose', prototypes, perm=[0, 2, 1])
    high, wide = (_add_crop(op, best, axis, (masks, 2 + axis), (image, input_axis + axis))
                  for axis in (0, 1))
    coefficients = _add_transposed(op, best.rows, _FINAL, _FINAL + instances.coefficients)
    blocks = []
    for first in range(0, best.count, _BLOCK):
        end = min(first + _BLOCK, best.count)
        shape = op('Concat', op.ints(0), extents, op.ints(end - first), axis=0)
        blocks.append(_add_highest_rank(op, prototypes, shape, *(
            op.columns(each, first, end) for each in (high, wide, coefficients))))
    highest = op.unsqueeze(op('Max', *blocks) if len(blocks) > 1 else blocks[0], 1)
    count = op.constant(np.float32(best.count))
    first_covering = op.cast(op('Sub', count, highest), TensorProto.INT32)

    def painted(values: str) -> str:
        """Look up values [N, K, 1] of the first instance at each pixel: [N, 1, h, w], 0 without
        one."""
        padded = op('Pad', values, op.ints(0, 0, 0, 0, 1, 0))
        return op.squeeze(own_rows(op, padded, first_covering, 3), 4)

    planes = op.constant(np.arange(instances.count, dtype=np.float32).reshape(1, -1, 1, 1))
    own = op('Equal', painted(op.columns(best.rows, _FINAL - 1, _FINAL)), planes)
    op('Mul', op.cast(own, TensorProto.FLOAT), painted(op.unsqueeze(best.scores, 2)),
       output=f'{op.prefix}scores')
    return first_covering


def _add_transposed(op: GraphBuilder, rows: str, first: int, end: int) -> str:
    """Return the columns ``first:end`` of rows [N, k, v], transposed: [N, end - first, k]."""
    return op('Transpose', op.columns(rows, first, end), perm=[0, 2, 1])


def _add_crop(op: GraphBuilder, best: _Best, axis: int, masks: tuple[TensorInfo, int],
              image: tuple[TensorInfo, int]) -> str:
    """Return the rank of each instance for the cells of its box along an axis, else 0: [N, n, k].
    The rank is k for the first instance and 1 for the last.

    Args:
        op: gets the nodes.
        best: k instances.
        axis: of the image; 0: height, 1: width.
        masks, image: each with its own index of that axis; see ``add_axis``.
    """
    cells, ratio = add_axis(op, masks, image)
    low, high = (op('Mul', _add_transposed(op, best.rows, column, column + 1), ratio)
                 for column in (1 - axis, 3 - axis))
    inside = op('And', op('Not', op('Less', cells, low)), op('Less', cells, high))
    ranks = op.constant(np.arange(best.count, 0, -1, dtype=np.float32))
    return op('Mul', op.cast(inside, TensorProto.FLOAT), ranks)


def _add_highest_rank(op: GraphBuilder, prototypes: str, shape: str, rows: str, columns: str,
                      coefficients: str) -> str:
    """Return the highest rank of the instances that cover a pixel, 0 if there is none: [N, h, w].

    Instances are in descending order of their scores, so that the highest rank is that of the
    best one. Products replace Where, which takes several times as long in ONNX Runtime. Instances
    are the last axis; a maximum along another axis takes at least twice as long.

    Args:
        op: gets the nodes.
        prototypes: [N, h * w, m].
        shape: [0, h, w, k], int64.
        rows, columns: rank of each instance in the rows and columns of its box, else 0: [N, h, k]
            and [N, w, k].
        coefficients: [N, m, k].
    """
    crop = op('Min', op.unsqueeze(rows, 2), op.unsqueeze(columns, 1))
    logits = op('Reshape', op('MatMul', prototypes, coefficients), shape)
    covered = op.cast(op('Greater', logits, op.constant(np.float32(0))), TensorProto.FLOAT)
    return op.reduce('ReduceMax', op('Mul', covered, crop), 3)


def _as_instances(masks: TensorInfo, classes: TensorInfo, count: int | None) -> Instances | None:
    """Return two outputs as instances; None if their shapes do not match."""
    if _are_final(masks, classes):
        return None if count is None else Instances(masks, classes, count)
    _, values, anchors = classes.shape or ()
    if values is None:
        return None
    found = values - _BOX - _channels(masks)
    if found == count:
        return Instances(masks, classes, found)
    # YOLOv5 has its anchors along axis 1 and one more value.
    likely = anchors is None or anchors > values
    return Instances(masks, classes, found) if found > 0 and likely else None


def _are_final(masks: TensorInfo, classes: TensorInfo) -> bool:
    return (classes.shape or ())[2] == _FINAL + _channels(masks)


def _channels(masks: TensorInfo) -> int:
    return (masks.shape or ())[1] or 0


def _may_be_prototypes(masks: TensorInfo, fed: Size) -> bool:
    """Whether these are maps of at most half the input size."""
    if rank(masks) != 4 or not _channels(masks):
        return False
    known = [(extent, of) for extent, of in zip(map_size(masks), fed, strict=True)
             if extent is not None and of is not None]
    return all(2 * extent <= of for extent, of in known)
