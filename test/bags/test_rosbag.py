# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Images read from rosbags equal those written."""

import sys

import cv2
import numpy as np
import pytest

from trt_segmentation.bags.replay import replay
from trt_segmentation.cli.main import main
from trt_segmentation.errors import ConfigError, ImageError
from trt_segmentation.images.rosbag import ImageTopic
from trt_segmentation.images.sources import open_images


def gray(value, height=16, width=32):
    return np.full((height, width, 3), value, np.uint8)


def levels(images):
    """Return the mean of each image."""
    return [round(float(image.mean())) for _, image in images]


@pytest.mark.parametrize(('storage', 'suffix'), [('MCAP', 'mcap'), ('SQLITE3', 'db3')])
def test_a_rosbag_gives_the_images_of_its_only_image_topic(tmp_path, storage, suffix, bag_writer):
    with bag_writer(tmp_path / 'drive', storage) as bag:
        for value in (10, 20, 30, 40):
            bag.write('/camera', bag.image(gray(value)))
            bag.write('/noise', bag.header())
    assert levels(open_images(bag.path)) == [10, 20, 30, 40]
    assert levels(open_images(bag.path, count=2)) == [20, 40]
    file, = bag.path.glob(f'*.{suffix}')
    assert levels(open_images(file, '/camera')) == [10, 20, 30, 40]


def test_rosbag_images_of_every_encoding_become_bgr(tmp_path, bag_writer):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    png = cv2.imencode('.png', pixels[..., 0])[1].tobytes()
    with bag_writer(tmp_path / 'drive', 'MCAP') as bag:
        bag.write('/rgb', bag.image(pixels[..., ::-1], 'rgb8'))
        bag.write('/padded', bag.image(pixels, 'bgr8', padding=4))
        bag.write('/mono', bag.image(pixels[..., 0], 'mono8', padding=3))
        bag.write('/png', bag.compressed(png))
    gray_pixels = np.repeat(pixels[..., :1], 3, axis=2)
    for topic, expected in (('/rgb', pixels), ('/padded', pixels), ('/mono', gray_pixels),
                            ('/png', gray_pixels)):
        (_, image), = open_images(bag.path, topic)
        np.testing.assert_array_equal(image, expected, topic)


def test_the_error_of_a_missing_or_ambiguous_topic_lists_the_topics(tmp_path, bag_writer):
    with bag_writer(tmp_path / 'drive', 'MCAP') as bag:
        for topic in ('/left', '/right'):
            bag.write(topic, bag.image(gray(1)))
    with pytest.raises(ImageError, match='/left, /right'):
        list(open_images(bag.path))
    with pytest.raises(ImageError, match=r"'/up' is no image topic .*/left, /right"):
        list(open_images(bag.path, '/up'))


def test_a_message_that_cannot_be_decoded_is_named(tmp_path, bag_writer):
    with bag_writer(tmp_path / 'drive', 'MCAP') as bag:
        bag.write('/depth', bag.image(np.zeros((4, 16), np.uint8), '32FC1'))
        bag.write('/cut', bag.compressed(cv2.imencode('.png', gray(3))[1].tobytes()[:50]))
    for topic in ('/depth', '/cut'):
        with pytest.raises(ImageError, match=f'drive, topic {topic}, message 0'):
            list(open_images(bag.path, topic))


def test_a_message_that_cannot_be_decoded_is_skipped_with_on_error(tmp_path, bag_writer):
    with bag_writer(tmp_path / 'drive', 'MCAP') as bag:
        for length in (None, 50, None):
            data = cv2.imencode('.png', gray(30))[1].tobytes()[:length]
            bag.write('/camera', bag.compressed(data))
    errors = []
    assert levels(open_images(bag.path, on_error=errors.append)) == [30, 30]
    assert ['message 1: format' in str(error) for error in errors] == [True]


@pytest.mark.parametrize(('storage', 'suffix'), [('MCAP', 'mcap'), ('SQLITE3', 'db3')])
def test_compressed_messages_are_read_without_metadata(tmp_path, storage, suffix, bag_writer):
    from rosbags.rosbag2 import CompressionFormat, CompressionMode
    bag = bag_writer(tmp_path / 'drive', storage)
    bag.writer.set_compression(CompressionMode.MESSAGE, CompressionFormat.ZSTD)
    with bag:
        bag.write('/camera', bag.image(gray(10)))
        bag.write('/camera', bag.image(gray(20)))
    assert levels(open_images(bag.path)) == [10, 20]
    file, = bag.path.glob(f'*.{suffix}')
    assert levels(open_images(file)) == [10, 20]


@pytest.fixture
def write_mcap(tmp_path, bag_writer):
    """Function that writes images of levels 10 and 20 with the definition and the profile given,
    and a channel of JSON; returns the path."""
    mcap = pytest.importorskip('mcap.writer')
    with bag_writer(tmp_path / 'recorded', 'MCAP') as bag:
        for level in (10, 20):
            bag.write('/camera', bag.image(gray(level)))
    with ImageTopic(bag.path) as topic:
        recorded = list(topic.messages())

    def write(definition=b'', profile='ros2', encoding='ros2msg', other='ros2msg'):
        path = tmp_path / 'drive.mcap'
        with path.open('wb') as file:
            output = mcap.Writer(file)
            output.start(profile=profile)
            schema = output.register_schema('sensor_msgs/msg/Image', encoding, definition)
            channel = output.register_channel('/camera', 'cdr', schema)
            output.register_channel('/x', 'json', output.register_schema('X', other, b''))
            for each in recorded:
                output.add_message(channel, each.received, each.data, each.received)
            output.finish()
        return path
    return write


@pytest.mark.parametrize('definition', [b'', b'this is no definition'])
def test_images_are_read_without_their_definition(write_mcap, definition):
    assert levels(open_images(write_mcap(definition))) == [10, 20]


@pytest.mark.parametrize('unusual', [{'profile': ''}, {'other': 'jsonschema'},
                                     {'encoding': 'ros2idl', 'definition': b'no idl'}])
def test_a_whole_bag_that_rosbags_does_not_open_is_not_called_damaged(write_mcap, tmp_path, capsys,
                                                                      unusual):
    path = write_mcap(**unusual)
    with pytest.raises(ImageError, match='this rosbag cannot be read'):
        ImageTopic(path)
    assert main(['run', str(path), '--output', str(tmp_path / 'out.mcap')]) == 0
    shown = capsys.readouterr()
    assert '2 of 2 frames of /camera segmented' in shown.out
    assert 'damaged' not in shown.err


def test_a_split_bag_without_one_of_its_files_is_read_up_to_it(tmp_path, bag_writer, capsys):
    with bag_writer(tmp_path / 'drive', 'MCAP') as bag:
        bag.write('/camera', bag.image(gray(10)))
    metadata = bag.path / 'metadata.yaml'
    metadata.write_text(metadata.read_text().replace('- drive.mcap', '- drive.mcap\n  - b.mcap'))
    assert main(['run', str(bag.path), '--output', str(tmp_path / 'out.mcap')]) == 1
    shown = capsys.readouterr()
    assert '1 of 1 frames of /camera segmented' in shown.out
    assert 'b.mcap: cannot be read (No such file or directory)' in shown.err


@pytest.mark.parametrize('text', [b'', b'[1]', b'{{{', b'\xff',
                                  b'rosbag2_bagfile_information: {}'])
def test_damaged_metadata_is_named(tmp_path, bag_writer, capsys, text):
    with bag_writer(tmp_path / 'drive', 'MCAP') as bag:
        bag.write('/camera', bag.image(gray(10)))
    (bag.path / 'metadata.yaml').write_bytes(text)
    assert main(['run', str(bag.path), '--output', str(tmp_path / 'out.mcap')]) == 1
    assert 'drive: metadata.yaml is damaged (' in capsys.readouterr().err


def test_a_folder_of_images_with_metadata_of_its_own_is_no_rosbag(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), gray(10))
    (tmp_path / 'metadata.yaml').write_text('name: my dataset')
    assert levels(open_images(tmp_path)) == [10]


@pytest.mark.parametrize('name', ['a#1', 'a?b', 'a%41', '50%_speed', 'a b', "it's"])
def test_names_that_rosbags_would_open_as_other_files_are_refused(tmp_path, name, bag_writer):
    with bag_writer(tmp_path / 'drive', 'SQLITE3') as bag:
        bag.write('/camera', bag.image(gray(10)))
    folder = bag.path.rename(tmp_path / name)
    file = (folder / 'drive.db3').rename(tmp_path / f'{name}.db3')
    before = sorted(tmp_path.iterdir())
    if set('#?') & set(name) or '%41' in name:
        with pytest.raises(ImageError, match=r"in the path of a \.db3 file is not supported"):
            list(open_images(file))
        with pytest.raises(ConfigError, match=r"in the path of a \.db3 file is not supported"):
            replay(None, file, {}, None, None)
    else:
        assert levels(open_images(file)) == [10]
    assert sorted(tmp_path.iterdir()) == before


def test_a_damaged_rosbag_is_named(tmp_path):
    (tmp_path / 'drive.mcap').write_bytes(b'no bag')
    with pytest.raises(ImageError, match=r'drive\.mcap: this rosbag cannot be read'):
        list(open_images(tmp_path / 'drive.mcap'))


def test_without_rosbags_the_error_has_the_command_that_installs_it(tmp_path, monkeypatch):
    (tmp_path / 'drive.mcap').touch()
    monkeypatch.setitem(sys.modules, 'rosbags.highlevel', None)
    with pytest.raises(ImageError, match='pip install rosbags'):
        list(open_images(tmp_path / 'drive.mcap'))


def test_compressed_images_have_the_pixels_and_colours_of_the_camera(tmp_path, bag_writer):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    tiff = cv2.imencode('.tiff', pixels)[1].tobytes()
    with bag_writer(tmp_path / 'drive', 'MCAP') as bag:
        bag.write('/rgb', bag.compressed(tiff, 'rgb8; tiff compressed '))
        bag.write('/nv12', bag.image(np.full((4, 4), 128, np.uint8), 'nv12'))
    (_, image), = open_images(bag.path, '/rgb')
    np.testing.assert_array_equal(image, pixels[..., ::-1])
    with pytest.raises(ImageError, match='data has 16 bytes'):
        list(open_images(bag.path, '/nv12'))


def test_a_window_holds_what_was_received_from_its_start_and_before_its_stop(drive):
    with ImageTopic(drive) as topic:
        received = [message.received for message in topic.messages()]
        assert received == sorted(received)
        assert len(received) == topic.count == 180
        window = topic.messages(received[20], received[70])
        assert [message.received for message in window] == received[20:70]
        assert topic.start <= received[0]
        assert received[-1] < topic.stop


def test_gray_images_stay_gray_for_a_network_of_one_channel(bag_writer, tmp_path):
    gray = np.random.default_rng(0).integers(0, 2**16, (3, 4, 5), np.uint16)
    with bag_writer(tmp_path / 'bag', 'SQLITE3') as bag:
        for image, encoding in zip(gray, ('mono16', 'mono8', '16UC1'), strict=True):
            pixels = image.astype(np.uint8) if encoding == 'mono8' else image
            bag.write('/image', bag.image(pixels.view(np.uint8).reshape(4, 5, -1), encoding))
    found = [image for _, image in open_images(tmp_path / 'bag', gray_bits=16)]
    for image, expected in zip(found, (gray[0], gray[1].astype(np.uint8), gray[2]), strict=True):
        np.testing.assert_array_equal(image, expected)
        assert image.dtype == expected.dtype
