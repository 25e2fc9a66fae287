# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Engines are compared with their networks, and what differs too much is said."""

import json
import logging
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest

from trt_segmentation.backends.onnxruntime import OnnxRuntimeSession
from trt_segmentation.backends.tensorrt.verify import agreement_with_fp32, warn_if_low
from trt_segmentation.graph.pipeline.prepare import prepare
from trt_segmentation.options import BuildOptions, RunOptions
from trt_segmentation.segmenter import Segmenter

WEIGHTS = np.eye(3, dtype=np.float32)


@pytest.fixture
def spec(networks):
    return networks.spec_of(networks.pointwise(WEIGHTS, (32, 48)))


def session_of(spec):
    return OnnxRuntimeSession(spec, num_threads=1)


def test_the_network_itself_agrees_with_itself(networks, spec):
    images = [networks.random_image(32, 48), networks.random_image(50, 70)]
    assert agreement_with_fp32(session_of(spec), spec, 'nearest', images) == 1


def test_agreement_is_the_share_of_equal_pixels(networks, spec):
    other = networks.spec_of(networks.pointwise(WEIGHTS[[0, 2, 1]], (32, 48)))
    image = networks.random_image(32, 48)
    first, second = (networks.Runner(prepare(each))(image)['mask'] for each in (spec, other))
    found = agreement_with_fp32(session_of(other), spec, 'nearest', [image])
    assert found == pytest.approx((first == second).mean())
    assert 0 < found < 0.9


def test_agreement_is_that_of_the_task_with_the_least(networks):
    def of(lanes):
        model = networks.heads({'road': WEIGHTS[:2], 'lanes': lanes}, (32, 48))
        return networks.spec_of(model, outputs=[{'name': 'road'}, {'name': 'lanes'}])

    spec, other, image = of(WEIGHTS), of(WEIGHTS[[0, 2, 1]]), networks.random_image(32, 48)
    first, second = (networks.Runner(prepare(each))(image)['lanes/mask']
                     for each in (spec, other))
    found = agreement_with_fp32(session_of(other), spec, 'nearest', [image])
    assert found == pytest.approx((first == second).mean())
    assert 0 < found < 0.9


@pytest.mark.parametrize('count', [1, 2, 3, 5])
def test_a_session_of_several_images_gets_all_of_them(networks, spec, count):
    together = replace(spec, batch=3)
    images = [networks.random_image(32, 48, seed) for seed in range(count)]
    images.append(networks.random_image(50, 70))
    assert agreement_with_fp32(session_of(together), together, 'nearest', images) == 1


def test_a_session_that_changes_images_round_is_noticed(networks, spec, monkeypatch):
    together = replace(spec, batch=2)
    session = session_of(together)
    right = session.infer
    monkeypatch.setattr(session, 'infer', lambda images, outs: right(images[::-1], outs))
    images = [networks.random_image(32, 48, seed) for seed in range(2)]
    assert agreement_with_fp32(session, together, 'nearest', images) < 0.9


def test_without_onnx_runtime_nothing_is_compared(networks, spec, monkeypatch):
    session = session_of(spec)
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    monkeypatch.delitem(sys.modules, 'trt_segmentation.backends.onnxruntime')
    image = networks.random_image(32, 48)
    assert agreement_with_fp32(session, spec, 'nearest', [image]) is None


@pytest.mark.parametrize(('precision', 'agreement', 'fix'), [
    ('fp32', 0.9876, 'please report'), ('fp16', 0.9876, 'build it in fp32'),
    ('int8', 0.9321, 'more typical, calibration images')])
def test_low_agreement_is_said_with_the_number_and_the_fix(caplog, precision, agreement, fix):
    warn_if_low(agreement, precision, 'net.onnx')
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f'net.onnx in {precision} gives {100 * agreement:.2f}% of the pixels' in record.message
    assert fix in record.message


@pytest.mark.parametrize(('precision', 'agreement'), [
    ('fp32', 1.0), ('fp16', 0.995), ('int8', 0.96), ('fp32', None)])
def test_expected_agreement_gives_no_warning(caplog, precision, agreement):
    warn_if_low(agreement, precision, 'net.onnx')
    assert caplog.records == []


@pytest.mark.parametrize('precision', ['fp32', 'fp16'])
def test_agreement_is_noted_beside_the_engine(networks, tensorrt, tmp_path, precision):
    onnx.save(networks.pointwise(WEIGHTS, (32, 48)), tmp_path / 'net.onnx')
    Segmenter.open(tmp_path / 'net.onnx',
                   options=RunOptions('tensorrt', build=BuildOptions(precision)))
    (sidecar,) = (tmp_path / 'engines').glob(f'net-{precision}-*.json')
    assert json.loads(sidecar.read_text())['facts']['agreement_with_fp32'] > 0.99


def test_a_bad_engine_is_warned_of_when_it_is_built(networks, tensorrt, tmp_path, caplog,
                                                    monkeypatch):
    other = networks.spec_of(networks.pointwise(WEIGHTS[[0, 2, 1]], (32, 48)))
    wrong = prepare(other).model.SerializeToString()
    right_plan = tensorrt.plan
    monkeypatch.setattr(tensorrt, 'plan', lambda model, profiles: right_plan(wrong, profiles))
    onnx.save(networks.pointwise(WEIGHTS, (32, 48)), tmp_path / 'net.onnx')
    Segmenter.open(tmp_path / 'net.onnx', options=RunOptions('tensorrt'))
    assert 'of the pixels the class that it gives them in fp32' in caplog.text
