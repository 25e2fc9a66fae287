# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The bond with which Nav2's lifecycle manager monitors an active node.

After the manager has activated a node, it waits on topic ``bond`` for heartbeats (bond/msg/Status)
that carry the node's name, and shuts its nodes down if none arrive. This module is the server
side, as in nav2_util::LifecycleNode: it sends heartbeats while the node is active and reports when
the node stops. It does not react if the manager stops sending.

It uses only the messages of bond_core, which are installed with Nav2. The executor of the node
sends the heartbeats, as in C++. bondpy sends them from its own thread, so a node that hangs would
still appear alive.
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
"""Seconds; sent to the manager, as Nav2's servers do. The manager uses its own bond_timeout."""

CONNECT_TIMEOUT = 10.0
"""Seconds without a manager after which no more heartbeats are sent; DEFAULT_CONNECT_TIMEOUT of
bond/msg/Constants."""

MISSING = ('no bond with a lifecycle manager: package bond is not installed. Install it with '
           'sudo apt install ros-$ROS_DISTRO-bond, or set bond_timeout: 0.0 for the lifecycle '
           'manager')


class Bond:
    """The node's side of the bond. It can be started and stopped repeatedly, and never raises."""

    def __init__(self, node: Any, wanted: bool = True) -> None:
        """Create the bond without its topic.

        Args:
            node: the node that is monitored; its name is the id of the bond.
            wanted: False if no lifecycle manager controls the node; then ``start`` does nothing.
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
        """Start to send heartbeats; call it when the node has become active."""
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
            # Simulated time may be paused.
            self._timer = self._node.create_timer(HEARTBEAT_PERIOD, self._on_timer,
                                                  clock=Clock(clock_type=ClockType.STEADY_TIME))
        except Exception as error:  # such as a security policy without this topic
            self._node.get_logger().warning(f'no bond with a lifecycle manager: {error!r}')
            self._close()

    def stop(self) -> None:
        """Report to the manager that the node stops; call it before the node becomes inactive."""
        if self._timer is not None:
            self._publish(active=False)
            self._close()

    def _on_timer(self) -> None:
        if self._timer is None:  # stopped by another thread
            return
        self._publish(active=True)
        self._heartbeats += 1
        if not self._manager and self._heartbeats * HEARTBEAT_PERIOD >= CONNECT_TIMEOUT:
            self._node.get_logger().info(
                f"no lifecycle manager has answered on topic '{self._topic()}' for bond "
                f"'{self._node.get_name()}' within {CONNECT_TIMEOUT:g} s; this node is not "
                'monitored')
            self._close()

    def _on_status(self, msg: Any) -> None:
        if self._timer is None or msg.id != self._node.get_name() \
                or msg.instance_id == self._instance:
            return
        if msg.active and msg.instance_id != self._manager:  # the first one, or a restarted one
            self._manager = msg.instance_id
            self._node.get_logger().info(
                f"bond '{msg.id}' formed with a lifecycle manager on topic '{self._topic()}'")
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
        except Exception as error:  # the process is shutting down
            self._node.get_logger().debug(f'heartbeat not sent: {error!r}')

    def _close(self) -> None:
        for entity, destroy in ((self._timer, self._node.destroy_timer),
                                (self._subscription, self._node.destroy_subscription),
                                (self._publisher, self._node.destroy_publisher)):
            if entity is not None:
                destroy(entity)
        self._timer = self._subscription = self._publisher = None
        self._manager = ''
