# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of an ONNX file that the ONNX checker lacks, or reports without a remedy."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from trt_segmentation.errors import ModelError
from trt_segmentation.graph.onnx_tools.weights import is_large
from trt_segmentation.options import ENGINE_SUFFIXES

_FLOAT_TYPES = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}

_WEIGHTED_OPS = {'Conv', 'ConvTranspose', 'Gemm', 'MatMul', 'BatchNormalization'}
"""Operators with learned constants. Elsewhere infinity is valid: bounds, attention masks."""

_GIT_LFS = b'version https://git-lfs.github.com/spec/'

_RECOMMENDED_OPSET = 17
"""An opset that all supported runtimes accept."""


def check_file(path: Path) -> None:
    """Check a path without parsing the file.

    Raises:
        ModelError: the path is not a non-empty .onnx file.
    """
    if path.is_dir():
        raise ModelError(f'{path}: is a folder; name the .onnx file in it')
    if path.suffix in ENGINE_SUFFIXES:
        raise ModelError(f"{path}: is an engine already; give its network's .onnx file")
    if path.suffix != '.onnx':
        raise ModelError(f'{path}: is no model; models end in .onnx, .engine or .plan (export '
                         'other networks to ONNX first)')
    if not path.is_file():
        raise ModelError(f'{path}: there is no such file; check the path')
    if path.stat().st_size == 0:
        raise ModelError(f'{path}: is empty; export it again')
    try:
        with path.open('rb') as file:
            head = file.read(len(_GIT_LFS))
    except OSError as error:
        raise ModelError(f'{path}: cannot be read ({error.strerror})') from error
    if head == _GIT_LFS:
        raise ModelError(f'{path}: is a Git LFS pointer to a model, not the model; fetch it '
                         'with git lfs pull')


def external_data(model: onnx.ModelProto, path: Path) -> dict[str, tuple[str, Path]]:
    """Return the external weight files of a model: by the location in the model, the first tensor
    in the file, and its path."""
    folder, found = path.parent.resolve(), dict[str, tuple[str, Path]]()
    for tensor in _tensors(model):
        for entry in tensor.external_data:
            if entry.key == 'location':
                found.setdefault(entry.value, (tensor.name, (folder / entry.value).resolve()))
    return found


def check_external_data(model: onnx.ModelProto, path: Path) -> None:
    """Check the external weight files; onnx 1.12 reads files outside the folder, too.

    Raises:
        ModelError: a file is outside the model's folder, or missing.
    """
    folder = path.parent.resolve()
    for name, (tensor, place) in external_data(model, path).items():
        if not place.is_relative_to(folder):
            raise ModelError(
                f"{path}: its tensor '{tensor}' is in '{name}', outside the model's folder; "
                'export it again with its data in the folder of the .onnx file')
        if not place.is_file():
            raise ModelError(
                f"{path}: its tensor '{tensor}' is in '{name}', which is missing; copy that "
                'file to the folder of the .onnx file, or export it again')


def check_opset(model: onnx.ModelProto, path: Path) -> None:
    """Check that the onnx package supports the model's opset.

    Raises:
        ModelError: the opset is newer.
    """
    newest = onnx.defs.onnx_opset_version()
    for entry in model.opset_import:
        if entry.domain in ('', 'ai.onnx') and entry.version > newest:
            raise ModelError(
                f'{path}: has opset {entry.version}, but onnx {onnx.__version__} supports only up '
                f'to {newest}; export it with opset {_RECOMMENDED_OPSET}, or update onnx')


def check_weights(model: onnx.ModelProto, path: Path) -> None:
    """Check that the weights are finite and complete, those included that ONNX's checker does not
    see; see ``without_weights``.

    Raises:
        ModelError: a weight is NaN or infinite, or its size does not match its shape.
    """
    learned = {name for node in model.graph.node if node.op_type in _WEIGHTED_OPS
               for name in node.input[1:]}
    for tensor in _tensors(model):
        is_float = tensor.data_type in _FLOAT_TYPES
        if not is_float and not is_large(tensor):
            continue
        try:
            values = np.asarray(numpy_helper.to_array(tensor))
        except (ValueError, KeyError, TypeError) as error:  # the latter two: an unknown type
            raise ModelError(f"{path}: its tensor '{tensor.name}' of shape {list(tensor.dims)} is "
                             f'damaged ({error}); copy or export it again') from error
        if not is_float or np.isfinite(values).all():
            continue
        broken, what = np.isnan(values), 'NaN'
        if not broken.any():
            broken, what = np.isinf(values), 'infinite'
            if tensor.name not in learned:
                continue
        raise ModelError(
            f"{path}: {np.count_nonzero(broken)} of {values.size} values of its tensor "
            f"'{tensor.name}' are {what}, so its masks are invalid; check whether "
            'training diverged, and export it again')


def _tensors(message: Any) -> Iterator[TensorProto]:
    """Yield all tensors in a message: weights and constants, also of subgraphs and functions."""
    if isinstance(message, TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, 'ListFields') else value:
                yield from _tensors(part)
