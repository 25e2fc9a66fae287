# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The inputs and outputs of a prepared graph, and the tensors between its parts:

===============  ===========================  ==========================================
``image``        uint8 [N, H, W, 3]           the cameras' pixels, any size, equal for all
``channels``     int32 [3]                    source channel of network channel 0, 1, 2
``palette``      uint8 [256, 3]               class colours, in the image's channel order
``alpha``        float32 []                   overlay opacity, 0..1
``mask``         uint8 [N, H, W]              class ids, 255 for a pixel without a class
``confidence``   uint8 [N, H, W]              0..255; absent if the network gives ids only
``overlay``      uint8 [N, H, W, 3]           image and colours blended
``instances``    uint8 [N, H, W, 2]           instance ids, 0 without one: low byte, high byte
``detections``   float32 [N, K, 6]            see ``graph.pipeline.instance_outputs``
===============  ===========================  ==========================================

In a network with several tasks, each task has its own palette and outputs, such as
``lanes/palette`` and ``lanes/mask``; see ``graph.pipeline.output_names``.

N is the spec's ``batch``, 1 for one camera. For a network of one channel, ``image`` is uint8
[N, H, W, bands] with 1, 2 or 3 bands (see ``images.gray``), which can change with each run. If the
spec has a ``mask_size``, it is H and W of mask and confidence. With an ``overlay_scale`` of 0.5,
H and W of the overlay are half of the image's, see ``graph.pipeline.overlay_scale``. If its
encoding is mono16, the mask is [N, H, W, 2], the low and the high byte of each id, and the palette
is [65536, 3].

With temporal smoothing, there are also ``smoothing``, and ``previous`` and ``state`` of each task;
see ``graph.pipeline.smoothing``.
"""

from dataclasses import replace

import onnx
from onnx import TensorProto, helper

from trt_segmentation.errors import ConfigError
from trt_segmentation.graph.pipeline.output_names import (
    DETECTION_VALUES,
    joined,
    kind_of,
    split,
)
from trt_segmentation.graph.pipeline.shuffled_scores import Shuffle, find_shuffle
from trt_segmentation.graph.pipeline.smoothing import PREVIOUS, STATE, WEIGHT, SmoothingNames
from trt_segmentation.graph.reading.dual_outputs import task_prefix
from trt_segmentation.graph.reading.resolve import ModelSpec, TaskSpec

NETWORK_PREFIX = 'network/'
"""Of the names of a network's tensors in a prepared graph."""


def graph_inputs(spec: ModelSpec, open_states: bool = False) -> list[onnx.ValueInfoProto]:
    """Describe all inputs; ``open_states`` leaves height and width of smoothing's states open."""
    described: dict[str, tuple[int, list]] = {
        'image': (TensorProto.UINT8, [spec.batch, 'height', 'width',
                                      'bands' if spec.gray_bits else 3]),
        'channels': (TensorProto.INT32, [3]),
        **{joined(task.name, 'palette'): (TensorProto.UINT8, [spec.encoding.unlabelled + 1, 3])
           for task in spec.tasks},
        'alpha': (TensorProto.FLOAT, []), WEIGHT: (TensorProto.FLOAT, [])}
    values = [helper.make_tensor_value_info(name, *each) for name, each in described.items()]
    return values + [_state_value(spec, task, smoothing_names(task).previous, open_states)
                     for task in spec.tasks if is_smoothed(spec, task)]


def graph_outputs(spec: ModelSpec, names: tuple[str, ...], open_states: bool = False,
                  ) -> list[onnx.ValueInfoProto]:
    """Describe the outputs of these names, and the states of their tasks; ``open_states`` as of
    ``graph_inputs``."""
    of_image = [spec.batch, 'height', 'width']
    of_mask = of_image if spec.mask_size is None else [spec.batch, *spec.mask_size]
    planes = [spec.encoding.planes] if spec.encoding.planes > 1 else []
    of_overlay = of_image if spec.overlay_scale == 1 else \
        [spec.batch, 'overlay_height', 'overlay_width']
    shapes = {'mask': [*of_mask, *planes], 'confidence': of_mask, 'overlay': [*of_overlay, 3],
              'instances': [*of_mask, 2]}

    def described(name: str) -> onnx.ValueInfoProto:
        if kind_of(name) != 'detections':
            return helper.make_tensor_value_info(name, TensorProto.UINT8, shapes[kind_of(name)])
        rows = spec.detections(split(name)[0])
        return helper.make_tensor_value_info(name, TensorProto.FLOAT,
                                             [spec.batch, rows, DETECTION_VALUES])

    requested = {split(name)[0] for name in names}
    states = [_state_value(spec, task, smoothing_names(task).state, open_states)
              for task in spec.tasks if task.name in requested and is_smoothed(spec, task)]
    return [*(described(name) for name in names), *states]


def scores_names(spec: ModelSpec) -> tuple[str, ...]:
    """Return the tensors that ``prepare_network`` outputs and ``prepare_outputs`` reads: scores
    as float32, or class ids in the network's type."""
    return tuple(value.name for value in scores_between(spec))


def scores_between(spec: ModelSpec) -> list[onnx.ValueInfoProto]:
    """Describe the tensors between ``prepare_network`` and ``prepare_outputs``, of open size."""
    ranks = {info.name: len(info.shape or ()) for info in spec.network.outputs}
    values = {}  # by name, since two tasks may read the same tensor
    for task in spec.tasks:
        scores, name = task.scores, _score_between(spec, task)
        is_cast = name == float_scores(task)
        values[name] = helper.make_tensor_value_info(
            name, TensorProto.FLOAT if is_cast else scores.dtype, [None] * ranks[scores.name])
    read = {name for task in spec.tasks for name in _instance_names(task)}
    return [*values.values(),
            *(helper.make_tensor_value_info(NETWORK_PREFIX + info.name, info.dtype,
                                            [None] * ranks[info.name])
              for info in spec.network.outputs if info.name in read)]


def network_outputs(spec: ModelSpec) -> list[onnx.ValueInfoProto]:
    """Describe the network's outputs that the tails read."""
    read = {task.scores.name for task in spec.tasks}.union(*map(_instance_names, spec.tasks))
    return [helper.make_tensor_value_info(NETWORK_PREFIX + info.name, info.dtype, info.shape)
            for info in spec.network.outputs if info.name in read]


def states_of_scores(spec: ModelSpec) -> dict[tuple[str, str], str]:
    """Return, for the input and the output of each state of temporal smoothing, which of
    ``scores_names`` has the same shape; empty without smoothing."""
    found = {}
    for task in spec.tasks:
        if is_smoothed(spec, task):
            names = smoothing_names(task)
            found[names.previous, names.state] = _score_between(spec, task)
    return found


def check_states(spec: ModelSpec) -> None:
    """Check that the size of each state of temporal smoothing is known before the network runs,
    which TensorRT needs to build an engine.

    Raises:
        ConfigError: it depends on the image.
    """
    for task in spec.tasks:
        if is_smoothed(spec, task) and None in _state_shape(spec, task)[1:]:
            raise ConfigError(
                f"{spec.network.source}: the size of output '{task.scores.name}' depends on the "
                'image, so TensorRT cannot build temporal smoothing into an engine; set '
                'input.size and input.resize in the model config, use backend onnxruntime, or '
                'open it without smoothing', settings=['temporal_smoothing'])


def is_smoothed(spec: ModelSpec, task: TaskSpec) -> bool:
    """Return whether temporal smoothing applies to a task: to scores, not to ids."""
    return spec.smoothing and task.kind != 'ids'


def smoothing_names(task: TaskSpec) -> SmoothingNames:
    """Return the names of a task's states."""
    return SmoothingNames(joined(task.name, PREVIOUS), joined(task.name, STATE))


def tail_prefix(task: TaskSpec) -> str:
    """Return the prefix of the names in a task's tail."""
    return task_prefix('tail/', task.name)


def float_scores(task: TaskSpec) -> str:
    """Return the name of the scores after their cast to float32. ``prepare_network`` has this
    cast, since ONNX Runtime does not round between the network's last node and a cast in the same
    graph."""
    return f'{tail_prefix(task)}scores'


def shuffle_of(spec: ModelSpec, task: TaskSpec) -> Shuffle | None:
    """Return the network's last node if it is part of the tail of ``prepare_outputs``."""
    if task.kind == 'ids' or spec.smoothing or any(each.instances for each in spec.tasks):
        return None
    found = find_shuffle(spec.network.model, task.scores)
    return found and replace(found, source=NETWORK_PREFIX + found.source)


def _instance_names(task: TaskSpec) -> tuple[str, ...]:
    """The network's outputs that a tail reads for instances."""
    return (task.instances.places, task.instances.found) if task.instances else ()


def _score_between(spec: ModelSpec, task: TaskSpec) -> str:
    if shuffle := shuffle_of(spec, task):
        return shuffle.source
    is_cast = task.kind != 'ids' and task.scores.dtype != TensorProto.FLOAT
    return float_scores(task) if is_cast else NETWORK_PREFIX + task.scores.name


def _state_value(spec: ModelSpec, task: TaskSpec, name: str, is_open: bool,
                 ) -> onnx.ValueInfoProto:
    """Describe a state, which has the shape of the scores; ``is_open`` leaves height and width
    open."""
    shape = _state_shape(spec, task)
    if is_open:
        shape = [None] * len(shape)
    shape[0], shape[task.scores.channel_axis] = spec.batch, task.scores.channels
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _state_shape(spec: ModelSpec, task: TaskSpec) -> list[int | None]:
    """The shape of the scores of one image; None for extents that depend on the image."""
    shapes = {info.name: info.shape for info in spec.network.outputs}
    return list(shapes[task.scores.name] or [None] * 4)
