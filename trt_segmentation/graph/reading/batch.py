# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Checks whether a network accepts a batch of several images."""

import math
import re
from collections.abc import Iterator, Mapping
from numbers import Integral

import onnx
from onnx import numpy_helper

from trt_segmentation.errors import ConfigError, ModelError
from trt_segmentation.graph.onnx_tools.constants import constants_by_name
from trt_segmentation.graph.onnx_tools.network import Network, Shape, shape_text, value_shape

_PROBE = 8191
"""Batch size for the check of shapes. No other extent is a multiple of this prime number, so that
it always marks the batch."""

BATCH_HINT = 'export it with a dynamic batch axis, or run one node for each camera'
"""The remedy for a network that does not accept a batch."""

_MAX_RANK = 16
"""Maximum rank of a tensor; longer vectors are not shapes."""


def batched(model: onnx.ModelProto, count: int) -> onnx.ModelProto:
    """Return a model of one image with the batch size ``count``.

    Declared shapes of other values are removed, since they are those of one image. With a count
    of 1, the model itself is returned.

    Args:
        model: with one input besides weights.
        count: 1 or more.
    """
    if count == 1:
        return model
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    weights = {initializer.name for initializer in model.graph.initializer}
    for value in changed.graph.input:
        if value.name not in weights:
            value.type.tensor_type.shape.dim[0].dim_value = count
    for value in changed.graph.output:
        if value.type.HasField('tensor_type'):
            value.type.tensor_type.ClearField('shape')
    del changed.graph.value_info[:]
    return changed


def check_batch(network: Network, outputs: tuple[str, ...], count: int) -> None:
    """Check from its shapes that a network accepts a batch of images.

    Args:
        network: with a batch of one image.
        outputs: names of the outputs that are used.
        count: images in one inference.

    Raises:
        ConfigError: ``count`` is less than 1.
        ModelError: the network does not; the message names the node or the output.
    """
    if not isinstance(count, Integral) or count < 1:
        raise ConfigError(f'batch is {count}; it must be 1 or more images',
                          settings=['batch'])
    if count == 1:
        return
    if fault := _fault(network.model, outputs):
        raise ModelError(f'{network.source}: cannot take {count} images at once: {fault}; '
                         f'{BATCH_HINT}')


def _fault(model: onnx.ModelProto, outputs: tuple[str, ...]) -> str:
    probe = batched(model, _PROBE)
    graph = _inferred_as_far_as_possible(probe).graph
    shapes = {value.name: value_shape(value)
              for value in (*graph.input, *graph.value_info, *graph.output)}
    for fault in _faults_of_targets(graph, shapes):
        return fault
    if (fault := inference_fault(probe)) and not inference_fault(model):
        return fault
    for output in outputs:
        found = shapes.get(output)
        if found and found[0] not in (None, _PROBE):
            return f"the first extent of output '{output}' is {found[0]} for any number of images"
    return ''


def _inferred_as_far_as_possible(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # inference may fail for one image, too
        return model


def inference_fault(model: onnx.ModelProto) -> str:
    """Return the error of the first node with inconsistent shapes; '' if there is none."""
    try:
        onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except Exception as error:  # protobuf and onnx have their own types
        text = ' '.join(str(error).split())
    else:
        return ''
    found = re.search(r'op_type:(\w+)(?:, node name: ([^)]*))?\): \[\w+\] (.*?)(?: \(op_type:|$)',
                      text)
    if not found:
        return text
    name = f" '{found[2]}'" if found[2] else ''
    return f"{found[1]}{name} does not fit ({found[3].rstrip('. ')})"


_TARGETS = {'Reshape': 1, 'Resize': 3}
"""By operator, the input that holds the target shape."""


def _faults_of_targets(graph: onnx.GraphProto, shapes: Mapping[str, Shape | None],
                       ) -> Iterator[str]:
    """Yield an error for each node with a constant target shape that fixes the batch size to 1.

    A Reshape with a -1 would mix images without an error.
    """
    constants = _constants(graph)
    for node in graph.node:
        place = _TARGETS.get(node.op_type, len(node.input))
        target = constants.get(node.input[place]) if place < len(node.input) else None
        data = _known(shapes.get(node.input[0])) if target else ()
        if not data or not target or math.prod(data) % _PROBE:
            continue
        is_first = data[0] % _PROBE == 0 and target[0] > 0
        is_whole = node.op_type == 'Reshape' and min(target) > 0
        if is_first or (is_whole and math.prod(target) != math.prod(data)):
            yield (f"{node.op_type} '{node.name or node.output[0]}' has the fixed "
                   f'shape {shape_text(target)} of one image')


def _known(shape: Shape | None) -> tuple[int, ...]:
    """The shape; empty if an extent is dynamic."""
    known = tuple(extent for extent in shape or () if extent is not None)
    return known if len(known) == len(shape or ()) else ()


def _constants(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """Constant int64 vectors by name, which may be target shapes."""
    return {name: tuple(numpy_helper.to_array(tensor).tolist())
            for name, tensor in constants_by_name(graph.node, graph.initializer).items()
            if len(tensor.dims) == 1 and tensor.data_type == onnx.TensorProto.INT64
            and tensor.dims[0] <= _MAX_RANK}

