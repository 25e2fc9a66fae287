# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""MMSegmentation's own way from a picture to a mask, beside ours with the config to copy."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from trt_segmentation.model_config import ModelConfig
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

ROOT = Path(__file__).parents[2]

for package in ('torch', 'onnxscript', 'mmcv', 'mmengine', 'mmseg'):
    try:
        importlib.import_module(package)
    except ImportError:  # theirs, or that of what they need
        pytest.skip(f'{package} is not installed', allow_module_level=True)

import torch  # noqa: E402
from demo_scenes.scenes import render  # noqa: E402
from model_zoo.check import make  # noqa: E402
from model_zoo.exporting import export  # noqa: E402
from model_zoo.families.from_mmsegmentation import ENTRIES  # noqa: E402

SIZE = (96, 128)


@pytest.fixture(scope='module')
def entry():
    return next(entry for entry in ENTRIES if entry.name == 'mmseg SegFormer B0')


@pytest.fixture(scope='module')
def network(entry):
    return make(entry, True, [render(seed, *SIZE).image for seed in (1, 2)])


def test_masks_are_those_of_its_inference_api(entry, network, tmp_path):
    from mmseg.apis import inference_model
    segmentor = network.module.segmentor
    height, width = SIZE
    pipeline = segmentor.cfg.test_pipeline
    next(step for step in pipeline if step.type == 'Resize').scale = (width, height)
    segmentor.test_cfg.mode = 'whole'
    export(network.module, SIZE, entry.export, tmp_path / 'net.onnx')
    image = render(3, *SIZE).image
    # Twice the image in height and width, so that both bring the scores to its size.
    image = np.ascontiguousarray(image.repeat(2, axis=0).repeat(2, axis=1))
    with torch.no_grad():
        expected = inference_model(segmentor, image).pred_sem_seg.data[0].numpy()
    config = ModelConfig.from_file(ROOT / 'config' / 'models' / 'mmsegmentation.yaml')
    fed = ModelConfig(input=config.input)  # the small network has less classes
    segmenter = Segmenter.open(tmp_path / 'net.onnx', config=fed,
                               options=RunOptions('onnxruntime', mask_interpolation='bilinear'))
    try:
        mask = segmenter.infer(image).mask
    finally:
        segmenter.close()
    assert len(np.unique(expected)) > 1
    assert (mask == expected).mean() >= 0.99
