# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Images come out of real files as they were put in, in order, evenly spread."""

import sys

import cv2
import numpy as np
import pytest

from trt_segmentation.errors import ImageError
from trt_segmentation.image_source import open_images, source_files


def gray(value, height=16, width=32):
    return np.full((height, width, 3), value, np.uint8)


def levels(images):
    """Return the mean of each image."""
    return [round(float(image.mean())) for _, image in images]


@pytest.fixture
def folder(tmp_path):
    for value in (30, 10, 20, 40):
        cv2.imwrite(str(tmp_path / f'{value}.png'), gray(value))
    (tmp_path / 'labels.txt').write_text('no image')
    (tmp_path / '.hidden.png').write_text('no image')
    return tmp_path


@pytest.fixture
def video(tmp_path):
    path = tmp_path / 'drive.mp4'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), 10, (64, 48))
    for value in range(0, 240, 20):
        writer.write(gray(value, 48, 64))
    writer.release()
    return path


def test_an_image_is_bgr_without_alpha(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 4), np.uint8)
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    (name, read), = open_images(tmp_path / 'a.png')
    assert name == 'a.png'
    np.testing.assert_array_equal(read, image[..., :3])


def test_a_folder_gives_its_images_sorted_and_passes_over_others(folder):
    assert [name for name, _ in open_images(folder)] == ['10.png', '20.png', '30.png', '40.png']
    assert levels(open_images(str(folder))) == [10, 20, 30, 40]


def test_a_count_is_spread_evenly(folder):
    assert levels(open_images(folder, count=2)) == [20, 40]
    assert levels(open_images(folder, count=9)) == [10, 20, 30, 40]


def test_a_video_gives_its_frames(video):
    assert levels(open_images(video)) == pytest.approx(list(range(0, 240, 20)), abs=5)
    assert levels(open_images(video, count=3)) == pytest.approx([40, 120, 200], abs=5)


@pytest.mark.parametrize('make', [
    lambda path: None,
    lambda path: path.mkdir(),
    lambda path: path.write_text('no image'),
    lambda path: path.write_bytes(cv2.imencode('.png', gray(3))[1].tobytes()[:60])])
def test_what_holds_no_image_is_named(tmp_path, make):
    path = tmp_path / 'given'
    make(path)
    with pytest.raises(ImageError, match='given'):
        list(open_images(path))


def test_a_damaged_image_in_a_folder_is_named(folder):
    (folder / '25.png').write_bytes((folder / '20.png').read_bytes()[:60])
    with pytest.raises(ImageError, match=r'25\.png: cannot be decoded'):
        list(open_images(folder))


def test_source_files_are_all_that_may_be_read(folder, video):
    assert source_files(video) == [video]
    assert [path.name for path in source_files(folder)][:2] == ['10.png', '20.png']
    with pytest.raises(ImageError, match='gone'):
        source_files(folder / 'gone')


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
        self.stamp = 0

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
        self.stamp += 1
        self.writer.write(self.connections[topic], self.stamp,
                          self.store.serialize_cdr(message, kind))

    def header(self):
        time = self.types['builtin_interfaces/msg/Time'](sec=1, nanosec=0)
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


@pytest.mark.parametrize(('storage', 'suffix'), [('MCAP', 'mcap'), ('SQLITE3', 'db3')])
def test_a_rosbag_gives_the_images_of_its_only_image_topic(tmp_path, storage, suffix):
    with Bag(tmp_path / 'drive', storage) as bag:
        for value in (10, 20, 30, 40):
            bag.write('/camera', bag.image(gray(value)))
            bag.write('/noise', bag.header())
    assert levels(open_images(bag.path)) == [10, 20, 30, 40]
    assert levels(open_images(bag.path, count=2)) == [20, 40]
    file, = bag.path.glob(f'*.{suffix}')
    assert levels(open_images(file, '/camera')) == [10, 20, 30, 40]


def test_rosbag_images_of_every_encoding_become_bgr(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    png = cv2.imencode('.png', pixels[..., 0])[1].tobytes()
    with Bag(tmp_path / 'drive', 'MCAP') as bag:
        bag.write('/rgb', bag.image(pixels[..., ::-1], 'rgb8'))
        bag.write('/padded', bag.image(pixels, 'bgr8', padding=4))
        bag.write('/mono', bag.image(pixels[..., 0], 'mono8', padding=3))
        bag.write('/png', bag.compressed(png))
    gray_pixels = np.repeat(pixels[..., :1], 3, axis=2)
    for topic, expected in (('/rgb', pixels), ('/padded', pixels), ('/mono', gray_pixels),
                            ('/png', gray_pixels)):
        (_, image), = open_images(bag.path, topic)
        np.testing.assert_array_equal(image, expected, topic)


def test_a_topic_that_is_missing_or_not_said_is_an_error_that_lists_them(tmp_path):
    with Bag(tmp_path / 'drive', 'MCAP') as bag:
        for topic in ('/left', '/right'):
            bag.write(topic, bag.image(gray(1)))
    with pytest.raises(ImageError, match='/left, /right'):
        list(open_images(bag.path))
    with pytest.raises(ImageError, match=r"'/up' is no image topic .*/left, /right"):
        list(open_images(bag.path, '/up'))


def test_a_message_that_cannot_be_decoded_is_named(tmp_path):
    with Bag(tmp_path / 'drive', 'MCAP') as bag:
        bag.write('/depth', bag.image(np.zeros((4, 16), np.uint8), '32FC1'))
        bag.write('/cut', bag.compressed(cv2.imencode('.png', gray(3))[1].tobytes()[:50]))
    for topic in ('/depth', '/cut'):
        with pytest.raises(ImageError, match=f'drive, topic {topic}, message 0'):
            list(open_images(bag.path, topic))


def test_a_damaged_rosbag_is_named(tmp_path):
    (tmp_path / 'drive.mcap').write_bytes(b'no bag')
    with pytest.raises(ImageError, match=r'drive\.mcap: this rosbag cannot be read'):
        list(open_images(tmp_path / 'drive.mcap'))


def test_without_rosbags_the_command_that_installs_it_is_said(tmp_path, monkeypatch):
    (tmp_path / 'drive.mcap').touch()
    monkeypatch.setitem(sys.modules, 'rosbags.highlevel', None)
    with pytest.raises(ImageError, match='pip install rosbags rosbags-image'):
        list(open_images(tmp_path / 'drive.mcap'))
