# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What the network of the demo is trained on: views of rendered scenes, at its input's size."""

import multiprocessing
import time

import cv2
import numpy as np
from demo_scenes.scenes import render

from trt_segmentation.demo.clip import ClipFrame

HEIGHT, WIDTH = 288, 512
"""Size of the network's input in pixels."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Normalisation of RGB 0..1: ImageNet's, as torchvision documents it."""

SCENE_HEIGHT, SCENE_WIDTH = 720, 1280
"""Size in pixels at which scenes are rendered."""

SEEDS = range(10_000, 1_000_000)
VIEWS = 2
"""Views of each scene."""

SAY_EVERY = 5.0
"""Seconds between two lines of progress."""


def rendered(count: int, workers: int) -> tuple[np.ndarray, np.ndarray]:
    """Return all views of the first ``count`` seeds, rendered by so many processes.

    Returns:
        Images uint8 [N, 288, 512, 3], BGR, and class ids uint8 [N, 288, 512].
    """
    images = np.empty((count * VIEWS, HEIGHT, WIDTH, 3), np.uint8)
    labels = np.empty((count * VIEWS, HEIGHT, WIDTH), np.uint8)
    begun = said = time.monotonic()
    context = multiprocessing.get_context('spawn')
    with context.Pool(workers, _start_worker) as pool:
        for i, (image, label) in enumerate(pool.imap(views, SEEDS[:count], 4)):
            part = slice(i * VIEWS, (i + 1) * VIEWS)
            images[part], labels[part] = image, label
            if time.monotonic() - said > SAY_EVERY or i + 1 == count:
                said = time.monotonic()
                print(f'rendered {i + 1}/{count} scenes in {said - begun:.0f} s', flush=True)
    return images, labels


def _start_worker() -> None:
    cv2.setNumThreads(1)


def views(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the views of a seed: the whole frame and random parts of it.

    Returns:
        Images uint8 [VIEWS, 288, 512, 3], BGR, and class ids uint8 [VIEWS, 288, 512].
    """
    rng = np.random.default_rng([seed, 99])
    scene = render(seed, SCENE_HEIGHT, SCENE_WIDTH, float(rng.uniform(0, 400)))
    pairs = [_shrunk(scene)]
    for _ in range(VIEWS - 1):
        share = rng.uniform(0.6, 0.98)
        height, width = round(SCENE_HEIGHT * share), round(SCENE_WIDTH * share)
        y = rng.integers(0, SCENE_HEIGHT - height + 1)
        x = rng.integers(0, SCENE_WIDTH - width + 1)
        part = np.s_[y : y + height, x : x + width]
        pairs.append(_shrunk(ClipFrame(scene.image[part], scene.labels[part])))
    images, labels = zip(*pairs, strict=True)
    return np.stack(images), np.stack(labels)


def _shrunk(scene: ClipFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return image and labels at the network's size, scaled as for inference."""
    size = (WIDTH, HEIGHT)
    image = cv2.resize(scene.image, size, interpolation=cv2.INTER_LINEAR)
    return image, cv2.resize(scene.labels, size, interpolation=cv2.INTER_NEAREST_EXACT)
