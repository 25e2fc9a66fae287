# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Reference masks by PyTorch, and which of their pixels are near ties."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from model_zoo.entry import Entry, Network
from model_zoo.random_weights import as_input

MARGIN = 0.01
"""A pixel is a near tie if its best two scores differ by at most this share of the range of all
scores."""


@dataclass(frozen=True)
class Reference:
    """The reference mask of an image.

    Attributes:
        mask: uint8 [H, W].
        clear: bool [H, W], False at near ties.
    """

    mask: np.ndarray
    clear: np.ndarray


def reference(entry: Entry, network: Network, image: np.ndarray, small: bool) -> Reference:
    """Return the reference mask at the image size.

    Args:
        entry, network: the network, in float32.
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
            scores = _network_scores(entry, network, output, (height, width), small)
    best = scores.topk(2, dim=0)
    span = scores.max() - scores.min()
    clear = best.values[0] - best.values[1] > MARGIN * span
    ids = torch.tensor(network.ids or range(scores.shape[0]))
    mask = ids[best.indices[0]]
    return Reference(mask.numpy().astype(np.uint8), clear.numpy())


def _network_scores(entry: Entry, network: Network, output: Any, size: tuple[int, int],
              small: bool) -> torch.Tensor:
    scores = network.scores_of(output).float()
    if entry.feed.border is not None:  # the scores of such families have the input size
        top, left, height, width = entry.feed.window(size, entry.size(small))
        scores = scores[..., top:top + height, left:left + width]
    return _resized(network, scores, size)[0]


def _resized(network: Network, scores: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    if network.growth == 'nearest':
        return functional.interpolate(scores, size=size, mode='nearest-exact')
    return functional.interpolate(scores, size=size, mode='bilinear',
                                  align_corners=network.align_corners)
