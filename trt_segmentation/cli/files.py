# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What subcommands write, with errors that name the file."""

from pathlib import Path

import cv2
import numpy as np

from trt_segmentation.errors import ImageError


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are not there yet.

    Raises:
        ImageError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f'{path}: cannot be made ({error.strerror})') from error


def write_image(path: Path, image: np.ndarray) -> None:
    """Write uint8 [H, W] or BGR [H, W, 3] as PNG.

    Raises:
        ImageError: it cannot be written.
    """
    write_file(path, cv2.imencode('.png', image)[1].tobytes())


def write_file(path: Path, data: bytes) -> None:
    """Write a file.

    Raises:
        ImageError: it cannot be written.
    """
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ImageError(f'{path}: cannot be written ({error.strerror})') from error
