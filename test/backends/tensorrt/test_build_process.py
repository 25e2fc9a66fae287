# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Building in a child process: how it ends well, and how either side ends badly."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from trt_segmentation.backends.tensorrt.api import LOGGER, find_tensorrt
from trt_segmentation.backends.tensorrt.build_process import build_in_child, visible_devices
from trt_segmentation.errors import BackendError, ConfigError, MissingBackendError
from trt_segmentation.graph.pipeline.prepare import prepare
from trt_segmentation.options import BuildOptions

SIZES = {'image': ((1, 64, 64, 3), (1, 240, 320, 3), (1, 480, 640, 3))}

PARENT = """
import signal, sys, threading, time
print('imported', flush=True)
if 'deaf' in sys.argv:  # signals come to another thread, and end no system call of this one
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
from trt_segmentation.options import BuildOptions
from trt_segmentation.backends.tensorrt.build_process import build_in_child

class Slow:
    def __reduce__(self):
        return time.sleep, (600,)

build_in_child(b'', {}, BuildOptions(), float_layers=Slow())
"""
"""A program whose child is busy for ten minutes."""


class InChild:
    """What the child does in place of reading its order: a call of ``function``."""

    def __init__(self, function, *args):
        self._call = function, args

    def __reduce__(self):
        return self._call


def build(model=b'', profiles=SIZES, options=None, float_layers=str.isupper, **more):
    return build_in_child(model, profiles, options or BuildOptions(), source='net.onnx',
                          float_layers=float_layers, **more)


@pytest.fixture(autouse=True)
def others():
    """Children of this process that are none of these tests' own, such as those of xdist."""
    others = psutil.Process().children(recursive=True)
    children.others = others
    return others


def children():
    return [each for each in psutil.Process().children(recursive=True)
            if each not in children.others]


@pytest.fixture
def model(networks):
    try:
        find_tensorrt()
    except MissingBackendError as error:
        pytest.skip(str(error))
    spec = networks.spec_of(networks.pointwise([[1, 0, 0], [0, 1, 0]], (32, 48)))
    return prepare(spec).model.SerializeToString()


@pytest.fixture
def parent(tmp_path, request):
    """A running ``PARENT``, once it has its child; both are gone afterwards."""
    program = tmp_path / 'program.py'
    program.write_text(PARENT)
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    running = subprocess.Popen([sys.executable, program, getattr(request, 'param', '')],
                               env=environment, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    process = psutil.Process(running.pid)
    wait_until(lambda: process.children() or running.poll() is not None)
    running.child = process.children()[0]
    yield running
    for process in (running, running.child):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    running.communicate()


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'it never happened'
        time.sleep(0.02)


def wait_until_busy(child):
    """Wait until a child has its order: then two threads run, one of them watches the pipe."""
    wait_until(lambda: child.num_threads() > 1)


def test_a_child_builds_a_plan_and_is_gone(model, caplog):
    caplog.set_level(logging.DEBUG, LOGGER)  # a node may have set that of the package
    told = []
    plan = build(model, on_progress=told.append)
    assert len(plan.plan) > 10_000 and plan.seconds > 0
    assert told[0].startswith('building an engine of net.onnx')
    assert children() == []
    heard = [record for record in caplog.records if record.name == LOGGER]
    assert any('Engine generation completed' in record.message for record in heard)
    assert {record.process for record in heard}.isdisjoint({os.getpid()})


def test_errors_of_the_child_arrive_as_themselves(model):
    with pytest.raises(ConfigError, match=r"'image' of net.onnx has open dimensions"):
        build(model, profiles={})
    assert children() == []


def test_a_mistake_of_ours_in_the_child_is_an_error_with_its_type(model, caplog):
    with pytest.raises(BackendError, match=r'child process that builds .* failed: TypeError: '):
        build(model, profiles={'image': 7})
    assert 'Traceback' in caplog.text


@pytest.mark.parametrize(('number', 'message'), [
    (signal.SIGSEGV, 'ended by SIGSEGV, a crash inside TensorRT'),
    (signal.SIGABRT, 'ended by SIGABRT, a crash inside TensorRT'),
    (signal.SIGKILL, 'ended by SIGKILL, most likely because memory ran out')])
def test_the_signal_that_ends_a_child_is_named(number, message):
    with pytest.raises(BackendError, match=f'the process that built net.onnx was {message}'):
        build(float_layers=InChild(signal.raise_signal, number))


def test_a_child_that_just_ends_is_an_error():
    with pytest.raises(BackendError, match='ended with status 3'):
        build(float_layers=InChild(os._exit, 3))


def test_what_the_listener_raises_ends_the_child(model):
    def listener(text):
        raise InterruptedError(text)

    with pytest.raises(InterruptedError):
        build(model, on_progress=listener)
    assert children() == []


@pytest.mark.parametrize('parent', ['', 'deaf'], indirect=True)
def test_ctrl_c_ends_the_child_and_the_program(parent):
    wait_until_busy(parent.child)
    parent.send_signal(signal.SIGINT)
    _, errors = parent.communicate(timeout=30)
    assert 'KeyboardInterrupt' in errors
    wait_until(lambda: not parent.child.is_running())


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL])
def test_a_child_does_not_outlive_its_parent(parent, number):
    wait_until_busy(parent.child)
    parent.send_signal(number)
    parent.communicate(timeout=30)
    assert parent.returncode == -number
    wait_until(lambda: not parent.child.is_running())


def test_the_child_does_not_import_the_main_program(parent):
    wait_until_busy(parent.child)
    parent.kill()
    output, _ = parent.communicate(timeout=30)
    assert output.split() == ['imported']


def test_the_child_imports_no_ros():
    program = ('import sys; from trt_segmentation.backends.tensorrt import build_process; '
               'print(*sys.modules)')
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True,
                          check=True)
    loaded = {name.partition('.')[0] for name in done.stdout.split()}
    assert 'trt_segmentation' in loaded
    assert loaded & {'rclpy', 'cv2', 'onnxruntime', 'tensorrt', 'tensorrt_rtx'} == set()


@pytest.mark.parametrize(('chosen', 'device', 'visible'), [
    (None, 1, '1'), ('', 1, '1'), ('2,0', 0, '2'), ('2,0', 1, '0'), ('GPU-8a,GPU-9b', 1, 'GPU-9b'),
    ('3', 2, '2')])
def test_the_child_sees_the_gpu_that_its_parent_means(chosen, device, visible):
    environment = {'HOME': '/x'} | ({} if chosen is None else {'CUDA_VISIBLE_DEVICES': chosen})
    assert visible_devices(device, environment) == {'HOME': '/x', 'CUDA_VISIBLE_DEVICES': visible}
