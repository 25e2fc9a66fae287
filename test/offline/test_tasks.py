# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""``trt-segmentation run`` with a network of several tasks: images, videos and rosbags."""

import cv2
import numpy as np
import onnx
import pytest

from trt_segmentation.cli.main import main
from trt_segmentation.images.sources import open_video
from trt_segmentation.offline.files import Work
from trt_segmentation.offline.items import find_items
from trt_segmentation.offline.overlap import LaneCount
from trt_segmentation.offline.videos import segment_video
from trt_segmentation.segmenter import Segmenter

SIZE = 24, 32
HEADS = {'drivable': np.array([[1, -1, 0], [-1, 0.5, 0.5]], np.float32),
         'out/1': np.eye(3, dtype=np.float32)}
OUTPUTS = [{'name': 'drivable', 'labels': ['other', 'road']},
           {'name': 'out/1', 'task': 'left_lanes', 'labels': ['none', 'left', 'right']}]


@pytest.fixture(params=['config', 'metadata'])
def network(request, networks, tmp_path):
    """The options for a network of two tasks, described by a config or by its metadata."""
    text = networks.config_of(input={'color': 'bgr', 'scale': 1.0}, outputs=OUTPUTS).to_text()
    in_file = {'metadata': text} if request.param == 'metadata' else {}
    onnx.save(networks.heads(HEADS, SIZE, **in_file), tmp_path / 'net.onnx')
    (tmp_path / 'net.yaml').write_text(text)
    config = [] if in_file else ['--config', tmp_path / 'net.yaml']
    return ['--model', tmp_path / 'net.onnx', *config]


def run(*arguments):
    return main(['run', *map(str, arguments), '--threads', '1'])


def open_network(network):
    return Segmenter.open(network[1], config=network[3] if network[2:] else None)


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*')
                  if path.is_file())


def test_images_get_the_files_of_each_task(network, tmp_path, write_images):
    folder = write_images(tmp_path / 'in', 2)
    assert run(folder, *network, '--output', tmp_path / 'out', '--outputs', 'mask',
               'left_lanes/overlay') == 0
    assert files(tmp_path / 'out') == [
        f'{index:05d}_{name}.png' for index in range(2)
        for name in ('drivable_mask', 'left_lanes_mask', 'left_lanes_overlay')]
    segmenter = open_network(network)
    for path in sorted(folder.iterdir()):
        found = segmenter.infer(cv2.imread(str(path)), outputs=('mask', 'left_lanes/overlay'))
        for name, array in found.arrays.items():
            written = tmp_path / 'out' / f'{path.stem}_{name.replace("/", "_")}.png'
            np.testing.assert_array_equal(cv2.imread(str(written), cv2.IMREAD_UNCHANGED), array)


def test_results_of_a_run_are_no_inputs_of_the_next(network, tmp_path, write_images, capsys):
    folder = write_images(tmp_path / 'in', 2)
    for _ in range(2):
        assert run(folder, *network, '--output', folder) == 0
        assert '2 of 2 inputs segmented' in capsys.readouterr().out
        assert len(files(folder)) == 2 + 2 * 4


def test_results_of_two_images_never_have_the_same_name(tmp_path):
    image = cv2.imencode('.png', np.zeros((4, 4, 3), np.uint8))[1].tobytes()
    for name in ('a.png', 'a_left.png'):
        (tmp_path / name).write_bytes(image)
    found = find_items([tmp_path], tmp_path / 'out', tasks=('lanes', 'left_lanes'))
    assert [item.path.name for item in found.items] == ['a.png']
    assert 'a_left.png: its results would replace those of' in found.refused[0]


def test_an_output_that_no_task_has_is_refused(network, tmp_path, write_images, capsys):
    folder = write_images(tmp_path / 'in', 1)
    assert run(folder, *network, '--output', tmp_path / 'out', '--outputs', 'road/mask') == 1
    assert 'cannot give road/mask' in capsys.readouterr().err


def test_a_video_gets_masks_and_an_overlay_video_of_each_task(network, tmp_path, write_video):
    write_video(tmp_path / 'clip.mp4', 4)
    (item,) = find_items([tmp_path / 'clip.mp4'], tmp_path / 'out').items
    segmenter, scratch = open_network(network), tmp_path / 'scratch'
    scratch.mkdir()
    work = Work(tuple(name for name in segmenter.available_outputs if 'confidence' not in name),
                scratch, LaneCount(), lambda device: segmenter)
    names = ['clip_drivable_mask', 'clip_left_lanes_mask', 'clip_drivable_overlay.mp4',
             'clip_left_lanes_overlay.mp4']
    videos = []
    for _ in range(2):  # the second time, overlays are rendered from the existing masks
        assert segment_video(work, segmenter, item) == ()
        assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == sorted(names)
        videos.append([(tmp_path / 'out' / name).read_bytes() for name in names[2:]])
    assert videos[0] == videos[1]
    assert videos[0][0] != videos[0][1]
    with open_video(tmp_path / 'clip.mp4') as video:
        for index in range(4):
            found = segmenter.infer(video.read()[1])
            for task in ('drivable', 'left_lanes'):
                path = tmp_path / 'out' / f'clip_{task}_mask' / f'{index:06d}.png'
                np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED),
                                              found.task(task).mask)
