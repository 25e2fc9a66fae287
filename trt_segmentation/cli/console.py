# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What the package logs, on the terminal: progress in one line that is written over."""

import argparse
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from trt_segmentation.errors import SegmentationError
from trt_segmentation.progress_log import PROGRESS_LOGGER

_PERIOD = 10.0
"""Seconds between two lines of progress where the output is no terminal."""

_CLEAR_LINE = '\r\x1b[K'


_OTHER_NAMES = {'num_threads': 'threads', 'overlay_alpha': 'alpha'}
"""Settings whose arguments are not called as they are."""


def message_of(error: SegmentationError, args: argparse.Namespace) -> str:
    """Return an error's message, in which settings are called as the command calls them.

    Args:
        error: for example one that names 'calibration.images', which becomes
            '--calibration-images'.
        args: of the command; settings for which it has no argument keep their names.
    """
    def name_of(setting: str) -> str:
        name = _OTHER_NAMES.get(setting, setting.replace('.', '_'))
        return '--' + name.replace('_', '-') if hasattr(args, name) else setting

    return error.worded(name_of)


@contextmanager
def log_on_stderr() -> Iterator[None]:
    """Show the package's log for the body of a with statement."""
    logger, handler = logging.getLogger('trt_segmentation'), _Handler()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        handler.end_progress()
        logger.removeHandler(handler)
        logger.setLevel(before)


class _Handler(logging.Handler):
    """Writes records to stderr."""

    def __init__(self) -> None:
        super().__init__()
        self._in_progress = False
        self._last = -_PERIOD

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == PROGRESS_LOGGER:
            self._show_progress(record.getMessage())
            return
        self.end_progress()
        prefix = '' if record.levelno < logging.WARNING else f'{record.levelname.lower()}: '
        print(prefix + record.getMessage(), file=sys.stderr)

    def end_progress(self) -> None:
        """Leave the line of progress as it is and begin another."""
        if self._in_progress:
            print(file=sys.stderr)
        self._in_progress = False

    def _show_progress(self, text: str) -> None:
        if sys.stderr.isatty():
            print(_CLEAR_LINE + text, end='', file=sys.stderr, flush=True)
            self._in_progress = True
        elif time.monotonic() - self._last >= _PERIOD:
            print(text, file=sys.stderr, flush=True)
            self._last = time.monotonic()
