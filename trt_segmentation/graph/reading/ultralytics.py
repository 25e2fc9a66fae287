# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Reads the metadata of Ultralytics' exporter: task, class names and image size.

``ultralytics/engine/exporter.py`` writes it as metadata_props. The preprocessing is that of
``engine/predictor.py`` (RGB, pixel / 255) and of ``LetterBox`` in ``data/augment.py`` (centred,
border 114). Ultralytics is not imported.
"""

import ast
from dataclasses import replace

from trt_segmentation.errors import ModelError
from trt_segmentation.graph.onnx_tools.network import Network
from trt_segmentation.model_config import ClassesConfig, InputConfig, ModelConfig

_AUTHOR = 'Ultralytics'
_BORDER = 114.0

_TASKS = {'segment', 'semantic'}
_GIVES = {'detect': 'boxes', 'obb': 'rotated boxes', 'pose': 'boxes and key points',
          'classify': 'one class for the whole image', 'depth': 'distances'}


def exporter_config(network: Network, given: ModelConfig) -> ModelConfig:
    """Return the config from the exporter's metadata; an empty config for other exporters.

    Args:
        network: with its metadata.
        given: the known config; settings that would contradict it are omitted.

    Raises:
        ModelError: its task has no mask, and no ``output.kind`` is given.
    """
    if not _is_ultralytics(network):
        return ModelConfig()
    task = network.metadata['task']
    if task not in _TASKS and all(each.output.kind is None for each in given.tasks):
        gives = f', which gives {_GIVES[task]}' if task in _GIVES else ''
        raise ModelError(f"{network.source}: is an Ultralytics network for the task '{task}'"
                         f'{gives} and no class for each pixel; export one for segment '
                         "(such as yolo11n-seg.pt) or semantic (such as yolo26n-sem.pt)")
    channels = _channels(network)
    fed = InputConfig('gray' if channels == 1 else 'rgb', resize='letterbox', border=_BORDER,
                      size=_size(network, given))
    if given.input.scale is given.input.mean is given.input.std is None:  # they belong together
        highest = 2 ** (given.input.depth or 8) - 1
        fed = replace(fed, scale=1 / highest, mean=(0.0,) * channels, std=(1.0,) * channels)
    return ModelConfig(fed, classes=ClassesConfig(labels=_labels(network)))


def exported_class_count(network: Network) -> int | None:
    """Return the number of classes in the metadata; None for other exporters."""
    return len(_names(network)) or None


def _is_ultralytics(network: Network) -> bool:
    metadata = network.metadata
    return metadata.get('author') == _AUTHOR and {'task', 'names', 'imgsz'} <= metadata.keys()


def _channels(network: Network) -> int:
    """1 for a gray network, else 3."""
    shape = network.inputs[0].shape if network.inputs else None
    return 1 if shape is not None and len(shape) == 4 and shape[1] == 1 else 3


def _size(network: Network, given: ModelConfig) -> tuple[int, int] | None:
    """The size in the metadata, if the size in the graph is dynamic."""
    if given.input.resize == 'none' or not network.inputs or \
            None not in (network.inputs[0].shape or ())[1:]:
        return None
    size = _literal(network.metadata['imgsz'])
    if isinstance(size, list) and len(size) == 2 and all(
            isinstance(extent, int) and extent > 0 for extent in size):
        return size[0], size[1]
    return None


def _labels(network: Network) -> tuple[str, ...] | None:
    """The mask's labels; a single class gets the label background before it."""
    names = _names(network)
    if len(names) == 1:
        names = 'background', *names
    return names if names and len(set(names)) == len(names) else None


def _names(network: Network) -> tuple[str, ...]:
    """Names by id; empty if the metadata has no valid ones."""
    if not _is_ultralytics(network):
        return ()
    names = _literal(network.metadata['names'])
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or list(names) != list(range(len(names))):
        return ()
    return tuple(str(name) for name in names.values())


def _literal(text: str) -> object:
    """The value of a Python literal; None if the text is no literal."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
