# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Measure how steady masks are with temporal smoothing, and how right::

    python tools/steadiness.py [--json RESULT.json] [--frames 30] [--noise 20]

The demo network segments a still scene, one frame of the packaged clip with other Gaussian noise
in each image, and drives along the streets of the clip, rendered at the rates of two cameras. For
each weight there is the share of pixels whose class changes from one image to the next, the share
of those that flicker, whose class changes although the rendered ground truth does not, and the
mean IoU over all images. The first row is the ground truth itself.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from demo_scenes.make_clip import STREETS
from demo_scenes.scenes import render

from trt_segmentation.benchmark.host import describe_host
from trt_segmentation.demo.clip import LABELS, ClipFrame, read_frame
from trt_segmentation.evaluation.metrics import confusion_matrix, mean_iou
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

WEIGHTS = (0.0, 0.3, 0.6, 0.8)
SIZE = 360, 640
SPEED = 14.4
"""Of the drive, metres per second: that of the clip, 52 km/h."""

RATES = (12, 30)
"""Of the cameras of the drive, Hz; the clip has 12."""


@dataclass(frozen=True)
class Steadiness:
    """A row of the table.

    Attributes:
        changed: share of the pixels whose class changes from one image to the next.
        flickering: share of the pixels whose class changes, and that of the ground truth does not.
        mean_iou: over all images.
    """

    changed: float
    flickering: float
    mean_iou: float


def still(number: int, sigma: float, count: int) -> list[ClipFrame]:
    """Return copies of a frame of the clip with noise of a standard deviation of ``sigma``
    levels."""
    random, frame = np.random.default_rng(0), read_frame(number, *SIZE)
    return [ClipFrame(np.clip(frame.image + random.normal(0, sigma, frame.image.shape), 0, 255)
                      .astype(np.uint8), frame.labels) for _ in range(count)]


def drive(street: int, rate: float, count: int) -> list[ClipFrame]:
    """Render the images of a camera on a moving car."""
    return [render(street, *SIZE, distance=index * SPEED / rate) for index in range(count)]


def scenes(options: argparse.Namespace) -> dict[str, list[list[ClipFrame]]]:
    """Return the series of images by name; the mean starts again with each series."""
    return {'still, noisy': [still(options.scene, options.noise, options.frames)],
            **{f'drive at {rate} Hz': [drive(street, rate, options.frames)
                                       for street in STREETS[:options.streets]]
               for rate in RATES}}


def measure(segmenter: Segmenter, series: Sequence[Sequence[ClipFrame]], weight: float,
            ) -> Steadiness:
    """Segment series of images with one weight."""
    segmenter.smoothing = weight
    masks = []
    for frames in series:
        segmenter.reset_smoothing()
        masks.append([segmenter.infer(frame.image).mask.copy() for frame in frames])
    return _steadiness(series, masks)


def of_truth(series: Sequence[Sequence[ClipFrame]]) -> Steadiness:
    """Return what perfect masks have."""
    return _steadiness(series, [[frame.labels for frame in frames] for frames in series])


def _steadiness(series: Sequence[Sequence[ClipFrame]], masks: Sequence[Sequence[np.ndarray]],
                ) -> Steadiness:
    changed, flickering = [], []
    confusion = np.zeros((len(LABELS), len(LABELS) + 1), np.int64)
    for frames, found in zip(series, masks, strict=True):
        for (one, before), (other, after) in pairwise(zip(frames, found, strict=True)):
            changes = before != after
            changed.append(changes.mean())
            flickering.append((changes & (one.labels == other.labels)).mean())
        for frame, mask in zip(frames, found, strict=True):
            confusion += confusion_matrix(frame.labels, mask, len(LABELS))
    return Steadiness(float(np.mean(changed)), float(np.mean(flickering)), mean_iou(confusion))


def main(args: Sequence[str] | None = None) -> int:
    """Print the tables, and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split('::')[0])
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write the results there')
    parser.add_argument('--frames', type=int, default=30, help='number of images of a series')
    parser.add_argument('--noise', type=float, default=20.0,
                        help='of the still scene, in levels of 0 to 255')
    parser.add_argument('--scene', type=int, default=7, help='number of the frame in the clip')
    parser.add_argument('--streets', type=int, default=len(STREETS),
                        help='number of streets of each drive')
    options = parser.parse_args(args)
    tables: dict[str, dict[str, Steadiness]] = {}
    with Segmenter.open(options=RunOptions('onnxruntime', smoothing=True)) as segmenter:
        for name, series in scenes(options).items():
            tables[name] = {'truth': of_truth(series), **{
                f'{weight:g}': measure(segmenter, series, weight) for weight in WEIGHTS}}
            _print(name, tables[name])
    if options.json:
        report = _report(sys.argv[1:] if args is None else args, tables)
        options.json.write_text(json.dumps(report, indent=1) + '\n', encoding='utf-8')
    return 0


def _print(name: str, rows: dict[str, Steadiness]) -> None:
    print(f'{name}\n\n| `smoothing` | pixels that change class | that flicker | mIoU |\n'
          '|---|---|---|---|')
    for weight, row in rows.items():
        print(f'| {weight} | {row.changed:.2%} | {row.flickering:.2%} | {row.mean_iou:.3f} |')
    print()


def _report(given: Sequence[str], tables: dict[str, dict[str, Steadiness]]) -> dict[str, Any]:
    return {**describe_host(), 'command': ' '.join(['python tools/steadiness.py', *given]),
            'image': '{1}x{0}'.format(*SIZE), 'series': {
                name: [{'smoothing': weight, **asdict(row)} for weight, row in rows.items()]
                for name, rows in tables.items()}}


if __name__ == '__main__':
    raise SystemExit(main())
