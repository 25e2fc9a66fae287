# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Small networks of every family, exported here and now, give the masks that PyTorch gives."""

import importlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / 'tools'))


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
instances = imported('model_zoo.instances')
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
