# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The region of interest: the only part of the image that is segmented."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from trt_segmentation.errors import ImageError
from trt_segmentation.graph.pipeline.output_names import kind_of
from trt_segmentation.images.gray import as_brightness
from trt_segmentation.images.render import halved
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
    _crops: list[np.ndarray] = field(init=False, repr=False, default_factory=list)

    def infer_batch(self, segmenter: Segmenter, images: Sequence[np.ndarray], *, color: str,
                    outputs: tuple[str, ...], outs: Sequence[Mapping[str, np.ndarray]]) -> None:
        """Segment the region; the arguments are those of ``Segmenter.infer_batch``.

        Outside, the mask has no class, confidence and instance ids are 0, and the overlay is the
        image. Boxes are moved from the region to the image. In an overlay of half the size, an
        odd x or y is rounded down.

        Raises:
            ImageError: the region does not lie within the images; or see ``infer_batch``.
            BackendError: the runtime failed.
        """
        height, width = images[0].shape[:2]
        if self.x + self.width > width or self.y + self.height > height:
            raise ImageError(f'the region of interest is {self.width}x{self.height} at {self.x}, '
                             f'{self.y}, but the image is {width}x{height}')
        inside = np.s_[self.y:self.y + self.height, self.x:self.x + self.width]
        for crop, image in zip(self._crops_of(images), images, strict=True):
            np.copyto(crop, image[inside])
        found = segmenter.infer_batch(self._crops, color=color, outputs=outputs)
        outside = {'mask': segmenter.spec.encoding.unlabelled, 'confidence': 0, 'instances': 0}
        for image, out, segmentation in zip(images, outs, found, strict=True):
            for name in outputs:
                kind = kind_of(name)
                if kind == 'detections':
                    self._move_boxes(segmentation.arrays[name], out[name])
                    continue
                if kind == 'overlay':
                    self._paste_overlay(image, segmentation.arrays[name], out[name])
                    continue
                out[name][...] = outside[kind]
                out[name][inside] = segmentation.arrays[name]

    def _paste_overlay(self, image: np.ndarray, found: np.ndarray, overlay: np.ndarray) -> None:
        """Write the image with the overlay of the region; both may have half the size."""
        is_half = overlay.shape[0] < image.shape[0] or overlay.shape[1] < image.shape[1]
        shown, y, x = (halved(image), self.y // 2, self.x // 2) if is_half else \
            (image, self.y, self.x)
        overlay[...] = as_brightness(shown)
        overlay[y:y + found.shape[0], x:x + found.shape[1]] = found

    def _move_boxes(self, found: np.ndarray, moved: np.ndarray) -> None:
        """Write detections of the region as those of the image; unused rows stay 0."""
        is_used = found[:, 4:5] > 0
        moved[...] = found
        moved[:, 0:4] += is_used * np.array([self.x, self.y, self.x, self.y], np.float32)

    def _crops_of(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        wanted = [((self.height, self.width, *image.shape[2:]), image.dtype) for image in images]
        if wanted != [(crop.shape, crop.dtype) for crop in self._crops]:
            self._crops = [np.empty(*each) for each in wanted]
        return self._crops
