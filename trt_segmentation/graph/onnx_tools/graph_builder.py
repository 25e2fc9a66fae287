# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Builds ONNX nodes for a given opset and runtime."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

OLDEST_OPSET = 11
"""The first opset with half-pixel Resize and dynamic Pad."""

_INTEGER_MIN = 12
"""The first opset in which Min and Max take integers."""

_REDUCE_AXES_AS_INPUT = {'ReduceSum': 13, 'ReduceMax': 18}


class GraphBuilder:
    """Collects nodes and constants, every name under one prefix.

    Calling it adds a node and returns the name of the node's output::

        op = GraphBuilder('tail/', opset=17)
        doubled = op('Mul', x, op.constant(np.float32(2)))

    Args:
        prefix: of every name that the builder generates.
        opset: version of the default ONNX domain, at least ``OLDEST_OPSET``.
        for_cpu: whether to choose operators that are fast in ONNX Runtime on a CPU, instead of in
            TensorRT on a GPU.
    """

    def __init__(self, prefix: str, opset: int, for_cpu: bool = False) -> None:
        self.prefix = prefix
        self.opset = opset
        self.for_cpu = for_cpu
        self.nodes: list[NodeProto] = []
        self._constants: dict[tuple, TensorProto] = {}

    @property
    def constants(self) -> list[TensorProto]:
        """The constants as graph initializers, without duplicates."""
        return list(self._constants.values())

    def __call__(self, op_type: str, *inputs: str, output: str = '', **attributes: Any) -> str:
        name = f'{self.prefix}{op_type}_{len(self.nodes)}'
        output = output or name
        self.nodes.append(helper.make_node(op_type, inputs, [output], name, **attributes))
        return output

    def choose(self, condition: str, then: 'Callable[[GraphBuilder], str]',
               otherwise: 'Callable[[GraphBuilder], str]') -> str:
        """Return the float32 result of one of two subgraphs, chosen at each run.

        Args:
            condition: bool scalar.
            then, otherwise: add the nodes of a subgraph and return its result. They may read
                tensors of this builder.
        """
        return self('If', condition, then_branch=self._branch('then', then),
                    else_branch=self._branch('else', otherwise))

    def _branch(self, name: str, build: 'Callable[[GraphBuilder], str]') -> GraphProto:
        op = GraphBuilder(f'{self.prefix}If_{len(self.nodes)}/{name}/', self.opset, self.for_cpu)
        result = helper.make_tensor_value_info(build(op), TensorProto.FLOAT, None)
        return helper.make_graph(op.nodes, name, [], [result], op.constants)

    def constant(self, value: npt.ArrayLike) -> str:
        """Return the name of a constant that holds ``value`` with its NumPy dtype."""
        array = np.asarray(value)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f'{self.prefix}constant_{len(self._constants)}'
            self._constants[key] = numpy_helper.from_array(array, name)
        return self._constants[key].name

    def ints(self, *values: int) -> str:
        """Return the name of an int64 vector."""
        return self.constant(np.array(values, np.int64))

    def cast(self, x: str, dtype: int) -> str:
        """Return ``x`` as the ONNX element type ``dtype``."""
        return self('Cast', x, to=dtype)

    def size(self, x: str, axis: int) -> str:
        """Return the extent of ``x`` along ``axis`` as an int64 vector of one element."""
        return self('Gather', self('Shape', x), self.ints(axis), axis=0)

    def squeeze(self, x: str, axis: int) -> str:
        """Return ``x`` without its axis ``axis`` of extent 1."""
        if self.opset >= 13:
            return self('Squeeze', x, self.ints(axis))
        return self('Squeeze', x, axes=[axis])

    def unsqueeze(self, x: str, axis: int) -> str:
        """Return ``x`` with a new axis ``axis`` of extent 1."""
        if self.opset >= 13:
            return self('Unsqueeze', x, self.ints(axis))
        return self('Unsqueeze', x, axes=[axis])

    def reduce(self, op_type: str, x: str, axis: int, keepdims: int = 0) -> str:
        """Return ``x`` reduced over ``axis`` by ReduceSum or ReduceMax."""
        if self.opset >= _REDUCE_AXES_AS_INPUT[op_type]:
            return self(op_type, x, self.ints(axis), keepdims=keepdims)
        return self(op_type, x, axes=[axis], keepdims=keepdims)

    def top(self, x: str, count: str, axis: int) -> tuple[str, str]:
        """Return the highest values of ``x`` along ``axis``, descending, and their indices.

        Args:
            x: floats.
            count: number of values: name of an int64 vector of one element.
            axis: of ``x``.
        """
        name = f'{self.prefix}TopK_{len(self.nodes)}'
        values, places = f'{name}/values', f'{name}/places'
        self.nodes.append(helper.make_node('TopK', [x, count], [values, places], name, axis=axis))
        return values, places

    def part(self, x: str, first: int, end: int, axis: int) -> str:
        """Return the slice ``first:end`` of ``x`` along ``axis``."""
        return self('Slice', x, self.ints(first), self.ints(end), self.ints(axis))

    def columns(self, x: str, first: int, end: int) -> str:
        """Return the slice ``first:end`` of ``x`` along the last axis."""
        return self.part(x, first, end, -1)

    def upto(self, count: str) -> str:
        """Return 0 to ``count`` - 1, int64; ``count`` is an int64 vector of one element."""
        return self('Range', self.constant(np.int64(0)), self.squeeze(count, 0),
                    self.constant(np.int64(1)))

    def minimum(self, a: str, b: str) -> str:
        """Return the elementwise minimum of two int64 tensors.

        For sizes, TensorRT 8.6 derives an upper bound from Min, but not from Where: it would
        allocate memory for the larger of the two bounds.
        """
        if self.opset >= _INTEGER_MIN:
            return self('Min', a, b)
        return self('Where', self('Less', a, b), a, b)

    def maximum(self, a: str, b: str) -> str:
        """Return the elementwise maximum of two int64 tensors."""
        if self.opset >= _INTEGER_MIN:
            return self('Max', a, b)
        return self('Where', self('Less', a, b), b, a)

    def resize_linear(self, x: str, sizes: str, align_corners: bool = False) -> str:
        """Return ``x`` resized to the int64 vector ``sizes``: bilinear, half-pixel centres,
        edges clamped, no antialiasing, as OpenCV's ``INTER_LINEAR``; or with aligned corners."""
        unused = '' if self.opset >= 13 else self.constant(np.zeros(0, np.float32))
        return self('Resize', x, unused, unused, sizes, mode='linear',
                    coordinate_transformation_mode='align_corners' if align_corners
                    else 'half_pixel')
