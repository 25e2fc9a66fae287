# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""An engine from elsewhere where TensorRT has no builder: head and tail on the CPU."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from onnx import helper

from trt_segmentation.backends.base import BackendInfo, Controls
from trt_segmentation.backends.tensorrt.cuda import Device
from trt_segmentation.backends.tensorrt.session import Stage
from trt_segmentation.graph.network import TensorInfo
from trt_segmentation.graph.prepare import NETWORK_PREFIX, prepare_head, prepare_tail
from trt_segmentation.graph.resolve import ModelSpec


class HostedSession(Controls):
    """Head and tail on ONNX Runtime, the engine on the GPU; see ``backends.base.Session``.

    The same graphs as everywhere, only slower: float32 images and scores cross the bus.

    Args:
        device: where the engine lies.
        stage: the engine; see ``foreign.foreign_stage``.
        spec: what the engine takes and gives.
        mask_interpolation: see ``graph.prepare.prepare``.
        info: what really runs.

    Raises:
        MissingBackendError: ONNX Runtime is not installed.
    """

    def __init__(self, device: Device, stage: Stage, spec: ModelSpec, mask_interpolation: str,
                 info: BackendInfo) -> None:
        from trt_segmentation.backends.onnxruntime import OnnxGraph
        self.info = info
        self._head = OnnxGraph(prepare_head(spec))
        self._tail = OnnxGraph(prepare_tail(spec, mask_interpolation=mask_interpolation))
        self._device = device
        self._stage = stage
        super().__init__(spec.encoding)
        self._outputs: tuple[str, ...] = ()
        self._fed = NETWORK_PREFIX + spec.network.inputs[0].name
        self._results = {
            NETWORK_PREFIX + output.name: np.empty(_fixed_shape(output),
                                                   helper.tensor_dtype_to_np_dtype(output.dtype))
            for output in spec.network.outputs if output.name == spec.scores.name}
        self._fed_shape = _fixed_shape(spec.network.inputs[0])
        self._memory: dict[str, Any] = {}
        with device.current():
            self._stream = device.stream()

    def resize(self, height: int, width: int, outputs: tuple[str, ...]) -> None:
        self._outputs = outputs
        if not self._memory:
            with self._freeing_on_failure():
                self._stage.set_shapes({self._fed: self._fed_shape})
                for name, size in self._stage.sizes().items():
                    self._memory[name] = self._device.allocate(size)
                self._stage.bind(self._memory)

    def infer(self, images: Sequence[np.ndarray], outs: Sequence[Mapping[str, np.ndarray]],
              ) -> None:
        (image,), (out,) = images, outs  # an engine from elsewhere takes one
        inputs = {'image': image[None], **self._controls}
        fed = self._head.run(inputs, [self._fed])[self._fed]
        with self._freeing_on_failure():
            self._device.copy_in(self._memory[self._fed], fed, self._stream)
            self._stage.enqueue(self._stream)
            for name, result in self._results.items():
                self._device.copy_out(result, self._memory[name], self._stream)
            self._stream.synchronize()
        for name, result in self._tail.run({**inputs, **self._results}, self._outputs).items():
            out[name].view(np.uint8).reshape(result[0].shape)[...] = result[0]

    def close(self) -> None:
        with self._device.current():
            self._free()
            self._stage.close()
            self._stream = None

    @contextmanager
    def _freeing_on_failure(self) -> Iterator[None]:
        """Where something fails, let the next ``resize`` start from the engine alone."""
        with self._device.current():
            try:
                yield
            except BaseException:
                self._free()
                raise

    def _free(self) -> None:
        for memory in self._memory.values():
            memory.free()
        self._memory.clear()
        self._stage.context = None


def _fixed_shape(info: TensorInfo) -> tuple[int, ...]:
    """The shape of an engine's tensor, which leaves nothing open."""
    assert info.shape is not None
    return tuple(extent for extent in info.shape if extent is not None)
