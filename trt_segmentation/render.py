# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures for people: coloured masks, legends, side-by-side panels."""

from collections.abc import Sequence

import cv2
import numpy as np

from trt_segmentation.model_config import UNLABELLED
from trt_segmentation.palette import Palette

_INK = (40, 40, 40)
_PAPER = (255, 255, 255)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def colored_mask(mask: np.ndarray, palette: Palette) -> np.ndarray:
    """Return a mask in its classes' colours.

    Args:
        mask: uint8 [H, W].

    Returns:
        uint8 [H, W, 3], BGR.
    """
    return cv2.applyColorMap(mask, palette.table('bgr').reshape(256, 1, 3))


def legend(mask: np.ndarray, labels: Sequence[str], palette: Palette, height: int) -> np.ndarray:
    """Return the classes that occur in a mask with their colours and shares, largest first.

    Args:
        mask: uint8 [H, W].
        labels: class names by id.
        height: of the picture, pixels; classes that find no room are left out.

    Returns:
        uint8 [height, 260, 3], BGR.
    """
    picture = np.full((height, 260, 3), _PAPER, np.uint8)
    counts = np.bincount(mask.ravel(), minlength=256)
    row = 26
    table = palette.table('bgr')
    for line, index in enumerate(np.argsort(-counts, kind='stable')):
        top = 10 + line * row
        if counts[index] == 0 or top + row > height:
            break
        name = 'unlabelled' if index == UNLABELLED else \
            labels[index] if index < len(labels) else f'class {index}'
        color = tuple(int(c) for c in table[index])
        cv2.rectangle(picture, (10, top), (32, top + 18), color, cv2.FILLED)
        cv2.rectangle(picture, (10, top), (32, top + 18), _INK, 1)
        share = counts[index] / mask.size
        cv2.putText(picture, f'{name[:18]} {share:.1%}', (42, top + 14), _FONT, 0.45, _INK, 1,
                    cv2.LINE_AA)
    return picture


def panel(image: np.ndarray, mask: np.ndarray, overlay: np.ndarray, labels: Sequence[str],
          palette: Palette, height: int = 300) -> np.ndarray:
    """Return image, mask, overlay and legend side by side.

    Args:
        image, overlay: uint8 [H, W, 3], BGR.
        mask: uint8 [H, W].
        height: of each picture, pixels.

    Returns:
        uint8 [height + 32, sum of widths, 3], BGR, a title above each.
    """
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    scaled = [cv2.resize(picture, (width, height), interpolation=interpolation)
              for picture, interpolation in ((image, cv2.INTER_AREA),
                                             (colored_mask(mask, palette), cv2.INTER_NEAREST),
                                             (overlay, cv2.INTER_AREA))]
    pictures = [*scaled, legend(mask, labels, palette, height)]
    titled = [_titled(picture, title) for picture, title in
              zip(pictures, ('image', 'mask', 'overlay', 'classes'), strict=True)]
    return np.hstack(titled)


def _titled(picture: np.ndarray, title: str) -> np.ndarray:
    framed = cv2.copyMakeBorder(picture, 28, 4, 3, 3, cv2.BORDER_CONSTANT, value=_PAPER)
    cv2.putText(framed, title, (8, 19), _FONT, 0.5, _INK, 1, cv2.LINE_AA)
    return framed
