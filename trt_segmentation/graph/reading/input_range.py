# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Determines the input range of a network with built-in normalisation from its first operators.

Keras' Rescaling and Normalization, OpenVINO's mean and scale values and many PyTorch wrappers
add such operators. The input is then the pixel (0 to 255) or the pixel / 255; the subtracted mean
shows which.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, numpy_helper

from trt_segmentation.graph.onnx_tools.constants import constants_by_name
from trt_segmentation.graph.onnx_tools.inlining import expanded_nodes

_PIXELS, _UNIT = 1.0, 1 / 255
"""Pixel factors for an input of 0..255 and of 0..1."""

_IGNORED_OPS = ('Cast', 'Identity', 'Transpose', 'Dropout', 'Pad', 'Resize')
_PICKING_OPS = ('Gather', 'Slice', 'Split', 'Unsqueeze', 'Squeeze')
"""Operators that pick channels: in another order, or each on its own. One channel then stands for
all."""

_MAX_STEPS = 16
_COLOURS = 3
_NO_ZERO_POINT = np.zeros(1, np.uint8)
"""What a QuantizeLinear without a zero point has."""


@dataclass(frozen=True)
class _Affine:
    """The function ``factor * value + added``."""

    factor: float = 1.0
    added: float = 0.0

    @property
    def mean(self) -> float:
        """The value that maps to 0."""
        return -self.added / self.factor

    @property
    def deviation(self) -> float:
        """The difference of values that maps to 1."""
        return 1 / self.factor


def read_scale(model: onnx.ModelProto, name: str) -> float | None:
    """Return the factor from the pixel (0..255) to the input of a network with built-in
    normalisation; None for other networks.

    Args:
        model: the network.
        name: of its input.
    """
    found = _Affine()
    nodes = expanded_nodes(model)
    constants = _constants(nodes, model.graph.initializer)
    for node, source in _chain(nodes, name):
        if found == _Affine():
            if node.op_type == 'QuantizeLinear':
                return _of_quantization(*(constants.get(each) for each in node.input[1:3]))
            if node.op_type == 'Clip':
                if factor := _of_range(*(_number(constants, each) for each in node.input[1:3])):
                    return factor
                continue
            if node.op_type == 'BatchNormalization' and _number(constants, node.input[3]):
                return _of_running_statistics(node, constants)
        step = _step(node, source, constants)
        if step is None:
            break
        if not step.factor:
            return None
        found = _Affine(found.factor * step.factor, found.added * step.factor + step.added)
    return None if found == _Affine() else _of_steps(found)


def _of_quantization(step: np.ndarray | None, zero: np.ndarray | None = _NO_ZERO_POINT,
                     ) -> float | None:
    """The factor whose pixels have the calibrated range of a quantized input; None if neither
    has."""
    if step is None or zero is None or step.size != 1 or zero.dtype.kind not in 'iu':
        return None
    lowest, highest = ((limit - float(zero.reshape(-1)[0])) * float(step.reshape(-1)[0])
                       for limit in (np.iinfo(zero.dtype).min, np.iinfo(zero.dtype).max))
    return _of_range(lowest, highest)


def _of_range(lowest: float | None = None, highest: float | None = None) -> float | None:
    """The factor whose pixels have this range or most of it; None if neither has."""
    if lowest != 0 or highest is None:
        return None
    return _PIXELS if 128 <= highest <= 256 else _UNIT if 0.5 <= highest <= 1.01 else None


def _of_running_statistics(node: NodeProto, constants: Mapping[str, np.ndarray]) -> float | None:
    """The factor whose pixels have the mean and variance of a BatchNormalization."""
    mean, variance = (_number(constants, node.input[place]) for place in (3, 4))
    if mean is None or not variance or variance < 0:
        return None
    return _of_statistics(mean, math.sqrt(variance))


def _of_steps(found: _Affine) -> float | None:
    if found.factor <= 0:
        return None
    if abs(found.added) < 0.01 and found.factor * 1.001 >= 1 / 256 and found.factor < 1 / 100:
        return _PIXELS  # to 0..1 or 0..2.5
    if found.factor == 1 and 80 <= found.mean <= 160:
        return _PIXELS  # the mean alone, as in Caffe
    return _of_statistics(found.mean, found.deviation)


def _of_statistics(mean: float, deviation: float) -> float | None:
    """The factor whose pixels have such a mean and deviation; None if neither has."""
    if 60 <= mean <= 190 and 30 <= deviation <= 260:
        return _PIXELS
    return _UNIT if 0.25 <= mean <= 0.75 and 0.12 <= deviation <= 1.02 else None


def _chain(nodes: Sequence[NodeProto], name: str) -> Iterator[tuple[NodeProto, str]]:
    """Yield the first operators that process the image, each with the name of its input."""
    readers: dict[str, list[NodeProto]] = {}
    for node in nodes:
        for each in dict.fromkeys(node.input):
            readers.setdefault(each, []).append(node)
    for _ in range(_MAX_STEPS):
        found = [node for node in readers.get(name, ()) if node.op_type != 'Shape']
        kinds = {node.op_type for node in found}
        if len(found) != 1 and (len(kinds) != 1 or not kinds <= set(_PICKING_OPS)):
            return
        if found[0].op_type not in (*_IGNORED_OPS, *_PICKING_OPS):
            yield found[0], name
        name = found[0].output[0]


def _step(node: NodeProto, source: str, constants: Mapping[str, np.ndarray]) -> _Affine | None:
    """An operator as an affine function of its image; None if it is none."""
    if node.op_type == 'Conv':
        return _step_of_convolution(node, constants)
    if node.op_type == 'BatchNormalization':
        return _step_of_batch_norm(node, constants)
    if node.op_type not in ('Add', 'Sub', 'Mul', 'Div') or len(node.input) != 2:
        return None
    is_first = node.input[0] == source
    number = _number(constants, node.input[1 if is_first else 0])
    if number is None or (node.op_type == 'Div' and (not is_first or not number)):
        return None
    if node.op_type in ('Mul', 'Div'):
        return _Affine(number if node.op_type == 'Mul' else 1 / number)
    if node.op_type == 'Add':
        return _Affine(added=number)
    return _Affine(added=-number) if is_first else _Affine(-1.0, number)


def _step_of_batch_norm(node: NodeProto, constants: Mapping[str, np.ndarray]) -> _Affine | None:
    factor, added, mean, variance = (_number(constants, each) for each in node.input[1:5])
    if factor is None or added is None or mean is None or not variance or variance < 0:
        return None
    factor /= math.sqrt(variance)
    return _Affine(factor, added - mean * factor)


def _step_of_convolution(node: NodeProto, constants: Mapping[str, np.ndarray]) -> _Affine | None:
    """A convolution that scales each channel; None if it is another one."""
    weights = constants.get(node.input[1])
    if weights is None or weights.ndim != 4 or weights.shape[0] != _COLOURS:
        return None
    added = _number(constants, node.input[2]) if len(node.input) > 2 else 0.0
    is_scaling = (np.count_nonzero(weights.reshape(_COLOURS, -1), axis=1) == 1).all()
    if added is None or not is_scaling:
        return None
    return _Affine(float(weights.sum()) / _COLOURS, added)


def _constants(nodes: Sequence[NodeProto], weights: Sequence[onnx.TensorProto],
               ) -> dict[str, np.ndarray]:
    """Constants by name: one number, one for each channel, or one for each pair of channels."""
    return {name: numpy_helper.to_array(tensor)
            for name, tensor in constants_by_name(nodes, weights).items()
            if math.prod(tensor.dims) in (1, _COLOURS, _COLOURS ** 2)}


def _number(constants: Mapping[str, np.ndarray], name: str) -> float | None:
    """A constant, averaged over the channels; None if it is not known."""
    found = constants.get(name)
    return None if found is None or found.dtype.kind not in 'fiu' else float(found.mean())
