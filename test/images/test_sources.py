# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Images of real files are read with their pixels, in order and evenly distributed."""

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from trt_segmentation.errors import ImageError
from trt_segmentation.images import decoding
from trt_segmentation.images.sources import (
    is_image,
    open_images,
    read_image,
    refuse_address,
    source_files,
)


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


@pytest.mark.parametrize('content', [
    lambda png: png[:60], lambda png: b'', lambda png: b'hello', lambda png: b'\0' * len(png)],
    ids=['cut short', 'empty', 'text', 'zeros'])
def test_a_damaged_image_is_named_in_a_folder_and_alone(folder, content):
    damaged = folder / '25.PNG'
    damaged.write_bytes(content((folder / '20.png').read_bytes()))
    for source in (folder, damaged):
        with pytest.raises(ImageError, match=r'25\.PNG: cannot be decoded'):
            list(open_images(source))
    errors = []
    assert levels(open_images(folder, on_error=errors.append)) == [10, 20, 30, 40]
    assert len(errors) == 1


@pytest.mark.parametrize('suffix', ['gif', 'ppm', 'pgm', 'avif', 'heic', 'jxl', 'jp2'])
def test_an_empty_image_of_any_format_is_named(folder, suffix):
    (folder / f'25.{suffix}').write_bytes(b'')
    with pytest.raises(ImageError, match=rf'25\.{suffix}: cannot be decoded'):
        list(open_images(folder))


def test_a_jpeg_xl_codestream_is_refused_by_name_in_a_folder_and_alone(folder):
    (folder / 'photo').write_bytes(b'\xff\x0a\xfa\x1f')
    for source in (folder, folder / 'photo'):
        with pytest.raises(ImageError, match='photo: is JPEG XL, which is not supported'):
            list(open_images(source))


def test_a_link_to_an_image_that_does_not_exist_is_named(folder):
    (folder / '25.jpg').symlink_to(folder / 'gone')
    (folder / 'notes.txt').symlink_to(folder / 'gone')
    with pytest.raises(ImageError, match=r'25\.jpg: cannot be read \(No such file'):
        list(open_images(folder))
    errors = []
    assert levels(open_images(folder, on_error=errors.append)) == [10, 20, 30, 40]
    assert len(errors) == 1
    assert folder / '25.jpg' not in source_files(folder)  # whose bytes are read for a digest


def test_source_files_are_all_that_may_be_read(folder, video):
    assert source_files(video) == [video]
    assert [path.name for path in source_files(folder)][:2] == ['10.png', '20.png']
    with pytest.raises(ImageError, match='gone'):
        source_files(folder / 'gone')


def test_a_name_that_is_not_utf_8_is_read_and_printed(tmp_path):
    path = tmp_path / os.fsdecode(b'caf\xe9.png')
    cv2.imwrite(str(tmp_path / 'a.png'), gray(7))
    (tmp_path / 'a.png').rename(path)
    assert [name for name, _ in open_images(tmp_path)] == ['caf\\xe9.png']
    path.write_bytes(path.read_bytes()[:60])
    for source in (path, tmp_path):
        with pytest.raises(ImageError) as told:
            list(open_images(source))
        str(told.value).encode()
        assert 'caf\\xe9.png: cannot be decoded' in str(told.value)


def test_a_video_whose_name_is_not_utf_8_is_refused(video):
    path = video.rename(video.with_name(os.fsdecode(b'caf\xe9.mp4')))
    with pytest.raises(ImageError, match=r'caf\\xe9.mp4: .* not UTF-8; rename it'):
        list(open_images(path))


def test_a_file_that_cannot_be_opened_is_named(folder, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, 'Permission denied')

    path = folder / '10.png'
    assert is_image(path)
    monkeypatch.setattr(type(path), 'open', refuse)
    assert not is_image(path)
    with pytest.raises(ImageError, match=r'10\.png: cannot be read \(Permission denied\)'):
        list(open_images(path))


def test_with_on_error_undecodable_images_are_skipped_and_reported(folder):
    (folder / '25.png').write_bytes((folder / '20.png').read_bytes()[:60])
    told = []
    assert levels(open_images(folder, on_error=told.append)) == [10, 20, 30, 40]
    assert [str(error).partition(':')[0] for error in told] == [str(folder / '25.png')]


def test_a_depth_image_is_refused_by_name(tmp_path):
    cv2.imwrite(str(tmp_path / 'depth.png'), np.full((4, 5), 1234, np.uint16))
    with pytest.raises(ImageError, match=r'depth\.png: holds 16 bits in one channel.*depth and o'):
        read_image(tmp_path / 'depth.png')


def test_an_orientation_is_not_applied_and_logged_for_the_first_file(tmp_path, image_bytes, caplog,
                                                                     monkeypatch):
    monkeypatch.setattr(decoding, '_warned', defaultdict(set))
    pixels = cv2.resize(np.arange(12, dtype=np.uint8).reshape(2, 2, 3) * 20, (32, 16))
    for name in ('a', 'b'):
        (tmp_path / f'{name}.png').write_bytes(image_bytes.turned('PNG', pixels, 3))
    for _, image in open_images(tmp_path):
        np.testing.assert_array_equal(image, pixels)
    warning, = [record.getMessage() for record in caplog.records]
    assert f'{tmp_path / "a.png"}: its EXIF orientation 3 is not applied' in warning
    assert 'mogrify -auto-orient' in warning


CLAIMS = """
import cv2  # before the package, which therefore can set no limit of OpenCV's
import sys
from pathlib import Path
from trt_segmentation.errors import ImageError
from trt_segmentation.images.sources import is_image, read_image
for name in sys.argv[1:]:
    assert is_image(Path(name))
    try:
        read_image(Path(name))
    except ImageError as error:
        assert 'more than 16384 pixels' in str(error), error
    else:
        raise AssertionError('decoded')
# Not getrusage, whose maximum begins with that of the process that started this one.
print(int(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0]) // 1024)
"""


def test_a_small_file_that_claims_a_large_size_takes_no_memory(tmp_path, image_bytes):
    files = {'claims.jpg': image_bytes.jpeg_of(30000, 30000),
             'is.png': image_bytes.png_of(40000, 30000), 'a.webp': image_bytes.webp_of(20000, 9)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, '-c', CLAIMS, *(str(tmp_path / name) for name in files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1000, 'MB were taken'


@pytest.mark.parametrize('given', ['rtsp://cam:554/live', Path('rtsp://cam:554/live'),
                                   'http://host/a.jpg', 'v4l2:///dev/video0'], ids=str)
def test_a_url_is_refused_and_supported_sources_are_named(given):
    for read in (refuse_address, source_files, lambda path: list(open_images(path))):
        with pytest.raises(ImageError, match=r'^\w+://.*: is a URL; give an image file, '
                                             r'a folder of images, a video or a rosbag on this '
                                             r'machine\. For a live stream, run the node'):
            read(given)
    with pytest.raises(ImageError, match=r'^rtsp://cam:554/live: '):
        refuse_address(Path('rtsp://cam:554/live'))


@pytest.mark.parametrize('given', ['a.jpg', '/data/a.jpg', 'a:b.jpg', 'C:/images', '', 'data//a'])
def test_paths_are_no_urls(given):
    refuse_address(given)
    refuse_address(Path(given))
