# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What is asked of TensorRT's builder, and what is written down about an engine."""

import json
from dataclasses import asdict, fields, replace

import numpy as np
import pytest

from trt_segmentation.backends.tensorrt import build_requests
from trt_segmentation.backends.tensorrt.build_requests import (
    GraphRequest,
    Machine,
    NetworkRequest,
    build_options,
    sample_images,
    tensor_infos,
)
from trt_segmentation.backends.tensorrt.cache import EngineCache, key_of
from trt_segmentation.errors import ConfigError
from trt_segmentation.options import PRECISIONS, BuildOptions, CalibrationOptions

MACHINE = Machine('tensorrt 10.3.0', 'Stand-in GPU', '9.0')
WEIGHTS = np.eye(3, dtype=np.float32)


@pytest.fixture
def spec(networks):
    return networks.spec_of(networks.pointwise(WEIGHTS, (32, 48)))


@pytest.fixture
def make(spec, tensorrt, tmp_path):
    """Makes an engine of the network; the build that it took is ``tensorrt.builds[-1]``."""
    def make(device=0, **options):
        request = NetworkRequest(spec, BuildOptions(**options), 'nearest', MACHINE)
        return request.make(EngineCache(tmp_path), device)

    return make


def test_a_machine_reads_as_a_sentence():
    assert str(MACHINE) == 'tensorrt 10.3.0 on Stand-in GPU (compute capability 9.0)'
    orin = Machine('tensorrt 10.3.0', 'Orin', '8.7', {'memory_gib': 8, 'multiprocessor_count': 8})
    assert str(orin) == \
        'tensorrt 10.3.0 on Orin (compute capability 8.7, 8 multiprocessors, 8 GiB)'


def test_the_key_is_the_same_each_time_and_can_be_written(spec):
    first, second = (NetworkRequest(spec, BuildOptions(), 'nearest', MACHINE).key_facts()
                     for _ in range(2))
    assert json.dumps(first) == json.dumps(second)


OTHER_OPTIONS = BuildOptions('fp16', True, (32, 32), (96, 96), (2160, 4096), 64, 0,
                             ('EDGE_MASK_CONVOLUTIONS',), True, True, 0)


@pytest.mark.parametrize('name', [each.name for each in fields(BuildOptions)
                                  if each.name not in ('calibration', 'fp16_fallback')])
def test_every_option_changes_the_key(spec, name):
    other = getattr(OTHER_OPTIONS, name)
    assert other != getattr(BuildOptions(), name), 'say another value in OTHER_OPTIONS'
    keys = {key_of(NetworkRequest(spec, options, 'nearest', MACHINE).key_facts())
            for options in (BuildOptions(), replace(BuildOptions(), **{name: other}))}
    assert len(keys) == 2


@pytest.mark.parametrize(('precision', 'count'), [('fp32', 1), ('fp16', 1), ('int8', 2)])
def test_a_fallback_from_int8_is_a_matter_of_int8(spec, tmp_path, precision, count):
    (tmp_path / 'table.json').write_text('{}')
    table = CalibrationOptions(table=str(tmp_path / 'table.json'))
    keys = {key_of(NetworkRequest(spec, BuildOptions(precision, fp16_fallback=fallback,
                                                     calibration=table),
                                  'nearest', MACHINE).key_facts()) for fallback in (True, False)}
    assert len(keys) == count


@pytest.mark.parametrize('change', [
    {'options': BuildOptions('fp16')}, {'options': BuildOptions(dla_core=0)},
    {'mask_interpolation': 'bilinear'}, {'machine': replace(MACHINE, tensorrt='tensorrt 10.9.0')},
    {'machine': replace(MACHINE, properties={'multiprocessor_count': 8})},
    {'machine': replace(MACHINE, gpu='Other')}, {'machine': replace(MACHINE,
                                                                    compute_capability='8.6')}])
def test_the_key_has_all_that_the_engine_depends_on(spec, change):
    request = NetworkRequest(spec, BuildOptions(), 'nearest', MACHINE)
    assert replace(request, **change).key_facts() != request.key_facts()


@pytest.mark.parametrize(('change', 'precisions'), [
    ({'images': 'other'}, {'fp16', 'int8'}), ({'topic': '/camera'}, {'fp16', 'int8'}),
    ({'images': ''}, {'fp16', 'int8'}), ({'method': 'entropy'}, {'int8'}),
    ({'count': 7}, {'int8'}), ({'table': 'table.json'}, {'int8'})])
def test_calibration_matters_for_the_precisions_that_look_at_it(spec, tmp_path, monkeypatch,
                                                                change, precisions):
    for name, content in (('some', b'one'), ('other', b'two')):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'a.png').write_bytes(content)
    (tmp_path / 'table.json').write_text('{}')
    monkeypatch.chdir(tmp_path)
    told = CalibrationOptions('some', method='minmax')
    changed = {precision for precision in PRECISIONS if len({
        json.dumps(NetworkRequest(spec, BuildOptions(precision, calibration=each), 'nearest',
                                  MACHINE).key_facts())
        for each in (told, replace(told, **change))}) == 2}
    assert changed == precisions


def test_the_content_of_the_images_matters_not_their_name(spec, tmp_path):
    keys = []
    for name, content in (('a', b'one'), ('b', b'one'), ('c', b'two')):
        (tmp_path / name).mkdir()
        (tmp_path / name / '0.png').write_bytes(content)
        options = BuildOptions('fp16', calibration=CalibrationOptions(str(tmp_path / name)))
        keys.append(NetworkRequest(spec, options, 'nearest', MACHINE).key_facts())
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize('precision', ['fp32', 'fp16'])
def test_versions_of_the_converters_matter_where_they_convert(spec, monkeypatch, precision):
    request = NetworkRequest(spec, BuildOptions(precision), 'nearest', MACHINE)
    before = request.key_facts()
    monkeypatch.setattr(build_requests.metadata, 'version', lambda name: '0.1')
    assert (request.key_facts() != before) == (precision == 'fp16')


def test_what_builds_read_from_the_environment_matters(spec, monkeypatch):
    request = NetworkRequest(spec, BuildOptions(), 'nearest', MACHINE)
    monkeypatch.delenv('NVIDIA_TF32_OVERRIDE', raising=False)
    before = request.key_facts()
    monkeypatch.setenv('NVIDIA_TF32_OVERRIDE', '0')
    assert request.key_facts() != before


def test_nodes_that_stay_in_float_matter(spec):
    request = GraphRequest(spec.network.model, 'net', BuildOptions('fp16'), MACHINE)
    assert replace(request, kept=('loud',)).key_facts() != request.key_facts()


def test_an_engine_is_built_on_its_own_gpu(make, tensorrt):
    make(device=3)
    assert tensorrt.builds[-1]['device'] == 3


def test_head_tail_and_boxes_stay_in_float(make, tensorrt):
    make(precision='fp16')
    in_float = tensorrt.builds[-1]['float_layers']
    assert in_float('head/Resize_3')
    assert in_float('tail/ArgMax_0')
    assert in_float('network/instances/Sub_40')
    assert not in_float('network/Conv_0')


def test_nodes_that_fp16_cannot_hold_stay_in_float(spec, tensorrt, tmp_path):
    request = GraphRequest(spec.network.model, 'net', BuildOptions('fp16'), MACHINE, ('loud',))
    request.make(EngineCache(tmp_path), 0)
    in_float = tensorrt.builds[-1]['float_layers']
    assert in_float('network/loud')
    assert not in_float('network/quiet')


def test_a_graph_without_an_image_has_no_profile(spec, tensorrt, tmp_path):
    GraphRequest(spec.network.model, 'net', BuildOptions(), MACHINE).make(EngineCache(tmp_path), 0)
    assert tensorrt.builds[-1]['profiles'] == {}


def test_what_is_written_down_can_be_read_back(make, spec):
    options = BuildOptions('fp32', tactic_sources=('CUBLAS',),
                           calibration=CalibrationOptions('folder', count=7))
    facts = json.loads(json.dumps(make(**asdict(options) | {
        'calibration': options.calibration}).facts))
    assert build_options(facts['options']) == options
    assert tuple(tensor_infos(facts['network']['inputs'])) == spec.network.inputs
    assert tuple(tensor_infos(facts['network']['outputs'])) == spec.network.outputs
    assert Machine(**facts['machine']) == MACHINE
    assert ['mask', 'outputs', 'uint8 [1, ?, ?]'] in facts['tensors']


def test_int8_needs_images(make):
    with pytest.raises(ConfigError, match='calibration'):
        make(precision='int8')


@pytest.mark.parametrize(('options', 'size'), [
    ({}, (360, 640)), ({'min_size': (400, 64)}, (400, 640)),
    ({'max_size': (200, 300)}, (200, 300))])
def test_samples_have_sizes_that_the_engine_takes(options, size):
    images = sample_images(BuildOptions(**options))
    assert {image.shape for image in images} == {(*size, 3)}
    assert len({image.tobytes() for image in images}) == 4


def test_one_sample_more_has_the_largest_size():
    options = BuildOptions(max_size=(900, 1200))
    images = sample_images(options, largest=True)
    assert [image.shape for image in images] == [(360, 640, 3)] * 4 + [(900, 1200, 3)]


def test_a_network_alone_is_no_camera_whatever_its_input_is_called(networks, tensorrt, tmp_path):
    model = networks.pointwise(WEIGHTS, (32, 48), names=('image', 'scores'))
    GraphRequest(model, 'net.onnx', BuildOptions(), MACHINE).make(EngineCache(tmp_path), 0)
    assert tensorrt.builds[-1]['profiles'] == {}
