# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Converts a graph to a newer opset, or to an older one for runtimes that do not support newer
ones."""

from collections.abc import Mapping
from functools import cache
from itertools import chain

import numpy as np
import onnx
from onnx import (
    NodeProto,
    TensorProto,
    defs,
    helper,
    inliner,
    numpy_helper,
    shape_inference,
    version_converter,
)

from trt_segmentation.errors import ModelError
from trt_segmentation.graph.onnx_tools.constants import constants_by_name
from trt_segmentation.graph.onnx_tools.toposort import bodies


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of the default ONNX domain that a model uses; 1 if it has none."""
    return max((entry.version for entry in model.opset_import if entry.domain in ('', 'ai.onnx')),
               default=1)


_FIRST_WITH_RESIZE_MODES = 11
"""The opset since which a Resize says how it maps coordinates."""


def raise_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Return the same computation in a newer opset; the model itself if its opset is not older.

    onnx's converter drops local functions, so they are inlined, and leaves out what a Resize needs
    since opset 11 to sample as before.

    Args:
        model: without external data.
        opset: version of the default ONNX domain.

    Raises:
        Exception: the model cannot be converted; onnx has its own types.
    """
    own = opset_of(model)
    if own >= opset:
        return model
    if model.functions:
        model = inliner.inline_local_functions(model)
    converted = version_converter.convert_version(model, opset)
    if own < _FIRST_WITH_RESIZE_MODES <= opset:
        _set_asymmetric(converted.graph, {})
    return converted


def _set_asymmetric(graph: onnx.GraphProto, outer: Mapping[str, TensorProto]) -> None:
    """Write into each Resize how it samples before opset 11: asymmetrically.

    Args:
        graph: of a model or of a body.
        outer: constants of the enclosing graphs.
    """
    constants = {**outer, **constants_by_name(graph.node, graph.initializer)}
    for node in graph.node:
        for body in bodies(node):
            _set_asymmetric(body, constants)
        if node.op_type == 'Resize' and node.domain in ('', 'ai.onnx'):
            rounding = 'ceil' if _only_shrinks(constants.get(node.input[2])) else 'floor'
            for name, value in (('coordinate_transformation_mode', 'asymmetric'),
                                ('nearest_mode', rounding)):
                _drop_attribute(node, name)
                node.attribute.append(helper.make_attribute(name, value))


def _only_shrinks(scales: TensorProto | None) -> bool:
    """Whether a Resize has constant scales below 1 and none above. Before opset 11 its nearest
    pixels are then those after the sampled places, as onnx's own test and ONNX Runtime have it."""
    if scales is None:
        return False
    values = numpy_helper.to_array(scales)
    return bool((values < 1).any() and (values <= 1).all())


def lower_opset(model: onnx.ModelProto, opset: int, source: str) -> onnx.ModelProto:
    """Return the same computation in an older opset; the model itself if its opset is not newer.

    Newer operators are replaced by their definitions (Gelu by Erf, Mul and so on).

    Args:
        model: without external data.
        opset: version of the default ONNX domain.
        source: name of the model in errors.

    Raises:
        ModelError: the model cannot be expressed in that version.
    """
    if opset_of(model) <= opset:
        return model
    if not converter_is_complete():
        raise ModelError(
            f'{source} has opset {opset_of(model)}, and the runtime needs opset {opset}, to which '
            f'onnx {onnx.__version__} cannot convert it correctly; export it with opset {opset} '
            'or older, or install onnx 1.23 or newer')
    try:
        if model.functions:
            model = inliner.inline_local_functions(model)
        if newer := _newer_operators(model, opset):
            model = inliner.inline_selected_functions(model, newer, inline_schema_functions=True)
        return _converted(model, opset)
    except (RuntimeError, TypeError, AttributeError) as error:  # from onnx's C++ code
        raise ModelError(f'{source} has opset {opset_of(model)} and cannot be converted to opset '
                         f'{opset} ({_last_clause(error)}); export it with opset {opset} or '
                         'older') from error


@cache
def converter_is_complete() -> bool:
    """Whether the installed onnx converts to older opsets correctly.

    onnx 1.17 to 1.22 cannot convert a Resize. Graphs without a Resize they convert incorrectly
    (seen with 1.17). Converting a Resize is a quick test for such a version.
    """
    nodes = [helper.make_node('Resize', ['x', '', 'scales'], ['y'])]
    scales = numpy_helper.from_array(np.ones(1, np.float32), 'scales')
    inputs, outputs = ([helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1])]
                       for name in 'xy')
    model = helper.make_model(helper.make_graph(nodes, 'resize', inputs, outputs, [scales]),
                              opset_imports=[helper.make_opsetid('', 18)])
    try:
        version_converter.convert_version(model, 17)
    except RuntimeError:
        return False
    return True


def with_basic_operators(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same computation without operators that TensorRT 8.6 does not parse correctly.

    A Shape with a start or an end becomes Shape and Slice: the parser ignores these attributes.
    CastLike becomes Cast, if the type is known.

    Args:
        model: without external data; of opset 17 or older.
    """
    older = onnx.ModelProto()
    older.CopyFrom(model)
    graph, types = older.graph, {}
    if any(node.op_type == 'CastLike' for node in graph.node):
        types = {name: each.elem_type for name, each in _tensor_types(model).items()}
        types |= {weight.name: weight.data_type for weight in graph.initializer}
    del graph.node[:]
    for node in model.graph.node:
        if node.op_type == 'Shape' and node.attribute:
            graph.node.extend(_sliced_shape(node, graph))
        elif node.op_type == 'CastLike' and node.input[1] in types:
            graph.node.append(helper.make_node(
                'Cast', node.input[:1], node.output, node.name, to=types[node.input[1]]))
        else:
            graph.node.append(node)
    return older


def _sliced_shape(node: NodeProto, graph: onnx.GraphProto) -> list[NodeProto]:
    """The Shape and the Slice for a Shape with a start or an end; adds the bounds to the graph."""
    part = {each.name: each.i for each in node.attribute}
    whole = f'{node.output[0]}/whole'
    bounds = [f'{node.output[0]}/{name}' for name in ('start', 'end')]
    values = part.get('start', 0), part.get('end', np.iinfo(np.int32).max)
    graph.initializer.extend(numpy_helper.from_array(np.array([value], np.int64), name)
                             for name, value in zip(bounds, values, strict=True))
    return [helper.make_node('Shape', node.input, [whole], node.name),
            helper.make_node('Slice', [whole, *bounds], node.output, f'{node.name}/part')]


def _tensor_types(model: onnx.ModelProto) -> dict[str, onnx.TypeProto.Tensor]:
    """Known element types and shapes by tensor name, without weights."""
    graph = shape_inference.infer_shapes(model).graph
    return {value.name: value.type.tensor_type
            for value in chain(graph.value_info, graph.input, graph.output)}


def _newer_operators(model: onnx.ModelProto, opset: int) -> list[tuple[str, str]]:
    """Domain and name of the operators that do not exist in an opset."""
    names = {node.op_type for node in model.graph.node if node.domain in ('', 'ai.onnx')}
    return [('', name) for name in sorted(names)
            if defs.has(name) and not _has(name, opset)]


_SKIPPED = 'trt_segmentation.skipped'
"""A domain that the converter does not convert."""

_SAME_BEFORE = {('Pad', 2), ('Pad', 3), ('Split', 2)}
"""Operators and numbers of inputs whose definition is the same since opset 13."""


def _converted(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Convert with onnx's converter, and work around its gaps.

    It cannot convert a Pad, although a Pad without axes is the same since opset 13, nor a Split
    with ``num_outputs``. It keeps ``noop_with_empty_axes`` of reductions, which those with axes
    do not need.
    """
    prepared = onnx.ModelProto()
    prepared.CopyFrom(model)
    prepared.opset_import.append(helper.make_opsetid(_SKIPPED, 1))
    counting = [node for node in prepared.graph.node
                if node.op_type == 'Split' and len(node.input) == 1]
    types = _tensor_types(model) if counting else {}
    for node in counting:
        _set_lengths(node, prepared.graph, types)
    for node in prepared.graph.node:
        if (node.op_type, len(node.input)) in _SAME_BEFORE:
            node.domain = _SKIPPED
    converted = version_converter.convert_version(prepared, opset)
    for node in converted.graph.node:
        if node.domain == _SKIPPED:
            node.domain = ''
        if any(each.name == 'axes' for each in node.attribute):
            _drop_attribute(node, 'noop_with_empty_axes')
    imports = [entry for entry in converted.opset_import if entry.domain != _SKIPPED]
    del converted.opset_import[:]
    converted.opset_import.extend(imports)
    return converted


def _set_lengths(node: NodeProto, graph: onnx.GraphProto,
                 types: dict[str, onnx.TypeProto.Tensor]) -> None:
    """Give a Split with ``num_outputs`` the lengths of its parts, if they are known."""
    axis = next((each.i for each in node.attribute if each.name == 'axis'), 0)
    found = types.get(node.input[0])
    if found is None or not found.HasField('shape'):
        return
    extent, count = found.shape.dim[axis].dim_value, len(node.output)
    if extent == 0:
        return
    longest = -(-extent // count)
    lengths = [min(longest, extent - start) for start in range(0, count * longest, longest)]
    node.input.append(f'{node.output[0]}/lengths')
    graph.initializer.append(numpy_helper.from_array(np.array(lengths, np.int64), node.input[1]))
    _drop_attribute(node, 'num_outputs')


def _drop_attribute(node: NodeProto, name: str) -> None:
    kept = [each for each in node.attribute if each.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)


def _has(name: str, opset: int) -> bool:
    try:
        defs.get_schema(name, opset)
    except defs.SchemaError:
        return False
    return True


def _last_clause(error: Exception) -> str:
    return str(error).strip().rpartition('` failed: ')[2].rstrip('.')
