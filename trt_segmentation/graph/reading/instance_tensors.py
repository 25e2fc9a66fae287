# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The outputs of a network that its tail turns into instance ids and detections."""

from dataclasses import dataclass

from onnx import TensorProto, ValueInfoProto, helper

from trt_segmentation.graph.onnx_tools.graph_builder import GraphBuilder
from trt_segmentation.graph.onnx_tools.network import Network
from trt_segmentation.graph.reading.dual_outputs import Size, existing_output, task_prefix

PREFIX = 'instances/'
"""Prefix of all nodes that find instances. They stay in float32 at any precision: in float16, the
area of a box is infinite from 256x256 pixels on, and a corner above 512 is rounded to half a
pixel."""

_VALUES = 6
"""Values of an instance: the corners of its box, score and class id."""

_PLACES, _FOUND = 'places', 'found'


@dataclass(frozen=True)
class InstanceTensors:
    """The two outputs.

    Attributes:
        places: name of the index of the instance that covers a pixel, ``count`` without one:
            int32 [N, 1, h, w].
        found: name of the instances, the highest score first: float32 [N, count, 6], the corners
            of the box in pixels of the network's input, score and class id.
        count: the largest number of instances in an image.
    """

    places: str
    found: str
    count: int


def add_instance_tensors(op: GraphBuilder, places: str, found: str, size: Size, count: int,
                         ) -> tuple[ValueInfoProto, ValueInfoProto]:
    """Name the tensors of ``InstanceTensors`` and return them as outputs of the network.

    Args:
        op: gets the nodes; its prefix is that of the names.
        places, found, count: see ``InstanceTensors``.
        size: height and width of ``places``.
    """
    op('Identity', places, output=f'{op.prefix}{_PLACES}')
    op('Identity', found, output=f'{op.prefix}{_FOUND}')
    return (helper.make_tensor_value_info(f'{op.prefix}{_PLACES}', TensorProto.INT32,
                                          [1, 1, *size]),
            helper.make_tensor_value_info(f'{op.prefix}{_FOUND}', TensorProto.FLOAT,
                                          [1, count, _VALUES]))


def instance_tensors(network: Network, task: str) -> InstanceTensors | None:
    """Return the two outputs of a network; None if it does not have them.

    Args:
        network: with the outputs that were added for its pair of outputs.
        task: name of the task; '' if the network has one task.
    """
    prefix = task_prefix(PREFIX, task)
    places, found = (existing_output(network, f'{prefix}{name}') for name in (_PLACES, _FOUND))
    if places is None or found is None or found.shape is None or found.shape[1] is None:
        return None
    return InstanceTensors(places.name, found.name, found.shape[1])


def own_rows(op: GraphBuilder, rows: str, places: str, more: int) -> str:
    """Look up indices [N, ...] in the rows [N, n, v] of each image: [N, ..., v].

    It is one Gather from the rows of all images: GatherND has no batch axis before opset 12.

    Args:
        op: gets the nodes.
        rows: see above.
        places: the indices, 0 to n - 1.
        more: number of axes of the indices besides the first.
    """
    starts = op('Mul', op.upto(op.size(rows, 0)), op.size(rows, 1))
    starts = op.cast(op('Reshape', starts, op.ints(-1, *[1] * more)), TensorProto.INT32)
    flat = op('Reshape', rows, op('Concat', op.ints(-1), op.size(rows, 2), axis=0))
    return op('Gather', flat, op('Add', op.cast(places, TensorProto.INT32), starts), axis=0)
