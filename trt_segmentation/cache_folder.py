# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The cache folder of engines and measurements, and atomic writing of its files."""

import os
import secrets
from pathlib import Path

import platformdirs

FOLDER_VARIABLE = 'TRT_SEGMENTATION_CACHE'


def cache_folder(folder: str = '') -> Path:
    """Return the folder where engines and measurements are stored.

    Args:
        folder: a folder; '' takes ``$TRT_SEGMENTATION_CACHE``, else the user's cache.
    """
    return Path(folder or os.environ.get(FOLDER_VARIABLE)
                or platformdirs.user_cache_dir('trt_segmentation'))


def make_cache_folder(folder: Path) -> None:
    """Create the folder if it does not exist.

    Raises:
        OSError: it cannot be created.
    """
    # Plans may hold code, so other users must not write here. A shared folder is created before.
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically: after a power cut, too, it has all of the old or new content.

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
