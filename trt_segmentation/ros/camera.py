# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""One camera of the node: where its images come from, where its results go, what is counted."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from trt_segmentation.ros.image_msgs import ImageReader
from trt_segmentation.ros.inputs import TRANSPORTS, ImageInput
from trt_segmentation.ros.outputs import Outputs
from trt_segmentation.ros.parameters import Parameters
from trt_segmentation.ros.stamps import nanoseconds
from trt_segmentation.ros.statistics import REASONS, UNSYNCHRONISED, Monitor
from trt_segmentation.segmenter import Segmenter


@dataclass(frozen=True)
class Frame:
    """An image that was received.

    Attributes:
        image: of ``ImageDecoder.read``; good until the camera's next one is read.
        color: 'bgr' or 'rgb', order of its channels.
        header: of its message.
    """

    image: np.ndarray
    color: str
    header: Any

    @property
    def stamp(self) -> int:
        """When it was taken, nanoseconds."""
        return nanoseconds(self.header.stamp)

    def __str__(self) -> str:
        height, width = self.image.shape[:2]
        bits = 8 * self.image.itemsize
        return f'{width}x{height} {self.color if self.image.ndim == 3 else f"mono{bits}"}'


class Camera:
    """A camera; the topics are there from ``offer`` to ``close``, the subscription from
    ``listen`` to ``stop_listening``.

    Args:
        node: a LifecycleNode.
        index: of the camera, 0 and up.
        name: before its topics: ``<name>/image`` and ``~/<name>/mask``; '' for the only camera,
            whose topics are ``image`` and ``~/mask``.

    Attributes:
        monitor: counts since the last activation.
        input: None while it does not listen.
        mismatch: of ``inputs.Sources``, as it was reported last.
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
        """The topics of its results; they exist from ``offer`` to ``close``."""
        assert self._outputs is not None
        return self._outputs

    def offer(self, segmenter: Segmenter, confidence: bool) -> None:
        """Make the topics of its results; see ``Outputs``."""
        self._outputs = Outputs(self._node, segmenter, confidence, self._prefix)

    def serve(self, segmenter: Segmenter) -> None:
        """Go on with another segmenter; see ``Outputs.serve``."""
        self.outputs.serve(segmenter)
        self.monitor.forget_failures()

    def listen(self, wanted: Parameters, on_image: Callable[['Camera', Any, dict], None],
               on_event: Callable[['Camera', str], None]) -> None:
        """Subscribe to its images, and count anew.

        Args:
            wanted: how it is subscribed to.
            on_image: called with the camera, and as by ``ImageInput``.
            on_event: likewise.
        """
        self.monitor = self._new_monitor()
        self._parse = TRANSPORTS[wanted.input_transport].parse
        self.input = ImageInput(
            self._node, lambda msg, info: on_image(self, msg, info), prefix=self._prefix,
            transport=wanted.input_transport, reliability=wanted.qos_reliability,
            durability=wanted.qos_durability, depth=wanted.qos_depth,
            on_event=lambda sentence: on_event(self, sentence))

    def read(self, msg: Any, gray_bits: int) -> Frame:
        """Return a message's image.

        Args:
            msg: what ``ImageInput`` calls with.
            gray_bits: of the ``ModelSpec`` of the network that it is for.

        Raises:
            ImageError: it cannot be read.
        """
        if isinstance(msg, np.ndarray):
            msg = self._parse(msg)
        image, color = self._reader.read(msg, gray_bits)
        return Frame(image, color, msg.header)

    def drop(self, reason: str, why: str = '') -> None:
        """Count a frame that is dropped; see ``Monitor.note_dropped``."""
        self.monitor.note_dropped(time.monotonic(), reason, why)

    def said(self, sentence: str) -> str:
        """Return a sentence about the camera, with its name where there are several."""
        return f'{self.name}: {sentence}' if self.name else sentence

    def stop_listening(self) -> None:
        """Unsubscribe; what was segmented is published by then."""
        if self._outputs is not None:
            self._outputs.finish()
        if self.input is not None:
            self.input.destroy()
            self.input = None

    def close(self) -> None:
        """Unsubscribe, and take its topics away."""
        self.stop_listening()
        if self._outputs is not None:
            self._outputs.close()
            self._outputs = None

    def _new_monitor(self) -> Monitor:
        reasons = (*REASONS, UNSYNCHRONISED) if self.name else REASONS
        return Monitor(time.monotonic(), reasons)
