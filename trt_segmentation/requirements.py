# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Packages that single commands need and that not every installation has."""

import importlib.metadata
import importlib.util

from trt_segmentation.errors import SegmentationError

AT_LEAST = {'aiohttp': (3, 9)}
"""From 3.9 on, a handler can detect that its client has disconnected. Ubuntu 22.04 has 3.8. The
extra view requires the same version."""

HOW = {
    'rclpy': 'source a ROS 2 installation; without one, "make demo" in the repository installs '
             'ROS 2 from PyPI into .venv (x86_64)',
    'matplotlib': 'it draws the plot; sudo apt install python3-matplotlib, or in a virtual '
                  'environment pip install matplotlib',
    'aiohttp': "it serves the page; pip install 'aiohttp>=3.9'",
}
"""How to install each package: by names that PyPI has, which trt_segmentation is not among."""


class MissingPackageError(SegmentationError):
    """A package that a command needs is not installed."""


def require(*packages: str) -> None:
    """Check that packages can be imported, without importing them.

    Args:
        packages: 'rclpy', 'aiohttp', 'matplotlib'.

    Raises:
        MissingPackageError: one cannot, or is too old; the message says how to install it.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingPackageError(f'{package} is not installed; {HOW[package]}')
        least = AT_LEAST.get(package, ())
        if least and _version(package) < least:
            raise MissingPackageError(
                f'{package} {importlib.metadata.version(package)} is installed, and '
                f'{".".join(map(str, least))} or newer is needed; {HOW[package]}')


def _version(package: str) -> tuple[int, ...]:
    major, minor = importlib.metadata.version(package).split('.')[:2]
    return int(major), int(minor)
