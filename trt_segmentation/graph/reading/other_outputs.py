# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Recognises outputs that are no segmentation, for error messages."""

import itertools
import re

from trt_segmentation.graph.onnx_tools.network import INTEGER_TYPES, Shape, TensorInfo

BOXES = ('box', 'boxes', 'bbox', 'bboxes', 'rois', 'det', 'dets', 'detection', 'detections')
_FEATURES = ('embedding', 'embeddings', 'embed', 'embeds', 'feature', 'features', 'hidden',
             'pooler', 'token', 'tokens', 'context')
CLASSES = ('class', 'classes', 'cls', 'logits')
"""Words in the names of class outputs."""

NO_MAPS = (*BOXES, *_FEATURES)
"""Words in the names of outputs that are not maps."""

_RATINGS = ('score', 'scores', 'iou', 'ious')
"""Words in the names of outputs that rate masks."""

PICTURES = ('depth', 'depths', 'disparity', 'disp', 'normal', 'normals', 'flow', 'fgr')
"""Words in the names of maps without classes."""

_AUXILIARY = ('aux', 'auxiliary', 'auxlogits')
"""Words in the names of outputs that serve the training of the main one."""

_MAPS = ('seg', 'segm', 'segmentation', 'semantic', 'sem', 'mask', 'masks')
"""Words in the names of class maps; they take precedence over the others."""

BOX_VALUES = 4
"""Values of a box."""

_TAKE_SEGMENTATION = 'use a segmentation network (YOLO: with -seg or -sem in its name)'


def is_named(info: TensorInfo, words: tuple[str, ...]) -> bool:
    """Return whether one of these words is in an output's name."""
    parts = re.split(r'[^a-z]+', re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', info.name).lower())
    return bool(set(parts) & set(words))


def is_other_output(info: TensorInfo, words: tuple[str, ...] = (*NO_MAPS, *PICTURES)) -> bool:
    """Return whether an output's name is not that of a class map."""
    return is_named(info, words) and not is_named(info, _MAPS)


def is_auxiliary(info: TensorInfo) -> bool:
    """Return whether an output's name is that of an auxiliary head."""
    return is_named(info, _AUXILIARY)


def is_boxes(info: TensorInfo) -> bool:
    """Return whether an output's name and shape are those of boxes, [1, n, 4] or [n, 4]."""
    return (bool(info.shape) and (info.shape or ())[-1] in (BOX_VALUES, BOX_VALUES + 1)
            and is_named(info, BOXES))


def boxes_of_masks(outputs: tuple[TensorInfo, ...]) -> tuple[TensorInfo, TensorInfo] | None:
    """Return the outputs that are boxes and a mask for each of them; None if there are none.

    Boxes are [1, n, 4] and masks [1, n, h, w], or [n, 4] and [n, 1, h, w] or [n, h, w].
    """
    for boxes in filter(is_boxes, outputs):
        shape = boxes.shape or ()
        axis = len(shape) - 2
        for masks in outputs:
            found = masks.shape or ()
            is_map = masks.name != boxes.name and len(found) in (3, 4) and axis in (0, 1)
            if is_map and len(found) - axis >= 3 and found[axis] == shape[axis]:
                return boxes, masks
    return None


def ratings_of_masks(outputs: tuple[TensorInfo, ...]) -> tuple[TensorInfo, TensorInfo] | None:
    """Return the outputs that are a score or a class of each mask, [1, n], and the masks
    [1, n, h, w]; None if there are none."""
    for masks, ratings in itertools.permutations(outputs, 2):
        found, shape = masks.shape or (), ratings.shape or ()
        is_rating = ratings.dtype in INTEGER_TYPES or is_named(ratings, _RATINGS)
        if (is_rating and len(found) == 4 and (found[1] or 0) > 1
                and shape in ((found[1],), (found[0], found[1]), (found[0], found[1], 1))):
            return ratings, masks
    return None


def boxes_of_classes(info: TensorInfo, outputs: tuple[TensorInfo, ...]) -> TensorInfo | None:
    """Return the boxes [1, n, 4] of an output [1, n, classes]; None if there are none."""
    shape = info.shape or ()
    return next((boxes for boxes in filter(is_boxes, outputs)
                 if boxes.name != info.name and len(shape) == len(boxes.shape or ()) == 3
                 and shape[1] == (boxes.shape or ())[1]), None)


_MAX_LANES = 8
"""Maximum number of lanes of a lane anchor network."""


def lane_anchor_text(shape: Shape, fed: tuple[int | None, int | None]) -> str:
    """Return the description of an output of four axes that holds lane anchors; '' for others.

    Args:
        shape: of the output.
        fed: height and width of the network's input.
    """
    _, cells, rows, lanes = shape
    if None in (*shape[1:], *fed) or not all(fed):
        return ''
    narrow = lanes <= _MAX_LANES < rows <= cells  # type: ignore[operator]
    if narrow and rows * fed[1] > 4 * lanes * fed[0]:  # type: ignore[operator]
        return (f'by its shape it holds lane anchors ({cells} cells along each of {rows} rows, '
                f'{lanes} lanes), as those of Ultra-Fast-Lane-Detection: use a network that '
                'gives a class for each pixel')
    return ''


_ANCHORS = 3
_BOX_AND_OBJECT = 5


def detection_heads_hint(maps: list[TensorInfo]) -> str:
    """Return the part of an error for the heads of a detection network: the same channels at three
    or more sizes, each half of the one before; '' for other outputs."""
    shapes = [info.shape for info in maps if info.shape and len(info.shape) >= 4]
    heights = sorted({shape[2] for shape in shapes if shape[2]})
    halves = all(high == 2 * low for low, high in itertools.pairwise(heights))
    channels = {shape[1] for shape in shapes}
    one = next(iter(channels), None)
    if len(shapes) < len(maps) or len(heights) < 3 or not halves or len(channels) != 1 or not one:
        return ''
    if one == _ANCHORS or (one % _ANCHORS == 0 and one // _ANCHORS > _BOX_AND_OBJECT):
        return ('if they are the heads of a detection network (boxes at several sizes), '
                + _TAKE_SEGMENTATION)
    return ''


def output_hint(output: TensorInfo, fed: tuple[int | None, int | None]) -> str:
    """Return the part of an error that describes an output that is not a map.

    Args:
        output: of the network.
        fed: height and width of the network's input.
    """
    shape = output.shape or ()
    if is_named(output, _FEATURES):
        return ('; by its name it is an embedding, features without classes: add a head that '
                'computes classes, or use a segmentation network')
    if len(shape) == 3:
        return ('; if it holds the boxes of a detection network, ' + _TAKE_SEGMENTATION)
    if len(shape) == 2 and shape[0] in (None, 1):
        return ('; it is one vector for the whole image, the output of a classification network '
                'or an embedding: use a segmentation network')
    return ''
