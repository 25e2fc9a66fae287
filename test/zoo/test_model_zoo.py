# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Small networks of every family, exported here and now, give the masks that PyTorch gives."""

import importlib

import numpy as np
import pytest


def imported(name):
    """Import a module, or skip this file where it, or what it needs, is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        pytest.skip(f"{name} is not installed; pip install '.[zoo]' brings it",
                    allow_module_level=True)


for package in ('torch', 'onnxscript', 'transformers', 'scipy'):
    imported(package)
check, families = imported('model_zoo.check'), imported('model_zoo.families')
Instance, instances = imported('model_zoo.entry').Instance, imported('model_zoo.instances')
imported('segmentation_models_pytorch')  # finds a torchvision that can be imported by now

CLEAR = 0.5
"""At least so much of the pixels is no near tie; with less, a comparison would show little."""

SCORE, BOX = 1e-3, 0.01
"""Largest differences of the scores of instances, and of boxes in pixels."""


@pytest.fixture(scope='module')
def images():
    return check.load_images(None, small=True)


@pytest.mark.parametrize('entry', [entry for entry in families.ENTRIES if entry.in_ci],
                         ids=lambda entry: entry.name)
def test_masks_are_those_of_pytorch(entry, images, tmp_path):
    for package in entry.needs:
        imported(package)
    exported = check.export_entry(entry, tmp_path, True, images)
    found = check.compare(exported, exported.growth)
    assert found.share >= check.MIN_AGREEMENT
    assert found.counted >= CLEAR
    assert found.classes >= 2
    if exported.instances:
        check_instances(instances.compare_instances(exported.model, exported.config,
                                                    exported.instances))


def check_instances(found):
    """Instances are those of the family's own post-processing."""
    assert found.count >= 10
    assert found.missing == 0
    assert found.score <= SCORE
    assert found.box <= BOX
    assert found.pixels >= check.MIN_AGREEMENT
    assert found.covered >= 0.1


def instance(area, score=0.9, class_id=1, box=True):
    """An instance of the pixels of a box in an image of 20x20; masks are half its size."""
    x_min, y_min, x_max, y_max = area
    mask = np.zeros((10, 10), bool)
    mask[y_min // 2:y_max // 2, x_min // 2:x_max // 2] = True
    return Instance(class_id, score, mask, area if box else None)


def seen(*found):
    """Ids and detections of a Segmenter that finds instances, the first of which hide others."""
    ids = np.zeros((10, 10), np.uint16)
    for number, each in reversed(list(enumerate(found, 1))):
        ids[each.mask] = number
    unused = np.zeros((2, 6), np.float32)
    return ids, np.concatenate([instances._rows_of(found, (20, 20)), unused])


LEFT, RIGHT, WHOLE = (0, 0, 10, 20), (12, 0, 20, 20), (0, 0, 20, 20)


@pytest.mark.parametrize('box', [True, False])
def test_instances_are_paired_by_class_and_place(box):
    def pairs(found, wanted):
        ids, detections = seen(*found)
        theirs, rows = seen(*wanted)
        return set(instances._paired(detections, rows, instances._overlaps_of_ids(
            ids, theirs, len(detections), len(rows))))

    left, right = (instance(area, box=box) for area in (LEFT, RIGHT))
    assert pairs([left, right], [right, left]) == {(0, 1), (1, 0)}  # their scores are equal
    other = instance(LEFT, class_id=2, box=box)
    assert pairs([left, other], [other, left]) == {(0, 1), (1, 0)}
    assert pairs([left], [right]) == pairs([left], [other]) == set()
    surer = instance(LEFT, 0.95, box=box)
    assert pairs([left, right], [right, surer]) == {(0, 1), (1, 0)}
    hidden = [instance(WHOLE, score, box=box) for score in (0.8, 0.7, 0.6)]  # by the first
    assert pairs(hidden, [hidden[0], *hidden[:0:-1]]) == {(0, 0), (1, 2), (2, 1)}


def test_masks_tell_instances_with_the_same_box():
    corners = [instance(WHOLE) for _ in range(2)]
    for each, cut in zip(corners, (np.triu, np.tril), strict=True):
        each.mask[:] = cut(np.ones((10, 10), bool))
    both = [Instance(1, 0.9, each.mask) for each in corners]
    ids, detections = seen(*both)
    assert instances._paired(detections, detections[1::-1], instances._overlaps_of_ids(
        ids, np.where(ids > 0, 3 - ids, 0), 4, 2)) == [(0, 1), (1, 0)]


def test_a_wrong_score_and_a_missing_instance_are_reported():
    wanted = [instance(LEFT), instance(RIGHT)]
    agreement = instances._compare(*seen(*wanted), wanted, (20, 20))
    assert (agreement.count, agreement.missing, agreement.score, agreement.box) == (2, 0, 0, 0)
    assert (agreement.pixels, agreement.covered) == (1, 0.9)
    agreement = instances._compare(*seen(instance(LEFT, 0.7)), wanted, (20, 20))
    assert (agreement.count, agreement.missing) == (2, 1)
    assert agreement.score == pytest.approx(0.2)
    assert agreement.pixels == pytest.approx(0.1)
