# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Overlays of half the image's height and width; see ``RunOptions.overlay_scale``.

A pixel of the overlay is the mean of 2x2 pixels of the image. Odd extents are rounded up, and the
last row or column of the image is then taken twice.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from trt_segmentation.graph.onnx_tools.graph_builder import GraphBuilder


def overlay_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return height and width of the overlay of an image.

    Args:
        size: height and width of the image, pixels.
        scale: one of ``options.OVERLAY_SCALES``.
    """
    height, width = size
    return size if scale == 1 else (-(-height // 2), -(-width // 2))


def add_half_extents(op: 'GraphBuilder', extents: tuple[str, str]) -> tuple[str, str]:
    """Return the extents of half the size, rounded up; all are names of int64 [1] tensors."""
    height, width = (op('Div', op('Add', extent, op.ints(1)), op.ints(2)) for extent in extents)
    return height, width


def add_halved(op: 'GraphBuilder', image: str, extents: tuple[str, str],
               half: tuple[str, str]) -> str:
    """Return an image of half the size.

    Args:
        image: [N, H, W, bands]; uint8 for ONNX Runtime, float32 for TensorRT.
        extents: H and W.
        half: of ``add_half_extents``.

    Returns:
        The name of [N, h, w, bands] in the type of ``image``. uint8 is rounded once for the rows
        and once for the columns, so it differs from the mean by less than 1.
    """
    rows = _add_mean_of_pairs(op, image, extents[0], half[0], axis=1)
    if not op.for_cpu:
        return _add_mean_of_pairs(op, rows, extents[1], half[1], axis=2)
    # Gather copies one block per index: of a column with the height as the last axis, not of three
    # bytes. This takes a quarter of the time.
    turned = op('Transpose', rows, perm=(0, 2, 3, 1))
    turned = _add_mean_of_pairs(op, turned, extents[1], half[1], axis=1)
    return op('Transpose', turned, perm=(0, 3, 1, 2))


_INT32 = 6  # onnx.TensorProto.INT32; the integer type of TensorRT


def _add_mean_of_pairs(op: 'GraphBuilder', x: str, extent: str, count: str, axis: int) -> str:
    """Return the means of neighbours along an axis."""
    first = op('Mul', op.upto(count), op.ints(2))
    second = op.minimum(op('Add', first, op.ints(1)), op('Sub', extent, op.ints(1)))
    one, other = (op('Gather', x, op.cast(index, _INT32), axis=axis) for index in (first, second))
    half = op.constant(np.float32(0.5))
    if not op.for_cpu:
        return op('Mul', op('Add', one, other), half)
    # ONNX Runtime runs a quantized addition as one kernel.
    zero = op.constant(np.uint8(0))
    total = op('Add', *(op('DequantizeLinear', each, half, zero) for each in (one, other)))
    return op('QuantizeLinear', total, op.constant(np.float32(1)), zero)
