# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""10,000 valid and invalid messages: each gives pixels and a mask of its size, or is refused.

With PROPERTY_EXAMPLES below 50, as on the second of two distributions, a share of them."""

from array import array

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image

from trt_segmentation.errors import ImageError
from trt_segmentation.images.decoding import ENCODINGS
from trt_segmentation.ros.image_msgs import ImageReader
from trt_segmentation.segmenter import Segmenter

# Bytes in a row for each pixel, rows for each two of the image, multiples that sides must have.
LAYOUTS = {
    **dict.fromkeys(['bgr8', 'rgb8', '8UC3'], (3, 2, 1, 1)),
    **dict.fromkeys(['bgra8', 'rgba8', '8UC4'], (4, 2, 1, 1)),
    **dict.fromkeys(['mono8', '8UC1'], (1, 2, 1, 1)),
    **dict.fromkeys([f'bayer_{order}8' for order in ('rggb', 'bggr', 'gbrg', 'grbg')],
                    (1, 2, 1, 1)),
    **dict.fromkeys([f'bayer_{order}16' for order in ('rggb', 'bggr', 'gbrg', 'grbg')],
                    (2, 2, 1, 1)),
    'mono16': (2, 2, 1, 1),
    **dict.fromkeys(['uyvy', 'yuv422', 'yuyv', 'yuv422_yuy2'], (2, 2, 1, 2)),
    **dict.fromkeys(['nv12', 'nv21'], (1, 3, 2, 2)),
}
UNKNOWN = ['16UC1', '32FC1', '8UC2', 'nv24', 'jpeg', '', 'BGR8', 'rgb8 ', 'bayer_', '\u00e9']
WRONG = st.one_of(st.integers(0, 40), st.sampled_from([2**15, 2**16, 2**31, 2**32 - 1]))
EXTENSIONS = ['.jpg', '.png', '.webp', '.bmp', '.tiff']
FORMATS = ['jpeg', 'png', '', 'rgb8; jpeg compressed bgr8', 'bayer_rggb8; png compressed ',
           'bayer_\u00e9; compressed', 'mono8; tiff compressed ', 'h264', '\u00e9']


@st.composite
def raw_images(draw):
    """Draw a valid Image, or one with some changed fields."""
    encoding = draw(st.sampled_from([*LAYOUTS, *UNKNOWN]))
    row_bytes, rows_of_two, *multiples = LAYOUTS.get(encoding, (3, 2, 1, 1))
    height, width = (draw(st.integers(1, 7)) * multiple for multiple in multiples)
    step = width * row_bytes + draw(st.integers(0, 3))
    length = step * (height * rows_of_two // 2) + draw(st.integers(0, 2))
    fields = {'height': height, 'width': width, 'step': step}
    fields.update(draw(st.one_of(st.just({}), st.dictionaries(
        st.sampled_from(sorted(fields)), WRONG, max_size=2))))
    length = draw(st.one_of(st.just(length), st.integers(0, length)))
    data = np.random.default_rng(draw(st.integers(0, 99))).bytes(length)
    return Image(encoding=encoding, is_bigendian=draw(st.integers(0, 255)),
                 data=array('B', data), **fields)


def expected_shape(msg):
    """Return the shape of a valid message's pixels, None for an invalid one."""
    if msg.encoding not in LAYOUTS:
        return None
    row_bytes, rows_of_two, *multiples = LAYOUTS[msg.encoding]
    right = (msg.height > 0 and msg.width > 0
             and msg.height % multiples[0] == 0 and msg.width % multiples[1] == 0
             and not is_small_mosaic(msg.encoding, msg.height, msg.width)
             and msg.step >= msg.width * row_bytes
             and len(msg.data) >= msg.step * (msg.height * rows_of_two // 2))
    return (msg.height, msg.width, 3) if right else None


def is_small_mosaic(encoding, height, width):
    """Return whether OpenCV would turn a mosaic into black pixels."""
    return encoding.startswith(tuple(LAYOUTS)) and encoding.startswith('bayer_') \
        and min(height, width) < 3


@st.composite
def compressed_images(draw):
    """Draw a CompressedImage, whole or damaged; return it with its shape, None if damaged."""
    shape = draw(st.sampled_from([(), (3,), (4,)]))
    size = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    pixels = np.random.default_rng(draw(st.integers(0, 99))).integers(
        0, 256, (*size, *shape), np.uint8)
    extension = draw(st.sampled_from(EXTENSIONS))
    data = bytearray(cv2.imencode(extension, pixels)[1].tobytes())
    damage = draw(st.sampled_from(['', '', 'cut', 'flipped', 'noise']))
    if damage == 'cut':
        del data[draw(st.integers(0, len(data) - 1)):]
    elif damage == 'flipped':
        for at in draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=3)):
            data[at] ^= draw(st.integers(1, 255))
    elif damage == 'noise':
        data = draw(st.binary(max_size=40))
    msg = CompressedImage(format=draw(st.sampled_from(FORMATS)), data=array('B', data))
    is_mosaic = msg.format.startswith('bayer_rggb8')
    has_colours = shape or extension in ('.webp', '.bmp')  # their headers do not state gray
    is_refused = damage or is_small_mosaic(msg.format, *size) or (is_mosaic and has_colours)
    return msg, None if is_refused else (*size, 3)


SHARE = min(1, settings.default.max_examples / 50)
"""Of the messages, that PROPERTY_EXAMPLES asks for."""


def examples(count):
    return settings(max_examples=count, deadline=None, derandomize=True, database=None,
                    suppress_health_check=list(HealthCheck))


def read(reader, msg):
    """Return a message's pixels, None if they are refused."""
    try:
        pixels, color = reader.read(msg)
    except ImageError as error:
        assert str(error)
        return None
    assert color in ('bgr', 'rgb')
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    return pixels


def shape_of(pixels):
    return None if pixels is None else pixels.shape


def test_every_encoding_is_tried():
    assert set(LAYOUTS) == set(ENCODINGS)


def test_images_are_read_if_and_only_if_they_are_right():
    reader, seen, count = ImageReader(), {True: 0, False: 0}, round(6000 * SHARE)

    @examples(count)
    @given(raw_images())
    def one(msg):
        expected = expected_shape(msg)
        assert shape_of(read(reader, msg)) == expected
        seen[expected is None] += 1

    one()
    assert sum(seen.values()) >= count
    assert min(seen.values()) > count // 8


def test_compressed_images_are_read_if_they_are_whole():
    seen = {'whole': 0, 'read though damaged': 0, 'refused': 0}
    reader, count = ImageReader(), round(3000 * SHARE)

    @examples(count)
    @given(compressed_images())
    def one(drawn):
        msg, expected = drawn
        pixels = read(reader, msg)
        if expected is not None:
            assert shape_of(pixels) == expected
        elif pixels is not None:
            assert (pixels.ndim, pixels.shape[2]) == (3, 3)
        seen['whole' if expected else 'refused' if pixels is None else 'read though damaged'] += 1

    one()
    assert sum(seen.values()) >= count
    assert min(seen.values()) > count // 30


@pytest.fixture
def network(networks, tmp_path):
    """A network whose classes are the colours of the pixels of an 8x8 image."""
    path = tmp_path / 'colours.onnx'
    onnx.save(networks.pointwise(np.eye(3), (8, 8)), path)
    return path


def through_the_node(bench, messages, count, path, pixels_of):
    """Send drawn messages to a node, and check every answer and the counts."""
    reader, segmenter = ImageReader(), Segmenter.open(path)
    sent = {'good': 0, 'bad': 0}

    @settings(examples(count), phases=[Phase.generate])
    @given(messages)
    def one(msg):
        if sum(sent.values()) == count:
            return
        stamp = bench.send(msg)
        pixels = read(reader, msg)
        if pixels is None:
            bench.spin_for(0.004)  # time to be looked at before the next one takes its place
        else:
            color = reader.read(msg)[1]
            mask = pixels_of(bench.answer('mask', stamp))
            np.testing.assert_array_equal(mask, segmenter.infer(pixels, color=color).mask)
            bench.received['mask'].clear()
        sent['bad' if pixels is None else 'good'] += 1

    bench.send(bench.camera.msg_type())  # what is lost before a first frame cannot be known
    bench.spin_until(lambda: bench.counts()['frames received'] == 1, 'the first frame')
    one()
    assert sum(sent.values()) == count
    counts = bench.counts()
    lost = counts.get('frames dropped, keep_latest', 0)
    assert min(sent.values()) > count // 8
    assert counts['frames segmented'] == sent['good']
    assert counts['frames dropped, bad_frame'] + lost == sent['bad'] + 1
    assert counts['frames received'] + lost == count + 1
    assert lost < count // 10
    code, log = bench.stop()
    assert code == 0
    assert 'Traceback' not in log


def test_every_image_gives_its_mask_or_is_counted(make_bench, network, pixels_of):
    bench = make_bench(engine_path=network)
    bench.listen('mask')
    through_the_node(bench, raw_images(), round(700 * SHARE), network, pixels_of)


def test_every_compressed_image_gives_its_mask_or_is_counted(make_bench, network, pixels_of):
    bench = make_bench(engine_path=network, input_transport='compressed')
    bench.camera = bench.node.create_publisher(CompressedImage, 'image/compressed',
                                               qos_profile_sensor_data)
    bench.listen('mask')
    messages = compressed_images().map(lambda drawn: drawn[0])
    through_the_node(bench, messages, round(300 * SHARE), network, pixels_of)
