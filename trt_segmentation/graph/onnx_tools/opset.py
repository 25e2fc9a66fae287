# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A graph in an older version of ONNX's operators, for runtimes that know no newer ones."""

from functools import cache
from itertools import chain

import numpy as np
import onnx
from onnx import NodeProto, defs, helper, inliner, numpy_helper, shape_inference, version_converter

from trt_segmentation.errors import ModelError


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operators that a model uses; 1 where it names none."""
    return max((entry.version for entry in model.opset_import if entry.domain in ('', 'ai.onnx')),
               default=1)


def lower_opset(model: onnx.ModelProto, opset: int, source: str) -> onnx.ModelProto:
    """Return the same computation in an older opset; the model itself where it is old enough.

    Operators that are younger than that are written as those that they are defined by (Gelu as
    Erf, Mul and so on).

    Args:
        model: with all of its weights inside.
        opset: version wanted of ONNX's own operators.
        source: what to call the model in errors.

    Raises:
        ModelError: something in it cannot be said in that version.
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
        if younger := _younger_operators(model, opset):
            model = inliner.inline_selected_functions(model, younger, inline_schema_functions=True)
        return _converted(model, opset)
    except (RuntimeError, TypeError, AttributeError) as error:  # of onnx's C++; it being too old
        raise ModelError(f'{source} has opset {opset_of(model)}, and opset {opset} cannot say all '
                         f'of it ({_last_clause(error)}); export it with opset {opset} or '
                         'older') from error


@cache
def converter_is_complete() -> bool:
    """Whether the installed onnx converts to older opsets correctly.

    onnx 1.17 to 1.22 cannot convert a Resize, and convert graphs without one to graphs that
    compute something else (seen with 1.17). The Resize is what can be asked for.
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


def in_older_words(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same computation without what the parser of TensorRT 8.6 does not know.

    A Shape that gives a part of the shape becomes Shape and Slice: the parser overlooks which
    part. CastLike becomes Cast, where it can be told to what.

    Args:
        model: with all of its weights inside; of opset 17 or older.
    """
    older = onnx.ModelProto()
    older.CopyFrom(model)
    graph, types = older.graph, {}
    if any(node.op_type == 'CastLike' for node in graph.node):
        types = {name: told.elem_type for name, told in _tensor_types(model).items()}
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
    """A Shape with a start or an end as a Shape and a Slice, whose bounds go to the graph."""
    part = {each.name: each.i for each in node.attribute}
    whole = f'{node.output[0]}/whole'
    bounds = [f'{node.output[0]}/{name}' for name in ('start', 'end')]
    values = part.get('start', 0), part.get('end', np.iinfo(np.int32).max)
    graph.initializer.extend(numpy_helper.from_array(np.array([value], np.int64), name)
                             for name, value in zip(bounds, values, strict=True))
    return [helper.make_node('Shape', node.input, [whole], node.name),
            helper.make_node('Slice', [whole, *bounds], node.output, f'{node.name}/part')]


def _tensor_types(model: onnx.ModelProto) -> dict[str, onnx.TypeProto.Tensor]:
    """Element types and shapes by tensor, as far as they can be told; not those of weights."""
    graph = shape_inference.infer_shapes(model).graph
    return {value.name: value.type.tensor_type
            for value in chain(graph.value_info, graph.input, graph.output)}


def _younger_operators(model: onnx.ModelProto, opset: int) -> list[tuple[str, str]]:
    """Domain and name of the operators that an opset does not have at all."""
    names = {node.op_type for node in model.graph.node if node.domain in ('', 'ai.onnx')}
    return [('', name) for name in sorted(names)
            if defs.has(name) and not _has(name, opset)]


_ASIDE = 'trt_segmentation.aside'
"""A domain that the converter leaves alone."""

_SAME_BEFORE = {('Pad', 2), ('Pad', 3), ('Split', 2)}
"""Operators and numbers of inputs that have been the same since opset 13; more came later."""


def _converted(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Convert with onnx's converter, and do what it leaves out.

    It cannot convert any Pad, though those without axes have been the same since opset 13, nor
    any Split that counts its parts. It leaves an attribute on reductions that says how they
    reduce over no axes; those that name their axes do not need it.
    """
    aside = onnx.ModelProto()
    aside.CopyFrom(model)
    aside.opset_import.append(helper.make_opsetid(_ASIDE, 1))
    counting = [node for node in aside.graph.node
                if node.op_type == 'Split' and len(node.input) == 1]
    types = _tensor_types(model) if counting else {}
    for node in counting:
        _name_lengths(node, aside.graph, types)
    for node in aside.graph.node:
        if (node.op_type, len(node.input)) in _SAME_BEFORE:
            node.domain = _ASIDE
    converted = version_converter.convert_version(aside, opset)
    for node in converted.graph.node:
        if node.domain == _ASIDE:
            node.domain = ''
        if any(each.name == 'axes' for each in node.attribute):
            _drop_attribute(node, 'noop_with_empty_axes')
    imports = [entry for entry in converted.opset_import if entry.domain != _ASIDE]
    del converted.opset_import[:]
    converted.opset_import.extend(imports)
    return converted


def _name_lengths(node: NodeProto, graph: onnx.GraphProto,
                  types: dict[str, onnx.TypeProto.Tensor]) -> None:
    """Make a Split that counts its parts say how long they are, where that is known."""
    axis = next((each.i for each in node.attribute if each.name == 'axis'), 0)
    told = types.get(node.input[0])
    if told is None or not told.HasField('shape'):
        return
    extent, count = told.shape.dim[axis].dim_value, len(node.output)
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
