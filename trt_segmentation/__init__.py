# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Semantic segmentation for ROS 2: camera image in, class mask and colour overlay out.

The public names, each imported when it is first used::

    from trt_segmentation import RunOptions, Segmenter
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trt_segmentation.errors import (
        BackendError,
        ConfigError,
        ImageError,
        MissingBackendError,
        ModelError,
        OutputError,
        SegmentationError,
    )
    from trt_segmentation.model_config import ModelConfig
    from trt_segmentation.options import BuildOptions, CalibrationOptions, RunOptions
    from trt_segmentation.segmentation import Prediction, Segmentation
    from trt_segmentation.segmenter import Segmenter

__version__ = '0.2.0'
"""Read by setup.py; package.xml, CITATION.cff and CHANGELOG.rst repeat it."""

PROGRESS_LOGGER = 'trt_segmentation.progress'
"""Name of the logger for the progress of long operations; it gets about one record a second."""

__all__ = [
    'BackendError',
    'BuildOptions',
    'CalibrationOptions',
    'ConfigError',
    'ImageError',
    'MissingBackendError',
    'ModelConfig',
    'ModelError',
    'OutputError',
    'Prediction',
    'RunOptions',
    'Segmentation',
    'SegmentationError',
    'Segmenter',
]

_MODULES = {'ModelConfig': 'model_config', 'BuildOptions': 'options',
            'CalibrationOptions': 'options', 'RunOptions': 'options', 'Prediction': 'segmentation',
            'Segmentation': 'segmentation', 'Segmenter': 'segmenter'}
"""Module of each public name, except those in ``errors``."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    module = importlib.import_module(f'{__name__}.{_MODULES.get(name, "errors")}')
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
