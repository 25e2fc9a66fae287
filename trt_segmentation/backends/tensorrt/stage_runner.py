# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""One engine alone: an array in, arrays out."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from trt_segmentation.backends.tensorrt.cuda import Device, close_all
from trt_segmentation.backends.tensorrt.stage import Shape, Stage


class StageRunner:
    """Runs an engine on arrays, which are copied through pageable host memory.

    Args:
        device: the GPU of the engine.
        stage: an engine of one input.
        shape: of the input, if the engine leaves it open.

    Attributes:
        nbytes: of the device memory that its tensors take.

    Raises:
        BackendError: CUDA or TensorRT failed; the stage has no context then.
    """

    def __init__(self, device: Device, stage: Stage, shape: Shape = ()) -> None:
        self._device = device
        self._stage = stage
        (self._input,) = (name for _, name, is_input in stage.tensors() if is_input)
        self._memory: dict[str, Any] = {}
        self._stream: Any = None
        self.nbytes = 0
        try:
            with device.current():
                self._stream = device.stream()
                self._shapes, self._dtypes = stage.set_shapes({self._input: shape}), stage.dtypes()
                for name, size in stage.sizes().items():
                    self._memory[name] = device.allocate(size)
                    self.nbytes += size
                stage.bind(self._memory)
        except BaseException:
            self.free(stage.drop_context)
            raise

    def __call__(self, fed: np.ndarray, results: Mapping[str, np.ndarray] | None = None,
                 ) -> Mapping[str, np.ndarray]:
        """Run the engine.

        Args:
            fed: C-contiguous, of the input's type.
            results: C-contiguous arrays to write outputs into, by name; None for new ones for all.

        Returns:
            The results.
        """
        if results is None:
            results = {name: np.empty(shape, self._dtypes[name])
                       for name, shape in self._shapes.items()}
        with self._device.current():
            self._device.copy_in(self._memory[self._input], fed, self._stream)
            self._stage.enqueue(self._stream)
            for name, result in results.items():
                self._device.copy_out(result, self._memory[name], self._stream)
            self._stream.synchronize()
        return results

    def free(self, *steps: Callable[[], None]) -> None:
        """Free the memory, but not the engine.

        Args:
            steps: also done, before that.
        """
        memory, self._memory = self._memory, {}
        stream, self._stream = self._stream, None
        waiting = [] if stream is None else [stream.synchronize]
        with self._device.current():
            close_all([*waiting, *steps, *(each.free for each in memory.values())])

    def close(self) -> None:
        """Free everything."""
        self.free(self._stage.close)


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
    runner = StageRunner(device, stage, fed.shape)
    try:
        results = runner(fed)
    except BaseException:
        runner.free(stage.drop_context)
        raise
    runner.free()
    return {name: results[shared] for name, shared, is_input in stage.tensors() if not is_input}
