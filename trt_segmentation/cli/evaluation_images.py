# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Images for evaluation: folders, datasets with labels, videos, rosbags."""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from trt_segmentation.cli.arguments import calibration_options, check_topic, read_spec, whole
from trt_segmentation.demo.clip import IMAGE_FOLDER, LABEL_FOLDER
from trt_segmentation.errors import ConfigError, ImageError, printable
from trt_segmentation.evaluation.datasets import Sample, find_samples, read_truth
from trt_segmentation.graph.precision.int8 import check_calibration
from trt_segmentation.graph.reading.resolve import ModelSpec
from trt_segmentation.images.rosbag import is_bag
from trt_segmentation.images.sources import (
    open_images,
    read_image,
    refuse_address,
    source_files,
    spread,
)
from trt_segmentation.model_config import MAX_CLASSES
from trt_segmentation.options import ENGINE_SUFFIXES


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--images`` and the options that select among them; see ``with_images``."""
    parser.add_argument('--images', type=Path, metavar='PATH',
                        help='folder of images, dataset laid out as Cityscapes or Pascal VOC, '
                             'video or rosbag; default for the demo network: the demo clip with '
                             'its labels')
    group = parser.add_argument_group('which images')
    group.add_argument('--topic', default='', metavar='TOPIC',
                       help='image topic in a rosbag; default: its only image topic')
    parser.add_argument('--labels', type=Path, metavar='DIR',
                        help='folder of label images <stem of the image>.png with class ids; '
                             'default: the labels of the dataset')
    group.add_argument('--split', metavar='NAME',
                       help='split of a whole dataset (default val)')
    group.add_argument('--ignore', type=whole(0, 65535), nargs='+', default=[], metavar='ID',
                       help='label ids to ignore (default 255; 65535 for more than 255 classes)')
    group.add_argument('--limit', type=whole(0), default=0, metavar='N',
                       help='maximum number of images, evenly spaced; 0: all (default 0)')


def with_images(args: argparse.Namespace) -> argparse.Namespace:
    """Return the arguments; for the demo network without images, with the demo clip.

    Args:
        args: arguments of ``add_image_options``, with ``model``.

    Raises:
        ConfigError: a model or labels are given without images.
    """
    if args.images:
        return args
    if args.model:
        raise ConfigError(f'--images is missing; give the images to run {args.model} on; the demo '
                          'clip is for the demo network only')
    if args.labels:
        raise ConfigError(f'--labels {args.labels}: --images is missing; give the images that '
                          'these labels belong to')
    return argparse.Namespace(**{**vars(args), 'images': IMAGE_FOLDER, 'labels': LABEL_FOLDER})


def samples_of(args: argparse.Namespace, *, labels_needed: bool = False,
                    ) -> list[Sample] | None:
    """Return the images of a folder or dataset with their labels; None for a video or a rosbag.

    Args:
        args: arguments of ``add_image_options``.
        labels_needed: whether images must have labels.

    Raises:
        DatasetError: there are no images, or labels are missing.
        ConfigError: labels or a split are requested for a video or a rosbag, or a topic for
            anything but a rosbag.
        ImageError: there is no such file.
    """
    refuse_address(args.images)
    check_topic('--topic', args.topic, [args.images])
    if args.images.is_dir() and not is_bag(args.images):
        samples = find_samples(args.images, args.labels, args.split,
                               labels_needed=labels_needed or args.labels is not None)
        return [samples[index] for index in spread(len(samples), args.limit)]
    source_files(args.images)  # raises if there is none
    if args.split:
        raise ConfigError(f'--split {args.split}: --images {args.images} is no dataset; leave out '
                          '--split')
    if args.labels is not None or labels_needed:
        raise ConfigError(f'--images {args.images}: labels need a folder of images, and this is '
                          'none; compare with another model or precision (--against)')
    return None


def check_before(args: argparse.Namespace, samples: Sequence[Sample] | None,
                 precisions: Sequence[str]) -> None:
    """Check calibration and labels before anything is built.

    Args:
        args: arguments of ``add_image_options`` and ``arguments.add_backend_options``, with
            ``model``.
        samples: result of ``samples_of``; the labels of the first one are checked.
        precisions: to be built.

    Raises:
        ConfigError: int8 is requested without calibration images or table.
        ImageError: the calibration images do not exist.
        DatasetError: labels do not fit their image or the classes.
        ModelError: the network cannot be read.
    """
    labelled = samples and samples[0].labels
    if args.model.endswith(ENGINE_SUFFIXES) or not (labelled or 'int8' in precisions):
        return
    spec = read_spec(args)
    if 'int8' in precisions:
        check_calibration(spec.network, calibration_options(args))
        if args.calibration_images:
            source_files(args.calibration_images)
    if samples and samples[0].labels:
        with contextlib.suppress(ImageError):  # read_images skips and counts it
            size = read_image(samples[0].image, spec.gray_bits).shape[:2]
            read_truth(samples[0].labels, size, class_count(spec), args.ignore)


def class_count(spec: ModelSpec) -> int:
    """Return the maximum number of classes in the masks."""
    return len(spec.labels) or MAX_CLASSES


def read_images(args: argparse.Namespace, samples: Sequence[Sample] | None, spec: ModelSpec,
                skipped: list[str]) -> Iterator[tuple[str, np.ndarray, np.ndarray | None]]:
    """Yield name, image (see ``open_images``) and truth (see ``read_truth``) or None.

    Args:
        args: arguments of ``add_image_options``.
        samples: result of ``samples_of``; read one at a time, with a progress bar.
        spec: spec of the network.
        skipped: gets a message for each image that cannot be decoded; it is also printed.

    Raises:
        DatasetError: labels do not fit their image or the classes.
    """
    def skip(error: ImageError) -> None:
        skipped.append(str(error))
        tqdm.write(f'error: {error}', file=sys.stderr)

    if samples is None:
        images = open_images(args.images, args.topic, args.limit, skip, spec.gray_bits)
        for name, image in tqdm(images, unit='image', disable=None):
            yield name, image, None
        return
    for sample in tqdm(samples, unit='image', disable=None):
        try:
            image = read_image(sample.image, spec.gray_bits)
            truth = None if sample.labels is None else \
                read_truth(sample.labels, image.shape[:2], class_count(spec), args.ignore)
        except ImageError as error:
            skip(error)
            continue
        yield printable(sample.image), image, truth
