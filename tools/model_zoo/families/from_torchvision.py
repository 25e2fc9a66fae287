# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation networks of torchvision, with the outputs 'out' and 'aux'."""

from collections.abc import Callable
from typing import Any

import torch

from model_zoo.entry import ZOO_CLASSES, Entry, Export, Network
from model_zoo.import_torchvision import import_segmentation
from model_zoo.random_weights import standardise

segmentation = import_segmentation()

CLASSES = 21
"""Of Pascal VOC, the data set of torchvision's weights."""


class MainOutput(torch.nn.Module):
    """A network with only its main output, as a tensor."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.network(image)['out']


def _network(name: str, last: Callable[[Any], tuple[torch.nn.Module, ...]],
             key: str = 'out', **options: Any) -> Callable[[bool], Network]:
    """A network whose output ``key`` is segmented."""
    def make(small: bool) -> Network:
        whole = getattr(segmentation, name)(weights=None, weights_backbone=None,
                                         num_classes=ZOO_CLASSES if small else CLASSES, **options)
        module = whole if options.get('aux_loss') else MainOutput(whole)

        def read(output: Any) -> torch.Tensor:
            return output[key] if isinstance(output, dict) else output

        def calibrate(batch: torch.Tensor) -> None:
            head = whole.classifier if key == 'out' else whole.aux_classifier
            standardise(last(head), whole(batch)[key])

        return Network(module, read, calibrate)

    return make


def _lraspp(head: Any) -> tuple[torch.nn.Module, ...]:
    return head.low_classifier, head.high_classifier


def _conv(head: Any) -> tuple[torch.nn.Module, ...]:
    return (head[-1],)


_lraspp_network = _network('lraspp_mobilenet_v3_large', _lraspp)
_deeplab = _network('deeplabv3_mobilenet_v3_large', _conv)
_deeplab_aux = _network('deeplabv3_mobilenet_v3_large', _conv, aux_loss=True)
_WITH_SIZE = 'input: {{size: {size}}}'

ENTRIES = (
    Entry('fcn_resnet50', 'torchvision', _network('fcn_resnet50', _conv)),
    Entry('fcn_resnet50 with aux', 'torchvision', _network('fcn_resnet50', _conv, aux_loss=True),
          Export(opset=14, outputs=('out', 'aux'))),
    Entry('deeplabv3_mobilenet_v3_large', 'torchvision', _deeplab, Export(opset=11)),
    Entry('deeplabv3_mobilenet_v3_large with aux', 'torchvision', _deeplab_aux,
          Export('dynamo', 18)),
    Entry('deeplabv3_mobilenet_v3_large aux asked for', 'torchvision',
          _network('deeplabv3_mobilenet_v3_large', _conv, 'aux', aux_loss=True),
          Export(outputs=('out', 'aux')), config='output: {{name: aux}}', in_ci=True),
    Entry('lraspp_mobilenet_v3_large', 'torchvision', _lraspp_network,
          Export(open_axes='batch'), in_ci=True),
    Entry('lraspp_mobilenet_v3_large opset 11', 'torchvision', _lraspp_network, Export(opset=11),
          in_ci=True),
    Entry('lraspp_mobilenet_v3_large opset 19', 'torchvision', _lraspp_network, Export(opset=19),
          in_ci=True),
    Entry('lraspp_mobilenet_v3_large opset 20', 'torchvision', _lraspp_network,
          Export('dynamo', 20)),
    Entry('lraspp_mobilenet_v3_large open', 'torchvision', _lraspp_network,
          Export(opset=16, open_axes='all'), config=_WITH_SIZE, in_ci=True),
    Entry('lraspp_mobilenet_v3_large open dynamo', 'torchvision', _lraspp_network,
          Export('dynamo', 18, open_axes='all'), config=_WITH_SIZE),
    Entry('lraspp_mobilenet_v3_large fp16', 'torchvision', _lraspp_network,
          Export(dtype=torch.float16)),
    Entry('lraspp_mobilenet_v3_large external', 'torchvision', _lraspp_network,
          Export('dynamo', 18, external_data=True)),
)
