# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""GPU memory through a node's lifecycle: what configuring takes and cleaning up gives back."""

from collections.abc import Mapping
from typing import Any

import rclpy
from node_run import device_memory
from rclpy.parameter import Parameter

from trt_segmentation.ros.node import SegmentationNode

CYCLES = 5


def check_lifecycle(parameters: Mapping[str, str]) -> dict[str, Any]:
    """Configure, activate, deactivate and clean a node up, again and again.

    Args:
        parameters: of ``node_run.node_parameters``.

    Returns:
        MB used on the GPU: 'before' the node, and of each cycle when 'active' and when 'clean'.
        What the first cycle keeps is the CUDA context, which belongs to the process.
    """
    before = device_memory(0)
    rclpy.init()
    node = SegmentationNode(parameter_overrides=[
        Parameter(name, value=value) for name, value in parameters.items() if value])
    cycles = []
    try:
        for _ in range(CYCLES):
            node.trigger_configure()
            node.trigger_activate()
            active = device_memory(0)
            node.trigger_deactivate()
            node.trigger_cleanup()
            cycles.append({'active': active, 'clean': device_memory(0)})
    finally:
        node.destroy_node()
        rclpy.shutdown()
    return {'before': before, 'cycles': cycles}
