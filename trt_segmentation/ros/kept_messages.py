# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A subscription whose last messages are kept, serialized, in reused buffers."""

from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy

from trt_segmentation.ros.inputs import EventsOnly, SerializedTaker
from trt_segmentation.ros.serialized import can_take_serialized


class KeptMessages:
    """Subscribes to messages that wait, each in its own buffer.

    rclpy allocates new memory for each message, and copies the message once more.

    Args:
        node: owner of the subscription.
        message: type of the messages.
        topic: name of the topic.
        on_message: called with each serialized message (uint8 or bytes); returns whether it is
            kept. The newest ``kept`` of the kept messages stay valid.
        kept: number of messages, also the history depth.

    Attributes:
        topic: resolved name.
    """

    def __init__(self, node: Any, message: Any, topic: str, on_message: Callable[[Any], bool],
                 kept: int) -> None:
        self._node, self._on_message = node, on_message
        self._count = kept + 1  # one more, to receive
        self._is_open = True
        qos = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=kept,
                         reliability=ReliabilityPolicy.BEST_EFFORT)
        is_serialized = can_take_serialized()
        options = {'callback_group': EventsOnly()} if is_serialized else {}
        self._subscription = node.create_subscription(message, topic, on_message, qos, raw=True,
                                                      **options)
        self.topic: str = self._subscription.topic_name
        self._taker = None
        if is_serialized:
            self._taker = SerializedTaker(node, self._subscription, self._deliver, self._count)
            node.add_waitable(self._taker)

    def destroy(self) -> None:
        """Unsubscribe; a message that is being received is ignored."""
        self._is_open = False
        if self._taker is not None:
            self._node.remove_waitable(self._taker)
        self._node.destroy_subscription(self._subscription)

    def _deliver(self, message: np.ndarray, info: dict) -> None:
        if self._is_open and self._on_message(message):
            assert self._taker is not None  # that has received the message
            self._taker.slot = (self._taker.slot + 1) % self._count
