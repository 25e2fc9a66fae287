# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What a signal does, and what a ROS 2 that cannot be initialized."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('rclpy')

import trt_segmentation
from trt_segmentation.ros.spinning import STOP_SIGNALS, Interrupt

PACKAGE = Path(trt_segmentation.__file__).parent


def test_a_signal_is_not_raised_in_a_finalizer_which_would_only_print_it():
    before = signal.signal(signal.SIGINT, Interrupt())

    class Interrupted:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)
            ended.append(True)

    ended = []
    try:
        Interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended == [True]


def test_a_second_signal_does_not_interrupt_the_clean_up():
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    Interrupt().install()
    try:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    finally:
        for number, handler in zip(STOP_SIGNALS, before, strict=True):
            signal.signal(number, handler)


@pytest.mark.parametrize(('start', 'printed'), [
    ('', 'finalized\n'),
    ('threading.Thread(target=time.sleep, args=(60,), daemon=True).start()', '')])
def test_a_thread_at_work_does_not_see_the_end_of_the_interpreter(start, printed):
    program = f"""
import atexit, signal, threading, time
from trt_segmentation.ros.spinning import end_process
atexit.register(print, 'finalized')
{start}
status = end_process(3)
signal.raise_signal(signal.SIGTERM)
raise SystemExit(status)
"""
    ended = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True,
                           timeout=60)
    assert (ended.returncode, ended.stdout) == (3, printed)


@pytest.mark.parametrize('arguments', [
    'demo.ros.recorder out --namespace demo', 'benchmark.ros.subscriber mask',
    'benchmark.ros.baseline_node', 'ros.viewer --port 0', 'ros.node'])
def test_without_a_folder_for_logs_every_process_ends_with_a_sentence(arguments, tmp_path):
    module, *rest = arguments.split()
    environment = {name: value for name, value in os.environ.items()
                   if name not in ('HOME', 'ROS_HOME', 'ROS_LOG_DIR')}
    ended = subprocess.run([sys.executable, '-m', f'trt_segmentation.{module}', *rest],
                           env=environment, capture_output=True, text=True, timeout=60,
                           cwd=tmp_path)
    assert ended.returncode == 1
    assert '[FATAL]' in ended.stderr and 'ROS 2 cannot be initialized: RCLError' in ended.stderr
    assert 'Traceback' not in ended.stderr


def test_ros_is_initialized_in_one_place():
    found = [path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob('*.py')
             if 'rclpy.init(' in path.read_text(encoding='utf-8')]
    assert found == ['ros/spinning.py']
