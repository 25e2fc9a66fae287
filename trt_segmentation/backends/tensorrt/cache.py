# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Engine files, a plan with a sidecar that describes it, and the cache folder of engines."""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from trt_segmentation.cache_folder import FOLDER_VARIABLE, make_cache_folder, write_whole
from trt_segmentation.errors import ModelError

logger = logging.getLogger(__name__)

_KEY_DIGITS = 16


@dataclass(frozen=True)
class Engine:
    """A plan and its description.

    Attributes:
        plan: the serialized engine.
        facts: the description in the sidecar; values that JSON can represent.
    """

    plan: bytes
    facts: Mapping[str, Any] = field(default_factory=dict)


def sidecar_of(path: Path) -> Path:
    """Return where the facts of an engine file are: 'road.engine.json' beside 'road.engine'."""
    return path.with_name(f'{path.name}.json')


def write_engine(path: Path, engine: Engine) -> None:
    """Write a plan and its sidecar; each is written atomically.

    Raises:
        OSError: there is no such folder, no space, or no permission.
    """
    _write_pair(path, engine, {})


def read_engine(path: Path) -> Engine:
    """Read a plan and, where there is one, its sidecar.

    Raises:
        ModelError: no such file; a sidecar that cannot be read or belongs to another plan.
    """
    try:
        plan = path.read_bytes()
    except OSError as error:
        raise ModelError(f'{path} cannot be read: {error.strerror}') from error
    if not sidecar_of(path).exists():
        return Engine(plan)
    try:
        return Engine(plan, _read_sidecar(path, plan)['facts'])
    except (OSError, ValueError) as error:
        raise ModelError(f'{path}: {error}; copy both files again, or rebuild it from its '
                         f'.onnx file, or remove {sidecar_of(path)} if you replaced the engine '
                         'on purpose') from error


class EngineCache:
    """A folder of engines, each with a key of all that it depends on. Processes may share it.

    Args:
        folder: created when it is first needed. If it cannot be created or written, engines
            are used from memory, and one warning is logged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._warned = False

    @property
    def folder(self) -> Path:
        """The folder, which may not exist yet."""
        return self._folder

    def fetch(self, name: str, key_facts: Mapping[str, Any],
              make: Callable[[], Engine]) -> Engine:
        """Return an engine from the folder, or build it and store it there.

        If several processes need the same engine, one builds it while the others wait.

        Args:
            name: a readable prefix of its files' names.
            key_facts: all that it depends on; values that JSON can represent.
            make: builds it.

        Raises:
            Any error of ``make``.
        """
        path = self.path_of(name, key_of(key_facts))
        if (engine := self._read(path, key_facts, logging.DEBUG)) is not None:
            return engine
        with self._locked(path):
            if (engine := self._read(path, key_facts, logging.WARNING)) is not None:
                return engine
            engine = make()
            self._keep(path, engine, key_facts)
            return engine

    def path_of(self, name: str, key: str) -> Path:
        """Return the path where ``fetch`` stores an engine.

        Args:
            name: as of ``fetch``.
            key: ``key_of`` its facts.
        """
        return self._folder / f'{_file_name(name)}-{key[:_KEY_DIGITS]}.engine'

    def read_timing_cache(self, name: str) -> bytes:
        """Return the timing cache of that name; empty if there is none."""
        try:
            return self._timing_path(name).read_bytes()
        except OSError:
            return b''

    def write_timing_cache(self, name: str, data: bytes) -> None:
        """Store TensorRT's timing cache; without it, the next build is only slower.

        Args:
            name: of the TensorRT version and the GPU.
            data: nothing is written if it is empty.
        """
        if data:
            self._try_to_write(lambda: write_whole(self._timing_path(name), data))

    def _timing_path(self, name: str) -> Path:
        return self._folder / f'{_file_name(name)}.timings'

    def _read(self, path: Path, key_facts: Mapping[str, Any], level: int) -> Engine | None:
        """The engine, if it is complete and has this key; a fault is logged at ``level``."""
        try:
            plan = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            logger.log(level, '%s cannot be read (%s); rebuilding it', path, error.strerror)
            return None
        try:
            sidecar = _read_sidecar(path, plan)
            if _canonical(sidecar.get('key')) != _canonical(key_facts):
                raise ValueError('its sidecar is that of another engine')
            return Engine(plan, sidecar['facts'])
        except (OSError, ValueError) as error:
            logger.log(level, '%s cannot be used: %s; rebuilding it', path, error)
            return None

    def _keep(self, path: Path, engine: Engine, key_facts: Mapping[str, Any]) -> None:
        def write() -> None:
            for left_over in path.parent.glob(f'.{path.name}*.tmp'):
                left_over.unlink()  # of a killed writer, since we hold the lock
            _write_pair(path, engine, key_facts)

        self._try_to_write(write)

    def _try_to_write(self, write: Callable[[], None]) -> None:
        try:
            make_cache_folder(self._folder)
            write()
        except OSError as error:
            self._warn(error)

    @contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        """Keep other processes from building the same engine, if the folder supports locks."""
        import filelock  # imports asyncio, which a cached engine does not need
        lock = filelock.FileLock(path.with_name(f'{path.name}.lock'))
        try:
            make_cache_folder(self._folder)
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                logger.info('waiting for another process that is building %s', path)
                lock.acquire()
        except (OSError, NotImplementedError) as error:  # the latter: no locks on this file system
            self._warn(error)
        try:
            yield
        finally:
            lock.release()

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            logger.warning('engines cannot be stored in %s (%s); they are rebuilt each time '
                           'unless %s names another folder', self._folder, error, FOLDER_VARIABLE)
        self._warned = True


def key_of(key_facts: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all that an engine depends on, as 64 hexadecimal digits.

    The order of the keys does not matter; lists and tuples are equal.
    """
    return hashlib.sha256(_canonical(key_facts).encode()).hexdigest()


def _canonical(facts: Any) -> str:
    return json.dumps(facts, sort_keys=True, separators=(',', ':'), allow_nan=False)


def _file_name(name: str) -> str:
    return re.sub(r'[^\w.-]+', '_', name).lstrip('.')[:80]


def _read_sidecar(path: Path, plan: bytes) -> dict[str, Any]:
    """Read the sidecar of a plan; ValueError if the two do not belong together."""
    try:
        sidecar = json.loads(sidecar_of(path).read_text(encoding='utf-8'))
    except FileNotFoundError:
        raise ValueError('its sidecar is missing') from None
    except ValueError as error:
        raise ValueError(f'its sidecar is not JSON ({error})') from error
    if not (isinstance(sidecar, dict) and isinstance(sidecar.get('plan'), dict)
            and isinstance(sidecar.get('facts'), dict)):
        raise ValueError('its sidecar was not written by trt_segmentation')
    if sidecar['plan'].get('size') != len(plan):
        raise ValueError(f'it has {len(plan)} bytes and should have '
                         f'{sidecar["plan"].get("size")}')
    if sidecar['plan'].get('sha256') != hashlib.sha256(plan).hexdigest():
        raise ValueError('its SHA-256 is not the one in its sidecar')
    return sidecar


def _write_pair(path: Path, engine: Engine, key_facts: Mapping[str, Any]) -> None:
    sidecar = {'key': dict(key_facts), 'facts': dict(engine.facts),
               'plan': {'size': len(engine.plan),
                        'sha256': hashlib.sha256(engine.plan).hexdigest()},
               'created': datetime.now(timezone.utc).isoformat(timespec='seconds')}
    text = json.dumps(sidecar, indent=1)
    write_whole(path, engine.plan)
    write_whole(sidecar_of(path), text.encode())  # last, since it makes the plan valid
