# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Rosbags to read: written by rosbags' own writer."""

import numpy as np
import pytest

from trt_segmentation.demo.clip import read_frame


class Bag:
    """Writes a rosbag2 with rosbags' own writer."""

    def __init__(self, path, storage):
        rosbag2 = pytest.importorskip('rosbags.rosbag2')
        from rosbags.typesys import Stores, get_typestore
        self.store = get_typestore(Stores.ROS2_HUMBLE)
        self.types = self.store.types
        plugin = rosbag2.StoragePlugin[storage]
        self.path = path
        self.writer = rosbag2.Writer(path, version=9, storage_plugin=plugin)
        self.connections = {}
        self.stamp, self.period = 0, 1

    def __enter__(self):
        self.writer.open()
        return self

    def __exit__(self, *error):
        self.writer.close()

    def write(self, topic, message):
        kind = message.__msgtype__
        if topic not in self.connections:
            self.connections[topic] = self.writer.add_connection(topic, kind,
                                                                 typestore=self.store)
        self.stamp += self.period
        self.writer.write(self.connections[topic], self.stamp,
                          self.store.serialize_cdr(message, kind))

    def header(self):
        time = self.types['builtin_interfaces/msg/Time'](sec=1, nanosec=self.stamp % 10 ** 9)
        return self.types['std_msgs/msg/Header'](stamp=time, frame_id='camera')

    def image(self, array, encoding='bgr8', padding=0):
        height, width = array.shape[:2]
        rows = np.pad(array.reshape(height, -1), ((0, 0), (0, padding)), constant_values=255)
        return self.types['sensor_msgs/msg/Image'](
            header=self.header(), height=height, width=width, encoding=encoding, is_bigendian=0,
            step=rows.shape[1], data=rows.ravel())

    def compressed(self, data, name='png'):
        return self.types['sensor_msgs/msg/CompressedImage'](
            header=self.header(), format=name, data=np.frombuffer(data, np.uint8))


@pytest.fixture(scope='session')
def bag_writer():
    """Context manager that writes a rosbag2, with ``image``, ``compressed`` and ``write``."""
    return Bag


@pytest.fixture(scope='session')
def write_drive():
    """Function that writes frames of 160x90 at 20 Hz on /camera/image_raw; returns the path."""
    scenes = [read_frame(number, 90, 160).image for number in range(5)]

    def write(path, storage='MCAP', frames=60):
        with Bag(path, storage) as bag:
            bag.stamp, bag.period = 10 ** 18 + 5, 50_000_000
            for index in range(frames):
                bag.write('/camera/image_raw',
                          bag.image(np.roll(scenes[index % 5], index, axis=1)))
        return path
    return write


@pytest.fixture(scope='session')
def drive(tmp_path_factory, write_drive):
    """A rosbag2 of 180 camera frames."""
    return write_drive(tmp_path_factory.mktemp('bags') / 'drive', frames=180)


@pytest.fixture(scope='session')
def short_drive(tmp_path_factory, write_drive):
    """A rosbag2 of 60 camera frames."""
    return write_drive(tmp_path_factory.mktemp('bags') / 'short')
