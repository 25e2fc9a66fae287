# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Page locks of the caller's arrays, which the GPU then reads and writes directly."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trt_segmentation.backends.tensorrt.cuda import Device, PageLock
from trt_segmentation.errors import BackendError

logger = logging.getLogger(__name__)

Place = tuple[str, int]
"""Name of a tensor, and index of the image in the batch."""


@dataclass(eq=False)
class _Kept:
    """An array, whether it was used again, and its lock; None where it cannot be locked."""

    array: np.ndarray
    is_reused: bool = False
    lock: PageLock | None = None


class PageLocks:
    """Locks arrays that are used for the same place again, and unlocks them when others are used
    there.

    Args:
        device: the GPU.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._kept: dict[Place, list[_Kept]] = {}

    def use(self, place: Place, array: np.ndarray, alternating: int = 1) -> None:
        """Lock an array if it is used again.

        Args:
            place: where it is used.
            array: of the caller.
            alternating: number of arrays that the caller uses there in turn.

        Raises:
            BackendError: CUDA reports an error for the array that is unlocked.
        """
        kept = self._kept.setdefault(place, [])
        for each in kept:
            if _is_same_memory(each.array, array):
                if not each.is_reused:
                    each.is_reused, each.lock = True, self._locked(array)
                return
        # Two parts of one memory cannot be locked at once.
        stale = [each for each in kept
                 if each.array.base is not None and each.array.base is array.base]
        for each in stale or kept[:len(kept) - alternating + 1]:
            kept.remove(each)
            if each.lock is not None:
                each.lock.close()
        kept.append(_Kept(array))

    def take_closers(self) -> list[Callable[[], None]]:
        """Forget all arrays; return the functions that unlock them."""
        kept, self._kept = self._kept, {}
        return [each.lock.close for entries in kept.values() for each in entries
                if each.lock is not None]

    def _locked(self, array: np.ndarray) -> PageLock | None:
        try:
            return self._device.page_lock(array)
        except BackendError as error:
            logger.info('memory is copied through a staging buffer: %s', error)
            return None


def _is_same_memory(last: np.ndarray, array: np.ndarray) -> bool:
    """Whether these are one array, or the same part of one. The same address is not enough: freed
    memory may be allocated again."""
    return last is array or (
        last.base is not None and last.base is array.base
        and last.ctypes.data == array.ctypes.data and last.nbytes == array.nbytes)
