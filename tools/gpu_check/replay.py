# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""GPU time of work that is recorded once and replayed."""

from collections.abc import Callable
from typing import Any

from trt_segmentation.backends.tensorrt.cuda import Device


def replay_ms(device: Device, stream: Any, enqueue: Callable[[], None], count: int) -> list[float]:
    """Return the GPU time of each replay of a CUDA graph, milliseconds.

    Args:
        device: current in this thread.
        stream: of the device.
        enqueue: puts the work on the stream.
        count: number of replays.
    """
    graph, times = device.capture(stream, enqueue), []
    for _ in range(count):
        start, end = device.event(), device.event()
        start.record(stream)
        graph.launch()
        end.record(stream)
        times.append(device.milliseconds_between(start, end))
    graph.close()
    return times
