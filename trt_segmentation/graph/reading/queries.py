# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Networks with queries, of which each has a mask and class probabilities.

These are MaskFormer (arXiv 2107.06278, section 3.4, semantic inference) and Mask2Former. The
postprocessing is that of ``post_process_semantic_segmentation`` in transformers: the score of a
class at a pixel is the sum, over all queries, of the class probability times the mask probability
at the pixel. The last class, "no object", has no score.
"""

from dataclasses import dataclass
from typing import ClassVar

from onnx import helper

from trt_segmentation.errors import ConfigError, ModelError
from trt_segmentation.graph.analysis.kind_tracing import read_meaning
from trt_segmentation.graph.onnx_tools.graph_builder import GraphBuilder
from trt_segmentation.graph.onnx_tools.network import Network, TensorInfo
from trt_segmentation.graph.reading.dual_outputs import (
    HEIGHT_AXIS,
    add_extents,
    add_upsampled,
    check_has_graph,
    existing_output,
    map_size,
    rank,
    task_prefix,
    with_output,
)
from trt_segmentation.graph.reading.instance_tensors import PREFIX as INSTANCES_PREFIX
from trt_segmentation.graph.reading.other_outputs import BOX_VALUES, CLASSES, is_boxes, is_named
from trt_segmentation.graph.reading.query_instances import QueryMasks, add_query_instances

PREFIX = 'queries/'
"""Prefix of the nodes that compute scores. The output ``<prefix>scores`` is [1, classes, h, w], 0
or more."""

_AS_IT_IS = 0
"""In the target shape of a Reshape, keeps an extent."""

_MASKS = ('mask', 'masks')
"""Words in the names of masks of queries."""

_KNOWN_NAMES = (('masks_queries_logits', 'class_queries_logits'),  # transformers
                ('pred_masks', 'pred_logits'),  # the authors' code, detectron2
                ('pred_masks', 'logits'))  # optimum


@dataclass(frozen=True)
class Queries:
    """The two outputs of a network with queries.

    Attributes:
        masks: logits [1, queries, h, w].
        classes: logits [1, queries, classes + 1].
        grow: whether masks are resized to the network's input before they are combined, as in
            Mask2Former's code, but not in that of MaskFormer in transformers.
    """

    kind: ClassVar[str] = 'queries'

    masks: TensorInfo
    classes: TensorInfo
    grow: bool = False

    @property
    def is_known(self) -> bool:
        """Whether the names are those of a known family."""
        return (self.masks.name, self.classes.name) in _KNOWN_NAMES

    @property
    def has_telling_names(self) -> bool:
        """Whether the names are known, or name masks and classes."""
        return self.is_known or (is_named(self.masks, _MASKS) and is_named(self.classes, CLASSES))

    @property
    def may_be_boxes(self) -> bool:
        """Whether the classes may be boxes of four values."""
        return (not is_named(self.classes, CLASSES)
                and (self.classes.shape or ())[-1] == BOX_VALUES)


def find_queries(network: Network, name: str | None = None, class_name: str | None = None,
                 ) -> tuple[Queries, ...]:
    """Return the pairs of outputs that may be queries.

    Args:
        network: with its outputs.
        name, class_name: of masks and classes; None for any.
    """
    pairs = tuple(
        Queries(masks, classes) for masks in network.outputs for classes in network.outputs
        if rank(masks) == 4 and rank(classes) == 3
        and masks.shape[1] == classes.shape[1] is not None  # type: ignore[index]
        and name in (None, masks.name) and class_name in (None, classes.name)
        and classes.shape[2] != 1  # type: ignore[index]  # a score, not a class and "no object"
        and not is_boxes(classes) and _are_logits(network, masks)
        and _are_logits(network, classes))
    return tuple(pair for pair in pairs if pair.is_known) or pairs


def _are_logits(network: Network, info: TensorInfo) -> bool:
    """Whether an output may hold logits; masks and boxes of 0 to 1 belong to instances."""
    return read_meaning(network.model, info.name).kind in ('', 'logits')


def required_queries(network: Network, name: str | None, class_name: str | None) -> Queries:
    """Return the only pair of outputs that may be queries.

    Raises:
        ConfigError: there is none, or more than one.
    """
    pairs = find_queries(network, name, class_name)
    if len(pairs) == 1:
        return pairs[0]
    outputs = ', '.join(str(info) for info in network.outputs)
    if not pairs:
        given = ''.join(f' and {key} {value!r}' for key, value in
                        (('name', name), ('class_name', class_name)) if value)
        raise ConfigError(f'{network.source}: output.kind is queries{given}, but no matching '
                          'outputs are masks [1, queries, height, width] and classes [1, queries, '
                          f'classes + 1], both logits; there are {outputs}')
    raise ConfigError(f'{network.source}: output.kind is queries, which could be '
                      f'{pairs_text(pairs)}; name the masks as output.name and the classes as '
                      'output.class_name')


def pairs_text(pairs: tuple[Queries, ...]) -> str:
    """Return pairs as text."""
    return ' or '.join(f"'{pair.masks.name}' with '{pair.classes.name}'" for pair in pairs)


def with_scores(network: Network, queries: Queries, input_layout: str, batch: int = 1,
                task: str = '', listed: bool = False) -> tuple[Network, TensorInfo]:
    """Return the network with an added output of scores, and that output.

    Args:
        network: with one input.
        queries: two of its outputs.
        input_layout: 'nchw' or 'nhwc'.
        batch: number of images in one inference.
        task: name of the task; '' if the network has one task.
        listed: whether to add the outputs of ``instance_tensors``, too.

    Raises:
        ModelError: it is an engine, of which only inputs and outputs are known.
    """
    op = GraphBuilder(task_prefix(PREFIX, task), network.opset)
    if found := existing_output(network, f'{op.prefix}scores'):
        return network, found
    check_has_graph(network, f'{queries.masks} and {queries.classes} are queries')
    masks = queries.masks
    if queries.grow:
        masks = add_upsampled(op, masks, network, input_layout, batch)
    count = _class_count(network, queries)
    covered = _add_scores(op, queries, masks, batch, count)
    network, scores = with_output(network, op, helper.make_tensor_value_info(
        f'{op.prefix}scores', queries.masks.dtype, [1, count, *map_size(masks)]))
    if listed:
        op = GraphBuilder(task_prefix(INSTANCES_PREFIX, task), network.opset)
        places, found = add_query_instances(op, QueryMasks(masks, covered, queries.classes),
                                            network.inputs[0], HEIGHT_AXIS[input_layout])
        network, _ = with_output(network, op, places, [found])
    return network, scores


def _add_scores(op: GraphBuilder, queries: Queries, masks: TensorInfo, batch: int, count: int,
                ) -> str:
    """Add one matrix product: [classes, queries] times [queries, h * w]; return the second."""
    likely = op('Softmax', op.cast(queries.classes.name, queries.masks.dtype), axis=2)
    likely = op.part(likely, 0, -1, 2)
    covered = op('Reshape', op('Sigmoid', masks.name), op.ints(0, 0, -1))
    scores = op('MatMul', op('Transpose', likely, perm=[0, 2, 1]), covered)
    images = 1 if batch == 1 else _AS_IT_IS
    extents = add_extents(op, masks, 2)
    shape = op('Concat', op.ints(images, count), extents, axis=0)
    op('Reshape', scores, shape, output=f'{op.prefix}scores')
    return covered


def _class_count(network: Network, queries: Queries) -> int:
    count = (queries.classes.shape or ())[2]
    if count is None:
        raise ModelError(f'{network.source}: output {queries.classes} has a dynamic number of '
                         'classes; export the network with fixed shapes')
    return count - 1
