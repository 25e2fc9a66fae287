# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Image files with their label files, and the class ids in the label files."""

import io
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from trt_segmentation.classes.mask_encoding import MONO8, MONO16
from trt_segmentation.errors import ImageError, SegmentationError
from trt_segmentation.images.header import read_header
from trt_segmentation.images.sources import folder_files, is_read_as_image, read_bytes

logger = logging.getLogger(__name__)

_CITYSCAPES_IMAGE = '_leftImg8bit.png'
_CITYSCAPES_LABELS = '_gtFine_labelTrainIds.png'


class DatasetError(SegmentationError):
    """Images without labels, or labels that do not fit their image or the network."""


@dataclass(frozen=True)
class Sample:
    """An image file and its label file; None if there is no ground truth."""

    image: Path
    labels: Path | None = None


def find_samples(images: Path, labels: Path | None = None, split: str = 'val', *,
                 labels_needed: bool = True) -> list[Sample]:
    """Find images and their label files.

    Args:
        images: a folder of images; or one in the layout of Cityscapes (the dataset, its
            leftImg8bit, or a folder in there) or of Pascal VOC (the dataset).
        labels: a folder of PNG files named like the images; for Cityscapes a folder of labels
            with the structure of ``images``. None takes the folder that the layout defines.
        split: which part of a whole dataset.
        labels_needed: whether it is an error if no image has labels.

    Returns:
        The samples, sorted by name. If only some images have labels, the others are left out
        and a warning is logged.

    Raises:
        DatasetError: there is no such folder, no image in it, or no labels although they are
            needed.
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
        first = samples[0]
        place = f'at {first.labels}' if first.labels else 'in the folder of --labels'
        raise DatasetError(f'{images}: none of the {len(samples)} images has labels; those of '
                           f'the first, {first.image.name}, are expected {place}')
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
        ignore: ids of pixels that are not evaluated; empty takes the highest value of the
            result's type.

    Returns:
        uint8 [H, W], for more than 255 classes uint16: class ids, and the highest value of the
        type for ignored pixels.

    Raises:
        ImageError: the file cannot be decoded.
        DatasetError: it has another size, colours instead of ids, or ids that are no class.
    """
    ids = _read_ids(path)
    if ids.shape != size:
        raise DatasetError(f'{path}: the labels are {ids.shape[1]}x{ids.shape[0]}, but their '
                           f'image is {size[1]}x{size[0]}; the sizes must be equal')
    encoding = MONO8 if classes <= MONO8.unlabelled else MONO16
    ignored = np.isin(ids, ignore or [encoding.unlabelled])
    beyond = ids[(ids >= classes) & ~ignored]
    if beyond.size:
        raise DatasetError(f'{path}: the labels have id {beyond.max()}, but the network has '
                           f'{classes} classes (0 to {classes - 1}); give this id as ignored if '
                           'it is no class')
    return np.where(ignored, encoding.unlabelled, ids).astype(encoding.dtype)


def _read_ids(path: Path) -> np.ndarray:
    """The pixels of a PNG as they are stored, uint8 or uint16 [H, W]."""
    data = read_bytes(path)
    try:
        header = read_header(data)
    except ImageError as error:
        raise ImageError(f'{path}: {error}') from error
    if header.format != 'PNG':
        raise ImageError(f'{path}: is {header.format}; labels must be PNG')
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
    # OpenCV scales values of 1, 2 and 4 bits to 0..255.
    return ids if header.bits >= 8 else ids // (255 // (2 ** header.bits - 1))


def _palette_indices(path: Path, data: bytes) -> np.ndarray:
    """Palette indices of a PNG, by Pillow; OpenCV replaces them by their colours."""
    try:
        from PIL import Image
    except ImportError as error:
        raise DatasetError(f'{path}: labels with a palette need Pillow, which is not installed; '
                           'pip install pillow') from error
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return np.asarray(picture)
    except (OSError, SyntaxError, ValueError,  # raised by Pillow for a damaged PNG
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
        raise DatasetError(f'{names}: there is no such split; the splits are {known}')
    return [Sample(root / 'JPEGImages' / f'{name}.jpg', labels / f'{name}.png')
            for name in names.read_text(encoding='utf-8').split()]


def _find_in_folders(images: Path, labels: Path | None, split: str) -> list[Sample]:
    files = [file for file in folder_files(images) if is_read_as_image(file)]
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
