# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The data that the page shows, and the interface of its source."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from trt_segmentation.web.pace import SOONEST


@dataclass(frozen=True)
class Status:
    """The newest diagnostics of the node.

    Attributes:
        level: level of diagnostic_msgs/DiagnosticStatus, 0..3.
        message: one sentence.
        values: values by the keys of ``ros/diagnostics.py``.
        age: seconds since they arrived.
        limit: seconds after which the next ones are overdue.
    """

    level: int
    message: str
    values: Mapping[str, str] = field(default_factory=dict)
    age: float = 0.0
    limit: float = SOONEST


@dataclass(frozen=True)
class View:
    """Everything that the page shows except the picture, at one moment.

    Attributes:
        node: full name of the node.
        topic: topic of its overlays.
        picture_age: seconds since the newest overlay arrived; None before the first.
        picture_limit: seconds after which the next one is overdue.
        mask: class ids, uint8 or uint16 of any shape; the highest value is for pixels without a
            class; None before the first.
        mask_is_of_picture: whether it has the stamp of the newest picture that was returned;
            otherwise it is of an earlier one.
        labels: names by id.
        status: newest diagnostics; None before the first.
        others: full names of all segmentation nodes on /diagnostics.
        task: name of the task of the mask; '' if the network has only one.
        instances: number of instances in the picture; None if they are not published.
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
    instances: int | None = None


class Source(Protocol):
    """Source of the newest picture and view; its methods are thread-safe."""

    def start(self, on_picture: Callable[[], object]) -> None:
        """Subscribe: the first client is connected.

        Args:
            on_picture: called from any thread when there is a new picture.
        """

    def stop(self) -> None:
        """Unsubscribe: the last client has left."""

    def picture(self) -> np.ndarray | None:
        """Return the newest overlay, uint8 [H, W, 3], BGR, with the outlines of its instances, if
        they are published; None before the first."""

    def view(self) -> View:
        """Return everything except the picture."""

    def set_smoothing(self, weight: float) -> str:
        """Set the parameter ``temporal_smoothing`` of the node; waits for its answer.

        Returns:
            '' once it has changed, else the reason why not.
        """
