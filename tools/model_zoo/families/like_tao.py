# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""U-Nets with the output of NVIDIA TAO: channels last, class ids or probabilities.

TAO is a container, so PyTorch exports the end of its graph here: a transpose to NHWC, then softmax
(output 'softmax_1') or argmax to int32 (output 'argmax_1').
"""

from collections.abc import Callable

import torch
from torch import nn

from model_zoo.entry import HALF, ZOO_CLASSES, Entry, Export, Network
from model_zoo.random_weights import standardise


def _block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1, bias=False),
                         nn.BatchNorm2d(after), nn.ReLU())


class UNet(nn.Module):
    """A U-Net of three levels with transposed convolutions.

    Args:
        width: channels of its first level.
        classes: number of classes.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.first, self.second = _block(3, width), _block(width, 2 * width)
        self.third = _block(2 * width, 4 * width)
        self.pool = nn.MaxPool2d(2)
        self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.up1 = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.merge2, self.merge1 = _block(4 * width, 2 * width), _block(2 * width, width)
        self.last = nn.Conv2d(width, classes, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        first = self.first(image)
        second = self.second(self.pool(first))
        third = self.third(self.pool(second))
        x = self.merge2(torch.cat([self.up2(third), second], dim=1))
        x = self.merge1(torch.cat([self.up1(x), first], dim=1))
        return self.last(x)


class Exported(nn.Module):
    """The U-Net with the end of the graph of TAO's exporter; it stores the logits.

    Args:
        unet: the network.
        tail: from logits [N, H, W, classes] to the exported output.
    """

    def __init__(self, unet: UNet, tail: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.unet = unet
        self.tail = tail
        self.logits = torch.zeros(0)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits = self.unet(image)
        if not torch.onnx.is_in_onnx_export():
            self.logits = logits
        return self.tail(logits.permute(0, 2, 3, 1))


def _ids(scores: torch.Tensor) -> torch.Tensor:
    return scores.argmax(dim=3, keepdim=True).to(torch.int32)


def _network(tail: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[bool], Network]:
    def make(small: bool) -> Network:
        unet = UNet(8 if small else 32, ZOO_CLASSES)
        module = Exported(unet, tail)

        def calibrate(batch: torch.Tensor) -> None:
            standardise((unet.last,), unet(batch))

        return Network(module, lambda _: module.logits, calibrate)

    return make


_CONFIG = 'input: {{color: rgb, scale: 0.00784313725, mean: [1, 1, 1]}}'

ENTRIES = (
    Entry('TAO-style U-Net ids', 'tao', _network(_ids), Export(opset=12, outputs=('argmax_1',)),
          config=_CONFIG, feed=HALF, in_ci=True),
    Entry('TAO-style U-Net softmax', 'tao', _network(lambda scores: scores.softmax(dim=3)),
          Export(opset=12, open_axes='batch', outputs=('softmax_1',)), config=_CONFIG,
          feed=HALF, in_ci=True),
)
