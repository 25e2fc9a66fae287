# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The network's input, compared with OpenCV and NumPy."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper

from trt_segmentation.graph.onnx_tools.graph_builder import GraphBuilder
from trt_segmentation.graph.pipeline.head import add_letterbox_window
from trt_segmentation.graph.pipeline.prepare import prepare

EXTENTS = st.integers(1, 40)
SIZES = st.tuples(EXTENTS, EXTENTS)
NETWORK_SIZES = ((1, 1), (1, 9), (5, 4), (7, 8), (24, 31), (32, 32))
NORMALISATIONS = {
    'pixels as they are': {'scale': 1.0, 'mean': [0.0] * 3, 'std': [1.0] * 3},
    'scale': {'scale': 1 / 255},
    'mean': {'mean': [104.0, 117.0, 123.0]},
    'std': {'std': [58.0, 57.0, 50.0]},
    'all': {'scale': 1 / 255, 'mean': [0.485, 0.456, 0.406], 'std': [0.229, 0.224, 0.225]},
    'symmetric': {'scale': 1 / 127.5, 'mean': [1.0, 1.0, 1.0]},
}


@pytest.fixture(scope='session')
def feeder(networks):
    """Makes functions from image (and channels) to the network's input."""
    @cache
    def feeder_of(size, resize='stretch', layout='nchw', dtype=TensorProto.FLOAT, opset=17,
                  normalisation='pixels as they are', color='bgr'):
        open_size = (None, None) if resize == 'none' else size
        model = networks.pointwise(np.eye(3), open_size, layout=layout, dtype=dtype, opset=opset)
        spec = networks.spec_of(model, input={**NORMALISATIONS[normalisation], 'resize': resize,
                                              'color': color})
        runner = networks.Runner(prepare(spec, ('mask',)), ['network/pixels'])
        return lambda image, **controls: runner(image, **controls)['network/pixels']

    return feeder_of


@pytest.mark.parametrize('size', NETWORK_SIZES)
@given(source=SIZES)
def test_stretch_is_opencvs_bilinear_resize(networks, feeder, size, source):
    image = networks.random_image(*source)
    fed = feeder(size)(image)
    assert fed.dtype == np.float32
    np.testing.assert_allclose(fed.transpose(1, 2, 0), networks.resized(image, size), atol=0.02)


@pytest.mark.parametrize('size', NETWORK_SIZES)
@given(source=SIZES)
def test_letterbox_centres_the_picture_between_zeros(networks, feeder, size, source):
    image = networks.random_image(*source)
    fed = feeder(size, 'letterbox', normalisation='mean')(image).transpose(1, 2, 0)
    top, left, height, width = networks.letterbox_window(source, size)
    expected = np.zeros((*size, 3), np.float32)
    expected[top:top + height, left:left + width] = \
        networks.resized(image, (height, width)) - NORMALISATIONS['mean']['mean']
    np.testing.assert_allclose(fed, expected, atol=0.02)
    border = np.ones(size, bool)
    border[top:top + height, left:left + width] = False
    assert not fed[border].any()


@pytest.mark.parametrize(('source', 'size', 'window'), [
    ((10, 20), (32, 32), (8, 0, 16, 32)),  # wide
    ((20, 10), (32, 32), (0, 8, 32, 16)),  # tall
    ((16, 16), (32, 32), (0, 0, 32, 32)),  # fits
    ((10, 20), (31, 32), (7, 0, 16, 32)),  # an odd border has its extra row below
    ((1, 40), (8, 8), (3, 0, 1, 8)),       # never thinner than a pixel
    ((40, 1), (8, 8), (0, 3, 8, 1)),
    ((720, 1280), (512, 512), (112, 0, 288, 512)),
])
def test_letterbox_window(networks, feeder, source, size, window):
    fed = feeder(size, 'letterbox')(np.full((*source, 3), 255, np.uint8))[0]
    rows, columns = np.flatnonzero(fed.any(axis=1)), np.flatnonzero(fed.any(axis=0))
    assert (rows[0], columns[0], len(rows), len(columns)) == window
    assert networks.letterbox_window(source, size) == window


def bounds(op, given):
    """Return the smallest and largest value that each tensor can have: interval arithmetic, as
    TensorRT does it with sizes to know how much memory it needs; of Where, either may come."""
    known = {constant.name: (int(value.min()), int(value.max())) for constant in op.constants
             for value in [numpy_helper.to_array(constant)]} | given
    rules = {
        'Add': lambda a, b: (a[0] + b[0], a[1] + b[1]),
        'Sub': lambda a, b: (a[0] - b[1], a[1] - b[0]),
        'Mul': lambda a, b: (a[0] * b[0], a[1] * b[1]),
        'Div': lambda a, b: (int(a[0] / b[1]), int(a[1] / b[0])),
        'Min': lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
        'Max': lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
        'Less': lambda a, b: (0, 1),
        'Where': lambda _, a, b: (min(a[0], b[0]), max(a[1], b[1])),
    }
    for node in op.nodes:
        if node.output[0] not in known and node.op_type in rules:
            known[node.output[0]] = rules[node.op_type](*(known[name] for name in node.input))
    return known


@pytest.mark.parametrize('size', [(640, 640), (288, 512)])
def test_a_letterboxed_image_is_known_to_be_no_larger_than_the_input(size):
    op = GraphBuilder('head/', 17)
    window = add_letterbox_window(op, 'image', size)
    given_extents = {node.output[0]: extent for node, extent in zip(
        (node for node in op.nodes if node.op_type == 'Gather'), [(64, 2160), (64, 3840)],
        strict=True)}
    known = bounds(op, given_extents)
    assert (known[window.height][1], known[window.width][1]) == size


@given(source=SIZES)
def test_without_resize_the_pixels_arrive_as_they_are(networks, feeder, source):
    image = networks.random_image(*source)
    fed = feeder(None, 'none')(image)
    np.testing.assert_array_equal(fed.transpose(1, 2, 0), image)


@given(source=SIZES, channels=st.permutations([0, 1, 2]))
def test_channels_choose_the_order_of_colours(networks, feeder, source, channels):
    image = networks.random_image(*source)
    fed = feeder(None, 'none')(image, channels=channels)
    np.testing.assert_array_equal(fed.transpose(1, 2, 0), image[..., channels])


@pytest.mark.parametrize('resize', ['stretch', 'letterbox'])
def test_channels_also_apply_to_resized_images(networks, feeder, resize):
    image = networks.random_image(11, 7)
    plain = feeder((16, 16), resize)(image, channels=[0, 1, 2])
    swapped = feeder((16, 16), resize)(image, channels=[2, 0, 1])
    np.testing.assert_array_equal(swapped, plain[[2, 0, 1]])


@pytest.mark.parametrize('name', NORMALISATIONS)
@given(source=SIZES)
def test_normalisation(networks, feeder, name, source):
    told = {'scale': 1.0, 'mean': [0.0] * 3, 'std': [1.0] * 3, **NORMALISATIONS[name]}
    image = networks.random_image(*source)
    fed = feeder(None, 'none', normalisation=name)(image).transpose(1, 2, 0)
    wanted = (image * np.float64(told['scale']) - told['mean']) / told['std']
    np.testing.assert_allclose(fed, wanted, rtol=1e-5, atol=2e-6)


def test_mean_and_std_belong_to_the_networks_channels(networks, feeder):
    image = networks.random_image(5, 6)
    fed = feeder(None, 'none', normalisation='all', color='rgb')(image).transpose(1, 2, 0)
    told = NORMALISATIONS['all']
    wanted = (image[..., ::-1] / 255 - told['mean']) / told['std']
    np.testing.assert_allclose(fed, wanted, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize('resize', ['stretch', 'letterbox', 'none'])
@given(source=SIZES)
def test_nhwc_is_nchw_with_channels_last(networks, feeder, resize, source):
    image = networks.random_image(*source)
    first = feeder((24, 31), resize, normalisation='all')(image)
    last = feeder((24, 31), resize, 'nhwc', normalisation='all')(image)
    np.testing.assert_array_equal(last, first.transpose(1, 2, 0))


@pytest.mark.parametrize(('dtype', 'wanted'), [
    (TensorProto.FLOAT16, np.float16), (TensorProto.DOUBLE, np.float32)])  # see graph.adapting
@given(source=SIZES)
def test_other_floats_are_the_float32_values_cast(networks, feeder, dtype, wanted, source):
    image = networks.random_image(*source)
    single = feeder((24, 31), normalisation='all')(image)
    fed = feeder((24, 31), dtype=dtype, normalisation='all')(image)
    assert fed.dtype == wanted
    np.testing.assert_array_equal(fed, single.astype(wanted))


@pytest.mark.parametrize('resize', ['stretch', 'letterbox'])
@pytest.mark.parametrize('layout', ['nchw', 'nhwc'])
@given(source=SIZES)
def test_uint8_is_rounded(networks, feeder, resize, layout, source):
    image = networks.random_image(*source)
    single = feeder((24, 31), resize, layout)(image)
    fed = feeder((24, 31), resize, layout, TensorProto.UINT8)(image)
    assert fed.dtype == np.int32  # in which TensorRT computes; this network casts its image
    np.testing.assert_array_equal(fed, np.floor(single + np.float32(0.5)).astype(np.uint8))


def test_uint8_gets_the_unchanged_pixels_by_default(networks):
    model = networks.pointwise(np.eye(3), (6, 5), dtype=TensorProto.UINT8)
    spec = networks.spec_of(model, input={'color': 'bgr'})
    image = networks.random_image(6, 5)
    runner = networks.Runner(prepare(spec, ('mask',)), ['network/pixels'])
    np.testing.assert_array_equal(runner(image)['network/pixels'].transpose(1, 2, 0), image)


@pytest.mark.parametrize('resize', ['stretch', 'letterbox', 'none'])
@pytest.mark.parametrize('opset', [11, 12, 13, 16, 18, 19, 20, 21, 'newest'])
def test_every_opset_feeds_the_same(networks, feeder, resize, opset):
    opset = networks.newest_opset() if opset == 'newest' else opset
    image = networks.random_image(23, 41)
    wanted = feeder((24, 31), resize, normalisation='all')(image)
    fed = feeder((24, 31), resize, opset=opset, normalisation='all')(image)
    np.testing.assert_allclose(fed, wanted, atol=1e-6)
