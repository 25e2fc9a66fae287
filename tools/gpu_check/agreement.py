# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Masks and confidence of TensorRT against those of PyTorch, or of ONNX Runtime in fp32."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from subjects import Subject, numbered

from trt_segmentation.backends.onnxruntime import OnnxGraph
from trt_segmentation.graph.prepare import NETWORK_PREFIX, prepare_head
from trt_segmentation.graph.resolve import ModelSpec
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

MARGIN = 0.01
"""Part of the logits' range by which the best two must differ to count, with random weights."""


@dataclass(frozen=True)
class Reference:
    """What a subject's images should become.

    Attributes:
        images: uint8 BGR.
        masks: by image.
        confidence: by image; empty where nobody tells.
        counted: bool [H, W] by image, which pixels count.
    """

    images: list[np.ndarray]
    masks: list[np.ndarray]
    confidence: list[np.ndarray]
    counted: list[np.ndarray]

    def compare(self, segmenter: Segmenter) -> dict[str, Any]:
        """Return how much of the pixels agree, and how far confidence is off (of 255)."""
        outputs = ('mask', 'confidence') if self.confidence else ('mask',)
        equal, off = [], []
        for number, (image, counted) in enumerate(zip(self.images, self.counted, strict=True)):
            found = segmenter.infer(image, outputs=outputs)
            equal.append((found.mask == self.masks[number])[counted])
            if self.confidence:
                difference = found.confidence.astype(int) - self.confidence[number]
                off.append(np.abs(difference)[counted])
        row = {'agreement': float(np.concatenate(equal).mean()),
               'pixels': int(sum(map(np.size, equal))),
               'counted': float(np.mean([counted.mean() for counted in self.counted]))}
        return row | ({'confidence_off_max': int(np.concatenate(off).max())} if off else {})


def find_reference(subject: Subject) -> Reference:
    """Return PyTorch's answers where there are some, else those of ONNX Runtime in fp32."""
    if subject.answers is not None:
        told = np.load(subject.answers)
        return Reference(numbered(told, 'image'), numbered(told, 'mask'), [],
                         numbered(told, 'clear'))
    images = subject.images()
    segmenter = Segmenter.open(subject.model, config=subject.config or None,
                               options=RunOptions('onnxruntime'))
    results = [segmenter.infer(image, outputs=('mask', 'confidence')).copy() for image in images]
    counted = [np.ones(image.shape[:2], bool) if subject.trained
               else _clear_pixels(segmenter, image) for image in images]
    segmenter.close()
    return Reference(images, [result.mask for result in results],
                     [result.confidence for result in results], counted)


def fed_to_network(spec: ModelSpec, image: np.ndarray) -> dict[str, np.ndarray]:
    """Return what the head makes of an image, by the name of the network's input."""
    fed = spec.network.inputs[0].name
    channels = np.array(spec.channels('bgr'), np.int32)
    value = OnnxGraph(prepare_head(spec)).run({'image': image[None], 'channels': channels},
                                              [NETWORK_PREFIX + fed])
    return {fed: value[NETWORK_PREFIX + fed]}


def _clear_pixels(segmenter: Segmenter, image: np.ndarray) -> np.ndarray:
    """Where the best two logits differ by more than ``MARGIN`` of the range; bool [H, W]."""
    spec = segmenter.spec
    scores = OnnxGraph(spec.network.model).run(fed_to_network(spec, image), [spec.scores.name])
    logits = scores[spec.scores.name][0]
    best = np.partition(logits, -2, axis=0)
    clear = best[-1] - best[-2] > MARGIN * (logits.max() - logits.min())
    rows, columns = (((2 * np.arange(pixels) + 1) * cells) // (2 * pixels)
                     for pixels, cells in zip(image.shape[:2], clear.shape, strict=True))
    return clear[rows][:, columns]
