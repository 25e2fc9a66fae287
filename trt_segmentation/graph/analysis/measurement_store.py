# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A cache of measurements of networks: small JSON files in the folder of the engine cache."""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trt_segmentation.cache_folder import make_cache_folder, write_whole

logger = logging.getLogger(__name__)

_warned: set[Path] = set()


class MeasurementStore:
    """A folder of measurements. Several processes may share it.

    An unreadable or damaged file counts as missing. If the folder is not writable, a warning
    reports it once, and each start measures the network again.

    Args:
        folder: created when it is first needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, key: str) -> dict[str, Any]:
        """Return the data stored under a key; empty if there is none.

        Args:
            key: digest of everything that determines the values, as hexadecimal digits.
        """
        path = self._path(key)
        try:
            kept = json.loads(path.read_text(encoding='utf-8'))
            if (kept['key'], kept['sha256']) != (key, _digest(kept['found'])):
                raise ValueError('its key or checksum is wrong')
            return kept['found']
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError, TypeError, KeyError) as error:
            logger.debug('%s is ignored: %s', path, error)
            return {}

    def write(self, key: str, found: Mapping[str, Any]) -> None:
        """Store data under a key.

        Args:
            key: see ``read``.
            found: JSON data; replaces the stored data.
        """
        text = json.dumps({'key': key, 'sha256': _digest(found), 'found': found}, indent=1)
        try:
            make_cache_folder(self._folder)
            write_whole(self._path(key), text.encode())
        except OSError as error:
            if self._folder not in _warned:
                logger.warning('the measurement cannot be stored in %s (%s); each start measures '
                               'the network again', self._folder, error)
            _warned.add(self._folder)

    def _path(self, key: str) -> Path:
        return self._folder / f'{key[:16]}.measured.json'


def _digest(found: Any) -> str:
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
