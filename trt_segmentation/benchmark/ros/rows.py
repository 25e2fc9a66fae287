# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""How the processes of ``trt-segmentation bench --ros`` tell what they see: rows on stdout."""

import functools
import json
import sys
import threading
import time
from collections import deque
from typing import Any

from trt_segmentation.ros.stamps import nanoseconds

PERIOD = 0.2
"""Seconds between two writes: a frame itself costs no more than an append."""

STATIONS = ('taking', 'taken', 'called', 'infer', 'inferred', 'published')
"""The fields of ``benchmark.frames.Marks``."""


class Rows:
    """Rows that are told as JSON lines every now and then, by a thread.

    Args:
        kind: what the lines say they are.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._waiting: deque[tuple[int, ...]] = deque()
        threading.Thread(target=self._write, daemon=True, name='rows').start()

    def add(self, *row: Any) -> None:
        """Tell a row before long."""
        self._waiting.append(row)

    def _write(self) -> None:
        while True:
            time.sleep(PERIOD)
            rows = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if rows:
                tell(**{self._kind: rows})


def tell(**entry: Any) -> None:
    """Write one JSON line to stdout."""
    sys.stdout.write(json.dumps(entry) + '\n')
    sys.stdout.flush()


class FrameClock:
    """Notes when a frame passes the stations of a node; one frame at a time.

    A frame that never gets to 'published' has no row.
    """

    def __init__(self) -> None:
        self._rows = Rows('marks')
        self._times = dict.fromkeys(STATIONS, 0)

    def mark(self, station: str) -> None:
        """The current frame is at one of ``STATIONS``."""
        self._times[station] = time.time_ns()

    def finish(self, stamp: Any) -> None:
        """The frame of this stamp is done, published or not."""
        times = self._times
        if times['published'] >= times['called']:
            self._rows.add(nanoseconds(stamp), *times.values())

    def watch(self, owner: type, method: str, before: str = '', after: str = '') -> None:
        """Mark stations before and after a method of a class, from now on."""
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
