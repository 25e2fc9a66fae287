# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""segmentation-models-pytorch: heads with and without an activation, one class or several."""

from collections.abc import Callable
from typing import Any

import torch

from model_zoo.entry import ZOO_CLASSES, Entry, Export, Network, with_none_row
from model_zoo.import_torchvision import import_segmentation
from model_zoo.random_weights import standardise

CLASSES = 19
"""Of Cityscapes."""

NOTHING = 255
"""Mask value where no class of a sigmoid head reaches the threshold."""


def _same(output: torch.Tensor) -> torch.Tensor:
    return output


def _above_zero(output: torch.Tensor) -> torch.Tensor:
    return with_none_row(output)


def _above_half(output: torch.Tensor) -> torch.Tensor:
    return with_none_row(output, 0.5)


def _encoder(name: str, small: bool) -> dict[str, Any]:
    if name != 'DPT':
        return {'encoder_name': 'mobilenet_v2' if small else 'resnet34'}
    # Without a size, each run would resize the position embedding with antialiasing.
    return {'encoder_name': f'tu-vit_{"tiny" if small else "small"}_patch16_224',
            'img_size': (96, 128) if small else (512, 512)}


def _network(name: str, activation: str | None = None, classes: int | None = None,
             scores_of: Callable[[Any], torch.Tensor] = _same) -> Callable[[bool], Network]:
    """A network of smp; ``classes`` defaults to those of the zoo or of Cityscapes."""
    def make(small: bool) -> Network:
        import_segmentation()  # before smp, which imports torchvision
        import segmentation_models_pytorch as smp
        from segmentation_models_pytorch.base.modules import Activation
        count = classes or (ZOO_CLASSES if small else CLASSES)
        module = getattr(smp, name)(**_encoder(name, small), encoder_weights=None,
                                    classes=count, activation=activation)
        head = module.segmentation_head
        last = [layer for layer in head.modules() if isinstance(layer, torch.nn.Conv2d)][-1]
        active = next(layer for layer in head.modules() if isinstance(layer, Activation))

        def calibrate(batch: torch.Tensor) -> None:
            active.activation, original = torch.nn.Identity(), active.activation
            standardise((last,), module(batch))
            active.activation = original

        several = scores_of is not _same and count > 1
        return Network(module, scores_of, calibrate, (NOTHING, *range(count)) if several else ())

    return make


ENTRIES = (
    Entry('Unet', 'smp', _network('Unet'), in_ci=True),
    Entry('Unet one class', 'smp', _network('Unet', classes=1, scores_of=_above_zero),
          Export(opset=13), in_ci=True),
    Entry('Unet one class sigmoid', 'smp', _network('Unet', 'sigmoid', 1, _above_half),
          Export('dynamo', 18)),
    Entry('FPN sigmoid', 'smp', _network('FPN', 'sigmoid', scores_of=_above_half), in_ci=True),
    Entry('DeepLabV3Plus softmax', 'smp', _network('DeepLabV3Plus', 'softmax2d'),
          Export('dynamo', 18)),
    Entry('Unet softmax external', 'smp', _network('Unet', 'softmax2d'),
          Export(opset=15, external_data=True), in_ci=True),
    Entry('MAnet', 'smp', _network('MAnet')),
    Entry('PAN', 'smp', _network('PAN'), small=(128, 128), in_ci=True),
    Entry('Linknet', 'smp', _network('Linknet')),
    Entry('smp UPerNet', 'smp', _network('UPerNet'), Export('dynamo', 18)),
    Entry('smp DPT', 'smp', _network('DPT')),
)
