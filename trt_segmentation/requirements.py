# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What a command needs besides what every installation has."""

import importlib.util

from trt_segmentation.errors import SegmentationError

_HOW = {
    'rclpy': "source a ROS 2 installation, or pip install 'trt_segmentation[cpu,ros]' (x86_64)",
    'aiohttp': "it serves the page; pip install 'trt_segmentation[view]'",
}


class MissingPackageError(SegmentationError):
    """A package that a command needs is not installed."""


def require(*packages: str) -> None:
    """Make sure that packages can be imported, without importing them.

    Args:
        packages: 'rclpy', 'aiohttp'.

    Raises:
        MissingPackageError: one cannot; it says where it comes from.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingPackageError(f'{package} is not installed; {_HOW[package]}')
