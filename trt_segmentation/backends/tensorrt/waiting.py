# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Waiting for the GPU without a busy core."""

import time
from typing import Any

SPUN = 0.0004
"""Seconds at the end of a wait in which the driver spins, since a thread that sleeps is woken
late: by Linux's timer slack of 0.05 ms (prctl(2), PR_SET_TIMERSLACK), and by the scheduler."""

SHORTEST_SLEEP = 0.0002
"""Seconds; a shorter sleep is not worth its system call."""

SLOWER = 0.1
"""Share by which a longer wait raises the usual time; a shorter one lowers it at once."""

LATE = 0.9
"""Factor of the usual time after a sleep that was too long."""


class Waiter:
    """Waits for the work on a stream: asleep for most of the time that it usually takes.

    ``synchronize`` of a CUDA stream spins on a PC: a network of 10 ms at 30 Hz takes 30 % of a
    core. CUDA can wait without a core (CU_EVENT_BLOCKING_SYNC), but it wakes the thread only when
    the work is done.
    """

    def __init__(self) -> None:
        self._usual = 0.0

    def wait(self, stream: Any) -> None:
        """Return when the work on the stream is done. The first images after the work has become
        faster are returned late, up to the time that it took before.

        Args:
            stream: of ``Device.stream``.

        Raises:
            pycuda.driver.Error: CUDA reports an error.
        """
        start = time.perf_counter()
        asleep = self._usual - SPUN
        if asleep > SHORTEST_SLEEP:
            time.sleep(asleep)
            if stream.is_done():
                self._usual *= LATE
                return
        stream.synchronize()
        found = time.perf_counter() - start
        self._usual = min(found, self._usual + SLOWER * (found - self._usual))
