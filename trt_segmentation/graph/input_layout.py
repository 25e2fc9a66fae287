# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Where a network's input has its channels, and how many, read off the first convolution."""

from collections.abc import Sequence

import onnx
from onnx import NodeProto, helper, numpy_helper

CHANNEL_COUNTS = (3, 1)
"""Of a colour image and of a gray one, the likelier first."""

_ELEMENTWISE = {'Identity', 'Cast', 'Mul', 'Div', 'Add', 'Sub', 'Neg', 'QuantizeLinear',
                'DequantizeLinear', 'Pad', 'Resize', 'Clip', 'Dropout', 'BatchNormalization'}
"""Operators that leave the axes where they are."""

_WEIGHTS = {'Conv': 1, 'FusedConv': 1, 'ConvInteger': 1, 'QLinearConv': 3}
"""By convolution, the input that holds its weights: [out, in / group, height, width]."""

_FARTHEST = 40
"""Operators that are looked at."""


def image_shape(layout: str, channels: int, size: tuple[int | None, int | None],
                ) -> tuple[int | None, ...]:
    """Return the shape of an input of one image."""
    return (1, channels, *size) if layout == 'nchw' else (1, *size, channels)


def layout_of_convolution(model: onnx.ModelProto, name: str) -> tuple[str | None, int]:
    """Return 'nchw' or 'nhwc', whichever gives the first convolution as many channels as it
    takes, and these, 3 or 1; None and 0 where no such convolution is near.

    Args:
        model: the network.
        name: of its input.
    """
    graph = model.graph
    extents = _extents_of_weights(graph)
    orders: dict[str, tuple[int, ...]] = {name: (0, 1, 2, 3)}
    for node in list(graph.node)[:_FARTHEST]:
        source = next((each for each in node.input if each in orders), None)
        if source is None:
            continue
        order = orders[source]
        if node.op_type in _WEIGHTS:
            count = _channels_of(node, extents)
            layout = {1: 'nchw', 3: 'nhwc'}.get(order[1])
            if layout is None or count not in CHANNEL_COUNTS or source != node.input[0]:
                return None, 0
            return layout, count
        if node.op_type == 'Transpose':
            turned = _turned(node, order)
            if turned:
                orders[node.output[0]] = turned
        elif node.op_type in _ELEMENTWISE:
            orders[node.output[0]] = order
    return None, 0


def _turned(node: NodeProto, order: Sequence[int]) -> tuple[int, ...]:
    places = next((tuple(helper.get_attribute_value(each)) for each in node.attribute
                   if each.name == 'perm'), ())
    return tuple(order[place] for place in places) if len(places) == len(order) else ()


def _extents_of_weights(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """Extents of constants by name, those behind a DequantizeLinear or a Cast among them."""
    extents = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == 'Constant' and node.attribute[0].name == 'value':
            extents[node.output[0]] = tuple(numpy_helper.to_array(node.attribute[0].t).shape)
        elif node.op_type in _ELEMENTWISE and node.input and node.input[0] in extents:
            extents.setdefault(node.output[0], extents[node.input[0]])
    return extents


def _channels_of(node: NodeProto, extents: dict[str, tuple[int, ...]]) -> int:
    """How many channels a convolution takes; 0 where that is not known."""
    place = _WEIGHTS[node.op_type]
    weights = extents.get(node.input[place], ()) if place < len(node.input) else ()
    groups = next((each.i for each in node.attribute if each.name == 'group'), 1)
    return weights[1] * groups if len(weights) == 4 else 0
