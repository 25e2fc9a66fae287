# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Where prepared graphs run. ``open_session`` chooses; each backend is imported only then."""

from trt_segmentation.backends.base import Session
from trt_segmentation.errors import BackendError
from trt_segmentation.graph.prepare import prepare
from trt_segmentation.graph.resolve import ModelSpec

BACKENDS = ('auto', 'tensorrt', 'onnxruntime')
PRECISIONS = ('fp32', 'fp16', 'int8')


def open_session(spec: ModelSpec, *, precision: str, backend: str, mask_interpolation: str,
                 num_threads: int) -> Session:
    """Prepare a network and open it on a backend.

    Args:
        spec: the network.
        precision: one of ``PRECISIONS``. ONNX Runtime runs a network in the types it was
            exported with, whatever is asked; its ``info`` says which.
        backend: one of ``BACKENDS``; 'auto' takes the fastest that this machine has.
        mask_interpolation: 'nearest' or 'bilinear', see ``prepare``.
        num_threads: CPU threads for one operation; 0 takes one for each core.

    Raises:
        BackendError: the backend is missing, or does not take the network.
    """
    if backend == 'tensorrt':
        raise BackendError("backend is 'tensorrt', which this release does not have yet; "
                           "use 'auto' or 'onnxruntime'")
    if backend not in BACKENDS or precision not in PRECISIONS:
        raise BackendError(f"backend '{backend}' with precision '{precision}' is not known; "
                           f'backends are {", ".join(BACKENDS)}, precisions '
                           f'{", ".join(PRECISIONS)}')
    from trt_segmentation.backends.onnxruntime import OnnxRuntimeSession
    prepared = prepare(spec, ('mask',), mask_interpolation=mask_interpolation,
                       uint8_ops=OnnxRuntimeSession.uint8_ops)
    return OnnxRuntimeSession(prepared, num_threads)
