# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Settings from the graph, assumed settings, and contradictions."""

from dataclasses import replace

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from trt_segmentation.classes.palette import Palette
from trt_segmentation.errors import ConfigError, ModelError
from trt_segmentation.graph.onnx_tools.network import describe_network
from trt_segmentation.graph.reading.resolve import (
    complete_config,
    embedded_config,
    format_provenance,
    resolve,
    with_mask,
)
from trt_segmentation.model_config import ModelConfig
from trt_segmentation.options import RunOptions

IMAGENET = {'scale': 1 / 255, 'mean': (0.485, 0.456, 0.406), 'std': (0.229, 0.224, 0.225)}
NO_NORMALISATION = {'scale': 1.0, 'mean': (0.0, 0.0, 0.0), 'std': (1.0, 1.0, 1.0)}


def weights(channels):
    return np.eye(channels, 3, dtype=np.float32)


@pytest.fixture(scope='session')
def network_of(networks):
    """Makes a network of 1x1 convolution with so many channels."""
    def build(channels=4, size=(8, 12), **options):
        return networks.pointwise(weights(channels), size, **options)

    return build


def origins(spec):
    return {entry.key: entry.origin for entry in spec.provenance}


def normalisation(spec):
    return {'scale': spec.scale, 'mean': spec.mean, 'std': spec.std}


def declared(networks, inputs, outputs, extra_inputs=()):
    """Return a model of these inputs and outputs, (name, shape, dtype) each, without any node."""
    return networks.onnx_model([], [networks.tensor(*each) for each in [*inputs, *extra_inputs]],
                               [networks.tensor(*each) for each in outputs])


IMAGE = ('pixels', [1, 3, 8, 12], TensorProto.FLOAT)
SCORES = ('scores', [1, 4, 8, 12], TensorProto.FLOAT)


# Without a config ---------------------------------------------------------------------------


def test_a_bare_network(networks, network_of):
    spec = networks.spec_of(network_of())
    assert (spec.color, spec.resize, spec.size, spec.input_layout) == \
        ('rgb', 'stretch', (8, 12), 'nchw')
    assert normalisation(spec) == IMAGENET
    assert (spec.kind, spec.threshold, spec.unlabelled) == ('logits', 0.5, 255)
    assert (spec.scores.name, spec.scores.channels, spec.scores.axis) == ('scores', 4, 1)
    assert spec.labels == ('class 0', 'class 1', 'class 2', 'class 3')
    assert spec.palette == Palette.generate(4)
    assert origins(spec) == {
        'input.layout': 'graph', 'input.size': 'graph', 'input.resize': 'default',
        'input.color': 'assumed', 'input.scale': 'assumed', 'input.mean': 'assumed',
        'input.std': 'assumed', 'output.name': 'graph', 'output.layout': 'graph',
        'output.kind': 'graph', 'output.threshold': 'default', 'classes.labels': 'assumed',
        'classes.colors': 'default', 'classes.unlabelled': 'default'}
    assert {entry.key for entry in spec.assumed} == {
        'input.color', 'input.scale', 'input.mean', 'input.std', 'classes.labels'}


def test_a_complete_config_leaves_no_assumptions(networks, network_of):
    config = {'input': {'color': 'bgr', 'scale': 2.0, 'mean': [1.0, 2.0, 3.0],
                        'std': [4.0, 5.0, 6.0], 'resize': 'letterbox', 'size': [8, 12]},
              'output': {'name': 'scores', 'kind': 'logits', 'layout': 'nchw', 'threshold': 0.25},
              'classes': {'labels': ['a', 'b', 'c', 'd'], 'colors': [[i, i, i] for i in range(4)],
                          'unlabelled': 3}}
    spec = networks.spec_of(network_of(), **config)
    assert spec.assumed == ()
    assert set(origins(spec).items()) == {('input.layout', 'graph')} | {
        (f'{section}.{key}', 'config') for section in config for key in config[section]}
    assert normalisation(spec) == {'scale': 2.0, 'mean': (1.0, 2.0, 3.0), 'std': (4.0, 5.0, 6.0)}
    assert (spec.color, spec.resize, spec.threshold, spec.unlabelled) == \
        ('bgr', 'letterbox', 0.25, 3)
    assert spec.labels == ('a', 'b', 'c', 'd')
    assert spec.palette.colors[3] == (3, 3, 3)


def test_one_sentence_names_the_assumptions(networks, network_of):
    feed = {'scale': 1.0, 'color': 'bgr'}
    spec = networks.spec_of(network_of(), input={'scale': 1.0})
    for labels, keys in ((True, 'classes.labels'), (False, 'input.color')):
        assert spec.assumption_warning(labels=labels) == (
            f'net.onnx: neither a model config nor the network defines {keys}; assumed values are '
            'used, and if one is wrong, the results are wrong. See trt-segmentation inspect '
            'net.onnx')
    only_labels = networks.spec_of(network_of(), input=feed)
    assert 'defines classes.labels; ' in only_labels.assumption_warning(labels=True)
    assert only_labels.assumption_warning(labels=False) == ''
    complete = networks.spec_of(network_of(), input=feed, classes={'labels': list('abcd')})
    assert complete.assumption_warning(labels=True) == ''


@pytest.mark.parametrize('config', [{'scale': 0.5}, {'mean': [1.0, 2.0, 3.0]},
                                    {'std': [1.0, 2.0, 3.0]}])
def test_one_normalisation_setting_disables_the_other_defaults(networks, network_of, config):
    spec = networks.spec_of(network_of(), input=config)
    wanted = {key: tuple(value) if isinstance(value, list) else value
              for key, value in {**NO_NORMALISATION, **config}.items()}
    assert normalisation(spec) == wanted
    assert {origins(spec)[f'input.{key}'] for key in wanted} == {'config', 'default'}


def test_networks_of_bytes_normalise_themselves(networks, network_of):
    spec = networks.spec_of(network_of(dtype=TensorProto.UINT8))
    assert normalisation(spec) == NO_NORMALISATION
    assert {entry.key for entry in spec.assumed} == {'input.color', 'classes.labels'}


def test_one_channel_is_background_and_foreground(networks, network_of):
    spec = networks.spec_of(network_of(1))
    assert spec.labels == ('background', 'foreground')
    assert spec.palette.colors == ((0, 0, 0), (128, 0, 0))


def test_background_gets_the_black(networks, network_of):
    spec = networks.spec_of(network_of(), classes={'labels': ['background', 'b', 'c', 'd']})
    assert spec.palette == Palette.generate(4, background=True)


@pytest.mark.parametrize(('options', 'kind'), [
    ({}, 'logits'), ({'activation': 'Softmax'}, 'probabilities'),
    ({'activation': 'Sigmoid'}, 'sigmoid'), ({'activation': 'HardSigmoid'}, 'sigmoid'),
    ({'activation': 'Relu'}, 'logits'),
    ({'activation': 'Softmax', 'layout': 'nhwc'}, 'probabilities')])
def test_kind_follows_from_the_last_activation(networks, network_of, options, kind):
    spec = networks.spec_of(network_of(**options))
    assert (spec.kind, origins(spec)['output.kind']) == (kind, 'graph')


@pytest.mark.parametrize('dtype', [np.int32, np.int64, np.uint8])
@pytest.mark.parametrize(('shape', 'axis'), [((1, 8, 12), None), ((1, 1, 8, 12), 1),
                                             ((1, 8, 12, 1), 3)])
def test_integers_are_ids(networks, dtype, shape, axis):
    spec = networks.spec_of(networks.fixed(np.zeros(shape, dtype), size=(8, 12)))
    assert (spec.kind, spec.scores.channels, spec.scores.axis) == ('ids', 1, axis)
    assert spec.labels == ()
    assert len(spec.palette.colors) == 255


def test_ids_take_any_number_of_labels(networks):
    ids = networks.fixed(np.zeros((1, 8, 12), np.int64))
    spec = networks.spec_of(ids, classes={'preset': 'cityscapes'})
    assert len(spec.labels) == len(spec.palette.colors) == 19
    spec = networks.spec_of(ids, classes={'labels': ['a', 'b']})
    assert spec.palette == Palette.generate(2)


@given(size=st.tuples(st.integers(4, 300), st.integers(4, 300)), stride=st.integers(1, 32),
       channels=st.sampled_from([1, 2, 19, 150]), layout=st.sampled_from(['nchw', 'nhwc']),
       turned=st.booleans())
def test_the_output_layout_follows_from_its_shape(networks, size, stride, channels, layout,
                                                  turned):
    height, width = (max(1, round(extent / stride)) for extent in size)
    other = {'nchw': 'nhwc', 'nhwc': 'nchw'}[layout] if turned else layout
    shape = {'nchw': [1, channels, height, width], 'nhwc': [1, height, width, channels]}[other]
    if turned and fits(shape, size, layout):
        return  # both readings are possible
    model = declared(networks, [('pixels', networks.image_shape(size, layout))],
                     [('scores', shape)])
    spec = networks.spec_of(model)
    assert (spec.input_layout, spec.scores.channels) == (layout, channels)
    assert spec.scores.axis == (1 if other == 'nchw' else 3)


def fits(shape, size, layout):
    """Return whether a shape may be a strided map of an input of ``size`` in that layout."""
    height, width = shape[2:] if layout == 'nchw' else shape[1:3]
    return abs(height * size[1] - width * size[0]) <= max(size)


def test_of_several_outputs_the_only_map_is_taken(networks):
    model = declared(networks, [IMAGE], [('features', [1, 128]), SCORES, ('loss', [])])
    assert networks.spec_of(model).scores.name == 'scores'


def test_of_several_maps_the_named_one_is_taken(networks):
    model = declared(networks, [IMAGE], [SCORES, ('others', [1, 7, 4, 6])])
    spec = networks.spec_of(model, output={'name': 'others'})
    assert (spec.scores.name, spec.scores.channels) == ('others', 7)
    with pytest.raises(ConfigError, match=r"2 outputs could be .*'scores'.*'others'.*name"):
        networks.spec_of(model)


@pytest.mark.parametrize(('aux', 'main'), [('aux', 'out'), ('first', 'logits'),
                                           ('aux_out', 'output'), ('Auxiliary1', 'classes')])
def test_of_several_maps_the_main_output_is_chosen(networks, aux, main):
    model = declared(networks, [IMAGE], [(aux, [1, 4, 8, 12]), (main, [1, 4, 8, 12]),
                                         ('hidden', [1, 32, 4, 6])])
    spec = networks.spec_of(model)
    assert (spec.scores.name, origins(spec)['output.name']) == (main, 'graph')


def test_of_maps_that_are_alike_the_first_is_assumed(networks, caplog):
    model = declared(networks, [IMAGE], [('first', [1, 4, 8, 12]), ('second', [1, 4, 8, 12])])
    spec = networks.spec_of(model)
    assert (spec.scores.name, origins(spec)['output.name']) == ('first', 'assumed')
    assert 'outputs first, second are alike; the first one is assumed' in caplog.text


def test_instances_of_another_form_are_refused_with_the_reason(networks):
    # YOLOv5: anchors along axis 1, and whether there is any object besides the classes.
    model = declared(networks, [IMAGE], [('output0', [1, 252, 117]), ('output1', [1, 32, 2, 3])])
    with pytest.raises(ConfigError, match=r'not those of .*YOLO from version 8 on.* width\]$'):
        networks.spec_of(model)


@pytest.mark.parametrize('output', [{}, {'kind': 'instances'}])
def test_instances_of_dynamic_shape_are_refused_with_a_remedy(networks, output):
    model = declared(networks, [IMAGE], [('output0', [1, None, None]), ('output1', [1, 32, 2, 3])])
    with pytest.raises(ConfigError, match=r'an instance is dynamic: export it with fixed '
                                          r'shapes .*, without dynamic=True, or with the default'):
        networks.spec_of(model, output=output, classes={'labels': ['car', 'bus']})


@pytest.mark.parametrize('size', [('h', 'w'), (None, None), (8, None)])
def test_a_dynamic_size_needs_a_config_or_no_resize(networks, network_of, size):
    fixed = networks.spec_of(network_of(size=size), input={'size': [8, 12]})
    assert fixed.size == (8, 12)
    assert fixed.network.inputs[0].shape == (1, 3, 8, 12)
    assert fixed.network.outputs[0].shape == (1, 4, 8, 12)
    free = networks.spec_of(network_of(size=size), input={'resize': 'none'})
    assert (free.size, free.resize) == (None, 'none')
    with pytest.raises(ConfigError, match=r'has a dynamic size and input\.size is not set'):
        networks.spec_of(network_of(size=size))


def test_an_open_batch_is_one(networks, network_of):
    model = network_of()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = 'n'
    assert networks.spec_of(model).network.inputs[0].shape == (1, 3, 8, 12)


# Precedence ---------------------------------------------------------------------------------


METADATA = """
input: {color: bgr, scale: 0.5, resize: letterbox}
output: {kind: logits, threshold: 0.25}
classes: {labels: [a, b, c, d], colors: [[1, 1, 1], [2, 2, 2], [3, 3, 3], [4, 4, 4]]}
"""


@pytest.mark.parametrize('text', [
    METADATA, 'input: {mean: [1, 2, 3], std: [1, 2, 4]}\nclasses: {unlabelled: 2}', '',
    'output: {name: scores, layout: nchw}'])
def test_metadata_is_equivalent_to_a_file(networks, network_of, text):
    config = ModelConfig.from_text(text, 'net.yaml')
    without = describe_network(network_of(), 'net.onnx')
    with_metadata = describe_network(network_of(metadata=text), 'net.onnx')
    assert embedded_config(with_metadata) == config
    from_file, from_metadata = resolve(without, config), resolve(with_metadata, ModelConfig())
    assert replace(from_metadata, network=from_file.network) == from_file


def test_a_config_goes_before_metadata(networks, network_of):
    spec = networks.spec_of(network_of(metadata=METADATA), input={'color': 'rgb'},
                            classes={'labels': ['w', 'x', 'y', 'z']})
    assert (spec.color, spec.scale, spec.resize, spec.threshold) == \
        ('rgb', 0.5, 'letterbox', 0.25)
    assert spec.labels == ('w', 'x', 'y', 'z')
    assert spec.palette.colors[0] == (1, 1, 1)


def test_align_corners_is_kept_in_a_complete_config(networks, network_of):
    spec = networks.spec_of(network_of(), output={'align_corners': True})
    assert spec.align_corners and origins(spec)['output.align_corners'] == 'config'
    assert resolve(spec.network, complete_config(spec)).align_corners
    assert not networks.spec_of(network_of(), output={'align_corners': False}).align_corners
    assert 'output.align_corners' not in origins(networks.spec_of(network_of()))


def test_ids_have_no_corners_to_align(networks):
    with pytest.raises(ConfigError, match=r'net.onnx: output.align_corners is true, but '
                                          r'output.kind is ids; it is for logits, prob'):
        networks.spec_of(networks.fixed(np.zeros((1, 8, 12), np.int32)),
                         output={'align_corners': True})


def test_wrong_metadata_is_named(network_of):
    network = describe_network(network_of(metadata='input: {colour: bgr}'), 'net.onnx')
    with pytest.raises(ConfigError, match=r"net\.onnx, metadata 'trt_segmentation': .*colour"):
        resolve(network, ModelConfig())


# Contradictions name both sides ------------------------------------------------------------


CONTRADICTIONS = [
    ({'input': {'size': [9, 12]}}, {}, ['input.size', 'height 9', 'graph has 8']),
    ({'input': {'size': [8, 11]}}, {}, ['input.size', 'width 11', 'graph has 12']),
    ({'input': {'size': [8, 11]}}, {'size': (None, 12)},
     ['input.size', 'width 11', 'graph has 12']),
    ({'input': {'resize': 'none'}}, {}, ['input.resize is none', '8x12']),
    ({'input': {'resize': 'none', 'size': [8, 12]}}, {'size': (None, None)},
     ['input.resize is none', 'input.size is 8x12']),
    ({'output': {'name': 'mask'}}, {}, ["output.name is 'mask'", 'scores']),
    ({'output': {'kind': 'ids'}}, {}, ['output.kind is ids', 'float32']),
    ({'output': {'kind': 'probabilities'}}, {}, ['is probabilities', 'Conv', 'logits']),
    ({'output': {'kind': 'sigmoid'}}, {}, ['is sigmoid', 'Conv', 'logits']),
    ({'output': {'layout': 'nhwc'}}, {}, ['output.layout is nhwc', '[1, 4, 8, 12]', 'nchw']),
    ({'output': {'layout': 'nchw'}}, {'layout': 'nhwc'},
     ['output.layout is nchw', '[1, 8, 12, 4]', 'nhwc']),
    ({'classes': {'labels': ['a', 'b', 'c']}}, {}, ['classes.labels has 3', '4 classes']),
    ({'classes': {'colors': [[0, 0, 0]] * 5}}, {}, ['classes.colors has 5', '4 classes']),
    ({'classes': {'preset': 'cityscapes'}}, {}, ['classes.labels has 19', '4 classes']),
    ({'classes': {'labels': ['a']}}, {'channels': 1},
     ['classes.labels has 1', '1 channel, which makes 2 classes']),
]


@pytest.mark.parametrize(('config', 'options', 'message'), CONTRADICTIONS,
                         ids=[' '.join(message) for _, _, message in CONTRADICTIONS])
def test_contradictions(networks, network_of, config, options, message):
    with pytest.raises(ConfigError) as caught:
        networks.spec_of(network_of(**options), **config)
    assert str(caught.value).startswith('net.onnx: ')
    for words in message:
        assert words in str(caught.value)


@pytest.mark.parametrize('kind', ['logits', 'probabilities', 'sigmoid'])
def test_scores_are_not_integers(networks, kind):
    ids = networks.fixed(np.zeros((1, 8, 12), np.int64))
    with pytest.raises(ConfigError, match=f'output.kind is {kind}, but .* int64'):
        networks.spec_of(ids, output={'kind': kind})


def test_labels_and_colours_from_two_places_must_fit(networks):
    text = yaml.safe_dump({'classes': {'colors': [[0, 0, 0], [1, 1, 1], [2, 2, 2]]}})
    model = networks.fixed(np.zeros((1, 8, 12), np.int64), metadata=text)
    with pytest.raises(ConfigError, match=r'classes\.labels has 2 .*classes\.colors.* 3'):
        networks.spec_of(model, classes={'labels': ['a', 'b']})


# Networks that are refused -----------------------------------------------------------------


def image(*shape, dtype=TensorProto.FLOAT):
    return [('pixels', list(shape), dtype)]


def output(*shape, dtype=TensorProto.FLOAT):
    return [('scores', list(shape), dtype)]


REFUSED = [
    ([*image(1, 3, 8, 12), ('depth', [1, 1, 8, 12])], output(1, 4, 8, 12),
     ['one image input is needed', "has 2: 'pixels' float32 [1, 3, 8, 12], 'depth'",
      'export it with the others as constants']),
    ([], output(1, 4, 8, 12), ['one image input is needed', 'has 0: none']),
    (image(4, 3, 8, 12), output(4, 4, 8, 12), ['has a batch of 4', 'or a dynamic batch']),
    (image(1, 3, 8, 12), output(4, 4, 8, 12), ["'scores'", 'batch of 4, not 1']),
    (image(1, 3, 8), output(1, 4, 8, 12), ['[1, 3, 8]', 'no batch of images']),
    (image(), output(1, 4, 8, 12), ['no batch of images']),
    (image(1, 4, 8, 12), output(1, 4, 8, 12), ['[1, 4, 8, 12]', 'neither 3 channels']),
    (image(1, 2, 8, 12), output(1, 4, 8, 12), ['[1, 2, 8, 12]', 'nor 1, as a gray one has']),
    (image(1, 6, 8, 12), output(1, 4, 8, 12), ['[1, 6, 8, 12]', 'several images']),
    (image(1, 3, 8, 12, dtype=TensorProto.STRING), output(1, 4, 8, 12), ['no image type']),
    (image(1, 3, 8, 12, dtype=TensorProto.BOOL), output(1, 4, 8, 12), ['bool', 'no image type']),
    (image(1, 3, 8, 12), output(1, None, 8, 12), ['[1, ?, 8, 12]', 'dynamic number of classes']),
    (image(1, 3, 8, 12), output(1, 4, 8, 12, dtype=TensorProto.INT64), ['4 channels of integers']),
    (image(1, 3, 8, 12), output(1, 1, 8, 12, dtype=TensorProto.COMPLEX64),
     ['neither scores', 'ids']),
    (image(1, 3, 8, 12), output(1, 8, 12, dtype=TensorProto.STRING),
     ['string [1, 8, 12] is neither scores', 'ids']),
    (image(1, 3, 8, 12), output(1, 9, 12), ['float32 [1, 9, 12]', 'no segmentation']),
    (image(1, 3, 8, 12), output(1, 65536, 8, 12),
     ["'scores' has 65536 classes", 'at most 65535']),
]


@pytest.mark.parametrize(('inputs', 'outputs', 'message'), REFUSED,
                         ids=[message[0] for _, _, message in REFUSED])
def test_networks_that_are_refused(networks, inputs, outputs, message):
    with pytest.raises(ModelError) as caught:
        networks.spec_of(declared(networks, inputs, outputs))
    assert str(caught.value).startswith('net.onnx: ')
    for words in message:
        assert words in str(caught.value)


def test_255_classes_are_taken(networks):
    spec = networks.spec_of(declared(networks, image(1, 3, 8, 12), output(1, 255, 8, 12)))
    assert len(spec.labels) == len(set(spec.palette.colors)) == 255


@pytest.mark.parametrize('axis', [1, -3])
def test_ids_of_more_classes_than_a_mask_holds_are_refused(networks, axis):
    nodes = [helper.make_node('Conv', ['pixels', 'weights'], ['scores']),
             helper.make_node('ArgMax', ['scores'], ['best'], axis=axis),
             helper.make_node('Cast', ['best'], ['ids'], to=TensorProto.INT32)]
    model = networks.onnx_model(nodes, [networks.tensor(*IMAGE)], [
        networks.tensor('ids', [1, 1, 8, 12], TensorProto.INT32)],
        {'weights': np.ones((300, 3, 1, 1), np.float32)})
    spec = networks.spec_of(model)
    with pytest.raises(ConfigError, match='needs 300 class ids, but a mono8 mask holds'):
        with_mask(spec, RunOptions())
    # With 300 classes, 255 is a class.
    assert with_mask(spec, RunOptions(mask_encoding='mono16')).unlabelled == 65535
    assert with_mask(networks.spec_of(model, classes={'merge': {'a': [299]}}), RunOptions())
    with pytest.raises(ConfigError, match=r'labels has 2 entries, but .* has 300 classes'):
        networks.spec_of(model, classes={'labels': ['a', 'b']})


@pytest.mark.parametrize('shape', [[1, 128], [128], []])
def test_a_network_without_maps_is_refused(networks, shape):
    model = declared(networks, [IMAGE], [('features', shape)])
    with pytest.raises(ConfigError, match=r'0 outputs could be the segmentation .*features'):
        networks.spec_of(model)
    with pytest.raises(ModelError, match=r"net\.onnx: .*'features'"):
        networks.spec_of(model, output={'name': 'features'})


def test_an_output_of_unknown_rank_is_refused(networks):
    nodes = [helper.make_node('ReduceMax', ['pixels'], ['top'], keepdims=0),
             helper.make_node('Cast', ['top'], ['whole'], to=TensorProto.INT64),
             helper.make_node('Unsqueeze', ['whole', 'zero'], ['row']),
             helper.make_node('Expand', ['one', 'row'], ['shape']),
             helper.make_node('Reshape', ['pixels', 'shape'], ['scores'])]
    model = networks.onnx_model(nodes, [networks.tensor(*IMAGE)],
                                [networks.tensor('scores', None)],
                                {'zero': np.array([0]), 'one': np.array([1])})
    with pytest.raises(ModelError, match=r"the rank of output 'scores' .* is not known"):
        networks.spec_of(model)


# The table of provenance ------------------------------------------------------------------------


def test_provenance_is_an_aligned_table(networks, network_of):
    spec = networks.spec_of(network_of(150), classes={'preset': 'ade20k'})
    lines = format_provenance(spec).splitlines()
    assert len(lines) == len(spec.provenance)
    for entry, line in zip(spec.provenance, lines, strict=True):
        assert line.split()[0] == entry.key
        assert line.split()[-1] == entry.origin
        assert len(line) < 99
    assert len({line.rindex('  ') for line in lines}) == 1
    assert 'input.size          [8, 12]' in '\n'.join(lines)
    assert '150: wall, building, sky, ...' in '\n'.join(lines)


HALF = {'scale': 1 / 127.5, 'mean': [1.0, 1.0, 1.0]}


@pytest.mark.parametrize('step', ['initializer', 'value', 'value_float'])
@pytest.mark.parametrize('behind', ['', 'Transpose'])
def test_a_quantized_input_brings_the_values_of_training_to_integers(networks, behind, step):
    shape = [1, 4, 6, 3] if behind else [1, 3, 4, 6]
    turned = [helper.make_node('Transpose', ['x'], ['t'], perm=[0, 3, 1, 2])] if behind else []
    image = 't' if behind else 'x'
    nodes = [*turned, helper.make_node('DequantizeLinear', [image, 'step', 'zero'], ['f']),
             helper.make_node('Conv', ['f', 'w'], ['y'])]
    weights = {'step': np.float32(0.0072), 'zero': np.int8(-1),
               'w': np.eye(3, dtype=np.float32)[:2, :, None, None]}
    if step != 'initializer':  # as onnxscript writes them
        number = weights.pop('step')
        value = numpy_helper.from_array(number) if step == 'value' else float(number)
        nodes.insert(0, helper.make_node('Constant', [], ['step'], **{step: value}))
    spec = networks.spec_of(networks.onnx_model(
        nodes, [networks.tensor('x', shape, TensorProto.INT8)],
        [networks.tensor('y', [1, 2, 4, 6])], weights), input=HALF)
    for pixel in (0, 100, 255):
        fed = [(pixel * spec.scale - mean) / std
               for mean, std in zip(spec.mean, spec.std, strict=True)]
        np.testing.assert_allclose(fed, (pixel / 127.5 - 1) / 0.0072 - 1, rtol=1e-6)


@pytest.mark.parametrize('dtype', [TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32])
def test_values_of_training_are_refused_by_plain_integers(networks, network_of, dtype):
    with pytest.raises(ConfigError, match=r'takes integers, but input\.scale, mean and std map '
                                          r'black to -1 and white to 1; set them for integers'):
        networks.spec_of(network_of(dtype=dtype), input=HALF)
