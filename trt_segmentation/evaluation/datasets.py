# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Images and their ground truth: which files belong together, and which class ids they hold."""

import io
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from trt_segmentation.classes.mask_encoding import MONO8, MONO16
from trt_segmentation.errors import ImageError, SegmentationError
from trt_segmentation.images.header import IMAGE_SUFFIXES, read_header
from trt_segmentation.images.sources import folder_files, is_image, read_bytes

logger = logging.getLogger(__name__)

_CITYSCAPES_IMAGE = '_leftImg8bit.png'
_CITYSCAPES_LABELS = '_gtFine_labelTrainIds.png'


class DatasetError(SegmentationError):
    """Images without labels, or labels that do not fit their image or the network."""


@dataclass(frozen=True)
class Sample:
    """An image file and its label file; None where there is no ground truth."""

    image: Path
    labels: Path | None = None


def find_samples(images: Path, labels: Path | None = None, split: str = 'val', *,
                 labels_needed: bool = True) -> list[Sample]:
    """Find images, and their labels where there are any.

    Args:
        images: a folder of images; or one in the layout of Cityscapes (the dataset, its
            leftImg8bit, or a folder in there) or of Pascal VOC (the dataset).
        labels: a folder of PNG files named like the images; for Cityscapes any folder of the
            labels that mirrors ``images``. None takes the layout's own, or none.
        split: which part of a whole dataset.
        labels_needed: whether it is an error that not one image has labels.

    Returns:
        In the order of their names. Where some images have labels, those without are left out,
        with a warning.

    Raises:
        DatasetError: there is no such folder, or nothing in it that belongs together.
    """
    for folder in (images, labels):
        if folder is not None and not folder.is_dir():
            raise DatasetError(f'{folder}: there is no such folder')
    find = next(find for recognised, find in _LAYOUTS if recognised(images))
    samples = find(images, labels, split)
    if not samples:
        raise DatasetError(f'{images}: there is no image in this folder')
    labelled = [sample for sample in samples if sample.labels and sample.labels.is_file()]
    if not labelled and labels_needed:
        meant = samples[0].labels or 'in a folder that must be given'
        raise DatasetError(f'{images}: not one of the {len(samples)} images has labels; those of '
                           f'the first, {samples[0].image.name}, would be {meant}')
    if 0 < len(labelled) < len(samples):
        logger.warning('%s: %d of %d images have no labels and are left out', images,
                       len(samples) - len(labelled), len(samples))
    return labelled or [Sample(sample.image) for sample in samples]


def read_truth(path: Path, size: tuple[int, int], classes: int, ignore: Sequence[int],
               ) -> np.ndarray:
    """Read the class of every pixel from a PNG of ids in one channel or of palette indices.

    Args:
        size: height and width of the image.
        classes: number of classes.
        ignore: ids that are no truth; empty takes the highest value of the result's type.

    Returns:
        uint8 [H, W], for more than 255 classes uint16; class ids, and the highest value of the
        type where the id is to be ignored.

    Raises:
        ImageError: the file cannot be decoded.
        DatasetError: it has another size, colours instead of ids, or ids beyond the classes.
    """
    ids = _read_ids(path)
    if ids.shape != size:
        raise DatasetError(f'{path}: the labels are {ids.shape[1]}x{ids.shape[0]}, but their '
                           f'image is {size[1]}x{size[0]}; they must be of one size')
    encoding = MONO8 if classes <= MONO8.unlabelled else MONO16
    ignored = np.isin(ids, ignore or [encoding.unlabelled])
    beyond = ids[(ids >= classes) & ~ignored]
    if beyond.size:
        raise DatasetError(f'{path}: the labels have id {beyond.max()}, but the network has '
                           f'{classes} classes (0 to {classes - 1}); is it to be ignored?')
    return np.where(ignored, encoding.unlabelled, ids).astype(encoding.dtype)


def _read_ids(path: Path) -> np.ndarray:
    """The pixels of a PNG as they are stored, uint8 or uint16 [H, W]."""
    data = read_bytes(path)
    try:
        header = read_header(data)
    except ImageError as error:
        raise ImageError(f'{path}: {error}') from error
    if header.format != 'PNG':
        raise ImageError(f'{path}: labels are PNG, and this is {header.format}')
    if header.has_palette:
        return _palette_indices(path, data)
    try:
        ids = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        ids = None
    if ids is None:
        raise ImageError(f'{path}: cannot be decoded; the file is damaged or cut short')
    if ids.ndim != 2:
        raise DatasetError(f'{path}: is a picture of {ids.shape[2]} channels; labels are class '
                           'ids in one channel, or indices of a palette')
    # OpenCV stretches 1, 2 and 4 bits over a whole byte.
    return ids if header.bits >= 8 else ids // (255 // (2 ** header.bits - 1))


def _palette_indices(path: Path, data: bytes) -> np.ndarray:
    """What OpenCV cannot give: it paints the indices in their colours."""
    try:
        from PIL import Image
    except ImportError as error:
        raise DatasetError(f'{path}: labels with a palette need Pillow, which is not installed; '
                           'pip install pillow') from error
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return np.asarray(picture)
    except (OSError, SyntaxError, ValueError,  # as Pillow words a damaged PNG
            Image.DecompressionBombError) as error:
        raise ImageError(f'{path}: cannot be decoded; the file is damaged or cut short '
                         f'({error})') from error


def _find_cityscapes(images: Path, labels: Path | None, split: str) -> list[Sample]:
    if (images / 'leftImg8bit').is_dir():
        labels = labels or images / 'gtFine' / split
        images = images / 'leftImg8bit' / split
    elif labels is None:
        labels = Path(*('gtFine' if part == 'leftImg8bit' else part
                        for part in images.absolute().parts))
    return [Sample(image, labels / image.relative_to(images).with_name(
                image.name.removesuffix(_CITYSCAPES_IMAGE) + _CITYSCAPES_LABELS))
            for image in sorted(images.rglob(f'*{_CITYSCAPES_IMAGE}'))]


def _find_voc(root: Path, labels: Path | None, split: str) -> list[Sample]:
    labels = labels or root / 'SegmentationClass'
    names = root / 'ImageSets' / 'Segmentation' / f'{split}.txt'
    if not names.is_file():
        known = ', '.join(file.stem for file in folder_files(names.parent)) or 'none'
        raise DatasetError(f'{names}: there is no such split; there is {known}')
    return [Sample(root / 'JPEGImages' / f'{name}.jpg', labels / f'{name}.png')
            for name in names.read_text(encoding='utf-8').split()]


def _find_in_folders(images: Path, labels: Path | None, split: str) -> list[Sample]:
    # A damaged file is none of OpenCV's images, but its name says what it should be.
    files = [file for file in folder_files(images)
             if is_image(file) or file.suffix.lower() in IMAGE_SUFFIXES]
    if labels is None:
        return [Sample(file) for file in files]
    return [Sample(file, labels / f'{file.stem}.png') for file in files
            if file != labels / f'{file.stem}.png']


def _is_cityscapes(images: Path) -> bool:
    return (images / 'leftImg8bit').is_dir() or any(images.rglob(f'*{_CITYSCAPES_IMAGE}'))


def _is_voc(images: Path) -> bool:
    return (images / 'JPEGImages').is_dir() and (images / 'ImageSets' / 'Segmentation').is_dir()


_Finder = Callable[[Path, Path | None, str], list[Sample]]
_LAYOUTS: tuple[tuple[Callable[[Path], bool], _Finder], ...] = (
    (_is_voc, _find_voc),
    (_is_cityscapes, _find_cityscapes),
    (lambda images: True, _find_in_folders),
)
