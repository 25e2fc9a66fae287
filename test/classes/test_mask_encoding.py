# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Masks of 16 bits and merged classes, in the segmenter, the CLI and TensorRT."""

import cv2
import numpy as np
import onnx
import pytest

from trt_segmentation.cli.main import main
from trt_segmentation.errors import BackendError, ConfigError, ImageError
from trt_segmentation.images.render import colored_mask, panel
from trt_segmentation.options import BuildOptions, RunOptions
from trt_segmentation.ros.region import Region
from trt_segmentation.segmenter import Segmenter

SIZE = 8, 12
CLASSES = 300
ON_CPU = RunOptions('onnxruntime', num_threads=1, mask_encoding='mono16')
MERGE = 'classes: {merge: {low: [0, 1, 2], high: rest}}'


@pytest.fixture(scope='module')
def scores(networks):
    return networks.random_scores(CLASSES, *SIZE)


@pytest.fixture
def model(networks, scores, tmp_path):
    path = tmp_path / 'net.onnx'
    onnx.save(networks.fixed(scores), path)
    return path


@pytest.fixture
def image(networks):
    return networks.random_image(*SIZE)


def test_a_mask_of_16_bits_holds_every_class(model, scores, image):
    mask = Segmenter.open(model, options=ON_CPU).infer(image).mask
    assert mask.dtype == np.uint16
    assert mask.max() > 255
    np.testing.assert_array_equal(mask, scores[0].argmax(axis=0))


def test_it_is_written_into_the_callers_memory(model, scores, image):
    segmenter = Segmenter.open(model, options=ON_CPU)
    out = {'mask': np.empty(SIZE, np.uint16)}
    assert segmenter.infer(image, out=out).mask is out['mask']
    np.testing.assert_array_equal(out['mask'], scores[0].argmax(axis=0))
    with pytest.raises(ImageError, match=r'uint8 \[8, 12\]; a writable, C-contiguous uint16'):
        segmenter.infer(image, out={'mask': np.empty(SIZE, np.uint8)})


def test_outside_of_a_region_is_no_class_of_16_bits(model, image):
    out = {'mask': np.empty(SIZE, np.uint16)}
    Region(2, 2, 4, 4).infer_batch(Segmenter.open(model, options=ON_CPU), [image], color='bgr',
                                   outputs=('mask',), outs=[out])
    assert (out['mask'] == 65535).sum() == SIZE[0] * SIZE[1] - 16


def test_pictures_show_classes_beyond_255(model, image):
    segmenter = Segmenter.open(model, options=ON_CPU)
    mask = segmenter.infer(image).mask
    colors = np.array(segmenter.spec.palette.colors)[mask][..., ::-1]
    np.testing.assert_array_equal(colored_mask(mask, segmenter.spec.palette), colors)
    assert panel(image, mask, image, segmenter.spec.labels, segmenter.spec.palette).size


def test_run_writes_16_bits(model, scores, image, tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    assert main(['run', str(tmp_path / 'a.png'), '--model', str(model), '--mask-encoding',
                 'mono16', '--output', str(tmp_path / 'out'), '--backend', 'onnxruntime']) == 0
    mask = cv2.imread(str(tmp_path / 'out' / 'a_mask.png'), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask, scores[0].argmax(axis=0))


def test_merged_masks_are_evaluated_by_their_own_ids(model, scores, image, tmp_path, capsys):
    for folder in ('images', 'labels'):
        (tmp_path / folder).mkdir()
    (tmp_path / 'net.yaml').write_text(MERGE)
    cv2.imwrite(str(tmp_path / 'images' / 'a.png'), image)
    truth = (scores[0].argmax(axis=0) > 2).astype(np.uint8)
    cv2.imwrite(str(tmp_path / 'labels' / 'a.png'), truth)
    assert main(['evaluate', str(model), '--config', str(tmp_path / 'net.yaml'), '--images',
                 str(tmp_path / 'images'), '--labels', str(tmp_path / 'labels'), '--backend',
                 'onnxruntime']) == 0
    shown = capsys.readouterr().out
    assert 'high' in shown
    assert 'mIoU 100.00%' in shown


def test_an_unknown_encoding_is_refused(model):
    with pytest.raises(ConfigError, match="mask_encoding is 'mono32'; it is one of mono8, mono16"):
        Segmenter.open(model, options=RunOptions(mask_encoding='mono32'))


def test_tensorrt_gives_the_same_bytes(tensorrt, model, scores, image):
    options = RunOptions('tensorrt', mask_encoding='mono16', build=BuildOptions(min_size=SIZE))
    found = Segmenter.open(model, options=options).infer(image, outputs=('mask', 'overlay'))
    np.testing.assert_array_equal(found.mask, scores[0].argmax(axis=0))
    expected = Segmenter.open(model, options=ON_CPU).infer(image, outputs=('overlay',)).overlay
    assert np.abs(found.overlay.astype(int) - expected).max() <= 1


@pytest.mark.parametrize('encoding', ['mono8', 'mono16'])
def test_the_real_builder_takes_merged_and_wide_masks(model, networks, encoding):
    from trt_segmentation.backends.tensorrt.api import find_log, find_tensorrt
    from trt_segmentation.backends.tensorrt.builder import build_plan
    from trt_segmentation.graph.onnx_tools.network import read_network
    from trt_segmentation.graph.pipeline.prepare import prepare
    from trt_segmentation.graph.reading.resolve import resolve, with_mask
    try:
        find_log().call('no builder', find_tensorrt().Builder, find_log().logger)
    except BackendError as error:
        pytest.skip(f'nothing can be built here: {error}')
    spec = with_mask(resolve(read_network(model), networks.config_of(
        classes={'merge': {'low': [0, 1, 2], 'high': [299]}})), RunOptions(mask_encoding=encoding))
    sizes = {'image': ((1, 64, 64, 3), (1, 240, 320, 3), (1, 480, 640, 3))}
    assert build_plan(prepare(spec).model.SerializeToString(), sizes, BuildOptions(),
                      float_layers=str.isupper, source='net.onnx').plan
