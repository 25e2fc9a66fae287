# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Export of PyTorch networks to ONNX files."""

import contextlib
import copy
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch

from model_zoo.entry import Export
from model_zoo.mmdeploying import export_with_mmdeploy

INPUT = 'image'


def export(module: torch.nn.Module, size: tuple[int, int], how: Export, path: Path) -> None:
    """Export a network.

    Args:
        module: in evaluation mode, float32.
        size: height and width of its input.
        how: see ``Export``.
        path: of the .onnx file.
    """
    if hasattr(module, 'write'):  # handles dtype and export itself
        module.write(size, how, path)
        return
    if how.dtype != torch.float32:
        module = copy.deepcopy(module).to(how.dtype)
    example = torch.rand(1, 3, *size).to(how.dtype)
    options: dict[str, Any] = {'opset_version': how.opset, 'input_names': [INPUT]}
    if how.outputs:
        options['output_names'] = list(how.outputs)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter('ignore')  # of constants in the trace; the comparison judges
        _EXPORTERS[how.exporter](module, example, how, path, options)


def _with_torchscript(module: torch.nn.Module, example: torch.Tensor, how: Export, path: Path,
                      options: dict[str, Any]) -> None:
    axes = {0: 'batch'} | ({2: 'height', 3: 'width'} if how.open_axes == 'all' else {})
    if how.open_axes:
        options['dynamic_axes'] = {INPUT: axes} | {name: {0: 'batch'} for name in how.outputs}
    torch.onnx.export(module, (example,), path, dynamo=False, **options)
    if how.external_data:
        onnx.save(onnx.load(path), path, save_as_external_data=True,
                  location=f'{path.stem}.data')


def _with_dynamo(module: torch.nn.Module, example: torch.Tensor, how: Export, path: Path,
                 options: dict[str, Any]) -> None:
    if how.open_axes:
        axes = (0, 2, 3) if how.open_axes == 'all' else (0,)
        options['dynamic_shapes'] = (dict.fromkeys(axes, torch.export.Dim.DYNAMIC),)
        example = example.repeat(2, 1, 1, 1)  # a dimension of 1 would be exported as a constant
    torch.onnx.export(module, (example,), path, dynamo=True, verbose=False,
                      external_data=how.external_data, **options)


def _with_mmdeploy(module: Any, example: torch.Tensor, how: Export, path: Path,
                   _: dict[str, Any]) -> None:
    height, width = example.shape[2:]
    export_with_mmdeploy(module.segmentor, (height, width), how.opset, path)


_EXPORTERS: dict[str, Callable[..., None]] = {
    'torchscript': _with_torchscript, 'dynamo': _with_dynamo,
    'mmdeploy': _with_mmdeploy}
