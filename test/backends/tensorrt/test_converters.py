# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Images in camera encodings: converted in front of the network, on the stand-in GPU."""

import re
import threading

import cv2
import numpy as np
import onnx
import pytest

from trt_segmentation.backends.tensorrt import build_process
from trt_segmentation.backends.tensorrt.stage import Stage
from trt_segmentation.benchmark.camera_frames import camera_bytes
from trt_segmentation.errors import BackendError, ImageError
from trt_segmentation.graph.pipeline.camera_bytes import CAMERA_BYTES, CAMERA_ENCODINGS
from trt_segmentation.images.decoding import ENCODINGS
from trt_segmentation.options import BuildOptions, RunOptions
from trt_segmentation.segmenter import Segmenter

WEIGHTS = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, -1]]
SIZE = 64, 96
OUTPUTS = 'mask', 'overlay'


@pytest.fixture
def open_it(networks, tensorrt, gpu, tmp_path):
    """Opens a network on TensorRT or ONNX Runtime; everything is freed in the end."""
    opened = []

    def open_it(backend='tensorrt', model=None, batch=1, build=None, weights=WEIGHTS):
        path = tmp_path / 'net.onnx'
        if model is None:
            onnx.save(networks.pointwise(weights, SIZE), path)
        opened.append(Segmenter.open(
            path if model is None else model, config=networks.config_of(input={'color': 'bgr'}),
            options=RunOptions(backend, batch=batch, build=build or BuildOptions())))
        return opened[-1]

    yield open_it
    for segmenter in opened:
        segmenter.close()
    gpu.assert_all_is_freed()


def frame(networks, encoding, seed=0, size=SIZE):
    """Return a camera's bytes, and the image that OpenCV makes of them."""
    smooth = cv2.resize(networks.random_image(5, 7, seed), size[::-1],
                        interpolation=cv2.INTER_CUBIC)
    raw, known = camera_bytes(smooth, encoding), ENCODINGS[encoding]
    shape = raw.shape if known.channels == 1 else (size[0], size[1], known.channels)
    return raw, cv2.cvtColor(raw.reshape(shape), known.conversion)


def assert_same(found, wanted):
    assert np.mean(found.mask == wanted.mask) > 0.999  # ties, where YUV is rounded otherwise
    assert np.abs(found.overlay.astype(int) - wanted.overlay).mean() < 0.01


@pytest.mark.parametrize('encoding', CAMERA_ENCODINGS)
def test_mask_and_overlay_are_those_of_the_converted_image(networks, open_it, encoding):
    segmenter = open_it()
    raw, image = frame(networks, encoding)
    found = segmenter.infer(raw, encoding=encoding, outputs=OUTPUTS).copy()
    assert_same(found, segmenter.infer(image, outputs=OUTPUTS))
    assert len(np.unique(found.mask)) > (1 if encoding in ('mono8', '8UC1') else 2)


def test_encodings_and_sizes_may_change_with_each_image(networks, open_it, gpu):
    segmenter, reference = open_it(), open_it('onnxruntime')
    assert (segmenter.gpu_encodings, reference.gpu_encodings) == (CAMERA_ENCODINGS, ())
    for seed, (encoding, size) in enumerate([
            ('nv12', SIZE), ('', SIZE), ('yuyv', SIZE), ('uyvy', SIZE), ('nv12', (80, 72)),
            ('nv12', (80, 72)), ('bayer_gbrg8', (65, 67)), ('rgb', SIZE), ('mono8', SIZE)]):
        raw, image = frame(networks, encoding if encoding in CAMERA_ENCODINGS else 'bgra8', seed,
                           size)
        color = 'rgb' if encoding == 'rgb' else 'bgr'
        wanted = reference.infer(image, color=color, outputs=OUTPUTS)
        if encoding in CAMERA_ENCODINGS:
            found = segmenter.infer(raw, encoding=encoding, outputs=OUTPUTS)
        else:
            found = segmenter.infer(image, color=color, outputs=OUTPUTS)
        np.testing.assert_array_equal(found.mask, wanted.mask)
    assert len(gpu.graphs) == 1  # of the present size and encoding, with the converter


def test_a_batch_of_one_encoding(networks, open_it):
    segmenter = open_it(batch=2)
    pairs = [frame(networks, 'nv12', seed) for seed in range(2)]
    found = [each.copy() for each in segmenter.infer_batch(
        [raw for raw, _ in pairs], encoding='nv12', outputs=OUTPUTS)]
    wanted = segmenter.infer_batch([image for _, image in pairs], outputs=OUTPUTS)
    for one, other in zip(found, wanted, strict=True):
        assert_same(one, other)
    with pytest.raises(ImageError, match='the images are 96x64, 96x80; images of one batch'):
        segmenter.infer_batch([pairs[0][0], frame(networks, 'nv12', 0, (80, 96))[0]],
                              encoding='nv12')


def test_an_external_engine_takes_them_too(networks, open_it, tensorrt, tmp_path):
    path = tmp_path / 'net.plan'
    path.write_bytes(tensorrt.plan(networks.pointwise(WEIGHTS, SIZE)))
    segmenter = open_it(model=path)
    raw, image = frame(networks, 'uyvy')
    found = segmenter.infer(raw, encoding='yuv422', outputs=OUTPUTS).copy()
    assert_same(found, segmenter.infer(image, outputs=OUTPUTS))


def test_a_converter_is_built_once_for_all_networks_and_sizes(networks, open_it, tensorrt):
    build = BuildOptions('fp16', tf32=True, min_size=(63, 63), opt_size=(480, 640),
                         max_size=(1081, 1921), dla_core=-1)
    for weights in (WEIGHTS, WEIGHTS[::-1]):
        segmenter = open_it(build=build, weights=weights)
        for encoding in ('yuyv', 'yuv422_yuy2', 'yuyv'):
            segmenter.infer(frame(networks, encoding)[0], encoding=encoding)
    (built,) = (each for each in tensorrt.builds if CAMERA_BYTES in each['profiles'])
    assert built['profiles'] == {CAMERA_BYTES: ((1, 63, 128), (1, 480, 1280), (1, 1081, 3840))}
    options = built['options']
    assert (options.precision, options.tf32, options.optimization_level) == ('fp32', False, 0)
    assert built['source'] == 'the conversion of yuyv'


def test_a_builder_that_fails_costs_only_the_encoding(networks, open_it, monkeypatch):
    segmenter = open_it()
    raw, image = frame(networks, 'nv12')
    wanted = segmenter.infer(image).copy().mask
    build = build_process.build_in_child

    def fail(model, profiles, *arguments, **more):
        raise BackendError('no space left on the GPU')

    monkeypatch.setattr(build_process, 'build_in_child', fail)
    with pytest.raises(BackendError, match='no space left on the GPU'):
        segmenter.infer(raw, encoding='nv12')
    np.testing.assert_array_equal(segmenter.infer(image).mask, wanted)
    monkeypatch.setattr(build_process, 'build_in_child', build)
    assert (segmenter.infer(raw, encoding='nv12').mask == wanted).mean() > 0.999


def test_a_converter_that_takes_too_much_memory_is_refused(networks, open_it, monkeypatch):
    segmenter = open_it()
    monkeypatch.setattr(Stage, 'scratch', lambda stage: 7_000_000_000)
    with pytest.raises(BackendError, match=(
            'the conversion of nv12 takes 7000 MB of GPU memory for images of up to 3840x2160, '
            'more than 548 MB; lower max_size')):
        segmenter.infer(frame(networks, 'nv12')[0], encoding='nv12')
    segmenter.infer(frame(networks, 'nv12')[1])


def test_a_failure_of_the_gpu_costs_one_image(networks, open_it, gpu):
    segmenter = open_it()
    raw, _ = frame(networks, 'bayer_rggb8')
    wanted = segmenter.infer(raw, encoding='bayer_rggb8').copy().mask
    for what in ('copy', 'synchronize'):
        gpu.fail(what)
        with pytest.raises(BackendError):
            segmenter.infer(raw, encoding='bayer_rggb8')
        np.testing.assert_array_equal(segmenter.infer(raw, encoding='bayer_rggb8').mask, wanted)


def test_images_are_segmented_while_a_converter_is_built(networks, open_it, monkeypatch):
    segmenter = open_it()
    raw, image = frame(networks, 'nv12')
    segmenter.fetch_converter('yuyv')
    build, started, go_on = build_process.build_in_child, threading.Event(), threading.Event()

    def slow(*arguments, **more):
        started.set()
        assert go_on.wait(20)
        return build(*arguments, **more)

    monkeypatch.setattr(build_process, 'build_in_child', slow)
    thread = threading.Thread(target=segmenter.fetch_converter, args=('nv12',))
    thread.start()
    assert started.wait(20)
    wanted = segmenter.infer(image).copy().mask
    segmenter.infer(frame(networks, 'yuyv')[0], encoding='yuyv')
    go_on.set()
    thread.join()
    assert (segmenter.infer(raw, encoding='nv12').mask == wanted).mean() > 0.999


def test_a_converter_that_arrives_after_the_end_is_freed(open_it, monkeypatch):
    segmenter, errors = open_it(), []
    build, started, go_on = build_process.build_in_child, threading.Event(), threading.Event()

    def slow(*arguments, **more):
        started.set()
        assert go_on.wait(20)
        return build(*arguments, **more)

    def fetch():
        try:
            segmenter.fetch_converter('nv12')
        except BackendError as error:
            errors.append(str(error))

    monkeypatch.setattr(build_process, 'build_in_child', slow)
    thread = threading.Thread(target=fetch)
    thread.start()
    assert started.wait(20)
    segmenter.close()
    go_on.set()
    thread.join()
    assert errors == ['the session is closed; open the network again']


@pytest.mark.parametrize(('image', 'given', 'message'), [
    (np.zeros((64, 96), np.uint8), {'encoding': 'nv12'},
     'the image is [64, 96], which does not fit nv12; needed is uint8 [height * 3 / 2, width], '
     'with an even height and width'),
    (np.zeros((96, 96), np.uint8), {'encoding': 'nv12', 'color': 'rgb'},
     "color is 'rgb' and encoding is 'nv12', whose images become BGR; leave color out"),
    (np.zeros((96, 96), np.uint16), {'encoding': 'nv12'},
     'the image is uint16 [96, 96]; the bytes of nv12 are uint8 [rows, bytes per row]'),
    (np.zeros((96, 96), np.uint8), {'encoding': 'mono16'},
     "encoding is 'mono16', which the GPU does not convert; those that it converts: yuyv, ")])
def test_wrong_images_and_encodings_are_refused(open_it, image, given, message):
    with pytest.raises(ImageError, match=re.escape(message)):
        open_it().infer(image, **given)


def test_other_backends_name_the_remedy(open_it):
    with pytest.raises(ImageError, match=r"encoding is 'nv12', but only TensorRT converts .*, for "
                                         r'networks of three channels; convert .* cv2\.cvtColor'):
        open_it('onnxruntime').infer(np.zeros((96, 96), np.uint8), encoding='nv12')


def test_a_size_that_the_engine_does_not_take_is_refused(open_it):
    with pytest.raises(BackendError, match='the image is 32x32, but the engine was built for 64x'):
        open_it().infer(np.zeros((48, 32), np.uint8), encoding='nv12')
