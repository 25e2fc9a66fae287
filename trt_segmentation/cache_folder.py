# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The folder of engines and of what was measured, and how files in it are written."""

import os
import secrets
from pathlib import Path

import platformdirs

FOLDER_VARIABLE = 'TRT_SEGMENTATION_CACHE'


def cache_folder(told: str = '') -> Path:
    """Return where engines and measurements are kept.

    Args:
        told: a folder; '' takes ``$TRT_SEGMENTATION_CACHE``, else the user's cache.
    """
    return Path(told or os.environ.get(FOLDER_VARIABLE)
                or platformdirs.user_cache_dir('trt_segmentation'))


def make_cache_folder(folder: Path) -> None:
    """Make the folder where it is not there.

    Raises:
        OSError: it cannot be made.
    """
    # Plans may hold code: nobody else shall put them here. Who shares a folder makes it.
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a power cut, finds all of it or the old one.

    Raises:
        OSError: there is no such folder, no space, or no permission.
    """
    temporary = path.with_name(f'.{path.name}.{secrets.token_hex(4)}.tmp')
    try:
        with open(temporary, 'xb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
