# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Finding TensorRT, hearing what it says, and knowing what it can do."""

import logging
import sys
from types import SimpleNamespace

import pytest

from trt_segmentation.backends.tensorrt.api import (
    LOGGER,
    Capabilities,
    Log,
    find_log,
    find_tensorrt,
)
from trt_segmentation.errors import BackendError, MissingBackendError


@pytest.fixture
def trt():
    try:
        return find_tensorrt()
    except MissingBackendError as error:
        pytest.skip(str(error))


@pytest.fixture
def log(trt):
    find_log().take_errors()
    return find_log()


def stand_in(name, version, creation=(), flags=(), names=()):
    """Return something with the names that a TensorRT has, and no others."""
    def members(which):
        return SimpleNamespace(**dict.fromkeys(which))
    return SimpleNamespace(__name__=name, __version__=version, BuilderFlag=members(flags),
                           NetworkDefinitionCreationFlag=members(creation),
                           **dict.fromkeys(names))


V8 = stand_in('tensorrt', '8.6.0', ['EXPLICIT_BATCH', 'EXPLICIT_PRECISION'],
              ['FP16', 'INT8', 'TF32', 'OBEY_PRECISION_CONSTRAINTS', 'VERSION_COMPATIBLE'],
              ['ITimingCache', 'HardwareCompatibilityLevel'])
V10 = stand_in('tensorrt', '10.3.0', ['EXPLICIT_BATCH', 'STRONGLY_TYPED'],
               ['FP16', 'INT8', 'TF32', 'VERSION_COMPATIBLE'],
               ['ITimingCache', 'HardwareCompatibilityLevel', 'IProgressMonitor'])
V11 = stand_in('tensorrt', '11.0.0', [], ['TF32', 'VERSION_COMPATIBLE'],
               ['ITimingCache', 'HardwareCompatibilityLevel', 'IProgressMonitor'])


def test_what_is_not_installed_is_said_with_the_way_to_get_it(monkeypatch):
    find_tensorrt.cache_clear()
    for name in ('tensorrt', 'tensorrt_rtx'):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingBackendError, match=(
            r'tensorrt is not installed.*tensorrt_rtx is not installed.*pip install')):
        find_tensorrt()


def test_a_broken_installation_is_told_from_none(monkeypatch, tmp_path):
    find_tensorrt.cache_clear()
    (tmp_path / 'tensorrt').mkdir()
    (tmp_path / 'tensorrt/__init__.py').write_text("raise OSError('libnvinfer.so.8: gone')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, 'tensorrt', raising=False)
    monkeypatch.setitem(sys.modules, 'tensorrt_rtx', None)
    with pytest.raises(MissingBackendError, match=r'tensorrt is broken: libnvinfer\.so\.8: gone'):
        find_tensorrt()


@pytest.mark.parametrize(('trt', 'expected'), [
    (V8, {'explicit_batch': True, 'strongly_typed': False, 'precision_flags': ('FP16', 'INT8'),
          'progress_monitor': False, 'timing_cache': True}),
    (V10, {'explicit_batch': True, 'strongly_typed': True, 'precision_flags': ('FP16', 'INT8'),
           'progress_monitor': True, 'hardware_compatible': True}),
    (V11, {'explicit_batch': False, 'strongly_typed': True, 'precision_flags': (),
           'version_compatible': True})], ids=lambda value: getattr(value, '__version__', ''))
def test_capabilities_follow_from_the_names_of_a_version(trt, expected):
    can = Capabilities.of(trt)
    assert {name: getattr(can, name) for name in expected} == expected


def test_what_tensorrt_for_rtx_only_has_the_names_of_it_cannot_do():
    rtx = pytest.importorskip('tensorrt_rtx')
    can = Capabilities.of(rtx)
    assert can.strongly_typed and can.progress_monitor
    assert not (can.timing_cache or can.version_compatible or can.hardware_compatible)
    assert can.precision_flags == ()


def test_a_failed_call_is_an_error_in_tensorrts_own_words(trt, log, caplog):
    builder = trt.Builder(log.logger)
    with pytest.raises(BackendError, match=r'no network for you: .*createNetworkV2'):
        log.call('no network for you', builder.create_network, 1 << 30)
    assert log.take_errors() == ''
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_calls_that_raise_or_say_nothing_are_errors_too(log):
    with pytest.raises(BackendError, match=r'it fails: .*ZeroKelvin'):
        log.call('it fails', int, 'ZeroKelvin')
    with pytest.raises(MissingBackendError, match='it fails: TensorRT gives no reason'):
        log.call('it fails', {}.get, 'key', raises=MissingBackendError)
    assert log.call('it works', ''.join, 'ab') == 'ab'


def test_errors_that_did_no_harm_are_logged(trt, log, caplog):
    with caplog.at_level(logging.ERROR):
        log.call('it works', lambda: log.logger.log(trt.ILogger.ERROR, 'ouch') or True)
    assert [(record.name, record.message) for record in caplog.records] == [(LOGGER, 'ouch')]


def test_errors_that_are_only_reported_count_where_the_caller_is_strict(trt, log, caplog):
    def say(severity):
        log.logger.log(severity, 'ouch')
        return 'times'

    with pytest.raises(BackendError, match='no times: ouch'):
        log.call('no times', say, trt.ILogger.ERROR, strict=True)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert log.call('no times', say, trt.ILogger.WARNING, strict=True) == 'times'


def test_messages_of_tensorrt_go_to_the_log(trt, log, caplog):
    caplog.set_level(logging.DEBUG, LOGGER)
    network = trt.Builder(log.logger).create_network(0)
    trt.OnnxParser(network, log.logger).parse(b'no model')
    texts = {record.levelno: record.message for record in caplog.records}
    assert 'MODEL_DESERIALIZE_FAILED' in texts[logging.ERROR]
    assert 'MODEL_DESERIALIZE_FAILED' in log.take_errors()


@pytest.mark.parametrize(('text', 'level'), [
    ('onnx2trt_utils.cpp:374: Your ONNX model has been generated with INT64 weights, while ...',
     logging.DEBUG),
    ('Tensor DataType is determined at build time for tensors not marked as input or output.',
     logging.DEBUG),
    ('Detected subnormal FP16 values.', logging.WARNING)])
def test_warnings_of_every_build_are_not_shown(trt, log, caplog, text, level):
    with caplog.at_level(logging.DEBUG, LOGGER):
        log.logger.log(trt.ILogger.WARNING, text)
    (record,) = caplog.records
    assert (record.levelno, record.message) == (level, text)


def test_warnings_are_quoted_only_where_there_are_no_errors(trt):
    log = Log(trt)
    log.logger.log(trt.ILogger.WARNING, 'hm\n  hm')
    log.logger.log(trt.ILogger.INFO, 'well')
    assert log.take_errors() == 'hm hm'
    log.logger.log(trt.ILogger.WARNING, 'hm')
    for _ in range(2):
        log.logger.log(trt.ILogger.ERROR, 'ouch')
    assert log.take_errors() == 'ouch'
    assert log.take_errors() == ''
