# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Queries of masks and classes become scores as in the code of MaskFormer and Mask2Former."""

from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto

from trt_segmentation.errors import ConfigError, ModelError
from trt_segmentation.graph.onnx_tools.network import TensorInfo, describe_network, outline_network
from trt_segmentation.graph.pipeline.prepare import prepare
from trt_segmentation.graph.reading.resolve import complete_config, resolve
from trt_segmentation.model_config import ModelConfig, OutputConfig

SIZE = (8, 12)
SCORES = 'network/queries/scores'
MASKS = np.random.default_rng(0).normal(0, 3, (1, 6, 4, 6)).astype(np.float32)
CLASSES = np.random.default_rng(1).normal(0, 3, (1, 6, 4)).astype(np.float32)


def network(networks, outputs=None, *, opset=17, size=SIZE):
    """Return a network that gives these arrays, by output name, for every image."""
    return networks.with_outputs(outputs or {'masks': MASKS, 'classes': CLASSES}, size=size,
                                 opset=opset)


def combined(networks, masks=MASKS, classes=CLASSES):
    likely = networks.softmax(classes[0], axis=1)[:, :-1]
    return np.einsum('qc,qhw->chw', likely, networks.sigmoid(masks[0]))


@pytest.mark.parametrize('opset', [11, 13, 17, 20])
def test_scores_are_sums_over_all_queries(networks, opset):
    spec = networks.spec_of(network(networks, opset=opset))
    image = networks.random_image(*SIZE)
    found = networks.Runner(prepare(spec), [SCORES])(image)
    expected = combined(networks)
    np.testing.assert_allclose(found[SCORES], expected, rtol=1e-5)
    np.testing.assert_array_equal(found['mask'], networks.grown(expected.argmax(0), SIZE))
    np.testing.assert_array_equal(
        found['confidence'],
        networks.grown(networks.as_byte(np.minimum(expected.max(0), 1)), SIZE))


def test_grow_masks_resizes_before_combining(networks):
    spec = networks.spec_of(network(networks), output={'kind': 'queries', 'grow_masks': True})
    large = np.moveaxis(networks.resized(np.moveaxis(MASKS[0], 0, 2), SIZE), 2, 0)[None]
    expected = combined(networks, large)
    found = networks.Runner(prepare(spec), [SCORES])(networks.random_image(*SIZE))
    np.testing.assert_allclose(found[SCORES], expected, rtol=1e-4)
    assert (found['mask'] != networks.grown(combined(networks).argmax(0), SIZE)).any()


@pytest.mark.parametrize('grow', [False, True])
def test_open_sizes_are_combined_too(networks, grow):
    model = network(networks, size=('h', 'w'))
    for value in model.graph.output:
        for dim in value.type.tensor_type.shape.dim[2:] if value.name == 'masks' else ():
            dim.dim_param = 'm'
    spec = networks.spec_of(model, input={'resize': 'none'},
                            output={'kind': 'queries', 'grow_masks': grow})
    mask = networks.Runner(prepare(spec))(networks.random_image(*SIZE))['mask']
    fixed = networks.spec_of(network(networks), output={'kind': 'queries', 'grow_masks': grow})
    expected = networks.Runner(prepare(fixed))(networks.random_image(*SIZE))['mask']
    np.testing.assert_array_equal(mask, expected)


def test_provenance(networks):
    provenance = {entry.key: (entry.value, entry.origin)
                  for entry in networks.spec_of(network(networks)).provenance}
    assert provenance['output.kind'] == ('queries', 'graph')
    assert provenance['output.name'] == ('masks', 'graph')
    assert provenance['output.class_name'] == ('classes', 'graph')
    assert provenance['output.grow_masks'] == (False, 'assumed')
    assert provenance['classes.labels'][0] == ('class 0', 'class 1', 'class 2')


OTHERS = {'features': np.zeros((1, 6, 9), np.float32),
          'pixel_map': np.zeros((1, 6, 2, 3), np.float32)}


def test_known_names_decide_among_several(networks):
    outputs = {'masks_queries_logits': MASKS, 'class_queries_logits': CLASSES, **OTHERS}
    spec = networks.spec_of(network(networks, outputs))
    assert spec.pair.masks.name == 'masks_queries_logits'
    assert spec.pair.classes.name == 'class_queries_logits'


def test_ambiguous_names_require_a_config(networks):
    model = network(networks, {'masks': MASKS, 'classes': CLASSES, **OTHERS})
    with pytest.raises(ConfigError, match=r"'masks' with 'classes' or .*output\.class_name"):
        networks.spec_of(model)
    with pytest.raises(ConfigError, match=r"could be .*'masks' with 'classes' or"):
        networks.spec_of(model, output={'kind': 'queries'})
    spec = networks.spec_of(model, output={'name': 'masks', 'class_name': 'classes'})
    assert (spec.pair.masks.name, spec.pair.classes.name) == ('masks', 'classes')


def test_a_complete_config_gives_the_same_spec(networks):
    read = describe_network(network(networks), 'net.onnx')
    spec = resolve(read, ModelConfig(output=OutputConfig(grow_masks=True, kind='queries')))
    again = resolve(read, ModelConfig.from_text(complete_config(spec).to_text(), 'test'))
    assert again.assumed == ()
    assert replace(again, provenance=(), network=read) == \
        replace(spec, provenance=(), network=read)


def test_an_own_engine_has_the_combined_output(networks):
    spec = networks.spec_of(network(networks))
    engine = outline_network('net.engine', spec.network.inputs, spec.network.outputs)
    again = resolve(engine, complete_config(spec))
    assert again.scores == spec.scores
    assert again.network is not spec.network


@pytest.mark.parametrize(('outputs', 'config', 'message'), [
    ({'scores': np.zeros((1, 3, 4, 6), np.float32)}, {'kind': 'queries'},
     r"is queries, but no matching .*'scores'"),
    ({'masks': MASKS, 'classes': CLASSES}, {'kind': 'queries', 'class_name': 'nowhere'},
     r"queries and class_name 'nowhere', but no matching"),
    ({'masks': MASKS, 'classes': CLASSES},
     {'kind': 'logits', 'name': 'masks', 'class_name': 'classes'},
     r"class_name is 'classes', but output\.kind is logits; it is for queries and instances")])
def test_contradictions(networks, outputs, config, message):
    with pytest.raises(ConfigError, match=message):
        networks.spec_of(network(networks, outputs), output=config)


def test_an_external_engine_is_refused(networks):
    image = TensorInfo('pixels', TensorProto.FLOAT, (1, 3, *SIZE))
    engine = outline_network('net.engine', [image], [
        TensorInfo('masks', TensorProto.FLOAT, MASKS.shape),
        TensorInfo('classes', TensorProto.FLOAT, CLASSES.shape)])
    with pytest.raises(ModelError, match=r'net\.engine: .*queries.*open its \.onnx file'):
        resolve(engine, ModelConfig())
