# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime's telemetry: disabled before it is imported, unless the operator enables it."""

import os
import subprocess
import sys

import pytest

from trt_segmentation.graph.onnx_tools.onnxruntime_api import TELEMETRY_VARIABLE, disable_telemetry

SEGMENT = """
import time
import numpy as np
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

segmenter = Segmenter.open(options=RunOptions('onnxruntime'))
segmenter.infer(np.zeros((64, 64, 3), np.uint8), outputs=('mask', 'overlay'))
time.sleep(1)  # it writes from a thread
"""
CALIBRATE = """
import time
from trt_segmentation.graph.precision.calibration import open_runtime
from trt_segmentation.graph.onnx_tools.network import read_network
from trt_segmentation.segmenter import demo_model

runtime = open_runtime(read_network(demo_model()).model, 'demo')
time.sleep(1)
"""
QUANTIZE = """
from trt_segmentation.graph.onnx_tools.onnxruntime_api import import_onnxruntime

import_onnxruntime('transformers.float16')
import_onnxruntime('quantization.calibrate')
"""


@pytest.mark.parametrize('program', [SEGMENT, CALIBRATE, QUANTIZE],
                         ids=['segment', 'calibrate', 'quantize'])
def test_a_fresh_home_stays_empty(program, tmp_path):
    home, work = tmp_path / 'home', tmp_path / 'work'
    home.mkdir()
    work.mkdir()
    unset = {TELEMETRY_VARIABLE, 'CI'}  # each of them alone disables telemetry
    environment = {name: value for name, value in os.environ.items()
                   if name not in unset and not name.startswith('XDG_')}
    environment |= {'HOME': str(home), 'PYTHONPATH': os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, '-c', program], env=environment, cwd=work, timeout=60,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [*home.rglob('*'), *work.rglob('*')] == []


@pytest.mark.parametrize(('before', 'after'), [(None, '1'), ('', '1'), ('0', '0'), ('1', '1'),
                                               ('false', 'false')])
def test_what_the_operator_has_set_is_left_alone(before, after, monkeypatch):
    monkeypatch.delenv(TELEMETRY_VARIABLE, raising=False)
    if before is not None:
        monkeypatch.setenv(TELEMETRY_VARIABLE, before)
    disable_telemetry()
    assert os.environ[TELEMETRY_VARIABLE] == after
