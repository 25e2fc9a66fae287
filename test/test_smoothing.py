# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Temporal smoothing of a Segmenter over several images, compared with NumPy."""

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from trt_segmentation.cli.main import main
from trt_segmentation.errors import BackendError, ConfigError
from trt_segmentation.model_config import ModelConfig
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


@pytest.fixture
def open_gpu(model, tensorrt, gpu, tmp_path):
    """Opens the network on the stand-in for a GPU; everything is freed in the end."""
    opened = []
    gpu.rubbish = 0xFF

    def open_gpu():
        opened.append(Segmenter.open(model, options=replace(ON_GPU, engine_cache=str(tmp_path))))
        return opened[-1]

    yield open_gpu
    for segmenter in opened:
        segmenter.close()
    gpu.assert_all_is_freed()


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


def test_after_an_error_the_mean_starts_again(networks, open_gpu, gpu):
    images, segmenter = [networks.random_image(*SIZE, seed) for seed in range(4)], open_gpu()
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


def test_a_gpu_without_graphs_swaps_the_states(networks, open_gpu, gpu):
    gpu.fail('capture', 99)
    images, segmenter = [networks.random_image(*SIZE, seed) for seed in range(4)], open_gpu()
    segmenter.smoothing = 0.6
    for image, mean in zip(images, means(networks, images, 0.6), strict=True):
        assert_is(networks, segmenter.infer(image, outputs=OUTPUTS), mean)
    assert gpu.counts['launched'] == 0


def test_a_frame_with_smoothing_copies_no_state(networks, open_gpu, gpu):
    image, segmenter = networks.random_image(*SIZE), open_gpu()
    segmenter.smoothing = 0.6
    for _ in range(2):  # the second one copies the weight
        segmenter.infer(image)
    before = gpu.counts.copy()
    segmenter.infer(image)
    assert gpu.counts - before == {'launched': 1, 'copied in': 1, 'copied out': 1,
                                   'synchronised': 1}


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


def test_an_engine_file_has_smoothing_only_if_it_was_built_with_it(networks, model, tensorrt,
                                                                   tmp_path):
    sizes = ['--min-size', '8x8', '--opt-size', '12x16', '--max-size', '64x64']
    for name, more in (('plain', []), ('smoothed', ['--temporal-smoothing'])):
        assert main(['build', str(model), '--output', str(tmp_path / f'{name}.engine'),
                     *sizes, *more]) == 0
    assert len(tensorrt.builds) == 2
    with pytest.raises(ConfigError, match=(
            r'plain\.engine: temporal smoothing is not compiled into the engine; rebuild it with '
            'trt-segmentation build --temporal-smoothing')):
        Segmenter.open(tmp_path / 'plain.engine', options=ON_GPU)
    images = [networks.random_image(*SIZE, seed) for seed in range(3)]
    for asked in (True, False):  # an engine that has it can use it
        options = replace(ON_GPU, smoothing=asked)
        with Segmenter.open(tmp_path / 'smoothed.engine', options=options) as segmenter:
            segmenter.smoothing = 0.8
            for image, mean in zip(images, means(networks, images, 0.8), strict=True):
                assert_is(networks, segmenter.infer(image, outputs=OUTPUTS), mean)


def test_an_external_engine_has_the_states_in_its_tail(networks, model, tensorrt, tmp_path):
    path = tmp_path / 'theirs.plan'
    path.write_bytes(tensorrt.plan(networks.pointwise(np.eye(3), SIZE)))
    config = ModelConfig.from_text(CONFIG, 'config')
    images = [networks.random_image(*SIZE, seed) for seed in range(4)]
    with Segmenter.open(path, config=config, options=ON_GPU) as segmenter:
        segmenter.smoothing = 0.8
        for image, mean in zip(images, means(networks, images, 0.8), strict=True):
            assert_is(networks, segmenter.infer(image, outputs=OUTPUTS), mean)
    del tensorrt.module.Builder
    with pytest.raises(ConfigError, match='has no builder, so the tail runs on the CPU'):
        Segmenter.open(path, config=config, options=ON_GPU)


def test_another_encoding_starts_again(networks, open_gpu):
    segmenter, images = open_gpu(), [networks.random_image(*SIZE, seed) for seed in range(2)]
    segmenter.smoothing = 0.9
    segmenter.infer(images[0])
    segmenter.infer(images[0][..., 0].copy(), encoding='mono8')
    assert_is(networks, segmenter.infer(images[1], outputs=OUTPUTS),
              means(networks, images[1:], 0.9)[0])


def test_a_size_that_depends_on_the_image_is_refused_on_tensorrt_alone(networks, tensorrt,
                                                                       tmp_path):
    text = 'input: {color: bgr, scale: 0.02, resize: none}\noutput: {kind: logits}'
    onnx.save(networks.pointwise(np.eye(3), (None, None), metadata=text), tmp_path / 'open.onnx')
    with pytest.raises(ConfigError, match="the size of output 'scores' depends on the image, so"):
        Segmenter.open(tmp_path / 'open.onnx', options=ON_GPU)
    segmenter = Segmenter.open(tmp_path / 'open.onnx', options=ON_CPU)
    segmenter.smoothing = 0.8
    images = [networks.random_image(*SIZE, seed) for seed in range(2)]
    segmenter.infer(images[0])
    assert_is(networks, segmenter.infer(images[1], outputs=OUTPUTS),
              means(networks, images, 0.8)[1])


def test_a_twin_has_a_mean_of_its_own(networks, model):
    first = Segmenter.open(model, options=ON_CPU)
    first.smoothing = 0.9
    images = [networks.random_image(*SIZE, seed) for seed in range(2)]
    first.infer(images[0])
    second = first.twin()
    assert second.smoothing == 0.9
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


def test_the_masks_of_a_noisy_scene_become_steadier(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'path', list(sys.path))
    tool = runpy.run_path(str(Path(__file__).parents[1] / 'tools' / 'steadiness.py'))
    arguments = ['--frames', '3', '--noise', '30', '--streets', '1']
    assert tool['main']([*arguments, '--json', str(tmp_path / 'found.json')]) == 0
    found = json.loads((tmp_path / 'found.json').read_text())
    assert list(found['series']) == ['still, noisy', 'drive at 12 Hz', 'drive at 30 Hz']
    for rows in found['series'].values():
        assert [row['smoothing'] for row in rows] == ['truth', '0', '0.3', '0.6', '0.8']
        assert (rows[0]['flickering'], rows[0]['mean_iou']) == (0, 1)
        assert rows[1]['mean_iou'] > 0.6
    changed = [row['changed'] for row in found['series']['still, noisy'][1:]]
    assert changed == sorted(changed, reverse=True)
    assert changed[0] > 2 * changed[-1] > 0
