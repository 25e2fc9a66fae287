# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Fixtures: the node in a separate process, with a camera and a consumer over DDS."""

from __future__ import annotations  # messages are named that need not be there

import atexit
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

from trt_segmentation.ros.transport import large_image_environment

ANNOUNCEMENTS = """<rtps><builtin><discovery_config>
  <leaseAnnouncement><sec>0</sec><nanosec>200000000</nanosec></leaseAnnouncement>
</discovery_config></builtin>"""


def _with_frequent_announcements(profile: str) -> str:
    """Return the path of a Fast DDS profile whose participants announce themselves every 0.2 s.

    Announcements can get lost, and by default the next one comes after 3 s.
    """
    folder = Path(tempfile.mkdtemp(prefix='fastdds_'))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    text = Path(profile).read_text(encoding='utf-8')
    assert '<rtps>' in text
    (folder / 'fastdds.xml').write_text(text.replace('<rtps>', ANNOUNCEMENTS), encoding='utf-8')
    return str(folder / 'fastdds.xml')


# Read when the first participant is made.
os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
for _name, _value in large_image_environment(os.environ).items():
    os.environ[_name] = _with_frequent_announcements(_value) if Path(_value).is_file() else _value

try:
    import rclpy
    import rclpy.executors
    from diagnostic_msgs.msg import DiagnosticArray
    from lifecycle_msgs.srv import ChangeState, GetState
    from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters
    from rclpy.parameter import Parameter, parameter_value_to_python
    from rclpy.qos import QoSProfile, qos_profile_sensor_data
    from sensor_msgs.msg import Image
    from std_srvs.srv import SetBool, Trigger
except ModuleNotFoundError:  # the tests of this folder that need no node still run
    rclpy = None
    SERVICES = {}
else:
    SERVICES = {'change_state': ChangeState, 'get_state': GetState,
                'set_parameters': SetParameters, 'get_parameters': GetParameters,
                'describe_parameters': DescribeParameters, 'enable': SetBool,
                'load_model': Trigger}

NODE = '-m', 'trt_segmentation.ros.node'
TIMEOUT = 30.0
PATIENCE = 5.0
_numbers = itertools.count()


def pytest_collection_modifyitems(items):
    for item in items:
        if 'test/ros/' in item.nodeid:
            item.add_marker(pytest.mark.ros)


def image_message(pixels: np.ndarray, encoding: str = 'bgr8') -> Image:
    """Return uint8 [H, W] or [H, W, C] pixels as a message with tight rows."""
    height, width = pixels.shape[:2]
    return Image(height=height, width=width, encoding=encoding,
                 step=pixels.nbytes // height, data=array('B', pixels.tobytes()))


def pixels_of(msg: Image) -> np.ndarray:
    """Return a mono8 or bgr8 message's pixels, as read by a consumer that uses ``step``."""
    channels = {'mono8': 1, 'bgr8': 3}[msg.encoding]
    data = np.frombuffer(msg.data, np.uint8)
    assert len(data) == msg.step * msg.height
    rows = data.reshape(msg.height, msg.step)[:, :msg.width * channels]
    return rows.reshape(msg.height, msg.width, channels).squeeze(-1) if channels == 1 else \
        rows.reshape(msg.height, msg.width, channels)


class Bench:
    """One segmentation node in its own process and namespace, with the peers of its topics."""

    def __init__(self, parameters: dict, program: Sequence[str] = NODE) -> None:
        self.namespace = f'/bench_{os.getpid()}_{next(_numbers)}'
        self.context = rclpy.Context()
        self.context.init()
        self.node = rclpy.create_node('tester', namespace=self.namespace, context=self.context)
        self.executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.camera = self.node.create_publisher(Image, 'image', qos_profile_sensor_data)
        self.received = {}
        self._sent, self._last_sent, self._last_stamp = 0, None, None
        self.published = 0  # frames, those that were sent once more included
        self._met: set[str] = set()
        self._clients = {}
        for name, service_type in SERVICES.items():  # so that the node finds them at its start
            self._client(service_type, name)
        self.diagnostics, self._forgotten_until = [], 0
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        arguments = ['--ros-args', '-r', f'__ns:={self.namespace}', '-p',
                     'diagnostics_period:=0.1']
        for name, value in parameters.items():
            arguments += ['-p', f'{name}:={value}']
        self._log = tempfile.TemporaryFile('w+')  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, '-X', 'faulthandler', *program, *arguments], stderr=self._log)

    def _on_diagnostics(self, msg: DiagnosticArray, info: dict) -> None:
        if info['source_timestamp'] > self._forgotten_until:
            self.diagnostics += [status for status in msg.status
                                 if status.name.startswith(self.namespace.lstrip('/') + '/')]

    def forget_diagnostics(self) -> None:
        """Discard all diagnostics of the node, including those in transit."""
        self.diagnostics.clear()
        self._forgotten_until = time.time_ns()

    def spin_until(self, condition, what: str, timeout: float = TIMEOUT) -> None:
        end = time.monotonic() + timeout
        while not condition():
            assert self.process.poll() is None, f'the node died waiting for {what}: {self.log()}'
            assert time.monotonic() < end, f'timed out waiting for {what}: {self._final_report()}'
            self.executor.spin_once(timeout_sec=0.02)

    def spin_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.01)

    def listen(self, *outputs: str, qos=None) -> None:
        """Subscribe to outputs, and wait until all peers have discovered each other."""
        for output in outputs:
            self.received[output] = []
            self.node.create_subscription(Image, f'segmentation/{output}',
                                          self.received[output].append, qos or QoSProfile(depth=5))
        self.wait_until_active()
        topics = [f'{self.namespace}/segmentation/{output}' for output in outputs]
        self.spin_until(lambda: all(self.node.count_publishers(topic) for topic in topics),
                        'its publishers')
        self.wait_until_met()

    def wait_until_met(self) -> None:
        """Wait until the node has discovered all publishers, subscriptions and clients.

        Seeing its ends does not mean that it sees ours, and a first image would go nowhere. A
        process learns of another's ends in the order in which they were made, so it is asked by
        the newest.
        """
        client = self.node.create_client(GetState, 'segmentation/get_state')
        asked = []

        def has_answered() -> bool:
            if not asked or time.monotonic() > asked[-1][0] + 0.5:
                asked.append((time.monotonic(), client.call_async(GetState.Request())))
            return any(future.done() for _, future in asked)

        self.spin_until(client.service_is_ready, 'its services')
        self.spin_until(has_answered, 'an answer')
        self.node.destroy_client(client)

    def collect(self, message_type, topic: str, qos=5) -> list:
        """Subscribe to any topic, and return the list that receives its messages."""
        messages = []
        self.node.create_subscription(message_type, topic, messages.append, qos)
        return messages

    def wait_until_active(self) -> None:
        self.spin_until(lambda: self.camera.get_subscription_count() > 0, 'its subscription')

    def send(self, msg: Image, stamp: int | None = None) -> int:
        """Publish with a stamp in nanoseconds, by default a unique one; return the stamp."""
        stamp = self.node.get_clock().now().nanoseconds if stamp is None else stamp
        msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(stamp, 10**9)
        msg.header.frame_id = 'camera_color_optical_frame'
        self._send_first(msg, stamp)
        return stamp

    def _send_first(self, msg: Image | bytes, stamp: int | None) -> None:
        self._publish(msg)
        self._sent, self._last_sent, self._last_stamp = self._sent + 1, msg, stamp

    def _publish(self, msg: Image | bytes) -> None:
        self.camera.publish(msg)
        self.published += 1

    def spin_until_answered(self, found, send_again, what: str):
        """Wait for what a message brings about, and return it.

        Best effort loses a message, and a subscriber is not known, where discovery is slow:
        ``send_again`` is called whenever nothing is found for a while. It sends what the node
        has not received.
        """
        for _ in range(int(TIMEOUT / PATIENCE)):
            patient_until = time.monotonic() + PATIENCE
            self.spin_until(lambda until=patient_until: found() or time.monotonic() > until, what)
            if answer := found():
                return answer
            send_again()
        pytest.fail(f'timed out waiting for {what}: {self._final_report()}')

    def _send_again(self, stamp: int | None) -> None:
        """Send the last frame once more, if it has that stamp and the node did not try it."""
        if self._last_sent is not None and self._last_stamp == stamp:
            counts = self.counts()
            tried = counts['frames received'] - counts['frames dropped, no_subscriber']
            if tried < self._sent:
                self._publish(self._last_sent)

    def publish_together(self, messages) -> None:
        """Publish the message of each publisher, all with one stamp.

        Args:
            messages: pairs of a publisher and its message.
        """
        stamp = self.node.get_clock().now().to_msg()
        for publisher, msg in messages:
            msg.header.stamp = stamp
            publisher.publish(msg)

    def publish_until(self, publish, condition, what: str) -> None:
        """Call ``publish`` repeatedly, since best effort loses messages, until a condition."""
        def published_in_vain() -> bool:
            publish()
            self.spin_for(0.1)
            return not condition()

        self.spin_until(lambda: not published_in_vain(), what)

    def send_until(self, msg: Image, condition, what: str) -> list[int]:
        """Send a frame repeatedly; return stamps."""
        stamps = []
        self.publish_until(lambda: stamps.append(self.send(msg)), condition, what)
        return stamps

    def answer(self, output: str, stamp: int) -> Image:
        """Wait for the output of the frame with that stamp."""
        return self.spin_until_answered(lambda: self._outputs_of(output, stamp),
                                        lambda: self._send_again(stamp),
                                        f'{output} of frame {stamp}')[0]

    def _outputs_of(self, output: str, stamp: int) -> list:
        return [msg for msg in self.received[output] if stamp_of(msg) == stamp]

    def answer_to(self, publisher, msg: Image, output: str) -> Image:
        """Publish a frame with another publisher than the camera; return its output."""
        def publish() -> None:
            self.published += 1
            publisher.publish(msg)

        publish()
        return self.spin_until_answered(lambda: self._outputs_of(output, stamp_of(msg)), publish,
                                        output)[0]

    def segment(self, msg: Image, output: str = 'mask') -> np.ndarray:
        """Send one frame and return the pixels of its output."""
        return pixels_of(self.answer(output, self.send(msg)))

    def send_in_vain(self, msg: Image | bytes, reason: str) -> None:
        """Send a valid or invalid frame, and wait until it is counted as dropped for a reason."""
        def dropped() -> int:
            return self.counts()[f'frames dropped, {reason}']

        before = dropped()
        stamp = self._send_first(msg, None) if isinstance(msg, bytes) else self.send(msg)
        self.spin_until_answered(lambda: dropped() > before, lambda: self._send_again(stamp),
                                 f'a frame to be dropped ({reason})')

    def call(self, service_type, name: str, request):
        """Call one of the node's services and return the response."""
        future = self.request(service_type, name, request)
        self.spin_until(future.done, f'an answer from {name}')
        return future.result()

    def request(self, service_type, name: str, request):
        """Call one of the node's services and return the response's future."""
        client = self._client(service_type, name)
        if name not in self._met or not client.service_is_ready():
            self.spin_until(client.service_is_ready, f'service {name}')
            # A server that has yet to find its client drops the response. The client may have
            # found the server at once: what its process knows already.
            self.wait_until_met()
            self._met.add(name)
        return client.call_async(request)

    def _client(self, service_type, name: str):
        if name not in self._clients:
            self._clients[name] = self.node.create_client(service_type, f'segmentation/{name}')
        return self._clients[name]

    def set_parameter(self, name: str, value, kind: Parameter.Type | None = None):
        """Return the SetParametersResult; an empty array needs a type."""
        request = SetParameters.Request(parameters=[Parameter(name, kind, value)
                                                    .to_parameter_msg()])
        return self.call(SetParameters, 'set_parameters', request).results[0]

    def parameter(self, name: str):
        """Return a parameter's value."""
        request = GetParameters.Request(names=[name])
        return parameter_value_to_python(self.call(GetParameters, 'get_parameters',
                                                   request).values[0])

    def describe(self, *names: str):
        """Return the parameters' descriptors."""
        return self.call(DescribeParameters, 'describe_parameters',
                         DescribeParameters.Request(names=list(names))).descriptors

    def state(self) -> str:
        return self.call(GetState, 'get_state', GetState.Request()).current_state.label

    def transition(self, transition: int) -> bool:
        request = ChangeState.Request()
        request.transition.id = transition
        return self.call(ChangeState, 'change_state', request).success

    def counts(self, camera: str = '') -> dict[str, int]:
        """Return the frame counters of ``status``, when two in succession are equal: a mask can
        arrive before the node's other thread has counted it. While frames arrive, the last of
        some."""
        found: dict[str, int] = {}
        for _ in range(11):
            last, found = found, _frames_of([self.status(camera)])
            if found == last:
                break
        return found

    def status(self, camera: str = ''):
        """Return the status of the node, or of one of its cameras, published after this call."""
        self.forget_diagnostics()
        end = f'/segmentation{"/" * bool(camera)}{camera}: segmentation'

        def found() -> list:
            return [each for each in self.diagnostics if each.name.endswith(end)]

        self.spin_until(found, f'diagnostics of {camera or "the node"}')
        return found()[-1]

    def wait_for_status(self, text: str, timeout: float = TIMEOUT):
        """Wait until the message of the status contains a text, and return the status."""
        self.forget_diagnostics()
        self.spin_until(lambda: self.diagnostics and text in self.diagnostics[-1].message,
                        f'diagnostics to say "{text}"', timeout)
        return self.diagnostics[-1]

    def stop(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """Signal the node; return its exit code and its log."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(10), self.log()
        except subprocess.TimeoutExpired:
            pytest.fail(f'the node did not end: {self._final_report()}')

    def log(self) -> str:
        """Return the log of the node so far."""
        file = self._log.fileno()  # seeking would also move the place where the node writes
        return os.pread(file, os.fstat(file).st_size, 0).decode()

    def _final_report(self) -> str:
        """Kill the node; return its log, the stacks of its threads, and its counters."""
        self.process.send_signal(signal.SIGABRT)
        self.process.wait(10)
        return f'{self.log()}\n{_frames_of(self.diagnostics)}'

    def close(self) -> None:
        if self.process.poll() is None:
            self.stop()
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()
        self._log.close()


def _frames_of(diagnostics: list) -> dict[str, int]:
    """Return the frame counters of the newest diagnostics."""
    return {value.key: int(value.value) for status in diagnostics[-1:] for value in status.values
            if value.key.startswith('frames ')}


def stamp_of(msg) -> int:
    """Return a message's stamp in nanoseconds."""
    return msg.header.stamp.sec * 10**9 + msg.header.stamp.nanosec


def _need_rclpy():
    if rclpy is None:
        pytest.skip('rclpy is not installed')


def _benches():
    _need_rclpy()
    benches = []

    def make(*, program: Sequence[str] = NODE, **parameters) -> Bench:
        benches.append(Bench(parameters, program))
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()


@pytest.fixture
def model(networks, tmp_path):
    """The path of a network whose mask is the brightest channel of a 48x64 image."""
    config = 'input: {color: bgr, scale: 1}'
    onnx.save(networks.pointwise(np.eye(3), (48, 64), metadata=config), tmp_path / 'net.onnx')
    return tmp_path / 'net.onnx'


@pytest.fixture
def context():
    """A separate context, for nodes in the process of the test."""
    _need_rclpy()
    context = rclpy.Context()
    context.init()
    yield context
    context.try_shutdown()


@pytest.fixture(scope='module')
def scene():
    """A rendered road: uint8 BGR [180, 320, 3]."""
    from trt_segmentation.demo.clip import read_frame  # brings OpenCV, whose limits the node sets
    return read_frame(7, 180, 320).image


@pytest.fixture(scope='module')
def segmenter():
    """The demo network in this process."""
    from trt_segmentation.segmenter import Segmenter
    return Segmenter.open()


@pytest.fixture
def make_bench():
    """Start nodes: ``make_bench(engine_path=...)``; ``program`` is run by Python instead."""
    yield from _benches()


@pytest.fixture(scope='module')
def make_module_bench():
    """Start nodes that several tests share; see ``make_bench``."""
    yield from _benches()


@pytest.fixture(name='image_message', scope='session')
def image_message_fixture():
    return image_message


@pytest.fixture(name='pixels_of')
def pixels_of_fixture():
    return pixels_of


@pytest.fixture(name='stamp_of', scope='session')
def stamp_of_fixture():
    return stamp_of
