# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The output topics of the node and their messages."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from trt_segmentation.backends.device_arrays import ON_GPU
from trt_segmentation.classes.mask_encoding import MONO8
from trt_segmentation.graph.pipeline.output_names import joined, kind_of, split
from trt_segmentation.graph.reading.resolve import ModelSpec
from trt_segmentation.images.encoding import encode_jpeg, encode_png
from trt_segmentation.ros import detections, label_info
from trt_segmentation.ros.camera_info import image_size_of, is_scaled, scaled_camera_info
from trt_segmentation.ros.class_shares import ClassShares
from trt_segmentation.ros.image_msgs import OutgoingImage
from trt_segmentation.ros.log_bridge import WARNING_PERIOD
from trt_segmentation.ros.points import Points, PointSettings
from trt_segmentation.segmenter import Segmenter

# A reliable publisher matches reliable and best-effort subscriptions. The depth allows for
# retransmissions.
OUTPUT_QOS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=5,
                        reliability=ReliabilityPolicy.RELIABLE)
LATCHED_QOS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1,
                         reliability=ReliabilityPolicy.RELIABLE,
                         durability=DurabilityPolicy.TRANSIENT_LOCAL)
CAMERA_INFO_QOS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1,
                             reliability=ReliabilityPolicy.BEST_EFFORT)

PNG_FORMAT = '{}; png compressed '
"""The format of compressed_image_transport, with the encoding. JPEG would change class ids."""

JPEG_FORMAT = 'bgr8; jpeg compressed bgr8'


class Outputs:
    """The output topics of one camera; only outputs with subscribers are computed.

    Masks are published at once. A separate thread publishes the other outputs, so that the next
    frame does not wait for them.

    Args:
        node: a LifecycleNode.
        segmenter: writes the messages.
        confidence: whether to advertise ~/confidence, if the network has confidence values.
        prefix: of the topic names: '' or the camera's name and a slash.
        points: of ~/points; None for no such topic.

    Attributes:
        jpeg_quality: of ~/overlay/compressed, 1 to 100.
        gpu_index: place of the camera's images in the batch, if the segmenter may encode overlays
            on the GPU; None if OpenCV encodes them on the CPU.
        class_shares: the topics ~/classes, which are computed from the masks.
        points: the topic ~/points, or None.

    Raises:
        ConfigError: see ``Points``.
    """

    def __init__(self, node: Any, segmenter: Segmenter, confidence: bool, prefix: str = '',
                 points: PointSettings | None = None) -> None:
        self.points = None if points is None else Points(node, segmenter, points, confidence,
                                                         prefix)
        self.jpeg_quality = 80
        self.gpu_index: int | None = None
        self._encodes_on_gpu = False
        self._on_gpu: tuple[str, ...] = ()
        self._node = node
        self._segmenter = segmenter
        self._images = {
            name: node.create_lifecycle_publisher(Image, f'~/{prefix}{name}', OUTPUT_QOS)
            for name in segmenter.available_outputs
            if kind_of(name) != 'detections' and (kind_of(name) != 'confidence' or confidence)}
        self._detections = self._create_detections(prefix)
        self._rows: dict[str, np.ndarray] = {}
        self._compressed = {
            name: node.create_lifecycle_publisher(CompressedImage, f'~/{prefix}{name}/compressed',
                                                  OUTPUT_QOS)
            for name in self._images if kind_of(name) in ('mask', 'overlay')}
        self.class_shares = ClassShares(node, segmenter.spec, prefix, OUTPUT_QOS)
        self._outgoing: dict[str, OutgoingImage] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix='publish')
        self._unpublished: Future[None] | None = None
        self._camera_info: CameraInfo | None = None
        self._image_size = 0, 0
        self._camera_publisher: Any = None
        self._camera_subscription: Any = None
        if segmenter.spec.mask_size is not None:
            self._camera_publisher = node.create_lifecycle_publisher(
                CameraInfo, f'~/{prefix}camera_info', OUTPUT_QOS)
            self._camera_subscription = node.create_subscription(
                CameraInfo, f'{prefix}camera_info', self._on_camera_info, CAMERA_INFO_QOS)

    def fault(self, segmenter: Segmenter) -> str:
        """Return '' if another segmenter has the same output topics, else the difference."""
        if self.points is not None and (fault := self.points.class_fault(segmenter)):
            return fault
        ours, theirs = _describe(self._segmenter), _describe(segmenter)
        return '' if ours == theirs else (
            f'the new network has {theirs}, but the running one has {ours}; deactivate, clean up, '
            'configure and activate the node to change the outputs')

    def switch_segmenter(self, segmenter: Segmenter) -> None:
        """Continue with a segmenter that has no ``fault``, after all results of the previous one
        are published."""
        self.finish()
        self._segmenter = segmenter
        if self.points is not None:
            self.points.switch_segmenter(segmenter)

    def subscribed(self) -> tuple[str, ...]:
        """Return the outputs that have subscribers, or that the points need."""
        needed = () if self.points is None else self.points.needed()
        return tuple(name for name, publisher in (*self._images.items(),
                                                  *self._detections.items())
                     if _is_read(publisher) or self._is_compressed(name)
                     or self.class_shares.is_subscribed(name) or name in needed)

    def buffers(self, size: tuple[int, int], names: tuple[str, ...]) -> Mapping[str, Any]:
        """Return the reused buffers of the output messages for images of ``size`` (height,
        width), after their previous contents are published; ``ON_GPU`` for an overlay that is only
        encoded there."""
        self.finish()
        self._image_size = size
        overlays = [name for name in names if kind_of(name) == 'overlay']
        self._encodes_on_gpu = self.gpu_index is not None \
            and any(map(self._is_compressed, overlays)) and self._segmenter.encodes_jpeg
        self._on_gpu = tuple(name for name in overlays if not _is_read(self._images[name])) \
            if self._encodes_on_gpu else ()
        for name in names:
            if name in self._on_gpu:
                continue
            if name in self._detections:
                self._rows[name] = self._rows_for(name)
                continue
            height, width = self._segmenter.output_shape(name, size)[:2]
            if name not in self._outgoing \
                    or self._outgoing[name].pixels.shape[:2] != (height, width):
                self._outgoing[name] = OutgoingImage(self._encoding(name), height, width)
        return {name: self._rows[name] if name in self._detections else
                ON_GPU if name in self._on_gpu else self._outgoing[name].pixels for name in names}

    def publish(self, header: Any, names: tuple[str, ...]) -> None:
        """Publish the contents of ``buffers``: masks at once, the other outputs by the end of
        ``finish``."""
        masks = [name for name in names if kind_of(name) == 'mask']
        for name in masks:
            self._publish_image(name, header)
        works = [partial(self._publish_detections if name in self._detections else
                         self._publish_image, name, header)
                 for name in names if name not in masks and name not in self._on_gpu
                 and (name in self._detections or _is_read(self._images[name]))]
        works += [partial(self._publish_compressed, name, header) for name in names
                  if self._is_compressed(name)]
        works += [partial(self._publish_shares, name, header) for name in masks
                  if self.class_shares.is_subscribed(name)]
        mask_size = self._segmenter.spec.mask_size
        if mask_size is not None and self._camera_info is not None \
                and _is_read(self._camera_publisher):
            works.append(partial(self._publish_camera_info, header, self._camera_info, mask_size))
        if self.points is not None and self.points.is_possible(names):
            works.append(partial(self._offer_points, self.points, header))
        if works:
            self._unpublished = self._thread.submit(self._attempt, works)

    def finish(self) -> None:
        """Wait until all outputs are published."""
        if self._unpublished is not None:
            self._unpublished.result()
            self._unpublished = None

    def close(self) -> None:
        """Destroy the topics."""
        self._thread.shutdown()
        for publisher in (*self._images.values(), *self._compressed.values(),
                          *self._detections.values(), *self.class_shares.publishers.values(),
                          self._camera_publisher):
            if publisher is not None:
                _destroy(self._node, publisher)
        if self._camera_subscription is not None:
            self._node.destroy_subscription(self._camera_subscription)
        if self.points is not None:
            self.points.close()
        self._images.clear()
        self._detections.clear()
        self._outgoing.clear()

    def _create_detections(self, prefix: str) -> dict[str, Any]:
        """Create the topics of the detections, if vision_msgs is installed."""
        names = [name for name in self._segmenter.available_outputs
                 if kind_of(name) == 'detections']
        if names and detections.Detection2DArray is None:
            self._node.get_logger().warning(detections.MISSING)
            return {}
        return {name: self._node.create_lifecycle_publisher(
            detections.Detection2DArray, f'~/{prefix}{name}', OUTPUT_QOS) for name in names}

    def _rows_for(self, name: str) -> np.ndarray:
        """Return the reused array of detections."""
        shape, rows = self._segmenter.output_shape(name, (0, 0)), self._rows.get(name)
        return rows if rows is not None and rows.shape == shape else \
            np.empty(shape, self._segmenter.output_dtype(name))

    def _publish_detections(self, name: str, header: Any) -> None:
        labels = next(task.labels for task in self._segmenter.spec.tasks
                      if task.name == split(name)[0])
        self._detections[name].publish(
            detections.detections_message(header, self._rows[name], labels))

    def _encoding(self, name: str) -> str:
        return {'mask': self._segmenter.spec.encoding.name, 'confidence': 'mono8',
                'overlay': 'bgr8', 'instances': 'mono16'}[kind_of(name)]

    def _is_compressed(self, name: str) -> bool:
        """Whether the compressed topic of an output has subscribers."""
        return name in self._compressed and _is_read(self._compressed[name])

    def _attempt(self, works: Sequence[Callable[[], None]]) -> None:
        """Run each; an error is logged and does not stop the others."""
        for work in works:
            try:
                work()
            except Exception as error:
                if self._node.context.ok():  # otherwise a signal has shut down ROS
                    self._node.get_logger().error(f'not published: {error!r}',
                                                  throttle_duration_sec=WARNING_PERIOD)

    def _publish_image(self, name: str, header: Any) -> None:
        self._outgoing[name].publish(header, self._images[name])

    def _publish_compressed(self, name: str, header: Any) -> None:
        if kind_of(name) == 'mask':
            data = encode_png(self._outgoing[name].pixels)
            encoding = PNG_FORMAT.format(self._encoding(name))
        else:
            data, encoding = self._jpeg_of(name), JPEG_FORMAT
        msg = CompressedImage(header=header, format=encoding)
        msg.data.frombytes(data)
        self._compressed[name].publish(msg)

    def _jpeg_of(self, name: str) -> bytes:
        if self._encodes_on_gpu and self.gpu_index is not None:
            return self._segmenter.encode_jpeg(name, self.jpeg_quality, self.gpu_index)
        return encode_jpeg(self._outgoing[name].pixels, self.jpeg_quality)

    def _offer_points(self, points: Points, header: Any) -> None:
        # Read here: publishing an image can replace its pixels by a copy.
        points.offer(header, {name: self._outgoing[name].pixels for name in points.outputs})

    def _publish_shares(self, name: str, header: Any) -> None:
        self.class_shares.publish(name, self._outgoing[name].pixels, header,
                                  self._segmenter.spec)

    def _publish_camera_info(self, header: Any, camera_info: CameraInfo,
                             mask_size: tuple[int, int]) -> None:
        if not is_scaled(camera_info, self._image_size):
            height, width = image_size_of(camera_info)
            self._node.get_logger().warning(
                f'{self._camera_publisher.topic_name} is not published: camera_info is of an '
                f'image of {width}x{height}, but the image is '
                f'{self._image_size[1]}x{self._image_size[0]}; publish that of the image',
                throttle_duration_sec=WARNING_PERIOD)
            return
        info = scaled_camera_info(camera_info, mask_size)
        info.header = header
        self._camera_publisher.publish(info)

    def _on_camera_info(self, info: CameraInfo) -> None:
        if info.width and info.height:
            self._camera_info = info


class Labels:
    """The topics ~/label_info, one for each task, if vision_msgs is installed.

    Args:
        node: a LifecycleNode.
        spec: of the network with these tasks.
    """

    def __init__(self, node: Any, spec: ModelSpec) -> None:
        self._node = node
        self._publishers: dict[str, Any] = {}
        if label_info.LabelInfo is None:
            node.get_logger().warning(label_info.MISSING)
        else:
            self._publishers = {task.name: node.create_lifecycle_publisher(
                label_info.LabelInfo, f'~/{joined(task.name, "label_info")}', LATCHED_QOS)
                for task in spec.tasks}

    def publish(self, spec: ModelSpec, unlabelled: str) -> None:
        """Publish the class names; the topics are latched.

        Args:
            spec: of a network with the same tasks.
            unlabelled: name of the id that means no class; '' to leave the id out.
        """
        stamp = self._node.get_clock().now().to_msg()
        no_class = (spec.encoding.unlabelled, unlabelled) if unlabelled else None
        for task in spec.tasks:
            if task.name in self._publishers:
                self._publishers[task.name].publish(label_info.label_info_message(
                    stamp, task.labels, task.threshold, no_class))

    def close(self) -> None:
        """Destroy the topics."""
        for publisher in self._publishers.values():
            _destroy(self._node, publisher)


def _is_read(publisher: Any) -> bool:
    return publisher.get_subscription_count() > 0


def _destroy(node: Any, publisher: Any) -> None:
    node.destroy_lifecycle_publisher(publisher)


def _describe(segmenter: Segmenter) -> str:
    spec, outputs = segmenter.spec, ', '.join(segmenter.available_outputs)
    mask = [spec.encoding.name] if spec.encoding != MONO8 else []
    if spec.mask_size is not None:
        mask.append(f'{spec.mask_size[1]}x{spec.mask_size[0]}')
    return f'{outputs} with masks of {", ".join(mask)}' if mask else outputs
