# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Fixtures: the documentation's examples, and a folder in which its commands are run."""

import importlib.util
import shutil

import cv2
import documented_commands
import numpy as np
import onnx
import pytest

from trt_segmentation.demo.clip import read_frame


def pytest_generate_tests(metafunc):
    """Give each example of the documentation, once each, to the tests with an argument
    ``example``."""
    if 'example' in metafunc.fixturenames:
        wanted = metafunc.function.done_with
        chosen = {(each.page, each.words or each.text): each
                  for each in documented_commands.read_examples()
                  if documented_commands.treatment(each)[0] == wanted}
        metafunc.parametrize('example', chosen.values(), ids=lambda each: (
            f'{each.place} {" ".join(each.words)[:60] or each.language}'))


def _write_rosbag(path, images):
    """Write a rosbag2 with /camera/image_raw, as a camera's driver would publish it."""
    rosbag2 = pytest.importorskip('rosbags.rosbag2')
    typesys = pytest.importorskip('rosbags.typesys')
    store = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)
    kind = store.types['sensor_msgs/msg/Image']
    with rosbag2.Writer(path, version=9) as writer:
        topic = writer.add_connection('/camera/image_raw', kind.__msgtype__, typestore=store)
        for number, image in enumerate(images):
            stamp = store.types['builtin_interfaces/msg/Time'](sec=1, nanosec=number * 10 ** 8)
            header = store.types['std_msgs/msg/Header'](stamp=stamp, frame_id='camera')
            message = kind(header=header, height=image.shape[0], width=image.shape[1],
                           encoding='bgr8', is_bigendian=0, step=image.shape[1] * 3,
                           data=image.ravel())
            writer.write(topic, 10 ** 9 + number * 10 ** 8,
                         store.serialize_cdr(message, kind.__msgtype__))


@pytest.fixture(scope='session')
def files(tmp_path_factory, networks):
    """The folder with the files that the commands of the documentation name."""
    folder = tmp_path_factory.mktemp('documented')
    images = [np.ascontiguousarray(read_frame(number, 90, 160).image) for number in range(3)]
    for name in ('drives/monday', 'images', 'labels', 'typical'):
        (folder / name).mkdir(parents=True)
    for number, image in enumerate(images):
        for name in ('drives/monday', 'images', 'typical'):
            cv2.imwrite(str(folder / name / f'{number}.jpg'), image)
        cv2.imwrite(str(folder / 'labels' / f'{number}.png'), image.argmax(axis=2).astype('u1'))
    for name in ('street.jpg', 'photo.jpg'):
        cv2.imwrite(str(folder / name), images[0])
    onnx.save(networks.pointwise(networks.COLOUR_WEIGHTS, (32, 48)), folder / 'net.onnx')
    (folder / 'net.yaml').write_text(networks.COLOUR_CONFIG)
    if importlib.util.find_spec('rosbags'):
        _write_rosbag(folder / 'drive', images)
    return folder


@pytest.fixture(scope='session')
def _folders():
    return {}


@pytest.fixture
def folder(example, files, _folders, tmp_path_factory, monkeypatch):
    """The working folder of a page: a copy of ``files``, with what its commands have written."""
    if example.page not in _folders:
        _folders[example.page] = tmp_path_factory.mktemp('page') / 'page'
        shutil.copytree(files, _folders[example.page])
    monkeypatch.chdir(_folders[example.page])
    return _folders[example.page]
