# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Invalid and failing transitions, transitions from another thread, and nodes in a process that
also does other work."""

import logging
import random
import subprocess
import sys
import threading
import time
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import rclpy
from lifecycle_msgs.msg import Transition
from rclpy.executors import MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image

from trt_segmentation.ros import camera as camera_module
from trt_segmentation.ros import outputs, serialized
from trt_segmentation.ros.health import Level
from trt_segmentation.ros.node import SegmentationNode

TIMEOUT = 30.0
PACKAGE = logging.getLogger('trt_segmentation')
CONFIGURE, CLEANUP = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP
ACTIVATE, DEACTIVATE = Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE
GOALS = {('unconfigured', CONFIGURE): 'inactive', ('inactive', ACTIVATE): 'active',
         ('active', DEACTIVATE): 'inactive', ('inactive', CLEANUP): 'unconfigured'}


@pytest.fixture
def make_node(context, model, tmp_path):
    """Make nodes of this process: ``make_node(name, parameter=value)``."""
    nodes = []

    def make(name='segmentation', **parameters):
        told = {'engine_path': str(model), 'backend': 'onnxruntime', 'tune_allocator': False,
                **parameters}
        nodes.append(SegmentationNode(
            name, context=context, namespace=f'/{tmp_path.name}',
            parameter_overrides=[Parameter(key, value=value) for key, value in told.items()]))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()


def own_status(node):
    return node._statuses(node._settings.thresholds)['']


# Invalid transitions


def test_a_transition_that_is_not_possible_is_refused(make_bench, model):
    """Each invalid transition from each state."""
    bench = make_bench(engine_path=model, backend='onnxruntime')
    bench.spin_until(lambda: bench.state() == 'active', 'its activation')
    state, choices = 'active', random.Random(3)
    for number in range(60):
        wanted = choices.choice([CONFIGURE, CLEANUP, ACTIVATE, DEACTIVATE, 99])
        goal = GOALS.get((state, wanted))
        assert bench.transition(wanted) == (goal is not None), (number, state, wanted)
        state = goal or state
        assert bench.state() == state
    assert bench.process.poll() is None


def test_an_invalid_transition_returns_an_error(make_node):
    node = make_node()
    assert node.trigger_activate() == TransitionCallbackReturn.ERROR
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_configure() == TransitionCallbackReturn.ERROR
    assert node.trigger_shutdown() == TransitionCallbackReturn.SUCCESS
    for trigger in (node.trigger_shutdown, node.trigger_cleanup, node.trigger_deactivate):
        assert trigger() == TransitionCallbackReturn.ERROR


# Failing transitions


def entities_of(node):
    """Return the names of a node's topics and services, and how many timers it has."""
    return (sorted(each.topic_name for each in (*node.publishers, *node.subscriptions)),
            sorted(each.srv_name for each in (*node.services, *node.clients)),
            len(list(node.timers)), len(node._managed_entities))


@pytest.mark.parametrize(('name', 'first'), [
    ('advertise', []), ('subscribe', ['configure']), ('unsubscribe', ['configure', 'activate']),
    ('close', ['configure'])])
def test_a_failed_transition_is_reported(make_node, monkeypatch, capfd, name, first):
    node = make_node()
    unconfigured = entities_of(node)
    for transition in first:
        getattr(node, f'trigger_{transition}')()
    whole = getattr(camera_module.Camera, name)

    def refuse(self, *arguments):
        monkeypatch.setattr(camera_module.Camera, name, whole)
        raise RuntimeError('refused by the middleware')

    monkeypatch.setattr(camera_module.Camera, name, refuse)
    last = {'advertise': 'configure', 'subscribe': 'activate', 'unsubscribe': 'deactivate',
            'close': 'cleanup'}[name]
    assert getattr(node, f'trigger_{last}')() == TransitionCallbackReturn.ERROR
    assert 'refused by the middleware' in capfd.readouterr().err
    status = own_status(node)
    assert (status.level, 'refused by the middleware' in status.message) == (Level.ERROR, True)
    assert node._segmenter is None  # nothing is left half-configured
    assert entities_of(node) == unconfigured
    assert node.trigger_configure() == node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    assert own_status(node).level == Level.OK


def test_a_signal_while_the_node_is_configured_leaves_no_traceback(context, make_node,
                                                                   monkeypatch, capfd):
    advertise = camera_module.Camera.advertise
    node = make_node()

    def interrupted(self, *arguments):
        context.try_shutdown()  # as rclpy's handler of SIGINT does
        advertise(self, *arguments)

    monkeypatch.setattr(camera_module.Camera, 'advertise', interrupted)
    node.start()
    node.destroy_node()
    found = capfd.readouterr().err
    assert not [fault for fault in ('Traceback', 'configure failed', 'not possible')
                if fault in found]


def test_everything_is_released_although_a_part_fails(make_node, monkeypatch):
    node = make_node()
    node.start()
    segmenter, closed = node._segmenter, []
    whole = segmenter.close
    monkeypatch.setattr(segmenter, 'close', lambda: closed.append(whole()))
    monkeypatch.setattr(node._labels, 'close', lambda: 1 / 0)
    assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_cleanup() == TransitionCallbackReturn.ERROR
    assert len(closed) == 1


def test_a_network_that_is_released_during_a_report_is_no_fault(make_node, monkeypatch):
    node = make_node()
    node.start()
    segmenter, memory = node._segmenter, node._segmenter.gpu_memory

    def released():
        node.trigger_deactivate(), node.trigger_cleanup()
        return memory()

    assert memory() is None  # on ONNX Runtime
    monkeypatch.setattr(segmenter, 'gpu_memory', released)
    assert (own_status(node).level, own_status(node).message) == (Level.STALE, 'not active')


def test_managed_publishers_do_not_accumulate(make_node, monkeypatch):
    """By whichever method they are destroyed; rclpy's destroy_publisher leaves them managed."""
    monkeypatch.setattr(outputs, '_destroy', lambda node, each: node.destroy_publisher(each))
    node, counts = make_node(), []
    for _ in range(4):
        node.start()
        counts.append((len(node._managed_entities), len(list(node.publishers))))
        node.trigger_deactivate()
        node.trigger_cleanup()
    assert counts == counts[:1] * 4


def test_other_cameras_than_before_survive_a_failed_configuration(make_bench, model):
    bench = make_bench(engine_path=model, cameras='[front, left]', backend='onnxruntime')
    bench.spin_until(lambda: bench.state() == 'active', 'its activation')
    for names in ([], ['front', 'left'], ['right']):
        bench.transition(DEACTIVATE), bench.transition(CLEANUP)
        kind = Parameter.Type.STRING_ARRAY
        assert bench.set_parameter('cameras', names, kind).successful
        assert bench.set_parameter('engine_path', '/nowhere.onnx').successful
        assert not bench.transition(CONFIGURE)
        assert '/nowhere.onnx' in bench.wait_for_status('/nowhere.onnx').message
        bench.forget_diagnostics()
        own = f'{bench.namespace[1:]}/segmentation'
        wanted = {f'{own}: segmentation', *(f'{own}/{name}: segmentation' for name in names)}
        bench.spin_until(lambda wanted=wanted: len(bench.diagnostics) > len(wanted), 'diagnostics')
        assert {status.name for status in bench.diagnostics} == wanted


# Errors of the middleware


@pytest.mark.parametrize('output', ['mask', 'overlay'])
def test_a_publish_error_loses_only_its_message(spun, monkeypatch, output):
    whole = serialized.SerializedData.publish
    refused = []

    def refuse(self, publisher):
        if publisher.topic_name.endswith(output) and len(refused) < 5:
            refused.append(publisher)
            raise RuntimeError('rcl_publish_serialized_message returned 1')
        whole(self, publisher)

    seen = []
    spun.peer.subscribe('overlay', seen.append)
    spun.peer.wait_for(lambda: seen)
    monkeypatch.setattr(serialized.SerializedData, 'publish', refuse)
    spun.peer.wait_for(lambda: len(refused) == 5)
    seen.clear(), spun.peer.masks.clear()
    spun.peer.wait_for(lambda: seen and spun.peer.masks)
    counts = spun.node._cameras[0].monitor.counts
    assert counts.dropped['not_published'] == (5 if output == 'mask' else 0)


# From another thread


class Peer:
    """A camera and a consumer of masks, beside a node, spun by one executor in a thread."""

    def __init__(self, node, executor, message):
        self.masks, self.error = [], None
        self._node = rclpy.create_node('peer', namespace=node.get_namespace(),
                                       context=node.context)
        self._executor, self._message = executor, message
        self._camera = self._node.create_publisher(Image, 'image', qos_profile_sensor_data)
        self._own = node.get_name()
        self.subscribe('mask', self.masks.append)
        self._node.create_timer(0.002, lambda: self._camera.publish(self._message))
        executor.add_node(node)
        executor.add_node(self._node)
        self._stop = False
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()

    def _spin(self):
        try:
            while not self._stop:
                self._executor.spin_once(timeout_sec=0.1)
        except BaseException as error:
            self.error = error

    def subscribe(self, output, on_image):
        self._node.create_subscription(Image, f'{self._own}/{output}', on_image,
                                       QoSProfile(depth=5))

    def wait_for(self, condition):
        end = time.monotonic() + TIMEOUT
        while not condition():
            assert self.error is None, repr(self.error)
            assert time.monotonic() < end
            time.sleep(0.001)

    def close(self):
        self._stop = True
        self._thread.join()
        self._executor.shutdown()
        self._node.destroy_node()


@pytest.fixture(params=[(SingleThreadedExecutor, 1), (MultiThreadedExecutor, 1),
                        (SingleThreadedExecutor, 2)])
def spun(request, make_node, context, image_message):
    """A node that an executor spins in another thread, and its peer."""
    pixels = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
    executor, depth = request.param
    node = make_node(diagnostics_period=0.1, pipeline_depth=depth)
    node.start()
    peer = Peer(node, executor(context=context), image_message(pixels))
    yield SimpleNamespace(node=node, peer=peer, mask=pixels.argmax(axis=2))
    peer.close()


def test_transitions_from_another_thread_leave_the_executor_alone(spun, pixels_of, request):
    request.addfinalizer(partial(sys.setswitchinterval, sys.getswitchinterval()))
    sys.setswitchinterval(1e-6)  # so that threads meet in every line
    for number in range(400):
        assert spun.node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
        if number % 20 == 0:
            assert spun.node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
            assert spun.node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert spun.node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        assert spun.peer.error is None, repr(spun.peer.error)
    spun.peer.masks.clear()
    spun.peer.wait_for(lambda: len(spun.peer.masks) >= 3)
    for msg in spun.peer.masks[-3:]:
        np.testing.assert_array_equal(pixels_of(msg), spun.mask)
    assert spun.node.fault == ''


def test_no_subscription_is_left_behind(spun):
    for _ in range(20):
        spun.node.trigger_deactivate()
        spun.node.trigger_activate()
    spun.peer.masks.clear()
    spun.peer.wait_for(lambda: spun.peer.masks)
    topic, end = f'{spun.node.get_namespace()}/image', time.monotonic() + TIMEOUT
    while (count := spun.node.count_subscribers(topic)) != 1:
        assert time.monotonic() < end, f'{count} subscriptions'
        time.sleep(0.02)


@pytest.mark.parametrize('autostart', [True, False])
def test_a_lifecycle_manager_detects_the_node(make_node, autostart):
    bond = pytest.importorskip('bond.msg', reason='package bond (its messages) is not installed')
    node = make_node(autostart=autostart)
    peer, heard = rclpy.create_node('manager', namespace=node.get_namespace(),
                                    context=node.context), []
    peer.create_subscription(bond.Status, 'bond', heard.append, 100)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node), executor.add_node(peer)

    def spin(condition, seconds=TIMEOUT):
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            executor.spin_once(timeout_sec=0.05)

    try:
        node.trigger_configure(), node.trigger_activate()
        if autostart:  # no manager
            spin(lambda: heard, 1)
            assert not heard
            return
        for _ in range(2):
            spin(lambda: len(heard) > 3)
            assert {(msg.id, msg.active) for msg in heard} == {('segmentation', True)}
            node.trigger_deactivate()
            spin(lambda: not heard[-1].active)
            assert not heard[-1].active
            node.trigger_activate()
            spin(lambda: heard[-1].active)
            heard.clear()
    finally:
        executor.shutdown()
        peer.destroy_node()


# In a process that also does other work


def test_two_nodes_log_their_own_records_once(make_node, capfd, tmp_path):
    first, second = make_node('first'), make_node('second')
    first.start(), second.start()
    capfd.readouterr()
    PACKAGE.getChild('here').info('of nobody')
    with second.log_bridge.capturing():
        PACKAGE.getChild('here').info('of the second')
    found = capfd.readouterr().err
    namespace = tmp_path.name
    assert found.count('of nobody') == found.count('of the second') == 1
    assert f'[{namespace}.first]: of nobody' in found
    assert f'[{namespace}.second]: of the second' in found


def test_info_is_logged_in_any_process(make_node, capfd, monkeypatch):
    monkeypatch.setattr(PACKAGE, 'level', logging.NOTSET)
    monkeypatch.setattr(PACKAGE, '_cache', {})
    make_node(backend='auto').start()
    assert 'running on ONNX Runtime, since' in capfd.readouterr().err


def test_a_node_can_have_a_name_of_its_own(make_node):
    assert make_node('front_segmentation').get_name() == 'front_segmentation'


@pytest.mark.parametrize('end', ['shutdown', 'destroy'])
def test_a_process_may_end_in_any_order(context, make_node, end):
    node = make_node()
    node.start()
    if end == 'shutdown':
        context.try_shutdown()
    node.destroy_node()
    node.destroy_node()
    assert node not in list(getattr(context, '_context_nodes', []))


# Parameters of a wrong type or value


@pytest.mark.parametrize(('parameter', 'said'), [
    ('overlay_alpha:=1.5', 'overlay_alpha'), ('device:=0.0', "'device' to '0.0' of type 'DOUBLE'"),
    ('engine_path:=123', "'engine_path' to '123' of type 'INTEGER'"),
    ('cameras:=[1, 2]', "'cameras' to '[1, 2]' of type 'INTEGER_ARRAY'"),
    ('diagnostics_period:=0.0', 'diagnostics_period'),
    ('model_config:=', 'ROS 2 cannot be initialized: RCLError: failed to initialize rcl: ')])
def test_a_bad_parameter_is_reported_in_one_line(parameter, said):
    ended = subprocess.run([sys.executable, '-m', 'trt_segmentation.ros.node', '--ros-args', '-p',
                            parameter], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    (line,) = [line for line in ended.stderr.strip().splitlines() if '[rcl]: ' not in line]
    assert '[FATAL]' in line and said in line
    assert ended.stdout == ''


def test_a_parameter_of_another_name_is_reported(make_node, capfd):
    make_node(precisions='fp16', wheels=4)
    found = capfd.readouterr().err
    assert ("parameter 'precisions' is ignored: the node has no such parameter; "
            'did you mean precision?') in found
    assert "parameter 'wheels' is ignored: the node has no such parameter\n" in found
    assert found.count('is ignored') == 2


def test_a_bad_parameter_leaves_no_node(context, make_node, capfd):
    with pytest.raises(rclpy.exceptions.ParameterException, match='device'):
        make_node(device=0.5)
    context.try_shutdown()
    assert 'Traceback' not in capfd.readouterr().err
