# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Engines that were built elsewhere: the same masks as their networks, or a clear refusal."""

import logging

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from trt_segmentation.backends.tensorrt import build_process
from trt_segmentation.backends.tensorrt.builder import Plan
from trt_segmentation.backends.tensorrt.engine_loader import EngineLoader
from trt_segmentation.errors import BackendError, ConfigError, ModelError
from trt_segmentation.options import BuildOptions, RunOptions
from trt_segmentation.segmenter import Segmenter

WEIGHTS = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, -1]]
SCORES = np.random.default_rng(0).normal(size=(1, 4, 8, 12)).astype(np.float32)
SIZE = 32, 48
DIM = [[0.01, 0.01, 0.01]]


def two_outputs(networks):
    model = networks.pointwise(WEIGHTS, SIZE)
    model.graph.node.append(helper.make_node('Neg', ['scores'], ['negative']))
    model.graph.output.append(networks.tensor('negative', [1, 4, *SIZE]))
    return model


NETWORKS = {
    'logits': (lambda n: n.pointwise(WEIGHTS, SIZE), {}),
    'letterbox': (lambda n: n.pointwise(WEIGHTS, SIZE, stride=4), {'resize': 'letterbox'}),
    'probabilities, nhwc': (
        lambda n: n.pointwise(WEIGHTS, SIZE, layout='nhwc', activation='Softmax'),
        {'kind': 'probabilities'}),
    'sigmoid': (lambda n: n.pointwise(WEIGHTS[:1], SIZE, activation='Sigmoid'),
                {'kind': 'sigmoid', 'threshold': 0.6}),
    'int32 ids': (lambda n: n.fixed(SCORES[:, 0].astype(np.int32)), {}),
    'int64 ids': (lambda n: n.fixed(SCORES[:, 0].astype(np.int64)), {}),
    'half input': (lambda n: n.pointwise(WEIGHTS, SIZE, dtype=TensorProto.FLOAT16), {}),
    'half output': (lambda n: n.fixed(np.float16(SCORES)), {}),
    'bytes': (lambda n: n.pointwise(WEIGHTS, SIZE, dtype=TensorProto.UINT8), {}),
    'two outputs': (two_outputs, {'name': 'negative'})}


@pytest.fixture(params=['Builder', 'no Builder'])
def any_tensorrt(tensorrt, request):
    """TensorRT as it is, and as the lean runtime is, which builds nothing."""
    if request.param == 'no Builder':
        del tensorrt.module.Builder
    return tensorrt


def config_of(networks, told):
    """Return a config in which each key is in its section."""
    output = {key: value for key, value in told.items() if key in ('kind', 'threshold', 'name')}
    return networks.config_of(input={'color': 'bgr', **{
        key: value for key, value in told.items() if key not in output}}, output=output)


def open_plan(tmp_path, plan, config):
    path = tmp_path / 'net.engine'
    path.write_bytes(plan)
    return Segmenter.open(path, config=config, options=RunOptions(backend='tensorrt'))


def open_onnx(tmp_path, model, config):
    onnx.save(model, tmp_path / 'net.onnx')
    return Segmenter.open(tmp_path / 'net.onnx', config=config,
                          options=RunOptions(backend='onnxruntime', num_threads=1))


def assert_same(segmenter, reference, images):
    """Compare all outputs, of each image twice and in both channel orders."""
    outputs = reference.available_outputs
    assert segmenter.available_outputs == outputs
    for image in (*images, *images[::-1]):
        for color in ('bgr', 'rgb'):
            found = segmenter.infer(image, color=color, outputs=outputs)
            wanted = reference.infer(image, color=color, outputs=outputs)
            np.testing.assert_array_equal(found.mask, wanted.mask)
            if 'confidence' in outputs:
                np.testing.assert_array_equal(found.confidence, wanted.confidence)
            # ONNX Runtime's own session blends in integers.
            assert np.abs(found.overlay.astype(int) - wanted.overlay).max() <= 1


@pytest.mark.parametrize('name', NETWORKS)
def test_it_gives_what_its_network_gives(networks, any_tensorrt, gpu, tmp_path, name):
    make, told = NETWORKS[name]
    config, model = config_of(networks, told), make(networks)
    segmenter = open_plan(tmp_path, any_tensorrt.plan(model), config)
    images = [networks.random_image(70, 80), networks.random_image(64, 99)]
    assert_same(segmenter, open_onnx(tmp_path, model, config), images)
    segmenter.close()
    segmenter.close()
    gpu.assert_all_is_freed()


@pytest.mark.parametrize('layout', ['nchw', 'nhwc'])
@pytest.mark.parametrize(('told', 'size'), [({}, (24, 36)), ({'size': [16, 40]}, (16, 40))])
def test_an_open_input_gets_the_size_told_or_tuned_for(networks, any_tensorrt, tmp_path, told,
                                                       size, layout):
    model = networks.pointwise(WEIGHTS, (None, None), layout=layout)
    profile = {'pixels': [networks.image_shape(extents, layout)
                          for extents in ((8, 8), (24, 36), (64, 64))]}
    segmenter = open_plan(tmp_path, any_tensorrt.plan(model, profile), config_of(networks, told))
    assert segmenter.spec.size == size
    reference = open_onnx(tmp_path, model, config_of(networks, {'size': list(size)}))
    assert_same(segmenter, reference, [networks.random_image(70, 80)])


def test_a_size_outside_its_profile_is_refused_in_tensorrts_words(networks, tensorrt, tmp_path):
    model = networks.pointwise(WEIGHTS, (None, None))
    profile = {'pixels': ((1, 3, 8, 8), (1, 3, 24, 36), (1, 3, 64, 64))}
    with pytest.raises(BackendError, match=r"'pixels' of shape \[1, 3, 99, 9\]: .*out of range"):
        open_plan(tmp_path, tensorrt.plan(model, profile), config_of(networks, {'size': [99, 9]}))


def test_several_tasks_of_one_engine(networks, any_tensorrt, gpu, tmp_path):
    model = networks.heads({'road': WEIGHTS[:2], 'lanes': WEIGHTS}, SIZE)
    config = networks.config_of(input={'color': 'bgr'}, outputs=[{'name': 'road'},
                                                                 {'name': 'lanes'}])
    segmenter = open_plan(tmp_path, any_tensorrt.plan(model), config)
    cpu, image = open_onnx(tmp_path, model, config), networks.random_image(70, 80)
    for outputs in (('lanes/mask', 'road/overlay'), cpu.available_outputs):
        found = segmenter.infer(image, outputs=outputs).arrays
        for name, array in cpu.infer(image, outputs=outputs).arrays.items():
            of_ties = 1 if name.endswith('overlay') else 0
            np.testing.assert_allclose(found[name].astype(int), array, 0, of_ties, err_msg=name)
    segmenter.close()
    gpu.assert_all_is_freed()


def test_head_and_tail_are_built_once_and_in_fp32(networks, tensorrt, tmp_path):
    plan = tensorrt.plan(networks.pointwise(WEIGHTS, SIZE))
    for _ in range(2):
        open_plan(tmp_path, plan, config_of(networks, {})).close()
    assert [build['source'].partition(' of ')[0] for build in tensorrt.builds] == ['head', 'tail']
    assert {build['options'].precision for build in tensorrt.builds} == {'fp32'}


def test_without_a_builder_one_warning_says_what_runs_where(networks, tensorrt, tmp_path, caplog):
    del tensorrt.module.Builder
    caplog.set_level(logging.WARNING)
    segmenter = open_plan(tmp_path, tensorrt.plan(networks.pointwise(WEIGHTS, SIZE)),
                          config_of(networks, {}))
    segmenter.infer(networks.random_image(70, 80))
    found = [message for record in caplog.records
             if 'assumed values' not in (message := record.getMessage())]
    assert found == ['tensorrt 10.3.0 has no builder: head and tail run on the CPU']


def test_labels_of_another_count_are_refused(networks, tensorrt, tmp_path):
    with pytest.raises(ConfigError, match=r"labels has 2 entries, but output 'scores' has 4"):
        open_plan(tmp_path, tensorrt.plan(networks.pointwise(WEIGHTS, SIZE)),
                  networks.config_of(classes={'labels': ['a', 'b']}))


def test_a_second_input_is_refused_by_name(networks, tensorrt, tmp_path):
    model = networks.pointwise(WEIGHTS, SIZE)
    model.graph.input.append(networks.tensor('depth', [1, 1, *SIZE]))
    with pytest.raises(ModelError, match=r"one image input is needed, .* has 2: .*'depth'"):
        open_plan(tmp_path, tensorrt.plan(model), networks.config_of())


def test_another_memory_format_is_refused_by_name(networks, tensorrt, tmp_path):
    plan = tensorrt.plan(networks.pointwise(WEIGHTS, SIZE), formats={'pixels': 'CHW32'})
    with pytest.raises(ModelError, match="'pixels' has the memory format CHW32; build the engine"):
        open_plan(tmp_path, plan, networks.config_of())


def test_another_type_is_refused_by_name(networks, tensorrt, tmp_path):
    model = networks.pointwise(WEIGHTS, SIZE)
    model.graph.node[-1].output[0] = 'unrounded'
    model.graph.node.append(helper.make_node('Cast', ['unrounded'], ['scores'],
                                             to=TensorProto.INT8))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT8
    with pytest.raises(ModelError, match="'scores' holds INT8; build the engine with one of FLOA"):
        open_plan(tmp_path, tensorrt.plan(model), networks.config_of())


UNKNOWN = (r'Without net\.engine\.json, the machine that it was built for is unknown; this '
           r'machine is tensorrt 10\.3\.0 on Stand-in GPU \(.*\)\. Build it here from its '
           r'\.onnx file, or copy it again')


@pytest.mark.parametrize(('other', 'words'), [
    ({'version': '8.6.1'}, r'expecting library version 10\.3\.0 got 8\.6\.1, please rebuild\.'),
    ({'version': '11.4.0'}, r'expecting library version 10\.3\.0 got 11\.4\.0, please rebuild\.'),
    ({'gpu': 'Orin'}, r'incompatible device, expecting Stand-in GPU got Orin, please rebuild\.')])
def test_a_plan_of_another_machine_is_refused_with_both(networks, tensorrt, tmp_path, other,
                                                        words):
    plan = tensorrt.plan(networks.pointwise(WEIGHTS, SIZE), **other)
    said = rf'net\.engine: TensorRT cannot load .*{words} {UNKNOWN}'
    with pytest.raises(ModelError, match=said):
        open_plan(tmp_path, plan, networks.config_of())


@pytest.mark.parametrize(('part', 'words'), [(slice(-9), 'plan.header.size == blobSize failed'),
                                             (slice(20), 'magic tag'), (slice(0), 'magic tag')])
def test_a_part_of_a_plan_is_refused(networks, tensorrt, tmp_path, part, words):
    plan = tensorrt.plan(networks.pointwise(WEIGHTS, SIZE))[part]
    said = rf'net\.engine: TensorRT cannot load .*{words}.*\. {UNKNOWN} if {len(plan)} bytes is'
    with pytest.raises(ModelError, match=said):
        open_plan(tmp_path, plan, networks.config_of())


def test_head_and_tail_that_do_not_load_are_named(networks, tensorrt, tmp_path, monkeypatch):
    plan, older = tensorrt.plan(networks.pointwise(WEIGHTS, SIZE)), tensorrt.plan(b'', version='9')
    monkeypatch.setattr(build_process, 'build_in_child',
                        lambda *_, **__: Plan(older, b'', (), 0.1))
    with pytest.raises(BackendError, match=r'net\.engine: its head and tail, built for this '
                                           r'machine, .*, cannot be loaded: TensorRT .*got 9,.*'
                                           r'or empty .*engines, so that'):
        open_plan(tmp_path, plan, networks.config_of())


def test_a_network_alone_that_does_not_load_is_named(networks, tensorrt, monkeypatch):
    older = tensorrt.plan(b'', version='9')
    monkeypatch.setattr(build_process, 'build_in_child',
                        lambda *_, **__: Plan(older, b'', (), 0.1))
    spec = networks.spec_of(networks.pointwise(WEIGHTS, SIZE))
    with pytest.raises(BackendError, match=r'net\.onnx: the network only, built for this '
                                           r'machine, .*, cannot be loaded: TensorRT .*got 9,'):
        EngineLoader().open_network_only(spec, BuildOptions())


def test_several_images_at_once_are_refused(networks, any_tensorrt, tmp_path):
    (tmp_path / 'net.engine').write_bytes(any_tensorrt.plan(networks.pointwise(WEIGHTS, SIZE)))
    with pytest.raises(ConfigError, match=r'net\.engine: is an external engine and takes one '
                                          r'image at a time, but batch is 3; open its \.onnx'):
        Segmenter.open(tmp_path / 'net.engine', options=RunOptions('tensorrt', batch=3))


# What its values are -------------------------------------------------------------------------


def large_image(networks):
    """Return an image of twice the network's size, of which it gets each pixel."""
    return networks.random_image(*SIZE).repeat(2, axis=0).repeat(2, axis=1)


def kind_of(segmenter):
    return next((fact.value, fact.origin) for fact in segmenter.spec.provenance
                if fact.key == 'output.kind')


@pytest.mark.parametrize('size', [SIZE, (None, None)])
def test_its_values_are_measured_once(networks, any_tensorrt, gpu, tmp_path, size):
    model = networks.sigmoid_in_parts(DIM, size)
    profile = {'pixels': [(1, 3, 8, 8), (1, 3, *SIZE), (1, 3, 64, 64)]} if None in size else {}
    plan = any_tensorrt.plan(model, profile)
    config = config_of(networks, {**networks.PASSED_THROUGH, 'mean': [127.5] * 3})
    image = large_image(networks)
    copies = []
    for _ in range(2):
        before = gpu.counts['copied in']
        with open_plan(tmp_path, plan, config) as segmenter:
            kind, origin = kind_of(segmenter)
            assert (kind, origin[:10]) == ('sigmoid', 'measured (')
            mask = segmenter.infer(image).mask
        wanted = image.sum(2) > 382.5
        assert 0.2 < wanted.mean() < 0.8
        assert (mask == wanted).mean() > 0.999
        copies.append(gpu.counts['copied in'] - before)
    assert copies[0] == copies[1] + 1
    gpu.assert_all_is_freed()


def test_its_values_are_not_measured_where_that_is_not_wanted(networks, any_tensorrt, tmp_path):
    path = tmp_path / 'net.engine'
    path.write_bytes(any_tensorrt.plan(networks.sigmoid_in_parts(DIM, SIZE)))
    options = RunOptions(backend='tensorrt', measure=False)
    with Segmenter.open(path, config=config_of(networks, {}), options=options) as segmenter:
        assert kind_of(segmenter) == ('logits', 'assumed')


def test_a_config_that_contradicts_its_values_is_refused(networks, any_tensorrt, gpu, tmp_path):
    plan = any_tensorrt.plan(networks.pointwise(WEIGHTS, SIZE))
    with pytest.raises(ConfigError, match=r'is sigmoid, but output .* was measured: '
                                          r'-\d\.\d+ to \d\.\d+; probabilities'):
        open_plan(tmp_path, plan, config_of(networks, {'kind': 'sigmoid'}))
    gpu.assert_all_is_freed()


def test_where_it_cannot_be_run_it_is_assumed(networks, tensorrt, gpu, tmp_path):
    plan = tensorrt.plan(networks.sigmoid_in_parts(DIM, SIZE))
    gpu.fail('enqueue')
    with open_plan(tmp_path, plan, config_of(networks, {})) as segmenter:
        assert kind_of(segmenter) == ('logits', 'assumed')
        segmenter.infer(large_image(networks))
    gpu.assert_all_is_freed()
