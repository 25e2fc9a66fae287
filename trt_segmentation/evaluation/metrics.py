# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics of a mask against ground truth or another mask."""

from collections.abc import Sequence

import numpy as np


def joint_counts(first: np.ndarray, second: np.ndarray, classes: int) -> np.ndarray:
    """Count pixels by their classes in two masks.

    Args:
        first, second: uint8 or uint16 arrays of equal shape; ids from ``classes`` on are no class.
        classes: number of classes, less than the type's highest value.

    Returns:
        int64 [classes + 1, classes + 1]; the last row and column count pixels without a class.
    """
    side = classes + 1
    cells = np.minimum(first, classes).astype(np.int64) * side + np.minimum(second, classes)
    return np.bincount(cells.ravel(), minlength=side * side).reshape(side, side)


def confusion_matrix(truth: np.ndarray, mask: np.ndarray, classes: int) -> np.ndarray:
    """Count pixels by true and by predicted class.

    Args:
        truth, mask: uint8 or uint16 arrays of equal shape. Pixels whose truth is no class are
            not counted. Predictions that are no class are misses, counted in the last column.
        classes: number of classes, less than the type's highest value.

    Returns:
        int64 [classes, classes + 1].
    """
    return joint_counts(truth, mask, classes)[:-1]


def class_iou(confusion: np.ndarray, ignored: Sequence[int] = ()) -> np.ndarray:
    """Return intersection over union of each class; NaN for a class that does not occur.

    Args:
        confusion: int64, from ``confusion_matrix`` or ``joint_counts``.
        ignored: ids of classes without a score, which are NaN, too: where the truth is one of
            them, pixels do not count, so only false alarms are left. Other ids change nothing.

    Returns:
        float64, one per row, 0..1.
    """
    hits = np.diag(confusion).astype(np.float64)
    union = confusion.sum(axis=1) + confusion[:, :len(hits)].sum(axis=0) - hits
    scored = (union > 0) & ~np.isin(np.arange(len(hits)), ignored)
    return np.divide(hits, union, out=np.full_like(hits, np.nan), where=scored)


def mean_iou(confusion: np.ndarray, ignored: Sequence[int] = ()) -> float:
    """Return the mean of ``class_iou`` over the classes that occur and are not ignored."""
    return float(np.nanmean(class_iou(confusion, ignored)))


def pixel_accuracy(confusion: np.ndarray) -> float:
    """Return the share of the counted pixels whose two classes are equal; NaN without pixels.

    Args:
        confusion: int64, from ``confusion_matrix`` or ``joint_counts``.
    """
    total = int(confusion.sum())
    return float(np.trace(confusion)) / total if total else float('nan')
