# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""int8 or fp16: which engine is taken, and what is said of it."""

import logging
from dataclasses import asdict, replace

import cv2
import numpy as np
import onnx
import pytest

from trt_segmentation.backends.tensorrt import engine_loader
from trt_segmentation.backends.tensorrt.cache import Engine
from trt_segmentation.backends.tensorrt.fp16_fallback import int8_or_fp16
from trt_segmentation.errors import BackendError, UnbuildableError
from trt_segmentation.options import BuildOptions, CalibrationOptions, RunOptions
from trt_segmentation.segmenter import Segmenter

OPTIONS = BuildOptions('int8', dla_core=1)
INT8 = Engine(b'int8', {'options': asdict(OPTIONS), 'agreement_with_fp32': 0.97})
FP16 = Engine(b'fp16', {'options': asdict(replace(OPTIONS, precision='fp16')),
                        'agreement_with_fp32': 0.999})


def failing(error):
    def build():
        raise error
    return build


def choose(times=(1.0, 1.0), int8=INT8, fp16=FP16):
    """Return what is chosen of engines, or of what their builds raise."""
    builds = [failing(each) if isinstance(each, Exception) else lambda each=each: each
              for each in (int8, fp16)]
    return int8_or_fp16(*builds, lambda engines: list(times), OPTIONS, 'net.onnx')


@pytest.mark.parametrize('times', [(1.0, 1.25), (1.0, 1.0)])
def test_int8_stays_where_it_is_not_slower(times, caplog):
    caplog.set_level(logging.INFO)
    engine = choose(times)
    assert engine.plan == b'int8'
    assert (engine.facts['int8_ms'], engine.facts['fp16_ms']) == times
    assert 'fp16_instead' not in engine.facts
    assert f'net.onnx: int8 is {times[1]:.2f} times as fast as fp16 on this GPU' in caplog.text


def test_slow_int8_becomes_fp16_and_says_how_to_keep_it(caplog):
    engine = choose((0.945, 0.836))
    assert engine.plan == b'fp16'
    assert engine.facts['fp16_instead'] == 'int8 takes 0.945 ms on this GPU, fp16 0.836 ms'
    assert engine.facts['agreement_with_fp32'] == 0.999
    assert engine.facts['options'] == asdict(OPTIONS)  # another machine chooses again
    assert 'The engine is in fp16; fp16_fallback: false keeps int8' in caplog.text


@pytest.mark.parametrize(('agreement', 'taken'), [(0.387, b'fp16'), (0.96, b'int8'),
                                                  (None, b'int8')])
def test_fast_int8_with_other_masks_becomes_fp16(agreement, taken):
    int8 = replace(INT8, facts={**INT8.facts, 'agreement_with_fp32': agreement})
    engine = choose((0.3, 0.4), int8)
    assert engine.plan == taken
    if taken == b'fp16':
        assert engine.facts['fp16_instead'] == ('int8 gives 38.70% of the pixels the class that '
                                                'they get in fp32, fewer than 95%')


def test_what_cannot_be_built_in_int8_is_built_in_fp16(caplog):
    engine = choose(int8=UnbuildableError('no tactic for conv_3'))
    assert engine.plan == b'fp16'
    assert engine.facts['fp16_instead'] == 'TensorRT cannot build int8: no tactic for conv_3'
    assert 'no tactic for conv_3. An engine in fp16 is built instead' in caplog.text


def test_int8_stays_where_fp16_cannot_be_built():
    assert choose(fp16=UnbuildableError('no')).plan == b'int8'


def test_other_errors_are_raised():
    with pytest.raises(BackendError, match='no memory'):
        choose(int8=BackendError('no memory'))


# From the door ------------------------------------------------------------------------------


@pytest.fixture
def open_int8(networks, tensorrt, tmp_path):
    """Opens a network in int8 on the stand-in; its mask is the brightest channel."""
    onnx.save(networks.pointwise(np.eye(3, dtype=np.float32), (32, 48)), tmp_path / 'net.onnx')
    cv2.imwrite(str(tmp_path / 'seen.png'), networks.random_image(64, 96))

    def open_int8(**options):
        build = BuildOptions('int8', min_size=(64, 64), opt_size=(64, 96), max_size=(128, 128),
                             calibration=CalibrationOptions(str(tmp_path / 'seen.png')), **options)
        return Segmenter.open(tmp_path / 'net.onnx',
                              config=networks.config_of(input=networks.PASSED_THROUGH),
                              options=RunOptions('tensorrt', build=build))

    return open_int8


@pytest.mark.parametrize(('times', 'precision'), [((2.0, 1.0), 'fp16'), ((1.0, 2.0), 'int8')])
def test_both_are_built_once_and_the_faster_runs(open_int8, tensorrt, gpu, monkeypatch, times,
                                                 precision):
    monkeypatch.setattr(engine_loader, 'enqueue_ms', lambda *args: list(times))
    for _ in range(2):
        segmenter = open_int8()
        assert precision in segmenter.info.layers
        segmenter.close()
    assert [build['options'].precision for build in tensorrt.builds] == ['int8', 'fp16']
    gpu.assert_all_is_freed()


def test_engines_are_timed_on_the_device(open_int8, monkeypatch):
    seen = []

    def keep(*args):
        seen.append(times := enqueue_ms(*args))
        return times

    enqueue_ms = engine_loader.enqueue_ms
    monkeypatch.setattr(engine_loader, 'enqueue_ms', keep)
    open_int8().close()
    (times,) = seen
    assert len(times) == 2
    assert min(times) > 0


def test_int8_alone_is_built_where_it_is_to_stay(open_int8, tensorrt):
    assert 'int8' in open_int8(fp16_fallback=False).info.layers
    assert len(tensorrt.builds) == 1
