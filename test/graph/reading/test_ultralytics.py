# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Metadata of Ultralytics' exporter is used unless a config overrides it."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from trt_segmentation.errors import ModelError
from trt_segmentation.graph.pipeline.prepare import prepare
from trt_segmentation.graph.pipeline.tensors import NETWORK_PREFIX

SIZE = (32, 48)
METADATA = {'author': 'Ultralytics', 'task': 'semantic', 'imgsz': '[32, 48]', 'stride': '32',
            'names': "{0: 'road', 1: 'car', 2: 'sky'}"}
FED = {'input.color': 'rgb', 'input.scale': 1 / 255, 'input.mean': (0.0,) * 3,
       'input.std': (1.0,) * 3, 'input.resize': 'letterbox', 'input.border': 114.0}


def semantic(networks, size=SIZE, classes=3, **metadata):
    """Return a network that gives the index of the highest channel, uint8 [1, h, w]."""
    nodes = [helper.make_node('Gather', ['images', 'first'], ['scores'], axis=1),
             helper.make_node('ArgMax', ['scores'], ['highest'], axis=1, keepdims=0),
             helper.make_node('Cast', ['highest'], ['output0'], to=TensorProto.UINT8)]
    model = networks.onnx_model(
        nodes, [networks.tensor('images', networks.image_shape(size))],
        [networks.tensor('output0', [1, *size], TensorProto.UINT8)],
        {'first': np.arange(classes)})
    helper.set_model_props(model, METADATA | metadata)
    return model


def provenance_of(spec):
    return {entry.key: (entry.value, entry.origin) for entry in spec.provenance}


def test_feed_and_labels_are_read_from_the_file(networks):
    spec = networks.spec_of(semantic(networks))
    found = provenance_of(spec)
    assert {key: found[key] for key in FED} == {
        key: (value, 'metadata') for key, value in FED.items()}
    assert found['classes.labels'] == (('road', 'car', 'sky'), 'metadata')
    assert found['input.size'] == (SIZE, 'graph')
    assert spec.assumed == ()


def test_an_open_size_is_that_of_the_export(networks):
    found = provenance_of(networks.spec_of(semantic(networks, ('h', 'w'))))
    assert found['input.size'] == (SIZE, 'metadata')
    free = networks.spec_of(semantic(networks, ('h', 'w')), input={'resize': 'none'})
    assert (free.size, free.border) == (None, None)


def test_a_config_goes_before_it(networks):
    spec = networks.spec_of(semantic(networks), classes={'labels': ['a', 'b', 'c']},
                            input={'mean': [100, 100, 100], 'resize': 'stretch'})
    assert (spec.scale, spec.mean, spec.std) == (1.0, (100.0,) * 3, (1.0,) * 3)
    assert (spec.labels, spec.resize, spec.border) == (('a', 'b', 'c'), 'stretch', None)
    assert provenance_of(spec)['classes.labels'][1] == 'config'


@pytest.mark.parametrize('names', ["['road', 'car', 'sky']", "{0: 'road', 1: 'car', 2: 'sky'}"])
def test_names_are_a_list_or_a_dictionary(networks, names):
    assert networks.spec_of(semantic(networks, names=names)).labels == ('road', 'car', 'sky')


@pytest.mark.parametrize('names', ["{0: 'a', 1: 'a', 2: 'b'}", "{1: 'a', 2: 'b'}", '{', '7', ''])
def test_invalid_names_are_ignored(networks, names):
    spec = networks.spec_of(semantic(networks, names=names))
    assert spec.labels == ()
    assert 'classes.labels' in {entry.key for entry in spec.assumed}


def test_of_one_name_the_other_class_is_background(networks):
    spec = networks.spec_of(semantic(networks, classes=2, names="{0: 'crack'}"))
    assert spec.labels == ('background', 'crack')


def test_metadata_of_other_exporters_is_ignored(networks):
    spec = networks.spec_of(semantic(networks, author='somebody'))
    assert spec.resize == 'stretch'
    assert 'input.color' in {entry.key for entry in spec.assumed}


@pytest.mark.parametrize(('task', 'gives'), [('detect', 'boxes'), ('depth', 'distances'),
                                             ('classify', 'one class for the whole image')])
def test_other_tasks_are_refused_unless_kind_is_set(networks, task, gives):
    with pytest.raises(ModelError, match=rf"the task '{task}', which gives {gives} .*-seg\.pt"):
        networks.spec_of(semantic(networks, task=task))
    assert networks.spec_of(semantic(networks, task=task), output={'kind': 'ids'}).kind == 'ids'


def test_borders_are_grey(networks):
    spec = networks.spec_of(semantic(networks))
    fed = f'{NETWORK_PREFIX}images'
    image = networks.random_image(*SIZE[::-1])
    found = networks.Runner(prepare(spec), [fed])(image)[fed]
    top, left, height, width = networks.letterbox_window(image.shape[:2], SIZE)
    inside = np.zeros(SIZE, bool)
    inside[top:top + height, left:left + width] = True
    np.testing.assert_allclose(found[:, ~inside], 114 / 255, rtol=1e-6)
    expected = networks.resized(image[..., ::-1], (height, width))
    np.testing.assert_allclose(found[:, inside].T, expected.reshape(-1, 3) / 255, atol=1e-5)


@pytest.mark.parametrize('listed_twice', [False, True])
def test_ids_are_not_uint8_before_a_tail(networks, listed_twice):
    """TensorRT has uint8 at the ends of a graph only."""
    model = semantic(networks)
    if listed_twice:  # as with dynamic=True
        model.graph.value_info.append(model.graph.output[0])
    spec = networks.spec_of(model)
    assert spec.scores.dtype == TensorProto.INT32
    image = networks.random_image(*SIZE)
    mask = networks.Runner(prepare(spec))(image)['mask']
    np.testing.assert_array_equal(mask, image[..., ::-1].argmax(2))
