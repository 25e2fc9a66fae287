# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The model configs to copy say all that no graph tells."""

from pathlib import Path

import pytest

from trt_segmentation.model_config import ModelConfig

FOLDER = Path(__file__).parents[2] / 'config' / 'models'


@pytest.mark.parametrize('path', sorted(FOLDER.glob('*.yaml')), ids=lambda path: path.stem)
def test_a_preset_says_how_a_network_is_fed(path):
    fed = ModelConfig.from_file(path).input
    assert None not in (fed.color, fed.scale, fed.mean, fed.std)
    # Black and white pixels come out as training code makes them: within a few deviations of 0.
    ends = [(pixel * fed.scale - mean) / std for pixel in (0, 255)
            for mean, std in zip(fed.mean, fed.std, strict=True)]
    assert -3 < min(ends) <= 0 < max(ends) < 3


def test_there_is_one_for_every_family():
    names = {path.stem for path in FOLDER.glob('*.yaml')}
    assert {'torchvision', 'segformer', 'mobilevit', 'upernet', 'dpt', 'mask2former',
            'maskformer', 'smp', 'tao_unet', 'mmsegmentation', 'ultralytics', 'eomt', 'oneformer',
            'beit', 'mobilenet_v2', 'keras', 'paddleseg'} <= names
