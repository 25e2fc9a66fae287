# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A segmenter for each thread, which stays open from one task to the next."""

import threading
from collections.abc import Callable, Hashable

from trt_segmentation.segmenter import Segmenter


class _State(threading.local):
    """The open segmenter of a thread.

    Attributes:
        device: index of this process's GPU; None for that of the options.
        work: the work that the segmenter was opened for.
        segmenter: None if none is open.
    """

    device: int | None = None
    work: Hashable = None
    segmenter: Segmenter | None = None


_state = _State()


def use_device(device: int | None) -> None:
    """Select the GPU of this process by index; None selects that of the options."""
    _State.device = device


def segmenter(work: Hashable, open_on: Callable[[int | None], Segmenter]) -> Segmenter:
    """Return this thread's open segmenter for a work; open it if necessary.

    Args:
        work: identifies the work; a segmenter that is open for another work is closed first.
        open_on: opens the segmenter on the GPU that ``use_device`` selected.
    """
    if _state.segmenter is None or _state.work != work:
        release()
        _state.work, _state.segmenter = work, open_on(_State.device)
    return _state.segmenter


def release() -> None:
    """Close this thread's segmenter."""
    if _state.segmenter is not None:
        _state.segmenter.close()
    _state.segmenter = None
