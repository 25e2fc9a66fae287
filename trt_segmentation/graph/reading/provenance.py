# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What is known about a network, and how."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar('T')


@dataclass(frozen=True)
class Fact:
    """One thing known about a network and how: 'config', 'metadata', 'graph',
    'measured (...)', 'default' or 'assumed'.

    'metadata' is what the exporter wrote into the file.

    'measured (...)' is what the network gave when it was run once, with the range of its values.

    'assumed' marks what no graph tells and nobody said, so that it may be wrong.
    """

    key: str
    value: object
    origin: str


class Ledger:
    """Writes down every decision together with its origin.

    Args:
        from_metadata: keys of the config that the file's exporter told, not the user.
        task: whose decisions these are: keys 'output.kind' and 'classes.labels' are written as
            'outputs.<task>.kind' and 'outputs.<task>.labels'; '' leaves them as they are.
    """

    def __init__(self, from_metadata: Collection[str] = (), task: str = '') -> None:
        self.from_metadata = from_metadata
        self.task = task
        self.facts: list[Fact] = []

    def key(self, key: str) -> str:
        """Return a key as it is written."""
        section, _, name = key.partition('.')
        return f'outputs.{self.task}.{name}' if self.task and section != 'input' else key

    def note(self, key: str, value: T, origin: str) -> T:
        """Write a decision down and return it."""
        self.facts.append(Fact(self.key(key), value, origin))
        return value

    def told(self, key: str, value: T | None, otherwise: Callable[[], T], origin: str) -> T:
        """Return what was told, else what ``otherwise`` returns, whose origin is given."""
        if value is not None:
            return self.note(key, value, self.teller(key))
        return self.note(key, otherwise(), origin)

    def teller(self, key: str) -> str:
        """Return who tells what the config has under a key: 'config' or 'metadata'."""
        return 'metadata' if self.key(key) in self.from_metadata else 'config'
