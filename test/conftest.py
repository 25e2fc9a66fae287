# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Small networks whose answers can be computed by hand, and real ones with known answers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from onnx import TensorProto, helper, numpy_helper

from trt_segmentation.model_config import ModelConfig

settings.register_profile('repeatable', derandomize=True, deadline=None, database=None)
settings.load_profile('repeatable')

SHARED = Path(__file__).parents[2] / 'shared'
_ROAD = """
input: {color: bgr, scale: 1}
classes: {labels: [background, road, curb, mark]}
"""
_PERSON = """
input: {color: rgb, scale: 0.003921568627}
classes: {labels: [background, person]}
"""
_VOC = """
input: {color: rgb, scale: 0.00784313725, mean: [1, 1, 1]}
classes: {preset: pascal_voc}
"""


@dataclass(frozen=True)
class KnownAnswer:
    """A real network, an image, and the shares of the classes that it must find."""

    model: Path
    config_text: str
    image: Path
    shares: dict

    @property
    def config(self) -> ModelConfig:
        return ModelConfig.from_text(self.config_text, 'test')


def _answers():
    rows = [('selfie_256_nchw', _PERSON, 'astronaut.png', {1: 0.545}),
            ('selfie_256_nchw', _PERSON, 'grace_hopper.jpg', {1: 0.579}),
            ('deeplabv3_mnv2_voc257_nchw', _VOC, 'astronaut.png', {0: 0.539, 15: 0.460}),
            ('deeplabv3_mnv2_voc257_nchw', _VOC, 'chelsea.png', {0: 0.235, 8: 0.765}),
            ('road_segmentation_adas_0001_nhwc', _ROAD, 'road.png', {0: 0.790, 1: 0.210})]
    return [KnownAnswer(SHARED / 'models' / f'{model}.onnx', text, SHARED / 'images' / image,
                        shares) for model, text, image, shares in rows]


@pytest.fixture(params=_answers(), ids=lambda a: f'{a.model.stem}-{a.image.stem}')
def known_answer(request):
    if not request.param.model.is_file():
        pytest.skip(f'{request.param.model} is not here; third-party weights are not shipped')
    return request.param


def pointwise_network(weights, *, size=(6, 8), layout='nchw', activation='', opset=17,
                      dtype=TensorProto.FLOAT, output_layout=None, factor=1, bias=None):
    """Return a network that multiplies every pixel's 3 channels by ``weights`` [C, 3].

    Args:
        size: of its input; (None, None) leaves it open.
        activation: op after the product.
        factor: by which its output is smaller than its input (average pooling).
    """
    weights = np.asarray(weights, np.float32)
    np_type = np.float16 if dtype == TensorProto.FLOAT16 else np.float32
    height, width = (extent or name for extent, name in zip(size, ('h', 'w'), strict=True))
    shape = [1, 3, height, width] if layout == 'nchw' else [1, height, width, 3]
    initializers = [
        numpy_helper.from_array(weights[:, :, None, None].astype(np_type), 'weights'),
        numpy_helper.from_array(np.asarray(np.zeros(len(weights)) if bias is None else bias,
                                           np_type), 'bias')]
    nodes, x = [], 'image'

    def add(op, *inputs, **attributes):
        nonlocal x
        nodes.append(helper.make_node(op, [x, *inputs], [f'x{len(nodes)}'], **attributes))
        x = nodes[-1].output[0]

    if dtype == TensorProto.UINT8:
        add('Cast', to=TensorProto.FLOAT)
    if layout == 'nhwc':
        add('Transpose', perm=[0, 3, 1, 2])
    if factor > 1:
        add('AveragePool', kernel_shape=[factor, factor], strides=[factor, factor])
    add('Conv', 'weights', 'bias')
    if activation:
        add(activation, **({'axis': 1} if activation == 'Softmax' else {}))
    if (output_layout or layout) == 'nhwc':
        add('Transpose', perm=[0, 2, 3, 1])
    nodes[-1].output[0] = 'mask'
    out_type = TensorProto.FLOAT16 if dtype == TensorProto.FLOAT16 else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, 'net', [helper.make_tensor_value_info('image', dtype, shape)],
        [helper.make_tensor_value_info('mask', out_type, [None] * 4)], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', opset)], ir_version=8)


@pytest.fixture(name='pointwise_network')
def pointwise_network_fixture():
    return pointwise_network


@pytest.fixture(scope='session')
def networks():
    """The module ``support/networks.py``: tiny networks, what runs them, references."""
    from importlib import util

    spec = util.spec_from_file_location(
        'tiny_networks', Path(__file__).parent / 'support' / 'networks.py')
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
