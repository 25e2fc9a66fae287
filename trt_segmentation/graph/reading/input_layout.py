# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Determines the channel axis and channel count of an input from the first convolution."""

from collections import deque
from collections.abc import Mapping, Sequence

import onnx
from onnx import NodeProto, helper

from trt_segmentation.graph.onnx_tools.constants import constants_by_name
from trt_segmentation.graph.onnx_tools.inlining import expanded_nodes

CHANNEL_AXIS = {'nchw': 1, 'nhwc': 3}
"""The channel axis of four axes, by layout."""

CHANNEL_COUNTS = (3, 1)
"""Channels of a colour and of a gray image; the more likely one first."""

_KEEP_AXES = {'Identity', 'Cast', 'Mul', 'Div', 'Add', 'Sub', 'Neg', 'QuantizeLinear', 'Pow',
              'DequantizeLinear', 'Pad', 'Resize', 'Clip', 'Dropout', 'BatchNormalization',
              'Slice', 'Split', 'Concat'}
"""Operators that do not move axes."""

_WEIGHTS = {'Conv': 1, 'FusedConv': 1, 'ConvInteger': 1, 'QLinearConv': 3}
"""By convolution, the input that holds its weights: [out, in / group, height, width]."""

_MAX_VALUES = 200
"""Maximum number of values to trace."""


def image_shape(layout: str, channels: int, size: tuple[int | None, int | None],
                ) -> tuple[int | None, ...]:
    """Return the shape of an input of one image."""
    return (1, channels, *size) if layout == 'nchw' else (1, *size, channels)


def layout_of_convolution(model: onnx.ModelProto, name: str) -> tuple[str | None, int]:
    """Return the layout in which the input fits the first convolution, 'nchw' or 'nhwc', and its
    channel count, 3 or 1; None and 0 if no such convolution is found.

    Args:
        model: the network.
        name: of its input.
    """
    nodes = expanded_nodes(model)
    extents = _extents_of_weights(nodes, model.graph.initializer)
    readers: dict[str, list[NodeProto]] = {}
    for node in nodes:
        for each in dict.fromkeys(node.input):
            readers.setdefault(each, []).append(node)
    axes: tuple[int, ...] = (0, 1, 2, 3)
    waiting = deque([(name, axes)])  # values, and their axes as axes of the input
    for _ in range(_MAX_VALUES):
        if not waiting:
            return None, 0
        value, order = waiting.popleft()
        for node in readers.get(value, ()):
            if node.op_type in _WEIGHTS:
                count, layout = _channels_of(node, extents), {1: 'nchw', 3: 'nhwc'}.get(order[1])
                if value != node.input[0] or layout is None or count not in CHANNEL_COUNTS:
                    return None, 0
                return layout, count
            if after := _axes_after(node, order, extents):
                waiting.extend((output, after) for output in node.output)
    return None, 0


def _axes_after(node: NodeProto, order: tuple[int, ...],
                extents: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """The axes after a node that reads the image; empty if they are not known."""
    if node.op_type == 'Transpose':
        return _permuted(node, order)
    picks = node.op_type == 'Gather' and len(extents.get(node.input[1], ())) == 1
    return order if picks or node.op_type in _KEEP_AXES else ()


def _permuted(node: NodeProto, order: Sequence[int]) -> tuple[int, ...]:
    places = next((tuple(helper.get_attribute_value(each)) for each in node.attribute
                   if each.name == 'perm'), ())
    return tuple(order[place] for place in places) if len(places) == len(order) else ()


def _extents_of_weights(nodes: Sequence[NodeProto], weights: Sequence[onnx.TensorProto],
                        ) -> dict[str, tuple[int, ...]]:
    """Extents of constants by name, also after a DequantizeLinear or a Cast."""
    extents = {name: tuple(tensor.dims)
               for name, tensor in constants_by_name(nodes, weights).items()}
    for node in nodes:
        if node.op_type in _KEEP_AXES and node.input and node.input[0] in extents:
            extents.setdefault(node.output[0], extents[node.input[0]])
    return extents


def _channels_of(node: NodeProto, extents: Mapping[str, tuple[int, ...]]) -> int:
    """Input channels of a convolution; 0 if not known."""
    place = _WEIGHTS[node.op_type]
    weights = extents.get(node.input[place], ()) if place < len(node.input) else ()
    groups = next((each.i for each in node.attribute if each.name == 'group'), 1)
    return weights[1] * groups if len(weights) == 4 else 0
