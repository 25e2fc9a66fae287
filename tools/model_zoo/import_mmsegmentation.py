# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Import of MMSegmentation, also with an mmcv without compiled operators (mmcv-lite)."""

import importlib
import importlib.util
import sys
from types import ModuleType

from model_zoo.import_torchvision import import_segmentation

_COMPILED = 'mmcv._ext'


class _AnyName(ModuleType):
    """A module in which every name is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith('__'):
            raise AttributeError(name)


def import_mmsegmentation() -> ModuleType:
    """Return ``mmseg``, with ``mmseg.apis``.

    It imports operators that no network of the zoo uses.
    """
    import_segmentation()  # before timm, which imports torchvision
    if importlib.util.find_spec(_COMPILED) is None:
        sys.modules[_COMPILED] = _AnyName(_COMPILED)
        importlib.import_module('mmcv.ops')
        del sys.modules[_COMPILED]  # other packages check whether it exists
    import mmseg.apis
    return mmseg
