# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Reading of image headers before decoding.

A header of a few hundred bytes can declare any size, and a decoder allocates memory for it.
OpenCV's own limits are environment variables, which it reads only once, when it is imported."""

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trt_segmentation.errors import ImageError
from trt_segmentation.images import tiff

MAX_SIDE = 16384
"""Maximum width and height, pixels; larger images are refused."""

IMAGE_SUFFIXES = ('.bmp', '.gif', '.jpeg', '.jpg', '.pbm', '.pgm', '.png', '.pnm', '.ppm', '.tif',
                  '.tiff', '.webp')
"""Suffixes of image files; they identify damaged files, which their content does not."""

REFUSED_SUFFIXES = ('.avif', '.exr', '.heic', '.heif', '.jls', '.jp2', '.jxl')
"""Suffixes of image formats that are refused, for the same purpose. Those that other kinds of
files have, too, such as .hdr, are left out."""

HEAD_LENGTH = 32
"""Number of bytes at the beginning of an image that identify its format."""

_READ_DEPTHS = 1, 2, 4, 8, 16
_MAX_VALUES = {255: 8, 65535: 16}
"""Bits by the highest value, for the Netpbm formats; OpenCV does not scale other values."""


@dataclass(frozen=True)
class ImageHeader:
    """The header of an encoded image.

    Attributes:
        format: its name, such as 'JPEG'.
        width, height: pixels as they are stored, 1 to ``MAX_SIDE``.
        bits: per channel: 1, 2, 4, 8 or 16; for a palette, bits of an index.
        is_gray: whether it has one channel, with or without alpha, and no palette.
        has_palette: whether pixels are indices; only detected in PNG and TIFF.
        has_alpha: whether it is a TIFF with an alpha channel that colours are not multiplied by
            (TIFF 6.0, section 18).
        is_baseline: whether it is a JPEG that every decoder reads to the same pixels: 8 bits,
            YCbCr, Huffman-coded, sequential, with the usual subsampling (4:4:4, 4:2:2, 4:2:0,
            4:4:0).
        orientation: of Exif, 1 to 8 (Exif 2.32, tag 0x0112); 1, upright, if there is none.
    """

    format: str
    width: int
    height: int
    bits: int = 8
    is_gray: bool = False
    has_palette: bool = False
    orientation: int = 1
    has_alpha: bool = False
    is_baseline: bool = False


def begins_as_image(head: bytes) -> bool:
    """Return whether data begins with the signature of a known image format, supported or not.

    Args:
        head: the first ``HEAD_LENGTH`` bytes, or all if there are fewer.
    """
    return any(signature.match(head) for signature, _, _ in _FORMATS)


def read_header(data: Any) -> ImageHeader:
    """Read the header of an encoded image.

    Args:
        data: bytes, or an object with the buffer protocol and items of one byte; the whole image,
            since some formats have their header at the end. It is not copied.

    Raises:
        ImageError: it is no image, several ones, or an animation; its format, compression or
            colour masks are not supported; its header is damaged or cut short; a side has no
            pixels, or more than ``MAX_SIDE``; its channels have another number of bits than 1, 2,
            4, 8 and 16; or its values are no brightness.
    """
    content = memoryview(data)
    for signature, name, parse in _FORMATS:
        if not signature.match(content):
            continue
        if parse is None:
            raise _not_supported(name)
        try:
            header = parse(content)
        except (tiff.DamagedError, struct.error) as error:
            raise ImageError(f'cannot be decoded: this {name} is damaged or cut short') from error
        if not header.width or not header.height:
            raise ImageError(f'{_size(header)} is an image without pixels')
        if max(header.width, header.height) > MAX_SIDE:
            raise ImageError(f'{_size(header)} is too large: a side has more than {MAX_SIDE} '
                             'pixels; scale it down')
        if header.bits not in _READ_DEPTHS:
            raise ImageError(f'has {header.bits} bits per channel; 8 bits are supported, and 16 '
                             'bits in colour images')
        return header
    raise ImageError('cannot be decoded: damaged, cut short, or of an unknown format; JPEG, PNG, '
                     'WebP, TIFF, BMP, GIF and Netpbm are supported')


def is_cut_jpeg(data: Any) -> bool:
    """Return whether data is a JPEG without its end.

    OpenCV 4 decodes such data and fills the missing part with grey; OpenCV 5 refuses it. The end
    is searched behind the first scan, since a thumbnail before it has its own end (ITU-T T.81,
    B.1.1: FF D8 begins the image, FF DA starts a scan, FF D9 ends the image).

    Args:
        data: bytes, or an object with the buffer protocol.
    """
    content = memoryview(data)
    if content[:2] != b'\xff\xd8':
        return False
    for marker, _, end in _jpeg_segments(content):
        if marker == _JPEG_SCAN:
            is_last = len(content) - 2 >= end and content[-2:] == _JPEG_END  # the usual case
            return not is_last and _END_OF_JPEG.search(content, end) is None
    return True


_ONE_IMAGE = 'give its images one by one, or a video'


def _not_supported(name: str) -> ImageError:
    return ImageError(f'is {name}, which is not supported; convert it to PNG or JPEG with 8 bits '
                      'per channel')


def _size(header: ImageHeader) -> str:
    return f'{header.width}x{header.height} ({header.format})'


# JPEG: ITU-T T.81 (ISO/IEC 10918-1), annex B ----------------------------------------------------

_JPEG_SCAN = 0xda
_JPEG_END = b'\xff\xd9'
_END_OF_JPEG = re.compile(_JPEG_END)
_JPEG_MARKER = re.compile(b'\xff[\x01-\xfe]')  # B.1.1.2: any number of FF may precede a marker
_JPEG_ALONE = {0x01, *range(0xd0, 0xd9)}  # markers without a segment: TEM, RSTn, SOI
_JPEG_FRAMES = {*range(0xc0, 0xd0)} - {0xc4, 0xc8, 0xcc}  # table B.1: SOFn without DHT, JPG, DAC
_JPEG_ARITHMETIC = 0xc9  # the first frame type that is not Huffman-coded
_JPEG_SEQUENTIAL = {0xc0, 0xc1}  # Huffman-coded
_JPEG_APP14, _ADOBE, _ADOBE_YCC = 0xee, b'Adobe', 1
_JPEG_LUMA, _JPEG_CHROMA = {0x11, 0x21, 0x12, 0x22}, 0x11  # sampling factors, B.2.2
_JPEG_MOST_PIXELS = 512
"""Most pixels per byte: a Huffman code has at least one bit (C.2), and 64 pixels have at least one
code (F.1.2, G.1.2).

OpenCV decodes a JPEG that declares more pixels, and fills the missing part with grey.
"""
_JPEG_APP1, _JPEG_APP2 = 0xe1, 0xe2
_EXIF = b'Exif\0\0'
_MPF = b'MPF\0'  # CIPA DC-007, Multi-Picture Format
_JPEG_NEXT = re.compile(b'\xff\xd9\xff\xd8\xff')  # the end of an image, and the next one's start
_JPEG_LS = 0xf7  # SOF55, ITU-T T.87, annex C


def check_one_jpeg(data: Any) -> None:
    """Check that a file is not a series of JPEGs, such as an .mjpeg file.

    All bytes are searched, which takes as long as copying them, so messages are not checked. Nor
    are photos, with Exif or Multi-Picture Format: cameras append previews to them.

    Args:
        data: as of ``read_header``.

    Raises:
        ImageError: another JPEG follows the first one.
    """
    content = memoryview(data)
    if content[:2] != b'\xff\xd8':
        return
    segments = list(_jpeg_segments(content))
    for marker, start, _ in segments:
        kind = bytes(content[start + 2:start + 8])
        if (marker == _JPEG_APP1 and kind == _EXIF) or (marker == _JPEG_APP2 and kind[:4] == _MPF):
            return
    found = _JPEG_NEXT.search(content, segments[-1][2] if segments else 2)
    following = _jpeg_segments(content[found.start() + 2:]) if found else ()
    if any(marker in _JPEG_FRAMES for marker, _, _ in following):
        raise ImageError(f'holds several JPEGs, one after the other; {_ONE_IMAGE}')


def _jpeg_segments(data: memoryview) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of each segment up to the first scan's header."""
    at = 2
    for _ in range(tiff.MAX_PARTS):
        found = _JPEG_MARKER.search(data, at)  # skips other bytes, as libjpeg does
        if found is None:
            return
        at = found.end()
        marker = data[at - 1]
        if marker in _JPEG_ALONE:
            continue
        if len(data) < at + 2 or marker == _JPEG_END[1]:
            return
        end = at + max(2, data[at] << 8 | data[at + 1])
        yield marker, at, end
        if marker == _JPEG_SCAN:
            return
        at = end


def _read_jpeg(data: memoryview) -> ImageHeader:
    orientation, is_ycc = 1, True
    for marker, start, end in _jpeg_segments(data):
        content = data[start + 2:end]
        if marker in _JPEG_FRAMES:  # B.2.2
            bits, height, width, channels = struct.unpack_from('>BHHB', data, start + 2)
            if marker < _JPEG_ARITHMETIC and max(width, height) <= MAX_SIDE \
                    and width * height > _JPEG_MOST_PIXELS * len(data):
                raise ImageError(f'cannot be decoded: {len(data)} bytes are too few for a JPEG of '
                                 f'{width}x{height}; it is damaged or cut short')
            return ImageHeader('JPEG', width, height, bits, channels == 1,
                               orientation=orientation,
                               is_baseline=is_ycc and marker in _JPEG_SEQUENTIAL and bits == 8
                               and _has_usual_components(content[6:]))
        if marker == _JPEG_LS:
            raise _not_supported('JPEG-LS')
        if marker == _JPEG_APP14 and content[:5] == _ADOBE:
            is_ycc = len(content) > 11 and content[11] == _ADOBE_YCC
        if marker == _JPEG_APP1 and content[:6] == _EXIF:
            orientation = _exif_orientation(content[6:])
    raise tiff.DamagedError


def _has_usual_components(components: memoryview) -> bool:
    """Whether a frame has Y, Cb and Cr: three bytes each, the second for its sampling."""
    if len(components) != 9 or bytes(components[::3]) != b'\x01\x02\x03':
        return False  # libjpeg takes the names 'RGB' for what they are
    luma, *chroma = components[1::3]
    return luma in _JPEG_LUMA and chroma == [_JPEG_CHROMA] * 2


# PNG: W3C, Portable Network Graphics, third edition ----------------------------------------------

_MAX_CHUNKS = 1_000_000  # libpng writes one for every 8 KB
_PNG_GRAY, _PNG_PALETTE = {0, 4}, 3  # colour types, 11.2.1


def _read_png(data: memoryview) -> ImageHeader:
    length, kind, width, height, bits, color = struct.unpack_from('>I4sIIBB', data, 8)
    if (length, kind) != (13, b'IHDR'):  # 5.6: it comes first
        raise tiff.DamagedError
    orientation = 1
    for kind, content in _png_chunks(data):
        if kind == b'eXIf':
            orientation = _exif_orientation(content)
        elif kind == b'acTL':
            raise ImageError(f'is an animated PNG; {_ONE_IMAGE}')
    return ImageHeader('PNG', width, height, bits, color in _PNG_GRAY, color == _PNG_PALETTE,
                       orientation)


def _png_chunks(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield type and content of each chunk after a check of its length: OpenCV 5 allocates the
    length that a chunk declares, up to 4 GB."""
    at = 8
    for _ in range(_MAX_CHUNKS):  # 5.3: length, type, content and checksum
        length, kind = struct.unpack_from('>I4s', data, at)
        at += 12 + length
        if at > len(data):
            break
        yield kind, data[at - 4 - length:at - 4]
        if kind == b'IEND':
            return
    raise tiff.DamagedError


# WebP: RFC 9649; its lossy frames: RFC 6386, section 9.1 -----------------------------------------

_VP8_START = b'\x9d\x01\x2a'
_VP8L_SIGNATURE = 0x2f
_WEBP_ANIMATION = 2  # a flag


def _read_webp(data: memoryview) -> ImageHeader:
    kind = bytes(data[12:16])
    if kind == b'VP8X':  # RFC 9649, 2.7
        width, height = (1 + int.from_bytes(data[at:at + 3], 'little') for at in (24, 27))
        if len(data) < 30:
            raise tiff.DamagedError
        if data[20] & _WEBP_ANIMATION:
            raise ImageError(f'is an animated WebP; {_ONE_IMAGE}')
        return ImageHeader('WebP', width, height, orientation=_webp_orientation(data))
    if kind == b'VP8L' and data[20:21] == bytes([_VP8L_SIGNATURE]):  # 3.4
        (sides,) = struct.unpack_from('<I', data, 21)
        return ImageHeader('WebP', (sides & 0x3fff) + 1, (sides >> 14 & 0x3fff) + 1)
    if kind == b'VP8 ' and data[23:26] == _VP8_START:
        width, height = struct.unpack_from('<HH', data, 26)
        return ImageHeader('WebP', width & 0x3fff, height & 0x3fff)
    raise tiff.DamagedError


def _webp_orientation(data: memoryview) -> int:
    at = 12
    # RFC 9649, 2.3: type, length, and data padded to an even length
    for _ in range(tiff.MAX_PARTS):
        if len(data) < at + 8:
            break
        kind, length = struct.unpack_from('<4sI', data, at)
        if kind == b'EXIF':
            exif = data[at + 8:at + 8 + length]
            return _exif_orientation(exif[6:] if exif[:6] == _EXIF else exif)
        at += 8 + length + length % 2
    return 1


# TIFF: TIFF 6.0 ----------------------------------------------------------------------------------

_PALETTE = 3  # of PhotometricInterpretation, section 5
_UNSIGNED, _UNDEFINED = 1, 4  # of SampleFormat, section 19
_UNASSOCIATED = 2  # of ExtraSamples, section 18


def _orientation_of(values: Mapping[int, int]) -> int:
    orientation = values.get(tiff.ORIENTATION, 1)
    return orientation if 1 <= orientation <= 8 else 1


def _exif_orientation(exif: memoryview) -> int:
    """Return the orientation in Exif data, a TIFF without an image; 1 if it is damaged."""
    try:
        return _orientation_of(tiff.first_values(exif))
    except (tiff.DamagedError, struct.error):
        return 1


def _read_tiff(data: memoryview) -> ImageHeader:
    values = tiff.first_values(data)
    if not {tiff.WIDTH, tiff.LENGTH} <= values.keys():
        raise tiff.DamagedError
    bits = values.get(tiff.BITS, 1)
    if bits > 16 or values.get(tiff.SAMPLE_FORMAT, _UNSIGNED) not in (_UNSIGNED, _UNDEFINED):
        raise ImageError(f'holds values of {bits} bits that are no brightness; {NO_PICTURE}')
    tile = max(values.get(tiff.TILE_WIDTH, 0), values.get(tiff.TILE_LENGTH, 0))  # section 15
    if tile > MAX_SIDE:
        raise ImageError(f'has tiles with a side of {tile} pixels; more than {MAX_SIDE} pixels '
                         'are not supported; write smaller tiles')
    if tiff.holds_several_images(data):
        raise ImageError(f'is a TIFF with several images; {_ONE_IMAGE}')
    _refuse_compression(values.get(tiff.COMPRESSION, 1))
    has_palette = values.get(tiff.PHOTOMETRIC) == _PALETTE
    is_gray = values.get(tiff.SAMPLES, 1) < 3 and not has_palette
    return ImageHeader('TIFF', values[tiff.WIDTH], values[tiff.LENGTH], bits, is_gray,
                       has_palette, _orientation_of(values),
                       values.get(tiff.EXTRA_SAMPLES) == _UNASSOCIATED)


def _refuse_compression(compression: int) -> None:
    if compression not in tiff.READ_COMPRESSIONS:
        name = tiff.COMPRESSION_NAMES.get(compression, 'an unknown one')
        raise ImageError(f'is a TIFF with compression {compression} ({name}), which is not '
                         'supported; save it without compression, or with LZW or Deflate')


NO_PICTURE = 'depth and other measured values cannot be segmented, only camera images'


# BMP: Microsoft, BITMAPCOREHEADER, BITMAPINFOHEADER and BITMAPV5HEADER ---------------------------

_CORE_HEADER, _INFO_HEADER = 12, 40  # bytes
_BITFIELDS = 3  # of biCompression: masks of red, green and blue follow the BITMAPINFOHEADER
_BMP_MASKS = {16: ((0x7c00, 0x3e0, 0x1f), (0xf800, 0x7e0, 0x1f)), 32: ((0xff0000, 0xff00, 0xff),)}
"""Masks that every OpenCV reads right, by bits per pixel; 4.5.4 takes all of 32 bits for these."""


def _read_bmp(data: memoryview) -> ImageHeader:
    (size,) = struct.unpack_from('<I', data, 14)
    width, height = struct.unpack_from('<HH' if size == _CORE_HEADER else '<ii', data, 18)
    if size >= _INFO_HEADER:
        bits, compression = struct.unpack_from('<HI', data, 28)
        if compression == _BITFIELDS and bits in _BMP_MASKS:
            _refuse_masks(size, bits, struct.unpack_from('<III', data, 54))
    return ImageHeader('BMP', abs(width), abs(height))  # a negative height means top row first


def _refuse_masks(size: int, bits: int, masks: tuple[int, ...]) -> None:
    """Refuse colour masks that an OpenCV ignores or, of 16 bits in a header of more than
    ``_INFO_HEADER`` bytes, looks for in the pixels (seen in 4.5.4 to 5.0)."""
    if masks not in _BMP_MASKS[bits] or (bits == 16 and size > _INFO_HEADER):
        names = ', '.join(f'{mask:#x}' for mask in masks)
        raise ImageError(f'is a BMP of {bits} bits per pixel with the colour masks {names} and a '
                         f'header of {size} bytes, which is not supported; save it with 24 bits '
                         'per pixel, or as PNG')


# GIF: CompuServe, Graphics Interchange Format 89a, section 18 ------------------------------------


def _read_gif(data: memoryview) -> ImageHeader:
    width, height = struct.unpack_from('<HH', data, 6)
    return ImageHeader('GIF', width, height)


# Netpbm: https://netpbm.sourceforge.net/doc, pages pbm, pgm and ppm -----------------------------

_NETPBM_HEAD = 4096  # bytes, including comments
_PNM = re.compile(rb'P[1-6]\s+[\d#]')
_PNM_BINARY = 4, 5, 6  # kinds of which a file may hold several
_PNM_GAP = rb'(?:\s|#[^\r\n]*[\r\n])*'
_PNM_NUMBER = re.compile(_PNM_GAP + rb'(\d{1,10})')


def _read_pnm(data: memoryview) -> ImageHeader:
    kind, numbers, at = data[1] - ord('0'), [], 2
    head = data[:_NETPBM_HEAD]
    is_bitmap = kind in (1, 4)
    for _ in range(2 if is_bitmap else 3):
        found = _PNM_NUMBER.match(head, at)
        if found is None:
            raise tiff.DamagedError
        numbers.append(int(found[1]))
        at = found.end()
    width, height = numbers[:2]
    bits = 1 if is_bitmap else _bits_of(numbers[2])
    row_size = (width * bits * (3 if kind == 6 else 1) + 7) // 8
    if kind in _PNM_BINARY and _PNM.match(data, min(at + 1 + row_size * height, len(data))):
        raise ImageError(f'holds several Netpbm images, one after the other; {_ONE_IMAGE}')
    return ImageHeader('Netpbm', width, height, bits, kind not in (3, 6))


def _bits_of(highest: int) -> int:
    """Return the number of bits per channel for a highest value."""
    if highest not in _MAX_VALUES:
        raise ImageError(f'is Netpbm with values up to {highest}; only 255 and 65535 are '
                         'supported; convert it to PNG')
    return _MAX_VALUES[highest]


_FORMATS: tuple[tuple[re.Pattern[bytes], str, Callable[[memoryview], ImageHeader] | None], ...] = (
    *((re.compile(signature, re.DOTALL), name, parse) for signature, name, parse in (
        (rb'\xff\xd8\xff', 'JPEG', _read_jpeg),
        (rb'\x89PNG\r\n\x1a\n', 'PNG', _read_png),
        (rb'RIFF.{4}WEBP', 'WebP', _read_webp),
        (rb'II[*+]\0|MM\0[*+]', 'TIFF', _read_tiff),
        (rb'BM.{12}[\x0c-\xff]\0\0\0', 'BMP', _read_bmp),
        (_PNM.pattern, 'Netpbm', _read_pnm),
        (rb'GIF8[79]a', 'GIF', _read_gif),
        # OpenCV swaps red and blue (4.5.4 to 5.0).
        (rb'P7[ \t\r]*\n', 'PAM', None),
        # The size of the following formats is only known after decoding.
        (rb'\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51', 'JPEG 2000', None),
        (rb'.{4}ftyp(?:avi[fs]|hei[cmsx]|hev[cx]|mif1|msf1)', 'AVIF or HEIC', None),
        (rb'\0\0\0\x0cJXL \r\n\x87\n|\xff\x0a', 'JPEG XL', None),
        (rb'v/1\x01', 'OpenEXR', None),
        (rb'#\?R(?:ADIANCE|GBE)', 'Radiance HDR', None),
        (rb'P[Ff]\s+[\d#]', 'PFM', None),
        (rb'\x59\xa6\x6a\x95', 'Sun raster', None),
    )),)
