# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Which mask belongs to the picture that is shown."""

from typing import Any

_KEPT = 5
"""Masks that are kept: a picture is larger, so it arrives later than its mask."""


class Pairing:
    """Keeps the newest masks, and finds the one that has the stamp of the picture.

    It is used from one thread at a time.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Discard all of it."""
        self._masks: dict[int, Any] = {}
        self._shown: int | None = None
        self._mask: tuple[int, Any] | None = None

    def keep(self, stamp: int, mask: Any) -> None:
        """Keep a mask; those that have come before many others are discarded."""
        self._masks.pop(stamp, None)
        self._masks[stamp] = mask
        for old in list(self._masks)[:-_KEPT]:
            del self._masks[old]
        self._pair()

    def show(self, stamp: int) -> None:
        """Note the stamp of the picture that is shown from now on."""
        self._shown = stamp
        self._pair()

    @property
    def mask(self) -> Any:
        """Return the mask of the picture; of an earlier one if it has not come; else None."""
        return None if self._mask is None else self._mask[1]

    @property
    def is_of_picture(self) -> bool:
        """Whether ``mask`` has the stamp of the picture that is shown."""
        return self._mask is not None and self._mask[0] == self._shown

    def _pair(self) -> None:
        if self._shown in self._masks:
            self._mask = self._shown, self._masks[self._shown]
