# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The backends. ``open_network`` and ``open_engine`` choose one and import it only then."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trt_segmentation.backends.base import Session
from trt_segmentation.errors import BackendError, ConfigError, MissingBackendError
from trt_segmentation.model_config import ModelConfig
from trt_segmentation.options import BACKENDS, ENGINE_SUFFIXES, PRECISIONS, RunOptions

if TYPE_CHECKING:
    from trt_segmentation.backends.tensorrt.engine_loader import EngineLoader
    from trt_segmentation.graph.reading.resolve import ModelSpec

logger = logging.getLogger(__name__)


def start_gpu(options: RunOptions) -> None:
    """Start CUDA in the background where TensorRT will be used, while a network is read.

    Errors are ignored here: opening a network or an engine meets and reports them again.
    """
    from trt_segmentation.backends.tensorrt.api import is_installed
    if options.backend in ('auto', 'tensorrt') and is_installed():
        from trt_segmentation.backends.tensorrt.cuda import start_context
        start_context(options.device)


def open_network(spec: 'ModelSpec', options: RunOptions) -> Session:
    """Open a network; with TensorRT, an engine is built first where the cache has none.

    Raises:
        MissingBackendError: the requested backend is not available.
        BackendError: the backend does not support the network.
        ConfigError: options that contradict each other or the network.
    """
    _check(options)
    if options.backend == 'auto':
        try:
            return open_network(spec, replace(options, backend='tensorrt'))
        except MissingBackendError as error:
            logger.info('running on ONNX Runtime, since %s', error)
            return open_network(spec, replace(options, backend='onnxruntime'))
    return _OPENERS[options.backend](spec, options)


def open_engine(path: Path, config: ModelConfig, options: RunOptions,
                ) -> tuple[Session, 'ModelSpec']:
    """Open a TensorRT engine file.

    Raises:
        MissingBackendError: TensorRT or a GPU is not available.
        BackendError: another backend was requested.
        ModelError: the file is damaged, or does not run on this machine.
        ConfigError: the config contradicts the engine.
    """
    _check(options)
    if options.backend == 'onnxruntime':
        raise BackendError(f"{path}: is a TensorRT engine, but backend is 'onnxruntime'; give its "
                           "network's .onnx file, or set backend to tensorrt",
                           settings=['backend'])
    loader = engine_loader(options.device, options.engine_cache)
    session, spec = loader.open_engine(path, config, options)
    if options.instances:
        from trt_segmentation.graph.reading.resolve import check_instances
        try:
            check_instances(spec)
        except ConfigError:
            session.close()
            raise
    return session, spec


def stored_config(path: Path) -> ModelConfig:
    """Return the config that is stored in the file of a network or an engine, without opening it;
    an empty one if the file cannot be read, which opening it reports.

    Raises:
        ConfigError: the file has a config that is not valid.
        ModelError: the engine's sidecar does not belong to it.
    """
    if path.suffix not in ENGINE_SUFFIXES:
        from trt_segmentation.graph.onnx_tools.network import network_metadata
        from trt_segmentation.graph.reading.resolve import config_in
        return config_in(network_metadata(path), str(path))
    from trt_segmentation.backends.tensorrt.cache import read_engine
    facts = read_engine(path).facts if path.is_file() else {}
    return ModelConfig.from_text(facts.get('config', ''), f'{path}.json')


def engine_loader(device: int = 0, cache: str = '') -> 'EngineLoader':
    """Return the ``EngineLoader`` of a GPU.

    Without a GPU, TensorRT is not imported, which takes a fifth of a second.

    Raises:
        MissingBackendError: TensorRT or a GPU is not available.
    """
    from trt_segmentation.backends.tensorrt.cuda import check_gpu
    check_gpu()
    from trt_segmentation.backends.tensorrt.engine_loader import EngineLoader
    return EngineLoader(device, cache)


def _check(options: RunOptions) -> None:
    if options.backend not in BACKENDS or options.build.precision not in PRECISIONS:
        raise BackendError(f"backend '{options.backend}' with precision "
                           f"'{options.build.precision}' is not known; backends are "
                           f'{", ".join(BACKENDS)}, precisions {", ".join(PRECISIONS)}')


def _open_on_tensorrt(spec: 'ModelSpec', options: RunOptions) -> Session:
    loader = engine_loader(options.device, options.engine_cache)
    return loader.open_network(spec, options.build, options.mask_interpolation)


def _open_on_onnxruntime(spec: 'ModelSpec', options: RunOptions) -> Session:
    from trt_segmentation.backends.onnxruntime import OnnxRuntimeSession
    if spec.batch > 1:
        from trt_segmentation.backends.batch_check import check_independence
        check_independence(spec)
    return OnnxRuntimeSession(spec, options.num_threads,
                              mask_interpolation=options.mask_interpolation)


_OPENERS: dict[str, Callable[['ModelSpec', RunOptions], Session]] = {
    'tensorrt': _open_on_tensorrt,
    'onnxruntime': _open_on_onnxruntime,
}
