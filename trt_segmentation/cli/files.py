# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What subcommands write, with errors that name the file."""

import os
import secrets
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
    write_file(path, _png(image))


def write_file(path: Path, data: bytes) -> None:
    """Write a file.

    Raises:
        ImageError: it cannot be written.
    """
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ImageError(f'{path}: cannot be written ({error.strerror})') from error


def write_new_image(path: Path, image: np.ndarray) -> None:
    """Write an image as PNG; see ``write_image`` and ``write_new_file``."""
    write_new_file(path, _png(image))


def check_new(path: Path) -> None:
    """Check early that ``write_new_file`` would not find its name taken.

    Raises:
        ImageError: there is something of that name.
    """
    if os.path.lexists(path):
        raise _taken(path)


def write_new_file(path: Path, data: bytes) -> None:
    """Write a file that does not exist yet: the whole of it, or no file of that name.

    Raises:
        ImageError: there is something of that name already, or it cannot be written.
    """
    beside = path.with_name(f'.trt_segmentation-{secrets.token_hex(8)}')
    try:
        with beside.open('xb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _name_exclusively(beside, path)
    except FileExistsError as error:
        raise _taken(path) from error
    except OSError as error:
        raise ImageError(f'{path}: cannot be written ({error.strerror})') from error
    finally:
        beside.unlink(missing_ok=True)


def _name_exclusively(written: Path, path: Path) -> None:
    """Give a file a name that nothing has.

    Raises:
        FileExistsError: something has it.
    """
    try:
        os.link(written, path)
    except FileExistsError:
        raise
    except OSError:  # FAT and some network file systems have no hard links
        path.open('xb').close()
        try:
            written.replace(path)
        except BaseException:
            path.unlink()
            raise


def _taken(path: Path) -> ImageError:
    return ImageError(f'{path}: exists already; remove it, or name another file')


def _png(image: np.ndarray) -> bytes:
    return cv2.imencode('.png', image)[1].tobytes()
