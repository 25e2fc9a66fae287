# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The network that a thread keeps open from one task to the next."""

import threading
from collections.abc import Callable, Hashable

from trt_segmentation.segmenter import Segmenter


class _Held(threading.local):
    """Each thread's own.

    Attributes:
        device: index of the GPU that this process's networks run on; None for the options' one.
        work: what the segmenter was opened for.
        segmenter: None where none is open.
    """

    device: int | None = None
    work: Hashable = None
    segmenter: Segmenter | None = None


_held = _Held()


def use_device(device: int | None) -> None:
    """Run this process's networks on a GPU; None leaves it to the options."""
    _Held.device = device


def segmenter(work: Hashable, open_on: Callable[[int | None], Segmenter]) -> Segmenter:
    """Return the network that this thread holds for a work, opened first where it is not.

    Args:
        work: tells works apart: what another one has left open is closed first.
        open_on: opens it on the GPU that ``use_device`` has named.
    """
    if _held.segmenter is None or _held.work != work:
        release()
        _held.work, _held.segmenter = work, open_on(_Held.device)
    return _held.segmenter


def release() -> None:
    """Close what this thread holds."""
    if _held.segmenter is not None:
        _held.segmenter.close()
    _held.segmenter = None
