# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Shared parts of the networks with two outputs that are combined before the tail."""

from collections.abc import Sequence

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto

from trt_segmentation.errors import ModelError
from trt_segmentation.graph.onnx_tools.graph_builder import GraphBuilder
from trt_segmentation.graph.onnx_tools.network import Network, TensorInfo, describe_network

Size = tuple[int | None, int | None]
"""Height and width; None for a dynamic extent."""

_FLOAT_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16)
HEIGHT_AXIS = {'nchw': 2, 'nhwc': 1}
"""The height axis of an input; the width is the next axis."""


def existing_output(network: Network, name: str) -> TensorInfo | None:
    """Return the output of that name, which engines built by this package already have."""
    return next((info for info in network.outputs if info.name == name), None)


def task_prefix(prefix: str, task: str) -> str:
    """Return the prefix of all names that are added for a task."""
    return f'{prefix}{task}/' if task else prefix


def check_has_graph(network: Network, outputs: str) -> None:
    """Check that nodes can be added to a network.

    Args:
        network: any.
        outputs: description of its outputs, for the error.

    Raises:
        ModelError: it is an engine, of which only inputs and outputs are known.
    """
    if not network.model.graph.node:
        raise ModelError(f'{network.source}: its outputs {outputs}, which must be combined '
                         'inside the engine; open its .onnx file to build such an engine')


def with_output(network: Network, op: GraphBuilder, output: ValueInfoProto,
                more: Sequence[ValueInfoProto] = ()) -> tuple[Network, TensorInfo]:
    """Return the network with the nodes of ``op`` and one more output, and that output.

    Args:
        network: not changed.
        op: its nodes read values of the network.
        output: computed by one of them.
        more: outputs to add besides.
    """
    model = ModelProto()
    model.CopyFrom(network.model)
    model.graph.node.extend(op.nodes)
    model.graph.initializer.extend(op.constants)
    model.graph.output.extend([output, *more])
    network = describe_network(model, network.source)
    return network, next(info for info in network.outputs if info.name == output.name)


def add_upsampled(op: GraphBuilder, maps: TensorInfo, network: Network, input_layout: str,
                  batch: int = 1) -> TensorInfo:
    """Return maps [N, C, h, w] resized bilinearly to the network's input; N is ``batch``, and 1 in
    the described shape."""
    images = op.ints(1) if batch == 1 else op.size(maps.name, 0)
    sizes = op('Concat', images, op.size(maps.name, 1),
               add_extents(op, network.inputs[0], HEIGHT_AXIS[input_layout]), axis=0)
    return TensorInfo(op.resize_linear(maps.name, sizes), maps.dtype,
                      (1, (maps.shape or ())[1], *input_size(network, input_layout)))


def add_extents(op: GraphBuilder, info: TensorInfo, first_axis: int) -> str:
    """Return the extents of a tensor along ``first_axis`` and the next axis: int64 [2]."""
    if known := all_known((info.shape or ())[first_axis:first_axis + 2]):
        return op.ints(*known)
    return op('Concat', op.size(info.name, first_axis), op.size(info.name, first_axis + 1), axis=0)


def add_axis(op: GraphBuilder, masks: tuple[TensorInfo, int], image: tuple[TensorInfo, int],
             ) -> tuple[str, str]:
    """Return the cell indices along an axis of the masks, float32 [n, 1], and the number of cells
    for a pixel of the input, float32 [1].

    With fixed sizes they are constants: on an H100 (2026-11-27), a network of 640x640 took
    4.15 ms with constants and 5.27 ms with computed cells.

    Args:
        op: gets the nodes.
        masks, image: each with its axis.
    """
    if known := all_known(tuple((info.shape or ())[axis] for info, axis in (masks, image))):
        cells, ratio = np.arange(known[0], dtype=np.float32), np.float32(known[0] / known[1])
        return op.constant(cells[:, None]), op.constant(ratio[None])
    extent, pixels = (op.size(info.name, axis) for info, axis in (masks, image))
    return (op.unsqueeze(op.cast(op.upto(extent), TensorProto.FLOAT), 1),
            op('Div', op.cast(extent, TensorProto.FLOAT), op.cast(pixels, TensorProto.FLOAT)))


def map_size(info: TensorInfo) -> Size:
    """Return height and width of maps [1, C, h, w]."""
    shape = info.shape or ()
    return shape[2], shape[3]


def input_size(network: Network, layout: str) -> Size:
    """Return height and width of the network's input."""
    shape, first = network.inputs[0].shape or (), HEIGHT_AXIS[layout]
    return shape[first], shape[first + 1]


def all_known(extents: tuple[int | None, ...]) -> tuple[int, ...]:
    """Return the extents; empty if one of them is dynamic."""
    known = tuple(extent for extent in extents if extent is not None)
    return known if len(known) == len(extents) else ()


def rank(info: TensorInfo) -> int:
    """Return the rank of a float tensor whose batch size may be 1; 0 for other tensors."""
    if info.dtype not in _FLOAT_TYPES or not info.shape or info.shape[0] not in (None, 1):
        return 0
    return len(info.shape)
