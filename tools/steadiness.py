# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Measure how steady masks are with temporal smoothing, and how right, on a noisy still scene::

    python tools/steadiness.py [--frames 30] [--noise 20]

The demo network segments one frame of the packaged clip again and again, each time with other
Gaussian noise. The table has, for each weight, the share of pixels whose class changes from one
image to the next, and the mean IoU over all images against the rendered ground truth.
"""

import argparse
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from trt_segmentation.demo.clip import LABELS, read_frame
from trt_segmentation.evaluation.metrics import confusion_matrix, mean_iou
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

WEIGHTS = (0.0, 0.3, 0.6, 0.8)
SIZE = 360, 640


def noisy(image: np.ndarray, sigma: float, count: int) -> list[np.ndarray]:
    """Return copies of uint8 [H, W, 3] with noise of a standard deviation of ``sigma`` levels."""
    random = np.random.default_rng(0)
    return [np.clip(image + random.normal(0, sigma, image.shape), 0, 255).astype(np.uint8)
            for _ in range(count)]


def measure(segmenter: Segmenter, images: Sequence[np.ndarray], truth: np.ndarray, weight: float,
            ) -> tuple[float, float]:
    """Return the share of pixels that change class between images, and the mean IoU."""
    segmenter.smoothing = weight
    segmenter.reset_smoothing()
    masks = [segmenter.infer(image).mask.copy() for image in images]
    changed = np.mean([np.mean(one != other) for one, other in pairwise(masks)])
    confusion = sum((confusion_matrix(truth, mask, len(LABELS)) for mask in masks[1:]),
                    confusion_matrix(truth, masks[0], len(LABELS)))
    return float(changed), mean_iou(confusion)


def main(args: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split('::')[0])
    parser.add_argument('--frames', type=int, default=30, help='number of images')
    parser.add_argument('--noise', type=float, default=20.0, help='in levels of 0 to 255')
    parser.add_argument('--scene', type=int, default=7, help='number of the frame in the clip')
    options = parser.parse_args(args)
    frame = read_frame(options.scene, *SIZE)
    images = noisy(frame.image, options.noise, options.frames)
    print('| `smoothing` | pixels that change class | mIoU |\n|---|---|---|')
    with Segmenter.open(options=RunOptions('onnxruntime', smoothing=True)) as segmenter:
        for weight in WEIGHTS:
            changed, iou = measure(segmenter, images, frame.labels, weight)
            print(f'| {weight:g} | {100 * changed:.2f} % | {iou:.3f} |')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
