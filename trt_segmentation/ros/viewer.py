# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Live view of a running node in a web browser; subscribes only while the page is open."""

import argparse
import asyncio
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future, TimeoutError
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.exceptions import InvalidTopicNameException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions
from rclpy.validate_full_topic_name import validate_full_topic_name
from sensor_msgs.msg import CompressedImage, Image

from trt_segmentation.classes.mask_encoding import mask_encoding
from trt_segmentation.errors import SegmentationError
from trt_segmentation.graph.pipeline.output_names import joined
from trt_segmentation.images.allocator import keep_large_blocks
from trt_segmentation.ros.image_msgs import ImageReader
from trt_segmentation.ros.label_info import LabelInfo
from trt_segmentation.ros.log_bridge import LogBridge
from trt_segmentation.ros.outputs import LATCHED_QOS
from trt_segmentation.ros.parameter_setter import ParameterSetter
from trt_segmentation.ros.serialized import serialized_stamp
from trt_segmentation.ros.spinning import STOP_SIGNALS, init_ros
from trt_segmentation.web.outlines import instance_count, with_outlines
from trt_segmentation.web.pace import Pace
from trt_segmentation.web.pairing import Pairing
from trt_segmentation.web.server import serving
from trt_segmentation.web.source import Status, View
from trt_segmentation.web.view_options import ViewError, ViewOptions, add_arguments, parsed

_STATUS_NAME = ': segmentation'
"""Suffix of the node's name on /diagnostics."""

_IMAGE_QOS = QoSProfile(depth=1)
"""Reliable, because large best-effort images do not arrive over UDP; see
docs/how-to/other-machines.md."""

_MASK_QOS = QoSProfile(depth=5)
"""Deeper, so that no mask is lost while its overlay is received."""


_PATIENCE = 3.0
"""Maximum seconds to wait for an answer of the node."""


class NodeSource:
    """The newest messages of a segmentation node; a ``web.source.Source``.

    Images are stored serialized and decoded only on request.

    Args:
        node: of this process.
        executor: of ``node``; its thread creates and destroys the subscriptions.
        name: full name of the segmentation node.
        task, transport: see ``ViewOptions``.

    Raises:
        ViewError: the name of the node or of the task is invalid.
    """

    def __init__(self, node: Node, executor: SingleThreadedExecutor, name: str, task: str = '',
                 transport: str = 'raw') -> None:
        self._node, self._executor, self._name, self._task = node, executor, name, task
        self._topics = {output: f'{name}/{joined(task, output)}'
                        for output in ('overlay', 'mask', 'instances', 'label_info')}
        self._image_type = Image
        if transport == 'compressed':
            self._image_type = CompressedImage
            self._topics['overlay'] += '/compressed'
        try:
            validate_full_topic_name(f'{name}/overlay')
        except InvalidTopicNameException as error:
            raise ViewError(f"--node is '{name}'; it must be the full name of a node, for example "
                            '/front/segmentation') from error
        try:
            validate_full_topic_name(self._topics['overlay'])
        except InvalidTopicNameException as error:
            raise ViewError(f"--task is '{task}'; it must be the name of a task, for example "
                            'lanes') from error
        self._reader = ImageReader()
        self._subscriptions: list[Any] = []
        self._setter: ParameterSetter | None = None
        self._lock = threading.Lock()
        """Protects the attributes below: callbacks and readers run in different threads."""
        self._overlay: bytes | None = None
        self._waiting: bytes | None = None
        """An overlay whose instances have not arrived."""
        self._labels: dict[int, str] = {}
        self._pairing, self._instances = Pairing(), Pairing()
        self._instance_count: int | None = None
        self._picture_pace = Pace()
        self._statuses: dict[str, DiagnosticStatus] = {}
        self._status_paces: defaultdict[str, Pace] = defaultdict(Pace)

    def start(self, on_picture: Callable[[], object]) -> None:
        """Subscribe to the topics of the node."""
        self._executor.create_task(self._subscribe, on_picture)

    def stop(self) -> None:
        """Unsubscribe and discard all messages."""
        self._executor.create_task(self._unsubscribe)

    def picture(self) -> np.ndarray | None:
        """Return the newest overlay, with the outlines of its instances; None before the first."""
        with self._lock:
            data = self._overlay
        if data is None:
            return None
        pixels = self._reader.read(deserialize_message(data, self._image_type))[0]
        stamp = serialized_stamp(data)
        with self._lock:
            if self._overlay is None:  # stopped since
                return pixels
            self._pairing.show(stamp)
            self._instances.show(stamp)
            found = self._instances.mask if self._instances.is_of_picture else None
        ids = None if found is None else _pixels_of(found)
        self._instance_count = None if ids is None else instance_count(ids)
        return pixels if ids is None else with_outlines(pixels, ids)

    def set_smoothing(self, weight: float) -> str:
        """Set the parameter ``temporal_smoothing``; see ``web.source.Source``."""
        answer: Future[str] = Future()
        self._executor.create_task(self._set_smoothing, weight, answer)
        try:
            return answer.result(_PATIENCE)
        except TimeoutError:
            return f'{self._name} did not answer within {_PATIENCE:g} s'

    def view(self) -> View:
        """Return everything except the picture; the mask belongs to the last picture returned."""
        with self._lock:
            now = time.monotonic()
            mask, is_of_picture = self._pairing.mask, self._pairing.is_of_picture
            age, limit = self._picture_pace.age(now), self._picture_pace.limit
            labels, status, others = dict(self._labels), self._status(now), sorted(self._statuses)
        return View(self._name, self._topics['overlay'], age, limit,
                    None if mask is None else _ids(mask), is_of_picture, labels, status,
                    tuple(others), self._task, self._instance_count)

    def _subscribe(self, on_picture: Callable[[], object]) -> None:
        subscribe = self._node.create_subscription
        self._subscriptions = [
            subscribe(self._image_type, self._topics['overlay'],
                      partial(self._keep_overlay, on_picture), _IMAGE_QOS, raw=True),
            subscribe(Image, self._topics['mask'], self._keep_mask, _MASK_QOS, raw=True),
            subscribe(Image, self._topics['instances'], partial(self._keep_instances, on_picture),
                      _MASK_QOS, raw=True),
            subscribe(DiagnosticArray, '/diagnostics', self._keep_statuses, 10)]
        if LabelInfo is not None:
            self._subscriptions.append(subscribe(
                LabelInfo, self._topics['label_info'], self._keep_labels, LATCHED_QOS))
        self._setter = ParameterSetter(self._node, self._name)

    def _unsubscribe(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []
        if self._setter is not None:
            self._setter.close()
            self._setter = None
        with self._lock:
            self._overlay, self._waiting, self._labels, self._statuses = None, None, {}, {}
            self._pairing.clear()
            self._instances.clear()
            self._instance_count = None
            for pace in (self._picture_pace, *self._status_paces.values()):
                pace.forget()

    def _keep_overlay(self, on_picture: Callable[[], object], message: bytes) -> None:
        with self._lock:
            self._picture_pace.note(time.monotonic())
            shown: bytes | None = message
            if self._instances.lacks(serialized_stamp(message)):
                shown, self._waiting = self._waiting, message
            else:
                self._waiting = None
            if shown is None:
                return
            self._overlay = shown
        on_picture()

    def _keep_mask(self, message: bytes) -> None:
        with self._lock:
            self._pairing.keep(serialized_stamp(message), message)

    def _keep_instances(self, on_picture: Callable[[], object], message: bytes) -> None:
        stamp = serialized_stamp(message)
        with self._lock:
            self._instances.keep(stamp, message)
            if self._waiting is None or serialized_stamp(self._waiting) != stamp:
                return
            self._overlay, self._waiting = self._waiting, None
        on_picture()

    def _set_smoothing(self, weight: float, answer: 'Future[str]') -> None:
        if self._setter is None:
            answer.set_result('the page is not connected to the node')
        else:
            self._setter.set('temporal_smoothing', weight, answer)

    def _keep_labels(self, message: Any) -> None:
        with self._lock:
            self._labels = {label.class_id: label.class_name for label in message.class_map}

    def _keep_statuses(self, message: DiagnosticArray) -> None:
        with self._lock:
            for status in message.status:
                if status.name.endswith(_STATUS_NAME):
                    name = '/' + status.name.removesuffix(_STATUS_NAME)
                    self._statuses[name] = status
                    self._status_paces[name].note(time.monotonic())

    def _status(self, now: float) -> Status | None:
        status, pace = self._statuses.get(self._name), self._status_paces[self._name]
        return None if status is None else Status(
            int.from_bytes(status.level, 'little'), status.message,
            {value.key: value.value for value in status.values}, pace.age(now) or 0.0, pace.limit)


def _pixels_of(serialized: bytes) -> np.ndarray:
    """Return the pixels of ~/instances, uint16 [H, W]."""
    message = deserialize_message(serialized, Image)
    return np.frombuffer(message.data, np.uint16).reshape(message.height, message.width)


def _ids(serialized: bytes) -> np.ndarray:
    """Return the class ids of a mask."""
    message = deserialize_message(serialized, Image)
    return np.frombuffer(message.data, mask_encoding(message.encoding).dtype)


def main(argv: list[str] | None = None) -> int:
    """Serve the page until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    options = parsed(parser.parse_args(argv))
    keep_large_blocks()
    init_ros([], signal_handler_options=SignalHandlerOptions.NO)
    executor = SingleThreadedExecutor()
    node = Node(f'view_{os.getpid()}')
    executor.add_node(node)
    LogBridge(node.get_logger()).attach()
    thread = threading.Thread(target=_spin, args=(executor,), name='spin')
    thread.start()
    try:
        asyncio.run(_serve(NodeSource(node, executor, options.node, options.task,
                                      options.transport), options))
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
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    async with serving(source, options) as url:
        print(f'{options.node} is shown at {url} (stop with Ctrl-C)', flush=True)
        await stop.wait()


if __name__ == '__main__':
    raise SystemExit(main())
