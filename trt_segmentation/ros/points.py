# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The topic ~/points: labelled points from the mask and a registered depth image or cloud."""

import sys
import threading
from collections import Counter, deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from trt_segmentation.errors import ConfigError, ImageError
from trt_segmentation.graph.pipeline.output_names import joined
from trt_segmentation.images.points import PointOptions, PointProjector
from trt_segmentation.ros.log_bridge import WARNING_PERIOD
from trt_segmentation.ros.point_sources import KEPT, POINT_SOURCES, Serialized
from trt_segmentation.ros.serialized import SerializedData, serialized_stamp
from trt_segmentation.ros.stamps import nanoseconds
from trt_segmentation.segmenter import Segmenter
from trt_segmentation.web.state import POINT_COUNT_KEY

_WAITING = 3
"""Masks that wait for their depth. A node that is slower than its camera gets the next image
before the depth of the last one."""

_POINTS_QOS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=5,
                         reliability=ReliabilityPolicy.RELIABLE)

_TYPES = {np.dtype(np.uint8): PointField.UINT8, np.dtype(np.uint16): PointField.UINT16,
          np.dtype(np.float32): PointField.FLOAT32}

NO_DEPTH, BAD_DEPTH = 'no_depth', 'bad_depth'
REASONS = NO_DEPTH, BAD_DEPTH
"""Why a mask got no points: no depth image or cloud had its stamp, or that one cannot be used. A
message that is too short to have a stamp counts as bad, too."""


@dataclass(frozen=True)
class PointSettings:
    """The values of the parameters ``points`` and ``points_*``.

    Attributes:
        source: of ``POINT_SOURCES``.
        classes: names of the classes that are kept; empty keeps all pixels.
        stride, organized: of ``PointOptions``.
        range: minimum and maximum depth, metres.
        rgb: whether the points have the colours of their classes.
        tolerance: maximum difference of the stamps of mask and depth, nanoseconds.
    """

    source: str = 'depth'
    classes: tuple[str, ...] = ()
    stride: int = 1
    range: tuple[float, float] = (0.0, 100.0)
    organized: bool = True
    rgb: bool = False
    tolerance: int = 0


@dataclass(eq=False)
class _Mask:
    """A copy of a mask, in reused buffers, that waits for its depth."""

    header: Header
    pixels: np.ndarray
    confidence: np.ndarray | None


class Points:
    """Publishes ~/points, and subscribes to the depth images or clouds.

    A mask waits until a depth image or cloud with its stamp arrives, or a later one. With
    several tasks, the points have the classes of the first one.

    Args:
        node: a LifecycleNode.
        segmenter: of the masks.
        settings: of the points.
        confidence: whether the points have a confidence, if the network has confidence values.
        prefix: of the topic names: '' or the camera's name and a slash.

    Attributes:
        outputs: of the segmenter that the points need.

    Raises:
        ConfigError: the network has no class of a name in ``settings.classes``.
    """

    def __init__(self, node: Any, segmenter: Segmenter, settings: PointSettings,
                 confidence: bool, prefix: str = '') -> None:
        self._node, self._settings, self._with_confidence = node, settings, confidence
        self._lock = threading.Lock()
        self._depths: deque[tuple[int, Serialized]] = deque(maxlen=KEPT)
        """Stamps, and messages that are parsed only for a mask."""
        self._waiting: deque[_Mask] = deque()
        self._free: list[_Mask] = []
        self._published, self._empty, self._dropped = 0, 0, Counter[str]()
        self._newest_count = 0
        self.fault = ''
        self.switch_segmenter(segmenter)
        self._publisher = node.create_lifecycle_publisher(PointCloud2, f'~/{prefix}points',
                                                          _POINTS_QOS)
        self._source = POINT_SOURCES[settings.source](node, prefix, self._on_depth, self._on_ready)

    def switch_segmenter(self, segmenter: Segmenter) -> None:
        """Continue with the masks of another segmenter; see the class."""
        task, settings = segmenter.spec.tasks[0], self._settings
        mask, confidence = joined(task.name, 'mask'), joined(task.name, 'confidence')
        has_confidence = self._with_confidence and confidence in segmenter.available_outputs
        with self._lock:
            self._options = PointOptions(
                settings.stride, *settings.range, settings.organized,
                _class_ids(settings.classes, task.labels), has_confidence,
                np.reshape(task.palette.colors, (-1, 3)) if settings.rgb else None)
            self.outputs = (mask, confidence) if has_confidence else (mask,)
            self._projector: PointProjector | None = None
            self._outgoing: _OutgoingPoints | None = None
            self._waiting.clear()
            self._free.clear()

    def class_fault(self, segmenter: Segmenter) -> str:
        """Return '' if a segmenter has the wanted classes, else the error."""
        try:
            _class_ids(self._settings.classes, segmenter.spec.tasks[0].labels)
        except ConfigError as error:
            return str(error)
        return ''

    def needed(self) -> tuple[str, ...]:
        """Return the outputs that the points need; empty without a subscriber."""
        return self.outputs if self._publisher.get_subscription_count() > 0 else ()

    def is_possible(self, names: Collection[str]) -> bool:
        """Return whether there are subscribers, and these outputs are those that are needed, or
        more."""
        needed = self.needed()
        return bool(needed) and set(needed) <= set(names)

    def values(self) -> dict[str, str]:
        """Return the values for /diagnostics: how many messages were published or not."""
        return {POINT_COUNT_KEY: str(self._newest_count),
                'points published': str(self._published),
                'points published without valid depth': str(self._empty),
                **{f'points dropped, {reason}': str(self._dropped[reason])
                   for reason in REASONS}}

    def offer(self, header: Header, arrays: Mapping[str, np.ndarray]) -> None:
        """Publish the points of a mask, at once or as soon as its depth arrives.

        Args:
            header: of the image.
            arrays: the outputs by name; they are copied.
        """
        with self._lock:
            if len(self._waiting) == _WAITING:
                self._drop_mask(self._waiting[0])
                self._free.append(self._waiting.popleft())
            self._waiting.append(self._copied(header, [arrays[name] for name in self.outputs]))
            self._match(has_new_depth=False)

    def close(self) -> None:
        """Destroy the topics."""
        self._source.close()
        self._node.destroy_lifecycle_publisher(self._publisher)

    def _copied(self, header: Header, arrays: list[np.ndarray]) -> _Mask:
        """Return copies of the mask and the confidence, in buffers that are reused."""
        copy = self._free.pop() if self._free else None
        if copy is None or copy.pixels.shape != arrays[0].shape:
            copy = _Mask(header, *(np.empty_like(each) for each in arrays),
                         *[None] * (2 - len(arrays)))
        copy.header = header
        np.copyto(copy.pixels, arrays[0])
        if copy.confidence is not None:
            np.copyto(copy.confidence, arrays[1])
        return copy

    def _on_ready(self) -> None:
        with self._lock:
            self._match()

    def _on_depth(self, depth: Serialized) -> bool:
        """Keep a message; return whether it is kept, in a buffer that must not change."""
        with self._lock:
            if self._publisher.get_subscription_count() == 0:
                self._depths.clear()
                self._waiting.clear()
                self.fault, self._newest_count = '', 0
                return False
            try:
                self._depths.append((serialized_stamp(depth), depth))
            except ImageError as error:
                self._drop(BAD_DEPTH, str(error))
                return False
            self._match()
            return True

    def _match(self, has_new_depth: bool = True) -> None:
        """Publish the points of the masks whose depth is here; drop the masks whose depth cannot
        come any more, since a later one has come after the mask. One that was here before may have
        a wrong stamp."""
        if not self._depths or self._source.missing():
            return
        for mask in tuple(self._waiting):
            stamp, tolerance = nanoseconds(mask.header.stamp), self._settings.tolerance
            nearest, depth = self._nearest(stamp)
            if abs(nearest - stamp) <= tolerance:
                self._publish(mask, depth)
            elif has_new_depth and self._depths[-1][0] > stamp + tolerance:
                self._drop_mask(mask)
            else:
                continue
            self._waiting.remove(mask)
            self._free.append(mask)

    def _nearest(self, stamp: int) -> tuple[int, Serialized]:
        return min(self._depths, key=lambda each: abs(each[0] - stamp))

    def _publish(self, mask: _Mask, depth: Serialized) -> None:
        try:
            if self._projector is None or self._projector.mask_size != mask.pixels.shape:
                self._projector = PointProjector(mask.pixels.shape, mask.pixels.dtype,
                                                 self._options)
                self._outgoing = _OutgoingPoints(self._projector, self._options.organized)
            assert self._outgoing is not None
            count = self._source.project(self._projector, depth, mask.header.frame_id,
                                         mask.pixels, mask.confidence)
            self._outgoing.publish(mask.header, count, self._publisher)
        except ImageError as error:
            self._drop(BAD_DEPTH, str(error))
        except Exception as error:  # of the middleware
            if self._node.context.ok():
                self._node.get_logger().error(f'points were not published: {error!r}',
                                              throttle_duration_sec=WARNING_PERIOD)
        else:
            self._published, self._newest_count = self._published + 1, count
            # With points_classes, the image may show none of these classes.
            if count or self._options.classes is not None:
                self.fault = ''
            else:
                self._empty += 1
                self._warn('no depth is valid and within points_range')

    def _drop_mask(self, mask: _Mask) -> None:
        """Count and log a mask whose depth or camera_info did not arrive."""
        if self._depths and (missing := self._source.missing()):
            self._drop(BAD_DEPTH, missing)
        else:
            self._drop(NO_DEPTH, self._unmatched(mask.header))

    def _drop(self, reason: str, why: str) -> None:
        self._dropped[reason] += 1
        self._warn(why)

    def _warn(self, why: str) -> None:
        self.fault = f'no points: {why}'
        self._node.get_logger().warning(self.fault, throttle_duration_sec=WARNING_PERIOD)

    def _unmatched(self, header: Header) -> str:
        """Return why a mask has no depth."""
        noun, topic = self._source.noun, self._source.messages.topic
        if not self._depths:
            return f'no {noun} on {topic}'
        stamp = nanoseconds(header.stamp)
        difference = abs(self._nearest(stamp)[0] - stamp)
        return (f'the nearest {noun} on {topic} is {difference / 1e9:.9f} s from the image; '
                f'points_tolerance is {self._settings.tolerance / 1e9:g} s')


class _OutgoingPoints:
    """A PointCloud2 with a reused buffer.

    Args:
        projector: of the points.
        organized: whether the message has the rows and columns of the projector.
    """

    def __init__(self, projector: PointProjector, organized: bool) -> None:
        self._projector, self._organized = projector, organized
        kind = projector.points.dtype
        height, width = projector.points.shape if organized else (1, projector.points.size)
        fields = [PointField(name=name, offset=kind.fields[name][1], count=1,
                             datatype=_TYPES[kind.fields[name][0]]) for name in kind.names]
        self._msg = PointCloud2(
            height=height, width=width, fields=fields, is_dense=not organized,
            is_bigendian=sys.byteorder == 'big', point_step=kind.itemsize,
            row_step=width * kind.itemsize)
        self._serialized = SerializedData(self._msg, projector.points.nbytes, tail=1)

    def publish(self, header: Header, count: int, publisher: Any) -> None:
        """Publish the points of the projector.

        Args:
            header: of the image.
            count: as returned by ``PointProjector.project``.
            publisher: of PointCloud2.
        """
        msg = self._msg
        if not self._organized or msg.header.frame_id != header.frame_id:
            msg.header.frame_id = header.frame_id
            msg.width = msg.width if self._organized else count
            msg.row_step = msg.width * msg.point_step
            self._serialized.describe(msg, msg.height * msg.row_step)
        self._projector.write(count, self._serialized.data)
        self._serialized.set_stamp(header.stamp.sec, header.stamp.nanosec)
        self._serialized.publish(publisher)


def _class_ids(names: tuple[str, ...], labels: tuple[str, ...]) -> tuple[int, ...] | None:
    """Return the ids of classes; None for no names, which keeps all pixels."""
    if unknown := [name for name in names if name not in labels]:
        raise ConfigError(f"points_classes has '{unknown[0]}', which is no class of the network; "
                          f'its classes are {", ".join(labels) or "not known"}')
    return tuple(labels.index(name) for name in names) or None
