# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The states of temporal smoothing in device memory."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from trt_segmentation.backends.state_buffers import MeanWeight
from trt_segmentation.backends.tensorrt.cuda import Device
from trt_segmentation.graph.pipeline.output_names import joined, split
from trt_segmentation.graph.pipeline.smoothing import PREVIOUS, STATE


class DeviceStates(MeanWeight):
    """Two buffers for each state, which engines read and write alternately, without a copy.

    One buffer cannot do: TensorRT may read an input again after it has written an output.

    Args:
        tasks: names of the tasks with a state.
    """

    def __init__(self, tasks: Iterable[str]) -> None:
        super().__init__()
        self._pairs = [(joined(task, PREVIOUS), joined(task, STATE)) for task in tasks]

    @classmethod
    def of(cls, tensors: Iterable[str]) -> 'DeviceStates | None':
        """Return the states of engines with these tensors; None if they have none."""
        tasks = [task for task, kind in map(split, tensors) if kind == PREVIOUS]
        return cls(tasks) if tasks else None

    def clear(self, memory: Mapping[str, Any], sizes: Mapping[str, int], device: Device,
              stream: Any) -> None:
        """Forget the previous images, and fill new buffers with zeros: even with a weight of 0,
        the previous mean must be finite.

        Args:
            memory, sizes: device memory and its bytes, by tensor.
            device: of the memory.
            stream: is waited for.
        """
        self.reset()
        for name, _ in self._pairs:
            device.copy_in(memory[name], np.zeros(sizes[name], np.uint8), stream)
        stream.synchronize()

    def swap(self, memory: dict[str, Any]) -> None:
        """Make what the last run has written the input of the next one."""
        for previous, state in self._pairs:
            memory[previous], memory[state] = memory[state], memory[previous]
