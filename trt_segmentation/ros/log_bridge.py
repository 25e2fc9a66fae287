# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What the package logs, in the log of the node that is at work."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar

from trt_segmentation.progress_log import PROGRESS_LOGGER

WARNING_PERIOD = 5.0
"""Seconds between two warnings of one kind."""

_PROGRESS_PERIOD = 10.0
"""Seconds between two lines of progress."""

_PACKAGE_LOGGER = logging.getLogger('trt_segmentation')


class LogBridge(logging.Handler):
    """Hands the package's records to a node's logger.

    Several nodes in one process have a bridge each. A record goes to the node that is ``at_work``
    in the calling thread, or else to the one that was attached first.

    Args:
        node_logger: what ``Node.get_logger`` gives.
    """

    _attached: ClassVar[list[Any]] = []
    _at_work: ClassVar[ContextVar[Any]] = ContextVar('_at_work', default=None)

    def __init__(self, node_logger: Any) -> None:
        super().__init__()
        # rclpy knows a call by its line, and a line must not change its severity.
        self._writers: dict[int, Callable[[str], Any]] = {
            logging.DEBUG: lambda text: node_logger.debug(text),
            logging.INFO: lambda text: node_logger.info(text),
            logging.WARNING: lambda text: node_logger.warning(text),
            logging.ERROR: lambda text: node_logger.error(text),
            logging.CRITICAL: lambda text: node_logger.fatal(text),
        }
        self._last_progress = -_PROGRESS_PERIOD

    def attach(self) -> None:
        """Start; the package logs from INFO on, where nobody has set another level."""
        if not _PACKAGE_LOGGER.level:
            _PACKAGE_LOGGER.setLevel(logging.INFO)
        self._attached.append(self)
        _PACKAGE_LOGGER.addHandler(self)

    def detach(self) -> None:
        """Stop."""
        _PACKAGE_LOGGER.removeHandler(self)
        if self in self._attached:
            self._attached.remove(self)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Take the records of the calling thread, for the body of a with statement."""
        token = self._at_work.set(self)
        try:
            yield
        finally:
            self._at_work.reset(token)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, where it is for this node."""
        first = self._attached[0] if self._attached else self
        if (self._at_work.get() or first) is not self:
            return
        if record.name == PROGRESS_LOGGER:
            if time.monotonic() - self._last_progress < _PROGRESS_PERIOD:
                return
            self._last_progress = time.monotonic()
        known = max((level for level in self._writers if level <= record.levelno),
                    default=logging.DEBUG)
        self._writers[known](record.getMessage())
