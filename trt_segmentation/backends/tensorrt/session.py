# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The TensorRT session: copy in, enqueue, copy out on one stream, in preallocated memory."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from trt_segmentation.backends.base import BackendInfo, GpuTimes, Session
from trt_segmentation.backends.device_arrays import (
    ON_GPU,
    DeviceArray,
    check_device,
    read_device_array,
)
from trt_segmentation.backends.tensorrt.cuda import Device, Graph, close_all
from trt_segmentation.backends.tensorrt.gpu_jpeg import GpuJpeg, JpegReader
from trt_segmentation.backends.tensorrt.gpu_jpeg_encoder import GpuJpegEncoder
from trt_segmentation.backends.tensorrt.page_locks import PageLocks
from trt_segmentation.backends.tensorrt.stage import Shape, Stage, make_profiler
from trt_segmentation.backends.tensorrt.states import DeviceStates
from trt_segmentation.backends.tensorrt.waiting import Waiter
from trt_segmentation.classes.mask_encoding import MONO8, MaskEncoding
from trt_segmentation.errors import BackendError, ImageError, ModelError
from trt_segmentation.graph.pipeline.camera_bytes import (
    CAMERA_BYTES,
    CAMERA_ENCODINGS,
    camera_format,
)
from trt_segmentation.graph.pipeline.output_names import OUTPUTS, joined
from trt_segmentation.graph.pipeline.smoothing import WEIGHT

if TYPE_CHECKING:
    from trt_segmentation.backends.tensorrt.converters import Converters

logger = logging.getLogger(__name__)


class TensorRtSession(Session):
    """A chain of engines from images to masks.

    The images of a batch are contiguous on the device; each is copied from and to the caller's
    arrays, which are in host memory, or on the device (``device_array``). A host array that is
    used for the same image or output again is page-locked, so that the GPU accesses it directly;
    see ``PageLocks``. Another size unlocks all.

    With temporal smoothing, there are two CUDA graphs, one for each direction between the two
    buffers of a state. A single graph would have to copy the state back after each image.

    Args:
        device: the GPU.
        stages: engines in the order in which they run. The first reads ``image``; the last
            writes the outputs; see ``graph.pipeline.tensors``.
        info: backend, device and precision in use.
        encoding: of the masks.
        batch: number of images that the stages take at once.
        tasks: names of the network's tasks; '' for the only task of a network.
        converters: for images in an encoding of a camera; the session closes it.
    """

    encodes_jpeg = True

    def __init__(self, device: Device, stages: list[Stage], info: BackendInfo,
                 encoding: MaskEncoding = MONO8, batch: int = 1,
                 tasks: Sequence[str] = ('',), converters: 'Converters | None' = None) -> None:
        super().__init__(encoding, tasks)
        self._known = tuple(joined(task, name) for task in tasks for name in OUTPUTS)
        self._device = device
        self._stages = stages
        self._converters = converters
        self._converter: Stage | None = None
        self.info = info
        self.encodings = () if converters is None else CAMERA_ENCODINGS
        self._shape: tuple[int, int, int, str] | None = None
        self._outputs: tuple[str, ...] = ()
        self._batch = batch
        self._shapes: dict[str, Shape] = {}
        self._memory: dict[str, Any] = {}
        self._sizes: dict[str, int] = {}
        self._places: dict[str, list[int]] = {}
        self._graphs: list[Graph] = []
        self._states: DeviceStates | None = DeviceStates.of(
            name for stage in stages for _, name, _ in stage.tensors())
        if self._states is not None:
            self._controls[WEIGHT] = np.zeros((), np.float32)
        self._page_locks = PageLocks(device)
        self._waiter = Waiter()
        self._changed = set(self._controls)
        self._stream: Any = None
        self._jpeg, self._jpeg_encoder = GpuJpeg(device), GpuJpegEncoder(device)
        try:
            with device.current():
                self._stream = device.stream()
                for name, value in self._controls.items():
                    self._allocate(name, value.nbytes)
        except BaseException:
            self.close()
            raise

    def fetch_converter(self, encoding: str) -> None:
        assert self._converters is not None  # else ``encodings`` is empty
        self._converters.fetch(encoding)

    def resize(self, height: int, width: int, outputs: tuple[str, ...], bands: int = 3,
               encoding: str = '') -> None:
        shape = height, width, bands, encoding
        if shape == self._shape and outputs == self._outputs:
            return
        self._check_outputs(outputs)
        if shape != self._shape:
            self._check_size(height, width)
            converter = self._converters.fetch(encoding) \
                if encoding and self._converters is not None else None
            with self._device.current(), self._discarding_on_failure():
                self._free_size()
                self._switch_converter(converter)
                self._prepare_size(shape)
            self._shape = shape
        self._outputs = outputs

    def infer(self, images: Sequence[np.ndarray], outs: Sequence[Mapping[str, np.ndarray]],
              ) -> None:
        with self._at_work():
            self._copy_in(images)
            self._run()
            self._copy_out(outs)
            self.on_enqueued()
            self._waiter.wait(self._stream)

    def device_array(self, value: Any, what: str) -> DeviceArray:
        """See ``Session.device_array``; the session's stream waits for the work that is pending
        on it."""
        if self._stream is None:
            raise BackendError('the session is closed')
        with self._device.current():
            array = read_device_array(value, what, self._device.index, self._stream.handle)
            if array.device is None and array.nbytes:
                try:
                    array = replace(array, device=self._device.index_of(array.address))
                except BackendError as error:
                    raise ImageError(f'{what} is at {array.address:#x}, which is no memory of a '
                                     f'GPU ({error})') from error
                check_device(array, what, self._device.index)
            if array.stream is not None:
                self._device.wait_for(array.stream, self._stream)
        return array

    def jpeg_reader(self, reuse: bool) -> JpegReader:
        """Return a decoder of JPEG into this GPU's memory; see ``GpuJpeg.reader``."""
        return self._jpeg.reader(reuse)

    def encode_jpeg(self, name: str, index: int, quality: int, is_rgb: bool) -> bytes | None:
        """See ``Session.encode_jpeg`` and ``GpuJpegEncoder.encode``."""
        with self._at_work():
            overlay = DeviceArray(self._places[name][index], self._shapes[name][1:],
                                  np.dtype(np.uint8), self._device.index)
            return self._jpeg_encoder.encode(overlay, quality, is_rgb)

    def fetch(self, name: str, index: int, array: np.ndarray) -> None:
        with self._at_work():
            self._device.copy_out(array, self._places[name][index], self._stream)
            self._stream.synchronize()

    def measure(self, images: Sequence[np.ndarray], outs: Sequence[Mapping[str, np.ndarray]],
                ) -> GpuTimes:
        device, stream = self._device, self._stream
        with self._at_work():
            events = [device.event() for _ in range(4)]
            events[0].record(stream)
            self._copy_in(images)
            events[1].record(stream)
            self._run()
            events[2].record(stream)
            self._copy_out(outs)
            events[3].record(stream)
            return GpuTimes(*(device.milliseconds_between(start, end)
                              for start, end in pairwise(events)))

    def layer_times(self, images: Sequence[np.ndarray], outs: Sequence[Mapping[str, np.ndarray]],
                    count: int) -> list[dict[str, float]]:
        """See ``Session.layer_times``; ``outs`` is not written.

        The engines run without a CUDA graph, in contexts with a profiler. TensorRT 8.6 allows only
        one context for the same profile, so the session's own are discarded and recreated
        afterwards.
        """
        times: list[dict[str, float]] = [{} for _ in range(count + 1)]
        with self._at_work():
            self._copy_in(images)
            self._stream.synchronize()
            self._drop_contexts()
            profiler = make_profiler()
            for stage in self._chain:
                stage.set_shapes(self._shapes)
                stage.context.profiler = profiler
                stage.bind(self._memory)
            for profiler.times in times:
                self._enqueue()
                self._stream.synchronize()
            self._drop_contexts()
        height, width, bands = images[0].shape
        self.resize(height, width, self._outputs, bands)
        return times[1:]  # the first one warms up

    def gpu_memory(self) -> tuple[int, int]:
        """See ``Session.gpu_memory``. The first number counts its tensors and its engines, see
        ``Stage.memory``. It does not count CUDA's context, the kernels' code and CUDA graphs,
        whose size is not reported."""
        with self._device.current():
            free, _ = self._device.memory()
        return sum(self._sizes.values()) + sum(stage.memory() for stage in self._chain), free

    def close(self) -> None:
        try:
            with self._device.current():
                self._close()
        except BackendError as error:
            logger.warning('the session was not closed properly: %s', error)

    def _close(self) -> None:
        controls = [self._memory.pop(name) for name in self._controls if name in self._memory]
        stages, self._stages = self._stages, []
        for name in self._controls:
            self._sizes.pop(name, None)
        closing = [] if self._converters is None else [self._converters.close]
        close_all([self._jpeg.close, self._jpeg_encoder.close, self._free_size,
                   *(memory.free for memory in controls),
                   *(stage.close for stage in stages), *closing])
        self._stream = self._converter = None

    @property
    def _chain(self) -> list[Stage]:
        """The engines that run, in this order."""
        return self._stages if self._converter is None else [self._converter, *self._stages]

    @property
    def _input(self) -> str:
        """Name of the tensor that images are copied into."""
        return 'image' if self._converter is None else CAMERA_BYTES

    def _switch_converter(self, converter: Stage | None) -> None:
        """Put another converter before the network, and free the previous one's scratch space."""
        if self._converter is not None and self._converter is not converter:
            self._converter.drop_context()
        self._converter = converter

    def _allocate(self, name: str, size: int) -> None:
        self._memory[name] = self._device.allocate(size)
        self._sizes[name] = size

    def _set_control(self, name: str, value: Any) -> None:
        """Set it on the host; the next image copies it to the device."""
        super()._set_control(name, value)
        self._changed.add(name)

    def _copy_controls(self) -> None:
        for name in sorted(self._changed):
            self._device.copy_in(self._memory[name], self._controls[name], self._stream)
        self._changed.clear()

    def _check_outputs(self, outputs: tuple[str, ...]) -> None:
        if not self._stages:
            raise BackendError('the session is closed; open the network again')
        there = {shared for stage in self._stages for _, shared, is_input in stage.tensors()
                 if not is_input}
        available = [name for name in self._known if name in there]
        if unknown := [name for name in outputs if name not in available]:
            raise ModelError(f'the engine cannot give {", ".join(unknown)}; it gives '
                             f'{", ".join(available)}')

    def _check_size(self, height: int, width: int) -> None:
        smallest, largest = self._stages[0].bounds('image')
        if not smallest[1] <= height <= largest[1] or not smallest[2] <= width <= largest[2]:
            raise BackendError(
                f'the image is {width}x{height}, but the engine was built for '
                f'{smallest[2]}x{smallest[1]} to {largest[2]}x{largest[1]}; build it with other '
                'min_size and max_size', settings=('min_size', 'max_size'))

    def _prepare_size(self, shape: tuple[int, int, int, str]) -> None:
        self._waiter = Waiter()
        height, width, bands, encoding = shape
        given = camera_format(encoding).shape(height, width) if encoding else \
            (height, width, bands)
        self._shapes = {self._input: (self._batch, *given)}
        self._shapes.update((name, value.shape) for name, value in self._controls.items())
        for stage in self._chain:
            self._shapes.update(stage.set_shapes(self._shapes))
            for name, size in stage.sizes().items():
                if name not in self._memory:
                    self._allocate(name, size)
            stage.bind(self._memory)
        if self._states is not None:
            self._states.clear(self._memory, self._sizes, self._device, self._stream)
        self._places = {name: self._places_of(name) for name in (self._input, *self._known)
                        if name in self._memory}
        self._copy_controls()
        self._enqueue()  # the first run with new shapes allocates, which a graph cannot record
        self._stream.synchronize()
        try:
            self._record()
        except BackendError as error:
            self._close_graphs()
            logger.info('the engine runs without a CUDA graph: %s', error)

    def _record(self) -> None:
        """Record the graphs in the order in which they are launched."""
        self._graphs.append(self._device.capture(self._stream, self._enqueue))
        if self._states is not None:
            self._swap_states(self._states)
            self._graphs.append(self._device.capture(self._stream, self._enqueue))
            self._swap_states(self._states)

    def _swap_states(self, states: DeviceStates) -> None:
        """Let the engines read the states that they have written."""
        states.swap(self._memory)
        for stage in self._stages:
            stage.bind(self._memory)

    def _free_size(self) -> None:
        """Free graph, page locks and tensors of the current size, but not the contexts."""
        self._shape = None
        graphs, self._graphs = self._graphs, []
        locks = self._page_locks.take_closers()
        tensors = [self._memory.pop(name) for name in self._memory.keys() - self._controls.keys()]
        for name in self._sizes.keys() - self._controls.keys():
            del self._sizes[name]
        close_all([*self._waiting(), *(graph.close for graph in graphs), *locks,
                   *(memory.free for memory in tensors)])

    def _drop_contexts(self) -> None:
        """Free the contexts, and the graphs that refer to them; ``resize`` creates new ones."""
        self._shape = None
        self._close_graphs()
        close_all(stage.drop_context for stage in self._chain)

    def _close_graphs(self) -> None:
        graphs, self._graphs = self._graphs, []
        close_all([*self._waiting(), *(graph.close for graph in graphs)])

    def _waiting(self) -> list[Callable[[], None]]:
        """The first step of a clean-up: work on the stream may still use the memory."""
        return [] if self._stream is None else [self._stream.synchronize]

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Make the device current for an image; see ``_discarding_on_failure``.

        Raises:
            BackendError: ``resize`` must be called first.
        """
        if self._shape is None:
            raise BackendError('the session is not ready for an image; call resize first')
        with self._device.current(), self._discarding_on_failure():
            if self._states is not None:
                self._set_weight(self._states.of_next_run)
            if self._changed:
                self._copy_controls()
            yield

    @contextmanager
    def _discarding_on_failure(self) -> Iterator[None]:
        """After an exception, discard graph, contexts and memory, which may be invalid; the next
        ``resize`` recreates them from the engines."""
        try:
            yield
        except BaseException:
            self._changed.update(self._controls)
            close_all([self._drop_contexts, self._free_size])
            raise

    def _enqueue(self) -> None:
        for stage in self._chain:
            stage.enqueue(self._stream)

    def _set_weight(self, weight: float) -> None:
        if self._controls[WEIGHT] != np.float32(weight):
            self._set_control(WEIGHT, weight)

    def _run(self) -> None:
        if self._graphs:
            self._graphs[0].launch()
        else:
            self._enqueue()
        if self._states is not None:
            self._states.advance()
            if self._graphs:
                self._graphs.reverse()
            else:
                self._swap_states(self._states)

    def _places_of(self, name: str) -> list[int]:
        """Addresses of the images in a tensor.

        Raises:
            BackendError: the tensor has another number of images.
        """
        if self._shapes[name][0] != self._batch:
            raise BackendError(f"the engine's '{name}' is {list(self._shapes[name])} for "
                               f'{self._batch} images; its network mixes them: run one node per '
                               'camera')
        start, extent = int(self._memory[name]), self._sizes[name] // self._batch
        return [start + index * extent for index in range(self._batch)]

    def _copy_in(self, images: Sequence[np.ndarray]) -> None:
        pairs = zip(self._places[self._input], images, strict=True)
        for index, (address, image) in enumerate(pairs):
            if isinstance(image, DeviceArray):
                self._device.copy_within(address, image.address, image.nbytes, self._stream)
                continue
            self._page_locks.use(('image', index), image, self.image_buffers)
            self._device.copy_in(address, image, self._stream)

    def _copy_out(self, outs: Sequence[Mapping[str, np.ndarray]]) -> None:
        for index, out in enumerate(outs):
            for name in self._outputs:
                array, address = out[name], self._places[name][index]
                if array is ON_GPU:
                    continue
                if isinstance(array, DeviceArray):
                    self._device.copy_within(array.address, address, array.nbytes, self._stream)
                    continue
                self._page_locks.use((name, index), array)
                self._device.copy_out(array, address, self._stream)
