# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""An engine of the network only, without head and tail: to compare speeds and read outputs."""

from typing import Any

import numpy as np

from trt_segmentation.backends.tensorrt.cuda import Device, close_all
from trt_segmentation.backends.tensorrt.session import Stage


class NetworkOnly:
    """Array in, arrays out, copied through pageable host memory.

    Args:
        device: the GPU of the engine.
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


def run_once(device: Device, stage: Stage, fed: np.ndarray) -> dict[str, np.ndarray]:
    """Run an engine of one input once and free the memory that it took.

    Args:
        device: the GPU of the engine.
        stage: the engine; keeps its context.
        fed: C-contiguous, of the input's type.

    Returns:
        The outputs by the engine's own names.

    Raises:
        BackendError: CUDA or TensorRT failed; the stage has no context then.
    """
    names = {shared: name for name, shared, _ in stage.tensors()}
    (given,) = (shared for _, shared, is_input in stage.tensors() if is_input)
    memory: dict[str, Any] = {}
    with device.current():
        stream = device.stream()
        try:
            shapes, dtypes = stage.set_shapes({given: fed.shape}), stage.dtypes()
            for name, size in stage.sizes().items():
                memory[name] = device.allocate(size)
            stage.bind(memory)
            device.copy_in(memory[given], fed, stream)
            stage.enqueue(stream)
            results = {name: np.empty(shape, dtypes[name]) for name, shape in shapes.items()}
            for name, result in results.items():
                device.copy_out(result, memory[name], stream)
            stream.synchronize()
        except BaseException:
            close_all([stream.synchronize, stage.drop_context])
            raise
        finally:
            close_all(each.free for each in memory.values())
    return {names[shared]: result for shared, result in results.items()}
