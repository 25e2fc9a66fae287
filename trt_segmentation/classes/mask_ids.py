# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The mapping from the network's class ids to the ids in the mask."""

from dataclasses import dataclass

import numpy as np

from trt_segmentation.classes.mask_encoding import MONO8, MaskEncoding
from trt_segmentation.classes.merging import ClassMerge


@dataclass(frozen=True)
class MaskIds:
    """The mapping from the network's class ids to mask ids.

    Attributes:
        encoding: of the mask.
        table: mask ids, indexed by the network's id; the last entry is that of "no class". None
            if ids are not mapped.
    """

    encoding: MaskEncoding
    table: np.ndarray | None = None

    @property
    def no_class(self) -> int:
        """The id of "no class" before the table is applied; higher than every class id."""
        return self.encoding.unlabelled if self.table is None else len(self.table) - 1

    @property
    def drops_classes(self) -> bool:
        """Whether a class of the network has no id in the mask."""
        return self.table is not None and bool(np.any(self._is_dropped))

    @property
    def kept(self) -> np.ndarray:
        """float32, indexed by the network's id: 1 if the class has an id in the mask, else 0."""
        assert self.table is not None, 'without a table no class is dropped'
        return (self.table != self.encoding.unlabelled).astype(np.float32)

    @property
    def planes(self) -> list[np.ndarray | None]:
        """The bytes of the table, uint8, lowest byte first; [None] if ids are not mapped."""
        if self.table is None:
            return [None]
        little_endian = self.table.astype(self.table.dtype.newbyteorder('<'))
        return list(little_endian.view(np.uint8).reshape(len(self.table), -1).T)

    @property
    def _is_dropped(self) -> np.ndarray:
        return self.kept[:-1] == 0


def mask_ids_of(encoding: MaskEncoding, merge: ClassMerge | None, channels: int | None,
                ) -> MaskIds:
    """Return the mapping from a network's class ids to mask ids.

    Args:
        encoding: of the mask.
        merge: the merged classes of the mask; None if the mask has the network's classes.
        channels: number of the network's classes; None if it gives ids of any value.
    """
    if merge is None and encoding == MONO8:
        return MaskIds(encoding)
    count = 2 ** 16 if channels is None else channels
    table = np.full(count + 1, encoding.unlabelled, encoding.dtype)
    if merge is None:
        table[:-1] = np.arange(count)
    else:
        for network_id, mask_id in enumerate(merge.mask_ids):
            if mask_id is not None:
                table[network_id] = mask_id
    return MaskIds(encoding, table)
