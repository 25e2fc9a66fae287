# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""PyTorch's own answer: the mask, and which of its pixels are no near tie."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from model_zoo.entry import Entry, Network
from model_zoo.random_weights import as_input

MARGIN = 0.01
"""A near tie: the best two scores differ by at most this part of the range of all scores."""


@dataclass(frozen=True)
class Reference:
    """What PyTorch says of an image.

    Attributes:
        mask: uint8 [H, W].
        clear: bool [H, W], the pixels that are no near tie.
    """

    mask: np.ndarray
    clear: np.ndarray


def reference(entry: Entry, network: Network, image: np.ndarray, small: bool) -> Reference:
    """Return PyTorch's answer at the image's size.

    Args:
        entry, network: what to run, in float32.
        image: uint8 BGR [H, W, 3].
        small: whether the network is the small one.
    """
    fed = as_input([image], entry.size(small), entry.feed)
    height, width = image.shape[:2]
    with torch.no_grad():
        output = network.module(fed)
        if network.post_process:
            scores = network.post_process(output, (height, width)).float()
        else:
            scores = _answered(entry, network, output, (height, width), small)
    best = scores.topk(2, dim=0)
    span = scores.max() - scores.min()
    clear = best.values[0] - best.values[1] > MARGIN * span
    ids = torch.tensor(network.ids or range(scores.shape[0]))
    mask = ids[best.indices[0]]
    return Reference(mask.numpy().astype(np.uint8), clear.numpy())


def _answered(entry: Entry, network: Network, output: Any, size: tuple[int, int],
              small: bool) -> torch.Tensor:
    scores = network.answer(output).float()
    if entry.feed.border is not None:  # such families answer at the input's size
        top, left, height, width = entry.feed.window(size, entry.size(small))
        scores = scores[..., top:top + height, left:left + width]
    return _grown(network, scores, size)[0]


def _grown(network: Network, scores: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    if network.growth == 'nearest':
        return functional.interpolate(scores, size=size, mode='nearest-exact')
    return functional.interpolate(scores, size=size, mode='bilinear',
                                  align_corners=network.align_corners)
