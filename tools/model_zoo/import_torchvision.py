# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Import of torchvision, also if its compiled operators are of another build of torch."""

from types import ModuleType

import torch

_STUBS: list[torch.library.Library] = []
_OPERATORS = ('nms', 'qnms')
"""Operators that the import of torchvision needs, and that no segmentation network uses."""


def import_segmentation() -> ModuleType:
    """Return ``torchvision.models.segmentation``; torchvision can be imported afterwards."""
    try:
        from torchvision.models import segmentation
    except RuntimeError:  # its operators could not be loaded
        _STUBS.append(torch.library.Library('torchvision', 'DEF'))
        for name in _OPERATORS:
            _STUBS[-1].define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
        from torchvision.models import segmentation
    return segmentation
