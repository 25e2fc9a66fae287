# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime: the same prepared graph on any CPU."""

import json
import platform
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from trt_segmentation.backends.base import BackendInfo, Controls, graph_shape, output_shape
from trt_segmentation.errors import BackendError, MissingBackendError
from trt_segmentation.graph.network import dtype_name
from trt_segmentation.graph.onnxruntime_api import import_onnxruntime
from trt_segmentation.graph.prepare import PreparedGraph

try:
    onnxruntime = import_onnxruntime()
except ImportError as error:
    raise MissingBackendError('ONNX Runtime is not installed; pip install onnxruntime '
                              '(or rosdep install --from-paths .)') from error


class OnnxRuntimeSession(Controls):
    """A prepared graph on ONNX Runtime's CPU provider; see ``backends.base.Session``.

    ONNX Runtime computes every output of a graph, asked for or not. So there is one inference
    session for each set of outputs in use, made when it is first needed.

    One image is read and its results are written where they are. Several go through one array
    each way, since the graph's tensors hold them one after the other.

    Args:
        prepared: with ``for_cpu``, to be fast.
        num_threads: threads that share one operation; 0 takes one for each core.

    Raises:
        BackendError: ONNX Runtime does not take the network.
    """

    def __init__(self, prepared: PreparedGraph, num_threads: int = 0) -> None:
        self._prepared = prepared
        self._num_threads = num_threads
        self._sessions: dict[tuple[str, ...], Any] = {}
        self._batch = prepared.spec.batch
        super().__init__(prepared.spec.encoding)
        self._session_for(('mask',))

    @property
    def info(self) -> BackendInfo:
        network = self._prepared.spec.network
        return BackendInfo('onnxruntime', onnxruntime.__version__,
                           f'{platform.machine()} CPU',
                           _PRECISIONS.get(dtype_name(network.inputs[0].dtype), 'fp32'))

    def resize(self, height: int, width: int, outputs: tuple[str, ...]) -> None:
        self._session = self._session_for(outputs)
        self._image_shape = (self._batch, height, width, 3)
        self._outputs = outputs
        self._binding = self._session.io_binding()
        for value in self._session.get_inputs():
            if value.name != 'image':
                self._binding.bind_cpu_input(value.name, self._controls[value.name])
        if self._batch > 1:
            self._stage((height, width))

    def infer(self, images: Sequence[np.ndarray], outs: Sequence[Mapping[str, np.ndarray]],
              ) -> None:
        if self._batch == 1:
            self._bind(images[0], outs[0])
            self._run()
            return
        for place, image in zip(self._staged_images, images, strict=True):
            np.copyto(place, image)
        self._run()
        for staged, out in zip(self._staged, outs, strict=True):
            for name in self._outputs:
                np.copyto(out[name], staged[name])

    def _stage(self, size: tuple[int, int]) -> None:
        """Make the arrays that several images go through, and bind them."""
        spec = self._prepared.spec
        self._staged_images = np.empty(self._image_shape, np.uint8)
        shapes = {name: output_shape(name, size, spec.mask_size) for name in self._outputs}
        whole = {name: np.empty((self._batch, *shape),
                                spec.encoding.dtype if name == 'mask' else np.uint8)
                 for name, shape in shapes.items()}
        self._staged = [{name: array[index] for name, array in whole.items()}
                        for index in range(self._batch)]
        self._bind(self._staged_images, self._staged[0])

    def _bind(self, images: np.ndarray, out: Mapping[str, np.ndarray]) -> None:
        """Let the graph read images, and write the first one's results and those behind it."""
        binding = self._binding
        binding.bind_input('image', 'cpu', 0, np.uint8, self._image_shape, images.ctypes.data)
        for name in self._outputs:
            binding.bind_output(name, 'cpu', 0, np.uint8, graph_shape(out[name], self._batch),
                                out[name].ctypes.data)

    def _run(self) -> None:
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # the binding raises its own types, one for each status code
            count, height, width, _ = self._image_shape
            images = 'a {}x{} image' if count == 1 else f'{count} {{}}x{{}} images'
            raise BackendError(f'ONNX Runtime failed on {images.format(width, height)}: '
                               f'{error}') from error

    def layer_times(self, images: Sequence[np.ndarray], outs: Sequence[Mapping[str, np.ndarray]],
                    count: int) -> list[dict[str, float]]:
        """Segment the same again and again under ONNX Runtime's profiler, as ``infer`` does.

        Args:
            images, outs: as of ``infer``.
            count: how often.

        Returns:
            Of each time, milliseconds by name of the node; fused nodes have one node's name.
        """
        fed = {'image': np.stack(images), **self._controls}
        with tempfile.TemporaryDirectory(prefix='trt_segmentation_') as folder:
            session = self._open(tuple(outs[0]), profile=str(Path(folder) / 'profile'))
            fed = {value.name: fed[value.name] for value in session.get_inputs()}
            for _ in range(count + 1):
                session.run(None, fed)
            events = json.loads(Path(session.end_profiling()).read_text(encoding='utf-8'))
        return _times_of_nodes(events)[1:]  # the first one also allocates

    def close(self) -> None:
        self._sessions.clear()
        self._session = self._binding = None

    def _session_for(self, outputs: tuple[str, ...]) -> Any:
        if outputs not in self._sessions:
            self._sessions[outputs] = self._open(outputs)
        return self._sessions[outputs]

    def _open(self, outputs: tuple[str, ...], profile: str = '',
              ) -> Any:
        prepared = self._prepared
        if outputs != prepared.outputs:
            prepared = prepared.only(outputs)
        options = _session_options(self._num_threads, profile)
        try:
            return onnxruntime.InferenceSession(prepared.model.SerializeToString(), options,
                                                ['CPUExecutionProvider'])
        except Exception as error:
            why = ' '.join(str(error).split()).rstrip('.')
            raise BackendError(f'{self._prepared.spec.network.source}: ONNX Runtime does not '
                               f'take this network ({why}); export it with opset 17, and without '
                               'operators of other domains than ONNX') from error


def _session_options(num_threads: int, profile: str) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.log_severity_level = 3
    # Idle threads that spin cost a second core for nothing between two camera frames.
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    return options


def _times_of_nodes(events: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Milliseconds of each run by node, from what the profiler has written.

    A node that has a body (If, Loop, Scan) contains its body's nodes, which do not count twice.
    """
    runs: list[dict[str, float]] = []
    nodes = sorted((event for event in events if event['name'].endswith('_kernel_time')),
                   key=lambda event: (event['ts'], -event['dur']))
    for run in (event for event in events if event['name'] == 'model_run'):
        times: dict[str, float] = {}
        end = run['ts']
        for node in nodes:
            if end <= node['ts'] < run['ts'] + run['dur']:
                name = node['name'].removesuffix('_kernel_time')
                times[name] = times.get(name, 0.0) + node['dur'] / 1e3
                end = node['ts'] + node['dur']
        runs.append(times)
    return runs


class OnnxGraph:
    """Any graph on ONNX Runtime's CPU provider.

    Args:
        model: the graph.
        num_threads: as of ``OnnxRuntimeSession``.

    Raises:
        BackendError: ONNX Runtime does not take it.
    """

    def __init__(self, model: onnx.ModelProto, num_threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        try:
            self._session = onnxruntime.InferenceSession(model.SerializeToString(), options,
                                                         ['CPUExecutionProvider'])
        except Exception as error:
            raise BackendError(f'ONNX Runtime does not take the graph: {error}') from error

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str],
            ) -> dict[str, np.ndarray]:
        """Return outputs by name; inputs that the graph does not have are left out."""
        fed = {value.name: inputs[value.name] for value in self._session.get_inputs()}
        return dict(zip(outputs, self._session.run(list(outputs), fed), strict=True))


_PRECISIONS = {'float16': 'fp16', 'float32': 'fp32', 'float64': 'fp64'}
