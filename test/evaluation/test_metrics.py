# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics, compared with their definitions in loops and sets."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from trt_segmentation.evaluation.metrics import (
    class_iou,
    confusion_matrix,
    joint_counts,
    mean_iou,
    pixel_accuracy,
)
from trt_segmentation.model_config import MAX_CLASSES, UNLABELLED


@dataclass(frozen=True)
class Case:
    """Ground truth and prediction, uint8 [H, W], and the number of classes."""

    truth: np.ndarray
    mask: np.ndarray
    classes: int


@st.composite
def cases(draw) -> Case:
    """Masks with classes that are absent, unknown ids and unlabelled pixels."""
    classes = draw(st.one_of(st.integers(1, 6), st.just(MAX_CLASSES)))
    ids = st.one_of(st.integers(0, min(classes, 255)), st.sampled_from([254, UNLABELLED]))
    width = draw(st.integers(0, 6))
    rows = draw(st.lists(st.lists(st.tuples(ids, ids), min_size=width, max_size=width),
                         min_size=1, max_size=6))
    pixels = np.array(rows, np.uint8).reshape(len(rows), width, 2)
    return Case(pixels[..., 0], pixels[..., 1], classes)


def slow_confusion(case: Case) -> np.ndarray:
    confusion = np.zeros((case.classes, case.classes + 1), np.int64)
    for truth, mask in zip(case.truth.ravel().tolist(), case.mask.ravel().tolist(), strict=True):
        if truth != UNLABELLED and truth < case.classes:
            confusion[truth, mask if mask < case.classes else case.classes] += 1
    return confusion


def slow_iou(case: Case, class_id: int) -> float:
    """Intersection over union of two sets of pixels; NaN where both are empty."""
    known = {i for i, truth in enumerate(case.truth.ravel().tolist())
             if truth != UNLABELLED and truth < case.classes}
    truth = known & set(np.flatnonzero(case.truth.ravel() == class_id).tolist())
    mask = known & set(np.flatnonzero(case.mask.ravel() == class_id).tolist())
    return len(truth & mask) / len(truth | mask) if truth | mask else math.nan


def measured(case: Case) -> np.ndarray:
    return confusion_matrix(case.truth, case.mask, case.classes)


@given(cases())
def test_confusion_counts_pixel_by_pixel(case):
    confusion = measured(case)
    assert confusion.dtype == np.int64
    np.testing.assert_array_equal(confusion, slow_confusion(case))


@given(cases())
def test_iou_is_that_of_sets(case):
    iou = class_iou(measured(case))
    expected = [slow_iou(case, class_id) for class_id in range(case.classes)]
    np.testing.assert_allclose(iou, expected, rtol=1e-12, equal_nan=True)


@given(cases().filter(lambda case: slow_confusion(case).any()))
def test_mean_iou_leaves_absent_classes_out(case):
    ious = [slow_iou(case, class_id) for class_id in range(case.classes)]
    present = [iou for iou in ious if not math.isnan(iou)]
    assert mean_iou(measured(case)) == pytest.approx(sum(present) / len(present))


@given(cases())
def test_unlabelled_truth_does_not_count(case):
    more = Case(np.append(case.truth, np.full(9, UNLABELLED, np.uint8)),
                np.append(case.mask, np.arange(9, dtype=np.uint8)), case.classes)
    np.testing.assert_array_equal(measured(more), measured(case))


@given(cases(), cases())
def test_confusions_of_images_add_up(first, second):
    second = Case(second.truth, second.mask, first.classes)
    both = Case(np.append(first.truth, second.truth), np.append(first.mask, second.mask),
                first.classes)
    np.testing.assert_array_equal(measured(first) + measured(second), measured(both))


@given(cases())
def test_a_perfect_mask_scores_one(case):
    iou = class_iou(confusion_matrix(case.truth, case.truth, case.classes))
    present = np.isin(np.arange(case.classes), case.truth)
    np.testing.assert_array_equal(iou, np.where(present, 1.0, np.nan))


def test_unlabelled_predictions_are_misses():
    truth, mask = np.array([0, 0, 1, 1], np.uint8), np.array([0, 255, 1, 7], np.uint8)
    confusion = confusion_matrix(truth, mask, 2)
    assert confusion.tolist() == [[1, 0, 1], [0, 1, 1]]
    assert class_iou(confusion).tolist() == [0.5, 0.5]


def test_false_alarms_lower_the_iou_of_an_absent_class_to_zero():
    truth, mask = np.zeros(4, np.uint8), np.array([0, 0, 0, 2], np.uint8)
    iou = class_iou(confusion_matrix(truth, mask, 3))
    assert iou[[0, 2]].tolist() == [0.75, 0.0]
    assert math.isnan(iou[1])
    assert mean_iou(confusion_matrix(truth, mask, 3)) == 0.375


def test_an_ignored_class_is_in_no_mean_and_its_false_alarms_stay_misses():
    truth, mask = np.array([0, 0, 0, 0, 1, 1], np.uint8), np.array([0, 0, 0, 2, 1, 2], np.uint8)
    confusion = confusion_matrix(truth, mask, 3)
    iou = class_iou(confusion, [2, 255])
    assert iou[:2].tolist() == [0.75, 0.5]
    assert math.isnan(iou[2])
    assert mean_iou(confusion, [2, 255]) == 0.625
    assert mean_iou(confusion, [255]) == mean_iou(confusion) == pytest.approx(1.25 / 3)


def without_class_as_one_id(mask, classes):
    return np.where(mask < classes, mask, classes).ravel()


def scikit_learn_iou(first, second, ids):
    """Scikit-learn's, but NaN where an id occurs in neither."""
    iou = sklearn_metrics.jaccard_score(first, second, labels=ids, average=None, zero_division=0)
    return np.where(np.isin(ids, [first, second]), iou, np.nan)


@given(cases().filter(lambda case: slow_confusion(case).any()))
def test_scores_are_those_of_scikit_learn(case):
    counted = case.truth < case.classes
    truth = case.truth[counted]
    mask = without_class_as_one_id(case.mask[counted], case.classes)
    ids = np.arange(case.classes + 1)
    confusion = measured(case)
    np.testing.assert_array_equal(
        confusion, sklearn_metrics.confusion_matrix(truth, mask, labels=ids)[:-1])
    iou = scikit_learn_iou(truth, mask, ids[:-1])
    np.testing.assert_allclose(class_iou(confusion), iou, atol=1e-6, equal_nan=True)
    assert mean_iou(confusion) == pytest.approx(np.nanmean(iou), abs=1e-6)
    accuracy = sklearn_metrics.accuracy_score(truth, mask)
    assert pixel_accuracy(confusion) == pytest.approx(accuracy, abs=1e-6)


@given(cases().filter(lambda case: case.truth.size))
def test_agreement_of_two_masks_is_that_of_scikit_learn(case):
    first, second = (without_class_as_one_id(mask, case.classes)
                     for mask in (case.truth, case.mask))
    counts = joint_counts(case.truth, case.mask, case.classes)
    ids = np.arange(case.classes + 1)
    np.testing.assert_array_equal(
        counts, sklearn_metrics.confusion_matrix(first, second, labels=ids))
    iou = scikit_learn_iou(first, second, ids)
    np.testing.assert_allclose(class_iou(counts), iou, atol=1e-6, equal_nan=True)
    assert pixel_accuracy(counts) == pytest.approx(np.mean(first == second), abs=1e-6)


def test_no_pixels_have_no_accuracy():
    assert math.isnan(pixel_accuracy(np.zeros((2, 3), np.int64)))
