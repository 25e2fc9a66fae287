# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The rows of the output ``detections`` with the names of their classes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_SCORE = 4
"""Column of the score."""


@dataclass(frozen=True)
class Detection:
    """One instance in an image.

    Attributes:
        id: value of its pixels in the image of instances, 1 and up.
        class_id: of the mask.
        name: of the class; its id as text if the network does not name it.
        score: above 0, at most 1.
        box: x_min, y_min, x_max, y_max in pixels of the image.
    """

    id: int
    class_id: int
    name: str
    score: float
    box: tuple[float, float, float, float]


def used_rows(detections: np.ndarray, labels: Sequence[str]) -> Iterator[Detection]:
    """Yield the detections of an image; a row without an instance has the score 0.

    Args:
        detections: of ``Segmentation.detections``: float32 [K, 6].
        labels: names of the mask's classes by id.
    """
    for index in np.flatnonzero(detections[:, _SCORE] > 0).tolist():
        x_min, y_min, x_max, y_max, score, class_id = detections[index].tolist()
        number = int(class_id)
        yield Detection(index + 1, number, labels[number] if number < len(labels) else str(number),
                        score, (x_min, y_min, x_max, y_max))
