# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Files that are there whole or not at all: written beside their place, then renamed."""

import os
import uuid
from pathlib import Path

import cv2
import numpy as np

from trt_segmentation.errors import OutputError


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are not there yet.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f'{path}: cannot be made ({error.strerror})') from error


def write_image(path: Path, image: np.ndarray, scratch: Path | None = None) -> None:
    """Write uint8 or uint16 [H, W], or uint8 BGR [H, W, 3], as PNG; see ``write_file``."""
    write_file(path, cv2.imencode('.png', image)[1].data, scratch)


def write_file(path: Path, data: 'bytes | memoryview', scratch: Path | None = None) -> None:
    """Write a file, or replace one; whoever reads it sees all of it.

    Args:
        path: of the file.
        data: its content.
        scratch: folder on the same file system where it is written until it is complete; None
            takes the file's own.

    Raises:
        OutputError: it cannot be written; nothing of it is left.
    """
    unfinished = (scratch or path.parent) / f'.{uuid.uuid4().hex}.unfinished'
    try:
        try:
            with unfinished.open('xb', buffering=0) as file:
                left = memoryview(data).cast('B')
                while left:
                    left = left[file.write(left):]
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(f'{path}: cannot be written ({error.strerror})') from error


def check_utf8(path: Path) -> str:
    """Return a path as OpenCV takes it.

    Raises:
        OutputError: it is not UTF-8, which OpenCV does not survive.
    """
    try:
        return os.fsencode(path).decode()
    except UnicodeDecodeError as error:
        raise OutputError(f'{os.fsencode(path)!r}: OpenCV writes videos under UTF-8 names only; '
                          'choose another --output') from error
