# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Serialized clouds are read as by rclpy, in both byte orders; damaged ones are refused."""

import struct
from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import PointCloud2, PointField

from trt_segmentation.errors import ImageError
from trt_segmentation.images.points import PointOptions, PointProjector
from trt_segmentation.ros.cloud_msgs import received_cloud
from trt_segmentation.ros.point_sources import read_cloud

NAMES = st.text(st.characters(exclude_characters='\0', exclude_categories=['Cs']), max_size=9)
NUMBERS = st.integers(0, 2**32 - 1)
FIELDS = st.lists(st.builds(PointField, name=NAMES, offset=NUMBERS, count=NUMBERS,
                            datatype=st.integers(0, 255)), max_size=5)
ORDERS = '<', '>'


def encoded(msg, order):
    """Return a cloud as plain CDR: numbers are aligned to their size, strings end with a null."""
    data = bytearray((0, order == '<', 0, 0))

    def put(form, *values):
        for kind, value in zip(form, values, strict=True):
            data.extend(bytes(-len(data) % struct.calcsize(kind)) + struct.pack(order + kind,
                                                                                value))

    def put_text(text):
        put('I', len(text.encode()) + 1)
        data.extend(text.encode() + b'\0')

    put('iI', msg.header.stamp.sec, msg.header.stamp.nanosec)
    put_text(msg.header.frame_id)
    put('III', msg.height, msg.width, len(msg.fields))
    for field in msg.fields:
        put_text(field.name)
        put('IBI', field.offset, field.datatype, field.count)
    put('BIII', msg.is_bigendian, msg.point_step, msg.row_step, len(msg.data))
    data.extend(msg.data)
    put('B', msg.is_dense)
    return bytes(data)


def read(message):
    return received_cloud(np.frombuffer(message, np.uint8))


@given(NAMES, FIELDS, st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS),
       st.integers(-2**31, 2**31 - 1), st.binary(max_size=40), st.booleans(), st.booleans())
def test_a_serialized_cloud_is_the_message(frame_id, fields, numbers, seconds, data, big, dense):
    height, width, point_step, row_step = numbers
    msg = PointCloud2(height=height, width=width, fields=fields, point_step=point_step,
                      row_step=row_step, data=array('B', data), is_bigendian=big, is_dense=dense)
    msg.header.frame_id = frame_id
    msg.header.stamp.sec, msg.header.stamp.nanosec = seconds, height
    for message in (serialize_message(msg), *(encoded(msg, order) for order in ORDERS)):
        assert deserialize_message(message, PointCloud2) == msg
        found = read(message)
        for name in ('header', 'height', 'width', 'is_bigendian', 'point_step', 'row_step',
                     'is_dense'):
            assert getattr(found, name) == getattr(msg, name), name
        assert list(found.fields) == fields
        assert found.data.tobytes() == data


def cloud():
    """Return a cloud of 3x2 points, whose x is its number."""
    fields = [PointField(name=name, offset=4 * at, datatype=PointField.FLOAT32, count=1)
              for at, name in enumerate('xyz')]
    points = np.ones((6, 3), '<f4')
    points[:, 0] = np.arange(6)
    msg = PointCloud2(height=2, width=3, fields=fields, point_step=12, row_step=36,
                      data=array('B', points.tobytes()))
    msg.header.frame_id = 'camera'
    return msg


def test_the_data_is_not_copied():
    message = np.frombuffer(encoded(cloud(), '<'), np.uint8)
    x, *others = read_cloud(message, 'camera')
    np.testing.assert_array_equal(x, np.arange(6).reshape(2, 3))
    assert all(np.shares_memory(each, message) for each in (x, *others))


@pytest.mark.parametrize('order', ORDERS)
def test_a_cut_cloud_is_refused_at_every_length(order):
    whole = encoded(cloud(), order)
    for length in range(len(whole)):
        with pytest.raises(ImageError, match=f'^a message of {length} bytes is not a valid '
                                             'sensor_msgs/PointCloud2 '):
            read_cloud(whole[:length], 'camera')


@pytest.mark.parametrize(('at', 'sentence'), [
    (12, '4294967295 bytes expected, '), (32, '4294967295 fields expected, ')])
def test_lengths_beyond_the_message_are_refused(at, sentence):
    twisted = bytearray(encoded(cloud(), '<'))
    twisted[at:at + 4] = b'\xff' * 4
    with pytest.raises(ImageError, match=sentence):
        read(bytes(twisted))


@given(st.dictionaries(st.integers(0, 139), st.integers(0, 255), min_size=1, max_size=4))
def test_changed_bytes_are_refused_or_give_points(changes):
    twisted = bytearray(encoded(cloud(), '<'))
    for at, value in changes.items():
        twisted[at] = value
    projector = PointProjector((2, 3), np.uint8, PointOptions())
    try:
        count = projector.take(read_cloud(bytes(twisted), 'camera'), np.zeros((2, 3), np.uint8))
    except ImageError as error:
        assert str(error)
    else:
        assert 0 <= count <= 6
