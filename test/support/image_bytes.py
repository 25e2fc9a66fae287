# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Encoded images as people have them: with an orientation, with a header that lies, cut short."""

import struct
import zlib

import cv2
import numpy as np

WRITERS = {
    'JPEG': ('.jpg',), 'progressive JPEG': ('.jpg', cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    'PNG': ('.png',), 'BMP': ('.bmp',), 'WebP': ('.webp', cv2.IMWRITE_WEBP_QUALITY, 80),
    'lossless WebP': ('.webp', cv2.IMWRITE_WEBP_QUALITY, 101),
    'TIFF': ('.tiff', cv2.IMWRITE_TIFF_COMPRESSION, 1), 'LZW TIFF': ('.tiff',),
    'PPM': ('.ppm',), 'plain PPM': ('.ppm', cv2.IMWRITE_PXM_BINARY, 0),
}
"""Suffix and parameters of cv2.imencode, by what it writes."""


def encoded(kind, pixels):
    """Return uint8 or uint16 [H, W] or BGR [H, W, 3] as one of ``WRITERS`` writes it."""
    suffix, *parameters = WRITERS[kind]
    return cv2.imencode(suffix, pixels, parameters)[1].tobytes()


def png_chunk(kind, content):
    """Return a chunk of a PNG."""
    return struct.pack('>I', len(content)) + kind + content + struct.pack(
        '>I', zlib.crc32(kind + content))


def png_of(width, height, bits=8, color=2):
    """Return a PNG of one black row, whose header claims that size."""
    header = struct.pack('>IIBBBBB', width, height, bits, color, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + png_chunk(b'IHDR', header) + png_chunk(
        b'IDAT', zlib.compress(bytes(100))) + png_chunk(b'IEND', b'')


def jpeg_of(width, height):
    """Return a JPEG of 8x8 pixels whose header claims that size."""
    data = encoded('JPEG', np.zeros((8, 8, 3), np.uint8))
    at = data.index(b'\xff\xc0') + 5
    return data[:at] + struct.pack('>HH', height, width) + data[at + 4:]


def bmp_of(width, height):
    """Return the head of a BMP."""
    return struct.pack('<2sIIIIiiHHIIiiII', b'BM', 54, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0,
                       0, 0)


def webp_of(width, height):
    """Return the head of an extended WebP."""
    sides = (width - 1).to_bytes(3, 'little') + (height - 1).to_bytes(3, 'little')
    return b'RIFF' + struct.pack('<I', 22) + b'WEBPVP8X' + struct.pack('<II', 10, 0) + sides


def tiff_of(width, height, order='<', big=False, pixels=b'', **tags):
    """Return a TIFF of RGB with 8 bits, without compression; see ``TIFF_TAGS``. It lacks a tag
    whose value is None."""
    values = {'width': width, 'length': height, 'bits': 8, 'compression': 1, 'photometric': 2,
              'offset': 16, 'samples': 3, 'rows': height, 'bytes': len(pixels), **tags}
    values = {name: value for name, value in values.items() if value is not None}
    mark = b'II' if order == '<' else b'MM'
    count, size = ('Q', 8) if big else ('I', 4)
    start = struct.pack(f'{order}2sHHHQ', mark, 43, 8, 0, 16 + len(pixels)) if big else \
        struct.pack(f'{order}2sHI8x', mark, 42, 16 + len(pixels))
    fields = b''.join(
        struct.pack(f'{order}HH{count}', TIFF_TAGS[name], 3 if value < 2 ** 16 else 4, 1)
        + struct.pack(f'{order}H' if value < 2 ** 16 else f'{order}I', value).ljust(size, b'\0')
        for name, value in sorted(values.items(), key=lambda item: TIFF_TAGS[item[0]]))
    number = struct.pack(f'{order}Q' if big else f'{order}H', len(values))
    return start + pixels + number + fields + bytes(size)


TIFF_TAGS = {'subfile': 254, 'width': 256, 'length': 257, 'bits': 258, 'compression': 259,
             'photometric': 262, 'offset': 273, 'orientation': 274, 'samples': 277, 'rows': 278,
             'bytes': 279, 'planar': 284, 'tile_width': 322, 'tile_length': 323,
             'tile_offset': 324, 'tile_bytes': 325, 'sub_ifds': 330, 'extra': 338,
             'sample_format': 339}


def exif(orientation, order='>'):
    """Return Exif data with an orientation, as it begins behind 'Exif' and two zeros."""
    mark = b'MM' if order == '>' else b'II'
    return struct.pack(f'{order}2sHIHHHIHHI', mark, 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def turned(kind, pixels, orientation):
    """Return pixels in a file that asks for an orientation; kind is JPEG, PNG, WebP or TIFF."""
    height, width = pixels.shape[:2]
    if kind == 'TIFF':
        return tiff_of(width, height, pixels=pixels[..., ::-1].tobytes(), orientation=orientation)
    data = encoded('lossless WebP' if kind == 'WebP' else kind, pixels)
    tags = exif(orientation)
    if kind == 'JPEG':
        tags = b'Exif\0\0' + tags
        return data[:2] + b'\xff\xe1' + struct.pack('>H', len(tags) + 2) + tags + data[2:]
    if kind == 'PNG':
        return data[:33] + png_chunk(b'eXIf', tags) + data[33:]
    parts = webp_of(width, height)[12:] + data[12:] + b'EXIF' + struct.pack('<I', len(tags)) + tags
    parts = parts[:8] + b'\x08' + parts[9:]  # there is Exif
    return b'RIFF' + struct.pack('<I', len(parts) + 4) + b'WEBP' + parts
