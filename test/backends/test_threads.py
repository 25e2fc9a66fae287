# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""One Segmenter in the hands of several threads: right masks, or an error that says why not."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest

from trt_segmentation.errors import BackendError
from trt_segmentation.model_config import ModelConfig
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

CONFIG = 'input: {color: bgr, scale: 1, mean: [0, 0, 0], std: [1, 1, 1]}'
NETWORK = 64, 96
THREADS, IMAGES = 4, 25


@pytest.fixture(params=['onnxruntime', 'tensorrt'])
def segmenter(request, networks, tensorrt, gpu, tmp_path):
    path = tmp_path / 'net.onnx'
    onnx.save(networks.pointwise(np.eye(3), NETWORK), path)
    segmenter = Segmenter.open(path, config=ModelConfig.from_text(CONFIG, 'test'),
                               options=RunOptions(request.param, num_threads=1))
    yield segmenter
    segmenter.close()
    gpu.assert_all_is_freed()


def in_threads(work):
    """Do the same in several threads that begin together; raise what one of them raises."""
    barrier = threading.Barrier(THREADS)

    def begin(index):
        barrier.wait()
        return work(index)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(begin, range(THREADS)))


@pytest.mark.parametrize('given_arrays', [False, True])
@pytest.mark.parametrize('sizes', [[NETWORK], [NETWORK, (192, 96)]], ids=['one', 'two'])
def test_every_thread_gets_its_own_masks(segmenter, networks, given_arrays, sizes):
    def work(index):
        size = sizes[index % len(sizes)]
        out = {'mask': np.empty(size, np.uint8)} if given_arrays else None
        wrong = 0
        for count in range(IMAGES):
            image = networks.random_image(*NETWORK, THREADS * count + index)
            image = np.repeat(image, size[0] // NETWORK[0], axis=0)
            found = segmenter.infer(image, out=out).mask
            wrong += int((found != image.argmax(2)).any())
        return wrong

    assert in_threads(work) == [0] * THREADS


def test_every_thread_gets_the_outputs_and_the_colours_that_it_asks_for(segmenter, networks):
    asked = [('mask',), ('overlay',), ('mask', 'overlay'), ('confidence', 'mask')]
    colors = ['bgr', 'rgb', 'rgb', 'bgr']
    image = networks.random_image(*NETWORK)
    segmenter.overlay_alpha = 1
    wanted = [segmenter.infer(image, outputs=outputs, color=color).copy()
              for outputs, color in zip(asked, colors, strict=True)]

    def work(index):
        for _ in range(IMAGES):
            found = segmenter.infer(image, outputs=asked[index], color=colors[index])
            for name in asked[index]:
                np.testing.assert_array_equal(found.arrays[name], wanted[index].arrays[name])

    in_threads(work)


def test_opacity_changes_between_images_not_within_one(segmenter, networks):
    image = networks.random_image(*NETWORK)
    wanted = []
    for alpha in (0, 1):
        segmenter.overlay_alpha = alpha
        wanted.append(segmenter.infer(image, outputs=('overlay',)).copy().overlay)

    def work(index):
        for count in range(IMAGES):
            if index == 0:
                segmenter.overlay_alpha = count % 2
            found = segmenter.infer(image, outputs=('overlay',)).overlay
            assert any(np.array_equal(found, each) for each in wanted)

    in_threads(work)


def test_close_waits_for_the_image_and_what_comes_later_is_refused(segmenter, networks,
                                                                   monkeypatch):
    image = networks.random_image(*NETWORK)
    session, running, go_on = segmenter._session, threading.Event(), threading.Event()
    whole, order = session.infer, []

    def slow(images, outs):
        running.set()
        assert go_on.wait(30)
        whole(images, outs)
        order.append('image')

    def close():
        segmenter.close()
        order.append('closed')

    segmenter.infer(image)
    monkeypatch.setattr(session, 'infer', slow)
    with ThreadPoolExecutor(2) as pool:
        found = pool.submit(lambda: segmenter.infer(image).mask)
        assert running.wait(30)
        closing = pool.submit(close)
        go_on.set()
        closing.result()
        np.testing.assert_array_equal(found.result(), image.argmax(2))
    assert order == ['image', 'closed']
    for use in (lambda: segmenter.infer(image), lambda: segmenter.infer_batch([image]),
                lambda: setattr(segmenter, 'overlay_alpha', 0.5)):
        with pytest.raises(BackendError, match=r'net\.onnx: the segmenter is closed'):
            use()
    with pytest.raises(BackendError, match='closed'):
        session.resize(*NETWORK, ('mask',))
    segmenter.close()
    assert segmenter.info.backend in ('onnxruntime', 'tensorrt')


def test_a_thread_that_fails_lets_the_others_go_on(segmenter, networks):
    image = networks.random_image(*NETWORK)

    def work(index):
        for _ in range(IMAGES):
            if index == 0:
                with pytest.raises(Exception, match='cannot give depth'):
                    segmenter.infer(image, outputs=('depth',))
            else:
                np.testing.assert_array_equal(segmenter.infer(image).mask, image.argmax(2))

    in_threads(work)
