# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The ONNX Runtime backend: the same prepared graphs, on any CPU."""

import copy
import json
import platform
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from trt_segmentation.backends.base import (
    BackendInfo,
    Session,
    graph_shape,
    output_dtype,
    output_shape,
)
from trt_segmentation.backends.state_buffers import StateBuffers
from trt_segmentation.errors import BackendError, ConfigError, MissingBackendError
from trt_segmentation.graph.onnx_tools.network import dtype_name, rare_types
from trt_segmentation.graph.onnx_tools.onnxruntime_api import (
    import_onnxruntime,
    open_session,
    return_free_memory,
)
from trt_segmentation.graph.pipeline.output_names import split
from trt_segmentation.graph.pipeline.prepare import named_outputs, prepare_network, prepare_outputs
from trt_segmentation.graph.pipeline.smoothing import WEIGHT
from trt_segmentation.graph.pipeline.tensors import scores_names, states_of_scores
from trt_segmentation.graph.reading.input_sizes import size_hint, wrong_size
from trt_segmentation.graph.reading.resolve import ModelSpec
from trt_segmentation.options import MAX_THREADS

try:
    onnxruntime = import_onnxruntime()
except ImportError as error:
    raise MissingBackendError('ONNX Runtime is not installed; pip install onnxruntime '
                              '(or rosdep install --from-paths .)') from error


class OnnxRuntimeSession(Session):
    """A network on ONNX Runtime's CPU provider.

    It consists of two inference sessions. The first one has head and network, so that the weights
    are in memory only once, whatever outputs are requested. The second one has the tail. ONNX
    Runtime computes every output of a graph, requested or not, so the tail has only the requested
    outputs. For other outputs it is replaced, which takes some 10 ms. The scores pass from the
    first session to the second without a copy.

    A single image is read from, and its results are written to, the caller's arrays. Several
    images are copied through one array each way, since the graph's tensors hold all of them.

    Args:
        spec: the network.
        num_threads: threads that share one operation; 0 takes one for each core.
        mask_interpolation, for_cpu: see ``graph.pipeline.prepare.prepare``.

    Raises:
        BackendError: ONNX Runtime does not support the network.
        ConfigError: the interpolation is unknown.
    """

    def __init__(self, spec: ModelSpec, num_threads: int = 0, *,
                 mask_interpolation: str = 'nearest', for_cpu: bool = True) -> None:
        super().__init__(spec.encoding, [task.name for task in spec.tasks])
        self.info = BackendInfo(
            'onnxruntime', onnxruntime.__version__, f'{platform.machine()} CPU',
            _PRECISIONS.get(dtype_name(spec.network.inputs[0].dtype), 'fp32'))
        self._spec = spec
        self._num_threads = num_threads
        self._how: dict[str, Any] = {'mask_interpolation': mask_interpolation,
                                     'for_cpu': for_cpu}
        self._scores = scores_names(spec)
        self._batch = spec.batch
        self._start_smoothing()
        self._last_shape: tuple[int, int, int] | None = None
        self._shape: tuple[int, int, int] | None = None
        self._outputs = named_outputs(spec, ('mask',))
        self._readers: list[Any] = []
        self._joined = False
        self._network = self._open_network()
        self._tail = self._open_tail(self._outputs)
        return_free_memory()

    def resize(self, height: int, width: int, outputs: tuple[str, ...], bands: int = 3,
               encoding: str = '') -> None:
        if self._network is None:
            raise BackendError(f'{self._spec.network.source}: the session is closed')
        if (height, width, bands) == self._shape and outputs == self._outputs:
            return
        if outputs != self._outputs:
            tail = self._open_tail(outputs)
            self._tail, self._outputs = tail, outputs
        if (height, width, bands) != self._last_shape:
            self.reset_smoothing()
            self._last_shape = height, width, bands
        self._forget_binding()  # until everything is bound
        self._image_shape = (self._batch, height, width, bands)
        self._fed, self._drawn = self._bound(self._network), self._bound(self._tail)
        self._readers = [self._fed, self._drawn][:1 + _reads(self._tail, 'image')]
        for name in self._scores:
            self._fed.bind_output(name, 'cpu')
        if self._batch > 1:
            self._stage((height, width))
        self._shape = height, width, bands

    def infer(self, images: Sequence[np.ndarray], outs: Sequence[Mapping[str, np.ndarray]],
              ) -> None:
        if self._shape is None:
            raise BackendError(f'{self._spec.network.source}: the session is not ready for an '
                               'image; call resize first')
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

    def _start_smoothing(self) -> None:
        self._state_shapes: dict[tuple[str, str], Sequence[int]] = {}
        self._states: StateBuffers | None = None
        if self._spec.smoothing:
            self._controls[WEIGHT] = np.zeros((), np.float32)
            self._states = StateBuffers(self._controls[WEIGHT])

    def _bound(self, session: Any) -> Any:
        """Return a binding of a session with the controls bound."""
        binding = session.io_binding()
        for value in session.get_inputs():
            if value.name in self._controls:
                binding.bind_cpu_input(value.name, self._controls[value.name])
        return binding

    def _stage(self, size: tuple[int, int]) -> None:
        """Allocate and bind the arrays that several images are copied through."""
        spec = self._spec
        self._staged_images = np.empty(self._image_shape, np.uint8)
        shapes = {name: output_shape(name, size, spec.mask_size, spec.detections(split(name)[0]),
                                     spec.overlay_scale)
                  for name in self._outputs}
        whole = {name: np.empty((self._batch, *shape), output_dtype(name, spec.encoding))
                 for name, shape in shapes.items()}
        self._staged = [{name: array[index] for name, array in whole.items()}
                        for index in range(self._batch)]
        self._bind(self._staged_images, self._staged[0])

    def _bind(self, images: np.ndarray, out: Mapping[str, np.ndarray]) -> None:
        """Bind the memory of the images and, from that of the first one, of all results."""
        for binding in self._readers:
            binding.bind_input('image', 'cpu', 0, np.uint8, self._image_shape,
                               images.ctypes.data)
        for name in self._outputs:
            array = out[name]
            dtype = array.dtype if array.dtype.kind == 'f' else np.uint8
            self._drawn.bind_output(name, 'cpu', 0, dtype, graph_shape(array, self._batch),
                                    array.ctypes.data)

    def _run(self) -> None:
        try:
            self.on_enqueued()
            self._network.run_with_iobinding(self._fed)
            if not self._joined:
                self._join()
            if self._states is not None:
                self._states.bind(self._drawn, self._state_shapes)
            self._tail.run_with_iobinding(self._drawn)
            if self._states is not None:
                self._states.advance()
        except BaseException as error:
            self._forget_binding()
            self.reset_smoothing()
            if not isinstance(error, Exception):
                raise
            # The bindings raise a type of their own for each status code.
            count, height, width, _ = self._image_shape
            images = 'a {}x{} image' if count == 1 else f'{count} {{}}x{{}} images'
            if fault := self._size_fault((height, width)):
                raise BackendError(fault) from error
            raise BackendError(f'ONNX Runtime failed on {images.format(width, height)}: '
                               f'{error}') from error

    def _size_fault(self, size: tuple[int, int]) -> str:
        """Return what is wrong with the network's input size; '' if nothing is."""
        spec = self._spec
        right = size_hint(spec.network, spec.input_layout, spec.channel_count,
                          spec.size or size)
        if not right:
            return ''
        if spec.size is None:
            return (f'{spec.network.source}: input.resize is none, and the network does not take '
                    f'an image of {size[1]}x{size[0]}: {right} with input.resize: stretch or '
                    'letterbox')
        return f'{spec.network.source}: {wrong_size(spec.size, right)}'

    def _join(self) -> None:
        """Bind the scores that the network has allocated as outputs, and as inputs of the tail."""
        read = {value.name for value in self._tail.get_inputs()}
        for name, scores in zip(self._scores, self._fed.get_outputs(), strict=True):
            self._fed.bind_ortvalue_output(name, scores)
            if name in read:
                self._drawn.bind_ortvalue_input(name, scores)
        shapes = dict(zip(self._scores, (each.shape() for each in self._fed.get_outputs()),
                          strict=True))
        self._state_shapes = {names: shapes[scores] for names, scores
                              in states_of_scores(self._spec).items() if names[0] in read}
        self._joined = True

    def layer_times(self, images: Sequence[np.ndarray], outs: Sequence[Mapping[str, np.ndarray]],
                    count: int) -> list[dict[str, float]]:
        """See ``Session.layer_times``; layers are nodes, and fused ones have the name of one."""
        fed = {'image': np.stack(images), **self._controls}
        with tempfile.TemporaryDirectory(prefix='trt_segmentation_') as folder:
            parts = [self._open_network(str(Path(folder) / 'network')),
                     self._open_tail(tuple(outs[0]), str(Path(folder) / 'tail'))]
            for _ in range(count + 1):
                fed.update(zip(self._scores, _run_on(parts[0], fed), strict=True))
                fed.update((previous, np.zeros_like(fed[scores])) for (previous, _), scores
                           in states_of_scores(self._spec).items())
                _run_on(parts[1], fed)
            of_network, of_tail = (_times_of_nodes(_end_profiling(part)) for part in parts)
        return_free_memory()
        runs = [one | other for one, other in zip(of_network, of_tail, strict=True)]
        return runs[1:]  # the first one also allocates

    def twin(self) -> 'OnnxRuntimeSession':
        if self._network is None:
            raise BackendError(f'{self._spec.network.source}: the session is closed')
        twin = copy.copy(self)
        Session.__init__(twin, self._spec.encoding, [task.name for task in self._spec.tasks])
        twin._start_smoothing()
        twin._forget_binding()
        return twin

    def close(self) -> None:
        self._network = self._tail = None
        self._forget_binding()

    def _forget_binding(self) -> None:
        """Discard the bindings; the next ``resize`` binds everything again."""
        self._shape, self._fed, self._drawn = None, None, None
        self._readers = []
        self._joined = False

    def _open(self, model: bytes, profile: str = '') -> Any:
        options = _session_options(self._num_threads, profile)
        try:
            return open_session(model, options)
        except Exception as error:
            why = ' '.join(str(error).split()).rstrip('.')
            if 'NOT_IMPLEMENTED' in why and (rare := rare_types(self._spec.network)):
                raise BackendError(
                    f'{self._spec.network.source}: computes in {" and ".join(rare)}, for which '
                    f'ONNX Runtime lacks an operator ({why}); export the network in float32') \
                    from error
            if self._spec.size and (fault := self._size_fault(self._spec.size)):
                raise BackendError(fault) from error
            raise BackendError(f'{self._spec.network.source}: ONNX Runtime does not '
                               f'support this network ({why}); export it with opset 17, and '
                               'without operators of other domains than ONNX') from error

    def _open_network(self, profile: str = '') -> Any:
        model = prepare_network(self._spec).SerializeToString()
        return_free_memory()
        return self._open(model, profile)

    def _open_tail(self, outputs: tuple[str, ...], profile: str = '') -> Any:
        model = prepare_outputs(self._spec, outputs, **self._how)
        return self._open(model.SerializeToString(), profile)


def _session_options(num_threads: int, profile: str = '', *, spins: bool = False) -> Any:
    if not 0 <= num_threads <= MAX_THREADS:
        raise ConfigError(f'num_threads is {num_threads}; it must be between 0 and {MAX_THREADS}',
                          settings=['num_threads'])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.log_severity_level = 3
    # Spinning idle threads would use a second core between two camera frames.
    options.add_session_config_entry('session.intra_op.allow_spinning', str(int(spins)))
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    return options


def _reads(session: Any, name: str) -> bool:
    return any(value.name == name for value in session.get_inputs())


def _run_on(session: Any, fed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Run a session on those of the arrays that it reads."""
    return session.run(None, {value.name: fed[value.name] for value in session.get_inputs()})


def _end_profiling(session: Any) -> list[dict[str, Any]]:
    return json.loads(Path(session.end_profiling()).read_text(encoding='utf-8'))


def _times_of_nodes(events: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Milliseconds of each run by node, from the events of the profiler.

    A node that has a body (If, Loop, Scan) includes the nodes in it, which are not counted again.
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
        spins: whether idle threads spin, as ONNX Runtime lets them by default.

    Raises:
        BackendError: ONNX Runtime does not support it.
    """

    def __init__(self, model: onnx.ModelProto, num_threads: int = 0, *, spins: bool = False,
                 ) -> None:
        options = _session_options(num_threads, spins=spins)
        try:
            self._session = open_session(model.SerializeToString(), options)
        except Exception as error:
            raise BackendError(f'ONNX Runtime does not support the graph: {error}') from error

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str],
            ) -> dict[str, np.ndarray]:
        """Return outputs by name; inputs that the graph does not have are ignored.

        Raises:
            BackendError: ONNX Runtime failed.
        """
        fed = {value.name: inputs[value.name] for value in self._session.get_inputs()}
        try:
            results = self._session.run(list(outputs), fed)
        except Exception as error:  # as above
            raise BackendError(f'ONNX Runtime failed on a graph: {error}') from error
        return dict(zip(outputs, results, strict=True))


_PRECISIONS = {'float16': 'fp16', 'float32': 'fp32', 'float64': 'fp64'}
