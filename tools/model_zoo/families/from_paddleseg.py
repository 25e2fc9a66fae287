# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""PaddleSeg networks by paddle2onnx: logits, or class ids as by its export script.

The tests do not use Paddle because of its size; install paddlepaddle, paddleseg and paddle2onnx,
without the opencv-python of paddleseg.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model_zoo.entry import HALF, ZOO_CLASSES, Entry, Export, Network
from model_zoo.random_weights import SPREAD

CLASSES = 19
"""Of Cityscapes."""


class Paddle(torch.nn.Module):
    """PP-LiteSeg on STDC1 with the interface of a PyTorch module.

    Args:
        classes: number of classes.
        output_op: option of PaddleSeg's export script: 'none' for logits, or 'argmax'.
    """

    def __init__(self, classes: int, output_op: str) -> None:
        super().__init__()
        import paddle
        from paddleseg.models import PPLiteSeg
        from paddleseg.models.backbones import STDC1
        paddle.seed(0)
        self.net = PPLiteSeg(num_classes=classes, backbone=STDC1())
        self.net.eval()
        self.output_op = output_op

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        import paddle
        with paddle.no_grad():
            return torch.from_numpy(self.net(paddle.to_tensor(x.numpy()))[0].numpy())

    def calibrate(self, batch: torch.Tensor) -> None:
        """Compute batch norm statistics; scale logits to mean 0 and std ``SPREAD``."""
        import paddle
        for layer in self.net.sublayers():
            if isinstance(layer, paddle.nn.BatchNorm2D):
                layer._momentum = 0.0  # the statistics are those of the last call
        self.net.train()
        self(batch)
        self.net.eval()
        last, fed = self.net.seg_heads[0].conv_out, []
        hook = last.register_forward_pre_hook(lambda _, given: fed.append(given[0].numpy()))
        self(batch)
        hook.remove()
        features = np.moveaxis(fed[0], 1, -1).reshape(-1, fed[0].shape[1])
        mean = features.mean(axis=0)
        weight = last.weight.numpy()[:, :, 0, 0]  # without a bias, remove the mean from it
        weight = weight - np.outer(weight @ mean, mean) / (mean @ mean)
        weight = weight * SPREAD / (features @ weight.T).std(axis=0)[:, None]
        last.weight.set_value(weight[:, :, None, None].astype(np.float32))

    def write(self, size: tuple[int, int], how: Export, path: Path) -> None:
        """Export it as PaddleSeg's script does, with paddle2onnx."""
        import paddle
        from paddleseg.deploy.export import WrappedModel
        net: Any = self.net if self.output_op == 'none' else WrappedModel(self.net, self.output_op)
        net.eval()
        spec = paddle.static.InputSpec([1, 3, *size], 'float32', 'x')
        paddle.onnx.export(net, str(path.with_suffix('')), [spec], opset_version=how.opset)


def _network(output_op: str) -> Callable[[bool], Network]:
    def make(small: bool) -> Network:
        module = Paddle(ZOO_CLASSES if small else CLASSES, output_op)
        return Network(module, lambda logits: logits, module.calibrate,
                       growth='bilinear' if output_op == 'none' else 'nearest')

    return make


def _entry(name: str, output_op: str) -> Entry:
    return Entry(name, 'PaddleSeg', _network(output_op), Export('paddle2onnx', 13),
                 small=(128, 256), full=(512, 1024), feed=HALF,
                 needs=('paddle', 'paddleseg', 'paddle2onnx'),
                 config='input: {{scale: 0.00784313725, mean: [1, 1, 1]}}')


ENTRIES = (
    _entry('PP-LiteSeg', 'none'),
    _entry('PP-LiteSeg argmax', 'argmax'),
)
