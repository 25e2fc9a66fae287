# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""``bench --ros``: camera, node and subscriber as processes, with an exact frame count."""

import json
import re

import cv2
import numpy as np
import pytest

from trt_segmentation.benchmark import dds
from trt_segmentation.benchmark.dds import CAMERA_ENCODINGS, DdsBench, measure_rates
from trt_segmentation.cli.main import main
from trt_segmentation.demo.clip import read_frame
from trt_segmentation.images.decoding import ImageDecoder

CPU = ('-p', 'backend:=onnxruntime')
STAGES = {'to_node', 'take', 'dispatch', 'read', 'infer', 'publish', 'to_subscriber'}


@pytest.fixture(scope='module')
def entries():
    """Node and baseline at 5 Hz, twice."""
    pytest.importorskip('rclpy')
    with DdsBench(('node', 'baseline'), CPU, (96, 128), ('mask', 'overlay')) as bench:
        found = measure_rates(bench, (5.0,), 2, 1.0)
        found['middleware'] = bench.middleware
    return found


@pytest.mark.parametrize('implementation', ['node', 'baseline'])
def test_every_frame_is_accounted_for(entries, implementation):
    for run in entries[implementation][0]['runs']:
        assert run['sent'] == 5
        assert run['received'] + run['lost_before_node'] + run['lost_behind_node'] == 5
        assert run['received'] > 0


@pytest.mark.parametrize('implementation', ['node', 'baseline'])
def test_the_time_of_every_stage_is_reported(entries, implementation):
    for run in entries[implementation][0]['runs']:
        assert set(run['split_ms']) == STAGES
        assert min(run['split_ms'].values()) >= 0
        assert 0 < run['mask_latency_ms']['p50'] <= run['latency_ms']['p50']
        assert run['callback_ms']['p50'] > run['callback_beyond_infer_ms']['p50'] > 0


@pytest.mark.parametrize('implementation', ['node', 'baseline'])
def test_cpu_time_and_bytes_of_a_frame_are_reported(entries, implementation):
    entry = entries[implementation][0]
    assert set(entry['cpu_ms']) == {'user', 'system', 'total'}
    assert entry['cpu_ms']['total'] > 0
    pixels = 96 * 128
    assert set(entry['bytes']) == {'image', 'mask', 'overlay'}
    for topic, size in {'image': 3 * pixels, 'mask': pixels, 'overlay': 3 * pixels}.items():
        assert size < entry['bytes'][topic] < size + 150, topic  # with the fields before data


@pytest.mark.parametrize('one_node_each', [False, True])
def test_several_cameras_send_jpeg(one_node_each):
    pytest.importorskip('rclpy')
    with DdsBench(('node',), CPU, (96, 128), ('mask',), encoding='jpeg', cameras=2,
                  one_node_each=one_node_each) as bench:
        run = bench.run('node', 5.0, 1.0)
    assert run.received
    assert all(set(found) == {'camera0/mask', 'camera1/mask'} for found in run.received.values())
    assert 500 < run.bytes['image'] < 3 * 96 * 128
    assert set(run.bytes) == {'image', 'camera0/mask', 'camera1/mask'}


@pytest.mark.parametrize('encoding', CAMERA_ENCODINGS)
def test_the_camera_sends_what_the_decoder_reads(encoding):
    pytest.importorskip('rclpy')
    from trt_segmentation.benchmark.ros.camera_images import camera_message
    from trt_segmentation.ros.inputs import TRANSPORTS
    image = cv2.GaussianBlur(read_frame(3, 96, 128).image, (0, 0), 2)
    transport = TRANSPORTS['compressed' if encoding == 'jpeg' else 'raw']
    message = camera_message(image, encoding)
    msg = transport.parse(message._buffer)
    found, color = ImageDecoder().read(msg)
    assert (found.shape, color) == (image.shape, 'bgr')
    assert np.abs(found.astype(int) - image)[2:-2, 2:-2].mean() < (1 if encoding == 'bgr8' else 3)
    assert len(msg.data) == message.data.nbytes
    assert msg.header.frame_id == 'camera_color_optical_frame'


@pytest.mark.parametrize(('arguments', 'wrong'), [
    (['--encoding', 'nv12', '--size', '95x128'], 'must be even'),
    (['--cameras', '2', '--against', 'baseline'], 'one camera')])
def test_arguments_that_contradict_each_other_are_refused(arguments, wrong, capsys):
    pytest.importorskip('rclpy')
    assert main(['bench', '--backend', 'onnxruntime', '--ros', *arguments]) != 0
    assert wrong in capsys.readouterr().err


def test_late_results_are_waited_for(monkeypatch):
    """As with a network that takes seconds: here, even the rows come later than ``SETTLE``."""
    pytest.importorskip('rclpy')
    monkeypatch.setattr(dds, 'SETTLE', 0.001)
    with DdsBench(('node',), CPU, (96, 128), ('mask',)) as bench:
        waited = bench._settle['node']
        assert 0.001 < waited < 1
        bench._settle['node'] += 0.5  # for the rows' period, which SETTLE leaves out here
        assert bench.run('node', 5.0, 1.0).received


def test_the_middleware_is_reported(entries):
    assert entries['middleware']['rmw'].startswith('rmw_')


def test_the_command_writes_rates_ratios_and_a_plot(tmp_path, capsys):
    pytest.importorskip('rclpy')
    report, plot = tmp_path / 'bench.json', tmp_path / 'bench.png'
    assert main(['bench', '--backend', 'onnxruntime', '--size', '96x128', '--outputs', 'mask',
                 '--frames', '2', '--ros', '--rates', '5', '--runs', '1', '--seconds', '0.6',
                 '--no-peak', '--json', str(report), '--plot', str(plot)]) == 0
    ros = json.loads(report.read_text())['ros']
    assert [entry['rate'] for entry in ros['rates']['node']] == [5]
    assert ros['rates']['node'][0]['sent'] == 3
    assert (ros['peak'], ros['ratios']) == ({}, {})
    assert cv2.imread(str(plot)) is not None
    assert re.search(r'over DDS \(.*\), 1 run of 0\.6 s\n', capsys.readouterr().out)
