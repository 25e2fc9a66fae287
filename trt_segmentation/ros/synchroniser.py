# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Matches frames of several cameras by their stamps."""

from typing import Generic, TypeVar

T = TypeVar('T')


class Synchroniser(Generic[T]):
    """Keeps the newest frame of each camera until all of them match within the tolerance.

    A frame is dropped when a newer frame of the same camera arrives, or when it is older than a
    frame of another camera by more than the tolerance, since later frames cannot match it. With
    one camera, every frame is returned at once.

    Args:
        count: number of cameras.
    """

    def __init__(self, count: int) -> None:
        self._waiting: list[tuple[int, T] | None] = [None] * count

    def is_waiting(self, camera: int) -> bool:
        """Return whether a frame of a camera waits for the other cameras."""
        return self._waiting[camera] is not None

    def discard(self, camera: int) -> bool:
        """Drop the waiting frame of a camera; return whether there was one."""
        was_waiting = self.is_waiting(camera)
        self._waiting[camera] = None
        return was_waiting

    def add(self, camera: int, stamp: int, frame: T, tolerance: int,
            ) -> tuple[list[int], list[T]]:
        """Add a frame.

        Args:
            camera: index of the camera, 0 and up.
            stamp: time of capture, nanoseconds.
            frame: anything.
            tolerance: maximum nanoseconds between the earliest and the latest frame of a match,
                inclusive.

        Returns:
            The camera of each dropped frame, and the matched frames, one for each camera in
            order; empty without a match.
        """
        dropped = [camera] if self.discard(camera) else []
        self._waiting[camera] = stamp, frame
        latest = max(entry[0] for entry in self._waiting if entry is not None)
        for index, entry in enumerate(self._waiting):
            if entry is not None and latest - entry[0] > tolerance:
                self._waiting[index] = None
                dropped.append(index)
        together = [entry[1] for entry in self._waiting if entry is not None]
        if len(together) < len(self._waiting):
            return dropped, []
        self.clear()
        return dropped, together

    def clear(self) -> list[int]:
        """Drop all waiting frames; return their cameras."""
        waiting = [index for index, entry in enumerate(self._waiting) if entry is not None]
        self._waiting[:] = [None] * len(self._waiting)
        return waiting
