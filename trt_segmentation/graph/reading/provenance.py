# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Records the value and the origin of each setting of a network."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar('T')


@dataclass(frozen=True)
class Provenance:
    """The value of one setting and its origin.

    Attributes:
        key: of the model config, for example 'input.size'.
        value: of the setting.
        origin: 'config', 'graph' or 'default'; 'metadata': the exporter wrote it into the file;
            'measured (...)': from one run of the network, with the range of its values;
            'assumed': not known, so that it may be wrong.
    """

    key: str
    value: object
    origin: str


class Ledger:
    """Records every setting together with its origin.

    Args:
        from_metadata: keys of the config that come from the file's metadata, not from the user.
        task: name of the task: 'output.kind' and 'classes.labels' become 'outputs.<task>.kind'
            and 'outputs.<task>.labels'; '' does not change keys.
    """

    def __init__(self, from_metadata: Collection[str] = (), task: str = '') -> None:
        self.from_metadata = from_metadata
        self.task = task
        self.entries: list[Provenance] = []

    def key(self, key: str) -> str:
        """Return a key with the name of the task."""
        section, _, name = key.partition('.')
        return f'outputs.{self.task}.{name}' if self.task and section != 'input' else key

    def record(self, key: str, value: T, origin: str) -> T:
        """Record a setting and return its value."""
        self.entries.append(Provenance(self.key(key), value, origin))
        return value

    def resolve(self, key: str, value: T | None, otherwise: Callable[[], T], origin: str,
                ) -> T:
        """Record and return a setting.

        Args:
            key: of the setting.
            value: from the config or the metadata; None if it is not set there.
            otherwise: returns the value in that case.
            origin: of the result of ``otherwise``.
        """
        if value is not None:
            return self.record(key, value, self.config_origin(key))
        return self.record(key, otherwise(), origin)

    def config_origin(self, key: str) -> str:
        """Return the origin of a key in the config: 'config' or 'metadata'."""
        return 'metadata' if self.key(key) in self.from_metadata else 'config'
