# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all tests: small networks computed by hand, real ones with known answers."""

import importlib.util
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from trt_segmentation.graph.onnx_tools.onnxruntime_api import disable_telemetry
from trt_segmentation.model_config import ModelConfig

try:
    from hypothesis import HealthCheck, settings
except ModuleNotFoundError:
    pass  # its tests are skipped
else:
    EXAMPLES = int(os.environ.get('PROPERTY_EXAMPLES', 100))  # 100 is hypothesis' own number
    # No check of time: a busy machine would fail it.
    settings.register_profile('repeatable', derandomize=True, deadline=None, database=None,
                              max_examples=EXAMPLES,
                              suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile('repeatable')

# The scripts there, and the folders of scripts, are imported by their names.
sys.path.insert(0, str(Path(__file__).parents[1] / 'tools'))

disable_telemetry()  # before a test imports ONNX Runtime by itself

# A shell's background job ignores SIGINT, and so would the programs that are interrupted here.
signal.signal(signal.SIGINT, signal.default_int_handler)

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


OVER_DDS = 'test/ros/', 'test/web/test_view.py', 'test/cli/test_cli.py::test_demo'
"""Tests whose processes wait for each other; one at a time."""


@pytest.hookimpl(optionalhook=True)  # asked by pytest-xdist, which need not be there
def pytest_xdist_make_scheduler(config, log):
    """With ``-n``, let one process at a time run what talks over DDS, and keep each other file in
    one, whose fixtures are shared. (``--dist loadgroup`` groups nothing with pytest 9.2.)"""
    from xdist.scheduler import LoadFileScheduling

    class FilesAndDds(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return 'DDS' if nodeid.startswith(OVER_DDS) else super()._split_scope(nodeid)

    return FilesAndDds(config, log)


OPTIONAL = frozenset({
    'PIL', 'aiohttp', 'distributed', 'hypothesis', 'launch', 'launch_ros', 'matplotlib', 'mcap',
    'onnxruntime', 'playwright', 'psutil', 'rclpy', 'rosbags', 'sklearn', 'tensorrt_rtx',
    'vision_msgs', 'ament_index_python', 'builtin_interfaces', 'rcl_interfaces', 'rosgraph_msgs',
    'diagnostic_msgs', 'lifecycle_msgs', 'sensor_msgs', 'std_msgs', 'std_srvs'})
"""What a machine need not have, by the name that is imported: tests that need it are skipped.
Anything else that cannot be imported is an error, as ever."""


NEEDED_BY = {
    'test/cli/': 'onnxruntime',
    'test/cli/test_compare.py::test_a_rosbag_folder_is_no_image_folder': 'rosbags',
    'test/bags/': 'rosbags', 'test/benchmark/test_report.py': 'matplotlib',
    'test/classes/test_mask_encoding.py::test_run_writes_16_bits': 'onnxruntime',
    'test/classes/test_mask_encoding.py::test_merged_masks_are_evaluated': 'onnxruntime',
    'test/test_architecture.py::test_everything_but_ros_imports': 'aiohttp'}
"""What tests need that only see an exit code, not the import that has failed."""


def pytest_collection_modifyitems(items):
    for item in items:
        for beginning, package in NEEDED_BY.items():
            if item.nodeid.startswith(beginning) and importlib.util.find_spec(package) is None:
                item.add_marker(pytest.mark.skip(reason=f'{package} is not installed'))


def _missing(error):
    """Return the optional package whose absence an exception comes from; '' where none is."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        name = (getattr(error, 'name', None) or '').partition('.')[0]
        if isinstance(error, ModuleNotFoundError) and name in OPTIONAL \
                and importlib.util.find_spec(name) is None:
            return name
        error = error.__cause__ or error.__context__
    return ''


def _skip_without(report, call, path, line):
    """Make a failed report one of a skip where an optional package is missing."""
    missing = _missing(call.excinfo.value) if report.failed and call.excinfo else ''
    if missing:
        report.outcome = 'skipped'
        report.longrepr = str(path), line, f'Skipped: {missing} is not installed'


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector):
    """Skip the files that import what this machine has not got."""
    report = (yield).get_result()
    if getattr(report, 'call', None) is not None:
        _skip_without(report, report.call, collector.name, 0)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Skip the tests whose fixtures import what this machine has not got."""
    _skip_without((yield).get_result(), call, item.location[0], item.location[1] or 0)


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


@pytest.fixture(scope='session', autouse=True)
def cache(tmp_path_factory):
    """No test writes into the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('TRT_SEGMENTATION_CACHE', str(tmp_path_factory.mktemp('cache')))
        yield


@pytest.fixture(scope='session')
def networks():
    """The module support/networks.py: small networks, what runs them, references."""
    return _support('networks')


@pytest.fixture(scope='session')
def halves():
    """The module support/halves.py: networks that tell black from white."""
    return _support('halves')


@pytest.fixture(scope='session')
def image_bytes():
    """The module support/image_bytes.py: encoded images as people have them."""
    return _support('image_bytes')


@pytest.fixture(scope='session')
def tensorrt_names():
    """The module support/tensorrt_names.py: what a package takes from TensorRT."""
    return _support('tensorrt_names')


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that is not there; see support/gpu_stand_in.py."""
    return _support('gpu_stand_in').Gpu(monkeypatch)


@pytest.fixture
def codec(gpu, monkeypatch):
    """nvImageCodec on a GPU that is not there; see support/nvimgcodec_stand_in.py."""
    from trt_segmentation.backends.tensorrt import gpu_jpeg
    codec = _support('nvimgcodec_stand_in').NvImgCodec(gpu)
    monkeypatch.setattr(gpu_jpeg, 'find_nvimgcodec', lambda: codec)
    return codec


@pytest.fixture
def tensorrt(gpu, monkeypatch, tmp_path):
    """TensorRT on a GPU that is not there; see support/tensorrt_stand_in.py."""
    monkeypatch.setenv('TRT_SEGMENTATION_CACHE', str(tmp_path / 'engines'))
    return _support('tensorrt_stand_in').TensorRt(gpu, monkeypatch)


def _support(name):
    path = Path(__file__).with_name('support') / f'{name}.py'
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=_support('networks').KINDS)
def kind(request):
    """A key of ``networks.KINDS``, one after the other."""
    return request.param


@pytest.fixture
def small_disk(tmp_path):
    """What mounts a file system of so many KiB, and returns its folder."""
    mounted = []

    def mount(kilobytes):
        folder = tmp_path / f'disk_{kilobytes}'
        folder.mkdir()
        done = subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={kilobytes}k', 'tmpfs',
                               folder], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f'no file system can be mounted here: {done.stderr.strip()}')
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(['umount', folder], check=True)
