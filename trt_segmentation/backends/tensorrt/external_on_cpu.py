# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""An external engine on a TensorRT without a builder: head and tail run on the CPU."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, helper

from trt_segmentation.backends.base import BackendInfo, Session
from trt_segmentation.backends.tensorrt.cuda import Device
from trt_segmentation.backends.tensorrt.stage import Stage
from trt_segmentation.backends.tensorrt.stage_runner import StageRunner
from trt_segmentation.errors import BackendError
from trt_segmentation.graph.onnx_tools.network import TensorInfo
from trt_segmentation.graph.pipeline.prepare import named_outputs, prepare_head, prepare_tail
from trt_segmentation.graph.pipeline.tensors import NETWORK_PREFIX
from trt_segmentation.graph.reading.resolve import ModelSpec

logger = logging.getLogger(__name__)


class ExternalOnCpuSession(Session):
    """Head and tail on ONNX Runtime, the engine on the GPU.

    It uses the same graphs but is slower: float32 images and scores cross the bus.

    Args:
        device: the GPU of the engine.
        stage: the engine; see ``external_engine.external_stage``.
        spec: the engine's network.
        mask_interpolation: see ``graph.pipeline.prepare.prepare``.
        info: backend, device and precision in use.

    Raises:
        MissingBackendError: ONNX Runtime is not installed.
        BackendError: ONNX Runtime does not support head or tail, or CUDA failed.
    """

    def __init__(self, device: Device, stage: Stage, spec: ModelSpec, mask_interpolation: str,
                 info: BackendInfo) -> None:
        super().__init__(spec.encoding, [task.name for task in spec.tasks])
        self.info = info
        self._spec = spec
        self._mask_interpolation = mask_interpolation
        self._device = device
        self._stage = stage
        self._outputs = named_outputs(spec, ('mask',))
        self._fed = NETWORK_PREFIX + spec.network.inputs[0].name
        read = {task.scores.name for task in spec.tasks}
        self._results = {
            NETWORK_PREFIX + output.name: np.empty(_fixed_shape(output),
                                                   helper.tensor_dtype_to_np_dtype(output.dtype))
            for output in spec.network.outputs if output.name in read}
        self._fed_shape = _fixed_shape(spec.network.inputs[0])
        self._runner: StageRunner | None = None
        self._closed = False
        try:
            self._open_graph = _import_graph()
            self._head = self._open_graph(prepare_head(spec))
            self._tail = self._open_tail(self._outputs)
        except BaseException:
            self.close()
            raise

    def resize(self, height: int, width: int, outputs: tuple[str, ...], bands: int = 3,
               encoding: str = '') -> None:
        if self._closed:
            raise BackendError(f'{self._spec.network.source}: the session is closed; open the '
                               'engine again')
        if outputs != self._outputs:
            self._tail = self._open_tail(outputs)
            self._outputs = outputs
        if self._runner is None:
            self._runner = StageRunner(self._device, self._stage, self._fed_shape)

    def infer(self, images: Sequence[np.ndarray], outs: Sequence[Mapping[str, np.ndarray]],
              ) -> None:
        if self._runner is None:
            raise BackendError('the session is not ready for an image; call resize first')
        (image,), (out,) = images, outs  # an external engine takes one
        inputs = {'image': image[None], **self._controls}
        fed = self._head.run(inputs, [self._fed])[self._fed]
        try:
            self._runner(fed, self._results)
        except BaseException:  # the next resize creates another context and memory
            self._free(self._stage.drop_context)
            raise
        for name, result in self._tail.run({**inputs, **self._results}, self._outputs).items():
            out[name].view(np.uint8).reshape(result[0].shape)[...] = result[0]

    def gpu_memory(self) -> tuple[int, int]:
        """See ``TensorRtSession.gpu_memory``."""
        with self._device.current():
            free, _ = self._device.memory()
        return (self._runner.nbytes if self._runner else 0) + self._stage.memory(), free

    def close(self) -> None:
        self._closed = True
        try:
            self._free()
            with self._device.current():
                self._stage.close()
        except BackendError as error:
            logger.warning('the session was not closed properly: %s', error)

    def _open_tail(self, outputs: tuple[str, ...]) -> Any:
        return self._open_graph(prepare_tail(self._spec, outputs,
                                             mask_interpolation=self._mask_interpolation))

    def _free(self, *steps: Callable[[], None]) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.free(*steps)


def _import_graph() -> Callable[[ModelProto], Any]:
    from trt_segmentation.backends.onnxruntime import OnnxGraph
    return OnnxGraph


def _fixed_shape(info: TensorInfo) -> tuple[int, ...]:
    """The shape of an engine's tensor, which has no open dimensions."""
    assert info.shape is not None
    return tuple(extent for extent in info.shape if extent is not None)
