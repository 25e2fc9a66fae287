# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The progress of a build, reported about every second."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from trt_segmentation import PROGRESS_LOGGER
from trt_segmentation.backends.tensorrt.api import Capabilities

_REPORT_PERIOD = 1.0
"""Seconds."""


def log_progress(text: str) -> None:
    """Log the progress of a build."""
    logging.getLogger(PROGRESS_LOGGER).info('%s', text)


class Progress:
    """Reports the elapsed time of a build about every second, from a thread of its own.

    Where TensorRT has a progress monitor, the report includes its current phase.
    """

    def __init__(self, trt: Any, can: Capabilities, config: Any, what: str,
                 on_progress: Callable[[str], None]) -> None:
        self._what, self._on_progress = what, on_progress
        self._phase = ''
        self._steps: dict[str, int] = {}
        self._error: BaseException | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._report, name='build progress', daemon=True)
        if can.progress_monitor:
            config.progress_monitor = self._monitor = _monitor(trt, self)

    def __enter__(self) -> 'Progress':
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        if self._error is not None:  # the reason why the build failed, if it did
            raise self._error

    def begin(self, phase: str, steps: int) -> None:
        """Record that TensorRT begins a phase of ``steps`` steps."""
        self._steps[phase] = steps
        self._phase = phase

    def step(self, phase: str, step: int) -> bool:
        """Record that a step is done; return whether to continue the build."""
        self._phase = f'{phase}, {step + 1} of {self._steps.get(phase, "?")}'
        return self._error is None

    def _report(self) -> None:
        try:
            self._on_progress(f'{self._what}, which can take minutes')
            while not self._done.wait(_REPORT_PERIOD):
                elapsed = time.monotonic() - self._started
                phase = f' ({self._phase})' if self._phase else ''
                self._on_progress(f'{self._what}: {elapsed:.0f} s{phase}')
        except BaseException as error:  # raised again by the thread that builds
            self._error = error


def _monitor(trt: Any, progress: Progress) -> Any:
    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
            progress.begin(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return progress.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            pass

    return Monitor()
