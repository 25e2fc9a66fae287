# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""One camera of the node: its input, its outputs and its statistics."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from trt_segmentation.ros.image_msgs import ImageReader
from trt_segmentation.ros.inputs import TRANSPORTS, ImageInput
from trt_segmentation.ros.outputs import Outputs
from trt_segmentation.ros.parameters import Parameters
from trt_segmentation.ros.points import Points
from trt_segmentation.ros.stamps import nanoseconds
from trt_segmentation.ros.statistics import REASONS, UNSYNCHRONISED, Monitor
from trt_segmentation.segmenter import Segmenter


@dataclass(frozen=True)
class Frame:
    """An image that was received.

    Attributes:
        image: of ``ImageDecoder.read``; valid until the next image of the camera is read.
        color: 'bgr' or 'rgb', the channel order.
        header: of the message.
    """

    image: np.ndarray
    color: str
    header: Any

    @property
    def stamp(self) -> int:
        """Time of capture, nanoseconds."""
        return nanoseconds(self.header.stamp)

    def __str__(self) -> str:
        height, width = self.image.shape[:2]
        bits = 8 * self.image.itemsize
        return f'{width}x{height} {self.color if self.image.ndim == 3 else f"mono{bits}"}'


class Camera:
    """A camera. Its topics exist from ``advertise`` to ``close``, its subscription from
    ``subscribe`` to ``unsubscribe``.

    Args:
        node: a LifecycleNode.
        index: of the camera, 0 and up.
        name: prefix of its topics: ``<name>/image`` and ``~/<name>/mask``; '' for a single camera
            with the topics ``image`` and ``~/mask``.

    Attributes:
        monitor: counts since the last activation.
        input: None while it is not subscribed.
        mismatch: of ``inputs.Publishers``, as last reported.
    """

    def __init__(self, node: Any, index: int = 0, name: str = '') -> None:
        self.index, self.name = index, name
        self.monitor = self._new_monitor()
        self._outputs: Outputs | None = None
        self.input: ImageInput | None = None
        self.mismatch = ''
        self._node = node
        self._prefix = f'{name}/' if name else ''
        self._reader = ImageReader()

    @property
    def outputs(self) -> Outputs:
        """The topics of its results, which exist from ``advertise`` to ``close``."""
        assert self._outputs is not None
        return self._outputs

    def advertise(self, segmenter: Segmenter, wanted: Parameters) -> None:
        """Create the topics of its results; see ``Outputs``."""
        self._outputs = Outputs(self._node, segmenter, wanted.confidence, self._prefix,
                                wanted.point_settings)

    def switch_segmenter(self, segmenter: Segmenter) -> None:
        """Continue with another segmenter; see ``Outputs.switch_segmenter``."""
        self.outputs.switch_segmenter(segmenter)
        self.monitor.reset_failures()

    def subscribe(self, wanted: Parameters, on_image: Callable[['Camera', Any, dict], None],
                  on_event: Callable[['Camera', str], None]) -> None:
        """Subscribe to its images, and reset the statistics.

        Args:
            wanted: the parameters of the subscription.
            on_image: called with the camera and the arguments of ``ImageInput``'s ``on_image``.
            on_event: called with the camera and the message of a QoS event.
        """
        self.monitor = self._new_monitor()
        self._parse = TRANSPORTS[wanted.input_transport].parse
        self.input = ImageInput(
            self._node, lambda msg, info: on_image(self, msg, info), prefix=self._prefix,
            transport=wanted.input_transport, reliability=wanted.qos_reliability,
            durability=wanted.qos_durability, depth=wanted.qos_depth,
            on_event=lambda sentence: on_event(self, sentence))

    def read(self, msg: Any, gray_bits: int) -> Frame:
        """Return the image of a message.

        Args:
            msg: as passed by ``ImageInput``.
            gray_bits: of the ``ModelSpec`` of the network.

        Raises:
            ImageError: the image cannot be read.
        """
        if isinstance(msg, np.ndarray):
            msg = self._parse(msg)
        image, color = self._reader.read(msg, gray_bits)
        return Frame(image, color, msg.header)

    @property
    def points(self) -> Points | None:
        """The topic ~/points, if it exists."""
        return None if self._outputs is None else self._outputs.points

    def drop(self, reason: str, why: str = '') -> None:
        """Count a frame that is dropped; see ``Monitor.note_dropped``."""
        self.monitor.note_dropped(time.monotonic(), reason, why)

    def with_name(self, sentence: str) -> str:
        """Return a message with the name of the camera in front, if the camera has one."""
        return f'{self.name}: {sentence}' if self.name else sentence

    def unsubscribe(self) -> None:
        """Unsubscribe, after all results are published."""
        if self._outputs is not None:
            self._outputs.finish()
        if self.input is not None:
            self.input.destroy()
            self.input = None

    def close(self) -> None:
        """Unsubscribe, and destroy its topics."""
        self.unsubscribe()
        if self._outputs is not None:
            self._outputs.close()
            self._outputs = None

    def _new_monitor(self) -> Monitor:
        reasons = (*REASONS, UNSYNCHRONISED) if self.name else REASONS
        return Monitor(time.monotonic(), reasons)
