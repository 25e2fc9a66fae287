# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The command line, as a person uses it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from trt_segmentation.cli.main import COMMANDS, main
from trt_segmentation.demo.clip import read_clip, read_frame
from trt_segmentation.evaluation.metrics import confusion_matrix, mean_iou
from trt_segmentation.graph.analysis.measurement import MeasurementSetup
from trt_segmentation.graph.onnx_tools.network import read_network
from trt_segmentation.graph.reading.resolve import complete_config, resolve
from trt_segmentation.model_config import ModelConfig
from trt_segmentation.segmenter import Segmenter, demo_model


@pytest.fixture(scope='module')
def scene():
    return read_frame(5, 180, 320)


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(['--help'])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)


def test_run_writes_mask_and_overlay_of_images_and_folders(tmp_path, scene):
    (tmp_path / 'folder').mkdir()
    cv2.imwrite(str(tmp_path / 'street.png'), scene.image)
    cv2.imwrite(str(tmp_path / 'folder' / 'other.png'), scene.image[:, ::-1])
    out = tmp_path / 'out'
    assert main(['run', str(tmp_path / 'street.png'), str(tmp_path / 'folder'), '--output',
                 str(out)]) == 0
    mask = cv2.imread(str(out / 'street_mask.png'), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask, Segmenter.open().infer(scene.image).mask)
    assert cv2.imread(str(out / 'street_overlay.png')).shape == scene.image.shape
    assert (out / 'other_mask.png').is_file()


def test_run_goes_on_after_bad_files_and_fails_in_the_end(tmp_path, scene, capsys):
    cv2.imwrite(str(tmp_path / 'a.png'), scene.image)
    (tmp_path / 'b.png').write_bytes((tmp_path / 'a.png').read_bytes()[:200])
    (tmp_path / 'c.txt').write_text('no image')
    cv2.imwrite(str(tmp_path / 'z.jpg'), scene.image)
    out = tmp_path / 'out'
    inputs = [str(tmp_path / name) for name in ('a.png', 'b.png', 'c.txt', 'gone.png', 'z.jpg')]
    assert main(['run', *inputs, '--output', str(out)]) == 1
    shown = capsys.readouterr()
    assert '2 of 5 inputs segmented' in shown.out
    assert '3 failed' in shown.err
    assert all(name in shown.err for name in ('b.png', 'c.txt', 'gone.png'))
    assert (out / 'z_mask.png').is_file()


def test_run_does_not_overwrite_results_of_the_same_name(tmp_path, scene, capsys):
    for name in ('a.png', 'a.jpg'):
        cv2.imwrite(str(tmp_path / name), scene.image)
    assert main(['run', str(tmp_path / 'a.png'), str(tmp_path / 'a.jpg'), '--output',
                 str(tmp_path / 'out')]) == 1
    assert 'rename one' in capsys.readouterr().err


def test_run_segments_every_frame_of_a_video(tmp_path, scene):
    path = tmp_path / 'drive.mp4'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), 10, (320, 180))
    for _ in range(4):
        writer.write(scene.image)
    writer.release()
    assert main(['run', str(path), '--output', str(tmp_path / 'out'), '--overlay-scale',
                 '0.5']) == 0
    masks = sorted((tmp_path / 'out' / 'drive_mask').glob('*.png'))
    assert [m.name for m in masks] == [f'{i:06d}.png' for i in range(4)]
    video = cv2.VideoCapture(str(tmp_path / 'out' / 'drive_overlay.mp4'))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 4
    assert video.read()[1].shape == (90, 160, 3)


def test_inspect_shows_where_each_value_comes_from(capsys):
    assert main(['inspect']) == 0
    shown = capsys.readouterr().out
    assert "input   'image' float32 [1, 3, 288, 512]" in shown
    assert 'assumed' not in shown


def test_inspect_says_what_is_missing(tmp_path, networks, capsys):
    import onnx
    path = tmp_path / 'open.onnx'
    onnx.save(networks.pointwise(np.eye(3), (None, None)), path)
    assert main(['inspect', str(path)]) == 0
    shown = capsys.readouterr().out
    assert "input   'pixels' float32 [1, 3, ?, ?]" in shown
    assert 'input.size [512, 512] assumed' in ' '.join(shown.split())
    assert 'input.size        [height, width] of the training (this one was tried' in shown


def test_errors_are_one_line(tmp_path, capsys):
    assert main(['inspect', str(tmp_path / 'no.onnx')]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith('error: ')
    assert shown.count('\n') == 1


def test_bench_compares_with_the_baseline(tmp_path, capsys):
    report = tmp_path / 'bench.json'
    assert main(['bench', '--size', '360x640', '--frames', '3', '--against', 'baseline', '--json',
                 str(report), '--overlay-scale', '0.5']) == 0
    entry = json.loads(report.read_text())
    assert entry['ratio_p50'] > 0
    assert entry['mask_agreement'] > 0.98
    assert 'times as fast' in capsys.readouterr().out


def test_demo_model_is_small_and_good():
    assert demo_model().stat().st_size <= 2e6
    segmenter = Segmenter.open()
    confusion = sum(confusion_matrix(unseen.labels, segmenter.infer(unseen.image).mask, 7)
                    for unseen in read_clip())
    assert mean_iou(confusion) >= 0.9


@pytest.mark.ros
def test_demo_accounts_for_every_frame(tmp_path):
    pytest.importorskip('rclpy')
    assert main(['demo', '--frames', '30', '--output', str(tmp_path)]) == 0
    report = json.loads((tmp_path / 'report.json').read_text())
    assert {'backend', 'fps', 'latency_ms', 'miou'} <= set(report)
    assert report['frames_sent'] == 30
    assert report['frames_received'] + report['frames_dropped_keep_latest'] == 30
    assert report['miou'] >= 0.85
    assert cv2.imread(str(tmp_path / 'overlay.png')).shape[1] > 1000
    assert cv2.imread(str(tmp_path / 'mask.png'), cv2.IMREAD_UNCHANGED).shape == (720, 1280)


def test_a_written_config_is_complete(tmp_path, capsys, networks):
    model, config = tmp_path / 'net.onnx', tmp_path / 'net.yaml'
    onnx.save(networks.fixed(networks.random_scores(3, 6, 8)), model)
    assert main(['inspect', str(model), '--write-config', str(config)]) == 0
    written = resolve(read_network(model), ModelConfig.from_file(config))
    plain = resolve(read_network(model), ModelConfig(), measuring=MeasurementSetup())
    assert complete_config(written) == complete_config(plain)
    assert written.assumed == ()
    for fact in plain.assumed:
        assert f'# Assumed, defined by neither graph nor config: {fact.key}' in config.read_text()
    capsys.readouterr()
    assert main(['inspect', str(model), '--write-config', str(config)]) == 1
    assert 'net.yaml: exists already' in capsys.readouterr().err


def test_a_bad_image_does_not_stop_the_others(tmp_path, scene, image_bytes, capsys):
    """Each is reported by name; the name may be invalid UTF-8."""
    jpeg = image_bytes.encoded('JPEG', scene.image)
    depth = image_bytes.encoded('PNG', np.full((4, 5), 1234, np.uint16))
    files = {b'claims.jpg': (image_bytes.jpeg_of(30000, 30000), '30000x30000 (JPEG) is too large'),
             b'is.png': (image_bytes.png_of(40000, 30000), '40000x30000 (PNG) is too large'),
             b'cut.jpg': (jpeg[:len(jpeg) // 2], 'this JPEG is cut short'),
             b'caf\xe9.jpg': (jpeg[:100], r'caf\xe9.jpg: cannot be decoded'),
             b'depth.png': (depth, 'depth and other measured values'),
             b'z\xe9.jpg': (image_bytes.turned('JPEG', scene.image, 3), '')}
    folder, out = tmp_path / 'images', tmp_path / os.fsdecode(b'out\xe9')
    folder.mkdir()
    for name, (data, _) in files.items():
        (folder / os.fsdecode(name)).write_bytes(data)
    assert main(['run', str(folder), '--output', str(out)]) == 1
    shown = capsys.readouterr()
    assert '1 of 6 inputs segmented' in shown.out
    assert '5 failed' in shown.err
    assert all(message in shown.err for _, message in files.values())
    mask = cv2.imdecode(np.fromfile(out / os.fsdecode(b'z\xe9_mask.png'), np.uint8),
                        cv2.IMREAD_UNCHANGED)
    assert mask.shape == scene.image.shape[:2]
    assert len(list(out.iterdir())) == 2


@pytest.mark.ros
def test_demo_ends_its_processes_when_it_is_terminated(tmp_path):
    pytest.importorskip('rclpy')
    demo = subprocess.Popen([sys.executable, '-m', 'trt_segmentation.cli.main', 'demo',
                             '--output', str(tmp_path)])
    listed = Path(f'/proc/{demo.pid}/task/{demo.pid}/children')
    deadline = time.monotonic() + 60
    while len(children := listed.read_text().split()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    demo.terminate()
    assert demo.wait(30) == 130
    assert [child for child in children if Path('/proc', child).exists()] == []
