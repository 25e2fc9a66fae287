# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""torchvision, also where its compiled operators belong to another build of torch."""

from types import ModuleType

import torch

_STUBS: list[torch.library.Library] = []
_OPERATORS = ('nms', 'qnms')
"""What importing torchvision registers something for; no segmentation network uses them."""


def import_segmentation() -> ModuleType:
    """Return ``torchvision.models.segmentation``; afterwards, others can import torchvision."""
    try:
        from torchvision.models import segmentation
    except RuntimeError:  # its own operators could not be loaded
        _STUBS.append(torch.library.Library('torchvision', 'DEF'))
        for name in _OPERATORS:
            _STUBS[-1].define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
        from torchvision.models import segmentation
    return segmentation
