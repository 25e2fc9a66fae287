# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The images that models are judged by: folders, datasets with labels, videos, rosbags."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from trt_segmentation.bags.reading import is_bag
from trt_segmentation.datasets import Sample, find_samples, read_truth
from trt_segmentation.errors import ConfigError, ImageError, printable
from trt_segmentation.image_source import open_images, read_image, source_files, spread


def add_image_options(parser: argparse.ArgumentParser, *, required: bool = False,
                      default: str = '') -> None:
    """Add ``--images`` and what of them counts.

    Args:
        parser: of a command.
        required: whether the user must give images.
        default: what is taken if not.
    """
    parser.add_argument('--images', required=required, type=Path, metavar='PATH',
                        help='folder of images, a dataset laid out as Cityscapes or Pascal VOC, a '
                             'video or a rosbag' + (f'; default: {default}' if default else ''))
    parser.add_argument('--topic', default='', metavar='TOPIC',
                        help='image topic in a rosbag; default: the only one')
    parser.add_argument('--labels', type=Path, metavar='DIR',
                        help="folder of <image's stem>.png with class ids; default: the dataset's")
    parser.add_argument('--split', default='val', metavar='NAME',
                        help='part of a dataset (default val)')
    parser.add_argument('--ignore', type=int, nargs='+', default=[], metavar='ID',
                        help='ids in the labels that are no truth (default 255; 65535 for more '
                             'than 255 classes)')
    parser.add_argument('--limit', type=int, default=0, metavar='N',
                        help='images at most, spread evenly; default: all')


def samples_of(args: argparse.Namespace, *, labels_needed: bool = False,
                    ) -> list[Sample] | None:
    """Return the images of a folder or dataset with their labels; None for a video or a rosbag.

    Args:
        args: of ``add_image_options``.
        labels_needed: whether images without labels are of no use.

    Raises:
        DatasetError: there is none, or labels are missing.
        ConfigError: labels where there can be none.
        ImageError: there is no such file.
    """
    if args.images.is_dir() and not is_bag(args.images):
        samples = find_samples(args.images, args.labels, args.split,
                               labels_needed=labels_needed or args.labels is not None)
        return [samples[index] for index in spread(len(samples), args.limit)]
    if args.labels is not None or labels_needed:
        raise ConfigError(f'{args.images}: labels belong to a folder of images, which this is '
                          'not; compare with another model or precision instead')
    source_files(args.images)  # says at once where there is nothing
    return None


def read_images(args: argparse.Namespace, samples: Sequence[Sample] | None, classes: int,
                skipped: list[str]) -> Iterator[tuple[str, np.ndarray, np.ndarray | None]]:
    """Yield name, image (uint8 BGR) and, where there is one, truth (see ``read_truth``).

    Args:
        args: of ``add_image_options``.
        samples: of ``samples_of``; read one at a time, with a bar of progress.
        classes: of the network.
        skipped: where messages about those go that cannot be decoded; they are said, too.

    Raises:
        DatasetError: labels do not fit their image or the classes.
    """
    def skip(error: ImageError) -> None:
        skipped.append(str(error))
        tqdm.write(f'error: {error}', file=sys.stderr)

    if samples is None:
        images = open_images(args.images, args.topic, args.limit, on_error=skip)
        for name, image in tqdm(images, unit='image', disable=None):
            yield name, image, None
        return
    for sample in tqdm(samples, unit='image', disable=None):
        try:
            image = read_image(sample.image)
            truth = None if sample.labels is None else \
                read_truth(sample.labels, image.shape[:2], classes, args.ignore)
        except ImageError as error:
            skip(error)
            continue
        yield printable(sample.image), image, truth
