# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Temporal smoothing of a Segmenter over several images, compared with NumPy."""

import runpy
from pathlib import Path

import numpy as np
import onnx
import pytest

from trt_segmentation.errors import BackendError, ConfigError
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

SIZE = 12, 16
CONFIG = 'input: {color: bgr, scale: 0.02}\noutput: {kind: logits}'


@pytest.fixture
def model(networks, tmp_path):
    onnx.save(networks.pointwise(np.eye(3), SIZE, metadata=CONFIG), tmp_path / 'net.onnx')
    return tmp_path / 'net.onnx'


def open_smoothed(model, batch=1):
    return Segmenter.open(model, options=RunOptions('onnxruntime', batch=batch, smoothing=True))


def means(networks, images, weight):
    """Return the mean after each image: [classes, h, w]."""
    mean, found = None, []
    for image in images:
        current = networks.softmax(image.astype(np.float32).transpose(2, 0, 1) * 0.02)
        mean = current if mean is None else weight * mean + (1 - weight) * current
        found.append(mean)
    return found


def assert_is(networks, segmentation, mean):
    wanted = networks.as_byte(mean.max(axis=0)).astype(int)
    assert np.abs(segmentation.confidence.astype(int) - wanted).max() <= 1
    ordered = np.sort(mean, axis=0)
    certain = ordered[-1] - ordered[-2] > 1e-4
    np.testing.assert_array_equal(segmentation.mask[certain], mean.argmax(axis=0)[certain])


OUTPUTS = 'mask', 'confidence'


@pytest.mark.parametrize('weight', [0.0, 0.3, 0.95])
def test_the_mask_is_that_of_the_mean(networks, model, weight):
    images = [networks.random_image(*SIZE, seed) for seed in range(6)]
    segmenter = open_smoothed(model)
    segmenter.smoothing = weight
    for image, mean in zip(images, means(networks, images, weight), strict=True):
        assert_is(networks, segmenter.infer(image, outputs=OUTPUTS), mean)


def test_the_mean_survives_other_outputs_and_starts_again_on_request(networks, model):
    images = [networks.random_image(*SIZE, seed) for seed in range(4)]
    wanted = means(networks, images, 0.8)
    segmenter = open_smoothed(model)
    segmenter.smoothing = 0.8
    segmenter.infer(images[0])
    segmenter.infer(images[1], outputs=('mask', 'overlay'))
    assert_is(networks, segmenter.infer(images[2], outputs=OUTPUTS), wanted[2])
    segmenter.reset_smoothing()
    assert_is(networks, segmenter.infer(images[3], outputs=OUTPUTS),
              means(networks, images[3:], 0.8)[0])


def test_an_image_of_another_size_starts_again(networks, model):
    segmenter, alone = open_smoothed(model), Segmenter.open(model)
    segmenter.smoothing = 0.9
    segmenter.infer(networks.random_image(*SIZE, 1))
    other = networks.random_image(20, 30, 2)
    np.testing.assert_array_equal(segmenter.infer(other, outputs=OUTPUTS).confidence,
                                  alone.infer(other, outputs=OUTPUTS).confidence)


def test_each_image_of_a_batch_has_a_mean(networks, model):
    series = [[networks.random_image(*SIZE, seed + camera) for camera in (0, 10)]
              for seed in range(3)]
    segmenter = open_smoothed(model, batch=2)
    segmenter.smoothing = 0.6
    for images in series:
        found = segmenter.infer_batch(images, outputs=OUTPUTS)
    for camera in range(2):
        wanted = means(networks, [images[camera] for images in series], 0.6)[-1]
        assert_is(networks, found[camera], wanted)


def test_a_twin_has_a_mean_of_its_own(networks, model):
    first = open_smoothed(model)
    first.smoothing = 0.9
    images = [networks.random_image(*SIZE, seed) for seed in range(2)]
    first.infer(images[0])
    second = first.twin()
    second.smoothing = 0.9
    assert_is(networks, second.infer(images[1], outputs=OUTPUTS),
              means(networks, images[1:], 0.9)[0])
    assert_is(networks, first.infer(images[1], outputs=OUTPUTS), means(networks, images, 0.9)[1])


def test_refusals_have_a_reason(networks, model, tmp_path):
    with pytest.raises(BackendError, match=r'set RunOptions\.smoothing'):
        Segmenter.open(model).smoothing = 0.5
    segmenter = open_smoothed(model)
    with pytest.raises(ConfigError, match=r'smoothing is 0\.96; it must be 0 to 0\.95'):
        segmenter.smoothing = 0.96
    assert segmenter.smoothing == 0
    onnx.save(networks.fixed(np.zeros((1, *SIZE), np.int64)), tmp_path / 'ids.onnx')
    with pytest.raises(ConfigError, match='gives class ids, which cannot be smoothed'):
        open_smoothed(tmp_path / 'ids.onnx')


def test_the_masks_of_a_noisy_scene_become_steadier(capsys):
    tool = runpy.run_path(str(Path(__file__).parents[1] / 'tools' / 'steadiness.py'))
    assert tool['main'](['--frames', '4', '--noise', '30']) == 0
    rows = [line.strip('| ').split(' | ') for line in capsys.readouterr().out.splitlines()[2:]]
    changed = [float(row[1].removesuffix(' %')) for row in rows]
    assert [float(row[0]) for row in rows] == [0, 0.3, 0.6, 0.8]
    assert changed == sorted(changed, reverse=True)
    assert changed[0] > 2 * changed[-1] > 0
