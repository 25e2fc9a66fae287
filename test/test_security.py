# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Files that somebody else made: what they cannot make this package do."""

import ast
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import trt_segmentation
from trt_segmentation.backends.tensorrt.cache import Engine, EngineCache, write_engine
from trt_segmentation.errors import ConfigError, ModelError, SegmentationError
from trt_segmentation.graph.onnx_tools.network import read_network
from trt_segmentation.model_config import ModelConfig

PACKAGE = Path(trt_segmentation.__file__).parent
KERNEL = np.eye(3, dtype=np.float32)[:, :, None, None]


# External data of ONNX files ---------------------------------------------------------------------


@pytest.fixture
def places(tmp_path):
    """The folder of a model, and files with weights in it and beside it."""
    (tmp_path / 'models' / 'deep').mkdir(parents=True)
    for path in ('models/inside.bin', 'models/deep/inside.bin', 'outside.bin'):
        (tmp_path / path).write_bytes(KERNEL.tobytes())
    (tmp_path / 'models' / 'link.bin').symlink_to(tmp_path / 'outside.bin')
    (tmp_path / 'models' / 'folder').symlink_to(tmp_path)
    return SimpleNamespace(folder=tmp_path / 'models', outside=tmp_path / 'outside.bin')


def external(location):
    """Return a convolution's weights whose bytes are in another file."""
    weights = TensorProto(name='weights', data_type=TensorProto.FLOAT, dims=KERNEL.shape,
                          data_location=TensorProto.EXTERNAL)
    weights.external_data.add(key='location', value=str(location))
    return weights


def save(networks, folder, weights, in_constant=False):
    """Write a network with these weights, as an initializer or as a node's attribute."""
    model = networks.pointwise(KERNEL[:, :, 0, 0], (32, 48))
    del model.graph.initializer[:]
    if in_constant:
        model.graph.node.insert(0, helper.make_node('Constant', [], ['weights'], value=weights))
    else:
        model.graph.initializer.append(weights)
    path = folder / 'net.onnx'
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize('location', ['inside.bin', 'deep/inside.bin'])
def test_weights_beside_the_model_are_read(networks, places, location):
    network = read_network(save(networks, places.folder, external(location)))
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(network.model.graph.initializer[0]),
                                  KERNEL)


@pytest.mark.parametrize('in_constant', [False, True])
@pytest.mark.parametrize('location', ['../outside.bin', 'deep/../../outside.bin', 'link.bin',
                                      'folder/outside.bin', '/etc/hostname'])
def test_weights_outside_the_models_folder_are_refused(networks, places, location, in_constant):
    path = save(networks, places.folder, external(location), in_constant)
    with pytest.raises(ModelError, match=rf"net.onnx: its tensor 'weights' is in '{location}', "
                                         "outside the model's folder"):
        read_network(path)


def test_an_absolute_path_outside_is_refused_though_the_file_is_there(networks, places):
    with pytest.raises(ModelError, match="outside the model's folder"):
        read_network(save(networks, places.folder, external(places.outside)))


# YAML --------------------------------------------------------------------------------------------


@pytest.mark.parametrize('tag', ['!!python/object/apply:os.mkdir [{}]',
                                 '!!python/object/new:os.mkdir [{}]', '!!python/name:os.mkdir'])
def test_a_config_cannot_make_python_objects(tmp_path, tag):
    made = tmp_path / 'made'
    text = 'classes: ' + tag.format(made)
    with pytest.raises(ConfigError):
        ModelConfig.from_text(text, 'net.yaml')
    assert not made.exists()


def test_a_launch_argument_cannot_make_python_objects(tmp_path):
    pytest.importorskip('rclpy')
    from trt_segmentation.ros.parameters import value_from_text
    with pytest.raises(SegmentationError, match='min_size'):
        value_from_text('min_size', f'!!python/object/apply:os.mkdir [{tmp_path / "made"}]')
    assert not (tmp_path / 'made').exists()


# Code in data ------------------------------------------------------------------------------------


def calls_that_run_data(path):
    """Return the calls in a module that would run code which data holds."""
    dangerous = {'eval', 'exec', 'pickle.load', 'pickle.loads', 'pickle.Unpickler', 'marshal.load',
                 'marshal.loads', 'shelve.open', 'yaml.load', 'yaml.load_all', 'yaml.unsafe_load',
                 'yaml.full_load', 'os.system', 'torch.load', 'joblib.load'}
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            allows = {word.arg for word in node.keywords
                      if not (isinstance(word.value, ast.Constant) and word.value.value is False)}
            found |= {name} & dangerous | {'allow_pickle', 'shell'} & allows
        elif isinstance(node, ast.ImportFrom):  # then the call has no module in front
            found |= {f'{node.module}.{each.name}' for each in node.names} & dangerous
    return found


def test_no_data_is_run():
    """The one pickle is that of the builds' pipe. Only this process and the child that it has
    started hold its ends: it has no name, and is inherited by that child alone. The parent reads
    what its own code in the child has sent. Whoever could write into it could as well write into
    the memory of either process."""
    launch_files = list((Path(__file__).parents[1] / 'launch').glob('*.py'))
    assert launch_files
    found = {'/'.join(path.parts[-2:]): calls for path in (*PACKAGE.rglob('*.py'), *launch_files)
             if (calls := calls_that_run_data(path))}
    assert found == {'tensorrt/build_process.py': {'pickle.loads'}}


@pytest.mark.parametrize('text', ['eval(x)', 'pickle.load(f)', 'np.load(f, allow_pickle=True)',
                                  'subprocess.run(x, shell=flag)', 'yaml.load(x, Loader=L)',
                                  'from pickle import loads'])
def test_calls_that_run_data_are_found(tmp_path, text):
    (tmp_path / 'module.py').write_text(text)
    assert calls_that_run_data(tmp_path / 'module.py')


# Engines -----------------------------------------------------------------------------------------


def test_a_planted_plan_is_not_used(tmp_path):
    """TensorRT plans may hold code. One whose sidecar does not match it is rebuilt."""
    cache, facts = EngineCache(tmp_path), {'graph': 'abc'}
    cache.fetch('road', facts, lambda: Engine(b'ours'))
    (path,) = tmp_path.glob('*.engine')
    path.write_bytes(b'evil')
    assert cache.fetch('road', facts, lambda: Engine(b'anew')).plan == b'anew'
    write_engine(path, Engine(b'evil'))  # with a sidecar, but one for no key
    assert cache.fetch('road', facts, lambda: Engine(b'anew')).plan == b'anew'


@pytest.mark.skipif(os.name != 'posix', reason='modes are those of POSIX')
def test_nobody_else_can_write_into_the_cache(tmp_path):
    before = os.umask(0)
    try:
        EngineCache(tmp_path / 'a' / 'cache').fetch('road', {}, lambda: Engine(b'plan'))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / 'a' / 'cache').stat().st_mode) == 0o700


def test_a_folder_that_others_share_stays_as_it_is(tmp_path):
    shared = tmp_path / 'cache'
    shared.mkdir(mode=0o755)
    EngineCache(shared).fetch('road', {}, lambda: Engine(b'plan'))
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755
