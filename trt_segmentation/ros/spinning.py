# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Runs a node until its process is terminated."""

import math
import os
import signal
import sys
import threading
import time
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


STOP_SIGNALS = signal.SIGINT, signal.SIGTERM

_SAME_STOP = 2.0
"""Seconds in which further signals belong to the first one: a service manager may send one to all
processes of a group while launch sends another, and Ctrl-C is pressed twice."""


class Interrupt:
    """A handler of signals: raises KeyboardInterrupt, so that it also stops a build.

    Not inside of a finalizer, where Python would only print it, and not again while the process
    cleans up. rclpy's handler, which calls this one, ends the executor in any case.
    """

    def __init__(self) -> None:
        self._raised = -math.inf

    def install(self) -> None:
        """Handle ``STOP_SIGNALS``; to be called before ``rclpy.init``."""
        for number in STOP_SIGNALS:
            signal.signal(number, self)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal; for the arguments see ``signal.signal``.

        Raises:
            KeyboardInterrupt: see above.
        """
        while frame is not None:
            if frame.f_code.co_name == '__del__':
                return
            frame = frame.f_back
        now = time.monotonic()
        if now - self._raised > _SAME_STOP:
            self._raised = now
            raise KeyboardInterrupt


def end_process(status: int) -> int:
    """Return the exit status of a process whose node is destroyed, and ignore signals from now on.

    If a thread is still at work, such as one that opens a network, the process ends here, without
    Python's finalization: C++ code that it interrupts aborts the process.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if any(thread.daemon for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status
