# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What the package logs arrives in the node's log, each record with its severity."""

import logging

import pytest

from trt_segmentation.progress_log import PROGRESS_LOGGER
from trt_segmentation.ros import log_bridge
from trt_segmentation.ros.log_bridge import LogBridge


class NodeLogger:
    """Writes down what a node's logger is told."""

    def __init__(self):
        self.told = []

    def __getattr__(self, severity):
        return lambda text: self.told.append((severity, text))


@pytest.fixture
def told():
    """What the node's logger is told of the package's log."""
    logger, node_logger = logging.getLogger('trt_segmentation'), NodeLogger()
    bridge, level = LogBridge(node_logger), logger.level
    logger.addHandler(bridge)
    logger.setLevel(logging.DEBUG)
    yield node_logger.told
    logger.removeHandler(bridge)
    logger.setLevel(level)


@pytest.mark.parametrize(('level', 'severity'), [
    (logging.DEBUG, 'debug'), (logging.INFO, 'info'), (logging.WARNING, 'warning'),
    (logging.ERROR, 'error'), (logging.CRITICAL, 'fatal'), (logging.DEBUG - 5, 'debug'),
    (logging.INFO + 5, 'info')])
def test_severities_are_kept(told, level, severity):
    logging.getLogger('trt_segmentation').setLevel(1)
    logging.getLogger('trt_segmentation.backends').log(level, 'built %s', 'net.onnx')
    assert told == [(severity, 'built net.onnx')]


def test_one_place_may_log_in_several_severities(told):
    rclpy_logging = pytest.importorskip('rclpy.logging')
    bridge = LogBridge(rclpy_logging.get_logger('bridge'))
    for level in (logging.INFO, logging.WARNING, logging.ERROR, logging.INFO):
        bridge.emit(logging.LogRecord('trt_segmentation', level, 'here', 1, 'said', (), None))


def test_progress_comes_now_and_then(told, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(log_bridge.time, 'monotonic', lambda: now)
    progress = logging.getLogger(PROGRESS_LOGGER)
    for second in range(25):
        now = 1000.0 + second
        progress.info('%d s', second)
    assert told == [('info', '0 s'), ('info', '10 s'), ('info', '20 s')]


def test_progress_does_not_hold_up_anything_else(told):
    logging.getLogger(PROGRESS_LOGGER).info('1 s')
    logging.getLogger('trt_segmentation').info('done')
    assert told[-1] == ('info', 'done')
