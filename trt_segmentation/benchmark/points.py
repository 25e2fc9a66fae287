# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The labelled points of a mask, as the node computes them for ~/points."""

from collections.abc import Callable

import numpy as np

from trt_segmentation.images.points import Pinhole, PointOptions, PointProjector


def points_step(mask: np.ndarray) -> Callable[[], object]:
    """Return a function that computes the organized points of a mask, with class and confidence.

    Args:
        mask: uint8 or uint16 [height, width]; the depth image has the same size, 16UC1, and all
            pixels have a depth.
    """
    height, width = mask.shape
    depth = np.random.default_rng(0).integers(500, 8000, mask.shape, np.uint16)
    confidence = np.full(mask.shape, 255, np.uint8)
    camera = Pinhole(width, width, width / 2, height / 2)
    projector = PointProjector(mask.shape, mask.dtype, PointOptions(confidence=True))
    out = np.empty(projector.points.nbytes, np.uint8)
    return lambda: projector.write(projector.project(depth, camera, mask, confidence), out)
