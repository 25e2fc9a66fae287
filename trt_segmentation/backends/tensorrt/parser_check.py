# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Does the TensorRT that is installed take a network? Asked of its parser; nothing is built."""

import logging

from trt_segmentation.backends.tensorrt.api import LOGGER, find_log, find_tensorrt
from trt_segmentation.backends.tensorrt.parsing import read_onnx
from trt_segmentation.errors import MissingBackendError
from trt_segmentation.graph.pipeline.prepare import prepare
from trt_segmentation.graph.reading.resolve import ModelSpec


def parse_only(spec: ModelSpec) -> str:
    """Let TensorRT's parser read a network with its head and tail, as a build does.

    Returns:
        Whose parser has taken it: the module with its version.

    Raises:
        MissingBackendError: there is no TensorRT, none with a builder, or it wants a GPU (that
            for RTX does not).
        BackendError: the parser does not take a node; the message says which and what to do.
    """
    trt, log = find_tensorrt(), find_log()
    name = f'{trt.__name__} {trt.__version__}'
    if not hasattr(trt, 'Builder'):
        raise MissingBackendError(f'{name} can only run engines here')
    logger = logging.getLogger(LOGGER)
    before = logger.disabled
    logger.disabled = True  # the error says it again, in one sentence
    try:
        read_onnx(trt, log, prepare(spec).model.SerializeToString(), spec.network.source, name)
    finally:
        logger.disabled = before
    return name
