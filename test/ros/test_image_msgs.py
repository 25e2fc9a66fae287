# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Every encoding is converted to the same pixels as by OpenCV, with any row padding."""

import struct
import subprocess
import sys
import types
from array import array
from collections import defaultdict

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image

from trt_segmentation.errors import ImageError
from trt_segmentation.graph.pipeline.camera_bytes import CAMERA_ENCODINGS, camera_format
from trt_segmentation.images import decoding
from trt_segmentation.images.decoding import ENCODINGS, rows_to_bgr
from trt_segmentation.images.gray import as_bands
from trt_segmentation.ros.image_msgs import ImageReader, OutgoingImage, received_image

REFERENCES = {
    'bgr8': lambda a: a, '8UC3': lambda a: a, 'rgb8': lambda a: a,
    'bgra8': lambda a: a[..., :3], '8UC4': lambda a: a[..., :3],
    'rgba8': lambda a: a[..., 2::-1],
    'mono8': lambda a: np.repeat(a, 3, axis=2), '8UC1': lambda a: np.repeat(a, 3, axis=2),
    'bayer_rggb8': lambda a: cv2.cvtColor(a, cv2.COLOR_BayerRGGB2BGR),
    'bayer_bggr8': lambda a: cv2.cvtColor(a, cv2.COLOR_BayerBGGR2BGR),
    'bayer_gbrg8': lambda a: cv2.cvtColor(a, cv2.COLOR_BayerGBRG2BGR),
    'bayer_grbg8': lambda a: cv2.cvtColor(a, cv2.COLOR_BayerGRBG2BGR),
    'uyvy': lambda a: cv2.cvtColor(a, cv2.COLOR_YUV2BGR_UYVY),
    'yuv422': lambda a: cv2.cvtColor(a, cv2.COLOR_YUV2BGR_UYVY),
    'yuyv': lambda a: cv2.cvtColor(a, cv2.COLOR_YUV2BGR_YUYV),
    'yuv422_yuy2': lambda a: cv2.cvtColor(a, cv2.COLOR_YUV2BGR_YUYV),
    'nv12': lambda a: cv2.cvtColor(a, cv2.COLOR_YUV2BGR_NV12),
    'nv21': lambda a: cv2.cvtColor(a, cv2.COLOR_YUV2BGR_NV21),
}
SIXTEEN_BIT = ['mono16', 'bayer_rggb16', 'bayer_bggr16', 'bayer_gbrg16', 'bayer_grbg16']


def message(rows, width, encoding, padding=0, extra=0, **fields):
    """Return uint8 [height, bytes] rows as a message, each padded, data longer by ``extra``."""
    rows = np.ascontiguousarray(np.pad(rows, ((0, 0), (0, padding)), constant_values=77))
    return Image(**{'height': rows.shape[0], **fields}, width=width, encoding=encoding,
                 step=rows.shape[1], data=array('B', rows.tobytes() + bytes(extra)))


def compressed(data, form='jpeg'):
    """Return encoded bytes as a message."""
    return CompressedImage(format=form, data=array('B', bytes(data)))


def encoded(extension, pixels):
    """Return pixels as OpenCV writes them into a file of that kind."""
    return cv2.imencode(extension, pixels)[1].tobytes()


NAMES = st.text(st.characters(exclude_characters='\0', exclude_categories=['Cs']), max_size=20)


@given(NAMES, NAMES, st.integers(0, 2**32 - 1), st.integers(-2**31, 2**31 - 1),
       st.binary(max_size=40))
def test_a_serialized_image_is_the_message(frame_id, encoding, number, seconds, data):
    msg = Image(height=number, width=number // 3, step=number // 7, encoding=encoding,
                is_bigendian=number % 2, data=array('B', data))
    msg.header.frame_id = frame_id
    msg.header.stamp.sec, msg.header.stamp.nanosec = seconds, number
    found = received_image(np.frombuffer(serialize_message(msg), np.uint8))
    for field in ('header', 'height', 'width', 'encoding', 'is_bigendian', 'step'):
        assert getattr(found, field) == getattr(msg, field), field
    assert found.data.tobytes() == data


def test_a_serialized_image_of_the_other_byte_order():
    data = struct.pack('>4B3I4s3I4s2BxxII5s', 0, 0, 0, 0, 7, 8, 4, b'cam\0', 2, 3, 4, b'RGB\0',
                       1, 0, 9, 5, b'abcde')
    found = received_image(np.frombuffer(data, np.uint8))
    assert (found.header.stamp.sec, found.header.stamp.nanosec) == (7, 8)
    assert (found.header.frame_id, found.encoding) == ('cam', 'RGB')
    assert (found.height, found.width, found.is_bigendian, found.step) == (2, 3, 1, 9)
    assert found.data.tobytes() == b'abcde'


def test_malformed_messages_are_refused():
    whole = np.frombuffer(serialize_message(
        Image(height=1, width=1, encoding='bgr8', step=3, data=array('B', b'abc'))), np.uint8)
    received_image(whole)
    for length in range(len(whole)):
        with pytest.raises(ImageError, match=f'^a message of {length} bytes is not a valid '):
            received_image(whole[:length])
    twisted = whole.copy()
    twisted[12:16] = 255  # the length of frame_id
    with pytest.raises(ImageError, match='4294967295 bytes expected, '):
        received_image(twisted)


def test_the_data_of_a_serialized_image_is_not_copied():
    whole = np.frombuffer(serialize_message(message(np.zeros((2, 6), np.uint8), 2, 'bgr8')),
                          np.uint8)
    pixels, _ = ImageReader().read(received_image(whole))
    assert np.shares_memory(pixels, whole)


def test_every_encoding_has_a_reference():
    assert {*REFERENCES, *SIXTEEN_BIT} == set(ENCODINGS)


@pytest.mark.parametrize('encoding', REFERENCES)
@settings(max_examples=10)
@given(half_height=st.integers(1, 5), half_width=st.integers(1, 5), padding=st.integers(0, 7),
       extra=st.integers(0, 3), big_endian=st.integers(0, 1), seed=st.integers(0, 99))
def test_pixels(encoding, half_height, half_width, padding, extra, big_endian, seed):
    height, width = 2 * half_height, 2 * half_width
    assume(min(height, width) > 2 or not encoding.startswith('bayer_'))
    rows = height * 3 // 2 if encoding in ('nv12', 'nv21') else height
    pixels = np.random.default_rng(seed).integers(
        0, 256, (rows, width, ENCODINGS[encoding].channels), np.uint8)
    msg = message(pixels.reshape(rows, -1), width, encoding, padding, extra,
                  height=height, is_bigendian=big_endian)
    image, color = ImageReader().read(msg)
    assert color == ('rgb' if encoding == 'rgb8' else 'bgr')
    np.testing.assert_array_equal(image, REFERENCES[encoding](pixels))
    assert image.flags.c_contiguous


@given(st.sampled_from(CAMERA_ENCODINGS), st.integers(2, 5), st.integers(2, 5),
       st.integers(0, 7), st.integers(0, 99))
def test_rows_that_the_gpu_converts(encoding, half_height, half_width, padding, seed):
    height, width = 2 * half_height, 2 * half_width
    rows = np.random.default_rng(seed).integers(
        0, 256, camera_format(encoding).shape(height, width), np.uint8)
    msg = message(rows, width, encoding, padding, 3, height=height)
    reader = ImageReader()
    found = reader.read_rows(msg)
    np.testing.assert_array_equal(found, rows)
    assert found.flags.c_contiguous
    assert np.shares_memory(found, np.frombuffer(msg.data, np.uint8)) == (padding == 0)
    np.testing.assert_array_equal(rows_to_bgr(found, encoding), reader.read(msg)[0])


@pytest.mark.parametrize(('fields', 'said'), [
    ({'width': 0}, 'without pixels'), ({'height': 3}, 'width and height must be even'),
    ({'step': 5}, 'step is 5, a row has 6 bytes'), ({'height': 6}, 'data has 36 bytes')])
def test_wrong_rows_for_the_gpu_are_refused(fields, said):
    msg = message(np.zeros((6, 6), np.uint8), 6, 'nv12', height=4)
    for name, value in fields.items():
        setattr(msg, name, value)
    with pytest.raises(ImageError, match=said):
        ImageReader().read_rows(msg)


@pytest.mark.parametrize('big_endian', [0, 1])
def test_mono16_keeps_its_high_bytes(big_endian):
    values = np.array([[0, 255, 256], [32768, 65535, 4660]], np.uint16)
    rows = values.astype('>u2' if big_endian else '<u2').view(np.uint8).reshape(2, 6)
    image, _ = ImageReader().read(message(rows, 3, 'mono16', 1, is_bigendian=big_endian))
    np.testing.assert_array_equal(image[:, :, 0], values >> 8)


@pytest.mark.parametrize(('bits', 'gray_bits', 'is_reported'), [
    (10, 0, True), (12, 0, True), (14, 0, True), (16, 0, False), (12, 8, True), (16, 8, False),
    (12, 16, False)])
@pytest.mark.parametrize('form', ['mono16', 'bayer_rggb16', 'mono16; png compressed '])
def test_16_bits_that_are_not_filled_are_reported_once(form, bits, gray_bits, is_reported, caplog,
                                                       monkeypatch):
    monkeypatch.setattr(decoding, '_warned', defaultdict(set))
    values = np.full((4, 4), 2 ** bits - 1, np.uint16)
    msg = compressed(encoded('.png', values), form) if ';' in form else \
        message(values.view(np.uint8), 4, form)
    for _ in range(3):
        ImageReader().read(msg, gray_bits)
    said = [record.getMessage() for record in caplog.records]
    is_mosaic = form.startswith('bayer')  # whose higher 8 bits every network gets
    assert len(said) == (is_reported or (is_mosaic and bits == 12))
    assert all(f'none of its values is above {2 ** bits - 1} of 65535' in text for text in said)


@pytest.mark.parametrize('encoding', SIXTEEN_BIT[1:])
@pytest.mark.parametrize('big_endian', [0, 1])
def test_16_bit_mosaics_are_8_bit_ones_of_their_high_bytes(encoding, big_endian):
    values = np.random.default_rng(1).integers(0, 2**16, (6, 8), np.uint16)
    rows = values.astype('>u2' if big_endian else '<u2').view(np.uint8).reshape(6, 16)
    image, _ = ImageReader().read(message(rows, 8, encoding, 3, is_bigendian=big_endian))
    mosaic = (values >> 8).astype(np.uint8)[:, :, None]
    np.testing.assert_array_equal(image, REFERENCES[encoding.replace('16', '8')](mosaic))


@pytest.mark.parametrize(('encoding', 'red'), [('nv12', (90, 240)), ('nv21', (240, 90))])
def test_planar_chroma_is_in_the_order_that_the_name_says(encoding, red):
    planes = np.full((6, 4), 81, np.uint8)
    planes[4:] = [*red, *red]  # BT.601 red: Y 81, Cb 90, Cr 240
    image, _ = ImageReader().read(message(planes, 4, encoding, 2, height=4))
    assert (abs(image.astype(int) - [0, 0, 255]) < 3).all()


@pytest.mark.parametrize('encoding', ['bgr8', 'rgb8', '8UC3'])
def test_tight_colour_images_are_not_copied(encoding):
    msg = message(np.zeros((4, 15), np.uint8), 5, encoding)
    image, _ = ImageReader().read(msg)
    assert np.shares_memory(image, np.frombuffer(msg.data, np.uint8))


def test_converted_images_share_one_buffer():
    reader, msg = ImageReader(), message(np.zeros((4, 20), np.uint8), 5, 'bgra8')
    assert np.shares_memory(reader.read(msg)[0], reader.read(msg)[0])


@pytest.mark.parametrize(('fields', 'said'), [
    ({'encoding': '32FC1'}, "'32FC1'"),
    ({'encoding': ''}, "''"),
    ({'width': 0}, 'without pixels'),
    ({'height': 0}, 'without pixels'),
    ({'step': 14}, 'step is 14, a row has 15 bytes'),
    ({'step': 16}, 'data has 60 bytes, step 16 times 4 rows makes 64'),
    ({'height': 5}, 'data has 60 bytes'),
    ({'width': 2**32 - 1}, 'a row has'),
    ({'encoding': 'uyvy'}, 'the width must be even'),
    ({'encoding': 'nv12'}, 'width and height must be even'),
    ({'encoding': 'nv21', 'width': 6, 'height': 3}, 'width and height must be even'),
    ({'encoding': 'nv12', 'width': 4}, 'step 15 times 6 rows makes 90'),
    ({'encoding': 'bayer_rggb16', 'width': 8}, 'step is 15, a row has 16 bytes'),
    ({'encoding': 'bayer_rggb8', 'width': 2}, 'a Bayer mosaic of 2x4 is too small'),
    ({'encoding': 'bayer_grbg16', 'height': 2}, 'at least 3x3 pixels'),
])
def test_wrong_messages_are_refused_by_name_and_number(fields, said):
    msg = message(np.zeros((4, 15), np.uint8), 5, 'bgr8')
    for name, value in fields.items():
        setattr(msg, name, value)
    with pytest.raises(ImageError, match=said) as told:
        ImageReader().read(msg)
    assert f"'{msg.encoding}'" in str(told.value)
    assert f'{msg.width}x{msg.height}' in str(told.value)


class CvBridge:
    """A stand-in, since cv_bridge is not on PyPI; it also refuses unknown encodings."""

    def imgmsg_to_cv2(self, msg, desired_encoding):
        assert desired_encoding == 'bgr8'
        rgb = np.frombuffer(msg.data, '<u2').reshape(msg.height, msg.width, 3)
        return (rgb[:, :, ::-1] >> 8).astype(np.uint8)


def test_other_encodings_go_through_cv_bridge(monkeypatch):
    module = types.ModuleType('cv_bridge')
    module.CvBridge = CvBridge
    monkeypatch.setitem(sys.modules, 'cv_bridge', module)
    values = np.random.default_rng(2).integers(0, 2**16, (4, 5, 3), np.uint16)
    msg = message(values.view(np.uint8).reshape(4, 30), 5, 'rgb16')
    image, color = ImageReader().read(msg)
    np.testing.assert_array_equal(image, values[:, :, ::-1] >> 8)
    assert color == 'bgr'
    assert image.flags.c_contiguous
    msg.height = 3
    with pytest.raises(ImageError, match=r"'rgb16' \(5x3\) cannot be segmented: cv_bridge failed"):
        ImageReader().read(msg)


def test_other_encodings_are_refused_by_name_without_cv_bridge(monkeypatch):
    monkeypatch.setitem(sys.modules, 'cv_bridge', None)
    with pytest.raises(ImageError, match=r"'rgb16' .*; supported are bgr8, .* of cv_bridge if"):
        ImageReader().read(message(np.zeros((4, 30), np.uint8), 5, 'rgb16'))


@pytest.mark.parametrize('extension', ['.jpg', '.png', '.bmp', '.webp', '.tiff'])
def test_compressed_images_are_decoded(extension):
    pixels = cv2.GaussianBlur(np.random.default_rng(3).integers(0, 256, (24, 31, 3), np.uint8),
                              (9, 9), 4)
    image, color = ImageReader().read(compressed(encoded(extension, pixels), extension))
    assert (color, image.dtype, image.shape) == ('bgr', np.uint8, (24, 31, 3))
    assert image.flags.c_contiguous
    assert np.abs(image.astype(int) - pixels).mean() < (4 if extension in ('.jpg', '.webp') else 1)


@pytest.mark.parametrize(('pixels', 'expected'), [
    (np.full((4, 5), 7, np.uint8), 7), (np.full((4, 5, 3), 0x1234, np.uint16), 0x12),
    (np.full((4, 5, 4), 9, np.uint8), 9)], ids=['grey', '16-bit colour', 'alpha'])
def test_any_picture_gives_3_channels_of_8_bits(pixels, expected):
    image, _ = ImageReader().read(compressed(encoded('.png', pixels), 'png'))
    np.testing.assert_array_equal(image, np.full((4, 5, 3), expected, np.uint8))


@pytest.mark.parametrize('extension', ['.png', '.tiff'])
@pytest.mark.parametrize('form', ['mono16; {} compressed ', 'mono16; {} compressed bgr8'])
def test_16_bits_that_are_brightness_give_their_high_byte(extension, form):
    data = encoded(extension, np.full((4, 5), 0x1234, np.uint16))
    image, _ = ImageReader().read(compressed(data, form.format(extension[1:])))
    np.testing.assert_array_equal(image, np.full((4, 5, 3), 0x12, np.uint8))


@pytest.mark.parametrize('extension', ['.png', '.tiff'])
@pytest.mark.parametrize('form', ['16UC1; {} compressed ', '16UC1; compressedDepth {}', '{}'])
def test_depth_images_are_refused_by_name(extension, form):
    form = form.format(extension[1:])
    data = encoded(extension, np.full((4, 5), 1234, np.uint16))
    with pytest.raises(ImageError, match=f"format '{form}'.*depth and other measured values"):
        ImageReader().read(compressed(data, form))


@pytest.mark.parametrize(('encoding', 'dtype'), [
    ('16UC1', np.uint16), ('32FC1', np.float32), ('64FC1', np.float64), ('16SC1', np.int16)])
def test_raw_depth_images_are_refused_by_name(encoding, dtype):
    with pytest.raises(ImageError, match=f"'{encoding}', 5x4: depth and other measured values"):
        ImageReader().read(message(np.ones((4, 5), dtype).view(np.uint8), 5, encoding))


def test_exif_turns_no_image_and_is_reported_once_a_camera(image_bytes, caplog, monkeypatch):
    monkeypatch.setattr(decoding, '_warned', defaultdict(set))
    turned = image_bytes.turned('JPEG', np.zeros((16, 32, 3), np.uint8), 6)
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (32, 16, 3)
    for name in ('left', 'left', 'right', 'left'):
        msg = compressed(turned)
        msg.header.frame_id = name
        assert ImageReader().read(msg)[0].shape == (16, 32, 3)
    said = [record.getMessage() for record in caplog.records]
    assert ['left' in text for text in said] == [True, False]
    assert 'its EXIF orientation 6 is not applied' in said[0]


def test_formats_of_image_transport_name_what_is_in_the_file(caplog, monkeypatch):
    mosaic = np.random.default_rng(4).integers(0, 256, (6, 8), np.uint8)
    grey = cv2.cvtColor(mosaic, cv2.COLOR_GRAY2BGR)
    png, tiff = encoded('.png', mosaic), encoded('.tiff', grey)
    for form, data, expected in (
            ('bayer_rggb8; png compressed ', png, REFERENCES['bayer_rggb8'](mosaic[:, :, None])),
            ('bayer_rggb8; png compressed bayer_rggb8', png,
             REFERENCES['bayer_rggb8'](mosaic[:, :, None])),  # jpeg.compress_bayer
            ('bayer_rggb8; jpeg compressed mono8', png, grey),
            ('rgb8; jpeg compressed bgr8', png, grey), ('mono8; png compressed ', png, grey)):
        image, color = ImageReader().read(compressed(data, form))
        np.testing.assert_array_equal(image, expected)
        assert color == 'bgr'
    assert ImageReader().read(compressed(tiff, 'rgb8; tiff compressed '))[1] == 'rgb'
    assert ImageReader().read(compressed(tiff, 'bgr8; tiff compressed '))[1] == 'bgr'
    monkeypatch.setattr(decoding, '_warned', defaultdict(set))
    for form in ('rgb8; jpeg compressed', 'rgb8; png compressed ', 'rgb8; png compressed rgb8'):
        assert ImageReader().read(compressed(encoded('.jpg', grey), form))[1] == 'bgr', form
    assert ['colours are taken as those of the file' in record.getMessage()
            for record in caplog.records] == [True]
    with pytest.raises(ImageError, match='holds colours, but its format declares a Bayer mosaic'):
        ImageReader().read(compressed(encoded('.png', grey), 'bayer_rggb8; png compressed '))
    with pytest.raises(ImageError, match='a Bayer mosaic of 2x6 is too small'):
        ImageReader().read(compressed(encoded('.png', mosaic[:, :2]),
                                      'bayer_rggb8; png compressed '))


@pytest.mark.parametrize(('cut', 'form', 'said'), [
    (slice(0), 'png', 'without data'),
    (slice(40), 'png', 'this PNG is damaged or cut short'),
    (slice(60), 'jpeg', 'this JPEG is damaged or cut short'),
    (slice(-20), 'jpeg', 'this JPEG is cut short'),
    (slice(30, None), 'h264', 'of an unknown format'),
    (slice(None), '16UC1; compressedDepth png', 'depth and other'),
])
def test_damaged_data_is_refused_by_format_and_length(cut, form, said):
    pixels = np.random.default_rng(5).integers(0, 256, (16, 16, 3), np.uint8)
    data = encoded('.jpg' if form == 'jpeg' else '.png', pixels)[cut]
    with pytest.raises(ImageError, match=f"format '{form}', {len(data)} bytes: .*{said}"):
        ImageReader().read(compressed(data, form))


BOMBS = """
import struct, zlib
from array import array
from trt_segmentation.ros import node  # imports what the node imports, in its order
from trt_segmentation.errors import ImageError
from trt_segmentation.images.gray import as_bands
from trt_segmentation.ros.image_msgs import ImageReader
import cv2, numpy
from sensor_msgs.msg import CompressedImage
jpeg, png = (cv2.imencode(kind, numpy.zeros((8, 8, 3), numpy.uint8))[1].tobytes()
             for kind in ('.jpg', '.png'))
at = jpeg.index(b'\\xff\\xc0') + 5
header = b'IHDR' + struct.pack('>IIBBBBB', 60000, 60000, 8, 2, 0, 0, 0)
png = png[:12] + header + struct.pack('>I', zlib.crc32(header)) + png[33:]


def highest():  # not getrusage, whose maximum begins with that of who started this process
    with open('/proc/self/status') as status:
        return int(status.read().partition('VmHWM:')[2].split()[0])


before = highest()
for data in (jpeg[:at] + struct.pack('>HH', 20000, 20000) + jpeg[at + 4:], png,
             b'P6 20000 100 255 '):
    try:
        ImageReader().read(CompressedImage(format='any', data=array('B', data)))
    except ImageError as error:
        assert 'more than 16384 pixels' in str(error), error
    else:
        raise AssertionError('decoded')
assert highest() - before < 50_000, 'KB were taken'
"""


def test_decompression_bombs_take_no_memory_in_the_node():
    done = subprocess.run([sys.executable, '-c', BOMBS], capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(('encoding', 'shape'), [('mono8', (3, 4)), ('bgr8', (3, 4, 3))])
def test_outgoing_pixels_have_their_shape(encoding, shape):
    assert OutgoingImage(encoding, *shape[:2]).pixels.shape == shape


# For networks of one channel ---------------------------------------------------------------


@pytest.mark.parametrize('gray_bits', [8, 16])
@pytest.mark.parametrize('encoding', ['mono8', '8UC1'])
def test_gray_is_read_as_it_is(encoding, gray_bits):
    values = np.random.default_rng(3).integers(0, 256, (4, 5), np.uint8)
    msg = message(values, 5, encoding)
    image, color = ImageReader().read(msg, gray_bits)
    np.testing.assert_array_equal(image, values)
    assert (image.dtype, color) == (np.uint8, 'bgr')
    assert np.shares_memory(image, np.frombuffer(msg.data, np.uint8))
    padded, _ = ImageReader().read(message(values, 5, encoding, 3), gray_bits)
    np.testing.assert_array_equal(padded, values)
    assert padded.flags.c_contiguous


@pytest.mark.parametrize(('encoding', 'gray_bits'), [('mono16', 8), ('mono16', 16),
                                                     ('16UC1', 16)])
@pytest.mark.parametrize('big_endian', [0, 1])
@pytest.mark.parametrize('padding', [0, 3])
def test_gray_of_16_bits_is_read_as_it_is(encoding, gray_bits, big_endian, padding):
    values = np.array([[0, 255, 256], [32768, 65535, 4660]], np.uint16)
    rows = values.astype('>u2' if big_endian else '<u2').view(np.uint8).reshape(2, 6)
    msg = message(rows, 3, encoding, padding, is_bigendian=big_endian)
    image, _ = ImageReader().read(msg, gray_bits)
    np.testing.assert_array_equal(image, values)
    is_itself = not big_endian and not padding
    assert np.shares_memory(image, np.frombuffer(msg.data, np.uint8)) == is_itself
    bands = as_bands(np.ascontiguousarray(image))
    assert np.shares_memory(bands, image)
    np.testing.assert_array_equal(bands @ [1, 256], values)


def test_16_bits_at_an_odd_address_are_not_copied():
    memory = np.arange(1, 14, dtype=np.uint8)[1:]
    msg = types.SimpleNamespace(width=3, height=2, step=6, encoding='mono16', is_bigendian=0,
                                data=memory)
    image, _ = ImageReader().read(msg, 8)
    assert np.shares_memory(as_bands(np.ascontiguousarray(image)), memory)


def test_colours_stay_colours():
    pixels = np.random.default_rng(4).integers(0, 256, (4, 6, 3), np.uint8)
    image, color = ImageReader().read(message(pixels.reshape(4, 18), 6, 'rgb8'), 8)
    np.testing.assert_array_equal(image, pixels)
    assert color == 'rgb'


@pytest.mark.parametrize(('encoding', 'gray_bits', 'said'), [
    ('16UC1', 0, 'only camera images$'), ('16UC1', 8, r'write input\.depth: 16 into its config$'),
    ('16SC1', 16, 'only camera images$'), ('32FC1', 16, 'only camera images$')])
def test_measured_values_are_refused(encoding, gray_bits, said):
    with pytest.raises(ImageError, match=said):
        ImageReader().read(message(np.zeros((4, 20), np.uint8), 5, encoding), gray_bits)
    png = encoded('.png', np.zeros((4, 5), np.uint16))
    with pytest.raises(ImageError, match=said):
        ImageReader().read(compressed(png, f'{encoding}; png compressed '), gray_bits)


def test_compressed_gray():
    values = np.random.default_rng(5).integers(0, 2**16, (4, 5), np.uint16)
    high = (values >> 8).astype(np.uint8)
    for form, data, gray_bits, expected in (
            ('mono8; png compressed ', high, 8, high), ('mono8; png compressed ', high, 16, high),
            ('mono16; png compressed ', values, 8, high),
            ('mono16; png compressed ', values, 16, values),
            ('16UC1; png compressed ', values, 16, values), ('png', values, 16, values),
            ('png', high, 8, np.repeat(high[..., None], 3, axis=2))):
        image, _ = ImageReader().read(compressed(encoded('.png', data), form), gray_bits)
        np.testing.assert_array_equal(image, expected, form)
        assert image.dtype == expected.dtype
