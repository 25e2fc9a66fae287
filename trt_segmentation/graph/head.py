# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The head: from the camera's bytes to what the network was trained on."""

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper

from trt_segmentation.graph.builder import GraphBuilder

INTEGER_TYPES = (TensorProto.UINT8, TensorProto.INT8, TensorProto.UINT16, TensorProto.INT16,
                 TensorProto.UINT32, TensorProto.INT32, TensorProto.UINT64, TensorProto.INT64)


@dataclass(frozen=True)
class Window:
    """Where the source lies in a letterboxed network input, as names of int64 [1] tensors.

    Attributes:
        top, left: first row and column of the source, in pixels of the network input.
        height, width: extent of the source there, in the same pixels.
    """

    top: str
    left: str
    height: str
    width: str


def add_letterbox_window(op: GraphBuilder, source: str, size: tuple[int, int]) -> Window:
    """Fit the source into ``size`` with its aspect ratio kept, centred.

    Args:
        source: float32 [N, H, W, 3].
        size: height and width of the network input, pixels.
    """
    source_height, source_width = op.size(source, 1), op.size(source, 2)
    height, width = op.ints(size[0]), op.ints(size[1])

    def rounded_fit(limit: str, extent: str, other_limit: str, other_extent: str) -> str:
        """min(limit, max(1, round(extent * other_limit / other_extent)))."""
        doubled = op('Mul', op('Mul', extent, other_limit), op.ints(2))
        fit = op('Div', op('Add', doubled, other_extent), op('Mul', other_extent, op.ints(2)))
        return op.minimum(limit, op.maximum(op.ints(1), fit))

    fit_height = rounded_fit(height, source_height, width, source_width)
    fit_width = rounded_fit(width, source_width, height, source_height)
    return Window(top=op('Div', op('Sub', height, fit_height), op.ints(2)),
                  left=op('Div', op('Sub', width, fit_width), op.ints(2)),
                  height=fit_height, width=fit_width)


def add_head(op: GraphBuilder, source: str, channels: str, output: str, *,
             size: tuple[int, int] | None, window: Window | None,
             scale: float, mean: tuple[float, ...], std: tuple[float, ...],
             border: float | None, layout: str, dtype: int, batch: int = 1) -> None:
    """Add resize, colour order, normalisation, layout and type of one network input.

    The value fed is ``(pixel * scale - mean) / std``.

    Args:
        source: float32 [N, H, W, 3], 0..255.
        channels: int32 [3]; the source channel that becomes network channel 0, 1, 2.
        output: name that the result gets: ``dtype`` [N, 3, h, w] or [N, h, w, 3].
        size: height and width of the network input; None feeds the source's own.
        window: where the source goes for letterbox; None stretches it over ``size``.
        scale: factor of the 0..255 pixel.
        mean, std: one value per network channel.
        border: pixel value around the image for letterbox, 0..255; None for the colour ``mean``,
            which is fed as 0.
        layout: 'nchw' or 'nhwc'.
        dtype: ONNX element type of the network input.
        batch: N, the number of images.
    """
    x = source
    if window is not None:
        sizes = op('Concat', op.ints(batch), window.height, window.width, op.ints(3), axis=0)
        x = op.resize_linear(x, sizes)
    elif size is not None:
        x = op.resize_linear(x, op.ints(batch, *size, 3))
    x = op('Transpose', x, perm=[0, 3, 1, 2])
    x = op('Gather', x, channels, axis=1)
    if window is not None and size is not None and border is not None:
        x = _add_border(op, x, window, size, border, batch)
    x = _add_normalisation(op, x, scale, mean, std)
    if window is not None and size is not None and border is None:
        x = _add_border(op, x, window, size, 0.0, batch)
    if layout == 'nhwc':
        x = op('Transpose', x, perm=[0, 2, 3, 1])
    if dtype in INTEGER_TYPES:
        x = op('Floor', op('Add', x, op.constant(np.float32(0.5))))
        x = _add_limits(op, x, dtype, (scale, mean, std))
    op('Cast', x, to=dtype, output=output)


def _add_normalisation(op: GraphBuilder, x: str, scale: float, mean: tuple[float, ...],
                       std: tuple[float, ...]) -> str:
    per_channel = (1, 3, 1, 1)
    factor = (scale / np.asarray(std, np.float64)).astype(np.float32).reshape(per_channel)
    offset = (-np.asarray(mean, np.float64) / std).astype(np.float32).reshape(per_channel)
    if (factor != 1).any():
        x = op('Mul', x, op.constant(factor))
    if offset.any():
        x = op('Add', x, op.constant(offset))
    return x


def _add_limits(op: GraphBuilder, x: str, dtype: int,
                normalisation: tuple[float, tuple[float, ...], tuple[float, ...]]) -> str:
    """Keep values within their type where a pixel could be beyond: a cast would wrap around."""
    limits = np.iinfo(helper.tensor_dtype_to_np_dtype(dtype))
    scale, mean, std = normalisation
    ends = [(pixel * scale - m) / s for pixel in (0, 255) for m, s in zip(mean, std, strict=True)]
    if limits.min - 0.5 <= min(*ends, 0.0) and max(*ends, 0.0) < limits.max + 0.5:
        return x
    if limits.bits > 16:  # no float32 is the highest of these
        return x
    return op('Clip', x, op.constant(np.float32(limits.min)), op.constant(np.float32(limits.max)))


def _add_border(op: GraphBuilder, x: str, window: Window, size: tuple[int, int],
                value: float, batch: int) -> str:
    bottom = op('Sub', op('Sub', op.ints(size[0]), window.top), window.height)
    right = op('Sub', op('Sub', op.ints(size[1]), window.left), window.width)
    pads = op('Concat', op.ints(0, 0), window.top, window.left, op.ints(0, 0), bottom, right,
              axis=0)
    x = op('Pad', x, pads, op.constant(np.float32(value)), mode='constant')
    # Its shape is known, which TensorRT cannot tell of computed pads.
    return op('Reshape', x, op.ints(batch, 3, *size))
