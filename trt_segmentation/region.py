# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A region of interest: only that part of the image is segmented, the rest has no class."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from trt_segmentation.errors import ImageError
from trt_segmentation.segmenter import Segmenter


@dataclass
class Region:
    """A rectangle of the image.

    Attributes:
        x, y: column and row of its first pixel.
        width, height: pixels.
    """

    x: int
    y: int
    width: int
    height: int
    _crop: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._crop = np.empty((self.height, self.width, 3), np.uint8)

    def infer(self, segmenter: Segmenter, image: np.ndarray, *, color: str,
              outputs: tuple[str, ...], out: Mapping[str, np.ndarray]) -> None:
        """Segment the region; the arguments are those of ``Segmenter.infer``.

        Outside, the mask has no class, the confidence is 0 and the overlay the image.

        Raises:
            ImageError: the region does not lie within the image.
            BackendError: the runtime failed.
        """
        height, width = image.shape[:2]
        if self.x + self.width > width or self.y + self.height > height:
            raise ImageError(f'the region of interest is {self.width}x{self.height} at {self.x}, '
                             f'{self.y}, but the image is {width}x{height}')
        inside = np.s_[self.y:self.y + self.height, self.x:self.x + self.width]
        np.copyto(self._crop, image[inside])
        found = segmenter.infer(self._crop, color=color, outputs=outputs).arrays
        outside = {'mask': segmenter.spec.encoding.unlabelled, 'confidence': 0, 'overlay': image}
        for name in outputs:
            out[name][...] = outside[name]
            out[name][inside] = found[name]
