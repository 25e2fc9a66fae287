# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Seeded random weights with which every class occurs in the masks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from model_zoo.entry import Feed, Network

SPREAD = 3.0
"""Standard deviation of the logits of each class after calibration, as in trained networks."""


def calibrated(network: Network, batch: torch.Tensor) -> Network:
    """Compute batch norm statistics and centre the logits of every class; in place.

    The output of an untrained network is nearly constant: without this, one class has all pixels.

    Args:
        network: with random weights.
        batch: float [N, 3, H, W], normalised images; at least two, for batch norms.
    """
    module = network.module
    with torch.no_grad():
        module.train()
        for layer in module.modules():  # all other layers as in evaluation
            if not isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
                layer.training = False
            else:
                layer.momentum = None  # the mean of all calls
                layer.reset_running_stats()
        module(batch)
        module.eval()
        network.calibrate(batch)
    return network


def standardise(last: Sequence[Any], logits: torch.Tensor) -> None:
    """Scale layers so that the logits of each class have mean 0 and std ``SPREAD``; in place.

    Args:
        last: the last linear layers, with weight and bias, whose outputs are added.
        logits: their sum, [N, classes, ...].
    """
    others = tuple(axis for axis in range(logits.dim()) if axis != 1)
    mean = logits.mean(dim=others)
    factor = SPREAD / logits.std(dim=others).clamp(min=1e-6)
    for layer in last:
        shape = (-1, *[1] * (layer.weight.dim() - 1))
        layer.weight.mul_(factor.view(shape))
        if layer.bias is not None:
            layer.bias.mul_(factor)
    last[0].bias.sub_(mean * factor)


def as_input(images: list[np.ndarray], size: tuple[int, int], feed: Feed) -> torch.Tensor:
    """Return BGR images as network input: half-pixel bilinear resize, then normalisation.

    Args:
        images: uint8 [H, W, 3].
        size: height and width of the input.
        feed: colour order and normalisation.

    Returns:
        float32 [N, 3, height, width].
    """
    order = ['bgr'.index(name) for name in feed.color]
    x = torch.full((len(images), 3, *size), float(feed.border or 0))
    for plane, image in zip(x, images, strict=True):
        top, left, height, width = feed.window(image.shape[:2], size)
        plane[:, top:top + height, left:left + width] = functional.interpolate(
            torch.from_numpy(image[..., order].copy()).permute(2, 0, 1)[None].float(),
            size=(height, width), mode='bilinear', align_corners=False)[0]
    x /= 255
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (feed.mean, feed.std))
    return (x - mean) / std
