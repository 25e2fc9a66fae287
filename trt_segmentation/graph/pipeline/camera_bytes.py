# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Conversion of a camera's bytes to BGR as an ONNX graph, for TensorRT.

The graph's tensors:

================  =============================  ===========================================
``camera_bytes``  uint8 [N, rows, row bytes]     images of one encoding, without row padding
``image``         uint8 [N, H, W, 3]             BGR, as OpenCV's cvtColor converts it
================  =============================  ===========================================

Its nodes are those that the parser of TensorRT 8.6 documents. That version has no arithmetic on
uint8: the graph casts to float32 first and to uint8 last.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx
from onnx import TensorProto, helper

from trt_segmentation.errors import ImageError
from trt_segmentation.graph.onnx_tools.graph_builder import GraphBuilder

CAMERA_BYTES = 'camera_bytes'
"""Name of the graph's input."""

_OPSET = 13
_IR_VERSION = 7


@dataclass(frozen=True)
class Format:
    """The layout of an encoding in memory, and its conversion.

    Attributes:
        add: adds the conversion of float32 [N, rows, row bytes] to a graph and returns float32
            [N, H, W, 3], whole numbers 0..255.
        channels: bytes per pixel; for planar encodings, in the first plane.
        cell: width and height, in pixels, of a block that shares one chroma value. If the height
            is 2, the chroma plane follows the luma plane.
        smallest: smallest height and width.
    """

    add: Callable[[GraphBuilder, str], str]
    channels: int = 1
    cell: tuple[int, int] = (1, 1)
    smallest: int = 1

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows and the bytes per row of an image."""
        rows = height + height // 2 if self.cell[1] == 2 else height
        return rows, width * self.channels

    def fitting(self, height: int, width: int, *, up: bool) -> tuple[int, int]:
        """Return the nearest size that an image can have: ``up`` for not smaller ones, else not
        larger ones."""
        return (_fitting(max(height, self.smallest), self.cell[1], up),
                _fitting(max(width, self.smallest), self.cell[0], up))


def _fitting(extent: int, cell: int, up: bool) -> int:
    return max((extent + (cell - 1 if up else 0)) // cell * cell, cell)


def camera_format(encoding: str) -> Format:
    """Return the layout of an encoding.

    Raises:
        ImageError: it is not one of ``CAMERA_ENCODINGS``.
    """
    if encoding not in CAMERA_ENCODINGS:
        raise ImageError(f"encoding '{encoding}' is not converted on the GPU; those that are: "
                         f'{", ".join(CAMERA_ENCODINGS)}')
    return _FORMATS[main_name(encoding)]


def main_name(encoding: str) -> str:
    """Return the name under which an encoding is converted: 'uyvy' for its alias 'yuv422'."""
    return _ALIASES.get(encoding, encoding)


def image_size(encoding: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return height and width of an image.

    Args:
        encoding: one of ``CAMERA_ENCODINGS``.
        shape: of its bytes, [rows, bytes per row].

    Raises:
        ImageError: no image of that encoding has this shape; or the encoding is unknown.
    """
    known = camera_format(encoding)
    if len(shape) == 2:
        height, width = shape[0], shape[1] // known.channels
        if known.cell[1] == 2:
            height = shape[0] // 3 * 2
        if (height, width) == known.fitting(height, width, up=True) \
                and known.shape(height, width) == shape:
            return height, width
    raise ImageError(f'the image is {list(shape)}, which does not fit {encoding}; needed is '
                     f'{_needed(known)}')


def _needed(known: Format) -> str:
    rows = 'height * 3 / 2' if known.cell[1] == 2 else 'height'
    factor = f' * {known.channels}' if known.channels > 1 else ''
    even = {(1, 1): '', (2, 1): ', with an even width', (2, 2): ', with an even height and width'}
    smallest = f', at least {known.smallest}x{known.smallest} pixels' * (known.smallest > 1)
    return f'uint8 [{rows}, width{factor}]{even[known.cell]}{smallest}'


def camera_graph(encoding: str, batch: int = 1) -> onnx.ModelProto:
    """Build the graph that converts an encoding; see the module for its tensors.

    Args:
        encoding: one of ``CAMERA_ENCODINGS``.
        batch: N, the number of images.

    Raises:
        ImageError: the encoding is unknown.
    """
    known = camera_format(encoding)
    op = GraphBuilder('camera/', _OPSET)
    pixels = known.add(op, op.cast(CAMERA_BYTES, TensorProto.FLOAT))
    op('Cast', pixels, to=TensorProto.UINT8, output='image')
    given = helper.make_tensor_value_info(CAMERA_BYTES, TensorProto.UINT8,
                                          [batch, 'rows', 'row_bytes'])
    image = helper.make_tensor_value_info('image', TensorProto.UINT8,
                                          [batch, 'height', 'width', 3])
    graph = helper.make_graph(op.nodes, CAMERA_BYTES, [given], [image], op.constants)
    return helper.make_model(graph, ir_version=_IR_VERSION, producer_name='trt_segmentation',
                             opset_imports=[helper.make_opsetid('', _OPSET)])


def camera_profile(encoding: str, batch: int, sizes: tuple[tuple[int, int], ...],
                   ) -> tuple[tuple[int, ...], ...]:
    """Return the input's shapes for the smallest, the tuned-for and the largest image.

    Args:
        encoding: one of ``CAMERA_ENCODINGS``.
        batch: N, the number of images.
        sizes: height and width of each.
    """
    known = camera_format(encoding)
    ups = (True, False, False)
    fitting = [known.fitting(*size, up=up) for size, up in zip(sizes, ups, strict=True)]
    low = fitting[0]
    return tuple((batch, *known.shape(max(low[0], height), max(low[1], width)))
                 for height, width in fitting)


# YCbCr of ITU-R BT.601 in limited range, with OpenCV's rounded coefficients
# (modules/imgproc/src/color_yuv.simd.hpp, ITUR_BT_601_*, in 1/2^20):
# B = 1.164 (Y-16) + 2.018 (U-128), and so on; Y below 16 counts as 16.
_UNIT = 1 << 20
_LUMA = np.array([1220542 / _UNIT], np.float32)
_U_TO_BGR = (np.array((2116026, -409993, 0)) / _UNIT).astype(np.float32)
_V_TO_BGR = (np.array((0, -852492, 1673527)) / _UNIT).astype(np.float32)


def _add_bgr(op: GraphBuilder, luma: str, u: str, v: str) -> str:
    """Return BGR in the last axis, where luma and chroma have an extent of 1."""
    def constant(value: float) -> str:
        return op.constant(np.array([value], np.float32))

    luma = op('Max', op('Sub', luma, constant(16)), constant(0))
    u, v = (op('Sub', each, constant(128)) for each in (u, v))
    chroma = op('Add', op('Mul', u, op.constant(_U_TO_BGR)), op('Mul', v, op.constant(_V_TO_BGR)))
    bgr = op('Add', op('Mul', luma, op.constant(_LUMA)), op('Add', chroma, constant(0.5)))
    return op('Floor', op('Clip', bgr, op.constant(np.float32(0)), op.constant(np.float32(255))))


# The sizes of a Reshape are computed from the input's. For an extent of -1, TensorRT 8.6 reserves
# the largest volume divided by the smallest other extents, which takes gigabytes.
def _reshaped(op: GraphBuilder, x: str, *extents: str | int) -> str:
    """Return ``x`` with its first axis kept and these extents of the others."""
    parts = [op.size(x, 0), *(op.ints(each) if isinstance(each, int) else each
                              for each in extents)]
    return op('Reshape', x, op('Concat', *parts, axis=0))


def _add_packed_yuv(op: GraphBuilder, x: str, luma: int) -> str:
    """Two pixels share four bytes. ``luma`` is 0 for YUYV and 1 for UYVY."""
    height, half = op.size(x, 1), op('Div', op.size(x, 2), op.ints(4))
    pairs = _reshaped(op, x, height, half, 2, 2)  # pixel, (luma, chroma) or (chroma, luma)
    chroma = op.columns(pairs, 1 - luma, 2 - luma)
    bgr = _add_bgr(op, op.columns(pairs, luma, luma + 1), op.part(chroma, 0, 1, 3),
                   op.part(chroma, 1, 2, 3))
    return _reshaped(op, bgr, height, op('Mul', half, op.ints(2)), 3)


def _add_planar_yuv(op: GraphBuilder, x: str, u: int) -> str:
    """A plane of luma, then one of chroma pairs, each for four pixels. ``u`` is 0 for NV12 and 1
    for NV21."""
    rows, width = op.size(x, 1), op.size(x, 2)
    half_height, half_width = op('Div', rows, op.ints(3)), op('Div', width, op.ints(2))
    height = op('Mul', half_height, op.ints(2))
    luma, pairs = (op('Slice', x, *ends, op.ints(1))
                   for ends in ((op.ints(0), height), (height, rows)))
    luma = _reshaped(op, luma, half_height, 2, half_width, 2, 1)
    pairs = _reshaped(op, pairs, half_height, 1, half_width, 1, 2)
    bgr = _add_bgr(op, luma, op.columns(pairs, u, u + 1), op.columns(pairs, 1 - u, 2 - u))
    return _reshaped(op, bgr, height, width, 3)


_ITSELF = np.array([[0, 0, 0], [0, 4, 0], [0, 0, 0]]) / 4
_CROSS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]]) / 4
_DIAGONAL = np.array([[1, 0, 1], [0, 0, 0], [1, 0, 1]]) / 4
_ROW = np.array([[0, 0, 0], [2, 0, 2], [0, 0, 0]]) / 4
_COLUMN = _ROW.T


def _bayer_kernel(pattern: str, row: int, column: int, channel: str) -> np.ndarray:
    """Weights of the 3x3 neighbours of a pixel for one channel of its colour.

    Args:
        pattern: colours of the first row's first two pixels and the second row's.
        row, column: parity of the pixel's.
        channel: 'b', 'g' or 'r'.
    """
    own = pattern[2 * row + column]
    if channel == own:
        return _ITSELF
    if channel == 'g':
        return _CROSS
    if own != 'g':
        return _DIAGONAL
    return _ROW if pattern[2 * row + 1 - column] == channel else _COLUMN


def _add_bayer(op: GraphBuilder, x: str, pattern: str) -> str:
    """Average the nearest pixels of each colour; the border repeats the results beside it."""
    kernel = np.zeros((2, 2, 3, 1, 4, 4))  # row, column, channel, input channel, height, width
    for row, column, channel in np.ndindex(2, 2, 3):  # of the cell that begins at pixel (1, 1)
        kernel[row, column, channel, 0, row:row + 3, column:column + 3] = _bayer_kernel(
            pattern, 1 - row, 1 - column, 'bgr'[channel])
    x = op.unsqueeze(x, 1)
    inner = op('Sub', op('Shape', x), op.ints(0, 0, 2, 2))
    # One more row and column complete the last cell of odd sizes.
    x = op('Conv', x, op.constant(kernel.astype(np.float32).reshape(12, 1, 4, 4)),
           op.constant(np.full(12, 0.5, np.float32)), strides=(2, 2), pads=(0, 0, 1, 1))
    x = op('DepthToSpace', op('Floor', x), blocksize=2, mode='DCR')
    x = op('Slice', x, op.ints(0, 0), op.part(inner, 2, 4, 0), op.ints(2, 3))
    x = op('Pad', x, op.ints(0, 0, 1, 1, 0, 0, 1, 1), mode='edge')
    return op('Transpose', x, perm=[0, 2, 3, 1])


def _add_mono(op: GraphBuilder, x: str) -> str:
    x = op.unsqueeze(x, 3)
    return op('Concat', x, x, x, axis=3)


def _add_four_channels(op: GraphBuilder, x: str) -> str:
    return _reshaped(op, x, op.size(x, 1), op('Div', op.size(x, 2), op.ints(4)), 4)


def _add_bgra(op: GraphBuilder, x: str) -> str:
    return op.columns(_add_four_channels(op, x), 0, 3)


def _add_rgba(op: GraphBuilder, x: str) -> str:
    return op('Gather', _add_four_channels(op, x), op.ints(2, 1, 0), axis=3)


# OpenCV makes Bayer images below 3x3 black.
_FORMATS = {
    'yuyv': Format(partial(_add_packed_yuv, luma=0), 2, (2, 1)),
    'uyvy': Format(partial(_add_packed_yuv, luma=1), 2, (2, 1)),
    'nv12': Format(partial(_add_planar_yuv, u=0), 1, (2, 2)),
    'nv21': Format(partial(_add_planar_yuv, u=1), 1, (2, 2)),
    'bayer_rggb8': Format(partial(_add_bayer, pattern='rggb'), smallest=3),
    'bayer_bggr8': Format(partial(_add_bayer, pattern='bggr'), smallest=3),
    'bayer_gbrg8': Format(partial(_add_bayer, pattern='gbrg'), smallest=3),
    'bayer_grbg8': Format(partial(_add_bayer, pattern='grbg'), smallest=3),
    'mono8': Format(_add_mono),
    'bgra8': Format(_add_bgra, 4),
    'rgba8': Format(_add_rgba, 4),
}

_ALIASES = {'yuv422_yuy2': 'yuyv', 'yuv422': 'uyvy', '8UC1': 'mono8', '8UC4': 'bgra8'}

CAMERA_ENCODINGS = (*_FORMATS, *_ALIASES)
"""Encodings of sensor_msgs that the graph converts."""
