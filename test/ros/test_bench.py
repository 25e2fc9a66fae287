# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""``bench --ros``: camera, node and subscriber as processes, with an exact frame count."""

import json

import cv2
import pytest

from trt_segmentation.benchmark import dds
from trt_segmentation.benchmark.dds import DdsBench, measure_rates
from trt_segmentation.cli.main import main

CPU = ('-p', 'backend:=onnxruntime')
WAY = {'to_node', 'take', 'dispatch', 'read', 'infer', 'publish', 'to_subscriber'}


@pytest.fixture(scope='module')
def entries():
    """Both arms at 5 Hz, twice."""
    pytest.importorskip('rclpy')
    with DdsBench(('ours', 'usual'), CPU, (96, 128), ('mask', 'overlay')) as bench:
        found = measure_rates(bench, (5.0,), 2, 1.0)
        found['middleware'] = bench.middleware
    return found


@pytest.mark.parametrize('arm', ['ours', 'usual'])
def test_every_frame_is_accounted_for(entries, arm):
    for run in entries[arm][0]['runs']:
        assert run['sent'] == 5
        assert run['received'] + run['lost_before_node'] + run['lost_behind_node'] == 5
        assert run['received'] > 0


@pytest.mark.parametrize('arm', ['ours', 'usual'])
def test_the_latency_of_a_frame_is_split_into_its_parts(entries, arm):
    for run in entries[arm][0]['runs']:
        assert set(run['split_ms']) == WAY
        assert min(run['split_ms'].values()) >= 0
        assert 0 < run['mask_latency_ms']['p50'] <= run['latency_ms']['p50']
        assert run['callback_ms']['p50'] > run['callback_beyond_infer_ms']['p50'] > 0


def test_results_that_come_late_are_waited_for(monkeypatch):
    """Late results, as of a slow network; here, their rows arrive late, too."""
    pytest.importorskip('rclpy')
    monkeypatch.setattr(dds, 'SETTLE', 0.001)
    with DdsBench(('ours',), CPU, (96, 128), ('mask',)) as bench:
        waited = bench._settle['ours']
        assert 0.001 < waited < 1
        bench._settle['ours'] += 0.5  # for the rows' period, which SETTLE leaves out here
        assert bench.run('ours', 5.0, 1.0).received


def test_the_middleware_is_reported(entries):
    assert entries['middleware']['rmw'].startswith('rmw_')


def test_the_command_writes_rates_ratios_and_a_plot(tmp_path, capsys):
    pytest.importorskip('rclpy')
    report, plot = tmp_path / 'bench.json', tmp_path / 'bench.png'
    assert main(['bench', '--backend', 'onnxruntime', '--size', '96x128', '--outputs', 'mask',
                 '--frames', '2', '--ros', '--rates', '5', '--runs', '1', '--seconds', '0.6',
                 '--no-peak', '--json', str(report), '--plot', str(plot)]) == 0
    ros = json.loads(report.read_text())['ros']
    assert [entry['rate'] for entry in ros['rates']['ours']] == [5]
    assert ros['rates']['ours'][0]['sent'] == 3
    assert (ros['peak'], ros['ratios']) == ({}, {})
    assert cv2.imread(str(plot)) is not None
    assert 'over DDS' in capsys.readouterr().out
