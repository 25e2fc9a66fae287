# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Frames of several cameras that were taken at the same time."""

from typing import Generic, TypeVar

T = TypeVar('T')


class Synchroniser(Generic[T]):
    """Keeps the newest frame of each camera until all of them lie close enough together.

    No frame waits longer than it may be matched: one that a newer frame of the same camera
    overtakes is given up, and so is one that lies too far behind another camera's, whose next
    ones are later still. With one camera, every frame is complete by itself.

    Args:
        count: number of cameras.
    """

    def __init__(self, count: int) -> None:
        self._waiting: list[tuple[int, T] | None] = [None] * count

    def is_waiting(self, camera: int) -> bool:
        """Return whether a camera's newest frame waits for those of the others."""
        return self._waiting[camera] is not None

    def overtake(self, camera: int) -> bool:
        """Give up a camera's frame, since a newer one has come; return whether there was one."""
        was_waiting = self.is_waiting(camera)
        self._waiting[camera] = None
        return was_waiting

    def add(self, camera: int, stamp: int, frame: T, tolerance: int,
            ) -> tuple[list[int], list[T]]:
        """Take a frame.

        Args:
            camera: index of the camera, 0 and up.
            stamp: when it was taken, nanoseconds.
            frame: anything.
            tolerance: nanoseconds between the earliest and the latest of frames that belong
                together, inclusive.

        Returns:
            The camera of each frame that is given up, and the frames that belong together, one
            of each camera in order; none while some are missing.
        """
        given_up = [camera] if self.overtake(camera) else []
        self._waiting[camera] = stamp, frame
        latest = max(entry[0] for entry in self._waiting if entry is not None)
        for index, entry in enumerate(self._waiting):
            if entry is not None and latest - entry[0] > tolerance:
                self._waiting[index] = None
                given_up.append(index)
        together = [entry[1] for entry in self._waiting if entry is not None]
        if len(together) < len(self._waiting):
            return given_up, []
        self.clear()
        return given_up, together

    def clear(self) -> list[int]:
        """Give up all frames that wait; return their cameras."""
        waiting = [index for index, entry in enumerate(self._waiting) if entry is not None]
        self._waiting[:] = [None] * len(self._waiting)
        return waiting
