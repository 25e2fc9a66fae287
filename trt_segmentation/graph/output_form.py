# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The forms in which networks give a map, and how each becomes scores or ids that a tail reads."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from onnx import TensorProto, helper

from trt_segmentation.errors import ModelError
from trt_segmentation.graph.builder import GraphBuilder
from trt_segmentation.graph.combining import own_prefix, with_output
from trt_segmentation.graph.network import FLOAT_TYPES, Network, Shape, TensorInfo
from trt_segmentation.graph.tail import Scores

_PREFIX = 'output/'


def plain_name(task: str) -> str:
    """Return the name of the output that is added where the network's own is not of a form that
    a tail reads."""
    return f'{own_prefix(_PREFIX, task)}scores'


ID_TYPES = (TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64)
"""What a tail reads class ids from."""

_WIDE_TYPES = (TensorProto.UINT32, TensorProto.UINT64)
_LARGEST_STRIDE = 64


@dataclass(frozen=True)
class Form:
    """How an output's values are laid out.

    Attributes:
        channels: values of a pixel; None where the graph leaves it open.
        axis: where they are once the output has four axes.
        shape: the output's with four axes; [1, h, w] for ids without a channel axis.
        steps: what gives it these axes, an operator and its argument each.
    """

    channels: int | None
    axis: int | None
    shape: Shape
    steps: tuple[tuple[str, tuple[int, ...]], ...] = ()

    @property
    def size(self) -> tuple[int | None, int | None]:
        """Height and width."""
        first = 2 if self.axis == 1 else 1
        return self.shape[first], self.shape[first + 1]


def find_form(shape: Shape, fed: tuple[int | None, int | None]) -> Form | None:
    """Return the form of an output that has not the usual four axes; None where it is no map.

    Args:
        shape: of the output.
        fed: height and width of the network's input.
    """
    return next(_forms(shape, fed), None)


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
                yield from _flat(cells, channels, axis, fed, 0)
    if len(shape) == 2:
        if _fits(shape, fed):
            yield Form(1, 1, (1, 1, *shape), (('unsqueeze', (0,)), ('unsqueeze', (0,))))
        first, second = shape
        yield from _flat(first, second, 3, fed, 1)
        yield from _flat(second, first, 1, fed, 0 if first == 1 else 1)
    if len(shape) == 1:
        yield from _flat(shape[0], 1, 1, fed, 1)


_MOST_FLAT = 256
"""Values of a pixel in rows of pixels; longer ones are features."""


def _flat(cells: int | None, channels: int | None, axis: int, fed: tuple[int | None, int | None],
          batch: int) -> Iterator[Form]:
    """Rows of all pixels, [h * w, classes] or [classes, h * w]."""
    if cells is None or channels is None or None in fed or channels > _MOST_FLAT:
        return
    strides = range(1, 9) if axis == 3 else range(1, 2)
    for stride in strides:
        height, width = (extent // stride for extent in fed if extent is not None)
        is_whole = not any(extent % stride for extent in fed if extent is not None)
        if is_whole and height * width == cells > channels:
            shape = (height, width, channels) if axis == 3 else (channels, height, width)
            yield Form(channels, axis, (1, *shape), (('reshape', (batch, *shape)),))
            return


def _fits(size: Shape, fed: tuple[int | None, int | None]) -> bool:
    """Whether this is the height and width of a map: the input's, or a whole part of it."""
    if None in size:
        return False
    if None in fed or 1 in size:
        return False
    return any(all(found in (of // stride, -(-of // stride))  # type: ignore[operator]
                   for found, of in zip(size, fed, strict=True))
               for stride in range(1, _LARGEST_STRIDE + 1))


@dataclass(frozen=True)
class Decoding:
    """How values become what they mean: ``(value - offset) / scale``, then the exponential."""

    scale: float = 1.0
    offset: float = 0.0
    exponential: bool = False

    @property
    def is_needed(self) -> bool:
        """Whether it changes anything."""
        return self != Decoding()


def with_plain_output(network: Network, output: TensorInfo, form: Form, kind: str,
                      decoding: Decoding, task: str = '') -> tuple[Network, Scores]:
    """Return the network with scores or ids that a tail reads, and how these are laid out.

    Args:
        network: left as it is where its own output will do.
        output: of the network.
        form: of ``output``.
        kind: what its values mean.
        decoding: how they become that.
        task: whose output it is; '' where the network has one task.

    Raises:
        ModelError: only the outputs of the network are known, not what is in it.
    """
    is_float = output.dtype in FLOAT_TYPES
    right_type = output.dtype in ID_TYPES if kind == 'ids' else is_float
    channels = form.channels or 0
    if right_type and not form.steps and not decoding.is_needed:
        return network, Scores(output.name, channels, form.axis, output.dtype)
    if not network.model.graph.node:
        raise ModelError(f'{network.source}: its output {output} has to be rearranged inside the '
                         'network; open its .onnx file, so that an engine is built of both')
    op = GraphBuilder(own_prefix(_PREFIX, task), network.opset)
    x, dtype = output.name, output.dtype
    if decoding.is_needed or (kind != 'ids' and not is_float):
        x, dtype = op.cast(x, TensorProto.FLOAT), TensorProto.FLOAT
    if decoding.offset:
        x = op('Sub', x, op.constant(np.float32(decoding.offset)))
    if decoding.scale != 1:
        x = op('Mul', x, op.constant(np.float32(1 / decoding.scale)))
    if decoding.exponential:
        x = op('Exp', x)
    if kind == 'ids':
        if dtype in FLOAT_TYPES:
            if dtype in (TensorProto.DOUBLE, TensorProto.BFLOAT16):
                x = op.cast(x, TensorProto.FLOAT)
            half = np.float16(0.5) if dtype == TensorProto.FLOAT16 else np.float32(0.5)
            x = op('Floor', op('Add', x, op.constant(half)))
        if dtype not in ID_TYPES:
            dtype = TensorProto.INT64 if dtype in _WIDE_TYPES else TensorProto.INT32
            x = op.cast(x, dtype)
    for step, argument in form.steps:
        if step == 'squeeze':
            x = op.squeeze(x, argument[0])
        elif step == 'unsqueeze':
            x = op.unsqueeze(x, argument[0])
        else:
            x = op('Reshape', x, op.ints(*argument))
    op('Identity', x, output=plain_name(task))
    network, added = with_output(network, op, helper.make_tensor_value_info(
        plain_name(task), dtype, form.shape))
    shape = added.shape or ()
    found = shape[form.axis] if form.axis is not None and len(shape) > form.axis else 1
    return network, Scores(added.name, found or channels, form.axis, dtype)


def as_scores(form: Form, channels: int) -> Form:
    """Return a form whose number of values is known."""
    return replace(form, channels=channels)
