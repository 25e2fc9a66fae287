# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Access to TensorRT: its Python module, its capabilities and its log."""

import importlib
import logging
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

from trt_segmentation.errors import BackendError, MissingBackendError

LOGGER = 'trt_segmentation.tensorrt'

_MODULES = ('tensorrt', 'tensorrt_rtx')
"""TensorRT and TensorRT for RTX, which has the same interface."""

_VERBOSE = logging.DEBUG - 5
_LEVELS = {'INTERNAL_ERROR': logging.ERROR, 'ERROR': logging.ERROR, 'WARNING': logging.WARNING,
           'INFO': logging.DEBUG, 'VERBOSE': _VERBOSE}
"""TensorRT's INFO is mapped to DEBUG: it writes some forty lines for one engine."""

_HARMLESS = re.compile('generated with INT64 weights|DataType is determined at build time')
"""Warnings of TensorRT 8.6 at almost every build: int64 holds only indices and extents, and no
inner tensor has a type of its own."""


def is_installed() -> bool:
    """Return whether ``find_tensorrt`` has a module to import, without importing it."""
    return any(find_spec(name) for name in _MODULES)


@cache
def find_tensorrt() -> Any:
    """Return the module of TensorRT, or else of TensorRT for RTX.

    It may be a runtime without a builder.

    Raises:
        MissingBackendError: neither can be imported.
    """
    reasons = []
    for name in _MODULES:
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError) as error:
            absent = isinstance(error, ModuleNotFoundError) and error.name == name
            reasons.append(f'{name} is not installed' if absent else f'{name} is broken: {error}')
            continue
        if hasattr(module, 'Runtime'):
            return module
        reasons.append(f'{name} is an empty package')
    raise MissingBackendError(f'TensorRT cannot be imported ({", ".join(reasons)}); pip install '
                              'tensorrt, or on a Jetson install JetPack\'s python3-libnvinfer')


@dataclass(frozen=True)
class Capabilities:
    """The features of a TensorRT version, found by the names in its module.

    Attributes:
        version: of TensorRT.
        explicit_batch: networks must be created with the flag EXPLICIT_BATCH.
        strongly_typed: networks compute in the types of their tensors.
        precision_flags: the available ones of the builder flags FP16 and INT8.
        progress_monitor: builds report their progress and can be cancelled.
        timing_cache: measured times can be stored for the next build.
        version_compatible, hardware_compatible: plans can be built to run on other versions and
            GPUs, too.
    """

    version: str
    explicit_batch: bool
    strongly_typed: bool
    precision_flags: tuple[str, ...]
    progress_monitor: bool
    timing_cache: bool
    version_compatible: bool
    hardware_compatible: bool

    @classmethod
    def of(cls, trt: Any) -> 'Capabilities':
        """Return the capabilities of the module ``trt``."""
        creation, flags = trt.NetworkDefinitionCreationFlag, trt.BuilderFlag
        precision_flags = tuple(name for name in ('FP16', 'INT8') if hasattr(flags, name))
        # TensorRT for RTX has the names of the last three, but ignores them and warns, or fails.
        for_rtx = trt.__name__ == 'tensorrt_rtx'
        return cls(
            version=trt.__version__,
            explicit_batch=hasattr(creation, 'EXPLICIT_BATCH'),
            strongly_typed=hasattr(creation, 'STRONGLY_TYPED') or not precision_flags,
            precision_flags=precision_flags,
            progress_monitor=hasattr(trt, 'IProgressMonitor'),
            timing_cache=hasattr(trt, 'ITimingCache') and not for_rtx,
            version_compatible=hasattr(flags, 'VERSION_COMPATIBLE') and not for_rtx,
            hardware_compatible=hasattr(trt, 'HardwareCompatibilityLevel') and not for_rtx)


class Log:
    """TensorRT's messages: forwarded to ``logging``; the last are kept for error reports.

    A process has one, see ``find_log``: TensorRT keeps the first logger that it is given.

    Args:
        trt: the module of TensorRT.

    Attributes:
        logger: the ``trt.ILogger`` to create builders, parsers and runtimes with.
    """

    def __init__(self, trt: Any) -> None:
        self.logger = _forwarder(trt, self._write)
        self._kept: deque[tuple[int, str]] = deque(maxlen=8)
        self._calls = 0

    def call(self, what: str, function: Callable, *args: Any,
             raises: type[BackendError] = BackendError, strict: bool = False) -> Any:
        """Call a function of TensorRT that fails by returning None or False, or by raising.

        Args:
            what: the message if it fails, without a full stop.
            function, args: the function and its arguments.
            raises: the class of the error.
            strict: whether a call that logs an error counts as failed.

        Returns:
            The function's result.

        Raises:
            BackendError: it failed; the message is ``what`` with TensorRT's own message.
        """
        self._kept.clear()
        self._calls += 1
        reason = ''
        try:
            result = function(*args)
        except (RuntimeError, TypeError, ValueError, MemoryError) as error:
            result, reason = None, str(error)  # which of them depends on the version
        finally:
            self._calls -= 1
        errors = [(level, text) for level, text in list(self._kept) if level >= logging.ERROR]
        if result is None or result is False or (strict and errors):
            raise raises(f'{what}: {self.take_errors() or reason or "TensorRT gives no reason"}')
        for level, text in errors:
            logging.getLogger(LOGGER).log(level, text)
        return result

    def take_errors(self) -> str:
        """Return and clear the last errors, or the last warnings if there are no errors.

        Messages of all threads are kept together: TensorRT logs from threads of its own.
        """
        kept = list(self._kept)
        self._kept.clear()
        worst = max((level for level, _ in kept), default=0)
        return '; '.join(dict.fromkeys(text for level, text in kept if level == worst))

    def _write(self, severity: str, message: str) -> None:
        level, text = _LEVELS.get(severity, logging.ERROR), ' '.join(message.split())
        if level == logging.WARNING and _HARMLESS.search(text):
            level = logging.DEBUG
        if level >= logging.WARNING:
            self._kept.append((level, text))
        # During ``call``, an error is raised or logged at its end.
        shown = logging.DEBUG if level >= logging.ERROR and self._calls else level
        logging.getLogger(LOGGER).log(shown, text)


@cache
def find_log() -> Log:
    """Return the log of this process; TensorRT objects must not outlive it.

    Raises:
        MissingBackendError: there is no TensorRT.
    """
    return Log(find_tensorrt())


def _forwarder(trt: Any, write: Callable[[str, str], None]) -> Any:
    class Forwarder(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # pybind11 requires this form of the call

        def log(self, severity: Any, message: str) -> None:
            write(severity.name, message)

    return Forwarder()
