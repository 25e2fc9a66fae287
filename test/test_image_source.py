# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Images come out of real files as they were put in, in order, evenly spread."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from trt_segmentation.errors import ImageError
from trt_segmentation.image_source import open_images, refuse_address, source_files


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


@pytest.mark.parametrize('given', ['rtsp://cam:554/live', Path('rtsp://cam:554/live'),
                                   'http://host/a.jpg', 'v4l2:///dev/video0'], ids=str)
def test_an_address_is_refused_with_what_is_read_instead(given):
    for read in (refuse_address, source_files, lambda path: list(open_images(path))):
        with pytest.raises(ImageError, match=r'^\w+://.*: is an address; read are image files, '
                                             r'folders of images, videos and rosbags on this '
                                             r'machine\. For a live stream, run the node'):
            read(given)
    with pytest.raises(ImageError, match=r'^rtsp://cam:554/live: '):
        refuse_address(Path('rtsp://cam:554/live'))


@pytest.mark.parametrize('given', ['a.jpg', '/data/a.jpg', 'a:b.jpg', 'C:/images', '', 'data//a'])
def test_paths_are_no_addresses(given):
    refuse_address(given)
    refuse_address(Path(given))
