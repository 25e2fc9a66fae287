# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Networks of MMSegmentation's configs: exported as logits, scores at input size, or ids."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from model_zoo.entry import HALF, ZOO_CLASSES, Entry, Export, Network
from model_zoo.import_mmsegmentation import import_mmsegmentation
from model_zoo.random_weights import standardise


def _whole(segmentor: Any, image: torch.Tensor) -> torch.Tensor:
    """Scores at the input size, interpolated as in the config of the head."""
    return segmentor.encode_decode(image, [{'img_shape': image.shape[2:]}])


_FORMS: dict[str, Callable[[Any, torch.Tensor], torch.Tensor]] = {
    'logits': lambda segmentor, image: segmentor(image),
    'whole': _whole,
    'ids': lambda segmentor, image: _whole(segmentor, image).argmax(dim=1, keepdim=True)}


class Exported(torch.nn.Module):
    """A network in its exported form; in PyTorch, its output is always that of 'whole'.

    Args:
        segmentor: MMSegmentation's network.
        form: 'logits', at the size of the head; 'whole', scores at the input size; 'ids', int64
            [1, 1, height, width] of these, as mmdeploy exports them.
    """

    def __init__(self, segmentor: Any, form: str) -> None:
        super().__init__()
        self.segmentor = segmentor
        self.form = form

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        form = self.form if torch.onnx.is_in_onnx_export() else 'whole'
        return _FORMS[form](self.segmentor, image)


def _network(config: str, form: str = 'logits',
             last: str = 'conv_seg') -> Callable[[bool], Network]:
    """A network.

    Args:
        config: path among the configs of MMSegmentation.
        form: see ``Exported``.
        last: name of the last layer of the head.
    """
    def make(small: bool) -> Network:
        mmseg = import_mmsegmentation()
        from mmengine.model import revert_sync_batchnorm
        path = Path(mmseg.__path__[0]) / '.mim' / 'configs' / config
        options = {'model.decode_head.num_classes': ZOO_CLASSES} if small else {}
        whole = mmseg.apis.init_model(path, device='cpu', cfg_options=options)
        segmentor = revert_sync_batchnorm(whole)
        module = Exported(segmentor, form)

        def calibrate(batch: torch.Tensor) -> None:
            standardise((getattr(segmentor.decode_head, last),), segmentor(batch))

        return Network(module, lambda scores: scores, calibrate,
                       growth='nearest' if form == 'ids' else 'bilinear',
                       align_corners=segmentor.align_corners)

    return make


_PSPNET = 'pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py'
_DEEPLAB = 'deeplabv3plus/deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024.py'
_SEGFORMER = 'segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py'
_BISENET = 'bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024.py'
_STDC = 'stdc/stdc1_4xb12-80k_cityscapes-512x1024.py'
_PIDNET = 'pidnet/pidnet-s_2xb6-120k_1024x1024-cityscapes.py'
_DDRNET = 'ddrnet/ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024.py'
_UPERNET = 'upernet/upernet_r18_4xb2-40k_cityscapes-512x1024.py'
_SEGMENTER = 'segmenter/segmenter_vit-t_mask_8xb1-160k_ade20k-512x512.py'

_MMSEG = ('mmseg', 'mmcv', 'mmengine')
_MMDEPLOY = (*_MMSEG, 'mmdeploy')

_POOLED = (576, 1152)
"""An eighth of it is divisible by 2, 3 and 6; else, mmdeploy pools other pixels than PyTorch."""


def _entry(name: str, make: Callable[[bool], Network], export: Export, in_ci: bool = False,
           full: tuple[int, int] = (512, 1024), **more: Any) -> Entry:
    needs = _MMDEPLOY if export.exporter == 'mmdeploy' else _MMSEG
    return Entry(name, 'mmsegmentation', make, export, full=full, in_ci=in_ci, needs=needs, **more)


_DEPLOY = Export('mmdeploy', 11)
_ALIGNED = 'output: {{align_corners: true}}'

ENTRIES = (
    _entry('mmseg PSPNet R18', _network(_PSPNET), Export('dynamo', 18)),
    _entry('mmseg PSPNet R18 mmdeploy', _network(_PSPNET, 'ids'), _DEPLOY, small=(96, 144),
           full=_POOLED),
    _entry('mmseg DeepLabV3+ R18', _network(_DEEPLAB), Export()),
    _entry('mmseg DeepLabV3+ R18 whole', _network(_DEEPLAB, 'whole'), Export()),
    _entry('mmseg SegFormer B0', _network(_SEGFORMER), Export(), in_ci=True),
    _entry('mmseg SegFormer B0 mmdeploy', _network(_SEGFORMER, 'ids'),
           Export('mmdeploy', 13)),
    _entry('mmseg BiSeNetV2', _network(_BISENET), Export('dynamo', 18)),
    _entry('mmseg BiSeNetV2 mmdeploy', _network(_BISENET, 'ids'), _DEPLOY),
    # Heads with align_corners=True, which the graph shows only if the scores have the input size.
    _entry('mmseg STDC1', _network(_STDC), Export('dynamo', 18), config=_ALIGNED),
    _entry('mmseg STDC1 whole', _network(_STDC, 'whole'), Export('dynamo', 18)),
    _entry('mmseg STDC1 mmdeploy', _network(_STDC, 'ids'), _DEPLOY),
    _entry('mmseg PIDNet-S', _network(_PIDNET), Export(), config=_ALIGNED, in_ci=True),
    _entry('mmseg PIDNet-S whole', _network(_PIDNET, 'whole'), Export()),
    _entry('mmseg PIDNet-S mmdeploy', _network(_PIDNET, 'ids'), _DEPLOY, in_ci=True),
    _entry('mmseg DDRNet-23-slim', _network(_DDRNET), Export()),
    _entry('mmseg DDRNet-23-slim mmdeploy', _network(_DDRNET, 'ids'), _DEPLOY),
    _entry('mmseg UPerNet R18', _network(_UPERNET), Export('dynamo', 18)),
    _entry('mmseg Segmenter ViT-T', _network(_SEGMENTER, last='mask_norm'), Export(),
           full=(512, 512), feed=HALF, config='input: {{scale: 0.00784313725, mean: [1, 1, 1]}}'),
)
