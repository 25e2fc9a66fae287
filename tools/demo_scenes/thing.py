# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What all that stands on the ground has in common."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from demo_scenes.canvas import Canvas


@dataclass(frozen=True)
class Thing(ABC):
    """Something at street coordinates (s, d), in metres."""

    s: float
    d: float

    @property
    def far(self) -> float:
        """Position along the street that decides which things are painted over it."""
        return self.s

    @property
    def reach(self) -> float:
        """Distance in metres ahead of the camera up to which it is worth drawing."""
        return math.inf

    @abstractmethod
    def draw(self, canvas: Canvas) -> None:
        """Paint it."""

    @abstractmethod
    def cast_shadow(self, canvas: Canvas) -> None:
        """Shade the ground about it."""
