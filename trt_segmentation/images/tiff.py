# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The structure of a TIFF: its pages, fields and strips.

Sources: TIFF 6.0 (Adobe, 1992), section 2; BigTIFF: libtiff, "The BigTIFF File Format"."""

import struct
import zlib
from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import Any

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
ORIENTATION, SAMPLES, TILE_WIDTH, TILE_LENGTH, EXTRA_SAMPLES = 274, 277, 322, 323, 338
SAMPLE_FORMAT = 339
_SUBFILE, _ROWS, _PLANES = 254, 278, 284  # NewSubfileType, RowsPerStrip, PlanarConfiguration
_SUB_IFDS = 330  # Adobe PageMaker 6.0 TIFF Technical Notes: pages below a page
_STRIPS, _TILES = (273, 279), (324, 325)  # offsets and byte counts, sections 8 and 15
_HEADER_TAGS = {WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION, SAMPLES, TILE_WIDTH,
                TILE_LENGTH, EXTRA_SAMPLES, SAMPLE_FORMAT, _ROWS, _PLANES}
_TYPES = {1: 'B', 3: 'H', 4: 'I', 16: 'Q'}  # BYTE, SHORT, LONG, LONG8

MAX_PARTS = 10_000
"""Maximum number of segments, chunks or fields of a header that are read. A phone's depth map in
a JPEG has a few hundred segments."""

_MAX_PAGES = 100
"""Maximum number of pages that are looked at; a pyramid has one for each halving of its sides."""

_PART = 1 << 24
"""Number of bytes of Deflate's output that are in memory at a time."""

_NOT_COMPRESSED, _DEFLATE = 1, (8, 32946)
READ_COMPRESSIONS = {_NOT_COMPRESSED, 2, 3, 4, 5, 7, *_DEFLATE, 32773}
"""Values of Compression that every OpenCV decodes (seen in 4.5.4 to 5.0): none, CCITT (sections 10
and 11), LZW (13), JPEG (TIFF Technical Note 2), Deflate (Adobe Photoshop TIFF Technical Notes) and
PackBits (9). Of many others, OpenCV gives black pixels and no error."""

COMPRESSION_NAMES = {
    6: 'old-style JPEG', 32809: 'ThunderScan', 34661: 'JBIG', 34712: 'JPEG 2000', 34887: 'LERC',
    34892: 'lossy JPEG of DNG', 34925: 'LZMA', 34926: 'Zstandard', 34927: 'WebP', 34933: 'PNG',
    50000: 'Zstandard', 50001: 'WebP', 50002: 'JPEG XL', 52546: 'JPEG XL'}
"""Names of other values, of libtiff's tiff.h, tifffile, and DNG 1.7."""

_YCBCR = 6  # of PhotometricInterpretation, section 21: its strips are subsampled
_SEPARATE = 2  # of PlanarConfiguration: one plane for each sample
_REDUCED_OR_MASK = 1 | 4  # bits 0 and 2 of NewSubfileType
_NEUTRAL = {ORIENTATION: 1, EXTRA_SAMPLES: 0}
"""Values for upright, and for a sample without a meaning."""


class DamagedError(Exception):
    """Data that violates the specification of its format."""


@dataclass(frozen=True)
class _Form:
    """The byte order and integer sizes of a TIFF.

    Attributes:
        order: struct's character for the byte order.
        count: struct's character for a field's number of values and for an offset.
        fields: struct's character for the number of fields.
        first: position of the offset of the first page.
        field, value: size of a field in bytes, and the position of the value in it.
    """

    order: str
    count: str = 'I'
    fields: str = 'H'
    first: int = 4
    field: int = 12
    value: int = 8


@dataclass(frozen=True)
class _Strip:
    """A strip or tile.

    Attributes:
        start: its position in the file.
        stored: number of bytes in the file.
        size: number of bytes of its pixels; 0 if they are subsampled.
    """

    start: int
    stored: int
    size: int


def first_values(data: memoryview) -> dict[int, int]:
    """Return the first value of each field of the first page whose tag is a constant of this
    module.

    Raises:
        DamagedError, struct.error: the page is damaged or cut short.
    """
    form = _form_of(data)
    return {tag: values[0] for tag, values in
            _values(data, form, _first_page(data, form), _HEADER_TAGS, 1).items()}


def holds_several_images(data: memoryview) -> bool:
    """Return whether a TIFF has another page than its image, reduced copies of it, and masks; or
    begins with a reduced copy, whose image is another page or in SubIFDs, as in raw formats.

    Raises:
        DamagedError, struct.error: a page is damaged or cut short.
    """
    form = _form_of(data)
    pages = list(_pages(data, form))
    if not pages:
        raise DamagedError
    if _is_image(data, form, pages[0]):
        return any(_is_image(data, form, page) for page in pages[1:])
    return len(pages) > 1 or any(True for _ in _fields(data, form, pages[0], {_SUB_IFDS}))


def has_damaged_strips(data: Any) -> bool:
    """Return whether a strip or tile of the first page is missing, lies outside of the file, has
    too few bytes, or is damaged Deflate. OpenCV gives black pixels for these.

    Args:
        data: a TIFF whose header was read by ``read_header``.
    """
    content = memoryview(data)
    try:
        values = first_values(content)
        strips = _strips(content, values)
    except (DamagedError, struct.error):
        return True
    compression = values.get(COMPRESSION, _NOT_COMPRESSED)
    return not all(_is_whole(content, strip, compression, len(strips) == 1) for strip in strips)


def as_stored(data: Any) -> bytearray:
    """Return a copy of a TIFF whose pixels OpenCV gives as they are stored: upright, and with
    colours that it does not multiply by alpha.

    OpenCV rotates the pixels of a TIFF even with IMREAD_IGNORE_ORIENTATION, and multiplies colours
    of 8 bits by alpha (seen in 4.5.4 to 5.0).

    Args:
        data: a TIFF whose header was read by ``read_header``.
    """
    changed = bytearray(data)
    content = memoryview(changed)
    form = _form_of(content)
    for tag, at in _fields(content, form, _first_page(content, form), _NEUTRAL.keys()):
        struct.pack_into(f'{form.order}HH{form.count}', changed, at, tag, 3, 1)
        struct.pack_into(f'{form.order}HH', changed, at + form.value, _NEUTRAL[tag], 0)
    return changed


def _form_of(data: memoryview) -> _Form:
    order = '<' if data[:2] == b'II' else '>'
    (version,) = struct.unpack_from(f'{order}H', data, 2)
    if version == 43:
        return _Form(order, 'Q', 'Q', 8, 20, 12)
    return _Form(order)


def _first_page(data: memoryview, form: _Form) -> int:
    (at,) = struct.unpack_from(form.order + form.count, data, form.first)
    return min(at, len(data))


def _pages(data: memoryview, form: _Form) -> Iterator[int]:
    """Yield the positions of the pages; a chain that runs back to one of them ends there."""
    at, seen = _first_page(data, form), set[int]()
    while at and at not in seen and len(seen) < _MAX_PAGES:
        yield at
        seen.add(at)
        (count,) = struct.unpack_from(form.order + form.fields, data, at)
        end = at + struct.calcsize(form.order + form.fields) + count * form.field
        if end == len(data):  # written without the last zero; libtiff accepts it
            return
        (at,) = struct.unpack_from(form.order + form.count, data, min(end, len(data)))
        at = min(at, len(data))


def _is_image(data: memoryview, form: _Form, page: int) -> bool:
    """Whether a page is neither a reduced copy nor a mask of another."""
    (kind,) = _values(data, form, page, {_SUBFILE}, 1).get(_SUBFILE, (0,))
    return not kind & _REDUCED_OR_MASK


def _fields(data: memoryview, form: _Form, page: int, tags: Set[int]) -> Iterator[tuple[int, int]]:
    """Yield tag and position of the fields of a page that have one of the tags."""
    (count,) = struct.unpack_from(form.order + form.fields, data, page)
    at = page + struct.calcsize(form.order + form.fields)
    tag_format = struct.Struct(f'{form.order}H')
    for _ in range(min(count, MAX_PARTS)):
        (tag,) = tag_format.unpack_from(data, at)
        if tag in tags:
            yield tag, at
        at += form.field


def _values(data: memoryview, form: _Form, page: int, tags: Set[int], most: int,
            ) -> dict[int, tuple[int, ...]]:
    """Return the values of fields by tag, at least one and at most ``most`` of each field."""
    found: dict[int, tuple[int, ...]] = {}
    for tag, at in _fields(data, form, page, tags):
        kind, count = struct.unpack_from(f'{form.order}H{form.count}', data, at + 2)
        if kind not in _TYPES or not count:
            raise DamagedError
        place = at + form.value
        if struct.calcsize(form.order + _TYPES[kind]) * count > form.field - form.value:
            (place,) = struct.unpack_from(form.order + form.count, data, place)
        values = struct.unpack_from(f'{form.order}{min(count, most)}{_TYPES[kind]}', data,
                                    min(place, len(data)))
        found.setdefault(tag, values)  # the first of two, as libtiff does
    return found


def _strips(data: memoryview, values: dict[int, int]) -> list[_Strip]:
    """Return the strips or tiles of the first page; all that it has to have."""
    width, height = values[WIDTH], values[LENGTH]
    is_tiled = TILE_WIDTH in values
    columns = values[TILE_WIDTH] if is_tiled else width
    rows = values.get(TILE_LENGTH, 0) if is_tiled else min(values.get(_ROWS, height), height)
    samples = values.get(SAMPLES, 1)
    planes = samples if values.get(_PLANES) == _SEPARATE else 1
    if not (columns and rows and samples):
        raise DamagedError
    across, down = -(-width // columns), -(-height // rows)
    row_size = (columns * values.get(BITS, 1) * (samples // planes) + 7) // 8
    if values.get(PHOTOMETRIC) == _YCBCR:
        row_size = 0
    last_rows = rows if is_tiled else height - (down - 1) * rows
    starts, stored = _places(data, _TILES if is_tiled else _STRIPS, across * down * planes)
    return [_Strip(start, length, row_size * (
                last_rows if index // across % down == down - 1 else rows))
            for index, (start, length) in enumerate(zip(starts, stored, strict=True))]


def _places(data: memoryview, tags: tuple[int, int], number: int,
            ) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return positions and lengths of that many strips; the length of a single one may be 0."""
    form = _form_of(data)
    found = _values(data, form, _first_page(data, form), set(tags), number)
    starts, stored = (found.get(tag, ()) for tag in tags)
    if number == 1 and not stored:
        stored = (0,)
    if min(len(starts), len(stored)) < number:
        raise DamagedError
    return starts, stored


def _is_whole(data: memoryview, strip: _Strip, compression: int, is_single: bool) -> bool:
    """Whether libtiff finds all bytes of a strip; it corrects the length of a single one that is
    not compressed, or has no length."""
    left = len(data) - strip.start
    if compression == _NOT_COMPRESSED:
        return (strip.size or strip.stored or 1) <= left and (
            is_single or strip.size <= strip.stored <= left)
    stored = strip.stored or (left if is_single else 0)
    if not 0 < stored <= left:
        return False
    return compression not in _DEFLATE or _inflates(
        data[strip.start:strip.start + stored], strip.size)


def _inflates(compressed: memoryview | bytes, size: int) -> bool:
    """Whether Deflate data gives at least that many bytes, and those that its checksum states
    (RFC 1950)."""
    inflater, found = zlib.decompressobj(), 0
    try:
        while found <= size and not inflater.eof:  # one byte more, to come to the checksum
            part = inflater.decompress(compressed, min(_PART, size + 1 - found))
            if not part:
                break
            found += len(part)
            compressed = inflater.unconsumed_tail
    except zlib.error:
        return False
    return found >= size
