# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Decoding of image messages from ROS topics and rosbags, without a copy if the encoding allows
it. Messages are read by the names of their fields, so that ROS is not needed."""

import logging
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from trt_segmentation.errors import ImageError
from trt_segmentation.images.header import NO_PICTURE, is_cut_jpeg, read_header
from trt_segmentation.images.tiff import as_stored, has_damaged_strips

logger = logging.getLogger(__name__)


DecodeJpeg = Callable[[Any], Any]
"""See ``decode_image``."""


@dataclass(frozen=True)
class Encoding:
    """The conversion of an encoding of sensor_msgs to three 8-bit channels.

    Attributes:
        channels: values per pixel; for planar encodings, in the first plane.
        color: channel order of the result.
        conversion: OpenCV's colour conversion code; None if the bytes are used unchanged.
        itemsize: bytes per value.
        cell: width and height, in pixels, of a block that shares one chroma value. If the height
            is 2, the chroma plane follows the image; it has half as many rows of the same step.
    """

    channels: int
    color: str = 'bgr'
    conversion: int | None = None
    itemsize: int = 1
    cell: tuple[int, int] = (1, 1)

    @property
    def is_gray(self) -> bool:
        """Whether a pixel has one value, its brightness."""
        return self.conversion == cv2.COLOR_GRAY2BGR

    def rows(self, height: int) -> int:
        """Return how many rows of bytes an image has."""
        return height + height // 2 if self.cell[1] == 2 else height


# OpenCV names a Bayer pattern by its second row's second and third pixel, ROS by its first row's
# first two: rggb in ROS is BG in OpenCV. Heights and steps of nv12 and nv21 are those of the luma
# plane: sensor_msgs/image_encodings.hpp (getHeightScaling; ros2/common_interfaces#264), which
# refers to V4L2_PIX_FMT_NV12: the chroma plane follows directly, with the same width and padding.
ENCODINGS = {
    'bgr8': Encoding(3),
    '8UC3': Encoding(3),
    'rgb8': Encoding(3, 'rgb'),
    'bgra8': Encoding(4, 'bgr', cv2.COLOR_BGRA2BGR),
    '8UC4': Encoding(4, 'bgr', cv2.COLOR_BGRA2BGR),
    'rgba8': Encoding(4, 'bgr', cv2.COLOR_RGBA2BGR),
    'mono8': Encoding(1, 'bgr', cv2.COLOR_GRAY2BGR),
    '8UC1': Encoding(1, 'bgr', cv2.COLOR_GRAY2BGR),
    'mono16': Encoding(1, 'bgr', cv2.COLOR_GRAY2BGR, itemsize=2),
    'bayer_rggb8': Encoding(1, 'bgr', cv2.COLOR_BayerBG2BGR),
    'bayer_bggr8': Encoding(1, 'bgr', cv2.COLOR_BayerRG2BGR),
    'bayer_gbrg8': Encoding(1, 'bgr', cv2.COLOR_BayerGR2BGR),
    'bayer_grbg8': Encoding(1, 'bgr', cv2.COLOR_BayerGB2BGR),
    'bayer_rggb16': Encoding(1, 'bgr', cv2.COLOR_BayerBG2BGR, itemsize=2),
    'bayer_bggr16': Encoding(1, 'bgr', cv2.COLOR_BayerRG2BGR, itemsize=2),
    'bayer_gbrg16': Encoding(1, 'bgr', cv2.COLOR_BayerGR2BGR, itemsize=2),
    'bayer_grbg16': Encoding(1, 'bgr', cv2.COLOR_BayerGB2BGR, itemsize=2),
    'uyvy': Encoding(2, 'bgr', cv2.COLOR_YUV2BGR_UYVY, cell=(2, 1)),
    'yuv422': Encoding(2, 'bgr', cv2.COLOR_YUV2BGR_UYVY, cell=(2, 1)),
    'yuyv': Encoding(2, 'bgr', cv2.COLOR_YUV2BGR_YUY2, cell=(2, 1)),
    'yuv422_yuy2': Encoding(2, 'bgr', cv2.COLOR_YUV2BGR_YUY2, cell=(2, 1)),
    'nv12': Encoding(1, 'bgr', cv2.COLOR_YUV2BGR_NV12, cell=(2, 2)),
    'nv21': Encoding(1, 'bgr', cv2.COLOR_YUV2BGR_NV21, cell=(2, 2)),
}


# OpenCV's names of encodings for values that are no brightness (image_encodings.hpp): depth in
# millimetres (16UC1) or metres (32FC1, both REP 118), disparity, labels.
_MEASURED = re.compile(r'(8S|16U|16S|32S|32F|64F)C\d+')
_THERMAL = '16UC1'
"""The one of them that thermal cameras use, too; a network may be trained on such values."""


_SMALLEST_MOSAIC = 3
"""Pixels of a side; OpenCV converts a smaller Bayer mosaic to black pixels."""


def _encoding(name: str, gray_bits: int) -> Encoding | None:
    return ENCODINGS.get('mono16' if name == _THERMAL and gray_bits == 16 else name)


def _depth_hint(name: str, gray_bits: int) -> str:
    """A hint for a network of one channel that may have been trained on such values; else ''."""
    if name != _THERMAL or gray_bits != 8:
        return ''
    return '; if the network was trained on such values, write input.depth: 16 into its config'


class ImageDecoder:
    """Reads incoming messages; has a reused buffer for those that are converted.

    Args:
        decode_jpeg: as of ``decode_image``; it may be replaced between two messages.
    """

    def __init__(self, decode_jpeg: DecodeJpeg | None = None) -> None:
        self.decode_jpeg = decode_jpeg
        self._bgr = np.empty((0, 0, 3), np.uint8)
        self._bytes = np.empty((0, 0), np.uint8)

    def read(self, msg: Any, gray_bits: int = 0) -> tuple[np.ndarray, str]:
        """Return a message's pixels.

        Args:
            msg: a sensor_msgs/Image in one of ``ENCODINGS`` or in one that ``read_other`` reads,
                with or without row padding; or a sensor_msgs/CompressedImage that OpenCV decodes.
            gray_bits: of the ``ModelSpec`` that gets the pixels. If it is not 0, images of one
                channel keep one channel; if it is 16, 16UC1 is read as mono16.

        Returns:
            uint8 [height, width, 3], or with ``gray_bits`` also uint8 or uint16 [height, width];
            C-contiguous; and its channel order ('bgr', 'rgb'). The array is the message's data
            or the reused buffer, which is valid until the next call; or for a JPEG of three
            channels, what ``decode_jpeg`` returns.

        Raises:
            ImageError: the encoding is unknown; size, step and data do not match; or compressed
                data cannot be decoded.
        """
        if hasattr(msg, 'format'):  # a CompressedImage
            return _decode(msg, gray_bits, self.decode_jpeg)
        _check_size(msg)
        encoding = _encoding(msg.encoding, gray_bits)
        if encoding is None and _MEASURED.fullmatch(msg.encoding):
            raise ImageError(f'{_what(msg)}: {NO_PICTURE}{_depth_hint(msg.encoding, gray_bits)}')
        if encoding is None:
            return self.read_other(msg), 'bgr'
        rows = _rows(msg, encoding)
        if gray_bits and encoding.is_gray:
            pixels = self._read_gray(msg, rows, encoding)
            if pixels.dtype == np.uint16 and gray_bits == 8:
                _examine_range(_what(msg), pixels, _frames_of(msg))
            return pixels, encoding.color
        shape = (msg.height, msg.width, 3)
        if encoding.conversion is None and rows.flags.c_contiguous:
            return rows.reshape(shape), encoding.color
        if self._bgr.shape != shape:
            self._bgr = np.empty(shape, np.uint8)
        if encoding.conversion is None:
            np.copyto(self._bgr.reshape(rows.shape), rows)
        else:
            self._convert(msg, rows, encoding)
        return self._bgr, encoding.color

    def read_rows(self, msg: Any) -> np.ndarray:
        """Return the bytes of an image as they are, without row padding.

        Args:
            msg: a sensor_msgs/Image in one of ``ENCODINGS``.

        Returns:
            uint8 [rows, bytes per row], C-contiguous: the message's data, or without its padding
            in the reused buffer, which is valid until the next call.

        Raises:
            ImageError: size, step and data do not match.
        """
        _check_size(msg)
        rows = _rows(msg, ENCODINGS[msg.encoding])
        return rows if rows.flags.c_contiguous else self._copied(rows)

    def _copied(self, values: np.ndarray) -> np.ndarray:
        """Return a C-contiguous copy of uint8 [rows, columns], in the reused buffer."""
        if self._bytes.shape != values.shape:
            self._bytes = np.empty(values.shape, np.uint8)
        np.copyto(self._bytes, values)
        return self._bytes

    def _read_gray(self, msg: Any, rows: np.ndarray, encoding: Encoding) -> np.ndarray:
        if encoding.itemsize == 2 and msg.is_bigendian:
            rows = self._copied(rows)
            rows.view(np.uint16).byteswap(inplace=True)
        elif not rows.flags.c_contiguous:
            rows = self._copied(rows)
        return rows.view('<u2') if encoding.itemsize == 2 else rows

    def _convert(self, msg: Any, rows: np.ndarray, encoding: Encoding) -> None:
        if encoding.itemsize == 2:
            rows = self._copied(rows[:, (0 if msg.is_bigendian else 1)::2])
            _examine_range(_what(msg), rows, _frames_of(msg))
        if encoding.channels > 1:
            rows = np.lib.stride_tricks.as_strided(
                rows, (msg.height, msg.width, encoding.channels),
                (rows.strides[0], encoding.channels, 1))
        assert encoding.conversion is not None
        try:
            cv2.cvtColor(rows, encoding.conversion, dst=self._bgr)
        except cv2.error as error:
            raise ImageError(f'{_what(msg)}: cannot be converted ({error.err})') from error

    def read_other(self, msg: Any) -> np.ndarray:
        """Return the pixels of an encoding that is not in ``ENCODINGS``: uint8 BGR [H, W, 3]."""
        raise ImageError(f"encoding '{msg.encoding}' ({msg.width}x{msg.height}) cannot be "
                         f'segmented; known are {", ".join(ENCODINGS)}')


def decode_image(data: Any, what: str, *, gray: bool = False, mosaic: bool = False,
                 is_brightness: bool = False, gray_bits: int = 0, warned_as: str = 'all images',
                 decode_jpeg: DecodeJpeg | None = None) -> np.ndarray:
    """Decode an image of a file or a message.

    The size is read from the header before anything is decoded. An EXIF orientation is never
    applied, so that pixels of the mask match those of the camera, camera_info and labels. If
    there is one, a warning is logged.

    Args:
        data: bytes, or an object with the buffer protocol and items of one byte. It is not copied.
        what: name of the image in messages.
        gray: whether to decode to one channel.
        mosaic: whether it has to be a Bayer mosaic, which is decoded to its one channel.
        is_brightness: whether 16 bits in one channel are known to be brightness, not depth.
        gray_bits: of the ``ModelSpec`` that gets the image. If it is 16, the network was trained
            on 16 bits in one channel, and these are kept.
        warned_as: a warning about an orientation, or about 16 bits whose higher ones are not
            used, is logged once for each of these names, such as 'all files'.
        decode_jpeg: decodes JPEGs that pass all checks and are baseline, if no gray image is
            needed, to uint8 BGR [H, W, 3] in other memory, such as that of a GPU; where it
            returns None, OpenCV decodes.

    Returns:
        uint8 [H, W, 3], BGR, C-contiguous; [H, W] with ``gray`` or ``mosaic``. Images of 16 bits
        become their high bytes, or uint16 [H, W] if 16 bits are kept.

    Raises:
        ImageError: ``read_header`` refuses it; it has 16 bits in one channel that may not be
            brightness; a mosaic has colours; or the data is damaged or cut short.
    """
    try:
        header = read_header(data)
        if mosaic and not header.is_gray:
            raise ImageError('holds colours, but its format declares a Bayer mosaic, which has '
                             'one channel; name the encoding of the stored pixels behind '
                             "'compressed', such as bgr8")
        is_kept = header.bits == gray_bits == 16 and header.is_gray
        if header.bits == 16 and header.is_gray and not (is_brightness or is_kept):
            raise ImageError('holds 16 bits in one channel that may not be brightness (a message '
                             "declares brightness by format 'mono16; png compressed '); "
                             f'{NO_PICTURE}. Store brightness with 8 bits'
                             f'{_depth_hint(_THERMAL, gray_bits)}')
        if header.orientation != 1:
            _warn_of_orientation(what, header.orientation, warned_as)
        if header.has_alpha or (header.format == 'TIFF' and header.orientation != 1):
            data = as_stored(data)
        is_plane = gray or mosaic
        flags = cv2.IMREAD_GRAYSCALE if is_plane or is_kept else cv2.IMREAD_COLOR
        if header.bits == 16:
            flags |= cv2.IMREAD_ANYDEPTH
        if is_cut_jpeg(data):
            raise ImageError('cannot be decoded: this JPEG is cut short')
        if header.format == 'TIFF' and has_damaged_strips(data):
            raise ImageError('cannot be decoded: this TIFF is damaged or cut short')
        if decode_jpeg is not None and header.is_baseline and not (is_plane or gray_bits):
            found = decode_jpeg(data)
            if found is not None and found.shape == (header.height, header.width, 3):
                return found
        pixels = _decoded(np.frombuffer(data, np.uint8), flags)
        if pixels is None or pixels.shape[:2] != (header.height, header.width):
            raise ImageError(f'cannot be decoded: this {header.format} is damaged, cut short, or '
                             f'of a variant that OpenCV {cv2.__version__} does not read')
    except ImageError as error:
        raise ImageError(f'{what}: {error}') from error
    if is_kept or pixels.dtype == np.uint8:
        return pixels
    _examine_range(what, pixels, warned_as)
    return (pixels >> 8).astype(np.uint8)


def _decoded(data: np.ndarray, flags: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # OpenCV's own limits, or damaged data
        return None


_MAX_WARNINGS = 16
_warned: defaultdict[str, set[str]] = defaultdict(set)
"""The values of ``warned_as`` for which a warning was considered, by its subject."""


def _is_first(subject: str, warned_as: str) -> bool:
    """Return whether a subject comes up for the first time, for one of at most 16 names."""
    names = _warned[subject]
    if warned_as in names or len(names) >= _MAX_WARNINGS:
        return False
    names.add(warned_as)
    return True


def _warn_of_orientation(what: str, orientation: int, warned_as: str) -> None:
    if _is_first('orientation', warned_as):
        logger.warning('%s: its EXIF orientation %d is not applied: the mask matches the pixels '
                       'as they are stored. For an upright mask, rotate the image first, for '
                       'example with "mogrify -auto-orient". This warning is logged once for %s',
                       what, orientation, warned_as)


_BRIGHT = 2 ** 14
"""A value that cameras of 10, 12 and 14 bits do not reach, if they do not fill the 16 bits."""


def _examine_range(what: str, pixels: np.ndarray, warned_as: str) -> None:
    """Warn if the higher 8 bits, which the network gets, make an almost black image.

    Args:
        pixels: uint16, or their higher 8 bits as uint8; only those of the first image are
            examined.
    """
    if not _is_first('range', warned_as):
        return
    highest = int(pixels.max()) if pixels.dtype == np.uint16 else int(pixels.max()) << 8 | 0xff
    if highest < _BRIGHT:
        logger.warning('%s: none of its values is above %d of 65535, and the network gets the '
                       'higher 8 bits: an almost black image. If the camera has 10, 12 or 14 '
                       'bits, let its driver fill the 16 bits (shift the values left). This is '
                       'examined once for %s', what, highest, warned_as)


def _channel_order(what: str, kind: str, held: str, warned_as: str) -> str:
    """Return the order in which OpenCV gives the channels of a file: 'bgr' or 'rgb'.

    Args:
        kind: of the file, such as 'tiff'.
        held: the encoding that the file holds, as the message's format states it.
    """
    if not held.startswith('rgb'):
        return 'bgr'
    if 'tiff' in kind:  # which image_transport writes as it is
        return 'rgb'
    if _is_first('channels', warned_as):
        logger.warning('%s: its colours are taken as those of the file. If red and blue are '
                       'swapped, let the publisher store bgr8, as image_transport does. This '
                       'warning is logged once for %s', what, warned_as)
    return 'bgr'


def _decode(msg: Any, gray_bits: int, decode_jpeg: DecodeJpeg | None) -> tuple[np.ndarray, str]:
    """Decode a CompressedImage; see ``ImageDecoder.read``."""
    what = f"format '{msg.format}', {len(msg.data)} bytes"
    source, _, stored = msg.format.partition(';')
    encoding = _encoding(source, gray_bits)
    if 'compressedDepth' in msg.format or (encoding is None and _MEASURED.fullmatch(source)):
        raise ImageError(f'{what}: {NO_PICTURE}{_depth_hint(source, gray_bits)}')
    if not len(msg.data):
        raise ImageError(f'{what}: an image without data')
    # image_transport writes 'rgb8; jpeg compressed bgr8': the camera's encoding, the kind of the
    # file, and the encoding in it, which may be omitted if it is the camera's.
    kind, is_named, target = stored.rpartition('compressed')
    held = (target.strip() or source) if is_named else ''
    mosaic = ENCODINGS.get(held) if held.startswith('bayer_') else None
    is_gray = bool(gray_bits and encoding and encoding.is_gray)
    frames = _frames_of(msg)
    pixels = decode_image(msg.data, what, gray=is_gray, mosaic=mosaic is not None,
                          is_brightness=source.endswith('16'),
                          gray_bits=0 if mosaic else gray_bits, warned_as=frames,
                          decode_jpeg=decode_jpeg)
    if mosaic is not None and mosaic.conversion is not None:
        _check_mosaic(what, *pixels.shape)
        pixels = cv2.cvtColor(pixels, mosaic.conversion)
    return pixels, _channel_order(what, kind, held, frames)


def _frames_of(msg: Any) -> str:
    frame_id = msg.header.frame_id if hasattr(msg, 'header') else ''
    return f"the frames of '{frame_id}'"


def _what(msg: Any) -> str:
    return f"encoding '{msg.encoding}', {msg.width}x{msg.height}"


def _check_size(msg: Any) -> None:
    if msg.width == 0 or msg.height == 0:
        raise ImageError(f'{_what(msg)}: an image without pixels')


def _check_mosaic(what: str, height: int, width: int) -> None:
    if min(height, width) < _SMALLEST_MOSAIC:
        raise ImageError(f'{what}: a Bayer mosaic of {width}x{height} is too small, it must have '
                         f'at least {_SMALLEST_MOSAIC}x{_SMALLEST_MOSAIC} pixels')


def _rows(msg: Any, encoding: Encoding) -> np.ndarray:
    """The message's rows as uint8 [rows, bytes of pixels], without padding."""
    row = msg.width * encoding.channels * encoding.itemsize
    if msg.step < row:
        raise ImageError(f'{_what(msg)}: step is {msg.step}, a row has {row} bytes')
    if msg.width % encoding.cell[0] or msg.height % encoding.cell[1]:
        sides = 'width and height' if encoding.cell[1] == 2 else 'the width'
        raise ImageError(f'{_what(msg)}: pixels share chroma values, {sides} must be even')
    if msg.encoding.startswith('bayer_'):
        _check_mosaic(_what(msg), msg.height, msg.width)
    rows = encoding.rows(msg.height)
    expected = msg.step * rows
    if len(msg.data) < expected:
        raise ImageError(f'{_what(msg)}: data has {len(msg.data)} bytes, step {msg.step} times '
                         f'{rows} rows makes {expected}')
    data = np.frombuffer(msg.data, np.uint8, expected)
    return data.reshape(rows, msg.step)[:, :row]


def rows_to_bgr(rows: np.ndarray, encoding: str) -> np.ndarray:
    """Convert the result of ``ImageDecoder.read_rows``.

    Args:
        rows: uint8 [rows, bytes per row].
        encoding: one of ``ENCODINGS`` that has 8 bits and a conversion.

    Returns:
        uint8 BGR [height, width, 3]; a new array.
    """
    known = ENCODINGS[encoding]
    assert known.conversion is not None
    shape = rows.shape if known.channels == 1 else (len(rows), -1, known.channels)
    return cv2.cvtColor(rows.reshape(shape), known.conversion)


def can_be_cut(encoding: str, x: int, y: int, width: int, height: int) -> bool:
    """Return whether ``cut_rows`` can cut a part out of images of an encoding.

    Pixels with a common chroma value must stay together. Bayer images are not cut, since the
    colours at the border of the part depend on pixels outside.

    Args:
        encoding: one of ``ENCODINGS``.
        x, y, width, height: column and row of the part's first pixel, and its size.
    """
    across, down = ENCODINGS[encoding].cell
    return not encoding.startswith('bayer_') and x % across == width % across == 0 \
        and y % down == height % down == 0


def cut_rows(rows: np.ndarray, encoding: str, x: int, y: int, out: np.ndarray) -> None:
    """Copy the bytes of a part of an image, for which ``can_be_cut`` is true.

    Args:
        rows: of ``ImageDecoder.read_rows``, of 8 bits; the image contains the part.
        encoding, x, y: as of ``can_be_cut``.
        out: uint8 [rows, bytes per row] of the part.
    """
    known = ENCODINGS[encoding]
    columns = np.s_[x * known.channels:x * known.channels + out.shape[1]]
    if known.cell[1] == 1:
        np.copyto(out, rows[y:y + len(out), columns])
        return
    luma, chroma = len(out) // 3 * 2, len(rows) // 3 * 2 + y // 2
    np.copyto(out[:luma], rows[y:y + luma, columns])
    np.copyto(out[luma:], rows[chroma:chroma + luma // 2, columns])


def swap_red_and_blue(pixels: np.ndarray) -> None:
    """Turn RGB pixels into BGR ones or back, in place: uint8 [height, width, 3]."""
    cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR, dst=pixels)
