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
    assert 'over DDS' in capsys.readouterr().out
