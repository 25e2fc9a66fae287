# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The interface of a backend to the rest of the package."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trt_segmentation.backends.device_arrays import DeviceArray
from trt_segmentation.backends.state_buffers import MeanWeight
from trt_segmentation.classes.mask_encoding import MONO8, MaskEncoding
from trt_segmentation.graph.pipeline.output_names import DETECTION_VALUES, joined, kind_of
from trt_segmentation.graph.pipeline.overlay_scale import overlay_size


def output_shape(name: str, size: tuple[int, int], mask_size: tuple[int, int] | None = None,
                 detections: int = 0, overlay_scale: float = 1.0) -> tuple[int, ...]:
    """Return the shape of an output.

    Args:
        name: one of ``graph.pipeline.prepare.available_outputs``.
        size: height and width of the source.
        mask_size: as in ``ModelSpec``.
        detections: rows of the output ``detections``; see ``ModelSpec.detections``.
        overlay_scale: as in ``ModelSpec``.
    """
    if kind_of(name) == 'detections':
        return detections, DETECTION_VALUES
    if kind_of(name) == 'overlay':
        return (*overlay_size(size, overlay_scale), 3)
    return mask_size or size


def output_dtype(name: str, encoding: MaskEncoding) -> np.dtype:
    """Return the type of an output: uint8; or the mask's own, uint16 for instance ids, float32
    for detections."""
    own = {'mask': encoding.dtype, 'instances': np.uint16, 'detections': np.float32}
    return np.dtype(own.get(kind_of(name), np.uint8))


def graph_shape(array: np.ndarray, batch: int = 1) -> tuple[int, ...]:
    """Return the shape of the graph's output for images that fill an array each. It is float32
    as the array, else uint8; wider integers have a last axis of their bytes.

    Args:
        array: of ``output_shape``.
        batch: number of images.
    """
    planes = () if array.itemsize == 1 or array.dtype.kind == 'f' else (array.itemsize,)
    return batch, *array.shape, *planes


@dataclass(frozen=True)
class BackendInfo:
    """Backend, device and precision in use, for the log, diagnostics and reports.

    Attributes:
        backend: 'onnxruntime' or 'tensorrt'.
        version: of the runtime.
        device: the processor, as the runtime names it.
        precision: the precision that the network really runs in, for example 'fp32'.
        layers: the number of layers in each precision, where the runtime reports it.
        engine_key: hash of all that a built engine depends on; '' without an engine.
    """

    backend: str
    version: str
    device: str
    precision: str
    layers: str = ''
    engine_key: str = ''

    def __str__(self) -> str:
        return f'{self.backend} {self.version} on {self.device}, {self.layers or self.precision}'


@dataclass(frozen=True)
class GpuTimes:
    """GPU time of the parts of one inference, milliseconds.

    Attributes:
        copy_in, run, copy_out: images to the device, the engines, results to the host.
    """

    copy_in: float
    run: float
    copy_out: float


class Session(ABC):
    """One prepared network, opened on one device.

    Use it from one thread at a time. For every frame, call ``resize``, which does nothing if
    nothing has changed, and then ``infer``. Only the session remembers the size that it is ready
    for: after an error in ``infer``, the next ``resize`` makes it ready again. The graph that it
    was opened with defines how many images ``infer`` takes, mostly one.

    A backend defines ``info``, ``resize``, ``infer`` and ``close``. The defaults of the others are
    for a backend that has no such thing.

    Args:
        encoding: of the masks.
        tasks: names of the network's tasks; '' for the only task of a network.

    Attributes:
        info: backend, device and precision in use.
        image_buffers: number of arrays that the caller of ``infer`` uses for images in turn.
        encodings: of cameras, that ``resize`` takes.
        encodes_jpeg: whether it has ``encode_jpeg`` and ``fetch``.
        on_enqueued: called by ``infer`` in its thread, when it only has to wait for the processor.
    """

    info: BackendInfo
    encodings: tuple[str, ...] = ()
    encodes_jpeg = False

    def __init__(self, encoding: MaskEncoding = MONO8, tasks: Sequence[str] = ('',)) -> None:
        self.image_buffers = 1
        self.on_enqueued: Callable[[], None] = _do_nothing
        self._states: MeanWeight | None = None
        self._controls: dict[str, np.ndarray] = {
            'channels': np.arange(3, dtype=np.int32),
            'alpha': np.array(0.5, np.float32),
            **{joined(task, 'palette'): np.zeros((encoding.unlabelled + 1, 3), np.uint8)
               for task in tasks}}

    @abstractmethod
    def resize(self, height: int, width: int, outputs: tuple[str, ...], bands: int = 3,
               encoding: str = '') -> None:
        """Prepare for images of one size; the only method that allocates. Call it before each
        ``infer``; it returns at once if nothing has changed.

        Args:
            height, width: of the source image, pixels.
            outputs: the outputs that ``infer`` will compute, some of ``available_outputs``.
            bands: bytes per pixel, 3; a network of one channel also takes 1 and 2, see
                ``images.gray``.
            encoding: one of ``encodings``: ``infer`` takes the bytes of the camera; '' for pixels.

        Raises:
            BackendError: the network cannot run at that size, or the session is closed.
            ModelError: the network cannot give one of the outputs.
        """

    @abstractmethod
    def infer(self, images: Sequence[np.ndarray], outs: Sequence[Mapping[str, np.ndarray]],
              ) -> None:
        """Segment a batch of as many images as the graph takes.

        Args:
            images: uint8 [H, W, bands], C-contiguous, as given to ``resize``; with an encoding
                uint8 [rows, bytes per row].
            outs: for each image, C-contiguous arrays that its results are written into: one for
                each of ``resize``'s outputs, of ``output_shape``; uint8, the mask of its
                encoding's type.

        Raises:
            BackendError: the runtime failed, and the session can be used again; or ``resize``
                must be called first.
        """

    @abstractmethod
    def close(self) -> None:
        """Free everything; the session cannot be used again. A second call does nothing. Errors
        of the runtime are logged, not raised."""

    def set_channels(self, channels: tuple[int, int, int]) -> None:
        """Set which channel of the source is the network's channel 0, 1 and 2."""
        self._set_control('channels', channels)

    def set_palette(self, table: np.ndarray, task: str = '') -> None:
        """Set a task's class colours: uint8 [ids of the mask, 3], channels in the source's
        order."""
        self._set_control(joined(task, 'palette'), table)

    def set_alpha(self, alpha: float) -> None:
        """Set the overlay's opacity: 0 (only the image) to 1 (only the colours)."""
        self._set_control('alpha', alpha)

    def set_smoothing(self, weight: float) -> None:
        """Set the weight of temporal smoothing, 0 to ``MAX_WEIGHT``; needs ``spec.smoothing``."""
        assert self._states is not None, 'the graph has no smoothing'
        self._states.set_weight(weight)

    def reset_smoothing(self) -> None:
        """Forget the previous images, for example after a gap in time."""
        if self._states is not None:
            self._states.reset()

    def fetch_converter(self, encoding: str) -> None:
        """Load what converts one of ``encodings``, and build it before where that is necessary.
        Any thread may call it while another uses the session.

        Raises:
            BackendError: it cannot be built or loaded, or the session is closed.
        """
        raise NotImplementedError

    def device_array(self, value: Any, what: str) -> DeviceArray | None:
        """Return the GPU memory of an array of another library, for ``infer``; None if the
        session reads host memory only.

        Args:
            value: an object with the CUDA array interface or DLPack.
            what: its name in messages, such as 'the image'.

        Raises:
            ImageError: it is on another device, or not C-contiguous.
            BackendError: CUDA reports an error; or the session is closed.
        """
        return None

    def measure(self, images: Sequence[np.ndarray], outs: Sequence[Mapping[str, np.ndarray]],
                ) -> GpuTimes | None:
        """Do what ``infer`` does, and return how long each part took on the GPU; None, and do
        nothing, without a GPU."""
        return None

    def layer_times(self, images: Sequence[np.ndarray], outs: Sequence[Mapping[str, np.ndarray]],
                    count: int) -> list[dict[str, float]]:
        """Segment the same images repeatedly under the profiler of the runtime.

        Args:
            images, outs: as of ``infer``.
            count: number of repetitions.

        Returns:
            For each repetition, milliseconds by name of the layer; empty without a profiler.
        """
        return []

    def gpu_memory(self) -> tuple[int, int] | None:
        """Return the bytes that this session takes on the device, and those that are free there;
        None without a GPU.

        Raises:
            BackendError: CUDA reports an error, possibly of an earlier call; ``close`` works.
        """
        return None

    def jpeg_reader(self, reuse: bool) -> Callable[[Any], Any] | None:
        """Return a decoder of JPEG into memory that ``infer`` reads; None for OpenCV's."""
        return None

    def encode_jpeg(self, name: str, index: int, quality: int, is_rgb: bool) -> bytes | None:
        """Return an overlay of the last ``infer`` as JPEG; None if the codec fails.

        Args:
            name: of the output.
            index: of the image in the batch.
            quality: 1 to 100.
            is_rgb: whether its channels are RGB, not BGR.

        Raises:
            BackendError: the last ``infer`` failed, or there was none.
        """
        raise NotImplementedError

    def fetch(self, name: str, index: int, array: np.ndarray) -> None:
        """Copy an output of the last ``infer`` into an array of its shape and type; arguments and
        errors as of ``encode_jpeg``."""
        raise NotImplementedError

    def twin(self) -> 'Session | None':
        """Return a session on the same weights that can run at the same time as this one; None if
        the backend does not support that.

        Raises:
            BackendError: this one is closed.
        """
        return None

    def _set_control(self, name: str, value: Any) -> None:
        """Set one of the small inputs of the graph."""
        self._controls[name][...] = value


def _do_nothing() -> None:
    pass
