# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Every encoding becomes the pixels that OpenCV would make of it, whatever its rows look like."""

from array import array

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sensor_msgs.msg import Image

from trt_segmentation.errors import ImageError
from trt_segmentation.ros.image_msgs import ENCODINGS, ImageReader, OutgoingImage

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
}


def message(rows, width, encoding, padding=0, extra=0, **fields):
    """Return uint8 [height, bytes] rows as a message, each padded, data longer by ``extra``."""
    rows = np.ascontiguousarray(np.pad(rows, ((0, 0), (0, padding)), constant_values=77))
    return Image(height=rows.shape[0], width=width, encoding=encoding, step=rows.shape[1],
                 data=array('B', rows.tobytes() + bytes(extra)), **fields)


def test_every_8_bit_encoding_has_a_reference():
    assert set(REFERENCES) | {'mono16'} == set(ENCODINGS)


@given(st.sampled_from(sorted(REFERENCES)), st.integers(2, 9), st.integers(1, 5),
       st.integers(0, 7), st.integers(0, 3), st.integers(0, 1), st.integers(0, 99))
def test_pixels(encoding, height, half_width, padding, extra, big_endian, seed):
    channels, width = ENCODINGS[encoding].channels, 2 * half_width
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    msg = message(pixels.reshape(height, -1), width, encoding, padding, extra,
                  is_bigendian=big_endian)
    image, color = ImageReader().read(msg)
    assert color == ('rgb' if encoding == 'rgb8' else 'bgr')
    np.testing.assert_array_equal(image, REFERENCES[encoding](pixels))
    assert image.flags.c_contiguous


@pytest.mark.parametrize('big_endian', [0, 1])
def test_mono16_keeps_its_high_bytes(big_endian):
    values = np.array([[0, 255, 256], [32768, 65535, 4660]], np.uint16)
    rows = values.astype('>u2' if big_endian else '<u2').view(np.uint8).reshape(2, 6)
    image, _ = ImageReader().read(message(rows, 3, 'mono16', 1, is_bigendian=big_endian))
    np.testing.assert_array_equal(image[:, :, 0], values >> 8)


@pytest.mark.parametrize('encoding', ['bgr8', 'rgb8'])
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
    ({'step': 16}, 'data has 60 bytes, step 16 times height makes 64'),
    ({'height': 5}, 'data has 60 bytes'),
    ({'width': 2**32 - 1}, 'a row has'),
    ({'encoding': 'uyvy'}, 'must be even'),
])
def test_wrong_messages_are_refused_by_name_and_number(fields, said):
    msg = message(np.zeros((4, 15), np.uint8), 5, 'bgr8')
    for name, value in fields.items():
        setattr(msg, name, value)
    with pytest.raises(ImageError, match=said):
        ImageReader().read(msg)


@pytest.mark.parametrize(('encoding', 'shape'), [('mono8', (3, 4)), ('bgr8', (3, 4, 3))])
def test_outgoing_pixels_are_the_message(encoding, shape):
    outgoing = OutgoingImage(encoding, 3, 4)
    assert outgoing.pixels.shape == shape
    outgoing.pixels[...] = 7
    assert set(outgoing.msg.data) == {7}
    assert outgoing.msg.step * 3 == len(outgoing.msg.data)
