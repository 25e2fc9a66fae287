# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The folder of an unfinished run beside its output, with which the same command resumes it."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trt_segmentation.errors import ConfigError, OutputError
from trt_segmentation.images.atomic_files import make_folder, write_file

_LOCK, _MANIFEST, _JOURNAL = 'lock', 'manifest.json', 'done.jsonl'


class RunCheckpoint:
    """A folder with a lock, the settings of the run, and a journal of its progress.

    Args:
        folder: its path; created by ``open_checkpoint``.

    Attributes:
        entries: of the journal, oldest first, including those of earlier runs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries = list(_journal(folder / _JOURNAL))

    def append(self, **entry: Any) -> None:
        """Append an entry to the journal. It survives the end of the process.

        Args:
            entry: values for JSON.

        Raises:
            OutputError: the journal cannot be written.
        """
        path = self.folder / _JOURNAL
        try:
            with path.open('ab') as file:
                file.write(json.dumps(entry).encode() + b'\n')
        except OSError as error:
            raise OutputError(f'{path}: cannot be written ({error.strerror})') from error
        self.entries.append(entry)

    @property
    def has_results(self) -> bool:
        """Whether a run can be resumed: there is an entry, or the folder of a finished part."""
        return bool(self.entries) or any(self.folder.glob('part_*'))

    def finish(self) -> None:
        """Remove the folder after the run is complete.

        The manifest and the journal are removed last, so that a run that is killed meanwhile can
        still be finished.
        """
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in (_LOCK, _MANIFEST, _JOURNAL):
                path.unlink()
        for name in (_MANIFEST, _JOURNAL, _LOCK):
            (self.folder / name).unlink(missing_ok=True)
        self.folder.rmdir()

    def check(self, settings: Mapping[str, Any]) -> None:
        """Compare the settings with those of the run that left results here, or store them.

        Args:
            settings: everything that the results depend on, for JSON.

        Raises:
            ConfigError: the settings differ.
            OutputError: the settings cannot be written.
        """
        path = self.folder / _MANIFEST
        settings = json.loads(json.dumps(settings, default=str))
        if not self.has_results:
            write_file(path, (json.dumps(settings, indent=1) + '\n').encode())
        elif path.is_file():  # without it, ``finish`` was interrupted
            earlier = _read(path)
            for key in (*settings, *earlier):
                if earlier.get(key) != settings.get(key):
                    raise ConfigError(
                        f'{self.folder}: belongs to a run with {key} {earlier.get(key)!r}, '
                        f'this run has {settings.get(key)!r}; delete this folder to start again, '
                        'or choose another --output')


@contextmanager
def open_checkpoint(folder: Path) -> Iterator[RunCheckpoint]:
    """Create and lock the folder of an unfinished run for the body of a with statement.

    If the body fails before there are results, the folder is removed.

    Raises:
        ConfigError: another process uses the folder.
        OutputError: the folder cannot be created.
    """
    from filelock import FileLock, Timeout
    make_folder(folder)
    lock = FileLock(folder / _LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ConfigError(f'{folder}: is in use by another process; wait for it or choose '
                          'another --output') from error
    except OSError as error:
        raise ConfigError(f'{folder}: cannot be locked ({error.strerror})') from error
    try:
        run = RunCheckpoint(folder)
        try:
            yield run
        except BaseException:
            if not run.has_results:
                shutil.rmtree(folder, ignore_errors=True)
            raise
    finally:
        lock.release()


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}


def _journal(path: Path) -> Iterator[dict[str, Any]]:
    """The entries of a journal; the last one may be incomplete and is then skipped."""
    if not path.is_file():
        return
    for line in path.read_bytes().splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue
