# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C in the terminal does not reach the processes of bench and demo; SIGTERM ends them."""

import os
import signal
from pathlib import Path

import pytest

from trt_segmentation.benchmark.processes import (
    interrupted_by_sigterm,
    start_module,
    wait_or_kill,
)


def test_a_child_does_not_get_an_interrupt_but_ends_when_its_parent_wants_it(tmp_path):
    (tmp_path / 'sitecustomize.py').write_text('import time; time.sleep(60)')
    child = start_module('cli.main', env={**os.environ, 'PYTHONPATH': str(tmp_path)})
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    child.send_signal(signal.SIGINT)
    status = dict(line.split(':\t', 1) for line in
                  Path(f'/proc/{child.pid}/status').read_text().splitlines())
    assert int(status['SigBlk'], 16) & 1 << signal.SIGINT - 1
    assert child.poll() is None
    child.terminate()
    wait_or_kill([child], 10)
    assert child.returncode == -signal.SIGTERM


def test_sigterm_is_an_interrupt_while_there_are_children():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), interrupted_by_sigterm():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
