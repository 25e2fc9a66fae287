# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Determines the input range of a network with built-in normalisation from its first operators.

Keras' Rescaling and Normalization, OpenVINO's mean and scale values and many PyTorch wrappers
add such operators. The input is then the pixel (0 to 255), the pixel / 255, or -1 to 1; the
subtracted mean shows which.
"""

import math
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto

from trt_segmentation.graph.analysis.value_kind import Scope, value_of
from trt_segmentation.graph.onnx_tools.inlining import expanded_nodes
from trt_segmentation.graph.onnx_tools.opset import opset_of
from trt_segmentation.graph.onnx_tools.toposort import producers_of

Range = tuple[float, float]
"""The input of a black and of a white pixel."""

_PIXELS, _UNIT, _SIGNED = (0.0, 255.0), (0.0, 1.0), (-1.0, 1.0)

_PICKING_OPS = ('Gather', 'GatherND', 'Slice', 'Split', 'Unsqueeze', 'Squeeze')
"""Operators that pick channels: in another order, or each on its own. One channel then stands for
all."""

_IGNORED_OPS = ('Cast', 'CastLike', 'Identity', 'Transpose', 'Dropout', 'Pad', 'Resize',
                'Concat', *_PICKING_OPS)

_EQUAL_INPUTS_OPS = ('Concat', 'Add', 'Sub', 'Mul', 'Div')
"""Operators whose image is any of their inputs; that of all others is the first one."""

_TABLE_OPS = ('Gather', 'GatherND')
"""Operators that look their second input up in a table."""

_MEASURING_OPS = ('Shape', 'Size', 'ReduceMax', 'ReduceMin', 'ReduceMean')
"""Operators that read the image beside those that process it."""

_MAX_STEPS = 16
_COLOURS = 3
_BYTE_VALUES = 256
"""Number of values that a pixel of 8 bits can have."""

_NO_ZERO_POINT = np.zeros(1, np.uint8)
"""What a QuantizeLinear without a zero point has."""


@dataclass(frozen=True)
class _Affine:
    """The function ``factor * value + added``."""

    factor: float = 1.0
    added: float = 0.0

    def then(self, other: '_Affine') -> '_Affine':
        """Return the function that applies ``other`` to the value of this one."""
        return _Affine(self.factor * other.factor, self.added * other.factor + other.added)

    def is_like(self, factor: float, added: float) -> bool:
        """Return whether it has this factor and offset, rounded."""
        return math.isclose(self.factor, factor, rel_tol=1e-3) and \
            math.isclose(self.added, added, rel_tol=1e-3)

    @property
    def mean(self) -> float:
        """The value that maps to 0."""
        return -self.added / self.factor

    @property
    def deviation(self) -> float:
        """The difference of values that maps to 1."""
        return 1 / self.factor


_IDENTITY = _Affine()


def read_range(model: onnx.ModelProto, name: str) -> Range | None:
    """Return the range of the input of a network with built-in normalisation; None for other
    networks.

    Args:
        model: the network.
        name: of its input.
    """
    return _Reader(model).range_of(name)


class _Reader:
    """Follows the image through the first operators of a network."""

    def __init__(self, model: onnx.ModelProto) -> None:
        nodes = expanded_nodes(model)
        self._opset = opset_of(model)
        self._scope = Scope(producers_of(nodes),
                            {tensor.name: tensor for tensor in model.graph.initializer})
        self._readers: dict[str, list[NodeProto]] = {}
        for node in nodes:
            used = node.input[:1] if node.op_type == 'CastLike' else node.input
            for each in dict.fromkeys(used):
                if node.op_type not in _MEASURING_OPS:
                    self._readers.setdefault(each, []).append(node)

    def range_of(self, name: str, found: _Affine = _IDENTITY, steps: int = _MAX_STEPS,
                 ) -> Range | None:
        """Return the range of the input.

        Args:
            name: of a value.
            found: the value as a function of the input.
            steps: maximum number of operators that are followed.
        """
        if found.is_like(0.5, 0.5) or found.is_like(127.5, 127.5):
            return _SIGNED
        readers = self._readers.get(name, [])
        kinds = {node.op_type for node in readers}
        if len(readers) > 1 and len(kinds) == 1 and kinds <= set(_PICKING_OPS):
            readers = readers[:1]
        if not steps or (len(readers) != 1 and found != _IDENTITY):
            return _of_steps(found)
        ranges = {self._range_after(node, name, found, steps - 1) for node in readers}
        return ranges.pop() if len(ranges) == 1 else None  # branches may each normalise it

    def _range_after(self, node: NodeProto, name: str, found: _Affine, steps: int,
                     ) -> Range | None:
        after = node.output[0]
        if node.op_type not in _EQUAL_INPUTS_OPS and node.input[0] != name:
            return self._range_of_index(node, name) if found == _IDENTITY else _of_steps(found)
        if node.op_type in _IGNORED_OPS:
            return self.range_of(after, found, steps)
        if found == _IDENTITY:
            if node.op_type == 'QuantizeLinear':
                return _of_quantization(*(self._constant(each) for each in node.input[1:3]))
            if node.op_type == 'Clip':
                limits = (self._number(each) for each in node.input[1:3])
                return _of_limits(*limits) or self.range_of(after, found, steps)
            if node.op_type == 'BatchNormalization' and self._number(node.input[3]):
                return _of_running_statistics(*(self._constant(each) for each in node.input[3:5]))
        step = self._step(node, name)
        if step is None:
            return _of_steps(found)
        return self.range_of(after, found.then(step), steps) if step.factor else None

    def _range_of_index(self, node: NodeProto, name: str) -> Range | None:
        """The range of an image that is no data of an operator: pixels if it indexes a table of
        256 values."""
        if node.op_type not in _TABLE_OPS or node.input[1] != name:
            return None
        table = self._constant(node.input[0])
        return _PIXELS if table is not None and _BYTE_VALUES in table.shape else None

    def _step(self, node: NodeProto, source: str) -> _Affine | None:
        """An operator as an affine function of its image; None if it is none."""
        if node.op_type == 'Conv':
            return self._step_of_convolution(node)
        if node.op_type == 'BatchNormalization':
            return self._step_of_batch_norm(node)
        if node.op_type not in ('Add', 'Sub', 'Mul', 'Div') or len(node.input) != 2:
            return None
        is_first = node.input[0] == source
        number = self._number(node.input[1 if is_first else 0])
        if number is None or (node.op_type == 'Div' and (not is_first or not number)):
            return None
        if node.op_type in ('Mul', 'Div'):
            return _Affine(number if node.op_type == 'Mul' else 1 / number)
        if node.op_type == 'Add':
            return _Affine(added=number)
        return _Affine(added=-number) if is_first else _Affine(-1.0, number)

    def _step_of_batch_norm(self, node: NodeProto) -> _Affine | None:
        factor, added, mean, variance = (self._number(each) for each in node.input[1:5])
        if factor is None or added is None or mean is None or not variance or variance < 0:
            return None
        factor /= math.sqrt(variance)
        return _Affine(factor, added - mean * factor)

    def _step_of_convolution(self, node: NodeProto) -> _Affine | None:
        """A convolution that scales each channel; None if it is another one."""
        weights = self._constant(node.input[1])
        if weights is None or weights.ndim != 4 or weights.shape[0] != _COLOURS:
            return None
        added = self._number(node.input[2]) if len(node.input) > 2 else 0.0
        is_scaling = (np.count_nonzero(weights.reshape(_COLOURS, -1), axis=1) == 1).all()
        if added is None or not is_scaling:
            return None
        return _Affine(float(weights.sum()) / _COLOURS, added)

    def _constant(self, name: str) -> np.ndarray | None:
        return value_of(self._scope, name, self._opset)

    def _number(self, name: str) -> float | None:
        """A constant, averaged over the channels and pixels; None if it is not known."""
        found = self._constant(name)
        return None if found is None or found.dtype.kind not in 'fiu' or not found.size else \
            float(found.mean(dtype=np.float64))


def _of_quantization(step: np.ndarray | None, zero: np.ndarray | None = _NO_ZERO_POINT,
                     ) -> Range | None:
    """The range that is the calibrated one of a quantized input; None if none is."""
    if step is None or zero is None or step.size != 1 or zero.dtype.kind not in 'iu':
        return None
    lowest, highest = ((limit - float(zero.reshape(-1)[0])) * float(step.reshape(-1)[0])
                       for limit in (np.iinfo(zero.dtype).min, np.iinfo(zero.dtype).max))
    return _of_limits(lowest, highest)


def _of_limits(lowest: float | None = None, highest: float | None = None) -> Range | None:
    """The range with these limits or most of it; None if none has."""
    if lowest != 0 or highest is None:
        return None
    return _PIXELS if 128 <= highest <= 256 else _UNIT if 0.5 <= highest <= 1.01 else None


_LARGEST_UNIT_DEVIATION = 0.35
"""Images in 0..1 deviate by 0.2 to 0.3; more is usual only in wider ranges, such as -1..1."""


def _of_running_statistics(means: np.ndarray | None, variances: np.ndarray | None,
                           ) -> Range | None:
    """The range of images with the means and variances of a BatchNormalization; None if none
    has. In a range, a mean that is near one limit leaves little variance."""
    if means is None or variances is None or not (variances > 0).all():
        return None
    deviation = math.sqrt(variances.mean(dtype=np.float64))
    found = _of_statistics(float(means.mean(dtype=np.float64)), deviation)
    if found is None or (found == _UNIT and deviation > _LARGEST_UNIT_DEVIATION):
        return None
    black, white = found
    return found if (variances <= (means - black) * (white - means)).all() else None


def _of_steps(found: _Affine) -> Range | None:
    if found.factor <= 0:
        return None
    if abs(found.added) < 0.01 and found.factor * 1.001 >= 1 / 256 and found.factor < 1 / 100:
        return _PIXELS  # to 0..1 or 0..2.5
    if found.factor == 1 and 80 <= found.mean <= 160:
        return _PIXELS  # the mean alone, as in Caffe
    if 254 <= found.factor <= 256 and 0 <= found.mean <= 0.75:
        return _UNIT  # to pixels, with or without their mean
    return _of_statistics(found.mean, found.deviation)


def _of_statistics(mean: float, deviation: float) -> Range | None:
    """The range of pixels with such a mean and deviation; None if none has."""
    if 60 <= mean <= 190 and 30 <= deviation <= 260:
        return _PIXELS
    return _UNIT if 0.25 <= mean <= 0.75 and 0.12 <= deviation <= 1.02 else None
