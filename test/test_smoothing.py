# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Temporal smoothing of a Segmenter over several images, compared with NumPy."""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from trt_segmentation.errors import BackendError, ConfigError
from trt_segmentation.options import BuildOptions, RunOptions
from trt_segmentation.segmenter import Segmenter

SIZE = 12, 16
ON_CPU = RunOptions('onnxruntime', smoothing=True)
ON_GPU = RunOptions('tensorrt', smoothing=True, build=BuildOptions(
    min_size=(8, 8), opt_size=(12, 16), max_size=(64, 64)))
CONFIG = 'input: {color: bgr, scale: 0.02}\noutput: {kind: logits}'


@pytest.fixture
def model(networks, tmp_path):
    onnx.save(networks.pointwise(np.eye(3), SIZE, metadata=CONFIG), tmp_path / 'net.onnx')
    return tmp_path / 'net.onnx'


@pytest.fixture(params=['onnxruntime', 'tensorrt'])
def open_smoothed(request, model, tmp_path):
    """Opens a network on a backend: TensorRT has a stand-in, whose new memory holds no numbers."""
    opened = []
    if request.param == 'tensorrt':
        request.getfixturevalue('tensorrt')
        request.getfixturevalue('gpu').rubbish = 0xFF

    def open_smoothed(path=model, **options):
        known = {'onnxruntime': ON_CPU, 'tensorrt': ON_GPU}[request.param]
        opened.append(Segmenter.open(path, options=replace(
            known, engine_cache=str(tmp_path), **options)))
        return opened[-1]

    yield open_smoothed
    for segmenter in opened:
        segmenter.close()


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
def test_the_mask_is_that_of_the_mean(networks, open_smoothed, weight):
    images = [networks.random_image(*SIZE, seed) for seed in range(6)]
    segmenter = open_smoothed()
    segmenter.smoothing = weight
    for image, mean in zip(images, means(networks, images, weight), strict=True):
        assert_is(networks, segmenter.infer(image, outputs=OUTPUTS), mean)


def test_the_mean_survives_other_outputs_and_starts_again_on_request(networks, open_smoothed):
    images = [networks.random_image(*SIZE, seed) for seed in range(4)]
    wanted = means(networks, images, 0.8)
    segmenter = open_smoothed()
    segmenter.smoothing = 0.8
    segmenter.infer(images[0])
    segmenter.infer(images[1], outputs=('mask', 'overlay'))
    assert_is(networks, segmenter.infer(images[2], outputs=OUTPUTS), wanted[2])
    segmenter.reset_smoothing()
    assert_is(networks, segmenter.infer(images[3], outputs=OUTPUTS),
              means(networks, images[3:], 0.8)[0])


def test_after_an_error_the_mean_starts_again(networks, model, tensorrt, gpu, tmp_path):
    images = [networks.random_image(*SIZE, seed) for seed in range(4)]
    options = replace(ON_GPU, engine_cache=str(tmp_path))
    with Segmenter.open(model, options=options) as segmenter:
        segmenter.smoothing = 0.8
        segmenter.infer(images[0])
        gpu.fail('copy')
        with pytest.raises(BackendError):
            segmenter.infer(images[1])
        for image, mean in zip(images[2:], means(networks, images[2:], 0.8), strict=True):
            assert_is(networks, segmenter.infer(image, outputs=OUTPUTS), mean)


def test_an_image_of_another_size_starts_again(networks, open_smoothed, model):
    segmenter = open_smoothed()
    alone = Segmenter.open(model, options=RunOptions('onnxruntime'))
    segmenter.smoothing = 0.9
    segmenter.infer(networks.random_image(*SIZE, 1))
    other = networks.random_image(20, 30, 2)
    np.testing.assert_array_equal(segmenter.infer(other, outputs=OUTPUTS).confidence,
                                  alone.infer(other, outputs=OUTPUTS).confidence)


def test_a_gpu_without_graphs_swaps_the_states(networks, model, tensorrt, gpu, tmp_path):
    gpu.rubbish = 0xFF
    gpu.fail('capture', 99)
    images = [networks.random_image(*SIZE, seed) for seed in range(4)]
    options = replace(ON_GPU, engine_cache=str(tmp_path))
    with Segmenter.open(model, options=options) as segmenter:
        segmenter.smoothing = 0.6
        for image, mean in zip(images, means(networks, images, 0.6), strict=True):
            assert_is(networks, segmenter.infer(image, outputs=OUTPUTS), mean)
    assert gpu.counts['launched'] == 0
    gpu.assert_all_is_freed()


def test_a_frame_with_smoothing_copies_no_state(networks, model, tensorrt, gpu, tmp_path):
    options = replace(ON_GPU, engine_cache=str(tmp_path))
    with Segmenter.open(model, options=options) as segmenter:
        segmenter.smoothing = 0.6
        image = networks.random_image(*SIZE)
        segmenter.infer(image)
        segmenter.infer(image)
        before = gpu.counts.copy()
        segmenter.infer(image)
        found = gpu.counts - before
        assert found == {'launched': 1, 'copied in': 1, 'copied out': 1, 'synchronised': 1}


def test_each_image_of_a_batch_has_a_mean(networks, open_smoothed):
    series = [[networks.random_image(*SIZE, seed + camera) for camera in (0, 10)]
              for seed in range(3)]
    segmenter = open_smoothed(batch=2)
    segmenter.smoothing = 0.6
    for images in series:
        found = segmenter.infer_batch(images, outputs=OUTPUTS)
    for camera in range(2):
        wanted = means(networks, [images[camera] for images in series], 0.6)[-1]
        assert_is(networks, found[camera], wanted)


def test_a_twin_has_a_mean_of_its_own(networks, model):
    first = Segmenter.open(model, options=ON_CPU)
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
    segmenter = Segmenter.open(model, options=ON_CPU)
    with pytest.raises(ConfigError, match=r'smoothing is 0\.96; it must be 0 to 0\.95'):
        segmenter.smoothing = 0.96
    assert segmenter.smoothing == 0
    onnx.save(networks.fixed(np.zeros((1, *SIZE), np.int64)), tmp_path / 'ids.onnx')
    with pytest.raises(ConfigError, match='gives class ids, which cannot be smoothed'):
        Segmenter.open(tmp_path / 'ids.onnx', options=ON_CPU)


def test_the_masks_of_a_noisy_scene_become_steadier(capsys):
    tool = runpy.run_path(str(Path(__file__).parents[1] / 'tools' / 'steadiness.py'))
    assert tool['main'](['--frames', '4', '--noise', '30']) == 0
    rows = [line.strip('| ').split(' | ') for line in capsys.readouterr().out.splitlines()[2:]]
    changed = [float(row[1].removesuffix(' %')) for row in rows]
    assert [float(row[0]) for row in rows] == [0, 0.3, 0.6, 0.8]
    assert changed == sorted(changed, reverse=True)
    assert changed[0] > 2 * changed[-1] > 0
