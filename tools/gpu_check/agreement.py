# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Masks and confidence of TensorRT against those of ONNX Runtime in fp32."""

from typing import Any

import numpy as np
from subjects import Subject

from trt_segmentation.backends.onnxruntime import OnnxGraph
from trt_segmentation.graph.prepare import NETWORK_PREFIX, prepare_head
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

MARGIN = 0.01
"""Part of the logits' range by which the best two must differ to count, with random weights."""


class Reference:
    """What ONNX Runtime makes of a subject's images in fp32.

    Attributes:
        images: uint8 BGR.
        results: mask and confidence by image.
        counted: bool [H, W] by image, which pixels count.
    """

    def __init__(self, subject: Subject) -> None:
        self.images = subject.images()
        segmenter = Segmenter.open(subject.model, config=subject.config or None,
                                   options=RunOptions('onnxruntime'))
        self.results = [segmenter.infer(image, outputs=('mask', 'confidence')).copy()
                        for image in self.images]
        self.counted = [np.ones(image.shape[:2], bool) if subject.trained
                        else _clear_pixels(segmenter, image) for image in self.images]
        segmenter.close()

    def compare(self, segmenter: Segmenter) -> dict[str, Any]:
        """Return how much of the pixels agree, and how far confidence is off (of 255)."""
        equal, off = [], []
        for image, expected, counted in zip(self.images, self.results, self.counted, strict=True):
            found = segmenter.infer(image, outputs=('mask', 'confidence'))
            equal.append((found.mask == expected.mask)[counted])
            difference = found.confidence.astype(int) - expected.confidence
            off.append(np.abs(difference)[counted])
        return {'agreement': float(np.concatenate(equal).mean()),
                'pixels': int(sum(map(np.size, equal))),
                'counted': float(np.mean([counted.mean() for counted in self.counted])),
                'confidence_off_max': int(np.concatenate(off).max())}


def _clear_pixels(segmenter: Segmenter, image: np.ndarray) -> np.ndarray:
    """Where the best two logits differ by more than ``MARGIN`` of the range; bool [H, W]."""
    spec = segmenter.spec
    head, network = OnnxGraph(prepare_head(spec)), OnnxGraph(spec.network.model)
    fed = spec.network.inputs[0].name
    channels = np.array(spec.channels('bgr'), np.int32)
    value = head.run({'image': image[None], 'channels': channels}, [NETWORK_PREFIX + fed])
    scores = network.run({fed: value[NETWORK_PREFIX + fed]}, [spec.scores.name])
    logits = scores[spec.scores.name][0]
    best = np.partition(logits, -2, axis=0)
    clear = best[-1] - best[-2] > MARGIN * (logits.max() - logits.min())
    rows, columns = (((2 * np.arange(pixels) + 1) * cells) // (2 * pixels)
                     for pixels, cells in zip(image.shape[:2], clear.shape, strict=True))
    return clear[rows][:, columns]
