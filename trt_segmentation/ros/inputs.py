# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The subscription to the camera, raw or compressed, with the quality of service asked for."""

from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    ReliabilityPolicy,
    qos_policy_name_from_kind,
)
from rclpy.subscription import Subscription
from rclpy.waitable import NumberOfEntities, Waitable
from sensor_msgs.msg import CompressedImage, Image

from trt_segmentation.ros.serialized import ReceivingMemory, find_rcl

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
        on_image: called with each message and its message info. It is a CompressedImage, or a
            serialized Image (uint8, good until the next one; see ``image_msgs.received_image``),
            or an Image where rcl cannot be found. The info has the publication_sequence_number
            where the distribution gives one for such a message (Humble: of serialized ones).
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
        is_serialized = message_type is Image and find_rcl() is not None
        arguments = (message_type, name, _callback(on_image), qos)
        options = {'callback_group': _OnlyItsEvents()} if is_serialized else {}
        events = SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible_qos)
        try:
            self._subscription = node.create_subscription(*arguments, event_callbacks=events,
                                                          **options)
        except UnsupportedEventTypeError:  # the middleware cannot tell
            self._subscription = node.create_subscription(*arguments, **options)
        self._taking = None
        if is_serialized:
            self._taking = SerializedTaking(node, self._subscription, on_image)
            node.add_waitable(self._taking)

    def publisher_count(self) -> int:
        """Return how many publishers the topic has, those that do not match included."""
        return self._node.count_publishers(self.topic)

    def destroy(self) -> None:
        """Stop listening."""
        if self._taking is not None:
            self._node.remove_waitable(self._taking)
        self._node.destroy_subscription(self._subscription)

    def _on_incompatible_qos(self, event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind).lower()
        reason = _REMEDIES.get(policy, f'its {policy} is not what is asked for')
        self._on_event(f'{self.topic}: a publisher cannot be received: {reason}')


class SerializedTaking(Waitable):
    """Takes a subscription's messages serialized, in the place of rclpy's executor.

    A message object would cost two more copies of its data.

    Args:
        node: whose executor waits.
        subscription: in a callback group that keeps the executor from taking.
        on_image: called with each serialized message and its info.
    """

    def __init__(self, node: Node, subscription: Subscription,
                 on_image: Callable[[np.ndarray, dict], None]) -> None:
        super().__init__(node.default_callback_group)
        self._subscription = subscription
        self._on_image = on_image
        self._memory = ReceivingMemory()
        self._index = 0

    def __enter__(self) -> None:
        """Keep the subscription while it is waited for."""
        self._subscription.handle.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._subscription.handle.__exit__(*error)

    def get_num_entities(self) -> NumberOfEntities:
        return NumberOfEntities(num_subs=1)

    def add_to_wait_set(self, wait_set: Any) -> None:
        self._index = wait_set.add_subscription(self._subscription.handle)

    def is_ready(self, wait_set: Any) -> bool:
        return bool(wait_set.is_ready('subscription', self._index))

    def take_data(self) -> tuple[np.ndarray, int] | None:
        return self._memory.take(self._subscription)

    async def execute(self, taken: tuple[np.ndarray, int] | None) -> None:
        if taken is not None:
            message, number = taken
            self._on_image(message, {'publication_sequence_number': number})


class _OnlyItsEvents(CallbackGroup):
    """Lets the executor run what belongs to a subscription, but not take its messages."""

    def can_execute(self, entity: Any) -> bool:
        return not isinstance(entity, Subscription)

    def beginning_execution(self, entity: Any) -> bool:
        return True

    def ending_execution(self, entity: Any) -> None:
        pass


def _callback(on_image: Callable[[Any, dict], None]) -> Callable[..., None]:
    if hasattr(Subscription, 'CallbackType'):
        return lambda msg, info: on_image(msg, info)
    return lambda msg: on_image(msg, {})  # Humble gives no message info
