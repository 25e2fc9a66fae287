# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The package's log on the terminal."""

import logging
import sys

import pytest

from trt_segmentation.cli import console
from trt_segmentation.cli.console import log_on_stderr
from trt_segmentation.progress_log import PROGRESS_LOGGER

LOGGER = logging.getLogger('trt_segmentation')
PROGRESS = logging.getLogger(PROGRESS_LOGGER)


@pytest.fixture
def terminal(monkeypatch, capsys):
    monkeypatch.setattr(type(sys.stderr), 'isatty', lambda stream: True)
    return capsys


def test_messages_come_as_they_are_and_warnings_say_so(capsys):
    with log_on_stderr():
        LOGGER.info('built %s', 'net.onnx')
        LOGGER.warning('careful')
        LOGGER.error('broken')
        LOGGER.debug('details')
    assert capsys.readouterr().err == 'built net.onnx\nwarning: careful\nerror: broken\n'


def test_nothing_is_left_behind(capsys):
    level, handlers = LOGGER.level, list(LOGGER.handlers)
    with pytest.raises(KeyError), log_on_stderr():
        raise KeyError
    LOGGER.warning('afterwards')
    assert (LOGGER.level, LOGGER.handlers) == (level, handlers)
    assert 'afterwards' not in capsys.readouterr().err


def test_progress_writes_over_itself_on_a_terminal(terminal):
    with log_on_stderr():
        PROGRESS.info('1 s')
        PROGRESS.info('2 s')
    assert terminal.readouterr().err == '\r\x1b[K1 s\r\x1b[K2 s\n'


def test_a_message_after_progress_has_a_line_of_its_own(terminal):
    with log_on_stderr():
        PROGRESS.info('1 s')
        LOGGER.info('built')
        LOGGER.info('compared')
    assert terminal.readouterr().err == '\r\x1b[K1 s\nbuilt\ncompared\n'


def test_progress_in_a_file_is_a_line_now_and_then(capsys, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(console.time, 'monotonic', lambda: now)
    with log_on_stderr():
        for second in range(25):
            now = 1000.0 + second
            PROGRESS.info('%d s', second)
    assert capsys.readouterr().err == '0 s\n10 s\n20 s\n'
