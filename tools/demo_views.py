# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Training data of the demo network: views of rendered scenes at its input size."""

import multiprocessing
import time

import cv2
import numpy as np
from demo_scenes.scenes import render

from trt_segmentation.demo.clip import ClipFrame

HEIGHT, WIDTH = 288, 512
"""Input size of the network in pixels."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Normalisation of RGB 0..1: that of ImageNet as in torchvision."""

SCENE_HEIGHT, SCENE_WIDTH = 720, 1280
"""Size of rendered scenes in pixels."""

SEEDS = range(10_000, 1_000_000)
VIEWS = 2
"""Number of views of each scene."""

REPORT_INTERVAL = 5.0
"""Seconds between two lines of progress."""


def rendered(count: int, workers: int) -> tuple[np.ndarray, np.ndarray]:
    """Return all views of the first ``count`` seeds, rendered by ``workers`` processes.

    Returns:
        Images uint8 [N, 288, 512, 3], BGR, and class ids uint8 [N, 288, 512].
    """
    images = np.empty((count * VIEWS, HEIGHT, WIDTH, 3), np.uint8)
    labels = np.empty((count * VIEWS, HEIGHT, WIDTH), np.uint8)
    start = reported = time.monotonic()
    context = multiprocessing.get_context('spawn')
    with context.Pool(workers, _start_worker) as pool:
        for i, (image, label) in enumerate(pool.imap(views, SEEDS[:count], 4)):
            part = slice(i * VIEWS, (i + 1) * VIEWS)
            images[part], labels[part] = image, label
            if time.monotonic() - reported > REPORT_INTERVAL or i + 1 == count:
                reported = time.monotonic()
                print(f'rendered {i + 1}/{count} scenes in {reported - start:.0f} s', flush=True)
    return images, labels


def _start_worker() -> None:
    cv2.setNumThreads(1)


def views(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the views of a seed: the full frame and random crops.

    Returns:
        Images uint8 [VIEWS, 288, 512, 3], BGR, and class ids uint8 [VIEWS, 288, 512].
    """
    rng = np.random.default_rng([seed, 99])
    scene = render(seed, SCENE_HEIGHT, SCENE_WIDTH, float(rng.uniform(0, 400)))
    pairs = [_resized(scene)]
    for _ in range(VIEWS - 1):
        share = rng.uniform(0.6, 0.98)
        height, width = round(SCENE_HEIGHT * share), round(SCENE_WIDTH * share)
        y = rng.integers(0, SCENE_HEIGHT - height + 1)
        x = rng.integers(0, SCENE_WIDTH - width + 1)
        part = np.s_[y : y + height, x : x + width]
        pairs.append(_resized(ClipFrame(scene.image[part], scene.labels[part])))
    images, labels = zip(*pairs, strict=True)
    return np.stack(images), np.stack(labels)


def _resized(scene: ClipFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return image and labels at the input size, resized as for inference."""
    size = (WIDTH, HEIGHT)
    image = cv2.resize(scene.image, size, interpolation=cv2.INTER_LINEAR)
    return image, cv2.resize(scene.labels, size, interpolation=cv2.INTER_NEAREST_EXACT)
