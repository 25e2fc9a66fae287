# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The tail's outputs ``instances`` and ``detections``.

Both list the same instances: row i of the detections is the id i + 1 of the image. An instance
whose score is below the task's threshold, or whose class is not in the mask, has a row of zeros
and no pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from onnx import TensorProto

from trt_segmentation.classes.mask_ids import MaskIds
from trt_segmentation.graph.onnx_tools.graph_builder import GraphBuilder
from trt_segmentation.graph.pipeline.head import Window
from trt_segmentation.graph.pipeline.tail import NearestIndex, Painter
from trt_segmentation.graph.reading.instance_tensors import InstanceTensors, own_rows

_BOX, _SCORE, _CLASS = 4, 4, 5
"""Columns of a detection: the box is those before ``_BOX``."""

_BYTE = 256


@dataclass(frozen=True)
class Fit:
    """How the image lies in the network's input.

    Attributes:
        image: height and width of the image, names of int64 [1] tensors.
        size: height and width of the network's input; None if it has the image's size.
        window: where the image lies in a letterboxed input; None if it is stretched.
    """

    image: tuple[str, str]
    size: tuple[int, int] | None
    window: Window | None


def add_instances(op: GraphBuilder, tensors: InstanceTensors, outputs: Mapping[str, str],
                  fit: Fit, nearest: NearestIndex, mask_ids: MaskIds, threshold: float,
                  first_class: int = 0) -> None:
    """Add the requested outputs.

    Args:
        op: gets the nodes.
        tensors: of the network, with the names that they have in the graph.
        outputs: the full names of the requested ones, by ``INSTANCE_OUTPUTS``. ``instances`` is
            uint8 [N, H, W, 2], the low and the high byte of the id of a pixel, 0 without an
            instance; ``detections`` is float32 [N, count, 6]: x_min, y_min, x_max, y_max in
            pixels of the image, score 0..1, class id as in the mask.
        fit: of the image in the network's input.
        nearest: resizes ``tensors.places`` to the size of the mask.
        mask_ids: of the mask.
        threshold: minimum score.
        first_class: the mask's id of the network's first class before ``mask_ids``: 1 for a
            network of one class, whose mask has background as 0.
    """
    class_ids = op.columns(tensors.found, _CLASS, _CLASS + 1)
    if first_class:
        class_ids = op('Add', class_ids, op.constant(np.float32(first_class)))
    # At least the threshold and above 0; a score of NaN is not.
    below = np.nextafter(np.float32(threshold), np.float32(0))
    shown = op('Greater', op.columns(tensors.found, _SCORE, _SCORE + 1), op.constant(below))
    if mask_ids.table is not None:
        places = op.cast(class_ids, TensorProto.INT32)
        kept = op('Gather', op.constant(mask_ids.kept), places, axis=0)
        shown = op('And', shown, op('Greater', kept, op.constant(np.float32(0.5))))
        class_ids = op('Gather', op.constant(mask_ids.table.astype(np.float32)), places, axis=0)
    if 'instances' in outputs:
        _add_ids(op, tensors, shown, nearest, mask_ids, outputs['instances'])
    if 'detections' in outputs:
        rows = op('Concat', _add_boxes(op, tensors.found, fit),
                  op.columns(tensors.found, _SCORE, _SCORE + 1), class_ids, axis=2)
        op('Where', shown, rows, op.constant(np.float32(0)), output=outputs['detections'])


def _add_ids(op: GraphBuilder, tensors: InstanceTensors, shown: str, nearest: NearestIndex,
             mask_ids: MaskIds, output: str) -> None:
    """Look up the id of each cell's instance, and resize the ids as the mask is resized."""
    ids = np.arange(1, tensors.count + 1)
    pairs = np.stack([ids % _BYTE, ids // _BYTE], axis=1).astype(np.float32)
    table = op('Mul', op.cast(shown, TensorProto.FLOAT), op.constant(pairs))
    table = op('Pad', table, op.ints(0, 0, 0, 0, 1, 0))  # the row of a cell without an instance
    cells = own_rows(op, table, op.squeeze(tensors.places, 1), 2)
    Painter(op, nearest, mask_ids).paint_bytes(cells, output)


def _add_boxes(op: GraphBuilder, found: str, fit: Fit) -> str:
    """Return the boxes in pixels of the image, clipped to it: float32 [N, count, 4]."""
    boxes = op.columns(found, 0, _BOX)
    height, width = (op.cast(extent, TensorProto.FLOAT) for extent in fit.image)
    extents = op('Concat', width, height, width, height, axis=0)
    if fit.window is not None:
        left, top, wide, high = (op.cast(each, TensorProto.FLOAT) for each in (
            fit.window.left, fit.window.top, fit.window.width, fit.window.height))
        boxes = op('Sub', boxes, op('Concat', left, top, left, top, axis=0))
        within = op('Concat', wide, high, wide, high, axis=0)
        boxes = op('Div', op('Mul', boxes, extents), within)
    elif fit.size is not None:
        within = op.constant(np.array([*fit.size[::-1], *fit.size[::-1]], np.float32))
        boxes = op('Div', op('Mul', boxes, extents), within)
    return op('Min', op('Max', boxes, op.constant(np.float32(0))), extents)


def named_in_graph(tensors: InstanceTensors, prefix: str) -> InstanceTensors:
    """Return the tensors with a prefix of their names."""
    return replace(tensors, places=prefix + tensors.places, found=prefix + tensors.found)
