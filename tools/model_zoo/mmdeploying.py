# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Export of an MMSegmentation network by MMDeploy: class ids at the input size."""

import functools
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch


def export_with_mmdeploy(segmentor: Any, size: tuple[int, int], opset: int, path: Path) -> None:
    """Export a network with ``mmdeploy.apis.torch2onnx`` for a fixed size.

    Args:
        segmentor: of MMSegmentation, with its config as ``cfg``.
        size: height and width of its input.
        opset: the configs of mmdeploy have 11.
        path: of the .onnx file.
    """
    from mmdeploy.apis import torch2onnx
    from mmengine.config import Config
    height, width = size
    deploy = Config({
        'onnx_config': {
            'type': 'onnx', 'export_params': True, 'keep_initializers_as_inputs': False,
            'opset_version': opset, 'save_file': path.name, 'input_names': ['input'],
            'output_names': ['output'], 'input_shape': [width, height], 'optimize': True},
        'codebase_config': {'type': 'mmseg', 'task': 'Segmentation'},
        'backend_config': {'type': 'onnxruntime'}})
    # mmdeploy needs this exporter, which is not the default since PyTorch 2.9.
    exporter = functools.partial(torch.onnx.export, dynamo=False)
    with tempfile.TemporaryDirectory() as folder, mock.patch('torch.onnx.export', exporter):
        weights = Path(folder) / 'weights.pth'
        torch.save({'state_dict': segmentor.state_dict(), 'meta': {}}, weights)
        torch2onnx(np.zeros((height, width, 3), np.uint8), str(path.parent), path.name, deploy,
                   segmentor.cfg, str(weights), 'cpu')
