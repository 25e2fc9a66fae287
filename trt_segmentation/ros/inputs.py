# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The subscription to the camera, raw or compressed, with the quality of service asked for."""

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    ReliabilityPolicy,
    qos_policy_name_from_kind,
)
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError

TRANSPORTS = {'raw': (Image, ''), 'compressed': (CompressedImage, '/compressed')}
RELIABILITIES = {'best_effort': ReliabilityPolicy.BEST_EFFORT,
                 'reliable': ReliabilityPolicy.RELIABLE}
DURABILITIES = {'volatile': DurabilityPolicy.VOLATILE,
                'transient_local': DurabilityPolicy.TRANSIENT_LOCAL}

_REMEDIES = {
    'reliability': 'its reliability is best_effort, reliable is asked for; set qos_reliability '
                   'to best_effort',
    'durability': 'its durability is volatile, transient_local is asked for; set qos_durability '
                  'to volatile',
}
"""By policy: parameters of the node that mend it."""


class ImageInput:
    """Receives the camera's images.

    The defaults are REP 2003's for sensor data, and the newest frame wins: a queue would only
    add latency.

    Args:
        node: that listens.
        on_image: called with each message (an Image or a CompressedImage) and its message info;
            that is empty where the distribution gives none (Humble).
        prefix: before ``image``: '' or the camera's name and a slash.
        transport: 'raw' subscribes to ``image``, 'compressed' to ``image/compressed``. Where
            ``image`` is remapped, ``/compressed`` is appended to its new name, as
            image_transport does.
        reliability: 'best_effort' or 'reliable'.
        durability: 'volatile' or 'transient_local'.
        depth: messages that may wait, 1 and up.
        on_event: called with a sentence when a publisher does not match for its QoS.
    """

    def __init__(self, node: Node, on_image: Callable[[Any, dict], None], *, prefix: str = '',
                 transport: str = 'raw', reliability: str = 'best_effort',
                 durability: str = 'volatile', depth: int = 1,
                 on_event: Callable[[str], None]) -> None:
        self._node = node
        self._on_event = on_event
        message_type, suffix = TRANSPORTS[transport]
        qos = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth,
                         reliability=RELIABILITIES[reliability],
                         durability=DURABILITIES[durability])
        # A second resolution applies rules for image/compressed itself.
        name = f'{prefix}image'
        name = node.resolve_topic_name(name) + suffix if suffix else name
        self.topic: str = node.resolve_topic_name(name)
        arguments = (message_type, name, _callback(on_image), qos)
        events = SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible_qos)
        try:
            self._subscription = node.create_subscription(*arguments, event_callbacks=events)
        except UnsupportedEventTypeError:  # the middleware cannot tell
            self._subscription = node.create_subscription(*arguments)

    def publisher_count(self) -> int:
        """Return how many publishers the topic has, those that do not match included."""
        return self._node.count_publishers(self.topic)

    def destroy(self) -> None:
        """Stop listening."""
        self._node.destroy_subscription(self._subscription)

    def _on_incompatible_qos(self, event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind).lower()
        reason = _REMEDIES.get(policy, f'its {policy} is not what is asked for')
        self._on_event(f'{self.topic}: a publisher cannot be received: {reason}')


def _callback(on_image: Callable[[Any, dict], None]) -> Callable[..., None]:
    if hasattr(Subscription, 'CallbackType'):
        return lambda msg, info: on_image(msg, info)
    return lambda msg: on_image(msg, {})  # Humble gives no message info
