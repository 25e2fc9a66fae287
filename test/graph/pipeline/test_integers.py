# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Sizes and positions in head and tail fit into the 32 bits of TensorRT."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from trt_segmentation.graph.onnx_tools.graph_builder import GraphBuilder
from trt_segmentation.graph.pipeline.head import add_letterbox_window
from trt_segmentation.graph.pipeline.tail import add_nearest_index

_LIMIT = 2 ** 31
_RULES = {
    'Add': np.add, 'Sub': np.subtract, 'Mul': np.multiply, 'Div': np.floor_divide,
    'Min': np.minimum, 'Max': np.maximum,
    'Squeeze': lambda x, axis: x.reshape(()), 'Cast': lambda x: x,
    'Gather': lambda x, place: x[place], 'Range': np.arange,
}


def computed(op, shapes, wanted):
    """Return tensors by name, computed node by node; fail where one would not fit into 32 bits.

    Args:
        op: a GraphBuilder.
        shapes: of the graph's inputs, by name.
        wanted: names.
    """
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in op.constants}
    for node in op.nodes:
        if node.op_type == 'Shape':
            result = np.array(shapes[node.input[0]], np.int64)
        else:
            operands = [known[name] for name in node.input]
            assert node.op_type != 'Div' or min(operands[0].min(), operands[1].min()) >= 0, \
                'ONNX and TensorRT round the quotient of negative integers to 0'
            result = _RULES[node.op_type](*operands)
        assert np.abs(result).max(initial=0) < _LIMIT, \
            f'{helper.printable_node(node)} makes {np.abs(result).max()}'
        known[node.output[0]] = result
    return [known[name] for name in wanted]


def rows_and_columns(source, size, cells, scale=None):
    """Return which row and column of a letterboxed network's class map each pixel takes."""
    op = GraphBuilder('', 17)
    window = add_letterbox_window(op, 'image', size)
    extents = op.size('image', 1), op.size('image', 2)
    of_classes = op.size('classes', 1), op.size('classes', 2)
    index = add_nearest_index(op, of_classes, extents, window, size, scale)
    return computed(op, {'image': (1, *source, 3), 'classes': (1, *cells)},
                    (index.rows, index.columns))


def exact(networks, source, size, cells):
    """The same with Python's integers, which have no limit."""
    top, left, height, width = networks.letterbox_window(source, size)
    return [[((2 * i + 1) * extent + 2 * start * pixels) * count // (2 * pixels * full)
             for i in range(pixels)]
            for pixels, start, extent, full, count in zip(
                source, (top, left), (height, width), size, cells, strict=True)]


LARGEST = (8192, 8192), (2048, 2048), (2048, 2048)


@pytest.mark.parametrize('is_known', [False, True])
@pytest.mark.parametrize(('source', 'size', 'cells'), [
    ((1080, 1920), (1024, 1024), (1024, 1024)),
    ((1920, 1080), (1024, 1024), (1024, 1024)),
    ((8192, 8192), (2048, 2048), (512, 512)),
    ((8192, 8192), (2048, 2047), (1025, 1024)),
    ((8192, 4100), (2048, 2048), (2048, 2048)),
    ((4100, 8192), (2048, 2048), (2048, 2048)),
    ((8192, 1), (2048, 2048), (2048, 2048)),
    ((1, 8192), (2048, 2048), (4096, 4096)),
    ((16384, 16384), (4096, 4096), (4096, 4095)),
    LARGEST,
])
def test_letterbox_growth_fits_into_32_bits(networks, source, size, cells, is_known):
    scale = tuple(map(Fraction, cells, size)) if is_known else None
    found = rows_and_columns(source, size, cells, scale)
    for ours, expected in zip(found, exact(networks, source, size, cells), strict=True):
        np.testing.assert_array_equal(ours, expected)


SIDES, SMALL = st.integers(1, 8192), st.integers(1, 2048)


@given(source=st.tuples(SIDES, SIDES), size=st.tuples(SMALL, SMALL),
       cells=st.tuples(SMALL, SMALL), is_known=st.booleans())
@example(*LARGEST, False)
def test_letterbox_growth_is_exact(networks, source, size, cells, is_known):
    scale = tuple(map(Fraction, cells, size)) if is_known else None
    found = rows_and_columns(source, size, cells, scale)
    for ours, expected in zip(found, exact(networks, source, size, cells), strict=True):
        np.testing.assert_array_equal(ours, expected)


@given(pixels=st.integers(1, 16384), cells=st.integers(1, 16384))
@example(16384, 16384)
def test_growth_without_a_letterbox_fits_into_32_bits(networks, pixels, cells):
    op = GraphBuilder('', 17)
    extents = op.size('image', 1), op.size('image', 2)
    of_classes = op.size('classes', 1), op.size('classes', 2)
    index = add_nearest_index(op, of_classes, extents, None, None, None)
    rows, _ = computed(op, {'image': (1, pixels, 1, 3), 'classes': (1, cells, 1)},
                       (index.rows, index.columns))
    np.testing.assert_array_equal(rows, networks.nearest_cells(pixels, cells))
