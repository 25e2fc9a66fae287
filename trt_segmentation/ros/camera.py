# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""One camera of the node: its input, its outputs and its statistics."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trt_segmentation.graph.pipeline.camera_bytes import image_size
from trt_segmentation.images.decoding import rows_to_bgr
from trt_segmentation.ros.image_msgs import ImageReader
from trt_segmentation.ros.inputs import TRANSPORTS, ImageInput
from trt_segmentation.ros.outputs import Outputs
from trt_segmentation.ros.parameters import Parameters
from trt_segmentation.ros.points import Points
from trt_segmentation.ros.region import Region
from trt_segmentation.ros.stamps import nanoseconds
from trt_segmentation.ros.statistics import REASONS, REPLACED, UNSYNCHRONISED, Monitor
from trt_segmentation.segmenter import Segmenter


@dataclass(frozen=True)
class Frame:
    """An image that was received.

    Attributes:
        image: of ``ImageDecoder.read``, or with ``encoding`` of ``read_rows``; valid until the
            next image is read with the same slot.
        color: 'bgr' or 'rgb', the channel order.
        header: of the message.
        slot: of the camera's receive buffers.
        encoding: of an image that the GPU converts to BGR; '' for pixels.
    """

    image: np.ndarray
    color: str
    header: Any
    slot: int = 0
    encoding: str = ''

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels."""
        if self.encoding:
            return image_size(self.encoding, self.image.shape)
        height, width = self.image.shape[:2]
        return height, width

    def on_cpu(self) -> 'Frame':
        """Return the frame with its pixels, converted by OpenCV if necessary."""
        if not self.encoding:
            return self
        return Frame(rows_to_bgr(self.image, self.encoding), 'bgr', self.header, self.slot)

    @property
    def stamp(self) -> int:
        """Time of capture, nanoseconds."""
        return nanoseconds(self.header.stamp)

    def __str__(self) -> str:
        height, width = self.size
        bits = 8 * self.image.itemsize
        pixels = self.color if self.image.ndim == 3 else f'mono{bits}'
        return f'{width}x{height} {self.encoding or pixels}'


SLOTS = {1: 1, 2: 3}
"""Receive buffers of a camera, by the number of frames in flight. Of three, one is for the frame
that is segmented, one for the frame that waits, and one to receive."""


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
        self._readers: list[ImageReader] = []  # one for each slot
        self.monitor = self._new_monitor()
        self._outputs: Outputs | None = None
        self.input: ImageInput | None = None
        self.mismatch = ''
        self._node = node
        self._prefix = f'{name}/' if name else ''
        self._slot = 0

    @property
    def outputs(self) -> Outputs:
        """The topics of its results, which exist from ``advertise`` to ``close``."""
        assert self._outputs is not None
        return self._outputs

    def advertise(self, segmenter: Segmenter, settings: Parameters, in_flight: int) -> None:
        """Create the topics of its results, see ``Outputs``, and the slots of its images.

        Args:
            segmenter, settings: as of ``Outputs``.
            in_flight: number of frames that can be in flight, 1 or 2.
        """
        self._readers = [ImageReader() for _ in range(SLOTS[in_flight])]
        segmenter.image_buffers = len(self._readers)
        self._outputs = Outputs(self._node, segmenter, settings.confidence, self._prefix,
                                settings.point_settings)
        self._outputs.jpeg_quality = settings.overlay_jpeg_quality
        self._outputs.class_shares.region = settings.classes_region

    def switch_segmenter(self, segmenter: Segmenter) -> None:
        """Continue with another segmenter; see ``Outputs.switch_segmenter``."""
        self.outputs.switch_segmenter(segmenter)
        segmenter.image_buffers = len(self._readers)
        self.monitor.reset_failures()

    def use_gpu_jpeg(self, segmenter: Segmenter, region: Region | None) -> None:
        """Decode JPEG with a segmenter's decoders, one for each slot, and encode overlays with its
        encoder, where it has them; a region is cut out and pasted on the CPU."""
        for reader in self._readers:
            reader.decode_jpeg = segmenter.jpeg_decoder() if region is None else None
        self.outputs.gpu_index = self.index if region is None else None

    def subscribe(self, wanted: Parameters, on_image: Callable[['Camera', Any, dict], None],
                  on_event: Callable[['Camera', str], None]) -> None:
        """Subscribe to its images, and reset the statistics.

        Args:
            wanted: the parameters of the subscription.
            on_image: called with the camera and the arguments of ``ImageInput``'s ``on_image``.
            on_event: called with the camera and the message of a QoS event.
        """
        self.monitor = self._new_monitor()
        self._slot = 0  # that of a new input
        self._parse = TRANSPORTS[wanted.input_transport].parse
        self.input = ImageInput(
            self._node, lambda msg, info: on_image(self, msg, info), prefix=self._prefix,
            transport=wanted.input_transport, reliability=wanted.qos_reliability,
            durability=wanted.qos_durability, depth=wanted.qos_depth, slots=len(self._readers),
            on_event=lambda sentence: on_event(self, sentence))

    def read(self, msg: Any, gray_bits: int, on_gpu: Callable[[str], bool] | None = None,
             ) -> Frame:
        """Return the image of a message.

        Args:
            msg: as passed by ``ImageInput``.
            gray_bits: of the ``ModelSpec`` of the network.
            on_gpu: returns whether the GPU converts an encoding; None for no encoding.

        Raises:
            ImageError: the image cannot be read.
        """
        if isinstance(msg, np.ndarray):
            msg = self._parse(msg)
        reader = self._readers[self._slot]
        encoding = getattr(msg, 'encoding', '')  # a CompressedImage has none
        if encoding and on_gpu is not None and on_gpu(encoding):
            return Frame(reader.read_rows(msg), 'bgr', msg.header, self._slot, encoding)
        image, color = reader.read(msg, gray_bits)
        return Frame(image, color, msg.header, self._slot)

    def select_slot(self, used: set[int]) -> None:
        """Receive the next image into a slot that is not in use."""
        self._slot = next(slot for slot in range(len(self._readers)) if slot not in used)
        if self.input is not None:
            self.input.select_slot(self._slot)

    def stamp_of(self, msg: Any) -> int:
        """Return the stamp of a message, nanoseconds, without decoding its image; see ``read``."""
        if isinstance(msg, np.ndarray):
            msg = self._parse(msg)
        return nanoseconds(msg.header.stamp)

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
        for reader in self._readers:
            reader.decode_jpeg = None  # frees its image in GPU memory
        if self._outputs is not None:
            self._outputs.close()
            self._outputs = None

    def _new_monitor(self) -> Monitor:
        reasons = (*REASONS, *[UNSYNCHRONISED] * bool(self.name),
                   *[REPLACED] * (len(self._readers) > 1))
        return Monitor(time.monotonic(), reasons)


def drop_frames(cameras: Sequence[Camera], reason: str, why: str, trace: str = '') -> str:
    """Count a dropped frame for each camera; return the message to log."""
    for camera in cameras:
        camera.drop(reason, why)
    if len(cameras) > 1:
        return f'a frame of each camera dropped: {trace or why}'
    return cameras[0].with_name(f'frame dropped: {trace or why}')
