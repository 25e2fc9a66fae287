# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Outputs that are no segmentation, called what they are."""

import re

from trt_segmentation.graph.network import TensorInfo

BOXES = ('box', 'boxes', 'bbox', 'bboxes', 'rois', 'dets', 'detections')
_FEATURES = ('embedding', 'embeddings', 'embed', 'embeds', 'feature', 'features', 'hidden',
             'pooler')
NO_MAPS = (*BOXES, *_FEATURES)
"""Words in the names of outputs that are no maps."""

_CORNERS = 4
"""Values of a box."""

_TAKE_SEGMENTATION = ('take one for segmentation (of YOLO, one with -seg or -sem in its name)')


def is_named(info: TensorInfo, words: tuple[str, ...]) -> bool:
    """Return whether one of these words is in an output's name."""
    parts = re.split(r'[^a-z]+', re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', info.name).lower())
    return bool(set(parts) & set(words))


def is_boxes(info: TensorInfo) -> bool:
    """Return whether an output's name and shape are those of boxes, [1, n, 4] or [n, 4]."""
    return (bool(info.shape) and (info.shape or ())[-1] in (_CORNERS, _CORNERS + 1)
            and is_named(info, BOXES))


def boxes_of_masks(outputs: tuple[TensorInfo, ...]) -> tuple[TensorInfo, TensorInfo] | None:
    """Return the outputs that are boxes and a mask for each of them; None where there are none.

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


def seems(output: TensorInfo, fed: tuple[int | None, int | None]) -> str:
    """Return what to say of an output that is no map: what it seems to be.

    Args:
        output: of the network.
        fed: height and width of the network's input.
    """
    shape = output.shape or ()
    if is_named(output, _FEATURES):
        return ('; by its name it is an embedding, features without classes: add a head that '
                'makes classes of it, or take a network for segmentation')
    if len(shape) == 3:
        return ('; if it is of boxes, as a detection network gives them, ' + _TAKE_SEGMENTATION)
    if len(shape) == 2 and shape[0] in (None, 1):
        return ('; it is one vector for the whole image, as a classification network or an '
                'embedding gives it: take a network for segmentation')
    return ''
