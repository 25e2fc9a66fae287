# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Networks that answer in queries: each a mask, and how likely that mask is of which class.

MaskFormer (arXiv 2107.06278, section 3.4, semantic inference) and Mask2Former, as
``post_process_semantic_segmentation`` of transformers' image processors reads them: a class's
score of a pixel is the sum, over all queries, of the query's probability of that class times its
probability of covering the pixel. The last class, "no object", has no score.
"""

from dataclasses import dataclass
from typing import ClassVar

from onnx import helper

from trt_segmentation.errors import ConfigError, ModelError
from trt_segmentation.graph.analysis.kind_tracing import read_meaning
from trt_segmentation.graph.onnx_tools.graph_builder import GraphBuilder
from trt_segmentation.graph.onnx_tools.network import Network, TensorInfo
from trt_segmentation.graph.reading.dual_outputs import (
    Size,
    add_extents,
    add_upsampled,
    check_has_graph,
    existing_output,
    input_size,
    map_size,
    rank,
    task_prefix,
    with_output,
)
from trt_segmentation.graph.reading.other_outputs import BOX_VALUES, CLASSES, is_boxes, is_named

PREFIX = 'queries/'
"""Name of the output that the combination adds: [1, classes, h, w], 0 and up."""

_AS_IT_IS = 0
"""What keeps an extent in the shape that a Reshape is given."""

_KNOWN_NAMES = (('masks_queries_logits', 'class_queries_logits'),  # transformers
                ('pred_masks', 'pred_logits'),  # the authors' code, detectron2
                ('pred_masks', 'logits'))  # optimum


@dataclass(frozen=True)
class Queries:
    """The two outputs that belong together.

    Attributes:
        masks: logits [1, queries, h, w].
        classes: logits [1, queries, classes + 1].
        grow: whether masks are brought to the size of the network's input before they are
            combined, as Mask2Former's own code does and MaskFormer's of transformers does not.
    """

    kind: ClassVar[str] = 'queries'

    masks: TensorInfo
    classes: TensorInfo
    grow: bool = False

    @property
    def may_be_boxes(self) -> bool:
        """Whether the classes could as well be boxes with four corners each."""
        return (not is_named(self.classes, CLASSES)
                and (self.classes.shape or ())[-1] == BOX_VALUES)


def find_queries(network: Network, name: str | None = None, class_name: str | None = None,
                 ) -> tuple[Queries, ...]:
    """Return the pairs of outputs that may be queries; one where it is clear which.

    Args:
        network: its outputs are looked at.
        name, class_name: of masks and classes, where they are told.
    """
    pairs = tuple(
        Queries(masks, classes) for masks in network.outputs for classes in network.outputs
        if rank(masks) == 4 and rank(classes) == 3
        and masks.shape[1] == classes.shape[1] is not None  # type: ignore[index]
        and name in (None, masks.name) and class_name in (None, classes.name)
        and not is_boxes(classes) and _are_logits(network, masks)
        and _are_logits(network, classes))
    known = tuple(pair for pair in pairs
                  if (pair.masks.name, pair.classes.name) in _KNOWN_NAMES)
    return known or pairs


def _are_logits(network: Network, info: TensorInfo) -> bool:
    """Whether an output may hold logits: masks and boxes of 0 to 1 are those of instances."""
    return read_meaning(network.model, info.name).kind in ('', 'logits')


def required_queries(network: Network, name: str | None, class_name: str | None) -> Queries:
    """Return the one pair of a network whose ``output.kind`` is queries.

    Raises:
        ConfigError: there is none, or more than one.
    """
    pairs = find_queries(network, name, class_name)
    if len(pairs) == 1:
        return pairs[0]
    outputs = ', '.join(str(info) for info in network.outputs)
    if not pairs:
        told = ''.join(f' and {key} {value!r}' for key, value in
                       (('name', name), ('class_name', class_name)) if value)
        raise ConfigError(f'{network.source}: output.kind says queries{told}, but no such outputs '
                          'are masks [1, queries, height, width] and classes [1, queries, '
                          f'classes + 1], both logits; there are {outputs}')
    raise ConfigError(f'{network.source}: output.kind says queries, which could be '
                      f'{pairs_text(pairs)}; say which masks as output.name and which classes as '
                      'output.class_name')


def pairs_text(pairs: tuple[Queries, ...]) -> str:
    """Return pairs as text."""
    return ' or '.join(f"'{pair.masks.name}' with '{pair.classes.name}'" for pair in pairs)


def with_scores(network: Network, queries: Queries, input_layout: str, batch: int = 1,
                task: str = '') -> tuple[Network, TensorInfo]:
    """Return the network with its queries combined, and the output of scores that this adds.

    Args:
        network: with one input.
        queries: two of its outputs.
        input_layout: 'nchw' or 'nhwc'.
        batch: number of images that the network will be given at once.
        task: whose queries these are; '' where the network has one task.

    Raises:
        ModelError: only the outputs of the network are known, not what is in it.
    """
    op = GraphBuilder(task_prefix(PREFIX, task), network.opset)
    if found := existing_output(network, f'{op.prefix}scores'):
        return network, found
    check_has_graph(network, f'{queries.masks} and {queries.classes} are queries')
    masks, size = queries.masks.name, map_size(queries.masks)
    if queries.grow:
        size = input_size(network, input_layout)
        masks = add_upsampled(op, queries.masks, network.inputs[0], input_layout, batch)
    _add_scores(op, queries, masks, size, batch)
    return with_output(network, op, helper.make_tensor_value_info(
        f'{op.prefix}scores', queries.masks.dtype, [1, _class_count(queries), *size]))


def _add_scores(op: GraphBuilder, queries: Queries, masks: str, size: Size, batch: int) -> None:
    """One product of matrices: [classes, queries] times [queries, h * w]."""
    likely = op('Softmax', op.cast(queries.classes.name, queries.masks.dtype), axis=2)
    likely = op.part(likely, 0, -1, 2)
    covered = op('Reshape', op('Sigmoid', masks), op.ints(0, 0, -1))
    scores = op('MatMul', op('Transpose', likely, perm=[0, 2, 1]), covered)
    images = 1 if batch == 1 else _AS_IT_IS
    extents = add_extents(op, TensorInfo(masks, queries.masks.dtype, (1, None, *size)), 2)
    shape = op('Concat', op.ints(images, _class_count(queries)), extents, axis=0)
    op('Reshape', scores, shape, output=f'{op.prefix}scores')


def _class_count(queries: Queries) -> int:
    count = (queries.classes.shape or ())[2]
    if count is None or count < 2:
        raise ModelError(f'output {queries.classes} has no known number of classes and "no '
                         'object" behind them; export the network with fixed shapes')
    return count - 1
