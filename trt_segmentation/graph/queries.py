# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Networks that answer in queries: each a mask, and how likely that mask is of which class.

MaskFormer (arXiv 2107.06278, section 3.4, semantic inference) and Mask2Former, as
``post_process_semantic_segmentation`` of transformers' image processors reads them: a class's
score of a pixel is the sum, over all queries, of the query's probability of that class times its
probability of covering the pixel. The last class, "no object", has no score.
"""

from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from trt_segmentation.errors import ConfigError, ModelError
from trt_segmentation.graph.builder import GraphBuilder
from trt_segmentation.graph.network import Network, TensorInfo, describe_network

SCORES = 'queries/scores'
"""Name of the output that the combination adds: [1, classes, h, w], 0 and up."""

Size = tuple[int | None, int | None]

_AS_IT_IS = 0
"""What keeps an extent in the shape that a Reshape is given."""

_FLOAT_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16)
_HEIGHT_AXIS = {'nchw': 2, 'nhwc': 1}

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

    masks: TensorInfo
    classes: TensorInfo
    grow: bool = False


def find_queries(network: Network, name: str | None = None, class_name: str | None = None,
                 ) -> tuple[Queries, ...]:
    """Return the pairs of outputs that may be queries; one where it is clear which.

    Args:
        network: its outputs are looked at.
        name, class_name: of masks and classes, where they are told.
    """
    pairs = tuple(
        Queries(masks, classes) for masks in network.outputs for classes in network.outputs
        if _rank(masks) == 4 and _rank(classes) == 3
        and masks.shape[1] == classes.shape[1] is not None  # type: ignore[index]
        and name in (None, masks.name) and class_name in (None, classes.name))
    known = tuple(pair for pair in pairs
                  if (pair.masks.name, pair.classes.name) in _KNOWN_NAMES)
    return known or pairs


def told_queries(network: Network, name: str | None, class_name: str | None) -> Queries:
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
                          f'classes + 1]; there are {outputs}')
    raise ConfigError(f'{network.source}: output.kind says queries, which could be '
                      f'{said_pairs(pairs)}; say which masks as output.name and which classes as '
                      'output.class_name')


def said_pairs(pairs: tuple[Queries, ...]) -> str:
    """Return pairs as text."""
    return ' or '.join(f"'{pair.masks.name}' with '{pair.classes.name}'" for pair in pairs)


def with_scores(network: Network, queries: Queries, input_layout: str, batch: int = 1,
                ) -> tuple[Network, TensorInfo]:
    """Return the network with its queries combined, and the output ``SCORES`` that this adds.

    Args:
        network: with one input.
        queries: two of its outputs.
        input_layout: 'nchw' or 'nhwc'.
        batch: number of images that the network will be given at once.

    Raises:
        ModelError: only the outputs of the network are known, not what is in it.
    """
    found = next((info for info in network.outputs if info.name == SCORES), None)
    if found is not None:  # an engine of ours: that is compiled in
        return network, found
    if not network.model.graph.node:
        raise ModelError(f'{network.source}: its outputs {queries.masks} and {queries.classes} '
                         'are queries, which can only be combined inside the network; open its '
                         '.onnx file, so that an engine is built of both')
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    op = GraphBuilder('queries/', network.opset)
    masks, size = queries.masks.name, _map_size(queries)
    if queries.grow:
        size = _input_size(network, input_layout)
        masks = _add_grown_masks(op, queries, network.inputs[0].name, input_layout, size, batch)
    _add_scores(op, queries, masks, size, batch)
    model.graph.node.extend(op.nodes)
    model.graph.initializer.extend(op.constants)
    model.graph.output.append(helper.make_tensor_value_info(
        SCORES, queries.masks.dtype, [1, _class_count(queries), *size]))
    network = describe_network(model, network.source)
    return network, next(info for info in network.outputs if info.name == SCORES)


def _add_grown_masks(op: GraphBuilder, queries: Queries, image: str, input_layout: str,
                     size: Size, batch: int) -> str:
    if known := _known(size):
        extents = op.ints(*known)
    else:
        first = _HEIGHT_AXIS[input_layout]
        extents = op('Concat', op.size(image, first), op.size(image, first + 1), axis=0)
    masks = queries.masks.name
    images = op.ints(1) if batch == 1 else op.size(masks, 0)
    sizes = op('Concat', images, op.size(masks, 1), extents, axis=0)
    return op.resize_linear(masks, sizes)


def _add_scores(op: GraphBuilder, queries: Queries, masks: str, size: Size, batch: int) -> None:
    """One product of matrices: [classes, queries] times [queries, h * w]."""
    likely = op('Softmax', op.cast(queries.classes.name, queries.masks.dtype), axis=2)
    likely = op('Slice', likely, op.ints(0), op.ints(-1), op.ints(2))
    covered = op('Reshape', op('Sigmoid', masks), op.ints(0, 0, -1))
    scores = op('MatMul', op('Transpose', likely, perm=[0, 2, 1]), covered)
    images = 1 if batch == 1 else _AS_IT_IS
    if known := _known(size):
        shape = op.ints(images, _class_count(queries), *known)
    else:
        shape = op('Concat', op.ints(images, _class_count(queries)), op.size(masks, 2),
                   op.size(masks, 3), axis=0)
    op('Reshape', scores, shape, output=SCORES)


def _class_count(queries: Queries) -> int:
    count = (queries.classes.shape or ())[2]
    if count is None or count < 2:
        raise ModelError(f'output {queries.classes} has no known number of classes and "no '
                         'object" behind them; export the network with fixed shapes')
    return count - 1


def _map_size(queries: Queries) -> Size:
    shape = queries.masks.shape or ()
    return shape[2], shape[3]


def _known(size: Size) -> tuple[int, int] | None:
    height, width = size
    return None if height is None or width is None else (height, width)


def _input_size(network: Network, layout: str) -> Size:
    shape, first = network.inputs[0].shape or (), _HEIGHT_AXIS[layout]
    return shape[first], shape[first + 1]


def _rank(info: TensorInfo) -> int:
    """Rank of a batch of one of floats; 0 for everything else."""
    if info.dtype not in _FLOAT_TYPES or not info.shape or info.shape[0] not in (None, 1):
        return 0
    return len(info.shape)
