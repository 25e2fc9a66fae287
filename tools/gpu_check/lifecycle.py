# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""GPU memory in a node's lifecycle: allocated by configure, freed by cleanup."""

import time
from collections.abc import Mapping
from typing import Any

import rclpy
from node_run import device_memory
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from trt_segmentation.benchmark.ros.camera_images import camera_message
from trt_segmentation.demo.clip import read_frame
from trt_segmentation.ros.node import SegmentationNode

CYCLES = 5
SIZE = (1080, 1920)
TIMEOUT = 20.0
"""Seconds until the first mask of a cycle."""


def check_lifecycle(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Configure a node, activate it, let it segment an image, and clean it up, ``CYCLES`` times.

    Args:
        parameters: of ``node_run.node_parameters``.

    Returns:
        MB used on the GPU: 'before' the node, and for each cycle 'active' and 'clean'. The memory
        that remains after the first cycle is the CUDA context, which belongs to the process.
    """
    before = device_memory(0)
    rclpy.init()
    node = SegmentationNode(parameter_overrides=[
        Parameter(name, value=value) for name, value in parameters.items() if value != ''])
    camera = _Camera()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    executor.add_node(camera)
    cycles = []
    try:
        for cycle in range(1, CYCLES + 1):
            node.trigger_configure()
            node.trigger_activate()
            camera.wait_for_mask(executor, cycle)
            active = device_memory(0)
            node.trigger_deactivate()
            node.trigger_cleanup()
            cycles.append({'active': active, 'clean': device_memory(0)})
    finally:
        executor.shutdown()
        camera.destroy_node()
        node.destroy_node()
        rclpy.shutdown()
    return {'before': before, 'size': f'{SIZE[1]}x{SIZE[0]}', 'cycles': cycles}


class _Camera(Node):
    """Publishes one image until its mask arrives."""

    def __init__(self) -> None:
        super().__init__('camera')
        self._image = camera_message(read_frame(0, *SIZE).image, 'bgr8')
        self._publisher = self.create_publisher(Image, 'image', QoSProfile(depth=1))
        self._answered = 0
        self.create_subscription(Image, 'segmentation/mask', self._on_mask, QoSProfile(depth=1))

    def wait_for_mask(self, executor: SingleThreadedExecutor, stamp: int) -> None:
        """Spin until the node has answered an image with this stamp.

        Raises:
            TimeoutError: there is no mask within ``TIMEOUT``.
        """
        self._image.set_stamp(stamp, 0)
        deadline = time.monotonic() + TIMEOUT
        while self._answered < stamp:
            if time.monotonic() > deadline:
                raise TimeoutError(f'no mask within {TIMEOUT:.0f} s')
            self._image.publish(self._publisher)
            executor.spin_once(timeout_sec=0.2)

    def _on_mask(self, msg: Image) -> None:
        self._answered = msg.header.stamp.sec
