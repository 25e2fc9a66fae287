# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""How good a mask is, against ground truth."""

import numpy as np

from trt_segmentation.model_config import UNLABELLED


def confusion_matrix(truth: np.ndarray, mask: np.ndarray, classes: int) -> np.ndarray:
    """Count pixels by true and by predicted class.

    Args:
        truth, mask: uint8 arrays of one shape. Pixels whose truth is ``UNLABELLED`` or beyond
            the classes do not count; such predictions are misses and land in the last column.
        classes: number of classes.

    Returns:
        int64 [classes, classes + 1].
    """
    counted = truth < min(classes, UNLABELLED)
    predicted = np.minimum(mask[counted], classes).astype(np.int64)
    cells = truth[counted].astype(np.int64) * (classes + 1) + predicted
    return np.bincount(cells, minlength=classes * (classes + 1)).reshape(classes, classes + 1)


def class_iou(confusion: np.ndarray) -> np.ndarray:
    """Return intersection over union of every class; NaN where it occurs in neither.

    Args:
        confusion: int64 [classes, classes + 1], see ``confusion_matrix``.

    Returns:
        float64 [classes], 0..1.
    """
    hits = np.diag(confusion).astype(np.float64)
    union = confusion.sum(axis=1) + confusion[:, :-1].sum(axis=0) - hits
    return np.divide(hits, union, out=np.full_like(hits, np.nan), where=union > 0)


def mean_iou(confusion: np.ndarray) -> float:
    """Return the mean of ``class_iou`` over the classes that occur."""
    return float(np.nanmean(class_iou(confusion)))
