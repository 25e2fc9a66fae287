# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""After an error, an interrupt or an error that CUDA keeps: right masks or a clean end."""

import contextlib
import logging

import numpy as np
import onnx
import pytest

from trt_segmentation.backends.tensorrt.cuda import close_all
from trt_segmentation.errors import BackendError, ModelError
from trt_segmentation.model_config import ModelConfig
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

SIZE, OTHER = (64, 96), (80, 120)
CONFIG = 'input: {color: bgr, scale: 1, mean: [0, 0, 0], std: [1, 1, 1]}'
IDS = CONFIG + '\noutput: {kind: ids}\nclasses: {labels: [a, b, c, d]}'
NOT_FREED = 'were not freed properly'


@pytest.fixture(params=['engine', 'head and tail on the CPU'])
def segmenter(request, networks, tensorrt, gpu, tmp_path):
    """On our own engine, and around one from elsewhere; everything is freed in the end."""
    path, model = tmp_path / 'net.onnx', networks.pointwise(np.eye(3), SIZE)
    onnx.save(model, path)
    if request.param != 'engine':
        del tensorrt.module.Builder
        path = tmp_path / 'net.plan'
        path.write_bytes(tensorrt.plan(model))
    segmenter = Segmenter.open(path, config=ModelConfig.from_text(CONFIG, 'test'),
                               options=RunOptions('tensorrt'))
    yield segmenter
    segmenter.close()
    segmenter.close()
    gpu.assert_all_is_freed()


def assert_right(segmenter, networks, seed=0):
    image = networks.random_image(*SIZE, seed)
    for _ in range(3):  # the second one page-locks, the third one is as all that follow
        np.testing.assert_array_equal(segmenter.infer(image).mask, image.argmax(2))


def interrupt(monkeypatch, gpu, error):
    """Let the next wait for the GPU end in an exception that is not one of CUDA."""
    stream = type(next(iter(gpu.streams.values())))
    whole = stream.synchronize

    def interrupted(self):
        monkeypatch.setattr(stream, 'synchronize', whole)
        raise error

    monkeypatch.setattr(stream, 'synchronize', interrupted)


@pytest.mark.parametrize('error', [KeyboardInterrupt, MemoryError, ValueError, SystemExit])
def test_the_image_after_any_exception_is_right(segmenter, networks, gpu, monkeypatch, caplog,
                                                error):
    assert_right(segmenter, networks)
    contexts = gpu.counts['contexts']
    interrupt(monkeypatch, gpu, error)
    with pytest.raises(error):
        segmenter.infer(networks.random_image(*SIZE))
    assert (gpu.graphs, gpu.locked) == ({}, {})
    assert_right(segmenter, networks, 1)
    assert gpu.counts['contexts'] == contexts + 1
    assert NOT_FREED not in caplog.text


@pytest.mark.parametrize('measured', ['gpu_times', 'layer_times'])
def test_the_image_after_an_interrupted_measurement_is_right(segmenter, networks, gpu,
                                                             monkeypatch, measured):
    image = networks.random_image(*SIZE)
    assert_right(segmenter, networks)
    if not getattr(segmenter, measured)(image, ('mask',), 2):
        pytest.skip('this session has none')
    segmenter.infer(image)
    session = segmenter._session
    whole = session._copy_in

    def interrupted(images):
        if segmenter._lock.locked() and gpu.counts['copied in'] > before:
            raise KeyboardInterrupt
        whole(images)

    before = gpu.counts['copied in']
    monkeypatch.setattr(session, '_copy_in', interrupted)
    with pytest.raises(KeyboardInterrupt):
        getattr(segmenter, measured)(image, ('mask',), 2)
    monkeypatch.undo()
    assert_right(segmenter, networks, 1)


@pytest.mark.parametrize('step', ['copy', 'synchronize', 'enqueue'])
def test_a_failing_call_is_reported_and_the_next_image_is_right(segmenter, networks, gpu, step):
    assert_right(segmenter, networks)
    gpu.fail('capture', 99)  # so that TensorRT enqueues each image
    segmenter.infer(networks.random_image(*OTHER))
    gpu.fail(step)
    with pytest.raises(BackendError, match=r'an illegal memory access|CUDA launch failure'):
        segmenter.infer(networks.random_image(*OTHER))
    assert_right(segmenter, networks, 1)


@pytest.mark.parametrize('step', ['destroy graph', 'free', 'unlock', 'synchronize'])
def test_a_clean_up_goes_on_where_one_step_fails(segmenter, networks, gpu, caplog, step):
    assert_right(segmenter, networks)
    gpu.fail(step)
    with contextlib.suppress(BackendError):  # around an engine, it is not a step of a clean-up
        segmenter.infer(networks.random_image(*OTHER))  # it frees what the last size had
    assert_right(segmenter, networks, 1)
    gpu.fail(step)
    segmenter.close()
    assert (gpu.memory, gpu.graphs, gpu.locked) == ({}, {}, {})


def test_after_an_error_that_sticks_everything_reports_it_and_close_works(segmenter, networks,
                                                                          gpu, caplog):
    assert_right(segmenter, networks)
    gpu.broken = True
    for _ in range(2):
        with pytest.raises(BackendError, match='illegal memory access'):
            segmenter.infer(networks.random_image(*SIZE))
        with pytest.raises(BackendError, match='illegal memory access'):
            segmenter.gpu_memory()
        segmenter.overlay_alpha = 0.25  # needs no GPU until the next image
    segmenter.close()
    assert (gpu.memory, gpu.graphs, gpu.locked, gpu.depth()) == ({}, {}, {}, 0)
    assert NOT_FREED in caplog.text
    gpu.broken = False


def test_opacity_that_was_set_meanwhile_is_used_after_a_failure(segmenter, networks, gpu):
    image = networks.random_image(*SIZE)
    for failing in (False, True):
        segmenter.overlay_alpha = 0 if failing else 1
        if failing:
            gpu.fail('copy')
            with pytest.raises(BackendError):
                segmenter.infer(image, outputs=('overlay',))
        overlay = segmenter.infer(image, outputs=('overlay',)).overlay
        assert np.array_equal(overlay, image) == failing


@pytest.mark.parametrize('backend', ['tensorrt', 'onnxruntime', 'hosted'])
@pytest.mark.parametrize(('outputs', 'said'), [
    (('confidence',), 'confidence'), (('mask', 'depth'), 'depth'), ('depth', 'depth'),
    ((), 'no output was requested')])
def test_outputs_that_a_network_cannot_give_are_refused_up_front(
        networks, tensorrt, gpu, tmp_path, backend, outputs, said):
    path, model = tmp_path / 'ids.onnx', networks.strongest(SIZE)
    onnx.save(model, path)
    if backend == 'hosted':
        del tensorrt.module.Builder
        path = tmp_path / 'ids.plan'
        path.write_bytes(tensorrt.plan(model))
    segmenter = Segmenter.open(path, config=ModelConfig.from_text(IDS, 'test'), options=RunOptions(
        'onnxruntime' if backend == 'onnxruntime' else 'tensorrt'))
    image = networks.random_image(*SIZE)
    for _ in range(2):
        with pytest.raises(ModelError, match=f'{said}.* gives mask, overlay'):
            segmenter.infer(image, outputs=outputs)
        with pytest.raises(ModelError, match='mask, overlay'):
            segmenter._session.resize(*SIZE, ('confidence',))
        np.testing.assert_array_equal(segmenter.infer(image).mask, image.argmax(2))
    segmenter.close()
    gpu.assert_all_is_freed()


def test_gpu_memory_counts_tensors_weights_and_scratch(networks, tensorrt, gpu, tmp_path):
    path = tmp_path / 'net.onnx'
    onnx.save(networks.pointwise(np.eye(3), SIZE), path)
    segmenter = Segmenter.open(path, config=ModelConfig.from_text(CONFIG, 'test'),
                               options=RunOptions('tensorrt'))
    (stage,), plans = segmenter._session._stages, list((tmp_path / 'engines').glob('*.engine'))
    weights = plans[0].stat().st_size
    tensors = sum(map(len, gpu.memory.values()))
    assert segmenter.gpu_memory() == (tensors + weights, gpu.total - tensors)  # no context yet
    segmenter.infer(networks.random_image(*SIZE))
    tensors = sum(map(len, gpu.memory.values()))
    assert segmenter.gpu_memory()[0] == tensors + weights + 12_345
    stage.engine.device_memory_size_v2 = 54_321  # TensorRT 10.1 and up
    del stage.engine.device_memory_size
    assert segmenter.gpu_memory()[0] == tensors + weights + 54_321
    segmenter.close()


def test_every_step_of_a_clean_up_is_taken(caplog):
    taken = []

    def step(name, error=None):
        def take():
            taken.append(name)
            if error is not None:
                raise error
        return take

    with pytest.raises(KeyboardInterrupt):
        close_all([step('a', ValueError('first')), step('b', KeyboardInterrupt()),
                   step('c', ValueError('second')), step('d')])
    assert taken == ['a', 'b', 'c', 'd']
    with caplog.at_level(logging.WARNING):
        close_all([step('e', ValueError('first')), step('f', ValueError('second'))])
    assert caplog.messages[-1] == f'2 GPU resources {NOT_FREED}: first'
