# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Compare a network's precisions side by side: accuracy, agreement, speed and size."""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from trt_segmentation.backends import engine_loader
from trt_segmentation.backends.tensorrt.verify import EXPECTED_AGREEMENT
from trt_segmentation.benchmark.timing import measure, percentiles
from trt_segmentation.cli.arguments import (
    add_backend_options,
    build_options,
    new_file,
    read_spec,
    share,
    whole,
)
from trt_segmentation.cli.compare_text import comparison_text, layer_text
from trt_segmentation.cli.console import message_of
from trt_segmentation.cli.evaluate import open_precision, what_runs
from trt_segmentation.cli.evaluation_images import (
    add_image_options,
    check_before,
    class_count,
    read_images,
    samples_of,
    with_images,
)
from trt_segmentation.demo.clip import IMAGE_FOLDER
from trt_segmentation.errors import ConfigError, SegmentationError
from trt_segmentation.evaluation.datasets import DatasetError, Sample
from trt_segmentation.evaluation.metrics import (
    confusion_matrix,
    joint_counts,
    mean_iou,
    pixel_accuracy,
)
from trt_segmentation.images.atomic_files import write_file
from trt_segmentation.images.sources import SAMPLES
from trt_segmentation.options import ENGINE_SUFFIXES, PRECISIONS
from trt_segmentation.segmenter import Segmenter, demo_model

_LAYER_IMAGES = 4
"""Number of images on which layers are compared, those whose masks differ most."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``trt-segmentation compare``."""
    parser.add_argument('model', nargs='?', default='', metavar='MODEL',
                        help='an .onnx file; default: the embedded demo network')
    add_image_options(parser)
    parser.add_argument('--precisions', '--precision', type=_precisions, default=PRECISIONS,
                        metavar='NAMES',
                        help='comma-separated; the first is the reference; int8 needs '
                             '--calibration-images or --calibration-table '
                             f'(default {",".join(PRECISIONS)})')
    defaults = ', '.join(f'{EXPECTED_AGREEMENT[name]} for {name}' for name in PRECISIONS[1:])
    parser.add_argument('--at-least', type=share, metavar='SHARE',
                        help='required fraction of the pixels with the same class as in the first '
                             f'precision; below it, layers are compared (default {defaults})')
    parser.add_argument('--layers', type=whole(0), default=5, metavar='N',
                        help='number of layers to list, those with the largest error (default 5)')
    parser.add_argument('--frames', type=whole(1), default=50, metavar='N',
                        help='timed runs of each precision (default 50)')
    parser.add_argument('--json', type=new_file, metavar='FILE',
                        help='also write the report to this file')
    add_backend_options(parser, precision=False)


def execute(args: argparse.Namespace) -> int:
    """Build missing engines, measure, print and write the report.

    Returns:
        1 if an image could not be read or a precision could not be built, else 0, even if the
        precisions disagree.
    """
    if args.model.endswith(ENGINE_SUFFIXES):
        raise ConfigError(f'{args.model}: is an engine with a fixed precision; give its '
                          "network's .onnx file")
    args = _with(with_images(args), fp16_fallback=False)
    of_clip = args.images == IMAGE_FOLDER
    if of_clip and not args.calibration_images:
        args = _with(args, calibration_images=str(SAMPLES))
    samples = samples_of(args)
    check_before(args, samples, args.precisions)
    candidates, failed = _open(args)
    report = {'model': args.model or str(demo_model()),
              'images_from': 'the clip of the demo' if of_clip else str(args.images),
              **_measured(args, samples, candidates), 'failed': failed}
    print(comparison_text(report))
    for candidate in candidates:
        candidate.segmenter.close()
    for candidate in candidates[1:]:
        entry = report['precisions'][candidate.precision]
        if entry['agreement'] < entry['at_least'] and candidate.precision != 'fp32':
            entry['layers'] = _layers(args, candidate)
            print(layer_text(candidate.precision, report, entry['layers'][:args.layers],
                             _LAYER_IMAGES))
    if args.json:
        write_file(args.json, (json.dumps(report, indent=2) + '\n').encode())
    return 1 if report['skipped'] or failed else 0


@dataclass
class _Candidate:
    """A precision, and its counts over all images.

    Attributes:
        truth: sum of ``confusion_matrix``.
        same: sum of ``joint_counts`` of the first precision and this one.
        worst: agreement, index and image of the images that agree least.
    """

    precision: str
    segmenter: Segmenter
    truth: np.ndarray
    same: np.ndarray
    worst: list[tuple[float, int, np.ndarray]] = field(default_factory=list)

    def count(self, index: int, image: np.ndarray, first: np.ndarray, mask: np.ndarray,
              truth: np.ndarray | None) -> None:
        """Count one image."""
        classes = len(self.truth)
        if truth is not None:
            self.truth += confusion_matrix(truth, mask, classes)
        counts = joint_counts(first, mask, classes)
        self.same += counts
        self.worst.append((pixel_accuracy(counts), index, image))
        self.worst = sorted(self.worst, key=lambda each: each[:2])[:_LAYER_IMAGES]


def _with(args: argparse.Namespace, **changes: Any) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(args), **changes})


def _open(args: argparse.Namespace) -> tuple[list[_Candidate], dict[str, str]]:
    """Open every precision; return also the reasons for those that cannot be built.

    Raises:
        SegmentationError: the first precision cannot be built.
    """
    candidates: list[_Candidate] = []
    failed = {}
    for precision in args.precisions:
        backend = candidates[0].segmenter.info.backend if candidates else args.backend
        try:
            segmenter = open_precision(_with(args, precision=precision, backend=backend))
        except SegmentationError as error:
            if precision == args.precisions[0]:
                raise
            failed[precision] = message_of(error, args)
            continue
        classes = class_count(segmenter.spec)
        candidates.append(_Candidate(precision, segmenter,
                                     np.zeros((classes, classes + 1), np.int64),
                                     np.zeros((classes + 1, classes + 1), np.int64)))
    return candidates, failed


def _measured(args: argparse.Namespace, samples: Sequence[Sample] | None,
              candidates: Sequence[_Candidate]) -> dict[str, Any]:
    """Run all precisions in turn; return their part of the report.

    Raises:
        DatasetError: no image could be read.
    """
    count, timed = 0, None
    skipped: list[str] = []
    spec = candidates[0].segmenter.spec
    for count, (_, image, truth) in enumerate(read_images(args, samples, spec, skipped), 1):
        timed = image if timed is None else timed
        masks = [candidate.segmenter.infer(image).mask for candidate in candidates]
        for candidate, mask in zip(candidates, masks, strict=True):
            candidate.count(count, image, masks[0], mask, truth)
    if timed is None:
        raise DatasetError(f'{args.images}: none of its images could be evaluated')
    speeds = _speeds(candidates, timed, args.frames)
    entries = {candidate.precision: {**_scores(candidate, args), **speeds[candidate.precision]}
               for candidate in candidates}
    return {'images': count, 'skipped': skipped, 'timed_size': list(timed.shape[:2]),
            'frames': args.frames, 'precisions': entries}


def _scores(candidate: _Candidate, args: argparse.Namespace) -> dict[str, Any]:
    precision, segmenter = candidate.precision, candidate.segmenter
    info = what_runs(segmenter, precision)
    scores = {'backend': f'{info.backend} {info.version} on {info.device}',
              'runs': info.layers or info.precision,
              'agreement': pixel_accuracy(candidate.same),
              'at_least': args.at_least or EXPECTED_AGREEMENT[precision],
              'megabytes': _size(segmenter, _with(args, precision=precision)) / 1e6}
    if candidate.truth.any():
        scores['miou'] = mean_iou(candidate.truth, args.ignore)
        scores['pixel_accuracy'] = pixel_accuracy(candidate.truth)
    return scores


def _size(segmenter: Segmenter, args: argparse.Namespace) -> int:
    """Bytes of the engine, or of the network if there is no engine."""
    spec = segmenter.spec
    if segmenter.info.backend != 'tensorrt':
        return spec.network.model.ByteSize()
    loader = engine_loader(args.device, args.engine_cache)
    return len(loader.fetch(spec, build_options(args), args.mask_interpolation).plan)


def _speeds(candidates: Sequence[_Candidate], image: np.ndarray, frames: int,
            ) -> dict[str, dict[str, Any]]:
    """Times from image to mask, in ms by precision."""
    steps = {candidate.precision: lambda run=candidate.segmenter: run.infer(image)
             for candidate in candidates}
    seconds = measure(steps, frames).seconds
    first = np.median(seconds[candidates[0].precision])
    speeds: dict[str, dict[str, Any]] = {
        precision: {'wall_ms': percentiles(series),
                    'times_as_fast': float(first / np.median(series))}
        for precision, series in seconds.items()}
    for candidate in candidates:
        if gpu_ms := candidate.segmenter.gpu_times(image, ('mask',), frames):
            speeds[candidate.precision]['gpu_ms_p50'] = gpu_ms
    return speeds


def _layers(args: argparse.Namespace, candidate: _Candidate) -> list[dict[str, Any]]:
    """The error of each layer, worst first; None for ratios that are not finite."""
    from trt_segmentation.backends.tensorrt.build_requests import with_precision
    from trt_segmentation.graph.precision.layer_loss import layer_losses
    spec = read_spec(args)
    options = build_options(_with(args, precision=candidate.precision))
    converted, kept = with_precision(spec, options)
    images = [image for _, _, image in candidate.worst]
    return [{**asdict(loss), 'own_db': _or_none(loss.own_db), 'total_db': _or_none(loss.total_db)}
            for loss in layer_losses(spec, converted, kept, images)]


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _precisions(text: str) -> tuple[str, ...]:
    names = tuple(text.split(','))
    if not set(names) <= set(PRECISIONS) or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"'{text}' is not a comma-separated list of "
                                         f"{', '.join(PRECISIONS)}, each at most once")
    return names
