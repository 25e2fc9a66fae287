# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The hand-written baseline of a comparison: segmentation in OpenCV and NumPy around a network."""

from collections.abc import Callable, Mapping

import cv2
import numpy as np

from trt_segmentation.errors import BackendError
from trt_segmentation.graph.reading.resolve import ModelSpec
from trt_segmentation.images.render import halved
from trt_segmentation.options import RunOptions

Network = Callable[[np.ndarray], Mapping[str, np.ndarray]]
"""Runs the network only, from its float32 input to its outputs by name."""

FLOAT32 = 1
"""ONNX's number of the data type."""

_CONVERSIONS = {'rgb': cv2.COLOR_BGR2RGB, 'gray': cv2.COLOR_BGR2GRAY}


class BaselinePipeline:
    """OpenCV resize, float, transpose, network, NumPy argmax, nearest resize, colours.

    Args:
        spec: the network. Images are stretched to its size, also where the spec letterboxes.
        network: see ``open_network_only``.
        overlay: whether to colour the mask and blend it with the image.

    Attributes:
        overlay: uint8 BGR [H, W, 3] of the latest image, halved with an ``overlay_scale`` of 0.5;
            None before the first one.

    Raises:
        BackendError: the baseline does not support the network.
    """

    def __init__(self, spec: ModelSpec, network: Network, overlay: bool) -> None:
        if spec.size is None or spec.network.inputs[0].dtype != FLOAT32 \
                or spec.scores.channels < 2:
            raise BackendError('--against baseline supports only networks of fixed size with '
                               'float32 input and a score for each class')
        self.overlay: np.ndarray | None = None
        self._network = network
        self._spec = spec
        self._wants_overlay = overlay
        self._mean = np.array(spec.mean, np.float32)
        self._std = np.array(spec.std, np.float32)
        self._colors = spec.palette.table('bgr')

    def run(self, image: np.ndarray) -> np.ndarray:
        """Segment a uint8 [H, W, 3] BGR image; return the uint8 [H, W] mask."""
        spec = self._spec
        assert spec.size is not None
        height, width = spec.size
        x = cv2.resize(image, (width, height))
        if spec.color != 'bgr':
            x = cv2.cvtColor(x, _CONVERSIONS[spec.color]).reshape(height, width, -1)
        scale = spec.scale * (2 ** spec.depth - 1) / 255
        x = (x.astype(np.float32) * np.float32(scale) - self._mean) / self._std
        if spec.input_layout == 'nchw':
            x = np.ascontiguousarray(x.transpose(2, 0, 1))
        scores = self._network(x[None])[spec.scores.name]
        ids = np.argmax(scores[0], axis=spec.scores.channel_axis - 1).astype(np.uint8)
        mask = cv2.resize(ids, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        if self._wants_overlay:
            shown, ids = (image, mask) if spec.overlay_scale == 1 else \
                (halved(image), mask[::2, ::2])
            self.overlay = cv2.addWeighted(shown, 0.5, self._colors[ids], 0.5, 0)
        return mask


def open_network_only(spec: ModelSpec, backend: str, options: RunOptions) -> Network:
    """Open the network without head and tail.

    Args:
        spec: the network.
        backend: 'onnxruntime' or 'tensorrt'; that of the segmenter it is compared with.
        options: of that segmenter.

    Raises:
        BackendError: the runtime cannot load the network.
    """
    if backend == 'tensorrt':
        from trt_segmentation.backends.tensorrt.engine_loader import EngineLoader
        loader = EngineLoader(options.device, options.engine_cache)
        return loader.open_network_only(spec, options.build)
    from trt_segmentation.backends.onnxruntime import OnnxGraph
    graph, name = OnnxGraph(spec.network.model, options.num_threads, spins=True), \
        spec.network.inputs[0].name
    return lambda fed: graph.run({name: fed}, [spec.scores.name])
