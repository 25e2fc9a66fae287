# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Headers are read by their specification, and damaged or malicious ones are refused."""

import struct

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trt_segmentation.errors import ImageError
from trt_segmentation.images.decoding import decode_image
from trt_segmentation.images.header import (
    HEAD_LENGTH,
    MAX_SIDE,
    begins_as_image,
    check_one_jpeg,
    is_cut_jpeg,
    read_header,
)

KINDS = ('JPEG', 'progressive JPEG', 'PNG', 'BMP', 'WebP', 'lossless WebP', 'TIFF', 'LZW TIFF',
         'PPM', 'plain PPM')
PIXELS = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8),
                          (5, 5), 2)


@pytest.mark.parametrize('kind', KINDS)
def test_what_opencv_writes_is_read_with_its_size(image_bytes, kind):
    data = image_bytes.encoded(kind, PIXELS)
    header = read_header(data)
    assert header.format == kind.split()[-1].replace('PPM', 'Netpbm')
    assert (header.width, header.height, header.bits, header.orientation) == (30, 20, 8, 1)
    assert not header.is_gray
    assert begins_as_image(data[:HEAD_LENGTH])
    assert decode_image(np.frombuffer(data, np.uint8), 'a').shape == (20, 30, 3)


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'TIFF', 'LZW TIFF'])
def test_one_channel_is_grey(image_bytes, kind):
    assert read_header(image_bytes.encoded(kind, PIXELS[..., 0])).is_gray


@pytest.mark.parametrize('kind', ['PNG', 'TIFF', 'PPM'])
def test_16_bits_of_colour_give_their_high_bytes(image_bytes, kind):
    values = np.arange(20 * 30 * 3, dtype=np.uint16).reshape(20, 30, 3) * 36
    data = image_bytes.encoded(kind, values)
    assert read_header(data).bits == 16
    np.testing.assert_array_equal(decode_image(data, 'a'), values >> 8)


@pytest.mark.parametrize(('text', 'bits', 'is_gray'), [
    (b'P1\n# by hand\n3 2\n0 1 0\n1 1 1\n', 1, True), (b'P4 3 2 \xa0\x60', 1, True),
    (b'P2 3 2 255 1 2 3 4 5 6 ', 8, True), (b'P5\n3#wide\n2\r\n255\n123456', 8, True),
    (b'P5 3 2 65535 ' + bytes(12), 16, True)])
def test_netpbm_of_one_channel(text, bits, is_gray):
    header = read_header(text)
    assert (header.format, header.width, header.height) == ('Netpbm', 3, 2)
    assert (header.bits, header.is_gray) == (bits, is_gray)


@pytest.mark.parametrize('order', '<>')
@pytest.mark.parametrize('big', [False, True])
def test_tiff_of_either_byte_order_and_bigtiff(image_bytes, order, big):
    data = image_bytes.tiff_of(30, 20, order, big, PIXELS.tobytes(), orientation=5)
    header = read_header(data)
    assert (header.format, header.width, header.height, header.bits) == ('TIFF', 30, 20, 8)
    assert header.orientation == 5
    if big and cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is None:
        pytest.skip('this OpenCV reads no BigTIFF')
    np.testing.assert_array_equal(decode_image(data, 'a'), PIXELS[..., ::-1])


@pytest.mark.parametrize('order', '<>')
@pytest.mark.parametrize('extra', [0, 1, 2])
def test_the_fourth_channel_of_a_tiff_does_not_darken_the_colours(image_bytes, order, extra):
    infrared = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30) % 256
    data = image_bytes.tiff_of(
        30, 20, order, pixels=np.dstack([PIXELS, infrared.astype(np.uint8)]).tobytes(),
        samples=4, extra=extra)
    np.testing.assert_array_equal(decode_image(data, 'a'), PIXELS[..., ::-1])


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WebP', 'TIFF'])
def test_pixels_stay_as_they_are_stored(image_bytes, kind, orientation):
    data = image_bytes.turned(kind, PIXELS, orientation)
    assert read_header(data).orientation == orientation
    difference = decode_image(data, 'a').astype(int) - PIXELS
    assert np.abs(difference).mean() < (6 if kind == 'JPEG' else 1e-9)


def test_an_orientation_that_does_not_exist_is_none(image_bytes):
    assert read_header(image_bytes.turned('JPEG', PIXELS, 9)).orientation == 1
    data = image_bytes.turned('JPEG', PIXELS, 6)
    astray = data.replace(b'MM\0*\0\0\0\x08', b'MM\0*\xff\xff\xff\xff')
    assert astray != data
    assert read_header(astray).orientation == 1


LARGE = MAX_SIDE + 1
TOO_LARGE = {
    'JPEG': lambda make: make.jpeg_of(30000, 30000), 'PNG': lambda make: make.png_of(40000, 30000),
    'BMP': lambda make: make.bmp_of(8, -LARGE), 'WebP': lambda make: make.webp_of(LARGE, 8),
    'TIFF': lambda make: make.tiff_of(2 ** 31, 8), 'Netpbm': lambda make: b'P6 20000 100 255 ',
    'tiles': lambda make: make.tiff_of(8, 8, tile_width=LARGE, tile_length=16),
    'BigTIFF': lambda make: make.tiff_of(8, LARGE, big=True),
    'GIF': lambda make: b'GIF89a\xff\xff\x08\0\0\0\0'}


@pytest.mark.parametrize('make', TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_side_that_is_too_large_is_refused(image_bytes, make):
    with pytest.raises(ImageError, match='more than 16384 pixels'):
        read_header(make(image_bytes))


def test_a_jpeg_without_a_bit_for_each_block_is_refused(image_bytes):
    with pytest.raises(ImageError, match='bytes are too few for a JPEG of 16384x16384'):
        read_header(image_bytes.jpeg_of(MAX_SIDE, MAX_SIDE))
    one_colour = image_bytes.encoded('progressive JPEG', np.zeros((2000, 2000, 3), np.uint8))
    assert read_header(one_colour).width == 2000


def test_animations_are_refused(image_bytes):
    png, webp = image_bytes.png_of(8, 8), bytearray(image_bytes.webp_of(8, 8))
    webp[20] |= 2
    for data in (png[:33] + image_bytes.png_chunk(b'acTL', bytes(8)) + png[33:], webp):
        with pytest.raises(ImageError, match=r'is an animated (PNG|WebP); give its '):
            read_header(data)


def behind_soi(jpeg, marker, content):
    """Return a JPEG with a segment at its beginning."""
    head = struct.pack('>BBH', 0xff, marker, len(content) + 2)
    return jpeg[:2] + head + content + jpeg[2:]


def test_several_jpegs_are_refused(image_bytes):
    one, other = (image_bytes.encoded(kind, PIXELS) for kind in ('JPEG', 'progressive JPEG'))
    for data in (one + one, one + other, other + one + one):
        with pytest.raises(ImageError, match='holds several JPEGs, one after the other; give'):
            check_one_jpeg(data)
        assert read_header(data).width == 30  # of a message, the first one is taken


def test_what_cameras_append_to_a_jpeg_is_left_out(image_bytes):
    one = image_bytes.encoded('JPEG', PIXELS)
    preview = image_bytes.encoded('JPEG', PIXELS[:8, :8])
    photos = (image_bytes.turned('JPEG', PIXELS, 1), behind_soi(one, 0xe2, b'MPF\0MM\0*'))
    for data in (*(photo + preview for photo in photos), one + b'a trailer' + preview, one + b'\0',
                 one + b'\xff\xd8\xff', behind_soi(one, 0xe1, b'thumbnails' + preview * 2)):
        check_one_jpeg(data)
        np.testing.assert_array_equal(decode_image(data, 'a'), decode_image(one, 'a'))


def test_several_netpbm_images_are_refused():
    for one in (b'P4 9 2 ' + bytes(4), b'P5 3 2 255 ' + bytes(6), b'P6 3 2 255\n' + bytes(18),
                b'P6 3 2 65535 ' + bytes(36)):
        assert read_header(one + b'\n').height == 2
        with pytest.raises(ImageError, match='holds several Netpbm images'):
            read_header(one + one)
    assert read_header(b'P5 3 2 255 P5 3 2').height == 2  # values of pixels


def test_the_greatest_size_is_taken(image_bytes):
    assert read_header(image_bytes.png_of(MAX_SIDE, MAX_SIDE)).width == MAX_SIDE


@pytest.mark.parametrize(('make', 'size'), [
    (lambda make: make.png_of(0, 8), '0x8 .PNG.'), (lambda make: make.jpeg_of(8, 0), '8x0 .JPEG.'),
    (lambda make: b'P5 0 4 255 ', '0x4 .Netpbm.')])
def test_an_image_without_pixels_is_refused(image_bytes, make, size):
    with pytest.raises(ImageError, match=f'^{size} is an image without pixels'):
        read_header(make(image_bytes))


@pytest.mark.parametrize(('data', 'name'), [
    (b'\0\0\0\x0cjP  \r\n\x87\n', 'JPEG 2000'), (b'\xff\x4f\xff\x51\0', 'JPEG 2000'),
    (b'\0\0\0\x20ftypavif', 'AVIF or HEIC'), (b'\0\0\0\x20ftypheic', 'AVIF or HEIC'),
    (b'\0\0\0\x0cJXL \r\n\x87\n', 'JPEG XL'), (b'\xff\x0a\xfa', 'JPEG XL'),
    (b'\xff\xd8\xff\xf7\0\x11', 'JPEG-LS'), (b'v/1\x01', 'OpenEXR'),
    (b'P7\nWIDTH 8\n', 'PAM'), (b'PF\n8 8\n', 'PFM'),
    (b'#?RADIANCE\n', 'Radiance HDR'), (b'\x59\xa6\x6a\x95', 'Sun raster')])
def test_formats_that_are_not_read_are_refused_by_name(data, name):
    assert begins_as_image(data)
    with pytest.raises(ImageError, match=f'is {name}, which is not supported.*convert it to PNG'):
        read_header(data)


@pytest.mark.parametrize('data', [
    b'', b'B', b'BM', b'BMW builds cars, and this is a text', b'P5', b'P5 is a pentagon',
    b'\xff\xd8', b'\0\0\0\x20ftypisom', b'RIFF\0\0\0\0AVI LIST', b'MMM', b'GIF'])
def test_data_that_is_no_image(data):
    assert not begins_as_image(data)
    with pytest.raises(ImageError, match='of an unknown format; JPEG, PNG'):
        read_header(data)


@pytest.mark.parametrize(('highest', 'kind'), [(1023, 'P6'), (100, 'P5'), (254, 'P3')])
def test_values_that_opencv_does_not_scale_are_refused(highest, kind):
    with pytest.raises(ImageError, match=f'values up to {highest}; only 255 and 65535'):
        read_header(f'{kind} 2 2 {highest} '.encode())


@pytest.mark.parametrize('change', [{'bits': 32}, {'sample_format': 3, 'bits': 16},
                                    {'sample_format': 2}])
def test_values_that_are_no_brightness_are_refused(image_bytes, change):
    with pytest.raises(ImageError, match='depth and other measured values'):
        read_header(image_bytes.tiff_of(8, 8, **change))


def test_bits_that_are_not_read_are_named(image_bytes):
    with pytest.raises(ImageError, match='has 12 bits per channel'):
        read_header(image_bytes.tiff_of(8, 8, bits=12))


@pytest.mark.parametrize('share', [0.1, 0.3, 0.5, 0.9, 0.99])
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('noisy', [False, True])
def test_no_image_that_was_cut_short_is_decoded(image_bytes, kind, share, noisy):
    pixels = np.random.default_rng(1).integers(0, 256, (64, 80, 3), np.uint8) if noisy else \
        cv2.resize(PIXELS, (80, 64))
    data = image_bytes.encoded(kind, pixels)
    with pytest.raises(ImageError, match='a: cannot be decoded'):
        decode_image(data[:int(len(data) * share)], 'a')


B565, B555 = (0xf800, 0x7e0, 0x1f), (0x7c00, 0x3e0, 0x1f)
BGRX, RGBX = (0xff0000, 0xff00, 0xff), (0xff, 0xff00, 0xff0000)


def bmp_with_masks(masks, bits, size=40, compression=3):
    """Return a BMP of 4x2 pixels of red 248, green 0, blue 8, and a header of that size."""
    red, _, blue = masks
    value = (red & -red) * (248 if bits == 32 else 31) + (blue & -blue) * (8 if bits == 32 else 1)
    pixels = value.to_bytes(bits // 8, 'little') * 8
    header = struct.pack('<IiiHHIIiiII3I', size, 4, 2, 1, bits, compression, len(pixels), 0, 0, 0,
                         0, *masks).ljust(size, b'\0')
    at = 14 + len(header)
    return struct.pack('<2sIII', b'BM', at + len(pixels), 0, at) + header + pixels


@pytest.mark.parametrize(('masks', 'bits', 'size', 'compression'), [
    (B565, 16, 40, 3), (B555, 16, 40, 3), (B555, 16, 40, 0), (B555, 16, 124, 0), (BGRX, 32, 40, 3),
    (BGRX, 32, 40, 0), (BGRX, 32, 56, 3), (BGRX, 32, 108, 3), (BGRX, 32, 124, 3)])
def test_usual_masks_of_a_bmp_give_its_colours(masks, bits, size, compression):
    data = bmp_with_masks(masks, bits, size, compression)
    np.testing.assert_array_equal(decode_image(data, 'a'), np.full((2, 4, 3), (8, 0, 248)))


@pytest.mark.parametrize(('masks', 'bits', 'size'), [
    (RGBX, 32, 40), (RGBX, 32, 56), (RGBX, 32, 124), ((0xff << 24, 0xff0000, 0xff00), 32, 108),
    ((0xf00, 0xf0, 0xf), 16, 40), ((0x1f, 0x7e0, 0xf800), 16, 40), (B565, 16, 108),
    (B555, 16, 124)])
def test_other_masks_of_a_bmp_are_refused_by_name(masks, bits, size):
    named = rf'BMP of {bits} bits per pixel with the colour masks {masks[0]:#x}, {masks[1]:#x}, '
    with pytest.raises(ImageError, match=rf'{named}.* header of {size} bytes, .*as PNG'):
        read_header(bmp_with_masks(masks, bits, size))


def test_long_headers_end(image_bytes):
    jpeg = image_bytes.encoded('JPEG', PIXELS)
    many = jpeg[:2] + b'\xff\xe1\0\2' * 1000 + jpeg[2:]
    assert read_header(many).width == 30
    assert not is_cut_jpeg(many)
    for data in (jpeg[:2] + b'\xff\xe1\0\2' * 100_000 + jpeg[2:],
                 jpeg[:3] + b'\xff' * 1_000_000, jpeg[:2] + b'\xff\xe1\0\0' * 100_000,
                 b'P6 #' + b' ' * 1_000_000, b'P6 #' + b'\n#' * 1_000_000):
        with pytest.raises(ImageError, match='damaged or cut short'):
            read_header(data)
    png = image_bytes.png_of(8, 8)
    assert read_header(png[:33] + bytes(120_000) + png[33:]).orientation == 1
    with pytest.raises(ImageError, match='damaged or cut short'):
        read_header(png[:33] + bytes(12_000_000) + png[33:])


def test_a_png_whose_chunk_claims_gigabytes_is_refused(image_bytes):
    data = image_bytes.encoded('PNG', PIXELS)
    at = data.index(b'IDAT') - 4
    for length in (b'\x7f', b'\xff'):
        with pytest.raises(ImageError, match='this PNG is damaged or cut short'):
            read_header(data[:at] + length + data[at + 1:])


@given(st.data())
def test_damaged_images_are_decoded_or_refused(image_bytes, data):
    kinds = [*KINDS, *(f'turned {kind}' for kind in ('JPEG', 'PNG', 'WebP', 'TIFF')), 'BigTIFF']
    kind = data.draw(st.sampled_from(kinds))
    if kind == 'BigTIFF':
        content = bytearray(image_bytes.tiff_of(30, 20, '>', True, PIXELS.tobytes(),
                                                orientation=3))
    elif kind.startswith('turned '):
        content = bytearray(image_bytes.turned(kind[7:], PIXELS, 6))
    else:
        content = bytearray(image_bytes.encoded(kind, PIXELS))
    # What is changed lies in the header, which for TIFF may be at the end.
    near = data.draw(st.sampled_from([60, 200, len(content)]))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, near - 1))
        at = len(content) - 1 - at if data.draw(st.booleans()) and 'TIFF' in kind else at
        content[at % len(content)] = data.draw(st.integers(0, 255))
    length = data.draw(st.sampled_from([len(content), len(content) // 2, None]))
    length = data.draw(st.integers(0, len(content))) if length is None else length
    check_image_or_refusal(bytes(content[:length]))


@given(st.sampled_from([b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR', b'RIFFabcdWEBPVP8 ',
                        b'RIFFabcdWEBPVP8X', b'RIFFabcdWEBPVP8L', b'II*\0', b'MM\0+', b'GIF89a',
                        b'BM', b'P3 ', b'P5\n']), st.binary(max_size=200))
def test_garbage_is_refused(beginning, rest):
    check_image_or_refusal(beginning + rest)


def check_image_or_refusal(content):
    try:
        image = decode_image(content, 'a')
    except ImageError as error:
        assert str(error).startswith('a: ')
        return
    header = read_header(content)
    assert image.dtype == np.uint8
    assert image.shape == (header.height, header.width, 3)
