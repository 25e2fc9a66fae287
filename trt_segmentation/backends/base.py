# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The interface of a backend to the rest of the package."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

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


class Controls:
    """The small inputs of a prepared graph; the part of a ``Session`` that sets them.

    Args:
        encoding: of the masks.
        tasks: names of the network's tasks; '' for the only task of a network.

    Attributes:
        image_buffers: number of arrays that the caller of ``infer`` uses for images in turn.
    """

    def __init__(self, encoding: MaskEncoding = MONO8, tasks: Sequence[str] = ('',)) -> None:
        self.image_buffers = 1
        self._controls: dict[str, np.ndarray] = {
            'channels': np.arange(3, dtype=np.int32),
            'alpha': np.array(0.5, np.float32),
            **{joined(task, 'palette'): np.zeros((encoding.unlabelled + 1, 3), np.uint8)
               for task in tasks}}

    def set_channels(self, channels: tuple[int, int, int]) -> None:
        self._set_control('channels', channels)

    def set_palette(self, table: np.ndarray, task: str = '') -> None:
        self._set_control(joined(task, 'palette'), table)

    def set_alpha(self, alpha: float) -> None:
        self._set_control('alpha', alpha)

    def _set_control(self, name: str, value: Any) -> None:
        self._controls[name][...] = value


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


class Session(Protocol):
    """One prepared network, opened on one device.

    Use it from one thread at a time. For every frame, call ``resize``, which does nothing if
    nothing has changed, and then ``infer``. Only the session remembers the size that it is ready
    for: after an error in ``infer``, the next ``resize`` makes it ready again. The graph that it
    was opened with defines how many images ``infer`` takes, mostly one.

    Attributes:
        image_buffers: see ``Controls``.
    """

    image_buffers: int

    @property
    def info(self) -> BackendInfo:
        """Backend, device and precision in use."""

    def resize(self, height: int, width: int, outputs: tuple[str, ...], bands: int = 3) -> None:
        """Prepare for images of one size; the only method that allocates. Call it before each
        ``infer``; it returns at once if nothing has changed.

        Args:
            height, width: of the source image, pixels.
            outputs: the outputs that ``infer`` will compute, some of ``available_outputs``.
            bands: bytes per pixel, 3; a network of one channel also takes 1 and 2, see
                ``images.gray``.

        Raises:
            BackendError: the network cannot run at that size, or the session is closed.
            ModelError: the network cannot give one of the outputs.
        """

    def infer(self, images: Sequence[np.ndarray], outs: Sequence[Mapping[str, np.ndarray]],
              ) -> None:
        """Segment a batch of as many images as the graph takes.

        Args:
            images: uint8 [H, W, bands], C-contiguous, as given to ``resize``.
            outs: for each image, C-contiguous arrays that its results are written into: one for
                each of ``resize``'s outputs, of ``output_shape``; uint8, the mask of its
                encoding's type.

        Raises:
            BackendError: the runtime failed, and the session can be used again; or ``resize``
                must be called first.
        """

    def set_channels(self, channels: tuple[int, int, int]) -> None:
        """Set which channel of the source is the network's channel 0, 1 and 2."""

    def set_palette(self, table: np.ndarray, task: str = '') -> None:
        """Set a task's class colours: uint8 [ids of the mask, 3], channels in the source's
        order."""

    def set_alpha(self, alpha: float) -> None:
        """Set the overlay's opacity: 0 (only the image) to 1 (only the colours)."""

    def close(self) -> None:
        """Free everything; the session cannot be used again. A second call does nothing. Errors
        of the runtime are logged, not raised."""


class EncodedSession(Session, Protocol):
    """A session that also takes images in encodings of cameras."""

    @property
    def encodings(self) -> tuple[str, ...]:
        """The encodings that ``resize`` takes; may be empty."""

    def fetch_converter(self, encoding: str) -> None:
        """Load what converts an encoding, and build it before where that is necessary. Any
        thread may call it while another uses the session.

        Raises:
            BackendError: it cannot be built or loaded, or the session is closed.
        """

    def resize(self, height: int, width: int, outputs: tuple[str, ...], bands: int = 3,
               encoding: str = '') -> None:
        """See ``Session.resize``.

        Args:
            height, width, outputs, bands: as there.
            encoding: one of ``encodings``; ``infer`` then takes the bytes of the camera, uint8
                [rows, bytes per row]. '' for images as of ``Session.infer``.
        """
