# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Runs a node until its process is terminated."""

from collections.abc import Callable

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node


def spin(make_node: Callable[[], Node]) -> None:
    """Create a node and spin it until SIGINT or SIGTERM, then shut down ROS.

    ``rclpy.init`` must have been called.
    """
    try:
        node = make_node()
        try:
            rclpy.spin(node)
        finally:
            node.destroy_node()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()
