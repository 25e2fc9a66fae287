#!/usr/bin/env python3
# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Train, export and evaluate the small network of the demo.

A pool of processes renders scenes of ``demo_scenes``. The network is trained on them with PyTorch,
exported to ONNX with its model config as metadata, and evaluated on unseen scenes. A YAML file
next to it has the same config, and comments on training and accuracy.

Needs this package with ONNX Runtime (``pip install -e '.[cpu]'``), and for training PyTorch 2.5 or
newer, preferably with a GPU.
"""

import argparse
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
from demo_scenes.classes import COLORS
from demo_scenes.scenes import render
from demo_views import MEAN, SCENE_HEIGHT, SCENE_WIDTH, SEEDS, STD, rendered

from trt_segmentation.demo.clip import LABELS
from trt_segmentation.evaluation.metrics import class_iou, confusion_matrix, mean_iou
from trt_segmentation.model_config import (
    METADATA_KEY,
    UNLABELLED,
    ClassesConfig,
    InputConfig,
    ModelConfig,
    OutputConfig,
)
from trt_segmentation.segmenter import Segmenter

CONFIG = ModelConfig(
    InputConfig(color='rgb', scale=1 / 255, mean=MEAN, std=STD, resize='stretch'),
    OutputConfig(name='logits', kind='logits', layout='nchw'),
    ClassesConfig(LABELS, COLORS, UNLABELLED))
TRAINING_KEY = 'trt_segmentation.training'
"""Key of a ``Training`` as JSON in the model's metadata."""

EVALUATION_SEEDS = range(2_000_000, 3_000_000)


@dataclass(frozen=True)
class Training:
    """Training of a model: seed, steps, batch size in views, scenes, and version of PyTorch."""

    seed: int
    steps: int
    batch: int
    scenes: int
    torch: str


def main() -> None:
    """Train the network, or evaluate an existing one."""
    args = _arguments()
    if args.measure_only:
        path, training = args.measure_only, _stored_training(args.measure_only)
    else:
        path, training = args.output, _train(args)
    _write_metadata(path, training)
    confusion = measure(path, EVALUATION_SEEDS[: args.evaluate])
    text = ''.join(f'# {line}\n' for line in _description(training, confusion, args.evaluate))
    print(text, end='')
    target = path.with_suffix('.yaml')
    target.write_text(text + CONFIG.to_text(), encoding='utf-8')
    print(f'wrote {path} ({path.stat().st_size / 1e6:.2f} MB) and {target}')


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train, export and evaluate the demo network.')
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument('--output', type=Path, metavar='FILE', help='ONNX file to train and write')
    task.add_argument('--measure-only', type=Path, metavar='FILE',
                      help='existing ONNX file to evaluate and describe')
    parser.add_argument('--steps', type=int, default=4000, help='optimiser steps (%(default)s)')
    parser.add_argument('--batch', type=int, default=48, help='views per step (%(default)s)')
    parser.add_argument('--seed', type=int, default=1, help='of weights and order (%(default)s)')
    parser.add_argument('--scenes', type=int, default=8000, help='to render (%(default)s)')
    parser.add_argument('--workers', type=int, default=len(os.sched_getaffinity(0)),
                        help='rendering processes (%(default)s)')
    parser.add_argument('--evaluate', type=int, default=120, metavar='N',
                        help='unseen scenes for the evaluation (%(default)s)')
    parser.add_argument('--minutes', type=float, default=6.0,
                        help='limit for rendering and training together (%(default)s)')
    return parser.parse_args()


def _train(args: argparse.Namespace) -> Training:
    """Render, train and export."""
    import torch  # not needed for the evaluation
    from demo_network import export, train

    deadline = time.monotonic() + 60 * args.minutes
    images, labels = rendered(args.scenes, args.workers)
    network, steps = train(images, labels, args.steps, args.batch, args.seed, deadline)
    export(network, args.output)
    return Training(args.seed, steps, args.batch, args.scenes, torch.__version__)


def _stored_training(path: Path) -> Training:
    for entry in onnx.load(path).metadata_props:
        if entry.key == TRAINING_KEY:
            return Training(**json.loads(entry.value))
    raise SystemExit(f'{path} has no metadata {TRAINING_KEY}; this tool evaluates only its '
                     'own models')


def _write_metadata(path: Path, training: Training) -> None:
    model = onnx.load(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    metadata[METADATA_KEY] = CONFIG.to_text()
    metadata[TRAINING_KEY] = json.dumps(asdict(training))
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def measure(path: Path, seeds: range) -> np.ndarray:
    """Return the confusion matrix int64 [7, 8] of a model over scenes at their full size."""
    segmenter = Segmenter.open(path)
    confusion = np.zeros((len(LABELS), len(LABELS) + 1), np.int64)
    for seed in seeds:
        scene = render(seed, SCENE_HEIGHT, SCENE_WIDTH)
        mask = segmenter.infer(scene.image).mask
        confusion += confusion_matrix(scene.labels, mask, len(LABELS))
    segmenter.close()
    return confusion


def _description(training: Training, confusion: np.ndarray, count: int) -> list[str]:
    """Return lines on the training of a model and its accuracy on the first evaluation seeds."""
    t, seeds = training, EVALUATION_SEEDS[:count]
    ious = zip(LABELS, class_iou(confusion), strict=True)
    return [
        'made by tools/train_demo_model.py',
        f'seed {t.seed}, {t.steps} steps of batch {t.batch}, {t.scenes} rendered scenes '
        f'from seed {SEEDS.start}',
        f'torch {t.torch}',
        f'evaluation seeds {seeds[0]}..{seeds[-1]} at {SCENE_WIDTH}x{SCENE_HEIGHT}',
        f'mIoU {mean_iou(confusion):.4f}',
        *(f'IoU {label}: {iou:.4f}' for label, iou in ious),
    ]


if __name__ == '__main__':
    main()
