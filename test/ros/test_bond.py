# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The bond with a lifecycle manager: without ROS, over DDS, and with bond_core's own peer."""

import itertools
import time
from types import SimpleNamespace

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn

from trt_segmentation.ros import bond
from trt_segmentation.ros.bond import CONNECT_TIMEOUT, HEARTBEAT_PERIOD, Bond

needs_messages = pytest.mark.skipif(bond.Status is None,
                                    reason='package bond (its messages) is not installed')
_numbers = itertools.count()


class StandIn:
    """A node without ROS that records published messages and log lines."""

    def __init__(self):
        self.sent, self.told, self.alive = [], [], set()
        self.fails = False
        self.get_logger = lambda: SimpleNamespace(
            info=self.told.append, warning=self.told.append, debug=self.told.append)
        self.get_name = lambda: 'segmentation'
        self.get_clock = lambda: SimpleNamespace(
            now=lambda: SimpleNamespace(to_msg=lambda: 'now'))
        self.destroy_timer = self.destroy_subscription = self.destroy_publisher = \
            self.alive.discard

    def create_publisher(self, kind, topic, depth):
        if self.fails:
            raise RuntimeError('not allowed')
        return self._made(Entity(topic_name=f'/{topic}', publish=self._publish))

    def create_subscription(self, kind, topic, callback, depth):
        self.receive = callback
        return self._made(Entity())

    def create_timer(self, period, callback, clock):
        self.tick = callback
        return self._made(Entity())

    def _made(self, entity):
        self.alive.add(entity)
        return entity

    def _publish(self, message):
        if self.fails:
            raise RuntimeError('context is shut down')
        self.sent.append(message)


class Entity(SimpleNamespace):
    __hash__ = object.__hash__


def status(**fields):
    return SimpleNamespace(header=SimpleNamespace(stamp=None), **fields)


def from_manager(active=True, name='segmentation', instance='manager'):
    return status(id=name, instance_id=instance, active=active)


@pytest.fixture
def node(monkeypatch):
    monkeypatch.setattr(bond, 'Status', status)
    return StandIn()


def started(node):
    made = Bond(node)
    made.start()
    return made


def test_heartbeats_carry_the_nodes_name_until_it_stops(node):
    made = started(node)
    node.tick()
    node.receive(from_manager())
    assert made.is_formed
    node.tick()
    made.stop()
    assert [message.active for message in node.sent] == [True, True, False]
    assert {message.id for message in node.sent} == {'segmentation'}
    assert len({message.instance_id for message in node.sent}) == 1
    assert not node.alive and not made.is_formed
    made.stop()  # a second time
    assert len(node.sent) == 3


def test_each_start_creates_a_new_bond(node):
    made = started(node)
    made.start()  # a second time
    assert len(node.alive) == 3
    made.stop()
    made.start()
    made.stop()
    assert len({message.instance_id for message in node.sent}) == 2


def test_without_a_manager_heartbeats_end(node):
    started(node)
    for _ in range(round(CONNECT_TIMEOUT / HEARTBEAT_PERIOD)):
        assert node.alive
        node.tick()
    assert not node.alive
    assert "no lifecycle manager has answered on topic '/bond'" in node.told[-1]


def test_a_manager_that_stops_sending_is_ignored(node):
    started(node)
    node.receive(from_manager())
    for _ in range(1000):
        node.tick()
    assert node.alive
    assert node.sent[-1].active


def test_a_manager_that_ends_the_bond_gets_an_answer(node):
    made = started(node)
    node.receive(from_manager())
    node.receive(from_manager(active=False))
    assert [message.active for message in node.sent] == [False]
    assert not node.alive and not made.is_formed
    made.start()
    assert node.alive


@pytest.mark.parametrize('message', [
    {'name': 'planner_server'}, {'active': False}, {'active': False, 'instance': 'earlier'}])
def test_other_bonds_and_what_is_left_of_earlier_ones_do_not_count(node, message):
    made = started(node)
    node.receive(from_manager(**message))
    assert not made.is_formed and node.alive


def test_its_own_messages_do_not_count(node):
    made = started(node)
    node.tick()
    node.receive(node.sent[0])
    assert not made.is_formed


def test_a_manager_may_be_restarted(node):
    made = started(node)
    node.receive(from_manager())
    node.receive(from_manager(instance='second'))
    node.receive(from_manager(active=False))
    assert made.is_formed
    node.receive(from_manager(active=False, instance='second'))
    assert not made.is_formed


def test_failures_of_the_bond_do_not_stop_the_node(node):
    node.fails = True
    made = started(node)
    assert "no bond with a lifecycle manager: RuntimeError('not allowed')" in node.told[-1]
    assert not node.alive
    node.fails = False
    made.start()
    node.fails = True
    node.tick()
    made.stop()
    assert not node.alive


def test_without_the_messages(monkeypatch):
    monkeypatch.setattr(bond, 'Status', None)
    node = StandIn()
    started(node).stop()
    assert 'bond_timeout: 0.0' in node.told[0]
    assert not node.alive


def test_unwanted(node):
    Bond(node, wanted=False).start()
    assert not node.alive and not node.told


class Watched(LifecycleNode):
    """A lifecycle node with the bond, as the segmentation node has it."""

    def __init__(self, **options):
        super().__init__('segmentation', **options)
        self.bond = Bond(self)

    def on_activate(self, state):
        self.bond.start()
        return super().on_activate(state)

    def on_deactivate(self, state):
        self.bond.stop()
        return super().on_deactivate(state)


@pytest.fixture
def ends():
    """A node with the bond, the manager's node, ``spin_until`` and ``spin_for``."""
    context = rclpy.Context()
    context.init()
    namespace = f'/bond_{next(_numbers)}'
    watched = Watched(namespace=namespace, context=context)
    manager = rclpy.create_node('manager', namespace=namespace, context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(watched)
    executor.add_node(manager)

    def spin_until(condition, seconds=10.0):
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            executor.spin_once(timeout_sec=0.05)
        assert condition()

    def spin_for(seconds):
        end = time.monotonic() + seconds
        spin_until(lambda: time.monotonic() > end)

    assert watched.trigger_configure() == TransitionCallbackReturn.SUCCESS
    yield SimpleNamespace(watched=watched, manager=manager, spin_until=spin_until,
                          spin_for=spin_for)
    executor.shutdown()
    watched.destroy_node()
    manager.destroy_node()
    context.shutdown()


@needs_messages
def test_over_dds(ends):
    seen = []
    publisher = ends.manager.create_publisher(bond.Status, 'bond', 5)
    ends.manager.create_subscription(bond.Status, 'bond', seen.append, 100)
    ends.watched.trigger_activate()
    ends.spin_until(lambda: len(seen) > 3)
    assert all(message.active and message.id == 'segmentation' for message in seen)
    assert seen[-1].heartbeat_period == pytest.approx(HEARTBEAT_PERIOD)
    publisher.publish(bond.Status(id='segmentation', instance_id='manager', active=True))
    ends.spin_until(lambda: ends.watched.bond.is_formed)
    ends.watched.trigger_deactivate()
    ends.spin_until(lambda: not seen[-1].active)


@pytest.fixture
def formed(ends):
    """``formed()`` activates the node and returns the manager's bond with it, as
    nav2_lifecycle_manager makes it, of bond_core's own Python."""
    bondpy = pytest.importorskip('bondpy.bondpy', reason='bondpy is not installed')
    made = []

    def form():
        ends.watched.trigger_activate()
        other = bondpy.Bond(ends.manager, 'bond', 'segmentation')
        made.append(other)
        other.set_heartbeat_timeout(1.0)
        other.set_heartbeat_period(0.1)
        other.start()
        ends.spin_until(lambda: 'SM.Alive' in repr(other) and ends.watched.bond.is_formed)
        return other

    yield form
    for other in made:
        other.is_shutdown = True  # its own shutdown, also called by __del__, ends the executor


@needs_messages
def test_bond_core_detects_the_node_and_its_stop(ends, formed):
    for _ in range(2):  # the manager pauses, and resumes
        other = formed()
        ends.spin_for(2.0)
        assert not other.is_broken()
        ends.watched.trigger_deactivate()
        ends.spin_until(other.is_broken, seconds=0.9)  # which is less than its timeout


@needs_messages
def test_bond_core_ends_the_bond_and_the_node_goes_on(ends, formed):
    other = formed()
    other.break_bond()
    ends.spin_until(lambda: not ends.watched.bond.is_formed)
    ends.spin_until(other.is_broken)
    assert ends.watched.trigger_deactivate() == TransitionCallbackReturn.SUCCESS


@needs_messages
def test_bond_core_detects_a_hanging_node(ends, formed):
    other = formed()
    ends.spin_for(0.5)  # its timeout counts from the second heartbeat
    time.sleep(1.5)
    assert other.is_broken()
