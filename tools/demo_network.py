# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The network of the demo and its training, in PyTorch (2.5 or newer)."""

import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from demo_views import HEIGHT, MEAN, STD, WIDTH
from torch import nn
from torch.nn import functional

from trt_segmentation.demo.clip import LABELS

CLASSES = len(LABELS)
CLASS_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 2.0, 1.2, 2.0)
"""Weight of each class in the cross-entropy, higher for thin and small objects."""

REPORT_INTERVAL = 5.0
"""Seconds between two lines of progress."""


def conv(a: int, b: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Return a convolution from a to b channels with batch normalisation."""
    layer = nn.Conv2d(a, b, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(b)]


class Residual(nn.Module):
    """An inverted residual block; the kernel is that of its depthwise convolution."""

    def __init__(self, width: int, expand: int = 2, kernel: int = 3) -> None:
        super().__init__()
        wide = width * expand
        self.body = nn.Sequential(
            *conv(width, wide), nn.ReLU(), *conv(wide, wide, kernel, groups=wide), nn.ReLU(),
            *conv(wide, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


def down(a: int, b: int, *blocks: nn.Module) -> nn.Module:
    """Return a stage that halves the size."""
    wide = 2 * a
    step = [*conv(a, wide), nn.ReLU(), *conv(wide, wide, 3, 2, wide), nn.ReLU()]
    return nn.Sequential(*step, *conv(wide, b), *blocks)


def narrow(a: int, b: int) -> nn.Module:
    """Return a change of channels."""
    return nn.Sequential(*conv(a, b))


def mix(width: int) -> nn.Module:
    """Return the layers after a sum of two scales."""
    return nn.Sequential(nn.ReLU(), Residual(width, 1))


class Network(nn.Module):
    """float32 [N, 3, 288, 512], normalised RGB, to logits [N, 7, 288, 512].

    The encoder has inverted residual blocks down to 1/32 of the size, with large depthwise kernels
    at the last scales for context. The decoder adds the finer features, and the head ends in
    depth-to-space. Numbers in names are the divisor of the scale.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv(3, 16, 3, 2), nn.ReLU())
        self.to4 = nn.Sequential(*conv(16, 32, 3, 2), Residual(32))
        self.to8 = down(32, 56, Residual(56), Residual(56))
        self.to16 = down(56, 88, *(Residual(88, kernel=5) for _ in range(3)))
        self.to32 = down(88, 112, *(Residual(112, kernel=7) for _ in range(2)))
        self.side16, self.side8, self.side4 = narrow(88, 64), narrow(56, 48), narrow(32, 48)
        self.up16, self.up8, self.up4 = narrow(112, 64), narrow(64, 48), narrow(48, 48)
        self.mix16, self.mix8, self.mix4 = mix(64), mix(48), mix(48)
        self.twice = nn.Upsample(scale_factor=2, mode='bilinear', align_corners=False)
        self.to_half = narrow(48, 16)
        self.side2 = narrow(16, 16)
        self.head = nn.Sequential(
            nn.ReLU(), *conv(16, 16, 3), nn.ReLU(), nn.Conv2d(16, 4 * CLASSES, 1),
            nn.PixelShuffle(2))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        half = self.stem(image)
        x4 = self.to4(half)
        x8 = self.to8(x4)
        x16 = self.to16(x8)
        x = self.up16(self.to32(x16))
        x = self.mix16(self.twice(x) + self.side16(x16))
        x = self.mix8(self.twice(self.up8(x)) + self.side8(x8))
        x = self.mix4(self.twice(self.up4(x)) + self.side4(x4))
        return self.head(self.twice(self.to_half(x)) + self.side2(half))


def batches(images: np.ndarray, labels: np.ndarray, size: int, seed: int,
            device: torch.device) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield augmented batches endlessly.

    Args:
        images: uint8 [N, 288, 512, 3], BGR; all of them are kept on the device.
        labels: uint8 [N, 288, 512], class ids.
        size: of a batch.
        seed: of order and augmentation.
        device: of the batches.

    Yields:
        Normalised float32 [B, 3, 288, 512] and class ids int64 [B, 288, 512].
    """
    everything = torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)
    generator = torch.Generator(device=device).manual_seed(seed)
    while True:
        order = torch.randperm(len(images), generator=generator, device=device)
        for i in range(0, len(order) - size + 1, size):
            indices = order[i : i + size]
            picture = everything[0][indices].flip(-1).permute(0, 3, 1, 2).float() / 255
            yield augmented(picture, everything[1][indices].long(), generator)


def augmented(picture: torch.Tensor, truth: torch.Tensor,
              generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Augment RGB images 0..1 [B, 3, H, W]: mirror half, vary light, colour, noise; normalise."""

    def uniform(low: float, high: float, channels: int = 1) -> torch.Tensor:
        shape = (len(picture), channels, 1, 1)
        draw = torch.rand(shape, generator=generator, device=picture.device)
        return low + (high - low) * draw

    mirror = uniform(0, 1) < 0.5
    picture = torch.where(mirror, picture.flip(-1), picture)
    truth = torch.where(mirror[:, 0], truth.flip(-1), truth)
    grey = picture.mean(1, keepdim=True)
    picture = grey + (picture - grey) * uniform(0.6, 1.35)
    picture = (picture - 0.45) * uniform(0.75, 1.25) + 0.45 + uniform(-0.1, 0.1)
    picture = picture * uniform(0.9, 1.1, 3)
    noise = torch.randn(picture.shape, generator=generator, device=picture.device)
    picture = (picture + noise * uniform(0, 0.02)).clamp(0, 1)
    mean, std = (picture.new_tensor(value).view(1, 3, 1, 1) for value in (MEAN, STD))
    return (picture - mean) / std, truth


def loss_of(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return weighted cross-entropy plus half a soft Dice loss over the batch."""
    weight = logits.new_tensor(CLASS_WEIGHTS)
    entropy = functional.cross_entropy(logits, truth, weight)
    share = logits.softmax(1)
    target = functional.one_hot(truth, CLASSES).permute(0, 3, 1, 2).to(share.dtype)
    both = (share * target).sum((0, 2, 3))
    either = share.sum((0, 2, 3)) + target.sum((0, 2, 3))
    return entropy + 0.5 * (1 - (2 * both + 1) / (either + 1)).mean()


def rate(progress: float, peak: float = 4e-3) -> float:
    """Return the one-cycle learning rate at 0..1: a short rise, then a cosine to zero."""
    if progress < 0.08:
        return peak * (0.05 + 0.95 * progress / 0.08)
    return peak * (0.5 + 0.5 * math.cos(math.pi * min(1.0, (progress - 0.08) / 0.92))) + 1e-6


def train(images: np.ndarray, labels: np.ndarray, steps: int, batch: int, seed: int,
          deadline: float) -> tuple[nn.Module, int]:
    """Train from scratch for a number of steps, or until the deadline.

    Args:
        images, labels: see ``batches``.
        steps: maximum number of optimiser steps.
        batch: views per step.
        seed: of weights, order and augmentation.
        deadline: of ``time.monotonic``; the cycle of the learning rate ends no later.

    Returns:
        The network on the CPU, and the number of steps taken.
    """
    torch.manual_seed(seed)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    torch.backends.cudnn.benchmark = device.type == 'cuda'
    network = Network().to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate(0.0), weight_decay=0.02)
    feed = batches(images, labels, min(batch, len(images)), seed, device)
    start = reported = time.monotonic()
    smooth, step = torch.tensor(0.0), 0
    while step < steps:
        now = time.monotonic()
        progress = max(step / steps, (now - start) / max(deadline - start, 1.0))
        if progress >= 1:
            break
        for group in optimizer.param_groups:
            group['lr'] = rate(progress)
        loss = _take_step(network, optimizer, *next(feed))
        step += 1
        smooth = loss if step == 1 else smooth * 0.95 + loss * 0.05
        if now - reported > REPORT_INTERVAL or step in (1, steps):
            reported = now
            print(f'step {step}/{steps} loss {float(smooth):.4f} rate {rate(progress):.1e} '
                  f'{now - start:.0f} s on {device}', flush=True)
    return network.cpu().to(memory_format=torch.contiguous_format).eval(), step


def _take_step(network: nn.Module, optimizer: torch.optim.Optimizer, picture: torch.Tensor,
               truth: torch.Tensor) -> torch.Tensor:
    """Take one optimiser step on a batch; return the loss before it."""
    picture = picture.contiguous(memory_format=torch.channels_last)
    cuda = picture.device.type == 'cuda'
    with torch.autocast(picture.device.type, torch.bfloat16, enabled=cuda):
        logits = network(picture)
    loss = loss_of(logits.float(), truth)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 2.0)
    optimizer.step()
    return loss.detach()


def export(network: nn.Module, path: Path) -> None:
    """Write the network as one ONNX file with static shapes, float32, opset 17."""
    path.parent.mkdir(parents=True, exist_ok=True)
    example = torch.zeros(1, 3, HEIGHT, WIDTH)
    with torch.no_grad():
        torch.onnx.export(network.eval(), (example,), str(path), input_names=['image'],
                          output_names=['logits'], opset_version=17, dynamo=False)
