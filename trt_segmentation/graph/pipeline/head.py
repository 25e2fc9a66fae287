# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The head: preprocessing, from the camera's bytes to the network's input."""

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper

from trt_segmentation.graph.onnx_tools.graph_builder import GraphBuilder
from trt_segmentation.graph.onnx_tools.network import INTEGER_TYPES
from trt_segmentation.graph.pipeline.shrinking import add_resize_from_bytes


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
        source: [N, H, W, 3], of any type.
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


@dataclass(frozen=True)
class Gray:
    """The conversion of an image to the one channel of a network.

    Attributes:
        bands: name of an int64 [1] tensor, the number of bytes per pixel, 1 to 3; see
            ``images.gray``.
        depth: bits of a pixel that are fed: 8 feeds 0..255, 16 feeds 0..65535.
    """

    bands: str
    depth: int


def add_is_wide(op: GraphBuilder, bands: str) -> str:
    """Return 1 if a pixel has two bytes, 0 if it has one or three: int64 [1]."""
    return op('Mul', op('Sub', bands, op.ints(1)), op('Sub', op.ints(3), bands))


def add_head(op: GraphBuilder, source: str, channels: str, output: str, *,
             size: tuple[int, int] | None, window: Window | None,
             scale: float, mean: tuple[float, ...], std: tuple[float, ...],
             border: float | None, layout: str, dtype: int, wide: bool = False, batch: int = 1,
             gray: Gray | None = None) -> None:
    """Add resize, colour order, normalisation, layout and type of one network input.

    The network gets ``(pixel * scale - mean) / std``.

    Args:
        source: [N, H, W, 3], 0..255; with ``gray`` [N, H, W, bands]. uint8 if ``op`` is for the
            CPU, else float32.
        channels: int32 [3]; the source channel of network channel 0, 1, 2; with ``gray``, the
            source channel of red, green, blue in an image of three bands.
        output: name of the result: ``dtype`` (int32 if ``wide``) [N, C, h, w] or [N, h, w, C],
            with C the length of ``mean``.
        size: height and width of the network input; None keeps the source's size.
        window: where the source lies in a letterboxed input; None stretches it to ``size``.
        scale: factor of the 0..255 pixel.
        mean, std: one value per network channel.
        border: pixel value around the image for letterbox, 0..255; None for the colour ``mean``,
            which is fed as 0.
        layout: 'nchw' or 'nhwc'.
        dtype: ONNX element type of the network input.
        wide: whether integers except int64 are given as int32, with the same values.
        batch: N, the number of images.
        gray: for a network of one channel; None for three.
    """
    x = _add_resize(op, source, size, window, batch, gray)
    x = op('Transpose', x, perm=[0, 3, 1, 2])
    x = op('Gather', x, channels, axis=1) if gray is None else _add_gray(op, x, channels, gray)
    highest = 255 if gray is None else 2 ** gray.depth - 1
    shape = None if window is None or size is None else (batch, len(mean), *size)
    if window is not None and shape is not None and border is not None:
        x = _add_border(op, x, window, shape, border * (highest / 255))
    x = _add_normalisation(op, x, scale, mean, std)
    if window is not None and shape is not None and border is None:
        x = _add_border(op, x, window, shape, 0.0)
    if layout == 'nhwc':
        x = op('Transpose', x, perm=[0, 2, 3, 1])
    if dtype in INTEGER_TYPES:
        x = op('Floor', op('Add', x, op.constant(np.float32(0.5))))
        x = _add_limits(op, x, dtype, highest, (scale, mean, std))
        if wide and dtype != TensorProto.INT64:
            dtype = TensorProto.INT32
    op('Cast', x, to=dtype, output=output)


def _add_resize(op: GraphBuilder, x: str, size: tuple[int, int] | None, window: Window | None,
                batch: int, gray: Gray | None) -> str:
    """Return the image as float32 [N, h, w, C]."""
    if window is None and size is None:
        return op.cast(x, TensorProto.FLOAT) if op.for_cpu else x
    bands = op.ints(3) if gray is None else gray.bands
    if window is not None:
        height, width = window.height, window.width
    else:
        assert size is not None
        height, width = op.ints(size[0]), op.ints(size[1])
    if window is None and gray is None and size is not None:
        sizes = op.ints(batch, *size, 3)
    else:
        sizes = op('Concat', op.ints(batch), height, width, bands, axis=0)
    return add_resize_from_bytes(op, x, height, sizes) if op.for_cpu else \
        op.resize_linear(x, sizes)


def _add_gray(op: GraphBuilder, x: str, channels: str, gray: Gray) -> str:
    """Convert [N, bands, h, w] to brightness [N, 1, h, w]: 0..255, or 0..65535 for depth 16.

    For colours it is Y' = 0.299 R' + 0.587 G' + 0.114 B' (ITU-R BT.601-7, 2.5.1), as in OpenCV's
    COLOR_BGR2GRAY and Pillow's mode L, but not rounded. It is computed from differences to
    green, so that a pixel with three equal values keeps exactly this value.
    """
    is_wide = add_is_wide(op, gray.bands)
    last = op('Sub', gray.bands, op.ints(1))
    # Limited to existing channels: always 0 for one byte, always 1 (the high byte) for two.
    found = op.maximum(op.minimum(op.cast(channels, TensorProto.INT64), last), is_wide)
    colours = op('Gather', x, found, axis=1)
    red, green, blue = (op.part(colours, index, index + 1, 1) for index in range(3))
    more = op('Add', op('Mul', op('Sub', red, green), op.constant(np.float32(0.299))),
              op('Mul', op('Sub', blue, green), op.constant(np.float32(0.114))))
    brightness = op('Add', green, more)
    if gray.depth == 8:
        return brightness
    # 65535 is 255 * 257. For two bytes, brightness is the high byte here.
    low = op('Sub', op.part(x, 0, 1, 1), brightness)
    whole = op('Mul', brightness, op.constant(np.float32(257)))
    return op('Add', whole, op('Mul', low, op.cast(is_wide, TensorProto.FLOAT)))


def _add_normalisation(op: GraphBuilder, x: str, scale: float, mean: tuple[float, ...],
                       std: tuple[float, ...]) -> str:
    per_channel = (1, len(mean), 1, 1)
    factor = (scale / np.asarray(std, np.float64)).astype(np.float32).reshape(per_channel)
    offset = (-np.asarray(mean, np.float64) / std).astype(np.float32).reshape(per_channel)
    if (factor != 1).any():
        x = op('Mul', x, op.constant(factor))
    if offset.any():
        x = op('Add', x, op.constant(offset))
    return x


def _add_limits(op: GraphBuilder, x: str, dtype: int, highest: int,
                normalisation: tuple[float, tuple[float, ...], tuple[float, ...]]) -> str:
    """Clip values to the range of the type if they can exceed it; a cast would wrap around."""
    limits = np.iinfo(helper.tensor_dtype_to_np_dtype(dtype))
    scale, mean, std = normalisation
    ends = [(pixel * scale - m) / s for pixel in (0, highest)
            for m, s in zip(mean, std, strict=True)]
    if limits.min - 0.5 <= min(*ends, 0.0) and max(*ends, 0.0) < limits.max + 0.5:
        return x
    if limits.bits > 16:  # float32 cannot represent the highest value
        return x
    return op('Clip', x, op.constant(np.float32(limits.min)), op.constant(np.float32(limits.max)))


def _add_border(op: GraphBuilder, x: str, window: Window, shape: tuple[int, ...],
                value: float) -> str:
    bottom = op('Sub', op('Sub', op.ints(shape[2]), window.top), window.height)
    right = op('Sub', op('Sub', op.ints(shape[3]), window.left), window.width)
    pads = op('Concat', op.ints(0, 0), window.top, window.left, op.ints(0, 0), bottom, right,
              axis=0)
    x = op('Pad', x, pads, op.constant(np.float32(value)), mode='constant')
    # TensorRT cannot infer the shape from computed pads.
    return op('Reshape', x, op.ints(*shape))
