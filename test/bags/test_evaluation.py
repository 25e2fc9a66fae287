# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Rosbags as images for evaluation and calibration."""

import json

from trt_segmentation.cli.main import main


def test_two_precisions_are_compared_on_a_rosbag_and_calibrated_with_it(tmp_path, short_drive):
    report = tmp_path / 'report.json'
    assert main(['evaluate', '--images', str(short_drive), '--precision', 'int8', '--limit', '4',
                 '--against', 'fp32', '--backend', 'onnxruntime', '--calibration-images',
                 str(short_drive), '--calibration-count', '2', '--json', str(report)]) == 0
    result = json.loads(report.read_text())
    assert result['images'] == 4
    assert 0.9 < result['against']['agreement'] < 1


def test_a_rosbag_has_no_labels(tmp_path, short_drive, capsys):
    assert main(['evaluate', '--images', str(short_drive)]) == 1
    assert 'labels need a folder of images' in capsys.readouterr().err
    assert main(['evaluate', '--images', str(short_drive), '--labels', str(tmp_path),
                 '--against', 'fp16']) == 1
    assert 'labels need a folder of images' in capsys.readouterr().err


def test_precisions_are_shown_side_by_side_on_a_rosbag(tmp_path, short_drive):
    report = tmp_path / 'report.json'
    assert main(['compare', '--images', str(short_drive), '--precisions', 'fp32,fp16',
                 '--backend', 'onnxruntime', '--limit', '3', '--frames', '2', '--json',
                 str(report)]) == 0
    assert json.loads(report.read_text())['images'] == 3
