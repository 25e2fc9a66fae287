# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The report as JSON, text and plot."""

import argparse
import importlib.util
import json
from pathlib import Path

import cv2
import pytest

from trt_segmentation.benchmark import host
from trt_segmentation.benchmark.frames import MAX_LOSS
from trt_segmentation.cli.bench import add_arguments
from trt_segmentation.cli.main import main

HAS_ROS = importlib.util.find_spec('rclpy') is not None


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp('bench')
    assert main(['bench', '--backend', 'onnxruntime', '--size', '96x128', '--frames', '3',
                 '--against', 'baseline', *['--points'] * HAS_ROS,
                 '--json', str(folder / 'bench.json'), '--plot', str(folder / 'bench.png')]) == 0
    return folder


def test_the_report_describes_measurement_and_host(written):
    report = json.loads((written / 'bench.json').read_text())
    assert {'cpu', 'cores', 'date', 'load_1_min', 'versions', 'gpus'} <= set(report['host'])
    assert {'python', 'numpy', 'onnxruntime'} <= set(report['host']['versions'])
    assert report['source_size'] == [96, 128]
    points = {'points, depth', 'points, cloud'} if HAS_ROS else set()
    assert set(report['wall_ms']) == {'segmenter', 'baseline'} | points
    assert set(report['split_ms']) == {'head', 'network', 'tail'}
    assert 'ros' not in report


def test_the_plot_is_a_png(written):
    picture = cv2.imread(str(written / 'bench.png'))
    assert picture is not None and picture.std() > 0


def test_clocks_and_driver_are_those_of_nvidia_smi(tmp_path, monkeypatch):
    script = tmp_path / 'nvidia-smi'
    line = 'A GPU, 550.1, 1980 MHz, 2000 MHz, 2619 MHz, 700 W, 80 MiB'
    script.write_text(f'#!/bin/sh\necho "{line}"\n')
    script.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=':')
    gpu, = host.query_gpus()
    assert (gpu['name'], gpu['driver_version'], gpu['clocks.sm']) == ('A GPU', '550.1', '1980 MHz')


def test_there_may_be_no_gpu(monkeypatch):
    monkeypatch.setenv('PATH', '')
    assert host.query_gpus() == []


def test_the_former_name_of_the_baseline_is_accepted_and_hidden(capsys):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert parser.parse_args(['--against', 'usual']).against == 'baseline'
    assert 'usual' not in parser.format_help()
    with pytest.raises(SystemExit):
        parser.parse_args(['--against', 'other'])
    assert 'baseline' in capsys.readouterr().err


def test_defaults_are_those_that_the_guide_names():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args([])
    assert (args.rates, args.size, args.outputs) == ((10, 30, 60), (1080, 1920),
                                                     ('mask', 'overlay'))
    assert MAX_LOSS == 0.05
    guide = (Path(__file__).parents[2] / 'docs/how-to/measure.md').read_text(encoding='utf-8')
    for words in ('it runs 10, 30 and 60 Hz', 'with at most 5 % loss', 'default mask and overlay'):
        assert words in ' '.join(guide.split())


@pytest.mark.parametrize('option', [['--rates', '0'], ['--rates', 'fast'], ['--outputs', 'x']])
def test_invalid_arguments_are_refused(option, capsys):
    with pytest.raises(SystemExit):
        main(['bench', *option])
    assert option[1] in capsys.readouterr().err
