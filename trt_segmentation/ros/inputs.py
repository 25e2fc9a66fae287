# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The subscription to the camera images, raw or compressed, with configurable QoS."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.callback_groups import CallbackGroup
from rclpy.exceptions import InvalidHandle
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

from trt_segmentation.ros.image_msgs import received_compressed_image, received_image
from trt_segmentation.ros.log_bridge import WARNING_PERIOD
from trt_segmentation.ros.serialized import ReceiveBuffer, can_take_serialized

try:
    from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError


@dataclass(frozen=True)
class Transport:
    """An image transport.

    Attributes:
        message: type of the messages.
        suffix: of the topic's name.
        parse: parses a serialized message (uint8) without copying its data.
    """

    message: Any
    suffix: str
    parse: Callable[[np.ndarray], Any]


TRANSPORTS = {'raw': Transport(Image, '', received_image),
              'compressed': Transport(CompressedImage, '/compressed', received_compressed_image)}
RELIABILITIES = {'best_effort': ReliabilityPolicy.BEST_EFFORT,
                 'reliable': ReliabilityPolicy.RELIABLE}
DURABILITIES = {'volatile': DurabilityPolicy.VOLATILE,
                'transient_local': DurabilityPolicy.TRANSIENT_LOCAL}

_REMEDIES = {
    'reliability': 'it offers reliability best_effort, but reliable is requested; set '
                   'qos_reliability to best_effort',
    'durability': 'it offers durability volatile, but transient_local is requested; set '
                  'qos_durability to volatile',
}
"""By QoS policy: the cause, and the parameter to change."""


@dataclass(frozen=True)
class Publishers:
    """The publishers on the image topic.

    Attributes:
        count: number of publishers, including incompatible ones.
        mismatch: '' or why no images can be received from them, and what to change: they publish
            another type, or the images are on the raw or compressed topic beside it.
    """

    count: int
    mismatch: str


class ImageInput:
    """Receives the images of a camera.

    The defaults are those of REP 2003 for sensor data, with depth 1: a longer queue would only add
    latency.

    Args:
        node: owner of the subscription.
        on_image: called with each message and its message info. The message is serialized
            (uint8, valid until the next one in the same slot, for ``Transport.parse``), or an
            rclpy message if ``can_take_serialized`` is false. The info has
            publication_sequence_number and publisher_gid (bytes) if middleware and distribution
            provide both.
        prefix: of ``image``: '' or the camera's name and a slash.
        transport: of ``TRANSPORTS``: 'raw' subscribes to ``image``, 'compressed' to
            ``image/compressed``. If ``image`` is remapped, ``/compressed`` is appended to its
            new name, as in image_transport.
        reliability: 'best_effort' or 'reliable'.
        durability: 'volatile' or 'transient_local'.
        depth: history depth, at least 1.
        slots: number of buffers for messages; see ``select_slot``.
        on_event: called with a message when the QoS of a publisher is incompatible.
    """

    def __init__(self, node: Node, on_image: Callable[[Any, dict], None], *, prefix: str = '',
                 transport: str = 'raw', reliability: str = 'best_effort',
                 durability: str = 'volatile', depth: int = 1, slots: int = 1,
                 on_event: Callable[[str], None]) -> None:
        self._node = node
        self._on_event = on_event
        self._transport = TRANSPORTS[transport]
        self._on_image = on_image
        self._is_open = True
        qos = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth,
                         reliability=RELIABILITIES[reliability],
                         durability=DURABILITIES[durability])
        # rclpy resolves the name again, which also applies remappings of image/compressed.
        name = f'{prefix}image'
        if self._transport.suffix:
            name = node.resolve_topic_name(name) + self._transport.suffix
        self.topic: str = node.resolve_topic_name(name)
        is_serialized = can_take_serialized()
        arguments = (self._transport.message, name, _callback(self._deliver), qos)
        options = {'callback_group': EventsOnly()} if is_serialized else {}
        events = SubscriptionEventCallbacks(incompatible_qos=self._on_incompatible_qos)
        try:
            self._subscription = node.create_subscription(*arguments, event_callbacks=events,
                                                          **options)
        except UnsupportedEventTypeError:  # not supported by the middleware
            self._subscription = node.create_subscription(*arguments, **options)
        self._taking = None
        if is_serialized:
            self._taking = SerializedTaker(node, self._subscription, self._deliver, slots)
            node.add_waitable(self._taking)

    def publishers(self) -> Publishers:
        """Return the publishers on the topic."""
        types = self._types_on(self.topic)
        return Publishers(len(types), self._mismatch(types))

    def select_slot(self, slot: int) -> None:
        """Receive the next messages into another buffer, 0 to slots - 1."""
        if self._taking is not None:
            self._taking.slot = slot

    def destroy(self) -> None:
        """Unsubscribe; a message that is being received is ignored."""
        self._is_open = False
        if self._taking is not None:
            self._node.remove_waitable(self._taking)
        self._node.destroy_subscription(self._subscription)

    def _deliver(self, msg: Any, info: dict) -> None:
        if self._is_open:
            self._on_image(msg, info)

    def _types_on(self, topic: str) -> list[str]:
        """Return the type of each publisher on a topic, such as sensor_msgs/msg/Image."""
        return [each.topic_type for each in self._node.get_publishers_info_by_topic(topic)]

    def _mismatch(self, types: list[str]) -> str:
        """Return '' or why no images can be received, given the types of the publishers."""
        wanted = _type_name(self._transport.message)
        if wanted in types:
            return ''
        if types:
            return f'its publisher has type {types[0]}; {self._remedy(types[0])}'
        base, suffix = self.topic.removesuffix('/compressed'), '/compressed'
        if not self._transport.suffix:
            if _COMPRESSED in self._types_on(self.topic + suffix):
                return f'only {self.topic}{suffix} is published; set input_transport to compressed'
        elif _COMPRESSED in self._types_on(base):
            return (f'only {base} is published; remap image to '
                    f'{base.removesuffix(suffix)}, because {suffix} is appended')
        elif _RAW in self._types_on(base):
            return f'only {base} is published; set input_transport to raw'
        return ''

    def _remedy(self, found: str) -> str:
        """Return what to change if the publishers on the topic have another type."""
        if found == _RAW:
            return f'set input_transport to raw and remap image to {self.topic}'
        if found == _COMPRESSED:
            base = self.topic.removesuffix('/compressed')
            name = 'image/compressed' if base == self.topic else 'image'
            return f'set input_transport to compressed and remap {name} to {base}'
        return f'{_type_name(self._transport.message)} is required'

    def _on_incompatible_qos(self, event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind).lower()
        reason = _REMEDIES.get(policy, f'its {policy} is incompatible with the request')
        self._on_event(f'{self.topic}: the QoS of a publisher is incompatible: {reason}')


class SerializedTaker(Waitable):
    """Takes the messages of a subscription serialized, instead of rclpy's executor.

    This saves the two copies of the data that a message object needs.

    Args:
        node: its executor waits for the subscription.
        subscription: in a callback group that prevents the executor from taking messages.
        on_image: called with each serialized message and its info.
        slots: number of buffers.

    Attributes:
        slot: the buffer of the next message.
    """

    def __init__(self, node: Node, subscription: Subscription,
                 on_image: Callable[[np.ndarray, dict], None], slots: int = 1) -> None:
        super().__init__(node.default_callback_group)
        self._logger = node.get_logger()
        self._subscription = subscription
        self._on_image = on_image
        self._buffers = [ReceiveBuffer() for _ in range(slots)]
        self.slot = 0
        self._index = 0

    def __enter__(self) -> None:
        """Keep the subscription alive while the executor waits for it."""
        self._subscription.handle.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._subscription.handle.__exit__(*error)

    def get_num_entities(self) -> NumberOfEntities:
        return NumberOfEntities(num_subs=1)

    def add_to_wait_set(self, wait_set: Any) -> None:
        self._index = wait_set.add_subscription(self._subscription.handle)

    def is_ready(self, wait_set: Any) -> bool:
        return bool(wait_set.is_ready('subscription', self._index))

    def take_data(self) -> tuple[np.ndarray, dict] | None:
        try:
            return self._buffers[self.slot].take(self._subscription)
        except InvalidHandle:  # destroyed by another thread after it was ready
            return None
        except RuntimeError as error:  # the frame is lost, the node continues
            self._logger.error(str(error), throttle_duration_sec=WARNING_PERIOD)
            return None

    async def execute(self, taken: tuple[np.ndarray, dict] | None) -> None:
        if taken is not None:
            self._on_image(*taken)


class EventsOnly(CallbackGroup):
    """Lets the executor run the event callbacks of a subscription, but not take its messages."""

    def can_execute(self, entity: Any) -> bool:
        return not isinstance(entity, Subscription)

    def beginning_execution(self, entity: Any) -> bool:
        return True

    def ending_execution(self, entity: Any) -> None:
        pass


def _callback(deliver: Callable[[Any, dict], None]) -> Callable[..., None]:
    """Return the subscription callback for rclpy."""
    if not hasattr(Subscription, 'CallbackType'):  # Humble gives no message info
        return lambda msg: deliver(msg, {})

    def on_message(msg: Any, info: Any) -> None:
        publisher = info.get('publisher_gid')  # missing in Jazzy
        deliver(msg, {} if publisher is None else {
            'publication_sequence_number': info['publication_sequence_number'],
            'publisher_gid': publisher['data']})

    return on_message


def _type_name(message: Any) -> str:
    """Return the name of a message type: package/msg/Type."""
    return f'{message.__module__.split(".", 1)[0]}/msg/{message.__name__}'


_RAW, _COMPRESSED = _type_name(Image), _type_name(CompressedImage)
