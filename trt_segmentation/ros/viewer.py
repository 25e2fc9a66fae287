# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The live view of a running node: listens to its topics while somebody looks at the page."""

import argparse
import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.exceptions import InvalidTopicNameException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions
from rclpy.validate_full_topic_name import validate_full_topic_name
from sensor_msgs.msg import Image

from trt_segmentation.errors import SegmentationError
from trt_segmentation.mask_encoding import mask_encoding
from trt_segmentation.ros.allocator import keep_large_blocks
from trt_segmentation.ros.image_msgs import ImageReader
from trt_segmentation.ros.label_info import LabelInfo
from trt_segmentation.ros.log_bridge import LogBridge
from trt_segmentation.ros.outputs import LATCHED_QOS
from trt_segmentation.web.options import ViewError, ViewOptions, add_arguments, parsed
from trt_segmentation.web.server import serving
from trt_segmentation.web.source import Status, View

_STATUS_NAME = ': segmentation'
"""What the node's name is followed by on /diagnostics."""

_IMAGE_QOS = QoSProfile(depth=1)
"""Reliable: over UDP, large images only arrive that way (docs/network.md)."""


class NodeSource:
    """The newest of everything that a segmentation node publishes; a ``web.source.Source``.

    Images are kept as they come and read only when somebody asks, which is less often.

    Args:
        node: of this process.
        executor: that spins it; subscriptions come and go in its thread.
        name: full name of the node that is looked at.

    Raises:
        ViewError: that can be no node's name.
    """

    def __init__(self, node: Node, executor: SingleThreadedExecutor, name: str) -> None:
        self._node, self._executor, self._name = node, executor, name
        try:
            validate_full_topic_name(f'{name}/overlay')
        except InvalidTopicNameException as error:
            raise ViewError(f"--node is '{name}', which is no full name of a node, for example "
                            '/front/segmentation') from error
        self._reader = ImageReader()
        self._subscriptions: list[Any] = []
        self._newest: dict[str, tuple[float, Any]] = {}
        self._statuses: dict[str, tuple[float, Any]] = {}

    def start(self, on_picture: Callable[[], object]) -> None:
        """Subscribe; the node under view does not compute what nobody subscribes to."""
        self._executor.create_task(self._subscribe, on_picture)

    def stop(self) -> None:
        """Unsubscribe and forget."""
        self._executor.create_task(self._unsubscribe)

    def picture(self) -> np.ndarray | None:
        """Return the newest overlay; None before the first."""
        data = self._get('overlay')
        if data is None:
            return None
        return self._reader.read(deserialize_message(data, Image))[0]

    def view(self) -> View:
        """Return everything but the picture."""
        labels = self._get('label_info')
        came = self._newest.get('overlay', (None,))[0]
        return View(
            self._name, f'{self._name}/overlay', None if came is None else time.monotonic() - came,
            self._mask(), {} if labels is None else {
                label.class_id: label.class_name for label in labels.class_map},
            self._status(), tuple(sorted(self._statuses)))

    def _subscribe(self, on_picture: Callable[[], object]) -> None:
        subscribe = self._node.create_subscription
        self._subscriptions = [
            subscribe(Image, f'{self._name}/overlay', partial(self._keep, 'overlay', on_picture),
                      _IMAGE_QOS, raw=True),
            subscribe(Image, f'{self._name}/mask', partial(self._keep, 'mask', None), _IMAGE_QOS,
                      raw=True),
            subscribe(DiagnosticArray, '/diagnostics', self._keep_statuses, 10)]
        if LabelInfo is not None:
            self._subscriptions.append(
                subscribe(LabelInfo, f'{self._name}/label_info',
                          partial(self._keep, 'label_info', None), LATCHED_QOS))

    def _unsubscribe(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []
        self._newest, self._statuses = {}, {}

    def _keep(self, what: str, on_news: Callable[[], object] | None, message: Any) -> None:
        self._newest[what] = time.monotonic(), message
        if on_news is not None:
            on_news()

    def _keep_statuses(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith(_STATUS_NAME):
                name = '/' + status.name.removesuffix(_STATUS_NAME)
                self._statuses[name] = time.monotonic(), status

    def _get(self, what: str) -> Any:
        return self._newest.get(what, (0.0, None))[1]

    def _mask(self) -> np.ndarray | None:
        data = self._get('mask')
        if data is None:
            return None
        message = deserialize_message(data, Image)
        return np.frombuffer(message.data, mask_encoding(message.encoding).dtype)

    def _status(self) -> Status | None:
        came, status = self._statuses.get(self._name, (0.0, None))
        return None if status is None else Status(
            int.from_bytes(status.level, 'little'), status.message,
            {value.key: value.value for value in status.values}, time.monotonic() - came)


def main(argv: list[str] | None = None) -> int:
    """Serve the page until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    options = parsed(parser.parse_args(argv))
    keep_large_blocks()
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    executor = SingleThreadedExecutor()
    node = Node(f'view_{os.getpid()}')
    executor.add_node(node)
    LogBridge(node.get_logger()).attach()
    thread = threading.Thread(target=_spin, args=(executor,), name='spin')
    thread.start()
    try:
        asyncio.run(_serve(NodeSource(node, executor, options.node), options))
    except SegmentationError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    finally:
        rclpy.try_shutdown()
        thread.join()
        node.destroy_node()
    return 0


def _spin(executor: SingleThreadedExecutor) -> None:
    with suppress(ExternalShutdownException):
        executor.spin()


async def _serve(source: NodeSource, options: ViewOptions) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with serving(source, options) as url:
        print(f'{options.node} is shown at {url} (Ctrl-C ends it)', flush=True)
        await stop.wait()


if __name__ == '__main__':
    raise SystemExit(main())
