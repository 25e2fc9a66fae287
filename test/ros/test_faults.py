# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Faults around the running node: each loses at most its own frames, and is logged."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import serialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import Trigger

from trt_segmentation.backends.tensorrt.api import find_tensorrt
from trt_segmentation.backends.tensorrt.cache import write_engine
from trt_segmentation.backends.tensorrt.engine_loader import EngineLoader
from trt_segmentation.errors import MissingBackendError
from trt_segmentation.graph.onnx_tools.network import read_network
from trt_segmentation.graph.reading.resolve import resolve
from trt_segmentation.model_config import ModelConfig
from trt_segmentation.options import BuildOptions
from trt_segmentation.segmenter import Segmenter

SIZE = 48, 64
SUPPORT = Path(__file__).parents[1] / 'support'

CAMERA = f"""
import rclpy, sys, time
from array import array
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

rclpy.init()
node = rclpy.create_node('camera', namespace=sys.argv[1])
publisher = node.create_publisher(Image, 'image', qos_profile_sensor_data)
msg = Image(height={SIZE[0]}, width={SIZE[1]}, encoding='bgr8', step={SIZE[1] * 3},
            data=array('B', bytes({SIZE[0] * SIZE[1] * 3})))
while True:
    msg.header.stamp = node.get_clock().now().to_msg()
    publisher.publish(msg)
    time.sleep(0.02)
"""


@pytest.fixture
def image(networks):
    return networks.random_image(*SIZE)


@pytest.fixture
def start_camera():
    """Starts a camera in a separate process: 50 Hz until it is killed."""
    running = []

    def start(namespace):
        running.append(subprocess.Popen([sys.executable, '-c', CAMERA, namespace]))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


def assert_all_counted(counts):
    """Every frame that came was segmented or dropped for a reason other than its being old."""
    dropped = sum(number for key, number in counts.items()
                  if 'dropped' in key and 'keep_latest' not in key)
    assert counts['frames received'] == counts['frames segmented'] + dropped


def test_a_killed_camera_is_reported_and_recovers(make_bench, model, start_camera):
    bench = make_bench(engine_path=model, input_timeout=0.5, max_drop_share=1.0)
    bench.listen('mask')
    for _ in range(2):
        camera = start_camera(bench.namespace)
        bench.received['mask'].clear()
        bench.spin_until(lambda: len(bench.received['mask']) > 10, 'masks')
        bench.wait_for_status('segmenting')
        camera.kill()
        bench.wait_for_status('no image on')
    counts = bench.counts()
    assert_all_counted(counts)
    assert counts['frames segmented'] == counts['frames received'] > 20


def test_size_and_encoding_change_with_every_frame(make_bench, model, image, image_message,
                                                   pixels_of):
    bench = make_bench(engine_path=model)
    bench.listen('mask')
    segmenter = Segmenter.open(model)
    bench.segment(image_message(image))
    for number in range(24):
        frame = cv2.resize(image, (64 + 7 * (number % 5), 48 + 3 * (number % 4)))
        sent = (frame, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB),
                cv2.cvtColor(frame, cv2.COLOR_BGR2BGRA))[number % 3]
        encoding = ('bgr8', 'rgb8', 'bgra8')[number % 3]
        np.testing.assert_array_equal(bench.segment(image_message(sent, encoding)),
                                      segmenter.infer(frame).mask)
    assert bench.counts()['frames segmented'] == 25


def test_simulated_time_may_jump_back_and_pause(make_bench, model, image, image_message):
    bench = make_bench(engine_path=model, use_sim_time=True)
    bench.listen('mask')
    clock = bench.node.create_publisher(Clock, '/clock', 10)
    topic = f'{bench.namespace}/segmentation'
    bench.spin_until(lambda: clock.get_subscription_count(), f'/clock of {topic}')
    for number, second in enumerate((1000, 10, 11), start=1):  # a bag restarts
        for _ in range(5):  # a clock ticks; a busy machine may take its time to hear it
            clock.publish(Clock(clock=Time(sec=second, nanosec=50_000_000)))
            bench.spin_for(0.15)
        bench.answer('mask', bench.send(image_message(image), second * 10**9))
        counts = bench.counts()  # of diagnostics that come although the clock is paused
        assert counts['frames segmented'] == number
    values = {value.key: value.value for value in bench.diagnostics[-1].values}
    assert float(values['latency p99, ms']) < 1000
    assert values['stamps ahead of the clock'] == '0'


def test_corrupt_jpegs_are_dropped(make_bench, model, image, stamp_of):
    bench = make_bench(engine_path=model, input_transport='compressed')
    camera = bench.node.create_publisher(CompressedImage, 'image/compressed',
                                         qos_profile_sensor_data)
    bench.camera = camera
    bench.listen('mask')
    good = cv2.imencode('.jpg', image)[1].tobytes()
    corrupt = (b'', b'\xff\xd8\xff', os.urandom(500), good[:40], good[::-1])
    for data in (good, *(data for each in corrupt for data in (each, good))):
        msg = CompressedImage(format='bgr8; jpeg compressed bgr8')
        msg.data.frombytes(data)
        if data == good:
            bench.answer('mask', bench.send(msg))
        else:
            bench.send_in_vain(msg, 'bad_frame')
    counts = bench.counts()
    assert counts['frames dropped, bad_frame'] == len(corrupt)
    assert counts['frames segmented'] == len(corrupt) + 1
    assert_all_counted(counts)


def test_malformed_messages_are_dropped(make_bench, model, image, image_message):
    bench = make_bench(engine_path=model)
    bench.listen('mask')
    whole = serialize_message(image_message(image))
    for data in (whole[:28], whole[:-4], whole[:4]):
        bench.send_in_vain(data, 'bad_frame')
        bench.segment(image_message(image))
    assert_all_counted(bench.counts())
    assert bench.log().count('a message of 28 bytes is not a valid sensor_msgs/Image') == 1


def test_a_deleted_network_file_does_not_stop_the_node(make_bench, model, image, image_message,
                                                       pixels_of):
    bench = make_bench(engine_path=model)
    bench.listen('mask')
    model.unlink()
    for height in (48, 96):  # a new size recreates everything
        frame = cv2.resize(image, (64, height), interpolation=cv2.INTER_NEAREST)
        assert_segments(bench, frame, image_message, pixels_of)


# On TensorRT -------------------------------------------------------------------------------------

NODE_ON_STAND_IN = """
import importlib.util, signal, sys, time
from dataclasses import replace
from pathlib import Path
import pytest

SUPPORT, BUILDS, MODE = sys.argv[1:4]

def support(name):
    spec = importlib.util.spec_from_file_location(name, Path(SUPPORT) / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

class Slow:
    def __reduce__(self):
        return time.sleep, (600,)

patch = pytest.MonkeyPatch()
from trt_segmentation.backends.tensorrt import build_process
from trt_segmentation.backends.tensorrt.build_process import build_in_child
from trt_segmentation.ros.node import main
gpu = support('gpu_stand_in').Gpu(patch)
stand_in = support('tensorrt_stand_in').TensorRt(gpu, patch)

def build(model, profiles, options, *, float_layers, **more):
    with open(BUILDS, 'a') as file:
        file.write('build\\n')
    built = build_in_child(model, profiles, options, **more,
                           float_layers=Slow() if MODE == 'hangs' else float_layers)
    return replace(built, plan=stand_in.plan(model, profiles))

if MODE != 'stand-in':
    build_process.build_in_child = build
gpu.fail('capture', 10**9)  # so that each frame is enqueued by TensorRT
signal.signal(signal.SIGUSR1, lambda *_: gpu.fail('enqueue', 8))
sys.exit(main(sys.argv[4:]))
"""
"""The node on stand-ins for the GPU and for what runs plans on it. Built is by a stand-in, by the
real builder in its real child process, or for ever. SIGUSR1 lets eight frames fail."""


@pytest.fixture
def start_node(make_bench, model, tmp_path):
    """Starts nodes on TensorRT, which share a cache."""
    def start(mode='stand-in', **parameters):
        program = ('-c', NODE_ON_STAND_IN, SUPPORT, tmp_path / 'builds', mode)
        told = {'engine_path': model, 'engine_cache': tmp_path / 'cache',
                'min_size': '[48, 64]', 'opt_size': '[48, 64]', 'max_size': '[96, 128]'}
        return make_bench(program=program, backend='tensorrt', **{**told, **parameters})

    return start


@pytest.fixture
def builder():
    """Skip without a builder."""
    try:
        find_tensorrt()
    except MissingBackendError as error:
        pytest.skip(str(error))


@pytest.fixture
def engine(model, tensorrt):
    """The path of an engine file, with its sidecar."""
    options = BuildOptions(min_size=(48, 64), opt_size=(48, 64), max_size=(96, 128))
    spec = resolve(read_network(model), ModelConfig())
    write_engine(model.with_suffix('.engine'), EngineLoader().fetch(spec, options, 'nearest'))
    return model.with_suffix('.engine')


@pytest.fixture(params=['read-only', 'full'])
def hostile_folder(request, tmp_path):
    """A folder in which no file can be stored."""
    folder = tmp_path / 'hostile'
    folder.mkdir()
    options = 'size=64k,ro' if request.param == 'read-only' else 'size=64k'
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', folder],
                      stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip('file systems cannot be mounted here')
    if request.param == 'full':
        (folder / 'others').write_bytes(bytes(64 * 1024))
    yield folder
    subprocess.run(['umount', folder], check=True)


def assert_segments(bench, image, image_message, pixels_of):
    shown = pixels_of(bench.answer('mask', bench.send(image_message(image))))
    np.testing.assert_array_equal(shown, image.argmax(axis=2))


def builds(tmp_path):
    """Return the number of started builds."""
    told = tmp_path / 'builds'
    return len(told.read_text().split()) if told.exists() else 0


@pytest.mark.parametrize('damage', [
    lambda path: path.write_bytes(path.read_bytes()[:-20]),
    lambda path: path.write_bytes(b'another plan'),
    lambda path: path.unlink()], ids=['truncated', 'replaced', 'removed'])
def test_a_damaged_engine_file_does_not_stop_the_node(start_node, engine, image, image_message,
                                                      pixels_of, damage):
    bench = start_node(engine_path=engine)
    bench.listen('mask')
    assert_segments(bench, image, image_message, pixels_of)
    whole = engine.read_bytes()
    damage(engine)
    response = bench.call(Trigger, 'load_model', Trigger.Request())
    assert not response.success and str(engine) in response.message
    assert_segments(bench, image, image_message, pixels_of)
    assert bench.counts()['frames segmented'] == 2
    engine.write_bytes(whole)
    response = bench.call(Trigger, 'load_model', Trigger.Request())
    assert response.success, response.message
    assert_segments(bench, image, image_message, pixels_of)


def test_an_unwritable_cache_folder_does_not_stop_the_node(
        start_node, hostile_folder, image, image_message, pixels_of):
    before = list(hostile_folder.iterdir())
    bench = start_node(engine_cache=hostile_folder)
    bench.listen('mask')
    assert_segments(bench, image, image_message, pixels_of)
    assert bench.log().count(f'engines cannot be stored in {hostile_folder}') == 1
    left = {path.suffix for path in hostile_folder.iterdir() if path not in before}
    assert left <= {'.lock'}


def test_a_temporary_backend_failure_drops_those_frames(start_node, image, image_message,
                                                        pixels_of):
    bench = start_node(max_drop_share=1.0)
    bench.listen('mask')
    assert_segments(bench, image, image_message, pixels_of)
    bench.process.send_signal(signal.SIGUSR1)
    for _ in range(8):
        bench.send_in_vain(image_message(image), 'backend_failed')
    bench.wait_for_status('the last 8 frames all failed: TensorRT cannot run the engine')
    assert bench.diagnostics[-1].level == DiagnosticStatus.ERROR
    assert_segments(bench, image, image_message, pixels_of)
    bench.wait_for_status('segmenting')
    counts = bench.counts()
    assert (counts['frames segmented'], counts['frames dropped, backend_failed']) == (2, 8)
    assert_all_counted(counts)


def test_two_nodes_on_a_cold_cache_build_once(builder, start_node, image, image_message,
                                              pixels_of, tmp_path):
    for bench in [start_node('real'), start_node('real')]:
        bench.listen('mask')
        assert_segments(bench, image, image_message, pixels_of)
    assert builds(tmp_path) == 1
    assert len(list((tmp_path / 'cache').glob('*.engine'))) == 1


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_build_ends_with_the_node_and_leaves_nothing_in_the_way(
        builder, start_node, image, image_message, pixels_of, tmp_path, number):
    bench = start_node('hangs')
    node = psutil.Process(bench.process.pid)
    bench.spin_until(lambda: any(child.num_threads() > 1 for child in node.children()), 'a build')
    (child,) = node.children()
    code, log = bench.stop(number)
    assert code == (-number if number == signal.SIGKILL else 0), log
    assert 'Traceback' not in log
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running()
    assert not list((tmp_path / 'cache').glob('*.engine'))
    again = start_node('real')
    again.listen('mask')
    assert_segments(again, image, image_message, pixels_of)
    assert builds(tmp_path) == 2
    assert not list((tmp_path / 'cache').glob('.*'))


# Unsuitable cameras


def test_two_publishers_and_a_restarted_one_invent_no_frames(make_bench, model, image,
                                                             image_message):
    bench = make_bench(engine_path=model)
    bench.listen('mask')
    message = image_message(image)
    for _ in range(10):
        bench.segment(message)
    for _ in range(3):  # each starts counting at 1
        other = bench.node.create_publisher(Image, 'image', qos_profile_sensor_data)
        bench.spin_until(lambda other=other: other.get_subscription_count() > 0, 'the other')
        bench.wait_until_met()
        for _ in range(3):
            bench.segment(message)
            message.header.stamp = bench.node.get_clock().now().to_msg()
            bench.answer_to(other, message, 'mask')
        bench.node.destroy_publisher(other)
    counts = bench.counts()
    assert counts['frames received'] <= bench.published
    assert sum(counts.values()) - counts['frames received'] <= bench.published


@pytest.mark.parametrize(('transport', 'sent', 'topic', 'said'), [
    ('raw', CompressedImage, 'image', 'set input_transport to compressed and remap'),
    ('raw', CompressedImage, 'image/compressed', 'set input_transport to compressed'),
    ('compressed', Image, 'image', 'set input_transport to raw')])
def test_a_camera_of_another_type_is_named(make_bench, model, transport, sent, topic, said):
    bench = make_bench(engine_path=model, input_transport=transport, input_timeout=0.2)
    bench.node.destroy_publisher(bench.camera)
    bench.node.create_publisher(sent, topic, qos_profile_sensor_data)
    status = bench.wait_for_status(said)
    assert status.level == DiagnosticStatus.WARN
    assert status.message.startswith('no image on ')
    # On the topic that the node has, its type is named; on another one, that topic.
    awaited = topic == ('image/compressed' if transport == 'compressed' else 'image')
    assert (f'its publisher has type sensor_msgs/msg/{sent.__name__}; ' if awaited else
            f'only {bench.namespace}/{topic} is published; ') in status.message
    bench.spin_for(1)
    assert bench.log().count(said) == 1


def test_depth_images_are_dropped(make_bench, model, image, image_message):
    bench = make_bench(engine_path=model, input_transport='compressed')
    bench.camera = bench.node.create_publisher(CompressedImage, 'image/compressed',
                                               qos_profile_sensor_data)
    bench.listen('mask')
    depth = cv2.imencode('.png', np.full(SIZE, 1234, np.uint16))[1].tobytes()
    picture = cv2.imencode('.png', image)[1].tobytes()
    for _ in range(3):
        bench.send_in_vain(CompressedImage(format='16UC1; png compressed ', data=depth),
                           'bad_frame')
    assert not bench.received['mask']
    bench.segment(CompressedImage(format='bgr8; png compressed ', data=picture))
    assert "format '16UC1; png compressed '" in bench.log()
