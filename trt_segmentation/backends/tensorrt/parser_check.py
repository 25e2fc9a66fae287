# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Checks with the installed TensorRT's parser whether it supports a network; builds nothing."""

import logging

from trt_segmentation.backends.tensorrt.api import LOGGER, find_log, find_tensorrt
from trt_segmentation.backends.tensorrt.parsing import read_onnx
from trt_segmentation.errors import MissingBackendError
from trt_segmentation.graph.pipeline.prepare import prepare
from trt_segmentation.graph.reading.resolve import ModelSpec


def parse_only(spec: ModelSpec) -> str:
    """Let TensorRT's parser read a network with its head and tail, as a build does.

    Returns:
        Module and version of the TensorRT whose parser accepted it.

    Raises:
        MissingBackendError: there is no TensorRT, none with a builder, or it needs a GPU (that
            for RTX does not).
        BackendError: the parser does not support a node; the message has the node and the fix.
    """
    trt, log = find_tensorrt(), find_log()
    name = f'{trt.__name__} {trt.__version__}'
    if not hasattr(trt, 'Builder'):
        raise MissingBackendError(f'{name} can only run engines here')
    logger = logging.getLogger(LOGGER)
    before = logger.disabled
    logger.disabled = True  # the error repeats it in one sentence
    try:
        read_onnx(trt, log, prepare(spec).model.SerializeToString(), spec.network.source, name)
    finally:
        logger.disabled = before
    return name
