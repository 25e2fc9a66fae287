# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Where ~/points takes its points from: registered depth images, or organized clouds."""

from collections.abc import Callable
from dataclasses import astuple
from typing import Any, Protocol

import numpy as np
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_msgs.msg import Header

from trt_segmentation.errors import ImageError
from trt_segmentation.images.points import DEPTH_ENCODINGS, Pinhole, PointProjector
from trt_segmentation.ros.camera_info import image_size_of, scaled_camera_info
from trt_segmentation.ros.cloud_msgs import ReceivedCloud, received_cloud
from trt_segmentation.ros.image_msgs import ReceivedImage, received_image
from trt_segmentation.ros.kept_messages import KeptMessages

KEPT = 8
"""Messages that wait for their mask: those of 0.27 s at 30 Hz."""

_INFO_QOS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=KEPT,
                       reliability=ReliabilityPolicy.BEST_EFFORT)

Serialized = bytes | np.ndarray
"""A serialized message; an array is uint8."""

_FLOATS: dict[int, np.dtype] = {
    PointField.FLOAT32: np.dtype(np.float32), PointField.FLOAT64: np.dtype(np.float64)}


class PointSource(Protocol):
    """Subscribes to messages from which the points of masks are computed.

    Attributes:
        noun: what a message is, for the log.
        messages: the subscription.
    """

    noun: str
    messages: KeptMessages

    def missing(self) -> str:
        """Return '' if messages can be used, else what has not arrived yet."""

    def close(self) -> None:
        """Unsubscribe."""

    def project(self, projector: PointProjector, data: Serialized, frame_id: str,
                mask: np.ndarray, confidence: np.ndarray | None) -> int:
        """Write the points of a mask; see ``PointProjector.project``.

        Args:
            projector: of the size of the mask.
            data: serialized message with the stamp of the mask.
            frame_id: of the image.
            mask, confidence: as ``PointProjector.project`` takes them.

        Raises:
            ImageError: the message cannot be used.
        """


class DepthImages:
    """The topics depth/image and depth/camera_info; a ``PointSource``.

    Args:
        node: that subscribes.
        prefix: of the topic names.
        on_message: called with each depth image; see ``KeptMessages``.
        on_ready: called when ``missing`` may have changed.
    """

    noun = 'depth image'

    def __init__(self, node: Any, prefix: str, on_message: Callable[[Any], bool],
                 on_ready: Callable[[], None]) -> None:
        self._node, self._on_ready = node, on_ready
        self._info: CameraInfo | None = None
        self.messages = KeptMessages(node, Image, f'{prefix}depth/image', on_message, KEPT)
        self._info_subscription = node.create_subscription(
            CameraInfo, f'{prefix}depth/camera_info', self._on_info, _INFO_QOS)

    def missing(self) -> str:
        """Return '' if a camera_info has arrived."""
        return '' if self._info else f'no camera_info on {self._info_subscription.topic_name}'

    def close(self) -> None:
        """Unsubscribe."""
        self.messages.destroy()
        self._node.destroy_subscription(self._info_subscription)

    def project(self, projector: PointProjector, data: Serialized, frame_id: str,
                mask: np.ndarray, confidence: np.ndarray | None) -> int:
        """Write the points of a mask; see ``PointSource``."""
        assert self._info is not None  # nothing is missing
        return projector.project(*read_depth(data, frame_id, self._info), mask, confidence)

    def _on_info(self, info: CameraInfo) -> None:
        self._info = info
        self._on_ready()


class Clouds:
    """The topic depth/points; a ``PointSource``.

    Args:
        node, prefix, on_message, on_ready: see ``DepthImages``.
    """

    noun = 'cloud'

    def __init__(self, node: Any, prefix: str, on_message: Callable[[Any], bool],
                 on_ready: Callable[[], None]) -> None:
        self.messages = KeptMessages(node, PointCloud2, f'{prefix}depth/points', on_message, KEPT)

    def missing(self) -> str:
        """Return '': a cloud needs no other message."""
        return ''

    def close(self) -> None:
        """Unsubscribe."""
        self.messages.destroy()

    def project(self, projector: PointProjector, data: Serialized, frame_id: str,
                mask: np.ndarray, confidence: np.ndarray | None) -> int:
        """Write the points of a mask; see ``PointSource``."""
        return projector.take(read_cloud(data, frame_id), mask, confidence)


POINT_SOURCES: dict[str, Callable[..., PointSource]] = {'depth': DepthImages, 'cloud': Clouds}
"""By the value of parameter ``points``."""


def read_depth(data: Serialized, frame_id: str, info: CameraInfo,
               ) -> tuple[np.ndarray, Pinhole]:
    """Return the pixels of a depth image, a view of the message [height, width], and its camera.

    Args:
        data: serialized sensor_msgs/Image.
        frame_id: that it must have.
        info: of the topic depth/camera_info.

    Raises:
        ImageError: the depth image or its camera cannot be used.
    """
    message = received_image(np.frombuffer(data, np.uint8))
    _check_frame(DepthImages.noun, message.header, frame_id)
    return _depth_pixels(message), _pinhole(info, message)


def read_cloud(data: Serialized, frame_id: str,
               ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x, y and z of an organized cloud, views of the message [height, width].

    They are float32 or float64; a copy only if the numbers are big-endian.

    Args:
        data: serialized sensor_msgs/PointCloud2.
        frame_id: that it must have.

    Raises:
        ImageError: the cloud cannot be used.
    """
    cloud = received_cloud(np.frombuffer(data, np.uint8))
    _check_frame(Clouds.noun, cloud.header, frame_id)
    return _coordinates_of(cloud)


def _check_frame(noun: str, header: Header, frame_id: str) -> None:
    if header.frame_id != frame_id:
        raise ImageError(f"the {noun} has frame_id '{header.frame_id}', but the image "
                         f"has '{frame_id}'; register the {noun} to the image")


def _depth_pixels(depth: ReceivedImage) -> np.ndarray:
    """Return the pixels of a depth image, a view [height, width].

    Raises:
        ImageError: encoding or size are not those of a depth image.
    """
    if depth.encoding not in DEPTH_ENCODINGS:
        raise ImageError(f"the depth image has encoding '{depth.encoding}'; it must be one of "
                         f'{", ".join(DEPTH_ENCODINGS)}')
    kind = np.dtype(DEPTH_ENCODINGS[depth.encoding]).newbyteorder('>' if depth.is_bigendian
                                                                  else '<')
    row = depth.width * kind.itemsize
    if depth.step < row or len(depth.data) != depth.step * depth.height or depth.step == 0:
        raise ImageError(f'the depth image is {depth.width}x{depth.height} {depth.encoding}, but '
                         f'it has {len(depth.data)} bytes and step {depth.step}')
    rows = depth.data.reshape(depth.height, depth.step)[:, :row]
    pixels = (rows if depth.step % kind.itemsize == 0 else rows.copy()).view(kind)
    return pixels.astype(kind.newbyteorder('=')) if depth.is_bigendian else pixels


def _pinhole(info: CameraInfo, depth: ReceivedImage) -> Pinhole:
    """Return the camera of a rectified depth image: of P, or of K if P is not set.

    Raises:
        ImageError: the camera is not calibrated, or its image has another size.
    """
    size = image_size_of(info)
    if size != (depth.height, depth.width):
        raise ImageError(f'depth/camera_info is of an image of {size[1]}x{size[0]}, but the depth '
                         f'image is {depth.width}x{depth.height}')
    if (info.height, info.width) != size:  # a region of interest, or binning
        info = scaled_camera_info(info, (depth.height, depth.width))
    matrix = info.p.reshape(3, 4) if info.p[0] > 0 else info.k.reshape(3, 3)
    camera = Pinhole(*(float(matrix[at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2))))
    if not (camera.fx > 0 and camera.fy > 0 and np.isfinite(astuple(camera)).all()):
        raise ImageError(f'depth/camera_info is not calibrated: {camera}; the focal lengths fx '
                         'and fy must be positive, and all values finite')
    return camera


def _coordinates_of(cloud: ReceivedCloud) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x, y and z of a cloud; see ``read_cloud``.

    Raises:
        ImageError: the cloud is not organized, has no such fields, or has another size than its
            data.
    """
    if cloud.height <= 1 or cloud.width == 0:
        raise ImageError(f'the cloud is not organized: it is {cloud.width}x{cloud.height}; it '
                         'must have the rows and columns of the image')
    if cloud.row_step < cloud.width * cloud.point_step \
            or len(cloud.data) != cloud.row_step * cloud.height:
        raise ImageError(
            f'the cloud is {cloud.width}x{cloud.height} with point_step {cloud.point_step} and '
            f'row_step {cloud.row_step}, but it has {len(cloud.data)} bytes')
    fields = {field.name: field for field in cloud.fields}
    return tuple(_field(cloud, fields, name) for name in 'xyz')  # type: ignore[return-value]


def _field(cloud: ReceivedCloud, fields: dict[str, PointField], name: str) -> np.ndarray:
    """Return the values of a field, a view [height, width]."""
    field = fields.get(name)
    if field is None:
        raise ImageError(f"the cloud has no field '{name}'; its fields are "
                         f'{", ".join(fields) or "none"}')
    kind = _FLOATS.get(field.datatype)
    if kind is None or field.count > 1:
        raise ImageError(f"field '{name}' of the cloud has datatype {field.datatype} and count "
                         f'{field.count}; it must be one FLOAT32 (7) or FLOAT64 (8)')
    if field.offset + kind.itemsize > cloud.point_step:
        raise ImageError(f"field '{name}' of the cloud ends at byte "
                         f'{field.offset + kind.itemsize} of a point, but point_step is '
                         f'{cloud.point_step}')
    values = np.ndarray((cloud.height, cloud.width), kind.newbyteorder(
        '>' if cloud.is_bigendian else '<'), cloud.data, field.offset,
        (cloud.row_step, cloud.point_step))
    return values.astype(kind) if cloud.is_bigendian else values
