# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""MMSegmentation, also where mmcv has no compiled operators (mmcv-lite)."""

import importlib
import importlib.util
import sys
from types import ModuleType

from model_zoo.import_torchvision import import_segmentation

_COMPILED = 'mmcv._ext'


class _Anything(ModuleType):
    """A module that has every name; what it has cannot be called."""

    def __getattr__(self, name: str) -> None:
        if name.startswith('__'):
            raise AttributeError(name)


def import_mmsegmentation() -> ModuleType:
    """Return ``mmseg``, with ``mmseg.apis``.

    It imports operators that few of its networks use, and none of the zoo's does.
    """
    import_segmentation()  # before timm, which imports torchvision
    if importlib.util.find_spec(_COMPILED) is None:
        sys.modules[_COMPILED] = _Anything(_COMPILED)
        importlib.import_module('mmcv.ops')
        del sys.modules[_COMPILED]  # others ask whether it is there
    import mmseg.apis
    return mmseg
