# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The only place that imports ONNX Runtime, so that its telemetry is off in every process."""

import contextlib
import ctypes
import importlib
import os
from typing import Any

TELEMETRY_VARIABLE = 'ORT_DISABLE_TELEMETRY'
"""ONNX Runtime reads it once, when its library is loaded; '1' and 'true' disable telemetry."""


def disable_telemetry() -> None:
    """Disable ONNX Runtime's telemetry in this process and its children.

    The Linux wheels (from 1.29 on) otherwise write a device id below ``~/.cache/Microsoft`` and
    send events to Microsoft. A value that the operator has set is left alone: with
    ``ORT_DISABLE_TELEMETRY=0`` telemetry stays on. There is no effect on a process that has
    imported ONNX Runtime already.
    """
    if not os.environ.get(TELEMETRY_VARIABLE):  # empty counts as not set
        os.environ[TELEMETRY_VARIABLE] = '1'


def import_onnxruntime(part: str = '') -> Any:
    """Import ONNX Runtime with its telemetry disabled; see ``disable_telemetry``.

    Args:
        part: a module of it, for example 'quantization'; '' for ``onnxruntime`` itself.

    Returns:
        The module.

    Raises:
        ImportError: ONNX Runtime is not installed, or cannot be loaded.
    """
    disable_telemetry()
    import onnxruntime
    return importlib.import_module(f'onnxruntime.{part}') if part else onnxruntime


def open_session(model: bytes, options: Any = None) -> Any:
    """Open a model on the CPU provider.

    Args:
        model: serialised, so that the caller need not keep the model itself meanwhile; the
            session keeps no reference to it.
        options: an ``onnxruntime.SessionOptions``.

    Returns:
        An ``onnxruntime.InferenceSession``.

    Raises:
        ImportError: ONNX Runtime is not installed, or cannot be loaded.
        Exception: it does not take the model; the binding raises its own types, one for each
            status code.
    """
    session = import_onnxruntime().InferenceSession(model, options, ['CPUExecutionProvider'])
    if hasattr(session, '_model_bytes'):  # kept to change providers, as large as the weights
        session._model_bytes = None
    return session


def return_free_memory() -> None:
    """Return to the system what the C library keeps of freed memory.

    Opening a network frees twice the size of its weights in pieces that glibc keeps for later.
    There is no effect with another C library.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
