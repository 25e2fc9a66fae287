#!/usr/bin/env python3
# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Train, export and measure the small network of the demo.

Scenes of trt_segmentation.demo.scenes are rendered ahead by a pool of processes, the network is
trained on them with PyTorch, exported to ONNX and measured with ONNX Runtime on scenes that it
never saw. Next to the model goes a YAML file that tells how to feed and read it; the same
description is stored in the model's metadata.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

try:
    from trt_segmentation.demo import scenes
except ImportError:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from trt_segmentation.demo import scenes

if TYPE_CHECKING:
    import torch

TRAINING_SEEDS = range(10_000, 1_000_000)
EVALUATION_SEEDS = range(2_000_000, 3_000_000)
HEIGHT, WIDTH = 288, 512
TRUTH_HEIGHT, TRUTH_WIDTH = 720, 1280
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLASSES = len(scenes.LABELS)
CLASS_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 2.0, 1.2, 2.0)
VIEWS = 2
METADATA_KEY = 'trt_segmentation'
TRAINING_KEY = 'trt_segmentation.training'
OPSET = 17


@dataclass(frozen=True)
class Training:
    """How a model came to be; stored with it."""

    seed: int
    steps: int
    batch: int
    scenes: int
    torch: str


@dataclass(frozen=True)
class Measurement:
    """mIoU 0..1 and IoU 0..1 of each class over a range of evaluation seeds."""

    seeds: range
    miou: float
    iou: tuple[float, ...]


def say(text: str) -> None:
    print(text, flush=True)


def description() -> dict[str, Any]:
    """How to feed the model and what its output means."""
    return {
        'input': {
            'color': 'rgb',
            'scale': 1 / 255,
            'mean': list(MEAN),
            'std': list(STD),
            'resize': 'stretch',
        },
        'output': {'name': 'logits', 'kind': 'logits', 'layout': 'nchw'},
        'classes': {
            'labels': list(scenes.LABELS),
            'colors': [list(color) for color in scenes.COLORS],
            'unlabelled': 255,
        },
    }


def shrink(scene: scenes.Scene) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 [288, 512, 3] BGR and labels uint8 [288, 512], scaled as in inference."""
    size = (WIDTH, HEIGHT)
    image = cv2.resize(scene.image, size, interpolation=cv2.INTER_LINEAR)
    return image, cv2.resize(scene.labels, size, interpolation=cv2.INTER_NEAREST_EXACT)


def views(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Training views of a seed: the whole frame and random parts of it.

    Returns images uint8 [VIEWS, 288, 512, 3] in BGR and labels uint8 [VIEWS, 288, 512].
    """
    rng = np.random.default_rng([seed, 99])
    scene = scenes.render(seed, TRUTH_HEIGHT, TRUTH_WIDTH, float(rng.uniform(0, 400)))
    pairs = [shrink(scene)]
    for _ in range(VIEWS - 1):
        share = rng.uniform(0.6, 0.98)
        height, width = round(TRUTH_HEIGHT * share), round(TRUTH_WIDTH * share)
        y = rng.integers(0, TRUTH_HEIGHT - height + 1)
        x = rng.integers(0, TRUTH_WIDTH - width + 1)
        part = np.s_[y : y + height, x : x + width]
        pairs.append(shrink(scenes.Scene(scene.image[part], scene.labels[part])))
    images, labels = zip(*pairs, strict=True)
    return np.stack(images), np.stack(labels)


def _start_worker() -> None:
    cv2.setNumThreads(1)


def rendered(count: int, workers: int) -> tuple[np.ndarray, np.ndarray]:
    """Views of the first `count` training seeds: uint8 [N, 288, 512, 3] and [N, 288, 512]."""
    images = np.empty((count * VIEWS, HEIGHT, WIDTH, 3), np.uint8)
    labels = np.empty((count * VIEWS, HEIGHT, WIDTH), np.uint8)
    begun = said = time.monotonic()
    context = multiprocessing.get_context('spawn')
    with context.Pool(workers, _start_worker) as pool:
        for i, (image, label) in enumerate(pool.imap(views, TRAINING_SEEDS[:count], 4)):
            images[i * VIEWS : (i + 1) * VIEWS] = image
            labels[i * VIEWS : (i + 1) * VIEWS] = label
            if time.monotonic() - said > 5:
                said = time.monotonic()
                say(f'rendered {i + 1}/{count} scenes in {said - begun:.0f} s')
    say(f'rendered {count} scenes in {time.monotonic() - begun:.0f} s')
    return images, labels


def make_network() -> torch.nn.Module:
    """The network: float32 [N, 3, 288, 512], normalised RGB, to logits [N, 7, 288, 512].

    Inverted residual blocks lead down to 1/32 of the size, with wide depthwise kernels at the
    bottom for context; a decoder adds the finer features back on the way up and a
    depth-to-space head spreads channels to pixels.
    """
    from torch import nn

    def conv(a: int, b: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list:
        layer = nn.Conv2d(a, b, kernel, stride, kernel // 2, groups=groups, bias=False)
        return [layer, nn.BatchNorm2d(b)]

    class Residual(nn.Module):
        def __init__(self, width: int, expand: int = 2, kernel: int = 3) -> None:
            super().__init__()
            wide = width * expand
            self.body = nn.Sequential(
                *conv(width, wide), nn.ReLU(), *conv(wide, wide, kernel, groups=wide), nn.ReLU(),
                *conv(wide, width),
            )  # fmt: skip

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.body(x)

    def down(a: int, b: int, *blocks: nn.Module) -> nn.Module:
        wide = 2 * a
        step = [*conv(a, wide), nn.ReLU(), *conv(wide, wide, 3, 2, wide), nn.ReLU()]
        return nn.Sequential(*step, *conv(wide, b), *blocks)

    def narrow(a: int, b: int) -> nn.Module:
        return nn.Sequential(*conv(a, b))

    def mix(width: int) -> nn.Module:
        return nn.Sequential(nn.ReLU(), Residual(width, 1))

    class Network(nn.Module):
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
                nn.PixelShuffle(2),
            )  # fmt: skip

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

    return Network()


def batches(
    images: np.ndarray, labels: np.ndarray, size: int, seed: int, device: torch.device
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless augmented batches: normalised float32 [B, 3, 288, 512] and int64 [B, 288, 512]."""
    import torch

    everything = torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)
    generator = torch.Generator(device=device).manual_seed(seed)
    while True:
        order = torch.randperm(len(images), generator=generator, device=device)
        for i in range(0, len(order) - size + 1, size):
            chosen = order[i : i + size]
            picture = everything[0][chosen].flip(-1).permute(0, 3, 1, 2).float() / 255
            yield augmented(picture, everything[1][chosen].long(), generator)


def augmented(
    picture: torch.Tensor, truth: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mirror half of RGB pictures 0..1 [B, 3, H, W], vary light, colour and noise; normalise."""
    import torch

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
    """Weighted cross-entropy plus half a soft Dice loss over the batch."""
    from torch.nn import functional

    weight = logits.new_tensor(CLASS_WEIGHTS)
    entropy = functional.cross_entropy(logits, truth, weight)
    share = logits.softmax(1)
    target = functional.one_hot(truth, CLASSES).permute(0, 3, 1, 2).to(share.dtype)
    both = (share * target).sum((0, 2, 3))
    either = share.sum((0, 2, 3)) + target.sum((0, 2, 3))
    return entropy + 0.5 * (1 - (2 * both + 1) / (either + 1)).mean()


def rate(progress: float, peak: float = 4e-3) -> float:
    """One-cycle learning rate at a progress of 0..1: a short rise, then a cosine to zero."""
    if progress < 0.08:
        return peak * (0.05 + 0.95 * progress / 0.08)
    return peak * (0.5 + 0.5 * math.cos(math.pi * min(1.0, (progress - 0.08) / 0.92))) + 1e-6


def train(
    images: np.ndarray, labels: np.ndarray, steps: int, batch: int, seed: int, deadline: float
) -> tuple[torch.nn.Module, int]:
    """Train from scratch until the steps are done or the deadline (time.monotonic()) is near.

    The learning rate ends its cycle at whichever comes first. Returns the network on the CPU
    and the number of steps taken.
    """
    import torch

    torch.manual_seed(seed)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    torch.backends.cudnn.benchmark = device.type == 'cuda'
    network = make_network().to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate(0.0), weight_decay=0.02)
    feed = batches(images, labels, min(batch, len(images)), seed, device)
    begun = said = time.monotonic()
    total = step = 0
    while step < steps:
        now = time.monotonic()
        progress = max(step / steps, (now - begun) / max(deadline - begun, 1.0))
        if progress >= 1:
            break
        for group in optimizer.param_groups:
            group['lr'] = rate(progress)
        picture, truth = next(feed)
        picture = picture.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == 'cuda'):
            logits = network(picture)
        loss = loss_of(logits.float(), truth)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimizer.step()
        step += 1
        total = loss.detach() if step == 1 else total * 0.95 + loss.detach() * 0.05
        if now - said > 5 or step in (1, steps):
            said = now
            say(f'step {step}/{steps} loss {float(total):.4f} rate {rate(progress):.1e} '
                f'{now - begun:.0f} s on {device}')  # fmt: skip
    return network.cpu().to(memory_format=torch.contiguous_format).eval(), step


def export(network: torch.nn.Module, path: Path) -> None:
    """Write the network as a single ONNX file of static shape, float32, opset 17."""
    import inspect

    import torch

    options: dict[str, Any] = {'opset_version': OPSET, 'do_constant_folding': True}
    if 'dynamo' in inspect.signature(torch.onnx.export).parameters:
        options['dynamo'] = False
    path.parent.mkdir(parents=True, exist_ok=True)
    example = torch.zeros(1, 3, HEIGHT, WIDTH)
    with torch.no_grad():
        torch.onnx.export(
            network.eval(), (example,), str(path), input_names=['image'],
            output_names=['logits'], **options,
        )  # fmt: skip
    say(f'wrote {path}: {path.stat().st_size / 1e6:.2f} MB')


def blob(image: np.ndarray) -> np.ndarray:
    """Network input float32 [1, 3, 288, 512] of a BGR image uint8 [H, W, 3]."""
    small = cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    rgb = small[..., ::-1].astype(np.float32) / np.float32(255)
    rgb = (rgb - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return np.ascontiguousarray(rgb.transpose(2, 0, 1)[None])


def measure(path: Path, count: int) -> Measurement:
    """IoU of an ONNX file at the truth's full size, from one confusion matrix of all scenes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(str(path), options, ['CPUExecutionProvider'])
    seeds = EVALUATION_SEEDS[:count]
    confusion = np.zeros((CLASSES, CLASSES), np.int64)
    spent = []
    for seed in seeds:
        scene = scenes.render(seed, TRUTH_HEIGHT, TRUTH_WIDTH)
        feed = {'image': blob(scene.image)}
        begun = time.perf_counter()
        logits = session.run(['logits'], feed)[0]
        spent.append(time.perf_counter() - begun)
        small = logits[0].argmax(0).astype(np.uint8)
        size = (TRUTH_WIDTH, TRUTH_HEIGHT)
        guess = cv2.resize(small, size, interpolation=cv2.INTER_NEAREST_EXACT)
        pairs = scene.labels.astype(np.int64) * CLASSES + guess
        confusion += np.bincount(pairs.ravel(), minlength=CLASSES**2).reshape(confusion.shape)
    hit = np.diag(confusion).astype(float)
    iou = hit / np.maximum(confusion.sum(0) + confusion.sum(1) - hit, 1)
    say(f'ONNX Runtime, 2 threads: {1e3 * float(np.median(spent)):.1f} ms a frame (median)')
    return Measurement(seeds, float(iou.mean()), tuple(float(value) for value in iou))


def report(measured: Measurement) -> None:
    for label, iou in zip(scenes.LABELS, measured.iou, strict=True):
        say(f'  IoU {label:<14}{iou:.4f}')
    say(f'mIoU {measured.miou:.4f} over {len(measured.seeds)} unseen scenes')


def annotate(path: Path, training: Training) -> None:
    """Store the description and the training's particulars in the model's metadata."""
    import onnx

    model = onnx.load(str(path))
    kept = {p.key: p.value for p in model.metadata_props}
    kept[METADATA_KEY] = json.dumps(description())
    kept[TRAINING_KEY] = json.dumps(asdict(training))
    onnx.helper.set_model_props(model, kept)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def trained_as(path: Path) -> Training:
    """The training's particulars stored in a model by `annotate`."""
    import onnx

    for entry in onnx.load(str(path)).metadata_props:
        if entry.key == TRAINING_KEY:
            return Training(**json.loads(entry.value))
    raise SystemExit(f'{path} has no metadata {TRAINING_KEY}: was it made by this tool?')


def yaml_text(training: Training, measured: Measurement | None) -> str:
    """The description as YAML, headed by comments on the model's origin and accuracy."""
    t = training
    lines = [
        'made by tools/train_demo_model.py',
        f'seed {t.seed}, {t.steps} steps of batch {t.batch}, {t.scenes} rendered scenes '
        f'from seed {TRAINING_SEEDS.start}',
        f'torch {t.torch}',
    ]
    if measured is None:
        lines.append('not measured')
    else:
        first, last = measured.seeds[0], measured.seeds[-1]
        lines.append(f'evaluation seeds {first}..{last} at {TRUTH_WIDTH}x{TRUTH_HEIGHT}')
        lines.append(f'mIoU {measured.miou:.4f}')
        pairs = zip(scenes.LABELS, measured.iou, strict=True)
        lines += [f'IoU {label}: {iou:.4f}' for label, iou in pairs]
    text = [f'# {line}' for line in lines]
    for section, entries in description().items():
        text.append(f'{section}:')
        text += [f'  {key}: {_yaml_value(value)}' for key, value in entries.items()]
    return '\n'.join(text) + '\n'


def _yaml_value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def describe(path: Path, training: Training, count: int) -> None:
    """Write metadata and YAML of a model, measured where the packages for it are installed."""
    measured = None
    if importlib.util.find_spec('onnxruntime') is None:
        say(f'onnxruntime is not installed: not measured; run --measure-only {path} elsewhere')
    else:
        measured = measure(path, count)
        report(measured)
    if importlib.util.find_spec('onnx') is None:
        say(f'onnx is not installed: no metadata in {path}')
    else:
        annotate(path, training)
    target = path.with_suffix('.yaml')
    target.write_text(yaml_text(training, measured), encoding='utf-8')
    say(f'wrote {target}')


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument('--output', type=Path, metavar='FILE', help='ONNX file to train and write')
    task.add_argument('--measure-only', type=Path, metavar='FILE',
                      help='ONNX file to measure and describe again')  # fmt: skip
    parser.add_argument('--steps', type=int, default=4000, help='optimiser steps (%(default)s)')
    parser.add_argument('--batch', type=int, default=48, help='views a step (%(default)s)')
    parser.add_argument('--seed', type=int, default=1, help='of weights and order (%(default)s)')
    parser.add_argument('--scenes', type=int, default=8000, help='to render (%(default)s)')
    parser.add_argument('--workers', type=int, default=len(os.sched_getaffinity(0)),
                        help='rendering processes (%(default)s)')  # fmt: skip
    parser.add_argument('--evaluate', type=int, default=120, metavar='N',
                        help='unseen scenes to measure on (%(default)s)')  # fmt: skip
    parser.add_argument('--minutes', type=float, default=6.0,
                        help='cap on rendering and training together (%(default)s)')  # fmt: skip
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.measure_only:
        describe(options.measure_only, trained_as(options.measure_only), options.evaluate)
        return
    deadline = time.monotonic() + 60 * options.minutes
    images, labels = rendered(options.scenes, options.workers)
    import torch

    network, steps = train(
        images, labels, options.steps, options.batch, options.seed, deadline
    )  # fmt: skip
    export(network, options.output)
    version = torch.__version__
    training = Training(options.seed, steps, options.batch, options.scenes, version)
    describe(options.output, training, options.evaluate)


if __name__ == '__main__':
    main()
