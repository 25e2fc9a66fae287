# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Image files with their label files, and the class ids in the label files."""

import io
import logging
from collections.abc import Sequence
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


def find_samples(images: Path, labels: Path | None = None, split: str | None = None, *,
                 labels_needed: bool = True) -> list[Sample]:
    """Find images and their label files.

    Args:
        images: a folder of images; or one in the layout of Cityscapes (the dataset, its
            leftImg8bit, or a folder in there) or of Pascal VOC (the dataset).
        labels: a folder of PNG files named like the images; for Cityscapes a folder of labels
            with the structure of ``images``. None takes the folder that the layout defines.
        split: which part of a whole dataset; None takes val.
        labels_needed: whether it is an error if no image has labels.

    Returns:
        The samples, sorted by name. If only some images have labels, the others are left out
        and a warning is logged.

    Raises:
        DatasetError: there is no such folder or split, no image in it, or no labels although
            they are needed; or a split is given, and the folder is no whole dataset.
    """
    for folder in (images, labels):
        if folder is not None and not folder.is_dir():
            raise DatasetError(f'{folder}: there is no such folder')
    samples = _find(images, labels, split)
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


def _find(images: Path, labels: Path | None, split: str | None) -> list[Sample]:
    for is_whole, find in ((_is_voc, _find_voc), (_is_cityscapes, _find_cityscapes)):
        if is_whole(images):
            return find(images, labels, split or 'val')
    if split:
        raise DatasetError(f'--split {split}: {images} is no whole dataset, in the layout of '
                           'Cityscapes or Pascal VOC; leave out --split, and name the folder of '
                           'the images')
    if any(images.rglob(f'*{_CITYSCAPES_IMAGE}')):
        return _find_in_cityscapes(images, labels)
    return _find_in_folders(images, labels)


def _find_cityscapes(root: Path, labels: Path | None, split: str) -> list[Sample]:
    images = root / 'leftImg8bit' / split
    known = [folder.name for folder in sorted(images.parent.iterdir()) if folder.is_dir()]
    _check_split(images, images.is_dir(), known)
    samples = _find_in_cityscapes(images, labels or root / 'gtFine' / split)
    _check_images(images, split, samples, known)
    return samples


def _find_in_cityscapes(images: Path, labels: Path | None) -> list[Sample]:
    if labels is None:
        labels = Path(*('gtFine' if part == 'leftImg8bit' else part
                        for part in images.absolute().parts))
    return [Sample(image, labels / image.relative_to(images).with_name(
                image.name.removesuffix(_CITYSCAPES_IMAGE) + _CITYSCAPES_LABELS))
            for image in sorted(images.rglob(f'*{_CITYSCAPES_IMAGE}'))]


def _find_voc(root: Path, labels: Path | None, split: str) -> list[Sample]:
    labels = labels or root / 'SegmentationClass'
    names = root / 'ImageSets' / 'Segmentation' / f'{split}.txt'
    known = [file.stem for file in folder_files(names.parent)]
    _check_split(names, names.is_file(), known)
    samples = [Sample(root / 'JPEGImages' / f'{name}.jpg', labels / f'{name}.png')
               for name in _words(names)]
    _check_images(names, split, samples, known)
    return samples


def _check_split(place: Path, exists: bool, known: Sequence[str]) -> None:
    if not exists:
        raise DatasetError(f'{place}: there is no such split; the splits are {_listed(known)}')


def _check_images(place: Path, split: str, samples: Sequence[Sample], known: Sequence[str],
                  ) -> None:
    if not samples:
        raise DatasetError(f"{place}: there is no image in the split '{split}'; the splits are "
                           f'{_listed(known)}')


def _listed(known: Sequence[str]) -> str:
    return ', '.join(known) or 'none'


def _words(path: Path) -> list[str]:
    """The words of a text file, which may begin with a byte order mark."""
    try:
        return path.read_text(encoding='utf-8-sig').split()
    except UnicodeDecodeError as error:
        raise DatasetError(f'{path}: is no UTF-8 text; save it as UTF-8') from error
    except OSError as error:
        raise DatasetError(f'{path}: cannot be read ({error.strerror})') from error


def _find_in_folders(images: Path, labels: Path | None) -> list[Sample]:
    files = [file for file in folder_files(images) if is_read_as_image(file)]
    if labels is None:
        return [Sample(file) for file in files]
    return [Sample(file, labels / f'{file.stem}.png') for file in files
            if file != labels / f'{file.stem}.png']


def _is_cityscapes(images: Path) -> bool:
    return (images / 'leftImg8bit').is_dir()


def _is_voc(images: Path) -> bool:
    return (images / 'JPEGImages').is_dir() and (images / 'ImageSets' / 'Segmentation').is_dir()
