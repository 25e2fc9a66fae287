# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Labelled points from a mask and a depth image, with the pinhole model of a rectified camera, or
from a mask and an organized cloud."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from trt_segmentation.errors import ImageError

DEPTH_ENCODINGS = {'16UC1': np.uint16, '32FC1': np.float32}
"""Of REP 118: uint16 in millimetres, of which 0 is invalid, and float32 in metres."""

_MILLIMETRES = np.float32(1000)
_SMALLEST = np.finfo(np.float32).tiny

_BLOCK = 2**15
"""Points of a cloud that are taken at a time: they stay in the cache of a core."""


@dataclass(frozen=True)
class Pinhole:
    """A rectified pinhole camera: focal lengths and principal point in pixels, where the centre
    of the first pixel is (0, 0)."""

    fx: float
    fy: float
    cx: float
    cy: float


@dataclass(frozen=True)
class PointOptions:
    """Which points are computed.

    Attributes:
        stride: every stride-th row and column of the mask is used, from the first.
        near, far: range of valid depths in metres, inclusive.
        organized: keep rows and columns, and write NaN for missing points; otherwise leave the
            missing points out.
        classes: ids of the classes that are kept; None keeps all pixels.
        confidence: whether the points have a field ``confidence``.
        colors: uint8 RGB [classes, 3] for a field ``rgb``; None for no such field.
    """

    stride: int = 1
    near: float = 0.0
    far: float = 100.0
    organized: bool = True
    classes: tuple[int, ...] | None = None
    confidence: bool = False
    colors: np.ndarray | None = None


def point_type(mask_type: Any, options: PointOptions) -> np.dtype:
    """Return the type of a point.

    x, y and z are float32 metres, ``class_id`` is uint8 or uint16 as in the mask, ``confidence``
    is uint8 (255 is certain), and ``rgb`` is the float32 of PCL, whose bits are 0x00RRGGBB. A
    point has 16 bytes, or 20 with ``rgb``.
    """
    fields: list[tuple[str, Any, int]] = [
        ('x', np.float32, 0), ('y', np.float32, 4), ('z', np.float32, 8),
        ('class_id', mask_type, 12)]
    if options.confidence:
        fields.append(('confidence', np.uint8, 14))
    if options.colors is not None:
        fields.append(('rgb', np.float32, 16))
    names, formats, offsets = zip(*fields, strict=True)
    layout: Any = {'names': names, 'formats': formats, 'offsets': offsets,
                   'itemsize': 16 if options.colors is None else 20}
    return np.dtype(layout)


class PointProjector:
    """Computes the points of masks of one size, in reused buffers.

    Args:
        mask_size: height and width in pixels.
        mask_type: uint8 or uint16.
        options: which points.

    Attributes:
        mask_size: as given.
        points: [rows, columns] of ``point_type``, one for each mask pixel that the stride keeps.
    """

    def __init__(self, mask_size: tuple[int, int], mask_type: Any, options: PointOptions) -> None:
        self._options, self.mask_size = options, mask_size
        height, width = (-(-extent // options.stride) for extent in mask_size)
        self.points = np.zeros((height, width), point_type(mask_type, options))
        self._z = np.empty((height, width), np.float32)
        self._is_kept = np.empty((height, width), bool)
        self._scratch = np.empty((height, width), bool)
        self._block = np.empty((4, max(1, _BLOCK // width), width), np.float32)
        self._resized: list[np.ndarray | None] = [None, None, None]
        self._colors = np.zeros((height, width), np.uint32)
        ids = np.arange(np.iinfo(mask_type).max + 1)
        self._is_selected = None if options.classes is None else np.isin(ids, options.classes)
        self._color_of = None if options.colors is None else _packed(options.colors, len(ids))
        self._camera: tuple[Pinhole, tuple[int, int]] | None = None

    def take(self, coordinates: tuple[np.ndarray, np.ndarray, np.ndarray], mask: np.ndarray,
             confidence: np.ndarray | None = None) -> int:
        """Write ``points`` with the coordinates of an organized cloud.

        Missing points are NaN: those with a coordinate that is not finite, out of range, or of
        another class.

        Args:
            coordinates: x, y and z, float32 or float64 metres [height, width], in the optical
                frame of the mask's image. Their size is that of the mask, or an integer multiple
                or fraction of it; the nearest point of the cloud is used.
            mask, confidence: see ``project``.

        Returns:
            The number of points that are not missing.

        Raises:
            ImageError: the size of the cloud does not fit that of the mask.
        """
        _checked_ratio('cloud', coordinates[0].shape, self.mask_size)
        mask = self._strided(mask)
        sampled = [self._sampled(values, axis) for axis, values in enumerate(coordinates)]
        step = self._block.shape[1]
        with np.errstate(over='ignore', invalid='ignore'):  # float64 beyond float32 is infinite
            for start in range(0, len(mask), step):
                self._take_rows(sampled, mask, slice(start, start + step))
        return self._label(mask, confidence)

    def project(self, depth: np.ndarray, camera: Pinhole, mask: np.ndarray,
                confidence: np.ndarray | None = None) -> int:
        """Write ``points``.

        Missing points are NaN: without a valid depth, out of range, or of another class.

        Args:
            depth: uint16 millimetres or float32 metres [height, width], registered to the image
                of the mask. Its size is that of the mask, or an integer multiple or fraction of
                it; the nearest depth pixel is used.
            camera: of the depth image.
            mask: uint8 or uint16 [height, width], class ids.
            confidence: uint8 like the mask; needed if the points have this field.

        Returns:
            The number of points that are not missing.

        Raises:
            ImageError: the size of the depth image does not fit that of the mask.
        """
        self._set_camera(camera, depth.shape[:2])
        depth, mask = self._sampled(depth), self._strided(mask)
        if depth.dtype.kind == 'u':
            np.divide(depth, _MILLIMETRES, out=self._z, dtype=np.float32)
        else:
            np.copyto(self._z, depth)
        self._find_kept(self._z, mask, self._is_kept, self._scratch)
        np.logical_not(self._is_kept, out=self._scratch)
        np.copyto(self._z, np.nan, where=self._scratch)
        points = self.points
        points['z'] = self._z
        np.multiply(self._z, self._x_of_columns, out=points['x'])
        np.multiply(self._z, self._y_of_rows, out=points['y'])
        return self._label(mask, confidence)

    def write(self, count: int, out: np.ndarray) -> None:
        """Copy the points.

        Args:
            count: as returned by ``project``.
            out: uint8, the size of all points if organized, else of ``count`` points.
        """
        size = self.points.dtype.itemsize
        words = self.points.reshape(-1).view(np.uint32).reshape(-1, size // 4)
        target = out.view(np.uint32).reshape(-1, size // 4)
        if self._options.organized:
            np.copyto(target, words)
        else:
            np.compress(self._is_kept.reshape(-1), words, axis=0, out=target)

    def _strided(self, mask: np.ndarray) -> np.ndarray:
        stride = self._options.stride
        return mask[::stride, ::stride]

    def _label(self, mask: np.ndarray, confidence: np.ndarray | None) -> int:
        """Write class, confidence and colour; return the number of points that are kept."""
        points = self.points
        points['class_id'] = mask
        if self._options.confidence and confidence is not None:
            points['confidence'] = self._strided(confidence)
        if self._color_of is not None:
            np.take(self._color_of, mask, out=self._colors, mode='clip')
            points['rgb'] = self._colors.view(np.float32)
        return int(np.count_nonzero(self._is_kept))

    def _take_rows(self, coordinates: Sequence[np.ndarray], mask: np.ndarray, rows: slice,
                   ) -> None:
        """Write some rows of the points of a cloud."""
        mask, kept, scratch = mask[rows], self._is_kept[rows], self._scratch[rows]
        *xyz, gap = self._block[:, :len(mask)]
        for axis, values in zip(xyz, coordinates, strict=True):
            np.copyto(axis, values[rows], casting='same_kind')
        self._find_kept(xyz[2], mask, kept, scratch)
        for axis in xyz[:2]:
            np.isfinite(axis, out=scratch)
            kept &= scratch
        np.logical_not(kept, out=scratch)
        gap.fill(0)
        np.copyto(gap, np.nan, where=scratch)
        for name, axis in zip('xyz', xyz, strict=True):
            np.add(axis, gap, out=self.points[name][rows])

    def _find_kept(self, z: np.ndarray, mask: np.ndarray, kept: np.ndarray, scratch: np.ndarray,
                   ) -> None:
        """Write into ``kept`` the pixels of the wanted classes with a depth in range; NaN is never
        in range."""
        options = self._options
        np.greater_equal(z, np.float32(max(options.near, _SMALLEST)), out=kept)
        np.less_equal(z, np.float32(options.far), out=scratch)
        kept &= scratch
        if self._is_selected is not None:
            np.take(self._is_selected, mask, out=scratch, mode='clip')
            kept &= scratch

    def _set_camera(self, camera: Pinhole, depth_size: tuple[int, int]) -> None:
        """Compute x / z of each column and y / z of each row, if the camera has changed."""
        if self._camera == (camera, depth_size):
            return
        height, width = _checked_ratio('depth image', depth_size, self.mask_size)
        stride = self._options.stride
        columns = _coordinates(self.mask_size[1], width)[::stride]
        rows = _coordinates(self.mask_size[0], height)[::stride]
        self._x_of_columns = ((columns - camera.cx) / camera.fx).astype(np.float32)[None, :]
        self._y_of_rows = ((rows - camera.cy) / camera.fy).astype(np.float32)[:, None]
        self._camera = camera, depth_size

    def _sampled(self, depth: np.ndarray, axis: int = 0) -> np.ndarray:
        """Return the value of each point, of the nearest depth pixel or point of the cloud; those
        of different axes of a cloud can be used at the same time."""
        (height, width), stride = self.mask_size, self._options.stride
        ratio = depth.shape[0] // height
        if ratio:
            return depth[ratio // 2::ratio * stride, ratio // 2::ratio * stride]
        resized = self._resized[axis]
        if resized is None or resized.dtype != depth.dtype:
            resized = self._resized[axis] = np.empty((height, width), depth.dtype)
        cv2.resize(depth, (width, height), dst=resized, interpolation=cv2.INTER_NEAREST)
        return resized[::stride, ::stride]


def _checked_ratio(noun: str, depth_size: Sequence[int], mask_size: Sequence[int],
                   ) -> tuple[float, float]:
    """Return depth pixels for each mask pixel, vertically and horizontally, which are equal."""
    (height, width), (mask_height, mask_width) = depth_size, mask_size
    fits = min(height, width) > 0 and height * mask_width == width * mask_height and (
        height % mask_height == width % mask_width == 0
        or mask_height % height == mask_width % width == 0)
    if not fits:
        raise ImageError(f'the {noun} is {width}x{height}, but the mask is '
                         f'{mask_width}x{mask_height}; the size must be that of the mask, or an '
                         'integer multiple or fraction of it')
    return height / mask_height, width / mask_width


def _coordinates(extent: int, ratio: float) -> np.ndarray:
    """Return where the mask pixels of an axis are in the depth image: the depth pixel that is
    used if that image is larger, else the centre of the mask pixel."""
    if ratio >= 1:
        return np.arange(extent) * ratio + ratio // 2
    return (np.arange(extent) + 0.5) * ratio - 0.5


def _packed(colors: np.ndarray, count: int) -> np.ndarray:
    """Return 0x00RRGGBB of each id; ids without a colour are black."""
    packed = np.zeros(count, np.uint32)
    red, green, blue = colors.astype(np.uint32).T
    packed[:len(colors)] = red << 16 | green << 8 | blue
    return packed
