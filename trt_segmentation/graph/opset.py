# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A graph in an older version of ONNX's operators, for runtimes that know no newer ones."""

import onnx
from onnx import defs, helper, inliner, version_converter

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


def _younger_operators(model: onnx.ModelProto, opset: int) -> list[tuple[str, str]]:
    """Domain and name of the operators that an opset does not have at all."""
    names = {node.op_type for node in model.graph.node if node.domain in ('', 'ai.onnx')}
    return [('', name) for name in sorted(names)
            if defs.has(name) and not _has(name, opset)]


_ASIDE = 'trt_segmentation.aside'
"""A domain that the converter leaves alone."""


def _converted(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Convert with onnx's converter, and do what it leaves out.

    It cannot convert any Pad, though those without axes have been the same since opset 13. It
    leaves an attribute on reductions that says how they reduce over no axes; those that name
    their axes do not need it.
    """
    aside = onnx.ModelProto()
    aside.CopyFrom(model)
    aside.opset_import.append(helper.make_opsetid(_ASIDE, 1))
    for node in aside.graph.node:
        if node.op_type == 'Pad' and len(node.input) <= 3:
            node.domain = _ASIDE
    converted = version_converter.convert_version(aside, opset)
    for node in converted.graph.node:
        if node.domain == _ASIDE:
            node.domain = ''
        kept = [each for each in node.attribute if each.name != 'noop_with_empty_axes']
        if any(each.name == 'axes' for each in kept):
            del node.attribute[:]
            node.attribute.extend(kept)
    imports = [entry for entry in converted.opset_import if entry.domain != _ASIDE]
    del converted.opset_import[:]
    converted.opset_import.extend(imports)
    return converted


def _has(name: str, opset: int) -> bool:
    try:
        defs.get_schema(name, opset)
    except defs.SchemaError:
        return False
    return True


def _last_clause(error: Exception) -> str:
    return str(error).strip().rpartition('` failed: ')[2].rstrip('.')
