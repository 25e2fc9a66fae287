# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Faults around the running node: each costs at most its own frames, and is said."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import psutil
import pytest
from builtin_interfaces.msg import Time
from rclpy.qos import qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage

from trt_segmentation.backends.tensorrt.api import find_tensorrt
from trt_segmentation.errors import MissingBackendError
from trt_segmentation.segmenter import Segmenter

SIZE = 48, 64
SUPPORT = Path(__file__).parents[1] / 'support'
CONFIG = 'input: {color: bgr, scale: 1}'

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
def model(networks, tmp_path):
    """The path of a network whose mask is the brightest channel of a 48x64 image."""
    onnx.save(networks.pointwise(np.eye(3), SIZE, metadata=CONFIG), tmp_path / 'net.onnx')
    return tmp_path / 'net.onnx'


@pytest.fixture
def image(networks):
    return networks.random_image(*SIZE)


@pytest.fixture
def start_camera():
    """Starts a camera in a process of its own: 50 Hz until it is killed."""
    running = []

    def start(namespace):
        running.append(subprocess.Popen([sys.executable, '-c', CAMERA, namespace]))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


def wait_for_message(bench, text):
    """Wait until diagnostics say it."""
    bench.diagnostics.clear()
    bench.spin_until(lambda: any(text in status.message for status in bench.diagnostics),
                     f"'{text}' in diagnostics")


def assert_all_counted(counts):
    """Every frame that came was segmented or dropped for a reason other than its being old."""
    dropped = sum(number for key, number in counts.items()
                  if 'dropped' in key and 'keep_latest' not in key)
    assert counts['frames received'] == counts['frames segmented'] + dropped


def test_a_killed_camera_is_missed_and_found_again(make_bench, model, start_camera):
    bench = make_bench(engine_path=model, input_timeout=0.5, max_drop_share=1.0)
    bench.listen('mask')
    for _ in range(2):
        camera = start_camera(bench.namespace)
        bench.received['mask'].clear()
        bench.spin_until(lambda: len(bench.received['mask']) > 10, 'masks')
        wait_for_message(bench, 'segmenting')
        camera.kill()
        wait_for_message(bench, 'no image on')
    counts = bench.counts()
    assert_all_counted(counts)
    assert counts['frames segmented'] == counts['frames received'] > 20


def test_size_and_encoding_change_with_every_frame(make_bench, model, image, image_message,
                                                   pixels_of):
    bench = make_bench(engine_path=model)
    bench.listen('mask')
    segmenter, expected = Segmenter.open(model), {}
    bench.segment(image_message(image))
    for number in range(24):
        frame = cv2.resize(image, (64 + 7 * (number % 5), 48 + 3 * (number % 4)))
        sent = (frame, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB),
                cv2.cvtColor(frame, cv2.COLOR_BGR2BGRA))[number % 3]
        encoding = ('bgr8', 'rgb8', 'bgra8')[number % 3]
        expected[bench.send(image_message(sent, encoding))] = segmenter.infer(frame).mask.copy()
        bench.spin_for(0.05)
    for stamp, mask in expected.items():
        np.testing.assert_array_equal(pixels_of(bench.answer('mask', stamp)), mask)
    assert bench.counts()['frames segmented'] == 25


def test_simulated_time_may_jump_back_and_stand_still(make_bench, model, image, image_message):
    bench = make_bench(engine_path=model, use_sim_time=True)
    bench.listen('mask')
    clock = bench.node.create_publisher(Clock, '/clock', 10)
    topic = f'{bench.namespace}/segmentation'
    bench.spin_until(lambda: clock.get_subscription_count(), f'/clock of {topic}')
    for number, second in enumerate((1000, 10, 11), start=1):  # a bag starts anew
        clock.publish(Clock(clock=Time(sec=second, nanosec=50_000_000)))
        bench.spin_for(0.2)
        msg = image_message(image)
        msg.header.stamp = Time(sec=second)
        bench.camera.publish(msg)
        bench.answer('mask', second * 10**9)
        counts = bench.counts()  # of diagnostics that come although the clock stands still
        assert counts['frames segmented'] == number
    values = {value.key: value.value for value in bench.diagnostics[-1].values}
    assert float(values['latency p99, ms']) < 1000
    assert values['stamps ahead of the clock'] == '0'


def test_corrupt_jpegs_cost_only_themselves(make_bench, model, image, stamp_of):
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
        stamp = bench.send(msg)
        if data == good:
            bench.answer('mask', stamp)
        else:
            bench.spin_for(0.1)
    counts = bench.counts()
    assert counts['frames dropped, bad_frame'] == len(corrupt)
    assert counts['frames segmented'] == len(corrupt) + 1
    assert_all_counted(counts)


def test_a_network_file_that_goes_away_is_not_missed(make_bench, model, image, image_message,
                                                     pixels_of):
    bench = make_bench(engine_path=model)
    bench.listen('mask')
    model.unlink()
    for height in (48, 96):  # another size makes all anew
        frame = cv2.resize(image, (64, height), interpolation=cv2.INTER_NEAREST)
        assert pixels_of_shape(bench, image_message(frame), pixels_of) == (height, 64)


def pixels_of_shape(bench, msg, pixels_of):
    return pixels_of(bench.answer('mask', bench.send(msg))).shape


# Builds ------------------------------------------------------------------------------------------

NODE_THAT_BUILDS = """
import importlib.util, sys, time
from dataclasses import replace
from pathlib import Path
import pytest

def support(name):
    spec = importlib.util.spec_from_file_location(name, Path(sys.argv[1]) / f'{{name}}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

class Slow:
    def __reduce__(self):
        return time.sleep, (600,)

patch = pytest.MonkeyPatch()
from trt_segmentation.backends.tensorrt import making
from trt_segmentation.backends.tensorrt.build_process import build_in_child
from trt_segmentation.ros.node import main
stand_in = support('tensorrt_stand_in').TensorRt(support('gpu_stand_in').Gpu(patch), patch)

def build(model, profiles, options, *, float_layers, **more):
    with open(sys.argv[2], 'a') as file:
        file.write('build\\n')
    built = build_in_child(model, profiles, options, **more,
                           float_layers=Slow() if {hangs} else float_layers)
    return replace(built, plan=stand_in.plan(model, profiles))

making.build_in_child = build
sys.exit(main(sys.argv[3:]))
"""
"""The node, with the real builder in its real child process; the GPU, and what runs the plan on
it, are stand-ins."""


@pytest.fixture
def start_builder(make_bench, model, tmp_path):
    """Starts nodes on TensorRT that share a cold cache; the builds of some never end."""
    try:
        find_tensorrt()
    except MissingBackendError as error:
        pytest.skip(str(error))

    def start(hangs=False):
        program = ('-c', NODE_THAT_BUILDS.format(hangs=hangs), SUPPORT, tmp_path / 'builds')
        return make_bench(program=program, engine_path=model, backend='tensorrt',
                          engine_cache=tmp_path / 'cache', opt_size='[48, 64]',
                          min_size='[48, 64]', max_size='[96, 128]')

    return start


def builds(tmp_path):
    """Return how many builds were begun."""
    told = tmp_path / 'builds'
    return len(told.read_text().split()) if told.exists() else 0


def builder_of(bench):
    """Wait until the node's child has its order; return the child."""
    node = psutil.Process(bench.process.pid)
    bench.spin_until(lambda: any(child.num_threads() > 1 for child in node.children()), 'a build')
    return node.children()[0]


def assert_segments(bench, image, image_message, pixels_of):
    bench.listen('mask')
    shown = pixels_of(bench.answer('mask', bench.send(image_message(image))))
    np.testing.assert_array_equal(shown, image.argmax(axis=2))


def test_two_nodes_on_a_cold_cache_build_once(start_builder, image, image_message, pixels_of,
                                              tmp_path):
    for bench in [start_builder(), start_builder()]:
        assert_segments(bench, image, image_message, pixels_of)
    assert builds(tmp_path) == 1
    assert len(list((tmp_path / 'cache').glob('*.engine'))) == 1


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_build_ends_with_the_node_and_leaves_nothing_in_the_way(
        start_builder, image, image_message, pixels_of, tmp_path, number):
    bench = start_builder(hangs=True)
    child = builder_of(bench)
    code, log = bench.stop(number)
    assert code == (-number if number == signal.SIGKILL else 0), log
    assert 'Traceback' not in log
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running()
    assert not list((tmp_path / 'cache').glob('*.engine'))
    assert_segments(start_builder(), image, image_message, pixels_of)
    assert builds(tmp_path) == 2
    assert not list((tmp_path / 'cache').glob('.*'))
