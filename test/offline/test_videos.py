# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""``trt-segmentation run`` on videos: complete files, and resumed runs."""

import re
import signal
import subprocess

import cv2
import numpy as np
import onnx
import pytest

from trt_segmentation.cli.main import main
from trt_segmentation.demo.clip import read_frame
from trt_segmentation.errors import OutputError
from trt_segmentation.images.render import blended
from trt_segmentation.images.sources import open_images
from trt_segmentation.offline import videos
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

FRAMES = 60


def run(*arguments):
    return main(['run', *map(str, arguments), '--threads', '1'])


def frames_of(path):
    video = cv2.VideoCapture(str(path))
    frames = []
    while (frame := video.read()[1]) is not None:
        frames.append(frame)
    video.release()
    return frames


def masks(out):
    return sorted(path.name for path in (out / 'clip_mask').glob('*'))


@pytest.mark.parametrize('alpha', [0.0, 0.1, 0.35, 0.5, 0.77, 1.0])
def test_an_overlay_can_be_rendered_from_its_mask(alpha):
    image, segmenter = read_frame(3, 180, 320).image, Segmenter.open()
    segmenter.overlay_alpha = alpha
    result = segmenter.infer(image, outputs=('mask', 'overlay'))
    rendered = blended(image, result.mask, segmenter.spec.palette, alpha)
    np.testing.assert_array_equal(rendered, result.overlay)


@pytest.fixture(scope='module')
def clip(tmp_path_factory, write_video):
    return write_video(tmp_path_factory.mktemp('video') / 'clip.mp4', FRAMES)


@pytest.fixture(scope='module')
def whole(clip, tmp_path_factory):
    """The results of an uninterrupted run on the clip."""
    out = tmp_path_factory.mktemp('whole')
    assert run(clip, '--output', out) == 0
    return out


def test_every_frame_has_its_results_in_order(clip, whole):
    segmenter = Segmenter.open()
    frames = frames_of(clip)
    assert masks(whole) == [f'{index:06d}.png' for index in range(FRAMES)]
    for index in (0, 31, FRAMES - 1):
        mask = cv2.imread(str(whole / 'clip_mask' / f'{index:06d}.png'), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(mask, segmenter.infer(frames[index]).mask)
    overlays = frames_of(whole / 'clip_overlay.mp4')
    assert len(overlays) == FRAMES
    for index in (0, 31, FRAMES - 1):  # in order; MPEG-4 loses details
        expected = segmenter.infer(frames[index], outputs=('overlay',)).overlay
        assert np.abs(overlays[index].astype(int) - expected).mean() < 10
    assert sorted(path.name for path in whole.iterdir()) == ['clip_mask', 'clip_overlay.mp4']


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_video_is_resumed(tmp_path, clip, whole, contents, interrupt, number):
    out = tmp_path / 'out'
    interrupt([clip, '--output', out, '--threads', '1'],
              lambda: len(masks(out)) > 15 if out.is_dir() else False, number)
    assert not (out / 'clip_overlay.mp4').exists()
    before = {name: (out / 'clip_mask' / name).stat().st_mtime_ns for name in masks(out)}
    assert 15 < len(before) < FRAMES
    assert run(clip, '--output', out) == 0
    kept = [name for name, time in before.items()
            if (out / 'clip_mask' / name).stat().st_mtime_ns == time]
    assert len(kept) >= len(before) - 4
    assert contents(out) == contents(whole)


def run_until_full(monkeypatch, arguments, results):
    """Run until the disk is full, which it is after so many results."""
    right, count = videos.write_result, iter(range(results))
    with monkeypatch.context() as patch:
        def write_some(*given):
            if next(count, None) is None:
                raise OutputError('full')
            right(*given)

        patch.setattr(videos, 'write_result', write_some)
        assert run(*arguments) == 1


@pytest.mark.parametrize('scale', ['1', '0.5'])
def test_overlays_are_the_same_when_resumed(tmp_path, write_video, contents, monkeypatch, scale):
    arguments = [write_video(tmp_path / 'clip.mp4', 12), '--overlay-scale', scale, '--output']
    assert run(*arguments, tmp_path / 'whole') == 0
    run_until_full(monkeypatch, [*arguments, tmp_path / 'out'], 7)
    assert run(*arguments, tmp_path / 'out') == 0
    assert contents(tmp_path / 'out') == contents(tmp_path / 'whole')


def test_smoothed_masks_are_those_of_the_frames_in_order_also_when_resumed(
        tmp_path, networks, write_video, monkeypatch):
    text = 'input: {color: bgr, scale: 0.02}\noutput: {kind: logits}'
    onnx.save(networks.pointwise(np.eye(3), (24, 32), metadata=text), tmp_path / 'net.onnx')
    clips = [write_video(tmp_path / f'{name}.mp4', 12) for name in ('a', 'b')]
    arguments = [*clips, '--output', tmp_path / 'out', '--outputs', 'mask',
                 '--temporal-smoothing', '0.8', '--backend', 'onnxruntime',
                 '--model', tmp_path / 'net.onnx']
    run_until_full(monkeypatch, arguments, 17)
    assert run(*arguments) == 0
    segmenter = Segmenter.open(tmp_path / 'net.onnx',
                               options=RunOptions('onnxruntime', smoothing=True))
    segmenter.smoothing = 0.8
    for clip in clips:
        segmenter.reset_smoothing()
        for index, frame in enumerate(frames_of(clip)):
            found = cv2.imread(str(tmp_path / 'out' / f'{clip.stem}_mask' / f'{index:06d}.png'),
                               cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(found, segmenter.infer(frame).mask)


def test_frames_of_an_earlier_and_longer_video_are_removed(tmp_path, write_video):
    out = tmp_path / 'out'
    for frames in (9, 4):
        assert run(write_video(tmp_path / 'clip.mp4', frames), '--output', out) == 0
        assert len(masks(out)) == frames


def test_masks_alone_need_no_overlay_video(tmp_path, clip, whole, contents):
    assert run(clip, '--output', tmp_path / 'out', '--outputs', 'mask') == 0
    assert contents(tmp_path / 'out') == {
        name: data for name, data in contents(whole).items() if name.startswith('clip_mask')}


def test_an_overlay_video_that_cannot_be_written_is_an_error(tmp_path, clip, monkeypatch,
                                                             capsys):
    class NoEncoder:
        """The writer of an OpenCV without MPEG-4, which reports no error."""

        def __init__(self, *arguments):
            pass

        def write(self, frame):
            pass

        def release(self):
            pass

        fourcc = staticmethod(lambda *letters: 0)

    monkeypatch.setattr(cv2, 'VideoWriter', NoEncoder)
    assert run(clip, '--output', tmp_path / 'out') == 1
    shown = capsys.readouterr()
    assert '0 of 1 inputs segmented' in shown.out
    assert 'clip_overlay.mp4: cannot be written: 0 of 60 frames are in it' in shown.err
    assert not (tmp_path / 'out' / 'clip_overlay.mp4').exists()


def test_a_full_disk_leaves_no_video_that_cannot_be_opened_and_more_space_resumes(
        tmp_path, write_video, small_disk, contents, capsys):
    clip, disk = write_video(tmp_path / 'clip.mp4', 40, (640, 360)), small_disk(300)
    assert run(clip, '--output', disk) == 1
    shown = capsys.readouterr()
    assert 'No space left on device' in shown.err
    assert '0 of 1 inputs segmented' in shown.err
    assert 'the same command resumes this run' in shown.err
    assert not list(disk.glob('*.mp4'))
    assert all(cv2.imread(str(path), cv2.IMREAD_UNCHANGED) is not None
               for path in disk.rglob('0*.png'))
    subprocess.run(['mount', '-o', 'remount,size=16m', disk], check=True)
    assert run(clip, '--output', disk) == 0
    assert run(clip, '--output', tmp_path / 'whole') == 0
    assert contents(disk) == contents(tmp_path / 'whole')


def test_a_video_that_ends_early_is_reported(tmp_path, clip, capsys):
    cut = tmp_path / 'cut.avi'
    writer = cv2.VideoWriter(str(cut), cv2.VideoWriter.fourcc(*'MJPG'), 10, (96, 64))
    for frame in frames_of(clip):
        writer.write(frame)
    writer.release()
    data = cut.read_bytes()
    cut.write_bytes(data[:len(data) // 2])
    assert run(cut, '--output', tmp_path / 'out') == 0
    assert 'of the 60 frames that its header states could be decoded' in capsys.readouterr().err


def test_a_damaged_frame_costs_only_itself(tmp_path, clip, capsys):
    whole, damaged = tmp_path / 'whole.avi', tmp_path / 'clip.avi'
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter.fourcc(*'MJPG'), 10, (96, 64))
    for frame in frames_of(clip)[:10]:
        writer.write(frame)
    writer.release()
    data = bytearray(whole.read_bytes())
    frames = [match.start() for match in re.finditer(b'00dc.{4}\xff\xd8', data, re.DOTALL)]
    assert len(frames) == 10
    data[frames[4] + 8:frames[5]] = bytes(frames[5] - frames[4] - 8)
    damaged.write_bytes(data)
    images = dict(open_images(damaged))
    kept = [index for index in range(10) if index != 4]
    assert list(images) == [f'clip_{index:06d}' for index in kept]
    assert list(dict(open_images(damaged, count=3))) == [f'clip_00000{at}' for at in (1, 5, 8)]
    assert run(damaged, '--output', tmp_path / 'out') == 0
    assert '9 of the 10 frames that its header states' in capsys.readouterr().err
    assert masks(tmp_path / 'out') == [f'{index:06d}.png' for index in kept]
    segmenter = Segmenter.open()
    for index, frame in zip(range(10), frames_of(whole), strict=True):
        if index != 4:
            mask = cv2.imread(str(tmp_path / 'out' / 'clip_mask' / f'{index:06d}.png'), -1)
            np.testing.assert_array_equal(mask, segmenter.infer(frame).mask)
            np.testing.assert_array_equal(images[f'clip_{index:06d}'], frame)
    assert len(frames_of(tmp_path / 'out' / 'clip_overlay.mp4')) == 9


def test_a_file_that_is_no_video_does_not_stop_the_run(tmp_path, clip, capsys):
    (tmp_path / 'no.mp4').write_text('no video')
    assert run(clip, tmp_path / 'no.mp4', '--output', tmp_path / 'out') == 1
    shown = capsys.readouterr()
    assert '1 of 2 inputs segmented' in shown.out
    assert shown.err.count('no.mp4') == 1
    assert not (tmp_path / 'out' / 'no_mask').exists()


def test_a_video_without_a_readable_frame_leaves_no_folder(tmp_path, write_video, capsys):
    damaged = write_video(tmp_path / 'damaged.mp4', 3)
    data = damaged.read_bytes()
    start, end = data.index(b'mdat') + 4, data.index(b'moov') - 4
    damaged.write_bytes(data[:start] + bytes(end - start) + data[end:])
    assert run(damaged, '--output', tmp_path / 'out') == 1
    assert 'damaged.mp4: no frame can be decoded' in capsys.readouterr().err
    assert not list((tmp_path / 'out').glob('damaged*'))


def test_a_video_that_disappears_does_not_stop_the_run(tmp_path, clip, write_images, monkeypatch,
                                                       capsys):
    from trt_segmentation.cli import run_files
    gone = tmp_path / 'gone.mp4'
    gone.write_bytes(clip.read_bytes())
    folder = write_images(tmp_path / 'in', 2)
    segmenter_for = run_files.segmenter_for

    def open_and_lose(work):
        gone.unlink()
        return segmenter_for(work)

    monkeypatch.setattr(run_files, 'segmenter_for', open_and_lose)
    assert run(gone, folder, '--output', tmp_path / 'out') == 1
    shown = capsys.readouterr()
    assert '2 of 3 inputs segmented' in shown.out
    assert 'gone.mp4: cannot be read (No such file or directory)' in shown.err
