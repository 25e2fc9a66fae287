# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The demo clip of the package: rendered street scenes with exact ground truth.

``tools/demo_scenes/make_clip.py`` renders it. No scene in it was used to train the demo network,
and none is among the sample images (``sources.SAMPLES``).
"""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import cv2
import numpy as np

from trt_segmentation.evaluation.datasets import read_truth
from trt_segmentation.images.sources import folder_files, read_image

LABELS = ('sky', 'vegetation', 'building', 'road', 'lane marking', 'vehicle', 'person')
"""Class names of the ground truth; a class id is the position of its name."""

_FOLDER = Path(str(resources.files('trt_segmentation') / 'demo' / 'drive'))
IMAGE_FOLDER = _FOLDER / 'images'
"""JPEG files, 1280x720, in the order of the drive."""

LABEL_FOLDER = _FOLDER / 'labels'
"""PNG files of class ids, one for each image, of the same size and stem."""


@dataclass(frozen=True)
class ClipFrame:
    """An image and its ground truth.

    Attributes:
        image: uint8 [H, W, 3], BGR, 0..255.
        labels: uint8 [H, W], a class id 0..6 (see ``LABELS``) in every pixel.
    """

    image: np.ndarray
    labels: np.ndarray


def read_frame(number: int, height: int = 720, width: int = 1280) -> ClipFrame:
    """Read one frame.

    Args:
        number: of the frame, at least 0; after the last frame, the clip repeats.
        height, width: in pixels. Other sizes than 720x1280 are resized: the image with linear,
            the labels with nearest-neighbour interpolation.

    Returns:
        The frame, in new arrays.
    """
    files = folder_files(IMAGE_FOLDER)
    file = files[number % len(files)]
    image = read_image(file)
    labels = read_truth(LABEL_FOLDER / f'{file.stem}.png', image.shape[:2], len(LABELS), ())
    if labels.shape != (height, width):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return ClipFrame(image, labels)


def read_clip() -> list[ClipFrame]:
    """Read all frames, 1280x720, in the order of the drive."""
    return [read_frame(number) for number in range(len(folder_files(IMAGE_FOLDER)))]
