# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Show a running node in a web browser: overlay, classes and their shares, rates, latency."""

import argparse
import os
import sys

from trt_segmentation.requirements import require
from trt_segmentation.web.view_options import add_arguments, parsed

__all__ = ['add_arguments', 'execute']


def execute(args: argparse.Namespace) -> int:
    """Replace this process with the one that serves the page."""
    require('rclpy', 'aiohttp')
    os.execv(sys.executable, [sys.executable, '-m', 'trt_segmentation.ros.viewer',
                              *parsed(args).arguments()])
