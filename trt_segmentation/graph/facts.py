# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What is known about a network, and how."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar('T')


@dataclass(frozen=True)
class Fact:
    """One thing known about a network and how: 'config', 'graph', 'default' or 'assumed'.

    'assumed' marks what no graph tells and nobody said, so that it may be wrong.
    """

    key: str
    value: object
    origin: str


class Ledger:
    """Writes down every decision together with its origin."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []

    def note(self, key: str, value: T, origin: str) -> T:
        """Write a decision down and return it."""
        self.facts.append(Fact(key, value, origin))
        return value

    def told(self, key: str, value: T | None, otherwise: Callable[[], T], origin: str) -> T:
        """Return what was told, else what ``otherwise`` returns, whose origin is given."""
        if value is not None:
            return self.note(key, value, 'config')
        return self.note(key, otherwise(), origin)
