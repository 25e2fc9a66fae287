# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Make the images that ship with the package::

    PYTHONPATH=tools python -m demo_scenes.make_clip

These are the clip of the demo with its ground truth (``trt_segmentation.demo.clip``), and the
sample images that conversions look at where the user gives none (``sources.SAMPLES``).
They show streets that are not among those that the demo network was trained on.
"""

from pathlib import Path

import cv2
import numpy as np

from demo_scenes.scenes import render
from trt_segmentation.demo.clip import IMAGE_FOLDER, LABEL_FOLDER, ClipFrame
from trt_segmentation.images.sources import SAMPLES

STREETS = (5, 6, 7, 8)
"""Seeds of the streets of the clip."""

FRAMES_PER_STREET = 4
METRES_PER_FRAME = 1.2
"""At 12 frames a second, 52 km/h."""

CLIP_QUALITY = 85
"""Of JPEG, 0..100. The files are half as large as with 95, and the demo network's mIoU is the
same within 0.003."""

SAMPLE_STREETS = (1, 2, 3, 4)
"""Seeds of the streets of the sample images."""

SAMPLE_SIZE = (360, 640)
SAMPLE_QUALITY = 95


def main() -> None:
    """Write all files of the clip and all sample images."""
    for number in range(len(STREETS) * FRAMES_PER_STREET):
        frame = render_frame(number)
        _write(IMAGE_FOLDER / f'{number:02}.jpg', frame.image, CLIP_QUALITY)
        _write(LABEL_FOLDER / f'{number:02}.png', frame.labels)
    for seed in SAMPLE_STREETS:
        _write(SAMPLES / f'{seed}.jpg', render_sample(seed), SAMPLE_QUALITY)


def render_frame(number: int) -> ClipFrame:
    """Render a frame of the clip, 1280x720."""
    street, frame = divmod(number, FRAMES_PER_STREET)
    return render(STREETS[street], distance=frame * METRES_PER_FRAME)


def render_sample(seed: int) -> np.ndarray:
    """Render a sample image: uint8 BGR [360, 640, 3]."""
    return render(seed, *SAMPLE_SIZE).image


def _write(path: Path, image: np.ndarray, quality: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    options = ([cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix == '.jpg'
               else [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not cv2.imwrite(str(path), image, options):
        raise SystemExit(f'{path} cannot be written')


if __name__ == '__main__':
    main()
