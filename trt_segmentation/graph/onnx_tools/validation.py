# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Is an ONNX file whole? What a parser and a checker do not say, or not so that it helps."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from trt_segmentation.errors import ModelError
from trt_segmentation.graph.onnx_tools.weights import is_large

_FLOAT_TYPES = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}

_WEIGHTED_OPS = {'Conv', 'ConvTranspose', 'Gemm', 'MatMul', 'BatchNormalization'}
"""Ops whose constants are learned. Elsewhere, infinity may be meant: bounds, attention masks."""

_GIT_LFS = b'version https://git-lfs.github.com/spec/'

_USUAL_OPSET = 17
"""Which every runtime here takes."""


def check_file(path: Path) -> None:
    """Check what can be seen without reading.

    Raises:
        ModelError: the path is no file called .onnx with something in it.
    """
    if path.is_dir():
        raise ModelError(f'{path}: is a folder; name the .onnx file in it')
    if path.suffix != '.onnx':
        raise ModelError(f'{path}: is no model; it ends in .onnx, .engine or .plan (export a '
                         'network of another framework to ONNX first)')
    if not path.is_file():
        raise ModelError(f'{path}: there is no such file; is the path right?')
    if path.stat().st_size == 0:
        raise ModelError(f'{path}: is empty; export it again')
    with path.open('rb') as file:
        if file.read(len(_GIT_LFS)) == _GIT_LFS:
            raise ModelError(f'{path}: is a Git LFS pointer to a model, not the model; fetch it '
                             'with git lfs pull')


def external_data(model: onnx.ModelProto, path: Path) -> dict[str, tuple[str, Path]]:
    """Return where weights lie that are not in the model itself: by what the model calls the
    file, the first tensor that is in it, and its path."""
    folder, found = path.parent.resolve(), dict[str, tuple[str, Path]]()
    for tensor in _tensors(model):
        for entry in tensor.external_data:
            if entry.key == 'location':
                found.setdefault(entry.value, (tensor.name, (folder / entry.value).resolve()))
    return found


def check_external_data(model: onnx.ModelProto, path: Path) -> None:
    """Check where a model's weights lie; onnx 1.12 itself reads any file.

    Raises:
        ModelError: they lie outside the model's folder, or are not there.
    """
    folder = path.parent.resolve()
    for name, (tensor, place) in external_data(model, path).items():
        if not place.is_relative_to(folder):
            raise ModelError(
                f"{path}: its tensor '{tensor}' is in '{name}', outside the model's folder; "
                'export it again with its data beside the .onnx file')
        if not place.is_file():
            raise ModelError(
                f"{path}: its tensor '{tensor}' is in '{name}', which is not there; copy that "
                'file beside the .onnx file, or export it again')


def check_opset(model: onnx.ModelProto, path: Path) -> None:
    """Check that the model's operators can be known.

    Raises:
        ModelError: they are of a newer opset than the onnx package knows.
    """
    newest = onnx.defs.onnx_opset_version()
    for entry in model.opset_import:
        if entry.domain in ('', 'ai.onnx') and entry.version > newest:
            raise ModelError(
                f'{path}: has opset {entry.version}, but onnx {onnx.__version__} knows only up '
                f'to {newest}; export it with opset {_USUAL_OPSET}, or update onnx')


def check_weights(model: onnx.ModelProto, path: Path) -> None:
    """Check that a network computes numbers, and that weights are whole that ONNX's checker does
    not see; see ``without_weights``.

    Raises:
        ModelError: a weight is NaN, or infinite; or it has more or fewer bytes than its shape.
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
            f"'{tensor.name}' are {what}, so its masks mean nothing; look at the checkpoint (did "
            'training diverge?) and export it again')


def _tensors(message: Any) -> Iterator[TensorProto]:
    """All tensors in a part of a model: weights, constants, those of subgraphs and functions."""
    if isinstance(message, TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, 'ListFields') else value:
                yield from _tensors(part)
