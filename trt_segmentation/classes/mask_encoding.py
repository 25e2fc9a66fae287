# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The pixel types of a mask: 8 or 16 bits a pixel."""

from dataclasses import dataclass

import numpy as np

from trt_segmentation.errors import ConfigError


@dataclass(frozen=True)
class MaskEncoding:
    """The pixel type of a mask.

    Attributes:
        name: the encoding in sensor_msgs/Image, and the value of parameter ``mask_encoding``.
        dtype: of a pixel.
    """

    name: str
    dtype: type[np.unsignedinteger]

    @property
    def unlabelled(self) -> int:
        """The value of a pixel without a class: the highest one, which is no class id."""
        return int(np.iinfo(self.dtype).max)

    @property
    def planes(self) -> int:
        """Bytes per pixel."""
        return np.dtype(self.dtype).itemsize


MONO8 = MaskEncoding('mono8', np.uint8)
MONO16 = MaskEncoding('mono16', np.uint16)
_ALL = {encoding.name: encoding for encoding in (MONO8, MONO16)}


def mask_encoding(name: str) -> MaskEncoding:
    """Return the encoding of that name.

    Raises:
        ConfigError: there is no such encoding.
    """
    if name not in _ALL:
        raise ConfigError(f"mask_encoding is '{name}'; it is one of {', '.join(_ALL)}")
    return _ALL[name]
