# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Rows of measurements that the processes of ``trt-segmentation bench --ros`` write to stdout."""

import functools
import json
import resource
import sys
import threading
import time
from collections import deque
from typing import Any

from trt_segmentation.ros.stamps import nanoseconds

PERIOD = 0.2
"""Seconds between two writes. Measuring a frame costs no more than an append to a list."""

RECEIVING = ('taking', 'taken', 'called')
STEPS = (*RECEIVING, 'infer', 'inferred', 'published')
"""The times of ``benchmark.frames.FrameTimes``."""

HANDED_OVER = 16
"""Number of frames whose ``RECEIVING`` is kept until another thread publishes them."""


class Rows:
    """Rows that a thread writes as JSON lines every ``PERIOD``.

    Args:
        kind: key of the rows in a line.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._waiting: deque[tuple[int, ...]] = deque()
        threading.Thread(target=self._write, daemon=True, name='rows').start()

    def add(self, *row: Any) -> None:
        """Add a row to the next line."""
        self._waiting.append(row)

    def _write(self) -> None:
        while True:
            time.sleep(PERIOD)
            rows = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if rows:
                write_line(**{self._kind: rows})


def write_line(**entry: Any) -> None:
    """Write one JSON line to stdout."""
    sys.stdout.write(json.dumps(entry) + '\n')
    sys.stdout.flush()


class FrameClock:
    """Records when a frame passes the steps of a node; one frame at a time in each thread.

    A frame that is not published has no row.
    """

    def __init__(self) -> None:
        self._rows = Rows('times')
        self._thread = threading.local()
        self._received: dict[int, dict[str, int]] = {}

    def mark(self, step: str) -> None:
        """Record that the current frame of this thread is at one of ``STEPS``."""
        self._thread.__dict__[step] = time.time_ns()

    def hand_over(self, stamp: Any) -> None:
        """Keep the ``RECEIVING`` of this thread's frame, which any thread may finish."""
        marks = self._thread.__dict__
        self._received[nanoseconds(stamp)] = {step: marks.get(step, 0) for step in RECEIVING}
        if len(self._received) > HANDED_OVER:
            self._received.pop(next(iter(self._received)), None)

    def finish(self, stamp: Any) -> None:
        """End the frame of this stamp; add its row if it was published.

        The row also has the CPU time of the process so far, user and system.
        """
        key = nanoseconds(stamp)
        times = {**dict.fromkeys(STEPS, 0), **self._thread.__dict__,
                 **self._received.pop(key, {})}
        if times['published'] >= times['called']:
            used = resource.getrusage(resource.RUSAGE_SELF)
            self._rows.add(key, *times.values(), round(used.ru_utime * 1e9),
                           round(used.ru_stime * 1e9))

    def watch(self, owner: type, method: str, before: str = '', after: str = '') -> None:
        """Wrap a method of a class, so that each call marks steps before and after it."""
        original = getattr(owner, method)

        @functools.wraps(original)
        def watched(*args: Any, **kwargs: Any) -> Any:
            if before:
                self.mark(before)
            result = original(*args, **kwargs)
            if after:
                self.mark(after)
            return result

        setattr(owner, method, watched)
