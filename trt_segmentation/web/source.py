# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What the page shows, wherever it comes from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from trt_segmentation.web.pace import SOONEST


@dataclass(frozen=True)
class Status:
    """What the node says of itself on /diagnostics.

    Attributes:
        level: of diagnostic_msgs/DiagnosticStatus, 0..3.
        message: one sentence.
        values: by the keys of ``ros/diagnostics.py``.
        age: seconds since it was said.
        limit: seconds after which the next one is overdue.
    """

    level: int
    message: str
    values: Mapping[str, str] = field(default_factory=dict)
    age: float = 0.0
    limit: float = SOONEST


@dataclass(frozen=True)
class View:
    """Everything but the picture, at one moment.

    Attributes:
        node: full name of the node that is looked at.
        topic: where its overlays come from.
        picture_age: seconds since the newest overlay came; None before the first.
        picture_limit: seconds after which the next one is overdue.
        mask: ids of the classes, uint8 or uint16 of any shape, its highest value for pixels
            without a class; None before the first.
        mask_is_of_picture: whether it has the stamp of the newest picture that was taken;
            otherwise it is of an earlier one.
        labels: names by id.
        status: None before the first.
        others: full names of the segmentation nodes that talk on /diagnostics.
        task: of the network, whose mask this is; '' where it has one.
    """

    node: str
    topic: str
    picture_age: float | None = None
    picture_limit: float = SOONEST
    mask: np.ndarray | None = None
    mask_is_of_picture: bool = True
    labels: Mapping[int, str] = field(default_factory=dict)
    status: Status | None = None
    others: tuple[str, ...] = ()
    task: str = ''


class Source(Protocol):
    """Where the newest of everything is; its methods may be called from any thread."""

    def start(self, on_picture: Callable[[], object]) -> None:
        """Begin to listen; somebody looks.

        Args:
            on_picture: called, from any thread, when there is a new picture.
        """

    def stop(self) -> None:
        """Listen no more; nobody looks."""

    def picture(self) -> np.ndarray | None:
        """Return the newest overlay, uint8 [H, W, 3], BGR; None before the first."""

    def view(self) -> View:
        """Return everything but the picture."""
