# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What a signal does."""

import signal

import pytest

pytest.importorskip('rclpy')

from trt_segmentation.ros.spinning import interrupt


def test_a_signal_is_not_raised_in_a_finalizer_which_would_only_print_it():
    before = signal.signal(signal.SIGINT, interrupt)

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
