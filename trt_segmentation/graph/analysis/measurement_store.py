# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What was measured of networks, as small JSON files beside the engines."""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trt_segmentation.cache_folder import make_cache_folder, write_whole

logger = logging.getLogger(__name__)

_warned: set[Path] = set()


class MeasuredStore:
    """A folder of measurements. Several processes may share it.

    A file that cannot be read or is damaged counts as missing. Where nothing can be written, a
    warning reports it once for each folder, and networks are measured at each opening.

    Args:
        folder: made when it is first needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, key: str) -> dict[str, Any]:
        """Return what was kept under a key; empty where that is nothing.

        Args:
            key: of all that decides the values, as hexadecimal digits.
        """
        path = self._path(key)
        try:
            kept = json.loads(path.read_text(encoding='utf-8'))
            if (kept['key'], kept['sha256']) != (key, _digest(kept['found'])):
                raise ValueError('its content is not what was written')
            return kept['found']
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError, TypeError, KeyError) as error:
            logger.debug('%s is not used (%s)', path, error)
            return {}

    def write(self, key: str, found: Mapping[str, Any]) -> None:
        """Keep something under a key.

        Args:
            key: as of ``read``.
            found: replaces what was kept; anything that JSON can hold.
        """
        text = json.dumps({'key': key, 'sha256': _digest(found), 'found': found}, indent=1)
        try:
            make_cache_folder(self._folder)
            write_whole(self._path(key), text.encode())
        except OSError as error:
            if self._folder not in _warned:
                logger.warning('what was measured cannot be kept in %s (%s); it is measured at '
                               'each opening', self._folder, error)
            _warned.add(self._folder)

    def _path(self, key: str) -> Path:
        return self._folder / f'{key[:16]}.measured.json'


def _digest(found: Any) -> str:
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
