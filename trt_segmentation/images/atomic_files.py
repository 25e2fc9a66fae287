# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Atomic writing of files: to a temporary file, which is then renamed."""

import os
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np

from trt_segmentation.errors import OutputError, printable

Data = bytes | memoryview


def make_folder(path: Path) -> None:
    """Create a folder and its parents if they do not exist.

    Raises:
        OutputError: it cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise OutputError(f'{path}: is a file; name a folder') from error
    except OSError as error:
        raise OutputError(f'{path}: cannot be created ({error.strerror})') from error


def write_image(path: Path, image: np.ndarray, scratch: Path | None = None) -> None:
    """Write uint8 or uint16 [H, W], or uint8 BGR [H, W, 3], as PNG; see ``write_file``."""
    write_file(path, _png(image), scratch)


def write_file(path: Path, data: Data, scratch: Path | None = None) -> None:
    """Write or replace a file; readers never see a part of it.

    Args:
        path: of the file.
        data: its content.
        scratch: folder of the temporary file, on the same file system; None takes the folder of
            ``path``.

    Raises:
        OutputError: it cannot be written; the temporary file is removed.
    """
    if os.path.islink(path):
        path, scratch = Path(os.path.realpath(path)), None
    if os.path.exists(path) and not os.path.isfile(path):  # such as /dev/stdout
        _write_through(path, data)
        return
    _write(path, data, scratch or path.parent, lambda written: written.replace(path))


def write_new_image(path: Path, image: np.ndarray) -> None:
    """Write an image as PNG; see ``write_image`` and ``write_new_file``."""
    write_new_file(path, _png(image))


def write_new_file(path: Path, data: Data) -> None:
    """Write a file that does not exist yet; readers never see a part of it.

    Raises:
        OutputError: the name exists already, or the file cannot be written.
    """
    try:
        _write(path, data, path.parent, lambda written: _name_exclusively(written, path))
    except FileExistsError as error:
        raise _taken(path) from error


def check_new(path: Path) -> None:
    """Check that a name for ``write_new_file`` does not exist yet, but its folder does.

    Raises:
        OutputError: the name exists already, or there is no such folder.
    """
    if os.path.lexists(path):
        raise _taken(path)
    if not path.parent.is_dir():
        raise OutputError(f"{path}: cannot be written: there is no folder '{path.parent}'; create "
                          'it first')


def check_utf8(path: Path) -> str:
    """Return a path as a string for OpenCV.

    Raises:
        OutputError: it is not UTF-8, which crashes OpenCV.
    """
    if printable(path) != str(path):
        raise OutputError(f'{path}: OpenCV writes videos under UTF-8 names only; choose another '
                          '--output')
    return str(path)


def _write_through(path: Path, data: Data) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise OutputError(f'{path}: cannot be written ({error.strerror})') from error


def _write(path: Path, data: Data, scratch: Path, put: Callable[[Path], object]) -> None:
    unfinished = scratch / f'.{uuid.uuid4().hex}.unfinished'
    try:
        try:
            with unfinished.open('xb', buffering=0) as file:
                left = memoryview(data)
                while left:
                    left = left[file.write(left):]
            put(unfinished)
        finally:
            unfinished.unlink(missing_ok=True)
    except FileExistsError:
        raise
    except OSError as error:
        raise OutputError(f'{path}: cannot be written ({error.strerror})') from error


def _name_exclusively(written: Path, path: Path) -> None:
    """Give a file a name that does not exist yet.

    Raises:
        FileExistsError: the name exists.
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


def _taken(path: Path) -> OutputError:
    return OutputError(f'{path}: exists already; remove it, or name another file')


def _png(image: np.ndarray) -> memoryview:
    import cv2  # not needed for other files
    return cv2.imencode('.png', image)[1].ravel().data
