# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What every backend is to the rest of the package."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from trt_segmentation.classes.mask_encoding import MONO8, MaskEncoding
from trt_segmentation.graph.pipeline.output_names import joined, kind_of


def output_shape(name: str, size: tuple[int, int], mask_size: tuple[int, int] | None = None,
                 ) -> tuple[int, ...]:
    """Return the shape of an output.

    Args:
        name: of one of ``graph.pipeline.prepare.available_outputs``.
        size: height and width of the source.
        mask_size: of the ``ModelSpec``.
    """
    return (*size, 3) if kind_of(name) == 'overlay' else mask_size or size


def output_dtype(name: str, encoding: MaskEncoding) -> np.dtype:
    """Return the type of an output: uint8, or the mask's own."""
    return np.dtype(encoding.dtype if kind_of(name) == 'mask' else np.uint8)


def graph_shape(array: np.ndarray, batch: int = 1) -> tuple[int, ...]:
    """Return the shape of the graph's uint8 output of which each image fills an array: wider
    types byte by byte.

    Args:
        array: of ``output_shape``.
        batch: number of images.
    """
    planes = () if array.itemsize == 1 else (array.itemsize,)
    return batch, *array.shape, *planes


class Controls:
    """The small inputs of a prepared graph: the part of a ``Session`` that sets them.

    Args:
        encoding: of the masks.
        tasks: names of the network's tasks; '' is that of a network of one.
    """

    def __init__(self, encoding: MaskEncoding = MONO8, tasks: Sequence[str] = ('',)) -> None:
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
    """What really runs, for the log, diagnostics and reports.

    Attributes:
        backend: 'onnxruntime' or 'tensorrt'.
        version: of the runtime.
        device: the processor, as the runtime names it.
        precision: what the network really computes in, for example 'fp32'.
        layers: in how many layers it does so, where the runtime tells.
        engine_key: identifies a built engine by all that it depends on; '' where there is none.
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

    Use it from one thread at a time: ``resize``, which does nothing where nothing has changed,
    and ``infer`` for every frame. The session alone remembers what it is ready for: after
    anything that ``infer`` raises, the next ``resize`` makes it ready again. The graph that it
    was opened with says how many images ``infer`` takes, mostly one.
    """

    @property
    def info(self) -> BackendInfo:
        """What really runs."""

    def resize(self, height: int, width: int, outputs: tuple[str, ...], bands: int = 3) -> None:
        """Get ready for images of one size: the only method that allocates. It is to be called
        before each ``infer``, and costs nothing where nothing has changed.

        Args:
            height, width: of the source image, pixels.
            outputs: what ``infer`` will be asked for, some of ``available_outputs``.
            bands: bytes a pixel; a network of one channel takes 1 and 2, too, see ``images.gray``.

        Raises:
            BackendError: the network cannot run at that size, or the session is closed.
            ModelError: the network cannot give one of the outputs.
        """

    def infer(self, images: Sequence[np.ndarray], outs: Sequence[Mapping[str, np.ndarray]],
              ) -> None:
        """Segment as many images as the graph takes, in one go.

        Args:
            images: uint8 [H, W, bands], C-contiguous, as given to ``resize``.
            outs: of each image, C-contiguous arrays that its results are written into, one for
                each of ``resize``'s outputs, of ``output_shape``; uint8, the mask of its
                encoding's type.

        Raises:
            BackendError: the runtime failed, and the session can be used again; or ``resize`` has
                to be called first.
        """

    def set_channels(self, channels: tuple[int, int, int]) -> None:
        """Say which channel of the source is the network's channel 0, 1 and 2."""

    def set_palette(self, table: np.ndarray, task: str = '') -> None:
        """Set a task's class colours: uint8 [ids of the mask, 3], channels in the source's
        order."""

    def set_alpha(self, alpha: float) -> None:
        """Set the overlay's opacity: 0 (only the image) to 1 (only the colours)."""

    def close(self) -> None:
        """Free everything; the session cannot be used again. Once more does nothing. What the
        runtime reports meanwhile is logged, not raised."""
