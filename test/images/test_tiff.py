# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""TIFFs of which OpenCV gives black pixels without an error are refused."""

import struct
import zlib

import numpy as np
import pytest

from trt_segmentation.errors import ImageError
from trt_segmentation.images import tiff
from trt_segmentation.images.decoding import decode_image
from trt_segmentation.images.header import read_header

PIXELS = np.random.default_rng(0).integers(1, 256, (16, 24, 3), np.uint8)
RGB = PIXELS[..., ::-1].tobytes()
DAMAGED = 'a: cannot be decoded: this TIFF is damaged or cut short'


@pytest.fixture
def tiff_of(image_bytes):
    """Function that returns a TIFF of 24x16 pixels, with these tags and strips."""
    def make(pixels=RGB, **tags):
        return image_bytes.tiff_of(**{'width': 24, 'height': 16, 'pixels': pixels} | tags)
    return make


@pytest.mark.parametrize(('compression', 'strip'), [
    (1, RGB), (8, zlib.compress(RGB)), (32946, zlib.compress(RGB)),
    (32773, b''.join(b'\x47' + RGB[at:at + 72] for at in range(0, len(RGB), 72)))])  # section 9
def test_compressions_of_colours_are_read(tiff_of, compression, strip):
    np.testing.assert_array_equal(decode_image(tiff_of(strip, compression=compression), 'a'),
                                  PIXELS)


def test_lzw_and_jpeg_are_read(tiff_of, image_bytes):
    np.testing.assert_array_equal(decode_image(image_bytes.encoded('LZW TIFF', PIXELS), 'a'),
                                  PIXELS)
    gray = np.full((16, 24), 77, np.uint8)
    data = tiff_of(image_bytes.encoded('JPEG', gray), compression=7, samples=1, photometric=1)
    np.testing.assert_array_equal(decode_image(data, 'a')[..., 0], gray)


@pytest.mark.parametrize(('compression', 'row'), [
    (2, '00110101 0000001111 0000110111 0'), (4, '001 00110101 0000001111 0000110111')],
    ids=['T.4', 'T.6'])
def test_ccitt_is_read(image_bytes, compression, row):
    """0 white pixels, 64 and 0 black ones (T.4, tables 2 and 3), for T.6 behind the code of its
    horizontal mode (table 1)."""
    bits = row.replace(' ', '')
    coded = int(bits.ljust(32, '0'), 2).to_bytes(4, 'big')
    data = image_bytes.tiff_of(64, 1, pixels=coded, compression=compression, bits=1, samples=1,
                               photometric=0)
    np.testing.assert_array_equal(decode_image(data, 'a'), np.zeros((1, 64, 3)))


@pytest.mark.parametrize(('compression', 'name'), [
    (6, 'old-style JPEG'), (34712, 'JPEG 2000'), (34887, 'LERC'), (34892, 'lossy JPEG of DNG'),
    (34925, 'LZMA'), (34926, 'Zstandard'), (34933, 'PNG'), (50000, 'Zstandard'), (50001, 'WebP'),
    (50002, 'JPEG XL'), (34718, 'an unknown one'), (65535, 'an unknown one')])
def test_other_compressions_are_refused_by_name(tiff_of, compression, name):
    with pytest.raises(ImageError, match=rf'is a TIFF with compression {compression} \({name}\)'):
        decode_image(tiff_of(compression=compression), 'a')


def strips_of(tiff_of, starts, sizes, pixels=RGB, *, fields=(273, 279), **tags):
    """Return a TIFF whose fields for places and sizes of strips have several values."""
    tables = np.array([*starts, *sizes], '<u4').tobytes()
    data = bytearray(tiff_of(pixels + tables, **tags))
    for place, tag in enumerate(fields):
        at = 16 + len(pixels) + 4 * len(starts) * place
        field = data.rindex(tag.to_bytes(2, 'little') + b'\3\0\1\0\0\0')
        data[field + 2:field + 12] = b'\4\0' + np.array([len(starts), at], '<u4').tobytes()
    return bytes(data)


SIZE = len(RGB)
PLANES = np.moveaxis(PIXELS[..., ::-1], 2, 0).tobytes()
WHOLE = {
    'two strips': {'starts': (16, 16 + SIZE // 2), 'sizes': (SIZE // 2,) * 2, 'rows': 8},
    'a short last strip': {'starts': (16, 16 + 72 * 10), 'sizes': (720, 432), 'rows': 10},
    'planes': {'starts': (16, 400, 784), 'sizes': (384,) * 3, 'pixels': PLANES, 'planar': 2}}


@pytest.mark.parametrize('layout', WHOLE.values(), ids=WHOLE)
def test_whole_strips_are_read(tiff_of, layout):
    np.testing.assert_array_equal(decode_image(strips_of(tiff_of, **layout), 'a'), PIXELS)


@pytest.mark.parametrize('change', [
    {'starts': (16, 10 ** 6)}, {'sizes': (SIZE // 2, SIZE // 4)}, {'sizes': (SIZE // 2, 0)},
    {'starts': (16, 16 + SIZE)}, {'rows': 4}, {'starts': (16, 10 ** 6), 'compression': 32773},
    {'sizes': (SIZE // 2, 10 ** 6), 'compression': 32773}])
def test_a_strip_that_is_missing_or_short_or_outside_of_the_file_is_refused(tiff_of, change):
    data = strips_of(tiff_of, **WHOLE['two strips'] | change)
    with pytest.raises(ImageError, match=DAMAGED):
        decode_image(data, 'a')


def test_planes_that_are_cut_are_refused(tiff_of):
    data = strips_of(tiff_of, **WHOLE['planes'] | {'starts': (16, 400, 10 ** 5)})
    with pytest.raises(ImageError, match=DAMAGED):
        decode_image(data, 'a')


def test_a_tile_outside_of_the_file_is_refused(tiff_of):
    left, right = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8)
    tiles = {'pixels': left.tobytes() + right.tobytes(), 'sizes': (3072, 3072), 'width': 64,
             'height': 32, 'tile_width': 32, 'tile_length': 32, 'tile_offset': 16,
             'tile_bytes': 3072, 'offset': None, 'bytes': None, 'rows': None,
             'fields': (324, 325)}
    whole = decode_image(strips_of(tiff_of, (16, 16 + 3072), **tiles), 'a')
    np.testing.assert_array_equal(whole[..., ::-1], np.hstack([left, right]))
    with pytest.raises(ImageError, match=DAMAGED):
        decode_image(strips_of(tiff_of, (16, 60_000), **tiles), 'a')


def test_the_length_of_a_single_strip_may_be_wrong_or_missing(tiff_of):
    for data in (tiff_of(bytes=0), tiff_of(bytes=60_000)):
        np.testing.assert_array_equal(decode_image(data, 'a'), PIXELS)


@pytest.mark.parametrize('damage', [
    lambda whole: zlib.compress(RGB[:len(RGB) // 2]), lambda whole: whole[:len(whole) // 2],
    lambda whole: whole[:200] + bytes(50) + whole[250:], lambda whole: bytes(len(whole)),
    lambda whole: whole[:-1] + bytes([whole[-1] ^ 1])],
    ids=['too little', 'cut', 'zeros inside', 'zeros', 'checksum'])
def test_damaged_deflate_is_refused(tiff_of, damage):
    with pytest.raises(ImageError, match=DAMAGED):
        decode_image(tiff_of(damage(zlib.compress(RGB)), compression=8), 'a')


def test_deflate_is_checked_in_parts(tiff_of, monkeypatch):
    monkeypatch.setattr(tiff, '_PART', 100)
    strip = zlib.compress(RGB)
    assert not tiff.has_damaged_strips(tiff_of(strip, compression=8))
    assert not tiff.has_damaged_strips(tiff_of(zlib.compress(RGB + b'more'), compression=8))
    assert tiff.has_damaged_strips(tiff_of(strip[:-1] + b'\0', compression=8))


def pages_of(image_bytes, kinds, order='<', big=False, **tags):
    """Return a TIFF with a page for each value of NewSubfileType."""
    data = b''
    for kind in kinds:
        page = image_bytes.tiff_of(24, 16, order, big, RGB, subfile=kind, **tags)
        if data:  # the page's fields keep their distance from the start of their own file
            shift, number = len(data), 'Q' if big else 'I'
            (first,) = struct.unpack_from(order + number, page, 8 if big else 4)
            end = len(data) - struct.calcsize(number)
            data = data[:end] + struct.pack(order + number, shift + first) + page
        else:
            data = page
    return data


@pytest.mark.parametrize(('order', 'big'), [('<', False), ('>', False), ('<', True)])
@pytest.mark.parametrize('kinds', [
    (0, 0), (None, None), (0, 1, 0), (2, 2), (1, 0), (1, 1), (4, 0)])
def test_several_pages_are_refused(image_bytes, kinds, order, big):
    with pytest.raises(ImageError, match='is a TIFF with several images; give its images one by'):
        read_header(pages_of(image_bytes, kinds, order, big))


@pytest.mark.parametrize(('order', 'big'), [('<', False), ('>', False), ('<', True)])
@pytest.mark.parametrize('kinds', [(0,), (1,), (None, 1), (0, 1, 1, 5, 4)])
def test_reduced_pages_and_masks_behind_an_image_are_left_out(image_bytes, kinds, order, big):
    assert read_header(pages_of(image_bytes, kinds, order, big)).width == 24


def test_a_reduced_image_above_the_full_one_is_refused(image_bytes):
    with pytest.raises(ImageError, match='several images'):
        read_header(pages_of(image_bytes, (1,), sub_ifds=8))
    assert read_header(pages_of(image_bytes, (0,), sub_ifds=8)).width == 24


def test_chains_of_pages_end(image_bytes):
    page = image_bytes.tiff_of(24, 16, pixels=RGB)
    assert read_header(page[:-4]).width == 24  # without the end of the chain
    assert read_header(page[:-4] + page[4:8]).width == 24  # to itself
    with pytest.raises(ImageError, match='damaged or cut short'):
        read_header(page[:-4] + b'\xff' * 4)
