# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Child processes of bench and demo."""

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


def start_module(name: str, *arguments: str, **options: Any) -> subprocess.Popen:
    """Run a module of this package as a child process that Ctrl-C in the terminal does not reach.

    Ctrl-C goes to all processes of a terminal. A child that is still importing prints a traceback
    then. So only the parent gets it, and stops its children. They end with the terminal all the
    same, since they stay in its session.

    Args:
        name: of the module, without the package's.
        arguments: of the module.
        options: of ``subprocess.Popen``.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # a child inherits it
    try:
        return subprocess.Popen([sys.executable, '-m', f'trt_segmentation.{name}', *arguments],
                                **options)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Handle SIGTERM like Ctrl-C in the body of a with statement, which then stops its children;
    by default, SIGTERM would leave them running."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def wait_or_kill(processes: Sequence[subprocess.Popen], patience: float) -> None:
    """Wait for processes that end; kill those that have not ended after ``patience`` seconds."""
    for process in processes:
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
