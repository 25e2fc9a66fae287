# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Which mask id stands for which class id of the network."""

from dataclasses import dataclass

import numpy as np

from trt_segmentation.classes.mask_encoding import MONO8, MaskEncoding
from trt_segmentation.classes.merging import ClassMerge


@dataclass(frozen=True)
class MaskIds:
    """How a network's class ids become those of the mask.

    Attributes:
        encoding: of the mask.
        table: mask id by the network's id, the last one that of no class; None where an id
            stays as it is and "no class" is the mask's own.
    """

    encoding: MaskEncoding
    table: np.ndarray | None = None

    @property
    def nothing(self) -> int:
        """What stands for "no class" before the table is applied; higher than every id."""
        return self.encoding.unlabelled if self.table is None else len(self.table) - 1

    @property
    def drops(self) -> bool:
        """Whether some class of the network has none in the mask."""
        return self.table is not None and bool(np.any(self._is_dropped))

    @property
    def kept(self) -> np.ndarray:
        """float32 by the network's id: 1, or 0 where the class has none in the mask."""
        assert self.table is not None, 'ids that stay as they are drop nothing'
        return (self.table != self.encoding.unlabelled).astype(np.float32)

    @property
    def planes(self) -> list[np.ndarray | None]:
        """The table's bytes, uint8, lowest first; None for ids that stay as they are."""
        if self.table is None:
            return [None]
        little_endian = self.table.astype(self.table.dtype.newbyteorder('<'))
        return list(little_endian.view(np.uint8).reshape(len(self.table), -1).T)

    @property
    def _is_dropped(self) -> np.ndarray:
        return self.kept[:-1] == 0


def mask_ids_of(encoding: MaskEncoding, merge: ClassMerge | None, channels: int | None,
                ) -> MaskIds:
    """Return the coding of a network's classes.

    Args:
        encoding: of the mask.
        merge: what the mask shows instead of the network's classes; None for those.
        channels: number of the network's classes; None where it gives ids, which may be any.
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
