# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Which backend runs a network."""

import logging

import numpy as np
import onnx
import pytest

from trt_segmentation.backends import open_engine, open_network
from trt_segmentation.backends.tensorrt import api, cuda, engine_loader
from trt_segmentation.errors import BackendError, MissingBackendError
from trt_segmentation.model_config import ModelConfig
from trt_segmentation.options import BuildOptions, RunOptions
from trt_segmentation.segmenter import Segmenter


@pytest.fixture
def model(networks):
    return networks.pointwise(np.eye(3), (32, 48))


@pytest.fixture
def without_gpu(tensorrt, monkeypatch):
    def find_device(index):
        raise MissingBackendError('PyCUDA is not installed; pip install pycuda')

    monkeypatch.setattr(engine_loader, 'find_device', find_device)


def test_auto_takes_tensorrt_where_it_is(networks, tensorrt, model):
    session = open_network(networks.spec_of(model), RunOptions())
    assert session.info.backend == 'tensorrt'


def test_auto_takes_onnx_runtime_elsewhere_and_says_why(networks, without_gpu, model, caplog):
    caplog.set_level(logging.INFO)
    session = open_network(networks.spec_of(model), RunOptions(num_threads=1))
    assert session.info.backend == 'onnxruntime'
    (record,) = caplog.records
    assert record.getMessage() == ('running on ONNX Runtime, since PyCUDA is not installed; '
                                   'pip install pycuda')


def test_without_a_gpu_nothing_of_tensorrt_is_loaded(networks, tensorrt, model, caplog,
                                                    monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(cuda, 'has_gpu', lambda: False)
    monkeypatch.setattr(engine_loader, 'EngineLoader', None)
    session = open_network(networks.spec_of(model), RunOptions(num_threads=1))
    assert session.info.backend == 'onnxruntime'
    (record,) = caplog.records
    assert record.getMessage() == ('running on ONNX Runtime, since there is no NVIDIA GPU here '
                                   '(a container needs --gpus all)')


@pytest.mark.parametrize(('backend', 'installed', 'started'), [
    ('auto', True, [1]), ('tensorrt', True, [1]), ('onnxruntime', True, []), ('auto', False, [])])
def test_cuda_starts_early_where_tensorrt_will_run(monkeypatch, tensorrt, backend, installed,
                                                   started):
    found = []
    monkeypatch.setattr(cuda, 'start_context', found.append)
    monkeypatch.setattr(api, 'find_spec', lambda name: name if installed else None)
    Segmenter.open(options=RunOptions(backend, device=1, num_threads=1)).close()
    assert found == started


def test_tensorrt_is_not_replaced_where_it_is_asked_for(networks, without_gpu, model):
    with pytest.raises(MissingBackendError, match='PyCUDA is not installed'):
        open_network(networks.spec_of(model), RunOptions('tensorrt'))


def test_auto_does_not_hide_that_tensorrt_fails(networks, tensorrt, gpu, model):
    gpu.total = 1000
    with pytest.raises(BackendError, match='MB left'):
        open_network(networks.spec_of(model), RunOptions())


def test_onnx_runtime_is_taken_where_it_is_asked_for(networks, tensorrt, model):
    session = open_network(networks.spec_of(model), RunOptions('onnxruntime'))
    assert (session.info.backend, tensorrt.builds) == ('onnxruntime', [])


@pytest.mark.parametrize('suffix', ['.engine', '.plan'])
def test_engine_files_run_on_tensorrt(networks, tensorrt, model, tmp_path, suffix):
    path = tmp_path / f'net{suffix}'
    path.write_bytes(tensorrt.plan(model))
    assert Segmenter.open(path).info.backend == 'tensorrt'


def test_engine_files_do_not_run_on_onnx_runtime(tmp_path):
    with pytest.raises(BackendError, match=r'net\.engine: is a TensorRT engine.*\.onnx file'):
        open_engine(tmp_path / 'net.engine', ModelConfig(), RunOptions('onnxruntime'))


def test_engine_files_need_a_gpu(without_gpu, tmp_path):
    with pytest.raises(MissingBackendError, match='PyCUDA is not installed'):
        open_engine(tmp_path / 'net.engine', ModelConfig(), RunOptions())


@pytest.mark.parametrize(('options', 'said'), [
    (RunOptions('cuda'), r"backend 'cuda' .* is not known; backends are auto, tensorrt, onnxr"),
    (RunOptions(build=BuildOptions('fp8')), r"precision 'fp8' is not .* precisions fp32, fp16,")])
def test_unknown_names_are_refused_with_the_known_ones(networks, model, tmp_path, options, said):
    with pytest.raises(BackendError, match=said):
        open_network(networks.spec_of(model), options)
    with pytest.raises(BackendError, match=said):
        open_engine(tmp_path / 'net.engine', ModelConfig(), options)


def test_each_segmenter_opens_its_own_cache_folder(networks, tensorrt, model, tmp_path):
    onnx.save(model, tmp_path / 'net.onnx')
    for folder in ('a', 'b', 'a'):
        Segmenter.open(tmp_path / 'net.onnx',
                       options=RunOptions(engine_cache=str(tmp_path / folder)))
    assert len(tensorrt.builds) == 2
