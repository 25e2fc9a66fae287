# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""How many class ids a network can give, as far as its graph tells."""

from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, TensorProto, numpy_helper

from trt_segmentation.graph.onnx_tools.constants import constants_by_name
from trt_segmentation.graph.onnx_tools.network import MOVING_OPS, Network, argmax_extent
from trt_segmentation.graph.onnx_tools.toposort import producers_of


@dataclass(frozen=True)
class IdCount:
    """The ids of an output.

    Attributes:
        count: one more than the highest id; 0 if it is not known.
        are_all_classes: whether every lower number is a class, too, as those of an ArgMax.
    """

    count: int = 0
    are_all_classes: bool = False


def count_ids(network: Network, name: str, unlabelled: int) -> IdCount:
    """Return the ids that an ArgMax gives, also after a shift, or a constant table of ids.

    Args:
        network: its own graph.
        name: of an output with ids.
        unlabelled: an id that is no class.
    """
    graph = network.model.graph
    producers = producers_of(graph.node)
    constants = constants_by_name(graph.node, graph.initializer)
    shift = 0
    while (node := producers.get(name)) is not None:
        if node.op_type == 'Gather' and node.input[0] in constants:
            return _ids_of_table(constants[node.input[0]], shift, unlabelled)
        if node.op_type == 'ArgMax':
            count = argmax_extent(network, node)
            return IdCount(max(count + shift, 0), are_all_classes=not shift) if count \
                else IdCount()
        step = _step_before(node, constants)
        if step is None:
            break
        name, added = step
        shift += added
    return IdCount()


def _step_before(node: NodeProto, constants: dict[str, TensorProto]) -> tuple[str, int] | None:
    """The value that a node moves, casts or shifts, and the shift; None for other nodes."""
    if node.op_type in (*MOVING_OPS, 'Cast'):
        return node.input[0], 0
    if node.op_type not in ('Add', 'Sub'):
        return None
    first, second = node.input
    if node.op_type == 'Add' and first in constants:
        first, second = second, first
    number = numpy_helper.to_array(constants[second]) if second in constants else np.empty(0)
    if number.size != 1 or not float(number.reshape(-1)[0]).is_integer():
        return None
    added = int(number.reshape(-1)[0])
    return first, added if node.op_type == 'Add' else -added


def _ids_of_table(table: TensorProto, shift: int, unlabelled: int) -> IdCount:
    ids = numpy_helper.to_array(table).astype(np.float64) + shift
    if table.dims and len(table.dims) == 1 and ids.size and (ids == np.round(ids)).all():
        classes = ids[(ids != unlabelled) & (ids >= 0)]
        return IdCount(int(classes.max()) + 1 if classes.size else 0)
    return IdCount()
