# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Head, network and tail as one graph: everything between camera bytes and mask bytes.

The prepared graph's tensors:

===============  ===========================  ==========================================
``image``        uint8 [N, H, W, 3]           the cameras' pixels, any size, all of one
``channels``     int32 [3]                    source channel of network channel 0, 1, 2
``palette``      uint8 [256, 3]               class colours, in the image's channel order
``alpha``        float32 []                   overlay opacity, 0..1
``mask``         uint8 [N, H, W]              class ids, 255 where there is none
``confidence``   uint8 [N, H, W]              0..255; absent where the network gives ids only
``overlay``      uint8 [N, H, W, 3]           image and colours blended
===============  ===========================  ==========================================

Of a network with several tasks, each has a palette and outputs of its own, ``lanes/palette`` and
``lanes/mask``; see ``graph.pipeline.output_names``.

N is the spec's ``batch``, 1 for one camera. For a network of one channel, ``image`` is uint8
[N, H, W, bands], 1, 2 or 3 of them (see ``images.gray``), chosen for each run. Where the
spec has a ``mask_size``, that is H and W of mask and confidence. Where its encoding is mono16, the
mask is [N, H, W, 2], each id's lower and higher byte, and the palette [65536, 3].
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
from trt_segmentation.graph.pipeline.output_names import OUTPUTS, joined, kind_of
from trt_segmentation.graph.pipeline.tail import (
    Decision,
    DecisionRule,
    NearestIndex,
    Painter,
    add_cropped_scores,
    add_decision,
    add_finite_scores,
    add_grown_scores,
    add_nearest_index,
)
from trt_segmentation.graph.reading.batch import batched
from trt_segmentation.graph.reading.dual_outputs import task_prefix
from trt_segmentation.graph.reading.resolve import ModelSpec, TaskSpec
from trt_segmentation.graph.reading.scores import Scores

NETWORK_PREFIX = 'network/'
MASK_INTERPOLATIONS = ('nearest', 'bilinear')


@dataclass(frozen=True)
class PreparedGraph:
    """A prepared graph and what it was prepared from.

    Attributes:
        model: the ONNX model; see the module for its inputs and outputs.
        spec: what its head and tail were built from.
        outputs: names of its outputs.
        mask_interpolation, for_cpu: see ``prepare``.
    """

    model: onnx.ModelProto
    spec: ModelSpec
    outputs: tuple[str, ...]
    mask_interpolation: str
    for_cpu: bool


def available_outputs(spec: ModelSpec) -> tuple[str, ...]:
    """Return the outputs that a network can give: class ids carry no confidence."""
    return tuple(joined(task.name, name) for task in spec.tasks for name in OUTPUTS
                 if name != 'confidence' or task.kind != 'ids')


def named_outputs(spec: ModelSpec, outputs: tuple[str, ...]) -> tuple[str, ...]:
    """Return what outputs are meant: 'mask' means that of every task.

    Args:
        spec: the network.
        outputs: of ``available_outputs``, or without a task. Others are returned as they are.
    """
    available = available_outputs(spec)
    return tuple(dict.fromkeys(
        meant for name in outputs
        for meant in [each for each in available if name in (each, kind_of(each))] or [name]))


def check_outputs(spec: ModelSpec, outputs: tuple[str, ...]) -> None:
    """Check that a network can give what it is asked for.

    Raises:
        ModelError: it cannot give one of the outputs; or none is asked for.
    """
    possible = available_outputs(spec)
    if impossible := [name for name in outputs if name not in possible]:
        kinds = ' and '.join(dict.fromkeys(task.kind for task in spec.tasks))
        raise ModelError(f'{spec.network.source}: cannot give {", ".join(impossible)}; a network '
                         f'whose output is {kinds} gives {", ".join(possible)}')
    if not outputs:
        raise ModelError(f'{spec.network.source}: no output was asked for; it gives '
                         f'{", ".join(possible)}')


def prepare(spec: ModelSpec, outputs: tuple[str, ...] | None = None, *,
            mask_interpolation: str = 'nearest', for_cpu: bool = False) -> PreparedGraph:
    """Build the prepared graph.

    Args:
        spec: the network and all there is to know about it.
        outputs: which outputs to give, some of ``available_outputs(spec)``; None gives all.
        mask_interpolation: 'nearest' decides at the network's size and grows the decision;
            'bilinear' grows the scores and decides at the camera's size: smoother edges, much
            more work. Class ids always grow by 'nearest'.
        for_cpu: whether ONNX Runtime on a CPU will run it, not TensorRT. Both forms give the same
            bytes, but for ties in the overlay's rounding.

    Raises:
        ModelError: an output is asked for that the network cannot give.
        ConfigError: there is no such interpolation.
    """
    outputs = available_outputs(spec) if outputs is None else outputs
    check_outputs(spec, outputs)
    head, tail = _head_and_tail(spec, outputs, mask_interpolation, for_cpu)
    network = _prefixed(batched(spec.network.model, spec.batch))
    model = _assemble(network, [*head.nodes, *network.graph.node,
                                *_needed_nodes(tail.nodes, outputs)],
                      [*head.constants, *tail.constants], _outputs(spec, outputs), _inputs(spec))
    return PreparedGraph(model, spec, outputs, mask_interpolation, for_cpu)


def prepare_head(spec: ModelSpec) -> onnx.ModelProto:
    """Build the head alone: ``image`` and ``channels`` to the network's input.

    Its output is called ``NETWORK_PREFIX`` and the name of the network's input.
    """
    info = spec.network.inputs[0]
    head, _ = _head_and_tail(spec, (), 'nearest', False)
    fed = helper.make_tensor_value_info(NETWORK_PREFIX + info.name, info.dtype, info.shape)
    return _assemble(_blank(spec), head.nodes, head.constants, [fed], _inputs(spec))


def prepare_tail(spec: ModelSpec, outputs: tuple[str, ...] | None = None, *,
                 mask_interpolation: str = 'nearest') -> onnx.ModelProto:
    """Build the tail alone: from the network's output to what is asked for.

    It reads the network's output, called ``NETWORK_PREFIX`` and its name, and ``image``; see the
    module for its other inputs and its outputs.

    Args:
        spec, outputs, mask_interpolation: as of ``prepare``.

    Raises:
        ModelError, ConfigError: as of ``prepare``.
    """
    outputs = available_outputs(spec) if outputs is None else outputs
    check_outputs(spec, outputs)
    head, tail = _head_and_tail(spec, outputs, mask_interpolation, False)
    return _assemble(_blank(spec), _needed_nodes([*head.nodes, *tail.nodes], outputs),
                     [*head.constants, *tail.constants], _outputs(spec, outputs),
                     [*_inputs(spec), *_score_values(spec)])


def scores_names(spec: ModelSpec) -> tuple[str, ...]:
    """Return the tensors at which ``prepare_network`` ends and ``prepare_outputs`` begins: scores
    as float32, or class ids in the network's type."""
    return tuple(value.name for value in _seam_values(spec))


def prepare_network(spec: ModelSpec) -> onnx.ModelProto:
    """Build head and network without a tail: ``image`` and ``channels`` to ``scores_names``.

    Together with ``prepare_outputs`` it does what ``prepare`` does, in two graphs: the first one
    has the weights, and is the same whatever is asked for.
    """
    head, tail = _head_and_tail(spec, available_outputs(spec), 'nearest', True)
    network, seams = _prefixed(batched(spec.network.model, spec.batch)), scores_names(spec)
    ends = [node for node in tail.nodes if node.output[0] in seams]
    return _assemble(network, [*head.nodes, *network.graph.node, *ends], head.constants,
                     _seam_values(spec), _inputs(spec))


def prepare_outputs(spec: ModelSpec, outputs: tuple[str, ...], *,
                    mask_interpolation: str = 'nearest', for_cpu: bool = False,
                    ) -> onnx.ModelProto:
    """Build the tail of some outputs: from ``scores_names`` and ``image`` to these.

    Args:
        spec: its network may be an outline.
        outputs, mask_interpolation, for_cpu: as of ``prepare``.

    Raises:
        ModelError, ConfigError: as of ``prepare``.
    """
    check_outputs(spec, outputs)
    head, tail = _head_and_tail(spec, outputs, mask_interpolation, for_cpu)
    seams = scores_names(spec)
    nodes = [node for node in (*head.nodes, *tail.nodes) if node.output[0] not in seams]
    return _assemble(_blank(spec), _needed_nodes(nodes, outputs),
                     [*head.constants, *tail.constants], _outputs(spec, outputs),
                     [*_inputs(spec), *_seam_values(spec)])


@dataclass(frozen=True)
class _Part:
    """Nodes, and the constants that they use."""

    nodes: list[onnx.NodeProto]
    constants: list[onnx.TensorProto]


def _head_and_tail(spec: ModelSpec, outputs: tuple[str, ...], mask_interpolation: str,
                   for_cpu: bool) -> tuple[GraphBuilder, _Part]:
    """Return the head, and the tails of the tasks of which something is wanted."""
    if mask_interpolation not in MASK_INTERPOLATIONS:
        raise ConfigError(f"mask_interpolation is '{mask_interpolation}'; it is one of "
                          f'{", ".join(MASK_INTERPOLATIONS)}')
    head = GraphBuilder('head/', spec.network.opset)
    source = head.cast('image', TensorProto.FLOAT)
    sized = 'image' if for_cpu else source  # TensorRT wants the cast before anything else
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


def _tail_prefix(task: TaskSpec) -> str:
    return task_prefix('tail/', task.name)


def _add_tail(tail: GraphBuilder, spec: ModelSpec, task: TaskSpec, outputs: Mapping[str, str],
              source: str, sized: str, window: Window | None, mask_interpolation: str) -> None:
    """Add a task's outputs.

    Args:
        outputs: what each of ``OUTPUTS`` that is wanted is called.
    """
    scores = replace(task.scores, name=NETWORK_PREFIX + task.scores.name)
    if task.kind != 'ids' and not (tail.for_cpu and scores.dtype == TensorProto.FLOAT):
        scores = replace(scores, name=tail('Cast', scores.name, to=TensorProto.FLOAT,
                                           output=_float_scores(task)))
    of_image = tail.size(sized, 1), tail.size(sized, 2)
    of_mask = _extents(tail, spec.mask_size) or of_image
    grow = _grow_scores if mask_interpolation == 'bilinear' and task.kind != 'ids' else \
        _grow_decision
    if grow is _grow_scores or task.align_corners:
        scores = add_finite_scores(tail, scores)
    if task.align_corners or (grow is _grow_scores and window is not None):
        scores = add_grown_scores(tail, scores, _extents(tail, spec.size) or of_image,
                                  align_corners=task.align_corners, batch=spec.batch)
    decision, nearest = grow(tail, spec, task, scores, of_mask, window)
    coding = _coding(spec, task)
    painter = Painter(tail, nearest, coding)
    if 'mask' in outputs:
        painter.paint_classes(decision, outputs['mask'])
    if 'confidence' in outputs:
        painter.paint_confidence(decision, outputs['confidence'])
    if 'overlay' in outputs:
        if of_mask != of_image:
            decision, nearest = grow(tail, spec, task, scores, of_image, window)
        painter = Painter(tail, nearest, coding)
        image = 'image'
        if spec.gray_bits:
            image = source = _add_visible_bands(tail, sized)
        painter.paint_overlay(decision, image, source, joined(task.name, 'palette'), 'alpha',
                              outputs['overlay'])


def _add_visible_bands(tail: GraphBuilder, image: str) -> str:
    """Return of [N, H, W, bands] what people see: all three, or the last one, for all three."""
    bands = tail.size(image, 3)
    seen = tail('Slice', image, add_is_wide(tail, bands), bands, tail.ints(3))
    if not tail.for_cpu:
        return seen  # [N, H, W, 1], where there is one
    # ONNX Runtime takes three times as long to add one channel to three.
    return tail.columns(tail('Concat', seen, seen, seen, axis=3), 0, 3)


def _extents(tail: GraphBuilder, size: tuple[int, int] | None) -> tuple[str, str] | None:
    return None if size is None else (tail.ints(size[0]), tail.ints(size[1]))


def _coding(spec: ModelSpec, task: TaskSpec) -> MaskIds:
    channels = None if task.kind == 'ids' else max(task.scores.channels, 2)
    return mask_ids_of(spec.encoding, task.merge, channels)


def _rule(spec: ModelSpec, task: TaskSpec) -> DecisionRule:
    return DecisionRule(task.kind, task.threshold, task.unlabelled, _coding(spec, task).nothing)


def _grow_scores(tail: GraphBuilder, spec: ModelSpec, task: TaskSpec, scores: Scores,
                 extents: tuple[str, str], window: Window | None,
                 ) -> tuple[Decision, NearestIndex | None]:
    if window is not None:  # they are at the size of the network's input
        scores = add_cropped_scores(tail, scores, window)
    scores = add_grown_scores(tail, scores, extents, batch=spec.batch)
    return add_decision(tail, scores, _rule(spec, task)), None


def _grow_decision(tail: GraphBuilder, spec: ModelSpec, task: TaskSpec, scores: Scores,
                   extents: tuple[str, str], window: Window | None,
                   ) -> tuple[Decision, NearestIndex | None]:
    decision = add_decision(tail, scores, _rule(spec, task))
    return decision, add_nearest_index(tail, decision.classes, extents, window, spec.size,
                                       _letterbox_scale(spec, task))


_OLDEST_IR = 7
"""Older versions of the ONNX format list every weight among the graph's inputs."""


def _float_scores(task: TaskSpec) -> str:
    """Scores of a network in another type as float32. The cast belongs to the network's graph
    where there are two: between it and the network's last node, ONNX Runtime rounds nothing."""
    return f'{_tail_prefix(task)}scores'


def _letterbox_scale(spec: ModelSpec, task: TaskSpec | None = None,
                     ) -> tuple[Fraction, Fraction] | None:
    """Height and width of a task's output, or the only one's, over the network input's, in lowest
    terms."""
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
    """Put ``NETWORK_PREFIX`` before every name, so that none clashes with ours."""
    prefixed = compose.add_prefix(model, NETWORK_PREFIX)
    outer = {name for node in model.graph.node for name in node.output}
    outer.update(value.name for value in (*model.graph.input, *model.graph.initializer))
    for node in prefixed.graph.node:
        _prefix_captured_names(node, outer)
    return prefixed


def _prefix_captured_names(node: onnx.NodeProto, outer: set[str]) -> None:
    """Do what add_prefix leaves out: what the bodies of If, Loop and Scan read from outside."""
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            own = {name for inner in body.node for name in inner.output}
            own.update(value.name for value in (*body.input, *body.initializer))
            known = outer | {name.removeprefix(NETWORK_PREFIX) for name in own}
            for inner in body.node:
                inner.input[:] = [NETWORK_PREFIX + name if name in known else name
                                  for name in inner.input]
                _prefix_captured_names(inner, known)


def _needed_nodes(nodes: list[onnx.NodeProto], outputs: tuple[str, ...]) -> list[onnx.NodeProto]:
    """The nodes that the outputs depend on; runtimes compute the others, too."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    return kept[::-1]


def _score_values(spec: ModelSpec) -> list[onnx.ValueInfoProto]:
    """The network's outputs that the tails read."""
    read = {task.scores.name for task in spec.tasks}
    return [helper.make_tensor_value_info(NETWORK_PREFIX + info.name, info.dtype, info.shape)
            for info in spec.network.outputs if info.name in read]


def _seam_values(spec: ModelSpec) -> list[onnx.ValueInfoProto]:
    """The tensors between network and tails, whose extents the network decides when it runs."""
    ranks = {info.name: len(info.shape or ()) for info in spec.network.outputs}
    seams = {}  # two tasks may read one of them
    for task in spec.tasks:
        scores = task.scores
        is_cast = task.kind != 'ids' and scores.dtype != TensorProto.FLOAT
        name = _float_scores(task) if is_cast else NETWORK_PREFIX + scores.name
        seams[name] = helper.make_tensor_value_info(
            name, TensorProto.FLOAT if is_cast else scores.dtype, [None] * ranks[scores.name])
    return list(seams.values())


def _inputs(spec: ModelSpec) -> list[onnx.ValueInfoProto]:
    described: dict[str, tuple[int, list]] = {
        'image': (TensorProto.UINT8, [spec.batch, 'height', 'width',
                                      'bands' if spec.gray_bits else 3]),
        'channels': (TensorProto.INT32, [3]),
        **{joined(task.name, 'palette'): (TensorProto.UINT8, [spec.encoding.unlabelled + 1, 3])
           for task in spec.tasks},
        'alpha': (TensorProto.FLOAT, [])}
    return [helper.make_tensor_value_info(name, *each) for name, each in described.items()]


def _outputs(spec: ModelSpec, names: tuple[str, ...]) -> list[onnx.ValueInfoProto]:
    of_image = [spec.batch, 'height', 'width']
    of_mask = of_image if spec.mask_size is None else [spec.batch, *spec.mask_size]
    planes = [spec.encoding.planes] if spec.encoding.planes > 1 else []
    shapes = {'mask': [*of_mask, *planes], 'confidence': of_mask, 'overlay': [*of_image, 3]}
    return [helper.make_tensor_value_info(name, TensorProto.UINT8, shapes[kind_of(name)])
            for name in names]


def _blank(spec: ModelSpec) -> onnx.ModelProto:
    """A model without anything but the network's versions."""
    return helper.make_model(onnx.GraphProto(), ir_version=_OLDEST_IR, opset_imports=[
        helper.make_opsetid('', spec.network.opset)])


def _assemble(base: onnx.ModelProto, nodes: Iterable[onnx.NodeProto],
              constants: Iterable[onnx.TensorProto], outputs: list[onnx.ValueInfoProto],
              inputs: Iterable[onnx.ValueInfoProto]) -> onnx.ModelProto:
    """Return ``base`` itself with these nodes instead of its own and with what they use added.

    Nodes use some of the constants and inputs; the others are left out. No weight is copied.
    """
    graph, copies = base.graph, onnx.GraphProto()
    copies.node.extend(nodes)  # some of them are the graph's own
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
