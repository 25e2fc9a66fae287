# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The bond by which Nav2's lifecycle manager watches an active node.

After the manager has activated a node, it waits on topic ``bond`` for heartbeats (bond/msg/Status)
that carry the node's name, and brings its nodes down if there are none. This is the side of a
server of Nav2 (nav2_util::LifecycleNode): it sends heartbeats while it is active and says when it
stops; a manager that falls silent does not matter to it.

Of bond_core, only the messages are used; every Nav2 brings them. Heartbeats come from the
executor of the node, as in C++: bondpy sends them from a thread of its own, so that a node that
hangs would still look alive.
"""

import uuid
from typing import Any

from rclpy.clock import Clock, ClockType

try:
    from bond.msg import Status
except ImportError:
    Status = None

TOPIC = 'bond'

HEARTBEAT_PERIOD = 0.1
"""Seconds; as Nav2's parameter bond_heartbeat_period."""

HEARTBEAT_TIMEOUT = 4.0
"""Seconds; only told to the manager, as by Nav2's servers: its own is its bond_timeout."""

CONNECT_TIMEOUT = 10.0
"""Seconds without a manager after which no more heartbeats are sent; DEFAULT_CONNECT_TIMEOUT of
bond/msg/Constants."""

MISSING = ('no bond with a lifecycle manager, since package bond is not installed; Nav2 brings '
           'it (sudo apt install ros-$ROS_DISTRO-bond). Without it, set bond_timeout: 0.0 of the '
           'lifecycle manager')


class Bond:
    """A node's end of the bond; outlives being started and stopped, and never raises."""

    def __init__(self, node: Any, wanted: bool = True) -> None:
        """Create no topic yet.

        Args:
            node: the node that is watched; its name is the bond's id.
            wanted: False if no lifecycle manager leads the node; then ``start`` does nothing.
        """
        self._node, self._wanted = node, wanted
        self._publisher: Any = None
        self._subscription: Any = None
        self._timer: Any = None
        self._instance = self._manager = ''
        self._heartbeats = 0

    @property
    def is_formed(self) -> bool:
        """Whether a manager has answered."""
        return self._timer is not None and self._manager != ''

    def start(self) -> None:
        """Send heartbeats from now on; call it when the node has become active."""
        if not self._wanted or self._timer is not None:
            return
        if Status is None:
            self._node.get_logger().info(MISSING)
            return
        self._instance, self._manager, self._heartbeats = str(uuid.uuid4()), '', 0
        try:
            self._publisher = self._node.create_publisher(Status, TOPIC, 5)
            self._subscription = self._node.create_subscription(
                Status, TOPIC, self._on_status, 100)
            # Simulated time may stand still.
            self._timer = self._node.create_timer(HEARTBEAT_PERIOD, self._on_timer,
                                                  clock=Clock(clock_type=ClockType.STEADY_TIME))
        except Exception as error:  # such as a security policy without this topic
            self._node.get_logger().warning(f'no bond with a lifecycle manager: {error!r}')
            self._close()

    def stop(self) -> None:
        """Tell the manager that the node stops; call it before the node becomes inactive."""
        if self._timer is not None:
            self._publish(active=False)
            self._close()

    def _on_timer(self) -> None:
        if self._timer is None:  # stopped by another thread meanwhile
            return
        self._publish(active=True)
        self._heartbeats += 1
        if not self._manager and self._heartbeats * HEARTBEAT_PERIOD >= CONNECT_TIMEOUT:
            self._node.get_logger().info(
                f"no lifecycle manager has answered on topic '{self._topic()}' for bond "
                f"'{self._node.get_name()}' in {CONNECT_TIMEOUT:g} s; none watches this node")
            self._close()

    def _on_status(self, msg: Any) -> None:
        if self._timer is None or msg.id != self._node.get_name() \
                or msg.instance_id == self._instance:
            return
        if msg.active and msg.instance_id != self._manager:  # the first, or one started anew
            self._manager = msg.instance_id
            self._node.get_logger().info(
                f"bond '{msg.id}' with a lifecycle manager on topic '{self._topic()}'")
        elif not msg.active and msg.instance_id == self._manager:
            self._node.get_logger().info(f"the lifecycle manager has ended bond '{msg.id}'")
            self.stop()

    def _topic(self) -> str:
        return self._publisher.topic_name

    def _publish(self, active: bool) -> None:
        try:
            msg = Status(id=self._node.get_name(), instance_id=self._instance, active=active,
                         heartbeat_timeout=HEARTBEAT_TIMEOUT, heartbeat_period=HEARTBEAT_PERIOD)
            msg.header.stamp = self._node.get_clock().now().to_msg()
            self._publisher.publish(msg)
        except Exception as error:  # the process shuts down
            self._node.get_logger().debug(f'no heartbeat: {error!r}')

    def _close(self) -> None:
        for entity, destroy in ((self._timer, self._node.destroy_timer),
                                (self._subscription, self._node.destroy_subscription),
                                (self._publisher, self._node.destroy_publisher)):
            if entity is not None:
                destroy(entity)
        self._timer = self._subscription = self._publisher = None
        self._manager = ''
