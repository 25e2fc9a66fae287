# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""From a network or an engine file to a session: what is built when, and what is refused."""

import hashlib
import json
import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from trt_segmentation.backends import stored_config
from trt_segmentation.backends.onnxruntime import OnnxGraph
from trt_segmentation.backends.tensorrt import build_process
from trt_segmentation.backends.tensorrt.cache import (
    Engine,
    read_engine,
    sidecar_of,
    write_engine,
)
from trt_segmentation.backends.tensorrt.engine_loader import EngineLoader
from trt_segmentation.classes.mask_encoding import MONO8, MONO16
from trt_segmentation.errors import BackendError, ConfigError, MissingBackendError, ModelError
from trt_segmentation.graph.analysis import measurement
from trt_segmentation.graph.onnx_tools.network import read_network
from trt_segmentation.graph.reading.resolve import resolve
from trt_segmentation.options import BuildOptions, CalibrationOptions, RunOptions
from trt_segmentation.segmenter import Segmenter

WEIGHTS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
SIZE = 32, 48
TOLD = {'input': {'color': 'bgr', 'scale': 1.0, 'mean': [0.0] * 3, 'std': [1.0] * 3},
        'classes': {'labels': ['blue', 'green', 'red']}}
SMALL = {'min_size': (64, 64), 'opt_size': (64, 96), 'max_size': (128, 128)}


@pytest.fixture
def model(networks, tmp_path):
    """The path of a network whose mask is the brightest channel of its 32x48 image."""
    onnx.save(networks.pointwise(WEIGHTS, SIZE), tmp_path / 'net.onnx')
    return tmp_path / 'net.onnx'


@pytest.fixture
def open_path(networks, tensorrt):
    """Opens a network or an engine on the stand-in."""
    def open_path(path, told=TOLD, mask_interpolation='nearest', batch=1, overlay_scale=1.0,
                  **build):
        options = RunOptions(backend='tensorrt', mask_interpolation=mask_interpolation,
                             batch=batch, overlay_scale=overlay_scale,
                             build=BuildOptions(**{**SMALL, **build}))
        return Segmenter.open(path, config=networks.config_of(**told), options=options)

    return open_path


@pytest.fixture
def make_engine(networks, model):
    """Writes an engine file, as ``trt-segmentation build --output`` does; returns its path."""
    def make(network=None, told=TOLD, mask_size=None, encoding=MONO8, batch=1,
             overlay_scale=1.0, **build):
        if network is not None:
            onnx.save(network, model)
        spec = replace(resolve(read_network(model), networks.config_of(**told), batch),
                       mask_size=mask_size, encoding=encoding, overlay_scale=overlay_scale)
        engine = EngineLoader().fetch(spec, BuildOptions(**{**SMALL, **build}), 'nearest')
        path = model.with_suffix('.engine')
        write_engine(path, engine)
        return path

    return make


@pytest.fixture
def image(networks):
    return networks.random_image(*SIZE).repeat(2, axis=0).repeat(2, axis=1)


# Networks ----------------------------------------------------------------------------------


def test_an_engine_is_built_once(open_path, model, tensorrt, image):
    masks = [open_path(model).infer(image).mask for _ in range(2)]
    assert len(tensorrt.builds) == 1
    for mask in masks:
        np.testing.assert_array_equal(mask, image.argmax(axis=2))


SUPPORT = Path(__file__).parents[2] / 'support'

OPENS_A_CACHED_ENGINE = """
import sys
from importlib.machinery import ModuleSpec
from types import SimpleNamespace
sys.path.insert(0, sys.argv[1])
import pytest
from gpu_stand_in import Gpu
from trt_segmentation.segmenter import Segmenter
from trt_segmentation.options import BuildOptions, RunOptions

assert 'onnx' not in sys.modules, 'it is imported before CUDA starts'
gpu = Gpu(pytest.MonkeyPatch())
engines = SimpleNamespace(deserialize_cuda_engine=lambda plan: SimpleNamespace(num_io_tensors=0))
sys.modules['tensorrt'] = SimpleNamespace(
    __name__='tensorrt', __version__=sys.argv[2], __spec__=ModuleSpec('tensorrt', None),
    ILogger=type('ILogger', (), {}), Runtime=lambda logger: engines)
from trt_segmentation.backends.tensorrt import engine_loader
engine_loader.find_device = lambda index: gpu.device
build = BuildOptions('fp16', min_size=(64, 64), opt_size=(64, 96), max_size=(128, 128))
options = RunOptions('tensorrt', engine_cache=sys.argv[4], build=build)
print(Segmenter.open(sys.argv[3], config=sys.argv[5], options=options).info)
print(*sys.modules)
"""
"""A process on a TensorRT that can load engines, and cannot build any."""


@pytest.mark.parametrize('is_measured', [False, True])
def test_a_cached_engine_is_opened_without_what_builds_one(
        networks, open_path, model, tensorrt, tmp_path, is_measured):
    told = {'input': TOLD['input']} if is_measured else TOLD
    if is_measured:
        onnx.save(networks.sigmoid_in_parts([[0.01, 0.01, 0.01]], SIZE), model)
    open_path(model, told, precision='fp16').close()
    assert len(list((tmp_path / 'engines').glob('*.measured.json'))) == is_measured
    config = tmp_path / 'net.yaml'
    config.write_text(networks.config_of(**told).to_text())
    done = subprocess.run(
        [sys.executable, '-c', OPENS_A_CACHED_ENGINE, SUPPORT, tensorrt.module.__version__, model,
         tmp_path / 'engines', config], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    info, modules = done.stdout.splitlines()[-2:]
    assert 'fp16 in' in info
    assert not {'onnxruntime', 'cv2', 'filelock', 'asyncio', 'multiprocessing', 'tqdm',
                'trt_segmentation.backends.tensorrt.builder'} & set(modules.split())


@pytest.mark.parametrize('other', [
    {'precision': 'fp16'}, {'tf32': True}, {'max_size': (96, 128)}, {'workspace': 64},
    {'mask_interpolation': 'bilinear'}, {'told': {'input': {'color': 'rgb'}}}])
def test_what_changes_the_engine_builds_another(open_path, model, tensorrt, other):
    open_path(model)
    for _ in range(2):
        open_path(model, **other)
    assert len(tensorrt.builds) == 2


def test_building_leaves_nothing_on_the_gpu(open_path, model, gpu, tensorrt):
    open_path(model).close()
    assert len(tensorrt.builds) == 1
    gpu.assert_all_is_freed()


def test_labels_and_colours_are_no_part_of_the_engine(open_path, model, tensorrt):
    open_path(model)
    classes = {'labels': ['a', 'b', 'c'], 'colors': [[1, 2, 3]] * 3}
    segmenter = open_path(model, told={**TOLD, 'classes': classes})
    assert (segmenter.spec.labels, len(tensorrt.builds)) == (('a', 'b', 'c'), 1)


def test_what_really_runs_is_said(open_path, model):
    info = open_path(model).info
    assert (info.backend, info.version, info.device) == ('tensorrt', '10.3.0', 'Stand-in GPU')
    assert info.precision == 'fp32'
    assert open_path(model, precision='fp16').info.precision == 'fp16'


def test_int8_without_images_is_refused_before_anything_is_built(open_path, model, tensorrt):
    with pytest.raises(ConfigError, match=r'int8 .*calibration'):
        open_path(model, precision='int8')
    assert tensorrt.builds == []


def test_a_build_has_the_profile_the_timings_and_the_gpu(open_path, model, tensorrt):
    open_path(model)
    open_path(model, tf32=True)
    first, second = tensorrt.builds
    assert first['profiles'] == {'image': ((1, 64, 64, 3), (1, 64, 96, 3), (1, 128, 128, 3))}
    assert (first['timing_cache'], second['timing_cache']) == (b'', b'times')
    assert first['device'] == 0


@pytest.mark.parametrize('sizes', [
    {'min_size': (400, 800), 'opt_size': (400, 800), 'max_size': (400, 800)},
    {'max_size': (100, 2000)}])
def test_any_profile_can_be_checked_on_the_samples(open_path, model, tmp_path, sizes):
    open_path(model, **sizes)
    (sidecar,) = (tmp_path / 'engines').glob('net*.engine.json')
    assert json.loads(sidecar.read_text())['facts']['agreement_with_fp32'] == 1


# Engine files ------------------------------------------------------------------------------


@pytest.mark.parametrize('told', [{}, TOLD, {'classes': {'labels': ['a', 'b', 'c']}},
                                  {'classes': {'colors': [[9, 9, 9]] * 3}}])
def test_an_engine_file_needs_no_network(open_path, make_engine, model, image, told):
    path = make_engine()
    model.unlink()
    segmenter = open_path(path, told)
    np.testing.assert_array_equal(segmenter.infer(image).mask, image.argmax(axis=2))
    wanted = told.get('classes', {}).get('labels', TOLD['classes']['labels'])
    assert (segmenter.spec.labels, segmenter.spec.assumed) == (tuple(wanted), ())


OF_TASKS = {'input': TOLD['input'], 'outputs': [
    {'name': 'warm', 'labels': ['blue', 'green']},
    {'name': 'all', 'task': 'colors', 'labels': ['blue', 'green', 'red']}]}


@pytest.mark.parametrize(('precision', 'version'), [('fp32', '10.3.0'), ('fp16', '10.9.0')])
def test_an_engine_of_several_tasks(networks, open_path, make_engine, tensorrt, image, precision,
                                    version):
    network = networks.heads({'warm': WEIGHTS[:2], 'all': WEIGHTS}, SIZE)
    path = make_engine(network, OF_TASKS, precision=precision)
    assert read_engine(path).facts['agreement_with_fp32'] > 0.99
    assert [each.task for each in stored_config(path).tasks] == ['warm', 'colors']
    tensorrt.module.__version__ = version  # of the other one, it is rebuilt
    segmenter = open_path(path, {'outputs': [{'name': 'all', 'task': 'colors',
                                              'labels': ['b', 'g', 'r']},
                                             {'name': 'warm'}]})
    assert {task.name: task.labels for task in segmenter.spec.tasks} == {
        'warm': ('blue', 'green'), 'colors': ('b', 'g', 'r')}
    found = segmenter.infer(image)
    np.testing.assert_array_equal(found.task('colors').mask, image.argmax(axis=2))
    np.testing.assert_array_equal(found.task('warm').mask, image[..., :2].argmax(axis=2))


@pytest.mark.parametrize('told', [
    {'outputs': OF_TASKS['outputs'][:1]}, {'output': {'name': 'all'}},
    {'outputs': [OF_TASKS['outputs'][0], {**OF_TASKS['outputs'][1], 'threshold': 0.9}]}])
def test_other_tasks_than_the_engines_are_refused(networks, open_path, make_engine, told):
    path = make_engine(networks.heads({'warm': WEIGHTS[:2], 'all': WEIGHTS}, SIZE), OF_TASKS)
    with pytest.raises(ConfigError, match=r'net\.engine: the config differs'):
        open_path(path, told)


@pytest.mark.parametrize('shape', [(1, 8, 12), (1, 1, 8, 12)])
def test_an_engine_of_ids_takes_labels_of_any_count(networks, open_path, make_engine, shape):
    ids = networks.fixed(np.ones(shape, np.int64))
    path = make_engine(ids, {'input': TOLD['input']})
    segmenter = open_path(path, {'classes': {'labels': ['road', 'curb']}})
    assert segmenter.spec.labels == ('road', 'curb')
    assert (segmenter.infer(networks.random_image(70, 70)).mask == 1).all()


@pytest.mark.parametrize('version', ['10.3.0', '10.9.0'])
def test_an_engine_with_a_mask_size_of_its_own_keeps_it(open_path, make_engine, tensorrt, image,
                                                        version):
    path = make_engine(mask_size=SIZE)
    tensorrt.module.__version__ = version
    mask = open_path(path).infer(image).mask
    np.testing.assert_array_equal(mask, image[::2, ::2].argmax(axis=2))


@pytest.mark.parametrize('version', ['10.3.0', '10.9.0'])
def test_an_engine_with_an_overlay_scale_keeps_it(open_path, make_engine, tensorrt, image,
                                                  version):
    path = make_engine(overlay_scale=0.5)
    tensorrt.module.__version__ = version
    overlay = open_path(path).infer(image, outputs='overlay').overlay
    assert overlay.shape == (*SIZE, 3)
    np.testing.assert_array_equal(
        open_path(path, overlay_scale=0.5).infer(image, outputs='overlay').overlay, overlay)


def test_an_overlay_scale_that_is_not_compiled_in_is_refused(open_path, make_engine):
    path = make_engine()
    with pytest.raises(ConfigError, match=r'an overlay_scale of 0\.5 was requested, but 1 is '):
        open_path(path, overlay_scale=0.5)


MERGED = {**TOLD, 'classes': {**TOLD['classes'], 'merge': {'warm': ['red'], 'cold': 'rest'}}}


@pytest.mark.parametrize('precision', ['fp32', 'fp16'])
@pytest.mark.parametrize('suffix', ['.onnx', '.engine'])
def test_an_engine_of_several_images(networks, open_path, make_engine, model, tensorrt, precision,
                                     suffix):
    make_engine(batch=3, precision=precision)
    segmenter = open_path(model.with_suffix(suffix), batch=3, precision=precision)
    images = [networks.random_image(70, 90, seed) for seed in range(3)]
    for image, found in zip(images, segmenter.infer_batch(images), strict=True):
        wanted = networks.grown(cv2.resize(image, SIZE[::-1]).argmax(2), (70, 90))
        assert (found.mask == wanted).mean() > 0.9
    (build,) = tensorrt.builds
    assert build['profiles'] == {'image': ((3, 64, 64, 3), (3, 64, 96, 3), (3, 128, 128, 3))}
    assert read_engine(model.with_suffix('.engine')).facts['agreement_with_fp32'] > 0.99
    segmenter.close()


def test_a_network_that_mixes_images_is_not_built(networks, open_path, model, tensorrt):
    onnx.save(networks.against_the_brightest(SIZE), model)
    with pytest.raises(ModelError, match=r'net\.onnx: gives an image in a batch of 2 another'):
        open_path(model, batch=3)
    assert not tensorrt.builds
    open_path(model).close()


def test_without_onnx_runtime_an_unchecked_batch_is_logged(open_path, model, tensorrt,
                                                           monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    monkeypatch.delitem(sys.modules, 'trt_segmentation.backends.onnxruntime', raising=False)
    open_path(model, batch=2).close()
    assert 'not checked whether it mixes the 2 images of a batch' in caplog.text


@pytest.mark.parametrize(('built', 'told'), [(1, 3), (3, 1), (3, 2)])
def test_another_batch_than_the_engines_is_refused(open_path, make_engine, built, told):
    path = make_engine(batch=built)
    with pytest.raises(ConfigError, match=rf'net\.engine: takes {built} images at once, but '
                                          rf'batch is {told}; set it'):
        open_path(path, batch=told)


def test_an_engine_of_several_images_is_rebuilt_as_one(networks, open_path, make_engine,
                                                          tensorrt):
    path = make_engine(batch=2)
    tensorrt.module.__version__ = '10.9.0'
    segmenter = open_path(path, batch=2)
    assert len(segmenter.infer_batch([networks.random_image(70, 90)] * 2)) == 2
    segmenter.close()


def test_the_network_alone_takes_several_images_too(networks, model, tensorrt):
    spec = resolve(read_network(model), networks.config_of(**TOLD), 3)
    EngineLoader().fetch_network_only(spec, BuildOptions(precision='fp16'))
    engine = EngineLoader().fetch_network_only(spec, BuildOptions())
    plan = onnx.load_from_string(engine.plan.split(b'\n', 1)[1])
    assert plan.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 3


@pytest.mark.parametrize('dtype', [np.float32, np.int32, np.int64])
def test_the_network_alone_gives_its_outputs_in_their_own_types(networks, tensorrt, gpu, dtype):
    model = networks.strongest(SIZE, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
    spec = networks.spec_of(model, output={'kind': 'ids'}) if dtype != np.float32 else \
        networks.spec_of(networks.pointwise(WEIGHTS, SIZE))
    fed = np.random.default_rng(0).normal(size=(1, 3, *SIZE)).astype(np.float32)
    network = EngineLoader().open_network_only(spec, BuildOptions())
    ((name, found),) = network(fed).items()
    network.close()
    gpu.assert_all_is_freed()
    assert found.dtype == dtype
    expected = OnnxGraph(spec.network.model).run({'pixels': fed}, [name])[name]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize('told', [{}, MERGED])
def test_merged_classes_are_compiled_into_the_engine(open_path, make_engine, image, told):
    segmenter = open_path(make_engine(told=MERGED), told)
    assert segmenter.spec.labels == ('warm', 'cold')
    np.testing.assert_array_equal(segmenter.infer(image).mask, image.argmax(axis=2) != 2)


def test_another_merge_than_the_engines_is_refused(open_path, make_engine):
    with pytest.raises(ConfigError, match=r'the config differs .*merge'):
        open_path(make_engine(), MERGED)


@pytest.mark.parametrize('version', ['10.3.0', '10.9.0'])
def test_an_engine_with_masks_of_16_bits_keeps_them(make_engine, tensorrt, image, version):
    path = make_engine(encoding=MONO16)
    tensorrt.module.__version__ = version
    wide = RunOptions('tensorrt', mask_encoding='mono16', build=BuildOptions(**SMALL))
    mask = Segmenter.open(path, options=wide).infer(image).mask
    assert mask.dtype == np.uint16
    np.testing.assert_array_equal(mask[::2, ::2], image[::2, ::2].argmax(axis=2))
    with pytest.raises(ConfigError, match='a mono8 mask was requested, but mono16 is compiled'):
        Segmenter.open(path, options=replace(wide, mask_encoding='mono8'))


def test_an_engine_of_a_sigmoid_keeps_its_threshold(networks, open_path, make_engine, image):
    told = {'input': {**TOLD['input'], 'scale': 1 / 255}, 'output': {'threshold': 0.7}}
    network = networks.pointwise(WEIGHTS[:1], SIZE, activation='Sigmoid')
    path = make_engine(network, told)
    wanted = open_path(path.with_suffix('.onnx'), told).infer(image).mask
    np.testing.assert_array_equal(open_path(path, {}).infer(image).mask, wanted)
    assert 0 < wanted.mean() < 1


@pytest.mark.parametrize('told', [
    {'input': {'color': 'rgb'}}, {'input': {'mean': [1.0, 1.0, 1.0]}},
    {'input': {'resize': 'letterbox'}}, {'output': {'threshold': 0.25}},
    {'classes': {'unlabelled': 0}}])
def test_a_config_that_contradicts_the_engine_is_refused(open_path, make_engine, told):
    path = make_engine()
    with pytest.raises(ConfigError, match=r'net\.engine: the config differs .*'
                                          r'see net\.engine\.json\) .*rebuild'):
        open_path(path, told)


def test_labels_of_another_count_are_refused(open_path, make_engine, gpu):
    path = make_engine()
    with pytest.raises(ConfigError, match='has 2 entries'):
        open_path(path, {'classes': {'labels': ['a', 'b']}})
    gpu.assert_all_is_freed()


@pytest.mark.parametrize('other', ['version', 'gpu'])
def test_an_engine_of_another_machine_is_rebuilt(open_path, make_engine, tensorrt, gpu, image,
                                                    caplog, other):
    path = make_engine(precision='fp16')
    if other == 'gpu':
        gpu.device.name = 'Other GPU'
    tensorrt.module.__version__ = '10.9.0' if other == 'version' else '10.3.0'
    caplog.set_level(logging.WARNING)
    segmenter = open_path(path)
    np.testing.assert_array_equal(segmenter.infer(image).mask, image.argmax(axis=2))
    (warning,) = (record.getMessage() for record in caplog.records
                  if record.levelno == logging.WARNING)
    assert 'It was built for tensorrt 10.3.0 on Stand-in GPU' in warning
    assert 'this machine is tensorrt 10.' in warning
    assert 'please rebuild. It was built' in warning  # TensorRT's own words
    assert f'It is rebuilt from {path.with_suffix(".onnx")}' in warning
    assert ('10.9.0' if other == 'version' else 'Other GPU') in warning
    assert segmenter.info.precision == 'fp16'  # as the file was, whatever the default is


OLDER, NEWER, OTHER_GPU = {'version': '8.6.1'}, {'version': '11.4.0'}, {'gpu': 'Orin'}
MOVED = [(OLDER, r'expecting library version 8\.6\.1 got 10\.3\.0', r'tensorrt 8\.6\.1 on S'),
         (NEWER, r'expecting library version 11\.4\.0 got 10\.3\.0', r'tensorrt 11\.4\.0 on S'),
         (OTHER_GPU, r'expecting Orin got Stand-in GPU', r'tensorrt 10\.3\.0 on Orin')]
"""Where an engine is brought to, what TensorRT says there, and what that machine is called."""


@pytest.fixture(params=MOVED, ids=['older', 'newer', 'other gpu'])
def moved(request, make_engine, tensorrt, gpu):
    """An engine file on another machine than its own, and the beginning of what is said of it."""
    path = make_engine()
    where, words, here = request.param
    tensorrt.module.__version__ = where.get('version', tensorrt.module.__version__)
    gpu.device.name = where.get('gpu', gpu.device.name)
    return path, (rf'net\.engine: TensorRT cannot load the engine: .*{words}, please rebuild\. It '
                  r'was built for tensorrt 10\.3\.0 on Stand-in GPU \(.*\); this machine is '
                  rf'{here}.*\)\. ')


def test_an_engine_of_another_machine_without_its_network_is_refused(open_path, moved, model):
    path, said = moved
    model.unlink()
    with pytest.raises(ModelError, match=rf'{said}Its network .*net\.onnx does not exist; build '
                                         r'it '
                                         r'here from the \.onnx file$'):
        open_path(path)


def test_an_engine_whose_network_is_no_longer_one_is_refused(open_path, moved, model):
    path, said = moved
    model.write_bytes(b'no network')
    with pytest.raises(ModelError, match=rf'{said}It cannot be rebuilt here: .*net\.onnx'):
        open_path(path)


@pytest.mark.parametrize('error', [
    BackendError('TensorRT cannot build it'), MissingBackendError('it can only run engines')])
def test_an_engine_that_cannot_be_built_again_is_refused_with_both_reasons(
        open_path, moved, monkeypatch, error):
    path, said = moved

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(build_process, 'build_in_child', fail)
    with pytest.raises(ModelError, match=f'{said}It cannot be rebuilt here: {error}$'):
        open_path(path)


def test_a_setting_that_building_again_needs_is_named(open_path, make_engine, tensorrt):
    path = make_engine()
    engine = read_engine(path)
    as_int8 = {**engine.facts, 'options': {**engine.facts['options'], 'precision': 'int8'}}
    write_engine(path, replace(engine, facts=as_int8))
    tensorrt.module.__version__ = '10.9.0'
    with pytest.raises(ModelError, match=r'cannot be rebuilt here: .*int8') as caught:
        open_path(path)
    assert 'IMAGES' in caught.value.worded(lambda name: 'IMAGES')


def test_an_engine_without_its_sidecar_is_refused_with_the_fix(open_path, make_engine):
    path = make_engine()
    sidecar_of(path).unlink()
    with pytest.raises(ModelError, match=r'net\.engine\.json is missing.* beside the engine'):
        open_path(path)


def test_a_truncated_engine_is_refused(open_path, make_engine):
    path = make_engine()
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ModelError, match=r'net\.engine: it has \d+ bytes and should have \d+; '
                                         r'copy both files again, or rebuild it'):
        open_path(path)


HERE = r'was built for this machine, tensorrt 10\.3\.0 on Stand-in GPU \(.*\)\. Close other'


def test_a_plan_that_does_not_load_where_it_was_built_is_refused(open_path, make_engine):
    path = make_engine()
    write_engine(path, Engine(b'no plan', read_engine(path).facts))
    with pytest.raises(ModelError, match=rf'net\.engine: TensorRT cannot load .*: .*magic tag.*\. '
                                         rf'It {HERE} programs on the GPU, or rebuild it from'):
        open_path(path)


def test_a_plan_of_the_cache_that_does_not_load_is_named(open_path, model, tensorrt, tmp_path):
    open_path(model).close()
    (kept,) = (tmp_path / 'engines').glob('net*.engine')
    sidecar = json.loads(sidecar_of(kept).read_text())
    plan = tensorrt.plan(b'', version='10.2.0')
    sidecar['plan'] = {'size': len(plan), 'sha256': hashlib.sha256(plan).hexdigest()}
    kept.write_bytes(plan)
    sidecar_of(kept).write_text(json.dumps(sidecar))
    with pytest.raises(BackendError, match=rf'net\.onnx: TensorRT cannot load .*got 10\.2\.0.*\. '
                                           rf'Its engine {HERE} programs on the GPU, or remove '
                                           rf'{kept}'):
        open_path(model)
    kept.unlink()
    open_path(model).close()


def test_a_runtime_that_does_not_start_is_an_error_in_tensorrts_words(open_path, make_engine,
                                                                      tensorrt):
    path = make_engine()

    def start(logger):
        logger.log(SimpleNamespace(name='ERROR'), 'CUDA initialization failure with error: 35')
        raise TypeError('pybind11::init(): factory function returned nullptr')

    tensorrt.module.Runtime = start
    with pytest.raises(ModelError, match=r'net\.engine: TensorRT cannot start its runtime: CUDA '
                                         r'initialization failure with error: 35\. It was built'):
        open_path(path)


def test_a_part_of_another_engine_is_refused(networks, open_path, tensorrt, tmp_path):
    path = tmp_path / 'foreign.engine'
    path.write_bytes(tensorrt.plan(networks.pointwise(WEIGHTS, SIZE)))
    open_path(path)
    (head,) = (tmp_path / 'engines').glob('foreign-head*.engine')
    with pytest.raises(ModelError, match='is only a part of another engine'):
        open_path(head)


def test_describe_tells_of_engines_from_elsewhere(networks, tensorrt, tmp_path):
    path = tmp_path / 'foreign.engine'
    path.write_bytes(tensorrt.plan(networks.pointwise(WEIGHTS, SIZE)))
    facts = EngineLoader().describe(path).facts
    assert ('pixels', 'inputs', 'FLOAT [1, 3, 32, 48]') in facts['tensors']
    assert facts['machine']['gpu'] == 'Stand-in GPU'
    assert [layer['kind'] for layer in facts['layers']] == ['Cast', 'Conv']


def test_int8_is_calibrated_on_the_images_told(networks, open_path, model, tensorrt, tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    for seed in range(3):
        cv2.imwrite(str(folder / f'{seed}.png'), networks.random_image(64, 96, seed))
    calibration = CalibrationOptions(str(folder), method='minmax')
    segmenter = open_path(model, precision='int8', calibration=calibration, fp16_fallback=False)
    assert len(tensorrt.builds) == 1
    assert 'int8 in' in segmenter.info.layers


def test_fp16_is_built_again_for_images_that_keep_other_nodes_in_float(networks, tensorrt,
                                                                       tmp_path):
    spec = networks.spec_of(networks.pointwise(300 * np.eye(3), (64, 96)),  # overflows from 219 on
                            input=TOLD['input'])
    loader, kept = EngineLoader(), {}
    for name, brightest in (('dark', 60), ('bright', 250)):
        (tmp_path / name).mkdir()
        random = np.random.default_rng(0)
        image = random.integers(brightest - 40, brightest, (64, 96, 3)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / name / 'a.png'), image)
        options = BuildOptions('fp16', calibration=CalibrationOptions(str(tmp_path / name)))
        for _ in range(2):
            kept[name] = loader.fetch(spec, options, 'nearest').facts['kept_in_fp32']
    assert len(tensorrt.builds) == 2
    assert (kept['dark'], len(kept['bright']) > 0) == ([], True)


@pytest.mark.parametrize('change', [{'MULTIPROCESSOR_COUNT': 8}, {'CLOCK_RATE': 625_000}, None])
def test_modules_that_share_a_name_do_not_share_plans(open_path, model, tensorrt, gpu, change):
    open_path(model).close()
    if change is None:
        gpu.total *= 2
    else:
        gpu.attributes |= change
    other = gpu.open_device()
    assert other.properties != gpu.device.properties
    gpu.device = other
    for _ in range(2):
        open_path(model).close()
    assert len(tensorrt.builds) == 2
    assert {'memory_gib', 'multiprocessor_count', 'clock_rate'} == set(other.properties)


# What was measured ---------------------------------------------------------------------------


@pytest.fixture
def measured_model(networks, model):
    """A network of which only its values tell that they are no logits: they are one channel of
    nothing but 0 and 1."""
    net = networks.pointwise([[1.0, 1.0, 1.0]], SIZE, names=('pixels', 'sum'))
    net.graph.initializer.append(numpy_helper.from_array(np.float32(400), 'limit'))
    net.graph.node.extend(helper.make_node(op, inputs, [output]) for op, inputs, output in (
        ('Sub', ['sum', 'limit'], 'over'), ('Sign', ['over'], 'sign'),
        ('Relu', ['sign'], 'scores')))
    net.graph.output[0].name = 'scores'
    onnx.save(net, model)
    return model


TWO = {'input': TOLD['input']}


def test_a_built_engine_is_opened_without_running_its_network(measured_model, open_path, tensorrt,
                                                              image, monkeypatch):
    wanted = image.sum(2) > 400
    np.testing.assert_array_equal(open_path(measured_model, TWO).infer(image).mask, wanted)
    monkeypatch.setattr(measurement, 'open_session', None)
    segmenter = open_path(measured_model, TWO)
    assert segmenter.spec.kind == 'ids'
    np.testing.assert_array_equal(segmenter.infer(image).mask, wanted)
    assert len(tensorrt.builds) == 1


def test_an_engine_file_holds_what_was_measured(networks, measured_model, open_path, tensorrt,
                                                image, gpu, monkeypatch):
    spec = resolve(read_network(measured_model), networks.config_of(**TWO),
                   measuring=measurement.MeasurementSetup())
    path = measured_model.with_suffix('.engine')
    write_engine(path, EngineLoader().fetch(spec, BuildOptions(**SMALL), 'nearest'))
    monkeypatch.setattr(measurement.Probe, 'measurement', None)
    segmenter = open_path(path, {})
    assert segmenter.spec.kind == 'ids'
    np.testing.assert_array_equal(segmenter.infer(image).mask, image.sum(2) > 400)
