# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Head, network and tail as one graph: everything between camera bytes and mask bytes.

The prepared graph's tensors:

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

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

import onnx
from onnx import TensorProto, compose, helper

from trt_segmentation.classes.mask_ids import MaskIds, mask_ids_of
from trt_segmentation.errors import ConfigError, ModelError
from trt_segmentation.graph.onnx_tools.graph_builder import GraphBuilder
from trt_segmentation.graph.pipeline.head import (
    Gray,
    Window,
    add_head,
    add_is_wide,
    add_letterbox_window,
)
from trt_segmentation.graph.pipeline.instance_outputs import Fit, add_instances, named_in_graph
from trt_segmentation.graph.pipeline.output_names import (
    DETECTION_VALUES,
    INSTANCE_OUTPUTS,
    OUTPUTS,
    joined,
    kind_of,
    split,
)
from trt_segmentation.graph.pipeline.overlay_scale import add_half_extents, add_halved
from trt_segmentation.graph.pipeline.smoothing import (
    PREVIOUS,
    STATE,
    WEIGHT,
    SmoothingNames,
    add_smoothing,
)
from trt_segmentation.graph.pipeline.tail import (
    Decision,
    DecisionRule,
    NearestIndex,
    Painter,
    add_cropped_scores,
    add_decision,
    add_finite_scores,
    add_nearest_index,
    add_resized_scores,
)
from trt_segmentation.graph.reading.batch import batched
from trt_segmentation.graph.reading.dual_outputs import task_prefix
from trt_segmentation.graph.reading.resolve import ModelSpec, TaskSpec
from trt_segmentation.graph.reading.scores import Scores

NETWORK_PREFIX = 'network/'
MASK_INTERPOLATIONS = ('nearest', 'bilinear')


@dataclass(frozen=True)
class PreparedGraph:
    """A prepared graph and the arguments of ``prepare``.

    Attributes:
        model: the ONNX model; see the module for its inputs and outputs.
        spec: the network that head and tail were built for.
        outputs: names of its outputs.
        mask_interpolation, for_cpu: see ``prepare``.
    """

    model: onnx.ModelProto
    spec: ModelSpec
    outputs: tuple[str, ...]
    mask_interpolation: str
    for_cpu: bool


def available_outputs(spec: ModelSpec) -> tuple[str, ...]:
    """Return the outputs that a network can give; one that outputs ids has no confidence, and
    only one of instances has those of ``INSTANCE_OUTPUTS``, see ``RunOptions.instances``."""
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
        raise ModelError(f'{spec.network.source}: cannot give {", ".join(impossible)}; a network '
                         f'whose output is {kinds} gives {", ".join(possible)}')
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
    head, tail = _head_and_tail(spec, outputs, mask_interpolation, for_cpu)
    network = _prefixed(batched(spec.network.model, spec.batch))
    results = _outputs(spec, outputs)
    model = _assemble(network, [*head.nodes, *network.graph.node,
                                *_needed_nodes(tail.nodes, results)],
                      [*head.constants, *tail.constants], results, _inputs(spec))
    return PreparedGraph(model, spec, outputs, mask_interpolation, for_cpu)


def prepare_head(spec: ModelSpec) -> onnx.ModelProto:
    """Build the head only: ``image`` and ``channels`` to the network's input.

    The name of its output is ``NETWORK_PREFIX`` and the name of the network's input.
    """
    info = spec.network.inputs[0]
    head, _ = _head_and_tail(spec, (), 'nearest', False)
    fed = helper.make_tensor_value_info(NETWORK_PREFIX + info.name, info.dtype, info.shape)
    return _assemble(_blank(spec), head.nodes, head.constants, [fed], _inputs(spec))


def prepare_tail(spec: ModelSpec, outputs: tuple[str, ...] | None = None, *,
                 mask_interpolation: str = 'nearest') -> onnx.ModelProto:
    """Build the tail only: from the network's output to the requested outputs.

    Its inputs are the network's output, named ``NETWORK_PREFIX`` and the name in the network, and
    ``image``; see the module for its other inputs and its outputs.

    Args:
        spec, outputs, mask_interpolation: see ``prepare``.

    Raises:
        ModelError, ConfigError: see ``prepare``.
    """
    outputs = available_outputs(spec) if outputs is None else outputs
    check_outputs(spec, outputs)
    head, tail = _head_and_tail(spec, outputs, mask_interpolation, False)
    results = _outputs(spec, outputs)
    return _assemble(_blank(spec), _needed_nodes([*head.nodes, *tail.nodes], results),
                     [*head.constants, *tail.constants], results,
                     [*_inputs(spec), *_score_values(spec)])


def scores_names(spec: ModelSpec) -> tuple[str, ...]:
    """Return the tensors that ``prepare_network`` outputs and ``prepare_outputs`` reads: scores
    as float32, or class ids in the network's type."""
    return tuple(value.name for value in _scores_between(spec))


def states_of_scores(spec: ModelSpec) -> dict[tuple[str, str], str]:
    """Return, for the input and the output of each state of temporal smoothing, which of
    ``scores_names`` has the same shape; empty without smoothing."""
    found = {}
    for task in spec.tasks:
        if _is_smoothed(spec, task):
            names = _smoothing_names(task)
            found[names.previous, names.state] = _score_between(task)
    return found


def prepare_network(spec: ModelSpec) -> onnx.ModelProto:
    """Build head and network without a tail: ``image`` and ``channels`` to ``scores_names``.

    Together with ``prepare_outputs`` it replaces ``prepare`` by two graphs. This one has the
    weights and does not depend on the requested outputs.
    """
    head, tail = _head_and_tail(spec, available_outputs(spec), 'nearest', True)
    network, scores = _prefixed(batched(spec.network.model, spec.batch)), scores_names(spec)
    casts = [node for node in tail.nodes if node.output[0] in scores]
    return _assemble(network, [*head.nodes, *network.graph.node, *casts], head.constants,
                     _scores_between(spec), _inputs(spec))


def prepare_outputs(spec: ModelSpec, outputs: tuple[str, ...], *,
                    mask_interpolation: str = 'nearest', for_cpu: bool = False,
                    ) -> onnx.ModelProto:
    """Build the tail: from ``scores_names`` and ``image`` to the requested outputs.

    Args:
        spec: its network may be an outline.
        outputs, mask_interpolation, for_cpu: see ``prepare``.

    Raises:
        ModelError, ConfigError: see ``prepare``.
    """
    check_outputs(spec, outputs)
    head, tail = _head_and_tail(spec, outputs, mask_interpolation, for_cpu)
    scores = scores_names(spec)
    nodes = [node for node in (*head.nodes, *tail.nodes) if node.output[0] not in scores]
    results = _outputs(spec, outputs, open_states=True)
    return _assemble(_blank(spec), _needed_nodes(nodes, results),
                     [*head.constants, *tail.constants], results,
                     [*_inputs(spec, open_states=True), *_scores_between(spec)])


@dataclass(frozen=True)
class _Part:
    """Nodes, and the constants that they use."""

    nodes: list[onnx.NodeProto]
    constants: list[onnx.TensorProto]


def _head_and_tail(spec: ModelSpec, outputs: tuple[str, ...], mask_interpolation: str,
                   for_cpu: bool) -> tuple[GraphBuilder, _Part]:
    """Return the head, and the tails of the tasks with requested outputs."""
    if mask_interpolation not in MASK_INTERPOLATIONS:
        raise ConfigError(f"mask_interpolation is '{mask_interpolation}'; it is one of "
                          f'{", ".join(MASK_INTERPOLATIONS)}')
    head = GraphBuilder('head/', spec.network.opset)
    source = head.cast('image', TensorProto.FLOAT)
    sized = 'image' if for_cpu else source  # TensorRT needs the cast as the first node
    window = None
    if spec.resize == 'letterbox' and spec.size is not None:
        window = add_letterbox_window(head, sized, spec.size)
    gray = Gray(head.size(sized, 3), spec.depth) if spec.gray_bits else None
    add_head(head, source, 'channels', NETWORK_PREFIX + spec.network.inputs[0].name,
             size=spec.size, window=window, scale=spec.scale, mean=spec.mean, std=spec.std,
             border=spec.border, layout=spec.input_layout, dtype=spec.network.inputs[0].dtype,
             batch=spec.batch, gray=gray)
    tails = []
    for task in spec.tasks:
        names = {name: joined(task.name, name) for name in OUTPUTS}
        tail = GraphBuilder(_tail_prefix(task), spec.network.opset, for_cpu)
        if wanted := {name: full for name, full in names.items() if full in outputs}:
            _add_tail(tail, spec, task, wanted, source, sized, window, mask_interpolation)
        tails.append(tail)
    return head, _Part([node for tail in tails for node in tail.nodes],
                       [constant for tail in tails for constant in tail.constants])


def _is_smoothed(spec: ModelSpec, task: TaskSpec) -> bool:
    return spec.smoothing and task.kind != 'ids'


def _smoothing_names(task: TaskSpec) -> SmoothingNames:
    return SmoothingNames(joined(task.name, PREVIOUS), joined(task.name, STATE))


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


def check_states(spec: ModelSpec) -> None:
    """Check that the size of each state of temporal smoothing is known before the network runs,
    which TensorRT needs to build an engine.

    Raises:
        ConfigError: it depends on the image.
    """
    for task in spec.tasks:
        if _is_smoothed(spec, task) and None in _state_shape(spec, task)[1:]:
            raise ConfigError(
                f"{spec.network.source}: the size of output '{task.scores.name}' depends on the "
                'image, so TensorRT cannot build temporal smoothing into an engine; set '
                'input.size and input.resize in the model config, use backend onnxruntime, or '
                'open it without smoothing', settings=['temporal_smoothing'])


def _tail_prefix(task: TaskSpec) -> str:
    return task_prefix('tail/', task.name)


def _add_tail(tail: GraphBuilder, spec: ModelSpec, task: TaskSpec, outputs: Mapping[str, str],
              source: str, sized: str, window: Window | None, mask_interpolation: str) -> None:
    """Add a task's outputs.

    Args:
        outputs: the full names of the requested ones, by their names in ``OUTPUTS``.
    """
    scores = replace(task.scores, name=NETWORK_PREFIX + task.scores.name)
    if task.kind != 'ids' and not (tail.for_cpu and scores.dtype == TensorProto.FLOAT):
        scores = replace(scores, name=tail('Cast', scores.name, to=TensorProto.FLOAT,
                                           output=_float_scores(task)))
    if _is_smoothed(spec, task):
        scores = add_smoothing(tail, scores, task.kind, _smoothing_names(task))
        task = replace(task, kind='sigmoid' if task.kind == 'sigmoid' else 'probabilities')
    of_image = tail.size(sized, 1), tail.size(sized, 2)
    of_mask = _extents(tail, spec.mask_size) or of_image
    decide = _decide_on_resized_scores if mask_interpolation == 'bilinear' \
        and task.kind != 'ids' else _decide_at_network_size
    if decide is _decide_on_resized_scores or task.align_corners:
        scores = add_finite_scores(tail, scores)
    if task.align_corners or (decide is _decide_on_resized_scores and window is not None):
        scores = add_resized_scores(tail, scores, _extents(tail, spec.size) or of_image,
                                    align_corners=task.align_corners, batch=spec.batch)
    decision, nearest = decide(tail, spec, task, scores, of_mask, window)
    mask_ids = _mask_ids(spec, task)
    painter = Painter(tail, nearest, mask_ids)
    if 'mask' in outputs:
        painter.paint_classes(decision, outputs['mask'])
    if 'confidence' in outputs:
        painter.paint_confidence(decision, outputs['confidence'])
    if task.instances and not outputs.keys().isdisjoint(INSTANCE_OUTPUTS):
        tensors = named_in_graph(task.instances, NETWORK_PREFIX)
        cells = add_nearest_index(tail, tail.squeeze(tensors.places, 1), of_mask, window,
                                  spec.size, _letterbox_scale(spec, task))
        add_instances(tail, tensors, outputs, Fit(of_image, spec.size, window), cells, mask_ids,
                      task.threshold, first_class=int(task.scores.channels == 1))
    if 'overlay' in outputs:
        of_overlay, image = of_image, 'image'
        if spec.overlay_scale != 1:
            of_overlay = add_half_extents(tail, of_image)
            image = source = sized = add_halved(tail, sized, of_image, of_overlay)
        if of_mask != of_overlay:
            decision, nearest = decide(tail, spec, task, scores, of_overlay, window)
        painter = Painter(tail, nearest, mask_ids)
        if spec.gray_bits:
            image = source = _add_visible_bands(tail, sized)
        painter.paint_overlay(decision, image, source, joined(task.name, 'palette'), 'alpha',
                              outputs['overlay'])


def _add_visible_bands(tail: GraphBuilder, image: str) -> str:
    """Return the visible bands of [N, H, W, bands]: all three, or the last one in their place."""
    bands = tail.size(image, 3)
    seen = tail('Slice', image, add_is_wide(tail, bands), bands, tail.ints(3))
    if not tail.for_cpu:
        return seen  # [N, H, W, 1] for 1 or 2 bands
    # ONNX Runtime takes three times as long to add one channel to three by broadcasting.
    return tail.columns(tail('Concat', seen, seen, seen, axis=3), 0, 3)


def _extents(tail: GraphBuilder, size: tuple[int, int] | None) -> tuple[str, str] | None:
    return None if size is None else (tail.ints(size[0]), tail.ints(size[1]))


def _mask_ids(spec: ModelSpec, task: TaskSpec) -> MaskIds:
    channels = None if task.kind == 'ids' else max(task.scores.channels, 2)
    return mask_ids_of(spec.encoding, task.merge, channels)


def _rule(spec: ModelSpec, task: TaskSpec) -> DecisionRule:
    return DecisionRule(task.kind, task.threshold, task.unlabelled,
                        _mask_ids(spec, task).no_class)


def _decide_on_resized_scores(
        tail: GraphBuilder, spec: ModelSpec, task: TaskSpec, scores: Scores,
        extents: tuple[str, str], window: Window | None) -> tuple[Decision, NearestIndex | None]:
    if window is not None:  # the scores have the size of the network's input
        scores = add_cropped_scores(tail, scores, window)
    scores = add_resized_scores(tail, scores, extents, batch=spec.batch)
    return add_decision(tail, scores, _rule(spec, task)), None


def _decide_at_network_size(
        tail: GraphBuilder, spec: ModelSpec, task: TaskSpec, scores: Scores,
        extents: tuple[str, str], window: Window | None) -> tuple[Decision, NearestIndex | None]:
    decision = add_decision(tail, scores, _rule(spec, task))
    return decision, add_nearest_index(tail, decision.classes, extents, window, spec.size,
                                       _letterbox_scale(spec, task))


_OLDEST_IR = 7
"""Lowest version of the ONNX format; older ones list every weight among the graph's inputs."""


def _float_scores(task: TaskSpec) -> str:
    """Name of the scores after their cast to float32. ``prepare_network`` has this cast, since
    ONNX Runtime does not round between the network's last node and a cast in the same graph."""
    return f'{_tail_prefix(task)}scores'


def _letterbox_scale(spec: ModelSpec, task: TaskSpec | None = None,
                     ) -> tuple[Fraction, Fraction] | None:
    """Height and width of a task's output divided by those of the network input; ``task`` None
    takes the only task."""
    task = task or spec.task
    if spec.resize != 'letterbox' or spec.size is None:
        return None
    if task.align_corners:
        return Fraction(1), Fraction(1)
    scores = task.scores
    shape = next(info.shape for info in spec.network.outputs if info.name == scores.name)
    height, width = shape[scores.height_axis:scores.height_axis + 2] if shape else (None, None)
    if height is None or width is None:
        return None
    return Fraction(height, spec.size[0]), Fraction(width, spec.size[1])


def _prefixed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Put ``NETWORK_PREFIX`` before every name, so that no name clashes with head and tail."""
    prefixed = compose.add_prefix(model, NETWORK_PREFIX)
    outer = {name for node in model.graph.node for name in node.output}
    outer.update(value.name for value in (*model.graph.input, *model.graph.initializer))
    for node in prefixed.graph.node:
        _prefix_captured_names(node, outer)
    return prefixed


def _prefix_captured_names(node: onnx.NodeProto, outer: set[str]) -> None:
    """Prefix the names that bodies of If, Loop and Scan read from outside; add_prefix does not."""
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            own = {name for inner in body.node for name in inner.output}
            own.update(value.name for value in (*body.input, *body.initializer))
            known = outer | {name.removeprefix(NETWORK_PREFIX) for name in own}
            for inner in body.node:
                inner.input[:] = [NETWORK_PREFIX + name if name in known else name
                                  for name in inner.input]
                _prefix_captured_names(inner, known)


def _needed_nodes(nodes: list[onnx.NodeProto], outputs: list[onnx.ValueInfoProto],
                  ) -> list[onnx.NodeProto]:
    """The nodes that the outputs depend on; runtimes would compute the others, too."""
    needed, kept = {value.name for value in outputs}, []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    return kept[::-1]


def _score_values(spec: ModelSpec) -> list[onnx.ValueInfoProto]:
    """The network's outputs that the tails read."""
    read = {task.scores.name for task in spec.tasks}.union(*map(_instance_names, spec.tasks))
    return [helper.make_tensor_value_info(NETWORK_PREFIX + info.name, info.dtype, info.shape)
            for info in spec.network.outputs if info.name in read]


def _score_between(task: TaskSpec) -> str:
    is_cast = task.kind != 'ids' and task.scores.dtype != TensorProto.FLOAT
    return _float_scores(task) if is_cast else NETWORK_PREFIX + task.scores.name


def _scores_between(spec: ModelSpec) -> list[onnx.ValueInfoProto]:
    """The tensors between ``prepare_network`` and ``prepare_outputs``, of dynamic size."""
    ranks = {info.name: len(info.shape or ()) for info in spec.network.outputs}
    values = {}  # by name, since two tasks may read the same tensor
    for task in spec.tasks:
        scores, name = task.scores, _score_between(task)
        is_cast = name == _float_scores(task)
        values[name] = helper.make_tensor_value_info(
            name, TensorProto.FLOAT if is_cast else scores.dtype, [None] * ranks[scores.name])
    read = {name for task in spec.tasks for name in _instance_names(task)}
    return [*values.values(),
            *(helper.make_tensor_value_info(NETWORK_PREFIX + info.name, info.dtype,
                                            [None] * ranks[info.name])
              for info in spec.network.outputs if info.name in read)]


def _instance_names(task: TaskSpec) -> tuple[str, ...]:
    """The network's outputs that a tail reads for instances."""
    return (task.instances.places, task.instances.found) if task.instances else ()


def _inputs(spec: ModelSpec, open_states: bool = False) -> list[onnx.ValueInfoProto]:
    described: dict[str, tuple[int, list]] = {
        'image': (TensorProto.UINT8, [spec.batch, 'height', 'width',
                                      'bands' if spec.gray_bits else 3]),
        'channels': (TensorProto.INT32, [3]),
        **{joined(task.name, 'palette'): (TensorProto.UINT8, [spec.encoding.unlabelled + 1, 3])
           for task in spec.tasks},
        'alpha': (TensorProto.FLOAT, []), WEIGHT: (TensorProto.FLOAT, [])}
    values = [helper.make_tensor_value_info(name, *each) for name, each in described.items()]
    return values + [_state_value(spec, task, _smoothing_names(task).previous, open_states)
                     for task in spec.tasks if _is_smoothed(spec, task)]


def _outputs(spec: ModelSpec, names: tuple[str, ...], open_states: bool = False,
             ) -> list[onnx.ValueInfoProto]:
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
    states = [_state_value(spec, task, _smoothing_names(task).state, open_states)
              for task in spec.tasks if task.name in requested and _is_smoothed(spec, task)]
    return [*(described(name) for name in names), *states]


def _blank(spec: ModelSpec) -> onnx.ModelProto:
    """An empty model with the network's opset version."""
    return helper.make_model(onnx.GraphProto(), ir_version=_OLDEST_IR, opset_imports=[
        helper.make_opsetid('', spec.network.opset)])


def _assemble(base: onnx.ModelProto, nodes: Iterable[onnx.NodeProto],
              constants: Iterable[onnx.TensorProto], outputs: list[onnx.ValueInfoProto],
              inputs: Iterable[onnx.ValueInfoProto]) -> onnx.ModelProto:
    """Replace the nodes, inputs and outputs of ``base`` in place, add constants, and return it.

    Constants and inputs that no node reads are left out. No weight is copied.
    """
    graph, copies = base.graph, onnx.GraphProto()
    copies.node.extend(nodes)  # copied before they are deleted from the graph
    del graph.node[:], graph.input[:], graph.output[:]
    for name in ('metadata_props', 'doc_string', 'training_info'):
        base.ClearField(name)
    base.producer_name, base.producer_version = 'trt_segmentation', ''
    base.ir_version = max(base.ir_version, _OLDEST_IR)
    graph.name = 'prepared'
    graph.node.extend(copies.node)
    used = {name for node in graph.node for name in node.input}
    graph.initializer.extend(constant for constant in constants if constant.name in used)
    graph.input.extend(value for value in inputs if value.name in used)
    graph.output.extend(outputs)
    return base
