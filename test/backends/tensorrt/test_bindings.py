# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""TensorRT has every name that this package takes from it, in versions that cannot run here.

They are looked up in NVIDIA's bindings (see bindings.txt). Of the libraries behind these there is
only an empty one, so nothing is said of what methods take or do.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trt_segmentation.backends import tensorrt

SOURCES = sorted(Path(tensorrt.__file__).parent.glob('*.py'))
ROOT = Path(__file__).parents[3]
LOOK_UP = ROOT / 'test/support/tensorrt_lookup.py'
BINDINGS = Path(sys.prefix) / 'tensorrt_bindings'

COLUMNS = {'8.6.1': '8.6', '10.16.1.11': '10.x', '11.4.0.106': '11.x',
           'rtx': 'TensorRT for RTX'}
"""Of the table in docs/reference/tensorrt.md."""

OTHERS = {'api', 'args', 'content', 'data', 'decoder', 'device', 'driver', 'encoder', 'end',
          'facts', 'last', 'log', 'params', 'source', 'start', 'stream',
          'target', 'value'}
"""What else is annotated as Any, and is nothing of TensorRT's."""

LIBRARIES = 'nvinfer', 'nvinfer_plugin', 'nvonnxparser', 'nvparsers'
FUNCTIONS = (
    'createInferBuilder_INTERNAL', 'createInferRefitter_INTERNAL', 'createInferRuntime_INTERNAL',
    'createNvOnnxParserRefitter_INTERNAL', 'createNvOnnxParser_INTERNAL',
    'getBuilderPluginRegistry', 'getNvOnnxParserVersion', 'getPluginRegistry',
    'initLibNvInferPlugins',
    # Of 8.6, which are C++:
    '_ZN11nvuffparser15createUffParserEv',
    '_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi',
    '_ZN14nvcaffeparser117createCaffeParserEv', '_ZN14nvcaffeparser123shutdownProtobufLibraryEv')
"""All that the bindings want of the libraries before anything is called."""


@pytest.fixture(scope='module')
def reader(tensorrt_names):
    return tensorrt_names.Reader.of(*(path.read_text(encoding='utf-8') for path in SOURCES))


@pytest.fixture(scope='module')
def libraries(tmp_path_factory):
    """A folder of libraries with nothing behind their functions."""
    compiler = shutil.which('cc') or shutil.which('gcc') or pytest.skip('there is no C compiler')
    folder = tmp_path_factory.mktemp('libraries')
    source, library = folder / 'empty.c', folder / 'empty.so'
    source.write_text('\n'.join(f'void *{name}(void) {{ return 0; }}' for name in FUNCTIONS))
    subprocess.run([compiler, '-shared', '-fPIC', '-o', library, source], check=True)
    for name in LIBRARIES:
        for version in (8, 10, 11):
            (folder / f'lib{name}.so.{version}').symlink_to(library)
    return folder


@pytest.fixture(scope='module', params=COLUMNS)
def answer(request, reader):
    """What a version has, of the paths that are used, and what it can do; and its column."""
    paths, module = [str(ROOT), *sys.path], 'tensorrt_bindings'
    environment = dict(os.environ)
    if request.param == 'rtx':
        module = pytest.importorskip('tensorrt_rtx').__name__
    else:
        folder = BINDINGS / request.param
        if not (folder / module).is_dir():  # pip leaves an empty folder for another Python
            pytest.skip(f'{folder} is not there; {Path(__file__).parent}/install_bindings.sh '
                        f'{sys.prefix} installs it, where there is one for this Python')
        paths.insert(0, str(folder))
        environment['LD_LIBRARY_PATH'] = str(request.getfixturevalue('libraries'))
    environment['PYTHONPATH'] = os.pathsep.join(paths)
    child = subprocess.run([sys.executable, LOOK_UP, module], env=environment, text=True,
                           input=json.dumps(sorted(reader.paths())), stdout=subprocess.PIPE,
                           check=True)
    return {**json.loads(child.stdout), 'column': COLUMNS[request.param]}


def test_a_version_has_all_that_is_used(reader, answer):
    used = reader.needed(answer['has'], answer['capabilities'])
    assert len(used) > 80
    assert {path for path in used if not answer['has'][path]} == set()


def test_the_documentation_says_what_a_version_can_do(answer):
    table = capabilities_table()
    can = dict(answer['capabilities'])
    assert can.pop('version') and can.keys() == table.keys()
    words = {name: ('yes' if value else 'no') for name, value in can.items()}
    assert words == {name: row[answer['column']] for name, row in table.items()}


def capabilities_table():
    """Return the table in the docs whose rows begin with a name of ``Capabilities``."""
    text = (ROOT / 'docs/reference/tensorrt.md').read_text(encoding='utf-8')
    lines = [[cell.strip() for cell in line.strip('|').split('|')]
             for line in text.splitlines() if line.startswith(('| `', '| | 8.6'))]
    head = next(cells for cells in lines if not cells[0])
    rows = [cells for cells in lines if cells[0]]
    return {re.match(r'`(\w+)`', cells[0])[1]: dict(zip(head[1:], cells[1:], strict=True))
            for cells in rows}


def test_what_every_untyped_name_holds_is_known(reader, tensorrt_names):
    """Or what is taken from it would not be looked up."""
    assert reader.named == tensorrt_names.OBJECTS.keys() | OTHERS


SOURCE = """
class Stage:
    engine: Any

    def names(self):
        return [self.engine.get_tensor_name(0).upper()]

def build(trt: Any, can, log, options):
    flags, builder = trt.BuilderFlag, log.call('none', trt.Builder, log.logger)
    config = builder.create_builder_config()
    if not can.strongly_typed and options.fp16:
        config.set_flag(flags.FP16)
        pin(log.call('none', builder.create_network, 0))
    elif hasattr(config, 'new'):
        config.new = 1
    for stage in options:
        stage.engine.read()

def pin(network: Any):
    for layer in map(network.get_layer, range(3)):
        for index, tensor in enumerate([layer.get_output(i) for i in range(3)]):
            tensor.dtype = index

def other(config: ModelConfig):
    config.classes

class Monitor(find_tensorrt().IProgressMonitor):
    def step_complete(self): pass
"""
ALWAYS = {'BuilderFlag', 'Builder', 'Builder().create_builder_config', 'ICudaEngine.read',
          'ICudaEngine.get_tensor_name', 'ICudaEngine.get_tensor_name().upper',
          'IProgressMonitor', 'IProgressMonitor.step_complete'}
NEW = 'Builder().create_builder_config().new'
WEAKLY_TYPED = {'BuilderFlag.FP16', 'Builder().create_builder_config().set_flag',
                'Builder().create_network', 'INetworkDefinition.get_layer',
                'INetworkDefinition.get_layer().get_output',
                'INetworkDefinition.get_layer().get_output().dtype'}


@pytest.mark.parametrize('strongly_typed', [False, True])
@pytest.mark.parametrize('is_new', [False, True])
def test_names_are_read_off_sources(tensorrt_names, strongly_typed, is_new):
    reader = tensorrt_names.Reader.of(SOURCE)
    assert reader.paths() == ALWAYS | WEAKLY_TYPED | {NEW}
    needed = reader.needed({NEW: is_new}, {'strongly_typed': strongly_typed})
    assert needed - {NEW} == ALWAYS | (set() if strongly_typed else WEAKLY_TYPED)
    assert (NEW in needed) == is_new
    assert reader.named == {'engine', 'network', 'trt'}
