# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The device: what is said where there is none, and where CUDA refuses."""

import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from trt_segmentation.backends.tensorrt import cuda
from trt_segmentation.backends.tensorrt.cuda import find_device, has_gpu
from trt_segmentation.errors import BackendError, MissingBackendError


@pytest.fixture
def find(gpu, monkeypatch):
    """Finds a device as if for the first time in this process, with the stand-in for PyCUDA."""
    monkeypatch.setitem(sys.modules, 'pycuda', SimpleNamespace(driver=gpu.driver))
    monkeypatch.setitem(sys.modules, 'pycuda.driver', gpu.driver)
    return find_device.__wrapped__


def test_a_missing_pycuda_is_said_with_the_way_to_get_it(find, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pycuda', None)
    monkeypatch.delitem(sys.modules, 'pycuda.driver')
    with pytest.raises(MissingBackendError, match=r'^PyCUDA is not installed; pip'):
        find(0)


def test_a_missing_driver_is_said(find, monkeypatch, tmp_path):
    (tmp_path / 'pycuda').mkdir()
    (tmp_path / 'pycuda' / '__init__.py').write_text('')
    (tmp_path / 'pycuda' / 'driver.py').write_text('raise ImportError("no libcuda.so.1")')
    monkeypatch.delitem(sys.modules, 'pycuda.driver')
    monkeypatch.delitem(sys.modules, 'pycuda')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingBackendError, match=r'no NVIDIA driver here \(no libcuda.so.1\); '):
        find(0)


@pytest.mark.parametrize('files', [
    {}, {'dev/null': ''}, {'proc/driver/nvram': ''},
    {'sys/bus/pci/devices/0000:01:00.0/vendor': '0x8086\n',
     'sys/bus/pci/devices/0000:01:00.0/class': '0x030000\n'},
    {'sys/bus/pci/devices/0000:01:00.1/vendor': '0x10de\n',  # a GPU's sound
     'sys/bus/pci/devices/0000:01:00.1/class': '0x040300\n'}],
    ids=['nothing', 'devices', 'drivers', "Intel's GPU", "NVIDIA's sound"])
def test_without_a_gpu_that_is_said_before_what_is_not_installed(tmp_path, find, monkeypatch,
                                                                 files):
    write(tmp_path, files)
    monkeypatch.setattr(cuda, 'has_gpu', lambda: has_gpu(tmp_path))
    monkeypatch.setitem(sys.modules, 'pycuda', None)
    with pytest.raises(MissingBackendError, match=r'^there is no NVIDIA GPU here \(a container '
                                                  r'needs --gpus all\)$'):
        find(0)


@pytest.mark.parametrize('files', [
    {'dev/nvidiactl': ''}, {'proc/driver/nvidia/version': ''}, {'dev/nvhost-gpu': ''},
    {'dev/nvgpu/igpu0/ctrl': ''}, {'dev/dxg': ''},
    {'sys/bus/pci/devices/0000:01:00.0/vendor': '0x10de\n',
     'sys/bus/pci/devices/0000:01:00.0/class': '0x030200\n'}],
    ids=['driver', 'driver in /proc', 'Jetson', 'newer Jetson', 'WSL 2', 'no driver'])
def test_a_gpu_is_found_by_its_driver_or_on_the_bus(tmp_path, files):
    write(tmp_path, files)
    assert has_gpu(tmp_path)


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


# A context in the background ----------------------------------------------------------------


class Driver:
    """Stands in for libcuda while a context is created; keeps the names that are called."""

    def __init__(self, failing=''):
        self.called, self._failing = [], failing

    def __getattr__(self, name):
        def call(*arguments):
            self.called.append(name)
            return name == self._failing

        return call


@pytest.fixture
def start(gpu, monkeypatch):
    """Starts a context on a driver, with PyCUDA or without, and waits for it."""
    def start(driver, pycuda=True):
        def library(name):
            if driver is None:
                raise OSError(f'{name}: cannot open shared object file')
            return driver

        monkeypatch.setattr(cuda.ctypes, 'CDLL', library)
        monkeypatch.setattr(cuda, 'find_spec', lambda name: name if pycuda else None)
        before = set(threading.enumerate())
        cuda.start_context.__wrapped__(0)
        for thread in set(threading.enumerate()) - before:
            thread.join()

    return start


def test_a_context_is_created_in_the_background(start):
    driver = Driver()
    start(driver)
    assert driver.called == ['cuInit', 'cuDeviceGet', 'cuDevicePrimaryCtxRetain']


@pytest.mark.parametrize(('failing', 'called'), [('cuInit', 1), ('cuDeviceGet', 2)])
def test_a_driver_that_fails_is_left_to_find_device(start, failing, called):
    driver = Driver(failing)
    start(driver)
    assert len(driver.called) == called


def test_no_context_is_created_where_it_has_no_use(start, monkeypatch):
    driver = Driver()
    start(driver, pycuda=False)
    start(None)  # there is no libcuda
    monkeypatch.setattr(cuda, 'has_gpu', lambda: False)
    start(driver)
    assert driver.called == []


def test_a_device_waits_for_its_context_only_when_it_is_used(gpu, monkeypatch):
    retained = []
    make = gpu.driver.Device

    def device(index):
        found = make(index)
        retain = found.retain_primary_context
        found.retain_primary_context = lambda: retained.append(index) or retain()
        return found

    device.count = make.count
    monkeypatch.setattr(gpu.driver, 'Device', device)
    opened = gpu.open_device()
    assert (opened.compute_capability, retained) == ('9.0', [])
    for _ in range(2):
        with opened.current():
            pass
    assert retained == [0]


def test_a_machine_without_a_gpu_is_said(gpu, find, monkeypatch):
    def init():
        raise gpu.driver.Error('cuInit failed: no CUDA-capable device is detected')

    monkeypatch.setattr(gpu.driver, 'init', init)
    with pytest.raises(MissingBackendError, match=r'finds no GPU \(cuInit failed: no CUDA-'):
        find(0)


@pytest.mark.parametrize('index', [1, 7, -1])
def test_a_gpu_that_is_not_there_is_refused(find, index):
    with pytest.raises(MissingBackendError, match=rf'device is {index}, but there .* first is 0'):
        find(index)


def test_a_device_knows_its_name(gpu):
    assert (gpu.device.name, gpu.device.compute_capability) == ('Stand-in GPU', '9.0')


def test_a_lack_of_memory_is_said_in_megabytes(gpu):
    gpu.total = 10_000_000
    with gpu.device.current():
        first = gpu.device.allocate(6_000_000)
        with pytest.raises(BackendError, match=r'has no 5\.0 MB left \(4 of 10 MB free\); end '):
            gpu.device.allocate(5_000_000)
        first.free()


def test_errors_of_cuda_are_ours_and_leave_no_context_behind(gpu):
    with pytest.raises(BackendError, match=r'^Stand-in GPU: an illegal memory access'), \
            gpu.device.current():
        raise gpu.driver.Error('an illegal memory access was encountered')
    assert gpu.depth() == 0


def test_memory_that_is_locked_already_is_refused_in_cudas_words(gpu):
    array = np.zeros(5000, np.uint8)
    with gpu.device.current():
        lock = gpu.device.page_lock(array)
        with pytest.raises(BackendError, match=r'cuMemHostRegister_v2 failed: resource already '):
            gpu.device.page_lock(array[100:])
        lock.close()
        gpu.device.page_lock(array).close()
    gpu.assert_all_is_freed()


def test_a_copy_there_and_back(gpu):
    sent, received = np.arange(100, dtype=np.uint8), np.zeros(100, np.uint8)
    with gpu.device.current():
        stream, memory = gpu.device.stream(), gpu.device.allocate(100)
        gpu.device.copy_in(memory, sent, stream)
        gpu.device.copy_out(received, memory, stream)
        stream.synchronize()
        memory.free()
    np.testing.assert_array_equal(received, sent)


def test_a_graph_does_again_what_was_recorded(gpu):
    done = []
    with gpu.device.current():
        stream = gpu.device.stream()
        graph = gpu.device.capture(stream, lambda: stream.put(lambda: done.append('work')))
        assert done == []
        for _ in range(2):
            graph.launch()
        stream.synchronize()
        graph.close()
    assert done == ['work', 'work']
    gpu.assert_all_is_freed()


def test_what_cannot_be_recorded_leaves_the_stream_usable(gpu):
    def enqueue():
        raise BackendError('TensorRT refuses')

    with gpu.device.current():
        stream = gpu.device.stream()
        with pytest.raises(BackendError, match='TensorRT refuses'):
            gpu.device.capture(stream, enqueue)
        gpu.fail('capture')
        with pytest.raises(BackendError, match='cuStreamEndCapture failed: operation failed due'):
            gpu.device.capture(stream, lambda: None)
        stream.synchronize()
    gpu.assert_all_is_freed()


def test_events_tell_the_time_between_two_points(gpu):
    with gpu.device.current():
        stream, (start, end) = gpu.device.stream(), (gpu.device.event(), gpu.device.event())
        start.record(stream)
        end.record(stream)
        assert gpu.device.milliseconds_between(start, end) >= 0


def test_a_graph_whose_end_reports_an_earlier_error_is_not_destroyed_twice(gpu):
    with gpu.device.current():
        graph = gpu.device.capture(gpu.device.stream(), lambda: None)
        gpu.fail('destroy graph')
        with pytest.raises(BackendError, match='cuGraphExecDestroy failed: an illegal memory'):
            graph.close()
        graph.close()
    assert gpu.graphs == {}


def test_memory_whose_unlocking_reports_an_earlier_error_is_not_unlocked_twice(gpu):
    with gpu.device.current():
        lock = gpu.device.page_lock(np.zeros(10, np.uint8))
        gpu.fail('unlock')
        with pytest.raises(BackendError, match='cuMemHostUnregister failed: an illegal memory'):
            lock.close()
        lock.close()
    assert gpu.locked == {}


def test_a_context_that_cannot_be_made_current_is_an_error_of_ours(gpu, monkeypatch):
    def push():
        raise gpu.driver.Error('cuCtxPushCurrent failed: an illegal memory access')

    monkeypatch.setattr(gpu.device._context, 'push', push)
    with pytest.raises(BackendError, match='Stand-in GPU: cuCtxPushCurrent failed'), \
            gpu.device.current():
        pass
    assert gpu.depth() == 0


def test_a_context_that_cannot_be_created_is_an_error_of_ours(gpu, monkeypatch):
    def retain():
        raise gpu.driver.Error('cuDevicePrimaryCtxRetain failed: out of memory')

    device = gpu.open_device()
    monkeypatch.setattr(device, '_device', SimpleNamespace(retain_primary_context=retain))
    with pytest.raises(BackendError, match='Stand-in GPU: cuDevicePrimaryCtxRetain failed'), \
            device.current():
        pass
    monkeypatch.undo()
    with device.current():  # tried again
        assert gpu.depth() == 1


def test_a_device_tells_what_engines_are_tuned_to(gpu):
    gpu.total = 7_800_000_000  # of 8 GB that a Jetson has, programs get less
    gpu.attributes['CLOCK_RATE'] = 918_000
    assert gpu.open_device().properties == {
        'memory_gib': 7, 'multiprocessor_count': 132, 'clock_rate': 918_000}
