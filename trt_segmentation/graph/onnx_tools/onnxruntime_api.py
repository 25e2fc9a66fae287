# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The only module that imports ONNX Runtime, so that telemetry is off in every process."""

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
        part: a submodule, for example 'quantization'; '' for ``onnxruntime`` itself.

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
        model: serialised; the session keeps no reference to it.
        options: an ``onnxruntime.SessionOptions``; None for the defaults, and no log.

    Returns:
        An ``onnxruntime.InferenceSession``.

    Raises:
        ImportError: ONNX Runtime is not installed, or cannot be loaded.
        Exception: it cannot load the model; it has an exception type for each status code.
    """
    runtime = import_onnxruntime()
    if options is None:
        options = runtime.SessionOptions()
        options.log_severity_level = 4
    session = runtime.InferenceSession(model, options, ['CPUExecutionProvider'])
    if hasattr(session, '_model_bytes'):  # a copy of the model, to change providers
        session._model_bytes = None
    return session


def return_free_memory() -> None:
    """Return freed memory from the C library to the system.

    Opening a network frees about twice the size of its weights, which glibc keeps for reuse. With
    another C library there is no effect.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
