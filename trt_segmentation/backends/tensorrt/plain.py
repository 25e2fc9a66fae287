# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A network without head and tail, as a hand-written pipeline runs it; to compare speeds with."""

from typing import Any

import numpy as np

from trt_segmentation.backends.tensorrt.cuda import Device, close_all
from trt_segmentation.backends.tensorrt.session import Stage


class PlainNetwork:
    """Array in, arrays out, everything through ordinary host memory.

    Args:
        device: where the engine lies.
        stage: a network of one input, whose size is fixed.
    """

    def __init__(self, device: Device, stage: Stage) -> None:
        self._device = device
        self._stage = stage
        (self._input,) = (name for name, _, is_input in stage.tensors() if is_input)
        self._dtypes = stage.dtypes()
        self._memory: dict[str, Any] = {}
        self._stream: Any = None
        try:
            with device.current():
                self._stream = device.stream()
                self._shapes = stage.set_shapes({})
                for name, size in stage.sizes().items():
                    self._memory[name] = device.allocate(size)
                stage.bind(self._memory)
        except BaseException:
            self.close()
            raise

    def __call__(self, fed: np.ndarray) -> dict[str, np.ndarray]:
        """Return the outputs by name, for a C-contiguous input of the network's type."""
        results = {name: np.empty(shape, self._dtypes[name])
                   for name, shape in self._shapes.items()}
        with self._device.current():
            self._device.copy_in(self._memory[self._input], fed, self._stream)
            self._stage.enqueue(self._stream)
            for name, result in results.items():
                self._device.copy_out(result, self._memory[name], self._stream)
            self._stream.synchronize()
        return results

    def close(self) -> None:
        """Free everything."""
        memory, self._memory = self._memory, {}
        stream, self._stream = self._stream, None
        waiting = [] if stream is None else [stream.synchronize]
        with self._device.current():
            close_all([*waiting, self._stage.close, *(each.free for each in memory.values())])
