# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Runs a node until its process is terminated."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.logging import get_logger
from rclpy.node import Node


def init_ros(args: list[str] | None = None, **options: Any) -> None:
    """Initialize ROS 2.

    Args:
        args: of the command line; None: those of the process.
        options: others of ``rclpy.init``.

    Raises:
        SystemExit: it cannot be initialized, which is logged in one line.
    """
    try:
        rclpy.init(args=args, **options)
    except Exception as error:  # of rcl: an argument, a parameter file or a folder is at fault
        get_logger('segmentation').fatal(
            f'ROS 2 cannot be initialized: {type(error).__name__}: {error}')
        raise SystemExit(1) from None


def spin(make_node: Callable[[], Node]) -> None:
    """Create a node and spin it until SIGINT or SIGTERM, then shut down ROS.

    ``init_ros`` must have been called.
    """
    with until_signal():
        node = make_node()
        try:
            rclpy.spin(node)
        finally:
            node.destroy_node()


@contextmanager
def until_signal() -> Iterator[None]:
    """End the body of a with statement silently at SIGINT or SIGTERM, then shut down ROS."""
    try:
        yield
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        if rclpy.ok():
            raise  # otherwise a signal has shut down ROS, so that any call of it fails
    finally:
        rclpy.try_shutdown()


def interrupt(number: int, frame: FrameType | None) -> None:
    """Handle a signal: raise KeyboardInterrupt, so that it also stops a build.

    Not inside of a finalizer, where Python would only print it. rclpy's handler, which calls this
    one, ends the executor in any case. Install it before ``rclpy.init``.

    Args:
        number, frame: see ``signal.signal``.

    Raises:
        KeyboardInterrupt: see above.
    """
    while frame is not None:
        if frame.f_code.co_name == '__del__':
            return
        frame = frame.f_back
    raise KeyboardInterrupt
