# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The input files of a run, and the paths of their results."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from trt_segmentation.offline import items
from trt_segmentation.offline.items import find_items


@pytest.fixture
def photos(tmp_path):
    """Function that writes small PNGs and other files to paths below a folder."""
    png = cv2.imencode('.png', np.zeros((4, 4, 3), np.uint8))[1].tobytes()

    def write(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png if not name.endswith('.txt') else b'text')
        return tmp_path
    return write


def targets(found, output):
    return [item.target('mask').relative_to(output).as_posix() for item in found.items]


def test_folders_below_are_mirrored(photos):
    folder = photos('in/x.jpg', 'in/a/x.jpg', 'in/a/b/x.jpg', 'in/notes.txt', 'in/.hidden/x.jpg',
                    'in/.x.jpg')
    found = find_items([folder / 'in'], folder / 'out')
    assert targets(found, folder / 'out') == ['x_mask.png', 'a/x_mask.png', 'a/b/x_mask.png']
    assert (list(found.refused), found.skipped) == ([], 1)


def test_results_that_would_collide_keep_their_folders(photos):
    folder = photos('a/x.jpg', 'b/x.jpg', 'b/y.jpg')
    for inputs in (['a', 'b'], ['a/x.jpg', 'b/x.jpg', 'b/y.jpg']):
        found = find_items([folder / name for name in inputs], folder / 'out')
        assert targets(found, folder / 'out') == ['a/x_mask.png', 'b/x_mask.png', 'y_mask.png']


def test_an_image_and_a_video_of_one_name_do_not_collide(photos):
    folder = photos('in/x.png', 'in/x.mp4')
    found = find_items([folder / 'in'], folder / 'out')
    assert [(item.path.name, item.is_video) for item in found.items] == [
        ('x.mp4', True), ('x.png', False)]
    written = {item.target(name).name for item in found.items for name in ('mask', 'overlay')}
    assert written == {'x_mask', 'x_overlay.mp4', 'x_mask.png', 'x_overlay.png'}


def test_names_of_dots_give_results_in_the_output(photos):
    folder = photos('..png', '...png', 'in/a.', 'in/.b')
    found = find_items([folder / name for name in ('..png', '...png', 'in/a.', 'in/.b')],
                       folder / 'out')
    assert all(target.endswith('_mask.png') for target in targets(found, folder / 'out'))
    assert all(item.target('mask').parent == folder / 'out' for item in found.items)
    assert (len(found.items), list(found.refused)) == (4, [])


def test_two_images_of_one_name_in_one_folder_are_refused(photos):
    folder = photos('in/x.png', 'in/x.jpg')
    found = find_items([folder / 'in'], folder / 'out')
    assert targets(found, folder / 'out') == ['x_mask.png']
    assert found.refused == [f"{folder / 'in/x.png'}: its results would replace those of "
                             f"{folder / 'in/x.jpg'}; rename one"]


def test_an_input_that_is_given_twice_is_segmented_once(photos):
    folder = photos('in/x.png')
    found = find_items([folder / 'in/x.png', folder / 'in', folder / 'in/../in/x.png'],
                       folder / 'out')
    assert targets(found, folder / 'out') == ['x_mask.png']
    assert found.refused == []


def test_results_of_a_run_are_no_inputs(photos):
    folder = photos('m/y.png', 'm/y_mask.png', 'm/y_overlay.png', 'm/v.mp4', 'm/v_mask/000000.png',
                    'm/v_overlay.mp4', 'm/clip_mask.png')
    found = find_items([folder / 'm'], folder / 'm')
    assert sorted(item.path.name for item in found.items) == ['clip_mask.png', 'v.mp4', 'y.png']


def test_an_output_inside_of_an_input_is_no_input(photos):
    folder = photos('m/y.png', 'm/out/gone_mask.png', 'm/out/.unfinished/x.png')
    found = find_items([folder / 'm'], folder / 'm' / 'out')
    assert [item.path.name for item in found.items] == ['y.png']


def test_links_to_folders_are_followed_once(photos):
    folder = photos('in/x.png', 'elsewhere/y.png')
    os.symlink(folder / 'elsewhere', folder / 'in' / 'linked')
    os.symlink(folder / 'in', folder / 'in' / 'loop')
    found = find_items([folder / 'in'], folder / 'out')
    assert targets(found, folder / 'out') == ['x_mask.png', 'linked/y_mask.png']


def test_the_error_of_a_folder_without_images_lists_the_suffixes(photos):
    folder = photos('in/notes.txt', 'good/x.png')
    found = find_items([folder / 'in', folder / 'good', folder / 'gone.png'], folder / 'out')
    assert targets(found, folder / 'out') == ['x_mask.png']
    assert found.refused[0].startswith(
        f"{folder / 'in'}: contains no image or video among its 1 files; supported, also in "
        'subfolders, are images (.bmp, .gif, .jpeg')
    assert '.mp4' in found.refused[0]
    assert 'gone.png: there is no such file' in found.refused[1]


def test_a_pipe_or_a_device_is_called_so(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    found = find_items([tmp_path / 'pipe', Path('/dev/null')], tmp_path / 'out')
    assert not found.items
    for path, sentence in zip((tmp_path / 'pipe', '/dev/null'), found.refused, strict=True):
        assert sentence.startswith(f'{path}: is neither a file nor a folder, but a pipe')


def test_what_cannot_be_read_is_refused_and_the_rest_is_found(photos, monkeypatch):
    folder = photos('in/x.png', 'in/locked/y.png', 'locked/z.png')

    def refuse(function):
        def guarded(path):
            if 'locked' in str(path):
                raise PermissionError(13, 'Permission denied', str(path))
            return function(path)
        return guarded

    monkeypatch.setattr(os, 'scandir', refuse(os.scandir))
    monkeypatch.setattr(items, 'is_read_as_image', refuse(items.is_read_as_image))
    found = find_items([folder / 'in', folder / 'locked' / 'z.png'], folder / 'out')
    assert targets(found, folder / 'out') == ['x_mask.png']
    assert found.refused == [f'{folder}/{name}: cannot be read (Permission denied)'
                             for name in ('in/locked', 'locked/z.png')]


def test_a_damaged_image_in_a_folder_is_an_input_by_its_name(photos):
    folder = photos('in/x.txt')
    names = [f'empty{number}{suffix}' for number, suffix in enumerate((
        '.avif', '.bmp', '.exr', '.gif', '.heic', '.jls', '.jp2', '.jpg', '.jxl', '.pbm', '.pgm',
        '.pnm', '.PPM', '.tif', '.webp'))]
    for name in names:
        (folder / 'in' / name).write_bytes(b'')
    found = find_items([folder / 'in'], folder / 'out')
    assert sorted(item.path.name for item in found.items) == sorted(names)
    assert (list(found.refused), found.skipped) == ([], 1)


def test_links_to_files_that_do_not_exist_are_refused(photos):
    folder = photos('in/x.png', 'y.jpg')
    (folder / 'in' / 'good.jpg').symlink_to(folder / 'y.jpg')
    names = ['image.jpg', 'netpbm.PPM', 'photo.heic', 'video.mp4']
    for name in (*names, 'notes.txt', '.hidden.jpg'):
        (folder / 'in' / name).symlink_to(folder / 'gone')
    (folder / 'alone.png').symlink_to(folder / 'gone')
    found = find_items([folder / 'in', folder / 'alone.png'], folder / 'out')
    assert [item.path.name for item in found.items] == ['good.jpg', 'x.png']
    assert found.refused == [f'{folder / path}: is a link to a file that does not exist'
                             for path in (*(f'in/{name}' for name in names), 'alone.png')]


def test_the_error_of_a_url_names_the_supported_inputs(photos):
    folder = photos('in/x.png')
    found = find_items([Path('rtsp://camera/live'), folder / 'in'], folder / 'out')
    assert targets(found, folder / 'out') == ['x_mask.png']
    assert found.refused[0].startswith('rtsp://camera/live: is a URL; give an image file')
