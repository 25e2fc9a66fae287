# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What a thread keeps open from one task to the next: the network, the input."""

import threading
from collections.abc import Callable, Hashable
from typing import Any, Protocol, TypeVar


class _Closable(Protocol):
    def close(self) -> None: ...


T = TypeVar('T', bound=_Closable)


class _Held(threading.local):
    """Each thread's own.

    Attributes:
        device: index of the GPU that this process's networks run on; None for the options' one.
    """

    device: int | None = None

    def __init__(self) -> None:
        self.work: Hashable = None
        self.things: dict[str, Any] = {}


_held = _Held()


def use_device(device: int | None) -> None:
    """Run this process's networks on a GPU; None leaves it to the options."""
    _Held.device = device


def device() -> int | None:
    """Return the GPU that ``use_device`` has named."""
    return _held.device


def held(work: Hashable, name: str, open_it: Callable[[], T]) -> T:
    """Return what this thread holds under a name, opened first where it is not.

    Args:
        work: tells works apart: what another one has left open is closed first.
        name: of what is held.
        open_it: opens it.
    """
    if _held.work != work:
        release()
        _held.work = work
    if name not in _held.things:
        _held.things[name] = open_it()
    return _held.things[name]


def release() -> None:
    """Close all that this thread holds."""
    things, _held.things, _held.work = _held.things, {}, None
    for thing in things.values():
        thing.close()
