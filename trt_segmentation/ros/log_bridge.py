# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What the package logs, in the log of the node."""

import logging
import time
from collections.abc import Callable
from typing import Any

from trt_segmentation import PROGRESS_LOGGER

WARNING_PERIOD = 5.0
"""Seconds between two warnings of one kind."""

_PROGRESS_PERIOD = 10.0
"""Seconds between two lines of progress."""


class LogBridge(logging.Handler):
    """Hands records to a node's logger; take it away with ``logging.Logger.removeHandler``.

    Args:
        node_logger: what ``Node.get_logger`` gives.
    """

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

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        if record.name == PROGRESS_LOGGER:
            if time.monotonic() - self._last_progress < _PROGRESS_PERIOD:
                return
            self._last_progress = time.monotonic()
        known = max((level for level in self._writers if level <= record.levelno),
                    default=logging.DEBUG)
        self._writers[known](record.getMessage())
