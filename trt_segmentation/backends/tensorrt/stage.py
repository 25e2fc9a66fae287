# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""One engine: its tensors, its shapes, its execution context."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trt_segmentation.backends.tensorrt.api import find_log, find_tensorrt
from trt_segmentation.backends.tensorrt.cuda import Device
from trt_segmentation.errors import BackendError

Shape = tuple[int, ...]


@dataclass
class Stage:
    """An engine, which may be one of a chain.

    Attributes:
        engine: a deserialized engine.
        log: the logger that it was deserialized with, for errors.
        tensor_names: the session's names of the engine's tensors, where they differ.
        context: its execution context, created when it is first needed.
        runtime: that the engine belongs to.
        plan_size: bytes of the plan that it was loaded from.
    """

    engine: Any
    log: Any
    tensor_names: Mapping[str, str] = field(default_factory=dict)
    context: Any = None
    runtime: Any = None
    plan_size: int = 0

    @classmethod
    def load(cls, plan: bytes, device: Device) -> 'Stage':
        """Deserialize a plan.

        Raises:
            BackendError: it was built for another TensorRT or GPU, or is damaged; the message
                is TensorRT's own.
        """
        log = find_log()
        with device.current():
            runtime = log.call('TensorRT cannot start its runtime', find_tensorrt().Runtime,
                               log.logger)
            if hasattr(runtime, 'engine_host_code_allowed'):
                # Version-compatible plans contain code. Plans come from us or the operator.
                runtime.engine_host_code_allowed = True
            return cls(log.call('TensorRT cannot load the engine',
                                runtime.deserialize_cuda_engine, plan), log, runtime=runtime,
                       plan_size=len(plan))

    def tensors(self) -> list[tuple[str, str, bool]]:
        """Return for each tensor the engine's name, the session's, and whether it is an input."""
        engine = self.engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        return [(name, self.tensor_names.get(name, name),
                 engine.get_tensor_mode(name).name == 'INPUT') for name in names]

    def bounds(self, tensor: str) -> tuple[Shape, Shape]:
        """Return the smallest and the largest shape that an input may have."""
        smallest, _, largest = self.engine.get_tensor_profile_shape(tensor, 0)
        return tuple(smallest), tuple(largest)

    def set_shapes(self, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
        """Fix the shapes of the inputs; return those of the outputs, by the session's names."""
        if self.context is None:
            self.context = self.log.call('TensorRT cannot prepare the engine to run',
                                         self.engine.create_execution_context)
        for name, shared, is_input in self.tensors():
            is_open = is_input and -1 in tuple(self.engine.get_tensor_shape(name))
            if is_open and not self.context.set_input_shape(name, shapes[shared]):
                raise BackendError(f"the engine does not take '{name}' of shape "
                                   f'{list(shapes[shared])}: {self.log.take_errors()}')
        if missing := self.context.infer_shapes():
            raise BackendError(f'the engine leaves shapes open: {", ".join(missing)}')
        return {shared: tuple(self.context.get_tensor_shape(name))
                for name, shared, is_input in self.tensors() if not is_input}

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each tensor, by the session's names; shapes must be set."""
        return {shared: int(np.prod(tuple(self.context.get_tensor_shape(name)), dtype=np.int64))
                * self.engine.get_tensor_dtype(name).itemsize
                for name, shared, _ in self.tensors()}

    def dtypes(self) -> dict[str, np.dtype]:
        """Return NumPy's type of each tensor, by the session's names."""
        kind = find_tensorrt().nptype
        return {shared: np.dtype(kind(self.engine.get_tensor_dtype(name)))
                for name, shared, _ in self.tensors()}

    def bind(self, memory: Mapping[str, Any]) -> None:
        """Set the addresses of the context's tensors."""
        for name, shared, _ in self.tensors():
            self.context.set_tensor_address(name, int(memory[shared]))

    def enqueue(self, stream: Any) -> None:
        """Put the engine's work on a stream.

        Raises:
            BackendError: TensorRT reports an error; the message is its own.
        """
        if not self.context.execute_async_v3(stream.handle):
            raise BackendError(f'TensorRT cannot run the engine: {self.log.take_errors()}')

    def memory(self) -> int:
        """Return about how many bytes of device memory engine and context take.

        The weights are estimated by the size of the plan, which has little else. TensorRT reports
        the context's memory for scratch space and activations.
        """
        if self.engine is None:
            return 0
        return self.plan_size + (0 if self.context is None else self.scratch())

    def scratch(self) -> int:
        """Return the bytes of device memory that a context takes, as TensorRT reports them."""
        for name in ('device_memory_size_v2', 'device_memory_size'):  # 10.1 and up; before
            if hasattr(self.engine, name):
                return int(getattr(self.engine, name))
        return 0

    def drop_context(self) -> None:
        """Free the context; the next ``set_shapes`` creates another one."""
        self.context = None

    def close(self) -> None:
        """Free the engine, even while an exception's traceback refers to the stage."""
        self.context = None
        self.engine = None
        self.runtime = None


def make_profiler() -> Any:
    """Return a TensorRT profiler that adds milliseconds up by layer in its ``times``."""
    base: Any = find_tensorrt().IProfiler

    class Profiler(base):
        def __init__(self) -> None:
            base.__init__(self)
            self.times: dict[str, float] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times[layer_name] = self.times.get(layer_name, 0.0) + ms

    return Profiler()
