# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Parameter ``max_rate``: which frames are segmented, decided before they are decoded."""


class RateLimit:
    """A schedule with one slot every ``1 / rate`` seconds.

    A frame is segmented if a slot is free; otherwise it is dropped, never stored, so the newest
    frame wins. A slot that no frame has used stays free for one more period. Without that, the
    rate would fall below the limit whenever a frame arrives a little late. Slots are multiples of
    the period, so the error does not accumulate: a camera that is faster than ``rate`` is
    segmented at ``rate``, to one frame over any time.

    Several cameras share the slots. The frames of one batch, whose stamps lie within the
    tolerance, use one slot together: they are all segmented or all dropped.

    Args:
        rate: maximum rate in Hz; 0 sets no limit.
    """

    def __init__(self, rate: float = 0.0) -> None:
        self.set_rate(rate)

    def set_rate(self, rate: float) -> None:
        """Set the maximum rate in Hz, 0 for no limit; the next frame starts a new schedule."""
        self._period = 1 / rate if rate else 0.0
        self._next_slot = self._before = float('-inf')
        self._stamp, self._is_segmented = 0, False
        self._cameras: set[int] = set()

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit."""
        return self._period > 0

    def admit(self, now: float, camera: int = 0, stamp: int = 0, tolerance: int = -1) -> bool:
        """Return whether a frame is segmented.

        Args:
            now: seconds of a monotonic clock.
            camera: index of the camera.
            stamp: time of capture, nanoseconds.
            tolerance: maximum nanoseconds between the stamps of one batch; negative for a single
                camera, whose frames are independent.
        """
        is_partner = camera not in self._cameras and abs(stamp - self._stamp) <= tolerance
        if not is_partner or not self._cameras:
            self._cameras.clear()
            self._stamp, self._is_segmented = stamp, self._use_slot(now)
        self._cameras.add(camera)
        return self._is_segmented

    def give_back(self) -> None:
        """Free the slot of the newest frame, which turned out to be unreadable."""
        self._next_slot = self._before

    def _use_slot(self, now: float) -> bool:
        if now < self._next_slot:
            return False
        self._before = self._next_slot
        if self._next_slot == float('-inf'):
            self._next_slot = now
        missed = int((now - self._next_slot) / self._period)
        self._next_slot += self._period * (1 + max(0, missed - 1))
        return True
