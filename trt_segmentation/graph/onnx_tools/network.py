# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Reads a network: its inputs, its outputs and the operators that compute them."""

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError
from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import load_external_data_for_model

from trt_segmentation.errors import ModelError
from trt_segmentation.graph.onnx_tools.canonical import canonicalized
from trt_segmentation.graph.onnx_tools.constants import constants_by_name
from trt_segmentation.graph.onnx_tools.graph_builder import OLDEST_OPSET
from trt_segmentation.graph.onnx_tools.opset import opset_of, raise_opset
from trt_segmentation.graph.onnx_tools.toposort import (
    bodies,
    is_sorted,
    names_captured,
    names_read,
    producers_of,
    sort_nodes,
)
from trt_segmentation.graph.onnx_tools.validation import (
    check_external_data,
    check_file,
    check_opset,
    check_weights,
    external_data,
)
from trt_segmentation.graph.onnx_tools.weights import without_weights

INTEGER_TYPES = (TensorProto.UINT8, TensorProto.INT8, TensorProto.UINT16, TensorProto.INT16,
                 TensorProto.UINT32, TensorProto.INT32, TensorProto.UINT64, TensorProto.INT64)

FLOAT_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)

Shape = tuple[int | None, ...]
"""Extents; None for a dynamic one."""

_NAMES = {TensorProto.BFLOAT16: 'bfloat16', TensorProto.STRING: 'string'}
"""Names of types that NumPy does not have."""

_SHAPE_ONLY_OPS = {'Cast', 'Identity', 'Transpose', 'Reshape', 'Squeeze', 'Unsqueeze', 'Resize',
                   'Upsample', 'Slice', 'Flatten'}
"""Operators that do not change the meaning of scores."""

_OUTLINE_OPSET = 17
"""Opset of the head and tail around an engine; TensorRT 8.6 supports all of it."""


@dataclass(frozen=True)
class TensorInfo:
    """One input or output.

    Attributes:
        name: its name in the graph.
        dtype: ONNX element type.
        shape: extents; None if the rank is not known.
        made_by: for an output, the operator that determines the meaning of its values.
    """

    name: str
    dtype: int
    shape: Shape | None
    made_by: str = ''

    def __str__(self) -> str:
        return f"'{self.name}' {dtype_name(self.dtype)} {shape_text(self.shape)}"


@dataclass(frozen=True)
class Network:
    """A network as it was exported, to which a head and a tail can be added.

    Attributes:
        model: the ONNX model.
        source: its name in messages, usually its path.
        inputs, outputs: in the graph's order.
        opset: version of the default ONNX domain.
    """

    model: onnx.ModelProto
    source: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    opset: int

    @property
    def metadata(self) -> dict[str, str]:
        """The model's metadata_props."""
        return {entry.key: entry.value for entry in self.model.metadata_props}


def dtype_name(dtype: int) -> str:
    """Return the name of an ONNX element type: 'float32', 'uint8'."""
    if dtype in _NAMES:
        return _NAMES[dtype]
    return str(helper.tensor_dtype_to_np_dtype(dtype)) if dtype else 'unknown type'


def rare_types(network: Network) -> list[str]:
    """Return which of float64 and bfloat16 the inputs, outputs or weights of a network have."""
    found = {info.dtype for info in (*network.inputs, *network.outputs)}
    found.update(tensor.data_type for tensor in network.model.graph.initializer)
    return [dtype_name(dtype) for dtype in (TensorProto.DOUBLE, TensorProto.BFLOAT16)
            if dtype in found]


def shape_text(shape: Shape | None) -> str:
    """Return a shape as text, '?' for a dynamic extent."""
    if shape is None:
        return 'of unknown rank'
    return '[' + ', '.join('?' if extent is None else str(extent) for extent in shape) + ']'


def read_network(path: str | Path) -> Network:
    """Read an ONNX file.

    Raises:
        ModelError: the file is missing, is not ONNX, or is older than opset 11 and cannot be
            converted; its external data is missing or outside its folder; or a weight is not
            finite.
    """
    path = Path(path)
    check_file(path)
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf and the system have their own types
        why = _first_line(error)
        raise ModelError(f'{path}: this is no valid ONNX model ({why}); it is damaged, truncated '
                         'or of another format: copy or export it again') from error
    check_external_data(model, path)
    check_opset(model, path)
    try:
        load_external_data_for_model(model, str(path.parent))
        _sort_if_needed(model)
        check_model(model)
        _drop_unread(model.graph)
    except Exception as error:  # see above
        why = _first_line(error).rstrip('.')
        raise ModelError(f'{path}: this is no valid ONNX model ({why}); export it again, with '
                         'another opset if it is complete') from error
    check_weights(model, path)
    return describe_network(model, str(path))


def network_files(path: Path) -> list[Path]:
    """Return the .onnx file and its external weight files, if they exist.

    Args:
        path: of any model; for a file that is not ONNX, only the file itself is returned.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # protobuf and the system each raise their own
        return [path]
    return [path, *(place for _, place in external_data(model, path).values()
                    if place.is_file())]


def check_model(model: onnx.ModelProto) -> None:
    """Run ONNX's checker. It requires shapes of inputs and outputs, which runtimes do not.

    Raises:
        Exception: the model is not valid; protobuf and onnx have their own types.
    """
    light = without_weights(model)
    for value in (*light.graph.input, *light.graph.output):
        if value.type.HasField('tensor_type'):
            value.type.tensor_type.shape.SetInParent()
    onnx.checker.check_model(light)


def network_metadata(path: Path) -> dict[str, str]:
    """Return the metadata_props of an ONNX file; empty if it is not ONNX. External weights are not
    read."""
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception:  # protobuf and the system each raise their own
        return {}
    return {entry.key: entry.value for entry in model.metadata_props}


def _sort_if_needed(model: onnx.ModelProto) -> None:
    """Sort the nodes if they are not sorted, as in Ultralytics' fp16 exports; runtimes accept
    those."""
    if not is_sorted(model.graph):
        with contextlib.suppress(CycleError):  # the checker reports it
            sort_nodes(model.graph)


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Remove inputs that no node reads, such as ``im_shape`` of some exporters of Paddle, and such
    weights; they change no output, but a runtime asks for them, or does not know their type."""
    read = {name for node in graph.node for name in names_read(node)}
    read.update(value.name for value in graph.output)
    for index in reversed(range(len(graph.initializer))):  # in place: they can be large
        if graph.initializer[index].name not in read:
            del graph.initializer[index]
    if kept := [value for value in graph.input if value.name in read]:
        del graph.input[:]
        graph.input.extend(kept)


def outline_network(source: str, inputs: Iterable[TensorInfo], outputs: Iterable[TensorInfo],
                    ) -> Network:
    """Return a network of which only inputs and outputs are known, such as that of an engine.

    Args:
        source: its name in messages.
        inputs, outputs: of known rank.
    """
    values = [[helper.make_tensor_value_info(info.name, info.dtype, info.shape) for info in infos]
              for infos in (inputs, outputs)]
    graph = helper.make_graph([], 'outline', *values)
    return describe_network(
        helper.make_model(graph, opset_imports=[helper.make_opsetid('', _OUTLINE_OPSET)]), source)


def describe_network(model: onnx.ModelProto, source: str) -> Network:
    """Return a model with its inputs, outputs and opset; an opset older than 11 is converted.

    Raises:
        ModelError: the model has no graph or cannot be converted.
    """
    if not model.graph.output:
        raise ModelError(f'{source}: the graph has no output; export the network, not its weights')
    opset = opset_of(model)
    if opset < OLDEST_OPSET:
        try:
            model = raise_opset(model, OLDEST_OPSET)
        except Exception as error:
            raise ModelError(
                f'{source}: opset {opset} cannot be converted to {OLDEST_OPSET} '
                f'({_first_line(error)}); export it with opset 11 or newer') from error
        opset = OLDEST_OPSET
    model = _with_float32_grids(canonicalized(model, source, opset))
    graph = model.graph
    weights = {initializer.name for initializer in graph.initializer}
    producers = producers_of(graph.node)
    inputs = tuple(_tensor_info(value) for value in graph.input if value.name not in weights)
    shapes = _inferred_shapes(model)
    outputs = tuple(_tensor_info(shapes.get(value.name, value), _made_by(value.name, producers))
                    for value in graph.output)
    return Network(model, source, inputs, outputs, opset)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _with_float32_grids(model: onnx.ModelProto) -> onnx.ModelProto:
    """Cast the grids of GridSample to float32. PyTorch's exporter makes some float64, as in
    Mask2Former's deformable attention; ONNX Runtime has no kernel for that."""
    if not any(node.op_type == 'GridSample' for node in model.graph.node):
        return model
    types = {value.name: value.type.tensor_type.elem_type
             for value in _inferred(model).graph.value_info}
    narrowed = onnx.ModelProto()
    narrowed.CopyFrom(model)
    del narrowed.graph.node[:]
    for index, node in enumerate(model.graph.node):
        if node.op_type == 'GridSample' and types.get(node.input[1]) == TensorProto.DOUBLE:
            grid = f'{node.input[1]}/narrow_{index}'
            narrowed.graph.node.append(helper.make_node('Cast', [node.input[1]], [grid], grid,
                                                        to=TensorProto.FLOAT))
            narrowed.graph.node.append(node)
            narrowed.graph.node[-1].input[1] = grid
        else:
            narrowed.graph.node.append(node)
    return narrowed


_SUPPORTED_TYPES = {TensorProto.UINT8: TensorProto.INT32, TensorProto.INT8: TensorProto.INT32,
                    TensorProto.UINT16: TensorProto.INT32, TensorProto.INT16: TensorProto.INT32,
                    TensorProto.UINT32: TensorProto.INT64, TensorProto.UINT64: TensorProto.INT64,
                    TensorProto.DOUBLE: TensorProto.FLOAT}
"""By type that TensorRT does not support inside a graph, a type that holds the same values."""

MOVING_OPS = ('Identity', 'Transpose', 'Reshape', 'Squeeze', 'Unsqueeze', 'Flatten', 'Slice',
               'Gather', 'Split')
"""Operators that move values of their first input and do not change them."""


def with_supported_types(network: Network) -> Network:
    """Return the network with final Casts changed to types that TensorRT supports before a tail:
    int32 instead of small integers (Ultralytics' semantic networks give uint8), float32 instead of
    float64. TensorRT supports uint8 only at inputs and outputs, and the other types not at all."""
    graph = network.model.graph
    read = Counter(name for node in graph.node for name in node.input)
    usual: dict[str, int] = {}
    constants = constants_by_name(graph.node, graph.initializer)
    for info in network.outputs:
        if info.dtype == TensorProto.UINT8 or (info.dtype in _SUPPORTED_TYPES
                                               and not read[info.name]):
            names = _names_from_cast(graph, info.name, read, constants)
            usual |= dict.fromkeys(names, _SUPPORTED_TYPES[info.dtype])
    if not usual:
        return network
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    for node in model.graph.node:
        if node.op_type == 'Cast' and node.output[0] in usual:
            next(each for each in node.attribute if each.name == 'to').i = usual[node.output[0]]
    for name, constant in constants_by_name(model.graph.node,
                                            model.graph.initializer).items():
        if name in usual:
            values = numpy_helper.to_array(constant)
            wide = values.astype(helper.tensor_dtype_to_np_dtype(usual[name]))
            constant.CopyFrom(numpy_helper.from_array(wide, constant.name))
    for value in (*model.graph.output, *model.graph.value_info):  # some exporters list it twice
        if value.name in usual:
            value.type.tensor_type.elem_type = usual[value.name]
    return describe_network(model, network.source)


def _names_from_cast(graph: onnx.GraphProto, name: str, read: Mapping[str, int],
                     constants: Mapping[str, TensorProto]) -> list[str]:
    """The names of an output from the Cast that makes it on, with those of constant factors; empty
    if another operator makes it.

    Args:
        graph: of the network.
        name: of the output.
        read: how often each value is read.
        constants: by name.
    """
    producers = producers_of(graph.node)
    names, node = [name], producers.get(name)
    while node is not None and node.op_type in (*MOVING_OPS, 'Mul'):
        used = node.input if node.op_type == 'Mul' else node.input[:1]
        moved = [each for each in used if each not in constants]
        if len(moved) != 1 or any(read[each] != 1 for each in used):
            return []
        names += used
        node = producers.get(moved[0])
    return names if node is not None and node.op_type == 'Cast' else []


def argmax_extent(network: Network, node: onnx.NodeProto) -> int:
    """Return the number of classes of which an ArgMax of a network chooses; 0 if it is not
    known."""
    axis = next((each.i for each in node.attribute if each.name == 'axis'), 0)
    found = _inferred(network.model).graph
    shapes = (value_shape(value) for value in (*found.value_info, *found.input)
              if value.name == node.input[0])
    shape = next(shapes, None)
    return (shape[axis] or 0) if shape else 0


def casts_its_input(network: Network) -> bool:
    """Return whether a network only casts its image, so that it accepts it in any type."""
    moved = {network.inputs[0].name}
    for node in network.model.graph.node:
        captured: set[str] = set().union(*(names_captured(body) for body in bodies(node)))
        if not moved.isdisjoint([*node.input[1:], *captured]):
            return False
        if node.input and node.input[0] in moved:
            if node.op_type not in (*MOVING_OPS, 'Cast', 'Shape'):
                return False
            if node.op_type in MOVING_OPS:
                moved.update(node.output)
    return moved.isdisjoint(info.name for info in network.outputs)


def _inferred_shapes(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """Output shapes after inference, which corrects declared ones; exporters often omit them."""
    bare = without_weights(model)
    for value in bare.graph.output:
        value.type.tensor_type.ClearField('shape')
    found = {value.name: value for value in _inferred(bare).graph.output}
    for declared in model.graph.output:
        dims = declared.type.tensor_type.shape.dim
        inferred = found[declared.name].type.tensor_type
        if not inferred.HasField('shape'):
            inferred.CopyFrom(declared.type.tensor_type)
        elif len(dims) == len(inferred.shape.dim):
            for dim, known in zip(inferred.shape.dim, dims, strict=True):
                if not dim.dim_value:
                    dim.CopyFrom(known)
    return found


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without its large weights, with all inferable shapes."""
    try:
        return onnx.shape_inference.infer_shapes(without_weights(model), data_prop=True)
    except Exception:  # inference is optional
        return model


def _tensor_info(value: onnx.ValueInfoProto, made_by: str = '') -> TensorInfo:
    dtype = value.type.tensor_type.elem_type or TensorProto.UNDEFINED
    return TensorInfo(value.name, dtype, value_shape(value), made_by)


def value_shape(value: onnx.ValueInfoProto) -> Shape | None:
    """Return the declared or inferred shape; None if the rank is not known."""
    tensor = value.type.tensor_type
    if not tensor.HasField('shape'):
        return None
    return tuple(dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim)


def _made_by(name: str, producers: dict[str, onnx.NodeProto]) -> str:
    node = producers.get(name)
    while node is not None and node.op_type in _SHAPE_ONLY_OPS:
        node = producers.get(node.input[0])
    return node.op_type if node is not None else ''


def fix_input_shape(network: Network, shape: Shape) -> Network:
    """Return the network with a fixed input shape and its output shapes inferred again.

    Args:
        network: with one input; returned unchanged if its shapes are fixed.
        shape: of the input, without None.
    """
    if network.inputs[0].shape == shape and all(
            info.shape is not None and None not in info.shape for info in network.outputs):
        return network
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    for value in model.graph.input:
        if value.name == network.inputs[0].name:
            for dim, extent in zip(value.type.tensor_type.shape.dim, shape, strict=True):
                dim.dim_value = extent
    _correct_shapes(model)
    return describe_network(model, network.source)


def _correct_shapes(model: onnx.ModelProto) -> None:
    """Replace declared extents by inferred ones. Some exporters declare those of the input that
    they traced, whatever size is fed; and symbols would hide inferred extents."""
    bare = without_weights(model)
    del bare.graph.value_info[:]
    for value in bare.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()
    found = _inferred(bare).graph
    shapes = {value.name: value_shape(value) or () for value in (*found.value_info, *found.output)}
    for value in (*model.graph.value_info, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        for dim, extent in itertools.zip_longest(dims, shapes.get(value.name, ())[:len(dims)]):
            if extent is not None:
                dim.dim_value = extent
            elif not dim.HasField('dim_value'):
                dim.Clear()
