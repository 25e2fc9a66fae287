# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The layouts and encodings of output maps, and the nodes that convert them for the tail."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from onnx import TensorProto, helper

from trt_segmentation.errors import ModelError
from trt_segmentation.graph.onnx_tools.graph_builder import GraphBuilder
from trt_segmentation.graph.onnx_tools.network import FLOAT_TYPES, Network, Shape, TensorInfo
from trt_segmentation.graph.reading.dual_outputs import HEIGHT_AXIS, task_prefix, with_output
from trt_segmentation.graph.reading.scores import Scores

_PREFIX = 'output/'


def canonical_name(task: str) -> str:
    """Return the name of the output that is added if a tail cannot read the network's own."""
    return f'{task_prefix(_PREFIX, task)}scores'


ID_TYPES = (TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64)
"""Types of class ids that a tail reads."""

_WIDE_TYPES = (TensorProto.UINT32, TensorProto.UINT64)
LARGEST_STRIDE = 64
"""Maximum number of input pixels for a cell; no known segmentation network has more."""

_UPSAMPLING_FACTORS = (2, 4, 8)
"""Factors by which a map may be larger than the input."""


@dataclass(frozen=True)
class Form:
    """The layout of an output.

    Attributes:
        channels: number of values of a pixel; None if dynamic.
        axis: the channel axis after ``steps``; None for ids without one.
        shape: after ``steps``: four axes, or [1, h, w] for ids without a channel axis.
        steps: operators that give it this shape, each with its arguments: 'squeeze' and
            'unsqueeze' have an axis; 'rows' (of pixels) have the channel axis, the number of
            channels, the number of input pixels for a cell, and what is added to an extent
            before it is divided by that; 'declare' only tells a runtime the shape, for an output
            whose rank no type inference finds.
        may_be_objects: whether the rows may as well be the anchors or queries of a detection
            network.
    """

    channels: int | None
    axis: int | None
    shape: Shape
    steps: tuple[tuple[str, tuple[int, ...]], ...] = ()
    may_be_objects: bool = False

    def class_axis(self, rank: int) -> int | None:
        """Return the axis of the classes in an output of ``rank`` axes, before ``steps``; None if
        it is not known."""
        if not self.steps:
            return self.axis if rank == 4 else None
        (step, argument), *more = self.steps
        if step != 'rows' or more:
            return None
        return rank - 2 if argument[0] == 1 else rank - 1

    def with_dynamic_size(self) -> 'Form':
        """Return the form with dynamic height and width."""
        first = 2 if self.axis == 1 else 1
        return replace(self, shape=(*self.shape[:first], None, None, *self.shape[first + 2:]))

    def arranged(self, values: np.ndarray, fed: tuple[int, int]) -> np.ndarray:
        """Return values of the output after ``steps``.

        Args:
            values: of the output.
            fed: height and width of the network's input.
        """
        for step, argument in self.steps:
            if step == 'squeeze':
                values = np.squeeze(values, argument[0])
            elif step == 'unsqueeze':
                values = np.expand_dims(values, argument[0])
            elif step == 'rows':
                axis, channels, stride, added = argument
                size = (fed[0] + added) // stride, (fed[1] + added) // stride
                values = values.reshape((-1, channels, *size) if axis == 1 else
                                        (-1, *size, channels))
        return values


def find_forms(shape: Shape, fed: tuple[int | None, int | None]) -> list[Form]:
    """Return the possible forms of an output without the usual four axes, the most likely one
    first; empty if it is no map.

    Args:
        shape: of the output.
        fed: height and width of the network's input.
    """
    return list(_forms(shape, fed))


def _forms(shape: Shape, fed: tuple[int | None, int | None]) -> Iterator[Form]:
    batch = shape[0] if shape else 0
    if len(shape) == 5 and batch in (None, 1):
        for axis in (1, 2):
            rest = shape[:axis] + shape[axis + 1:]
            if shape[axis] == 1 and _fits(rest[2:], fed):
                yield Form(rest[1], 1, rest, (('squeeze', (axis,)),))
    if len(shape) == 4 and shape[1] == 1 and batch not in (None, 1) and _fits(shape[2:], fed):
        yield Form(batch, 1, (1, batch, *shape[2:]), (('squeeze', (1,)), ('unsqueeze', (0,))))
    if len(shape) == 3:
        if batch in (None, 1) and _fits(shape[1:], fed):
            yield Form(1, 1, (1, 1, *shape[1:]), (('unsqueeze', (1,)),))
        if batch is not None and _fits(shape[1:], fed):
            yield Form(batch, 1, (1, *shape), (('unsqueeze', (0,)),))
        if shape[2] is not None and _fits(shape[:2], fed):
            yield Form(shape[2], 3, (1, *shape), (('unsqueeze', (0,)),))
        if batch in (None, 1):
            for cells, channels, axis in ((shape[1], shape[2], 3), (shape[2], shape[1], 1)):
                yield from (_flat(cells, channels, axis, fed)
                            or _flat_cells(cells, channels, axis, fed))
    if len(shape) == 2:
        if _fits(shape, fed):
            yield Form(1, 1, (1, 1, *shape), (('unsqueeze', (0,)), ('unsqueeze', (0,))))
        first, second = shape
        yield from _flat(first, second, 3, fed)
        yield from _flat(second, first, 1, fed)
    if len(shape) == 1:
        yield from _flat(shape[0], 1, 1, fed)


_MAX_FLAT_VALUES = 256
"""Maximum number of values of a pixel in rows of pixels; more are features."""

_LARGEST_FLAT_STRIDE = 8
_CELL_STRIDES = (*range(1, 9), 14, 16, 32)
"""Strides of maps, and of the patches of vision transformers."""


def _flat(cells: int | None, channels: int | None, axis: int, fed: tuple[int | None, int | None],
          ) -> list[Form]:
    """Return the form of rows of pixels, [h * w, classes] or [classes, h * w]; none if they are
    no pixels."""
    if cells is None or channels is None or None in fed or channels > _MAX_FLAT_VALUES:
        return []
    # In [classes, n], an n below the number of pixels may be the anchors of a detection network.
    for stride in range(1, (_LARGEST_FLAT_STRIDE if axis == 3 else 1) + 1):
        height, width = (extent // stride for extent in fed if extent is not None)
        is_whole = not any(extent % stride for extent in fed if extent is not None)
        if is_whole and height * width == cells > channels:
            return [_rows((height, width), channels, axis, (stride, stride - 1))]
    return []


def _flat_cells(cells: int | None, channels: int | None, axis: int,
                fed: tuple[int | None, int | None]) -> list[Form]:
    """Return the form of rows of cells that may as well be objects; none if they are no cells.

    No two sizes of these strides have the same number of cells, for any input of at least 16x16.
    """
    if cells is None or channels is None or None in fed or not 1 < channels <= _MAX_FLAT_VALUES:
        return []
    for stride in _CELL_STRIDES:
        for added in (stride - 1, 0):
            size = tuple((extent + added) // stride for extent in fed if extent is not None)
            if math.prod(size) == cells > channels and 1 not in size:
                return [replace(_rows(size, channels, axis, (stride, added)),
                                may_be_objects=True)]
    return []


def _rows(size: tuple[int, ...], channels: int, axis: int, rounding: tuple[int, int]) -> Form:
    """The form of rows of cells; ``rounding`` is the stride, and what is added before."""
    shape = (*size, channels) if axis == 3 else (channels, *size)
    return Form(channels, axis, (1, *shape), (('rows', (axis, channels, *rounding)),))


def fits_fraction(size: Shape, fed: tuple[int | None, int | None]) -> bool:
    """Return whether height and width are those of the input divided by a stride that is a
    multiple of 1/4, as in a network with patches of 14 pixels, or multiplied by 2, 4 or 8."""
    return _fits(size, fed, 4)


def _fits(size: Shape, fed: tuple[int | None, int | None], parts: int = 1) -> bool:
    """Whether this is the size of a map: the input size, divided by a stride or multiplied by 2, 4
    or 8. Strides are multiples of 1 / ``parts``."""
    if None in size or None in fed or 1 in size:
        return False
    if any(all(found == of * times  # type: ignore[operator]
               for found, of in zip(size, fed, strict=True)) for times in _UPSAMPLING_FACTORS):
        return True
    return any(all(found in (of * parts // stride, -(-of * parts // stride))  # type: ignore[operator]
                   for found, of in zip(size, fed, strict=True))
               for stride in range(parts, LARGEST_STRIDE * parts + 1))


@dataclass(frozen=True)
class Decoding:
    """Decodes values: ``(value - offset) / scale``, then the exponential if set."""

    scale: float = 1.0
    offset: float = 0.0
    exponential: bool = False

    @property
    def is_needed(self) -> bool:
        """Whether it changes anything."""
        return self != Decoding()


@dataclass(frozen=True)
class Output:
    """The output that is used.

    Attributes:
        info: the network's output.
        form: its layout.
        kind: meaning of its decoded values.
        decoding: of its values.
    """

    info: TensorInfo
    form: Form
    kind: str
    decoding: Decoding


def with_canonical_output(network: Network, found: Output, input_layout: str, task: str = '',
                      ) -> tuple[Network, Scores]:
    """Return the network with scores or ids that a tail reads, and these.

    Args:
        network: returned unchanged if a tail can read its own output.
        found: one of its outputs.
        input_layout: 'nchw' or 'nhwc'.
        task: name of the task; '' if the network has one task.

    Raises:
        ModelError: it is an engine, of which only inputs and outputs are known.
    """
    output, form, kind = found.info, found.form, found.kind
    right_type = output.dtype in (ID_TYPES if kind == 'ids' else FLOAT_TYPES)
    channels = form.channels or 0
    if right_type and not form.steps and not found.decoding.is_needed:
        return network, Scores(output.name, channels, form.axis, output.dtype)
    if not network.model.graph.node:
        raise ModelError(f'{network.source}: its output {output} must be converted inside the '
                         'engine; open its .onnx file to build such an engine')
    op = GraphBuilder(task_prefix(_PREFIX, task), network.opset)
    x, dtype = _add_values(op, found)
    image = network.inputs[0].name, HEIGHT_AXIS[input_layout]
    for step, argument in form.steps:
        x = _add_step(op, x, step, argument, form, image)
    op('Identity', x, output=canonical_name(task))
    network, added = with_output(network, op, helper.make_tensor_value_info(
        canonical_name(task), dtype, form.shape))
    shape = added.shape or ()
    extent = shape[form.axis] if form.axis is not None and len(shape) > form.axis else 1
    return network, Scores(added.name, extent or channels, form.axis, dtype)


def _add_values(op: GraphBuilder, found: Output) -> tuple[str, int]:
    """Return the decoded values and their type."""
    x, dtype, decoding = found.info.name, found.info.dtype, found.decoding
    if decoding.is_needed or (found.kind != 'ids' and dtype not in FLOAT_TYPES):
        x, dtype = op.cast(x, TensorProto.FLOAT), TensorProto.FLOAT
    if decoding.offset:
        x = op('Sub', x, op.constant(np.float32(decoding.offset)))
    if decoding.scale != 1:
        x = op('Mul', x, op.constant(np.float32(1 / decoding.scale)))
    if decoding.exponential:
        x = op('Exp', x)
    return (x, dtype) if found.kind != 'ids' else _add_ids(op, x, dtype)


def _add_ids(op: GraphBuilder, x: str, dtype: int) -> tuple[str, int]:
    """Return ids as integers that a tail reads, and their type."""
    if dtype in FLOAT_TYPES:
        if dtype in (TensorProto.DOUBLE, TensorProto.BFLOAT16):
            x = op.cast(x, TensorProto.FLOAT)
        half = np.float16(0.5) if dtype == TensorProto.FLOAT16 else np.float32(0.5)
        x = op('Floor', op('Add', x, op.constant(half)))
    if dtype in ID_TYPES:
        return x, dtype
    dtype = TensorProto.INT64 if dtype in _WIDE_TYPES else TensorProto.INT32
    return op.cast(x, dtype), dtype


def _add_step(op: GraphBuilder, x: str, step: str, argument: tuple[int, ...], form: Form,
              image: tuple[str, int]) -> str:
    if step == 'squeeze':
        return op.squeeze(x, argument[0])
    if step == 'unsqueeze':
        return op.unsqueeze(x, argument[0])
    if None not in form.shape:
        return op('Reshape', x, op.ints(-1, *form.shape[1:]))  # type: ignore[arg-type]
    axis, channels, stride, added = argument
    first = 2 if axis == 1 else 1
    extents = [op('Div', op('Add', op.size(image[0], image[1] + place), op.ints(added)),
                  op.ints(stride)) for place in (0, 1)]
    target = [op.ints(-1), *extents]
    target.insert(first - 1 if axis == 1 else 3, op.ints(channels))
    return op('Reshape', x, op('Concat', *target, axis=0))
