# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Matches masks to the displayed picture by stamp."""

from typing import Any

_KEPT = 5
"""Number of masks kept: a picture is larger and arrives after its mask."""


class Pairing:
    """Keeps the newest masks, and finds the one with the stamp of the picture.

    Not thread-safe.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Discard all masks and the picture."""
        self._masks: dict[int, Any] = {}
        self._shown: int | None = None
        self._mask: tuple[int, Any] | None = None

    def keep(self, stamp: int, mask: Any) -> None:
        """Keep a mask; discard the oldest ones."""
        self._masks.pop(stamp, None)
        self._masks[stamp] = mask
        for old in list(self._masks)[:-_KEPT]:
            del self._masks[old]
        self._pair()

    def show(self, stamp: int) -> None:
        """Set the stamp of the displayed picture."""
        self._shown = stamp
        self._pair()

    def lacks(self, stamp: int) -> bool:
        """Return whether there are masks, but none with this stamp."""
        return bool(self._masks) and stamp not in self._masks

    @property
    def mask(self) -> Any:
        """Return the mask of the picture; until it arrives, that of an earlier one; else None."""
        return None if self._mask is None else self._mask[1]

    @property
    def is_of_picture(self) -> bool:
        """Whether ``mask`` has the stamp of the displayed picture."""
        return self._mask is not None and self._mask[0] == self._shown

    def _pair(self) -> None:
        if self._shown in self._masks:
            self._mask = self._shown, self._masks[self._shown]
