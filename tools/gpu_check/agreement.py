# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Comparison of TensorRT's masks and confidence with PyTorch's, or ONNX Runtime's in fp32."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from subjects import Subject, fitting, numbered

from trt_segmentation.backends.onnxruntime import OnnxGraph
from trt_segmentation.graph.pipeline.prepare import prepare_head
from trt_segmentation.graph.pipeline.tensors import NETWORK_PREFIX
from trt_segmentation.graph.reading.resolve import ModelSpec
from trt_segmentation.model_config import SCORE_KINDS
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

MARGIN = 0.01
"""Margin of a clear decision, as a share of the scores' range, for random weights."""


@dataclass(frozen=True)
class Reference:
    """The expected results of a subject.

    Attributes:
        images: uint8 BGR.
        masks: by image.
        confidence: by image; empty if the reference has none.
        counted: bool [H, W] by image, whether a pixel is compared.
    """

    images: list[np.ndarray]
    masks: list[np.ndarray]
    confidence: list[np.ndarray]
    counted: list[np.ndarray]

    def compare(self, segmenter: Segmenter) -> dict[str, Any]:
        """Return the share of equal pixels, and the largest difference of confidence (of 255)."""
        outputs = ('mask', 'confidence') if self.confidence else ('mask',)
        equal, off = [], []
        for number, (image, counted) in enumerate(zip(self.images, self.counted, strict=True)):
            found = segmenter.infer(image, outputs=outputs)
            equal.append((found.mask == self.masks[number])[counted])
            if self.confidence:
                difference = found.confidence.astype(int) - self.confidence[number]
                off.append(np.abs(difference)[counted])
        if not sum(map(np.size, equal)):
            raise ValueError('no pixel is decided clearly enough to be compared')
        row = {'agreement': float(np.concatenate(equal).mean()),
               'pixels': int(sum(map(np.size, equal))),
               'counted': float(np.mean([counted.mean() for counted in self.counted]))}
        return row | ({'confidence_off_max': int(np.concatenate(off).max())} if off else {})


def find_reference(subject: Subject) -> Reference:
    """Return PyTorch's results if there are some, else those of ONNX Runtime in fp32."""
    if subject.answers is not None:
        answers = np.load(subject.answers)
        return Reference(numbered(answers, 'image'), numbered(answers, 'mask'), [],
                         numbered(answers, 'clear'))
    with Segmenter.open(subject.model, config=subject.config or None,
                        options=RunOptions('onnxruntime')) as segmenter:
        images = [fitting(image, segmenter.spec) for image in subject.images()]
        outputs = [name for name in ('mask', 'confidence') if name in segmenter.available_outputs]
        results = [segmenter.infer(image, outputs=outputs).copy() for image in images]
        counted = [np.ones(image.shape[:2], bool) if subject.trained
                   else _clear_pixels(segmenter.spec, image) for image in images]
    confidence = [result.confidence for result in results if 'confidence' in outputs]
    return Reference(images, [result.mask for result in results], confidence, counted)


def fed_to_network(spec: ModelSpec, image: np.ndarray) -> dict[str, np.ndarray]:
    """Return the head's result for an image, by the name of the network's input."""
    fed = spec.network.inputs[0].name
    channels = np.array(spec.channels('bgr'), np.int32)
    pixels = image.reshape(1, *image.shape[:2], -1)
    value = OnnxGraph(prepare_head(spec)).run({'image': pixels, 'channels': channels},
                                              [NETWORK_PREFIX + fed])
    return {fed: value[NETWORK_PREFIX + fed]}


def _clear_pixels(spec: ModelSpec, image: np.ndarray) -> np.ndarray:
    """Return where a decision is clear by more than ``MARGIN``; bool [H, W].

    All pixels count for class ids, which have no margin, and for a letterboxed network.
    """
    if spec.kind not in SCORE_KINDS or spec.resize == 'letterbox':
        return np.ones(image.shape[:2], bool)
    name, axis = spec.scores.name, spec.scores.axis
    found = OnnxGraph(spec.network.model).run(fed_to_network(spec, image), [name])
    scores = found[name].astype(np.float32)  # [1, h, w] without a channel axis
    if axis is not None:
        scores = np.moveaxis(scores[0], axis - 1, 0)
    clear = _margins(spec, scores) > MARGIN * np.ptp(scores)
    rows, columns = (((2 * np.arange(pixels) + 1) * cells) // (2 * pixels)
                     for pixels, cells in zip(image.shape[:2], clear.shape, strict=True))
    return clear[rows][:, columns]


def _margins(spec: ModelSpec, scores: np.ndarray) -> np.ndarray:
    """Return the distance of scores [C, h, w] from another decision; float32 [h, w]."""
    threshold = np.clip(spec.threshold, 1e-6, 1 - 1e-6)
    if len(scores) == 1:
        border = np.log(threshold / (1 - threshold)) if spec.kind == 'logits' else threshold
        return np.abs(scores[0] - border)
    second, best = np.partition(scores, -2, axis=0)[-2:]
    if spec.kind == 'sigmoid':
        return np.minimum(best - second, np.abs(best - threshold))
    return best - second
