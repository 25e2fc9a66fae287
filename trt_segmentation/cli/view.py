# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Show a running node in a web browser: overlay, classes and their shares, rates, latency."""

import argparse
import importlib.util
import os
import sys

from trt_segmentation.web.options import ViewError, add_arguments, parsed

__all__ = ['add_arguments', 'execute']

_NEEDED = {
    'rclpy': "rclpy is not installed; source a ROS 2 installation, or pip install "
             "'trt_segmentation[cpu,ros]' (x86_64)",
    'aiohttp': "aiohttp, which serves the page, is not installed; pip install "
               "'trt_segmentation[view]'",
}


def execute(args: argparse.Namespace) -> int:
    """Become the process that serves the page."""
    for module, sentence in _NEEDED.items():
        if importlib.util.find_spec(module) is None:
            raise ViewError(sentence)
    os.execv(sys.executable, [sys.executable, '-m', 'trt_segmentation.ros.viewer',
                              *parsed(args).arguments()])
