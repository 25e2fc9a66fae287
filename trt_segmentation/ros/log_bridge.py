# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What a node logs: the records of the package, and the errors of its own topics."""

import logging
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar

from trt_segmentation import PROGRESS_LOGGER

WARNING_PERIOD = 5.0
"""Minimum seconds between two equal warnings."""

_PROGRESS_PERIOD = 10.0
"""Minimum seconds between two progress messages."""

_PACKAGE_LOGGER = logging.getLogger('trt_segmentation')


class LogBridge(logging.Handler):
    """Forwards the log records of the package to the logger of a node.

    Several nodes in one process have one bridge each. A record goes to the bridge that is
    ``capturing`` in the calling thread, otherwise to the one that was attached first.

    Args:
        node_logger: of ``Node.get_logger``.
    """

    _attached: ClassVar[list[Any]] = []
    _capturing: ClassVar[ContextVar[Any]] = ContextVar('_capturing', default=None)

    def __init__(self, node_logger: Any) -> None:
        super().__init__()
        # rclpy identifies a log call by its line and raises if the severity of a line changes.
        self._writers: dict[int, Callable[[str], Any]] = {
            logging.DEBUG: lambda text: node_logger.debug(text),
            logging.INFO: lambda text: node_logger.info(text),
            logging.WARNING: lambda text: node_logger.warning(text),
            logging.ERROR: lambda text: node_logger.error(text),
            logging.CRITICAL: lambda text: node_logger.fatal(text),
        }
        self._last_progress = -_PROGRESS_PERIOD

    def attach(self) -> None:
        """Start to forward. The level of the package is INFO unless another one is set."""
        if not _PACKAGE_LOGGER.level:
            _PACKAGE_LOGGER.setLevel(logging.INFO)
        self._attached.append(self)
        _PACKAGE_LOGGER.addHandler(self)

    def detach(self) -> None:
        """Stop to forward."""
        _PACKAGE_LOGGER.removeHandler(self)
        if self in self._attached:
            self._attached.remove(self)

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """Receive the records of the calling thread within a with statement."""
        token = self._capturing.set(self)
        try:
            yield
        finally:
            self._capturing.reset(token)

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record, if it is for this node."""
        first = self._attached[0] if self._attached else self
        if (self._capturing.get() or first) is not self:
            return
        if record.name == PROGRESS_LOGGER:
            if time.monotonic() - self._last_progress < _PROGRESS_PERIOD:
                return
            self._last_progress = time.monotonic()
        known = max((level for level in self._writers if level <= record.levelno),
                    default=logging.DEBUG)
        self._writers[known](record.getMessage())


@contextmanager
def logging_errors(node: Any, topic: str) -> Iterator[None]:
    """Log an error in a with statement, so that it does not stop the masks.

    Args:
        node: publishes in the with statement.
        topic: that is not published then.
    """
    try:
        yield
    except Exception:
        if node.context.ok():  # otherwise a signal has shut down ROS
            node.get_logger().error(f'{topic} was not published: {traceback.format_exc()}',
                                    throttle_duration_sec=WARNING_PERIOD)
