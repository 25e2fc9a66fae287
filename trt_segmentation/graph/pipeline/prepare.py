# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Head, network and tail as one graph: everything between camera bytes and mask bytes.

For its inputs and outputs, see ``graph.pipeline.tensors``.
"""

from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from trt_segmentation.errors import ConfigError, ModelError
from trt_segmentation.graph.onnx_tools.assembly import (
    assemble,
    empty_model,
    needed_nodes,
    with_prefix,
)
from trt_segmentation.graph.onnx_tools.graph_builder import GraphBuilder
from trt_segmentation.graph.onnx_tools.network import casts_its_input
from trt_segmentation.graph.pipeline.head import Gray, add_head, add_letterbox_window
from trt_segmentation.graph.pipeline.output_names import (
    INSTANCE_OUTPUTS,
    OUTPUTS,
    joined,
    kind_of,
)
from trt_segmentation.graph.pipeline.task_tail import add_task_tail
from trt_segmentation.graph.pipeline.tensors import (
    NETWORK_PREFIX,
    graph_inputs,
    graph_outputs,
    network_outputs,
    scores_between,
    scores_names,
    shuffle_of,
    tail_prefix,
)
from trt_segmentation.graph.reading.batch import batched
from trt_segmentation.graph.reading.resolve import ModelSpec

MASK_INTERPOLATIONS = ('nearest', 'bilinear')


@dataclass(frozen=True)
class PreparedGraph:
    """A prepared graph.

    Attributes:
        model: the ONNX model; see ``graph.pipeline.tensors`` for its inputs and outputs.
        spec: the network that head and tail were built for.
        outputs: names of its outputs.
    """

    model: onnx.ModelProto
    spec: ModelSpec
    outputs: tuple[str, ...]


def available_outputs(spec: ModelSpec) -> tuple[str, ...]:
    """Return the outputs that a network can give; one that outputs ids has no confidence, and
    only those of instances and queries have ``INSTANCE_OUTPUTS``, see ``RunOptions.instances``."""
    return tuple(joined(task.name, name) for task in spec.tasks for name in OUTPUTS
                 if (name != 'confidence' or task.kind != 'ids')
                 and (name not in INSTANCE_OUTPUTS or task.instances))


def named_outputs(spec: ModelSpec, outputs: tuple[str, ...]) -> tuple[str, ...]:
    """Return full output names: 'mask' becomes the mask of each task.

    Args:
        spec: the network.
        outputs: some of ``available_outputs``, with or without the task. Unknown names are
            returned unchanged.
    """
    available = available_outputs(spec)
    return tuple(dict.fromkeys(
        full for name in outputs
        for full in [each for each in available if name in (each, kind_of(each))] or [name]))


def check_outputs(spec: ModelSpec, outputs: tuple[str, ...]) -> None:
    """Check that a network can give the requested outputs.

    Raises:
        ModelError: it cannot give one of the outputs, or none is requested.
    """
    possible = available_outputs(spec)
    if impossible := [name for name in outputs if name not in possible]:
        kinds = ' and '.join(dict.fromkeys(task.kind for task in spec.tasks))
        names = ', '.join(map(str, impossible))
        raise ModelError(f'{spec.network.source}: cannot give {names}; a network whose output is '
                         f'{kinds} gives {", ".join(possible)}')
    if not outputs:
        raise ModelError(f'{spec.network.source}: no output was requested; it gives '
                         f'{", ".join(possible)}')


def prepare(spec: ModelSpec, outputs: tuple[str, ...] | None = None, *,
            mask_interpolation: str = 'nearest', for_cpu: bool = False) -> PreparedGraph:
    """Build the prepared graph.

    Args:
        spec: the network and its resolved config.
        outputs: which outputs to give, some of ``available_outputs(spec)``; None gives all.
        mask_interpolation: 'nearest' decides classes at the network's size and resizes them;
            'bilinear' resizes the scores and decides at the camera's size, which gives smoother
            edges and takes much more time. Class ids are always resized by 'nearest'.
        for_cpu: whether the graph is for ONNX Runtime on a CPU; else it is for TensorRT. Both
            give the same bytes, except for ties in the overlay's rounding.

    Raises:
        ModelError: the network cannot give a requested output.
        ConfigError: there is no such interpolation.
    """
    outputs = available_outputs(spec) if outputs is None else outputs
    check_outputs(spec, outputs)
    # TensorRT does not compute in integers of 8 and 16 bits.
    wide = not for_cpu and casts_its_input(spec.network)
    head, tail = _head_and_tail(spec, outputs, mask_interpolation, for_cpu, wide=wide)
    network = with_prefix(batched(spec.network.model, spec.batch), NETWORK_PREFIX)
    if wide:
        del network.graph.value_info[:]  # with the network's own type of the image
    results = graph_outputs(spec, outputs)
    model = assemble(network, [*head.nodes, *network.graph.node,
                               *needed_nodes(tail.nodes, results)],
                     [*head.constants, *tail.constants], results, graph_inputs(spec))
    return PreparedGraph(model, spec, outputs)


def prepare_head(spec: ModelSpec) -> onnx.ModelProto:
    """Build the head only: ``image`` and ``channels`` to the network's input.

    The name of its output is ``NETWORK_PREFIX`` and the name of the network's input.
    """
    info = spec.network.inputs[0]
    head, _ = _head_and_tail(spec, (), 'nearest', False)
    fed = helper.make_tensor_value_info(NETWORK_PREFIX + info.name, info.dtype, info.shape)
    return assemble(empty_model(spec.network.opset), head.nodes, head.constants, [fed],
                    graph_inputs(spec))


def prepare_tail(spec: ModelSpec, outputs: tuple[str, ...] | None = None, *,
                 mask_interpolation: str = 'nearest') -> onnx.ModelProto:
    """Build the tail only: from the network's output to the requested outputs.

    Its inputs are the network's output, named ``NETWORK_PREFIX`` and the name in the network, and
    ``image``; see ``graph.pipeline.tensors`` for its other inputs and its outputs.

    Args:
        spec, outputs, mask_interpolation: see ``prepare``.

    Raises:
        ModelError, ConfigError: see ``prepare``.
    """
    outputs = available_outputs(spec) if outputs is None else outputs
    check_outputs(spec, outputs)
    head, tail = _head_and_tail(spec, outputs, mask_interpolation, False)
    results = graph_outputs(spec, outputs)
    return assemble(empty_model(spec.network.opset),
                    needed_nodes([*head.nodes, *tail.nodes], results),
                    [*head.constants, *tail.constants], results,
                    [*graph_inputs(spec), *network_outputs(spec)])


def prepare_network(spec: ModelSpec) -> onnx.ModelProto:
    """Build head and network without a tail: ``image`` and ``channels`` to ``scores_names``.

    Together with ``prepare_outputs`` it replaces ``prepare`` by two graphs. This one has the
    weights and does not depend on the requested outputs. A last DepthToSpace is part of the other
    graph; see ``shuffled_scores``.
    """
    head, tail = _head_and_tail(spec, available_outputs(spec), 'nearest', True, split=True)
    network = with_prefix(batched(spec.network.model, spec.batch), NETWORK_PREFIX)
    scores = scores_names(spec)
    casts = [node for node in tail.nodes if node.output[0] in scores]
    moved = {NETWORK_PREFIX + task.scores.name for task in spec.tasks if shuffle_of(spec, task)}
    nodes = [node for node in network.graph.node if moved.isdisjoint(node.output)]
    return assemble(network, [*head.nodes, *nodes, *casts], head.constants,
                    scores_between(spec), graph_inputs(spec))


def prepare_outputs(spec: ModelSpec, outputs: tuple[str, ...], *,
                    mask_interpolation: str = 'nearest', for_cpu: bool = False,
                    ) -> onnx.ModelProto:
    """Build the tail: from ``scores_names`` and ``image`` to the requested outputs.

    Args:
        spec: that of ``prepare_network``.
        outputs, mask_interpolation, for_cpu: see ``prepare``.

    Raises:
        ModelError, ConfigError: see ``prepare``.
    """
    check_outputs(spec, outputs)
    head, tail = _head_and_tail(spec, outputs, mask_interpolation, for_cpu, split=True)
    scores = scores_names(spec)
    nodes = [node for node in (*head.nodes, *tail.nodes) if node.output[0] not in scores]
    results = graph_outputs(spec, outputs, open_states=True)
    return assemble(empty_model(spec.network.opset), needed_nodes(nodes, results),
                    [*head.constants, *tail.constants], results,
                    [*graph_inputs(spec, open_states=True), *scores_between(spec)])


@dataclass(frozen=True)
class _Part:
    """Nodes, and the constants that they use."""

    nodes: list[onnx.NodeProto]
    constants: list[onnx.TensorProto]


def _head_and_tail(spec: ModelSpec, outputs: tuple[str, ...], mask_interpolation: str,
                   for_cpu: bool, *, wide: bool = False, split: bool = False,
                   ) -> tuple[GraphBuilder, _Part]:
    """Return the head, and the tails of the tasks with requested outputs.

    ``wide`` is that of ``add_head``; ``split`` is for tails in another graph than the network;
    they read ``scores_names``.
    """
    if mask_interpolation not in MASK_INTERPOLATIONS:
        raise ConfigError(f"mask_interpolation is '{mask_interpolation}'; it is one of "
                          f'{", ".join(MASK_INTERPOLATIONS)}')
    head = GraphBuilder('head/', spec.network.opset, for_cpu)
    # TensorRT needs the cast as the first node.
    source = 'image' if for_cpu else head.cast('image', TensorProto.FLOAT)
    window = None
    if spec.resize == 'letterbox' and spec.size is not None:
        window = add_letterbox_window(head, source, spec.size)
    gray = Gray(head.size(source, 3), spec.depth) if spec.gray_bits else None
    add_head(head, source, 'channels', NETWORK_PREFIX + spec.network.inputs[0].name,
             size=spec.size, window=window, scale=spec.scale, mean=spec.mean, std=spec.std,
             border=spec.border, layout=spec.input_layout, dtype=spec.network.inputs[0].dtype,
             wide=wide, batch=spec.batch, gray=gray)
    tails = []
    for task in spec.tasks:
        names = {name: joined(task.name, name) for name in OUTPUTS}
        tail = GraphBuilder(tail_prefix(task), spec.network.opset, for_cpu)
        if wanted := {name: full for name, full in names.items() if full in outputs}:
            shuffle = shuffle_of(spec, task) if split else None
            add_task_tail(tail, spec, task, wanted, source, window, mask_interpolation, shuffle)
        tails.append(tail)
    return head, _Part([node for tail in tails for node in tail.nodes],
                       [constant for tail in tails for constant in tail.constants])
