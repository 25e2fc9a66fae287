# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What Ultralytics' exporter writes beside a network: task, class names and image size.

``ultralytics/engine/exporter.py`` writes them as metadata_props; how such networks are fed is in
``engine/predictor.py`` (RGB, pixel / 255) and in ``LetterBox`` of ``data/augment.py`` (centred,
on 114). Nothing of it is imported here.
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


def exporter_config(network: Network, told: ModelConfig) -> ModelConfig:
    """Return what the exporter says of a network; an empty config of one from elsewhere.

    Args:
        network: its input and its metadata are looked at.
        told: what is known already; what would contradict it is left out.

    Raises:
        ModelError: it is for a task that gives no mask, and nobody told what its output is.
    """
    if not _is_ultralytics(network):
        return ModelConfig()
    task = network.metadata['task']
    if task not in _TASKS and all(each.output.kind is None for each in told.tasks):
        gives = f', which gives {_GIVES[task]}' if task in _GIVES else ''
        raise ModelError(f"{network.source}: is an Ultralytics network for the task '{task}'"
                         f'{gives} and no class for each pixel; export one for segment '
                         "(such as yolo11n-seg.pt) or semantic (such as yolo26n-sem.pt)")
    channels = _channels(network)
    fed = InputConfig('gray' if channels == 1 else 'rgb', resize='letterbox', border=_BORDER,
                      size=_size(network, told))
    if told.input.scale is told.input.mean is told.input.std is None:  # they belong together
        highest = 2 ** (told.input.depth or 8) - 1
        fed = replace(fed, scale=1 / highest, mean=(0.0,) * channels, std=(1.0,) * channels)
    return ModelConfig(fed, classes=ClassesConfig(labels=_labels(network)))


def exported_class_count(network: Network) -> int | None:
    """Return how many classes the exporter says; None of a network from elsewhere."""
    return len(_names(network)) or None


def _is_ultralytics(network: Network) -> bool:
    metadata = network.metadata
    return metadata.get('author') == _AUTHOR and {'task', 'names', 'imgsz'} <= metadata.keys()


def _channels(network: Network) -> int:
    """1 for a network that was trained on gray images, else 3."""
    shape = network.inputs[0].shape if network.inputs else None
    return 1 if shape is not None and len(shape) == 4 and shape[1] == 1 else 3


def _size(network: Network, told: ModelConfig) -> tuple[int, int] | None:
    """The size it was exported for, where the graph leaves it open."""
    if told.input.resize == 'none' or not network.inputs or \
            None not in (network.inputs[0].shape or ())[1:]:
        return None
    size = _literal(network.metadata['imgsz'])
    if isinstance(size, list) and len(size) == 2 and all(
            isinstance(extent, int) and extent > 0 for extent in size):
        return size[0], size[1]
    return None


def _labels(network: Network) -> tuple[str, ...] | None:
    """The mask's labels; of one class, what is not it is background."""
    names = _names(network)
    if len(names) == 1:
        names = 'background', *names
    return names if names and len(set(names)) == len(names) else None


def _names(network: Network) -> tuple[str, ...]:
    """Names by id; none where the metadata has none that are understood."""
    if not _is_ultralytics(network):
        return ()
    names = _literal(network.metadata['names'])
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or list(names) != list(range(len(names))):
        return ()
    return tuple(str(name) for name in names.values())


def _literal(text: str) -> object:
    """What a Python literal says; None where it is none."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
