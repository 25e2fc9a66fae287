# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Score a model against ground truth, another model, or itself in another precision."""

import argparse
import heapq
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from trt_segmentation.backends import open_network
from trt_segmentation.backends.base import BackendInfo
from trt_segmentation.classes.palette import Palette
from trt_segmentation.cli.arguments import (
    add_backend_options,
    build_options,
    new_file,
    open_segmenter,
    run_options,
    whole,
)
from trt_segmentation.cli.evaluation_images import (
    add_image_options,
    check_before,
    class_count,
    read_images,
    samples_of,
    with_images,
)
from trt_segmentation.errors import ConfigError
from trt_segmentation.evaluation.datasets import DatasetError, Sample
from trt_segmentation.evaluation.metrics import (
    class_iou,
    confusion_matrix,
    joint_counts,
    mean_iou,
    pixel_accuracy,
)
from trt_segmentation.graph.reading.resolve import ModelSpec
from trt_segmentation.images.atomic_files import make_folder, write_file, write_image
from trt_segmentation.images.render import confusion_picture, differences
from trt_segmentation.model_config import MAX_CLASSES
from trt_segmentation.options import ENGINE_SUFFIXES, PRECISIONS
from trt_segmentation.segmenter import Segmenter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``trt-segmentation evaluate``."""
    parser.add_argument('model', nargs='?', default='', metavar='MODEL',
                        help='.onnx, .engine or .plan file; default: the embedded demo network')
    add_image_options(parser)
    parser.add_argument('--against', default='', metavar='MODEL_OR_PRECISION',
                        help='also compare with another model, or with this model in '
                             f'{", ".join(PRECISIONS)}; needs no labels')
    parser.add_argument('--against-config', default='', metavar='YAML',
                        help="config of the other model; default: --config")
    parser.add_argument('--worst', type=whole(0), default=5, metavar='N',
                        help='number of images to draw into --output, those that differ most from '
                             '--against (default 5)')
    parser.add_argument('--json', type=new_file, metavar='FILE',
                        help='also write the report to this file')
    parser.add_argument('--output', type=Path, metavar='DIR',
                        help='folder for confusion.png and the pictures of --worst')
    add_backend_options(parser)


def execute(args: argparse.Namespace) -> int:
    """Measure, print and write the report; return 1 if an image could not be read."""
    if args.against_config and args.against in ('', *PRECISIONS):
        raise ConfigError(f'--against-config {args.against_config}: is the config of another '
                          'model; name it as --against')
    args = with_images(args)
    samples = samples_of(args, labels_needed=not args.against)
    if args.output:
        make_folder(args.output)
    check_before(args, samples, [args.precision, args.against])
    ours = open_precision(args)
    theirs = _open_other(args, ours) if args.against else None
    tally = _measure(samples, ours, theirs, args)
    report = {'model': ours.spec.network.source, 'precision': args.precision,
              'runs_on': str(what_runs(ours, args.precision)), 'images': tally.images,
              'skipped': tally.skipped, **_comparisons(tally, ours.spec, theirs, args)}
    print(_table(report))
    if args.json:
        write_file(args.json, (json.dumps(report, indent=2) + '\n').encode())
    if args.output:
        _write_pictures(tally, ours.spec, args.output)
    return 1 if tally.skipped else 0


@dataclass
class _Tally:
    """Counts over all images; its size does not depend on their number.

    Attributes:
        truth: sum of ``confusion_matrix``.
        other: sum of ``joint_counts``: rows of the other model, columns of this one.
        worst: a min-heap of (fraction of different pixels, index, name, picture).
    """

    truth: np.ndarray
    other: np.ndarray
    images: int = 0
    skipped: list[str] = field(default_factory=list)
    worst: list[tuple[float, int, str, np.ndarray | None]] = field(default_factory=list)


def open_precision(args: argparse.Namespace) -> Segmenter:
    """Open the model in ``args.precision``; on ONNX Runtime, run the network converted to it."""
    segmenter = open_segmenter(args)
    if args.precision == 'fp32' or segmenter.info.backend != 'onnxruntime':
        return segmenter
    from trt_segmentation.backends.tensorrt.build_requests import with_precision
    spec, _ = with_precision(segmenter.spec, build_options(args))
    segmenter.close()
    options = replace(run_options(args), backend='onnxruntime')
    return Segmenter(open_network(spec, options), spec)


def _open_other(args: argparse.Namespace, ours: Segmenter) -> Segmenter:
    if args.against not in PRECISIONS:
        other = {'model': args.against, 'config': args.against_config or args.config}
    elif Path(args.model).suffix in ENGINE_SUFFIXES:
        raise ConfigError(f'--against {args.against}: {args.model} is an engine with a fixed '
                          "precision; give its network's .onnx file")
    elif args.against == args.precision:
        raise ConfigError(f'--against {args.against}: the model runs in {args.precision} already; '
                          'choose another --precision')
    else:
        other = {'precision': args.against}
    theirs = open_precision(argparse.Namespace(**{**vars(args), **other}))
    counts = class_count(ours.spec), class_count(theirs.spec)
    if counts[0] != counts[1]:
        raise ConfigError(f'--against {args.against}: has {counts[1]} classes, but '
                          f'{ours.spec.network.source} has {counts[0]}; the numbers must be equal')
    return theirs


_GRAPHS = {'fp16': 'fp16 graph (weights rounded, computed in fp32)', 'int8': 'int8 graph'}
"""What ONNX Runtime's CPU provider runs for a converted network, by precision."""


def what_runs(segmenter: Segmenter, precision: str) -> BackendInfo:
    """Describe what runs in a segmenter that ``open_precision`` has opened."""
    info = segmenter.info
    if info.backend == 'onnxruntime' and precision != 'fp32':
        info = replace(info, precision=_GRAPHS[precision])
    return info


def _measure(samples: Sequence[Sample] | None, ours: Segmenter, theirs: Segmenter | None,
             args: argparse.Namespace) -> _Tally:
    classes = class_count(ours.spec)
    tally = _Tally(np.zeros((classes, classes + 1), np.int64),
                   np.zeros((classes + 1, classes + 1), np.int64))
    images = read_images(args, samples, ours.spec, tally.skipped)
    for index, (name, image, truth) in enumerate(images):
        tally.images += 1
        mask = ours.infer(image).mask
        if truth is not None:
            tally.truth += confusion_matrix(truth, mask, classes)
        if theirs is not None:
            _compare(tally, index, name, image, (mask, theirs.infer(image).mask),
                     ours.spec.palette, args)
    return tally


def _compare(tally: _Tally, index: int, name: str, image: np.ndarray,
             masks: tuple[np.ndarray, np.ndarray], palette: Palette,
             args: argparse.Namespace) -> None:
    """Count where two masks agree; keep the image if it is among the worst."""
    ours, theirs = masks
    counts = joint_counts(theirs, ours, len(tally.truth))
    tally.other += counts
    differing = 1 - pixel_accuracy(counts)
    is_full = len(tally.worst) >= args.worst
    if differing == 0 or args.worst <= 0 or (is_full and differing <= tally.worst[0][0]):
        return
    picture = differences(image, ours, theirs, palette) if args.output else None
    keep = heapq.heapreplace if is_full else heapq.heappush
    keep(tally.worst, (differing, index, name, picture))


def _comparisons(tally: _Tally, spec: ModelSpec, theirs: Segmenter | None,
                 args: argparse.Namespace) -> dict[str, Any]:
    """The numeric parts of the report.

    Raises:
        DatasetError: no image could be read, or all pixels of the labels are ignored.
    """
    if not tally.images:
        raise DatasetError(f'{args.images}: none of its images could be evaluated')
    parts: dict[str, Any] = {}
    if tally.truth.any():
        parts['ground_truth'] = {'pixel_accuracy': pixel_accuracy(tally.truth),
                                 **_by_class(tally.truth, spec, args.ignore),
                                 'confusion': tally.truth.tolist()}
    elif theirs is None:
        raise DatasetError(f'{args.images}: all pixels of the labels have an ignored id; see '
                           '--ignore')
    if theirs is not None:
        worst = [{'image': name, 'agreement': 1 - differing}
                 for differing, _, name, _ in sorted(tally.worst, reverse=True)]
        precision = args.against if args.against in PRECISIONS else args.precision
        parts['against'] = {'model': args.against, 'runs_on': str(what_runs(theirs, precision)),
                            'agreement': pixel_accuracy(tally.other),
                            **_by_class(tally.other, spec), 'confusion': tally.other.tolist(),
                            'worst': worst}
    return parts


def _by_class(confusion: np.ndarray, spec: ModelSpec, ignored: Sequence[int] = (),
              ) -> dict[str, Any]:
    names = _names(spec)
    rows = zip(names, class_iou(confusion, ignored), confusion.sum(axis=1), strict=False)
    return {'miou': mean_iou(confusion, ignored),
            'classes': [{'label': name, 'iou': None if np.isnan(iou) else float(iou),
                         'pixels': int(pixels)} for name, iou, pixels in rows]}


def _names(spec: ModelSpec) -> list[str]:
    """Names by class id, and a last one for unlabelled pixels."""
    labels = spec.labels or [f'class {index}' for index in range(MAX_CLASSES)]
    return [*labels, 'unlabelled']


def _table(report: dict[str, Any]) -> str:
    lines = [f"{report['model']}: {report['runs_on']}",
             f"{report['images']} images" + (f", {len(report['skipped'])} more could not be read"
                                             if report['skipped'] else '')]
    if truth := report.get('ground_truth'):
        lines += ['', *_rows('against ground truth', truth),
                  f"mIoU {truth['miou']:.2%}, pixel accuracy {truth['pixel_accuracy']:.2%}"]
    if other := report.get('against'):
        lines += ['', *_rows(f"against {other['model']}, {other['runs_on']}", other),
                  f"mIoU {other['miou']:.2%}, {other['agreement']:.4%} of the pixels are equal"]
        lines += [f"  {worst['agreement']:9.4%}  {worst['image']}" for worst in other['worst']]
    return '\n'.join(lines)


def _rows(title: str, part: dict[str, Any]) -> list[str]:
    """A line for each class that has a score."""
    found = [row for row in part['classes'] if row['iou'] is not None]
    width = max(len(row['label']) for row in found)
    total = sum(row['pixels'] for row in found)
    return [title, f"{'class':{width}}  {'pixels':>8}  {'IoU':>8}",
            *(f"{row['label']:{width}}  {row['pixels'] / total:8.2%}  {row['iou']:8.2%}"
              for row in found)]


def _write_pictures(tally: _Tally, spec: ModelSpec, folder: Path) -> None:
    if tally.truth.any():
        picture = confusion_picture(tally.truth, _names(spec), 'truth')
    else:
        picture = confusion_picture(tally.other, _names(spec), 'theirs')
    write_image(folder / 'confusion.png', picture)
    for rank, (_, _, name, compared) in enumerate(sorted(tally.worst, reverse=True)):
        if compared is not None:
            write_image(folder / f'worst_{rank + 1}_{Path(name).stem}.png', compared)
