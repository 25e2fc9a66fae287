# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The resize of uint8 images for ONNX Runtime, compared with plain NumPy."""

from functools import cache

import numpy as np
import onnx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from trt_segmentation.graph.onnx_tools.graph_builder import GraphBuilder
from trt_segmentation.graph.pipeline.head import add_letterbox_window
from trt_segmentation.graph.pipeline.prepare import prepare
from trt_segmentation.graph.pipeline.shrinking import LEAST_SHRINKING, add_resize_from_bytes

EXTENTS = st.integers(1, 70)
IMAGES = st.tuples(st.integers(1, 3), EXTENTS, EXTENTS, st.integers(1, 3))
SIZES = ((1, 1), (5, 4), (24, 31))


@cache
def resizer(size, opset=17, letterbox=False):
    """Returns a function from uint8 [N, H, W, C] to float32 [N, h, w, C]."""
    op = GraphBuilder('head/', opset, for_cpu=True)
    height, width = op.ints(size[0]), op.ints(size[1])
    if letterbox:
        window = add_letterbox_window(op, 'image', size)
        height, width = window.height, window.width
    sizes = op('Concat', op.size('image', 0), height, width, op.size('image', 3), axis=0)
    return runner(op, add_resize_from_bytes(op, 'image', height, sizes))


def runner(op, output):
    """Returns a function from ``image`` to the result of a node."""
    import onnxruntime
    graph = helper.make_graph(
        op.nodes, 'resize',
        [helper.make_tensor_value_info('image', TensorProto.UINT8, list('nhwc'))],
        [onnx.ValueInfoProto(name=output)], op.constants)
    opsets = [helper.make_opsetid('', op.opset)]
    model = helper.make_model(graph, opset_imports=opsets,
                              ir_version=helper.find_min_ir_version_for(opsets))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options,
                                           ['CPUExecutionProvider'])
    return lambda image: session.run(None, {'image': image})[0]


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def along(image, extent, axis):
    """Interpolate one axis of float64 linearly: half-pixel centres, limited to the image."""
    last = image.shape[axis] - 1
    places = np.clip((np.arange(extent) + 0.5) * (last + 1) / extent - 0.5, 0, last)
    low = np.floor(places).astype(int)
    weights = np.expand_dims(places - low, [i for i in range(4) if i != axis])
    high = np.minimum(low + 1, last)
    return np.take(image, low, axis) * (1 - weights) + np.take(image, high, axis) * weights


def resized(image, size):
    return along(along(image.astype(np.float64), size[0], 1), size[1], 2)


@pytest.mark.parametrize('size', SIZES)
@given(shape=IMAGES, seed=st.integers(0, 2 ** 16))
@example(shape=(1, 70, 70, 3), seed=0)
@example(shape=(2, 70, 7, 1), seed=0)
@example(shape=(1, 15, 56, 2), seed=0)  # three and two rows for each row of the result
@example(shape=(1, 14, 56, 2), seed=0)
@example(shape=(1, 1, 1, 3), seed=0)
def test_each_size_is_interpolated_as_by_numpy(size, shape, seed):
    image = noise(shape, seed)
    found = resizer(size)(image)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, resized(image, size), atol=0.01)


@given(shape=IMAGES)
@example(shape=(1, 70, 70, 3))
@example(shape=(2, 40, 70, 1))
def test_a_window_is_interpolated_as_by_numpy(networks, shape):
    image = noise(shape)
    window = networks.letterbox_window(shape[1:3], (9, 7))[2:]
    found = resizer((9, 7), letterbox=True)(image)
    np.testing.assert_allclose(found, resized(image, window), atol=0.01)


@pytest.mark.parametrize('source', [(1080, 1920), (801, 999)])
def test_large_images_are_interpolated_as_by_the_operator_resize(source):
    """Its places are rounded in float32: up to 0.1 of 255 beside the exact value."""
    image = noise((1, *source, 3))
    op = GraphBuilder('whole/', 17)
    whole = runner(op, op.resize_linear(op.cast('image', TensorProto.FLOAT),
                                        op.ints(1, 144, 256, 3)))
    found = resizer((144, 256))(image)
    np.testing.assert_allclose(found, whole(image), atol=0.1)
    np.testing.assert_allclose(found, resized(image, (144, 256)), atol=0.1)


def test_every_opset_gives_the_same(networks):
    image = noise((2, 70, 65, 3))
    wanted = resized(image, (9, 7))
    for opset in (11, *range(13, networks.newest_opset() + 1)):
        np.testing.assert_allclose(resizer((9, 7), opset)(image), wanted, atol=0.01)


@pytest.mark.parametrize('resize', ['stretch', 'letterbox', 'none'])
@pytest.mark.parametrize('layout', ['nchw', 'nhwc'])
@pytest.mark.parametrize('source', [(12 * LEAST_SHRINKING, 90), (5, 6)])
def test_both_forms_feed_the_network_the_same(networks, resize, layout, source):
    size = (None, None) if resize == 'none' else (12, 15)
    spec = networks.spec_of(networks.pointwise(np.eye(3), size, layout=layout),
                            input={'resize': resize, 'scale': 1 / 255, 'mean': [.4, .5, .6]})
    fed = [networks.Runner(prepare(spec, ('mask',), for_cpu=for_cpu), ['network/pixels'])(
        networks.random_image(*source))['network/pixels'] for for_cpu in (False, True)]
    np.testing.assert_allclose(fed[1], fed[0], atol=1e-5)
