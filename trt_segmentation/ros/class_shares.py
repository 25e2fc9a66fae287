# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The topic ``~/classes``: how much of the image, and of a region of it, each class covers.

The message is a DiagnosticArray: it has the header of the image, and a class name and a number for
each class, and every distribution has it. A Float32MultiArray has no header.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from trt_segmentation.classes.mask_encoding import MaskEncoding
from trt_segmentation.graph.pipeline.output_names import joined, split
from trt_segmentation.graph.reading.resolve import ModelSpec

IMAGE, REGION = 'image', 'region'
"""Names of the two statuses; the second is there only if a region is set."""

_ROUNDING = 1e-6


def region_fault(region: Sequence[float]) -> str:
    """Return '' for a valid region, else what is wrong with it.

    Args:
        region: x, y, width and height as fractions of the image, 0 to 1; all 0 for none.
    """
    x, y, width, height = region
    if any(region) and (not width or not height or max(x + width, y + height) > 1 + _ROUNDING):
        return (f'classes_region is {list(region)}; width and height (the last two values) must '
                'be above 0, and x + width and y + height at most 1')
    return ''


def part_of(mask: np.ndarray, region: Sequence[float]) -> np.ndarray:
    """Return the part of a mask [H, W] in a valid region, at least one pixel, as a view."""
    def along(start: float, extent: float, pixels: int) -> slice:
        first = min(int(start * pixels + _ROUNDING), pixels - 1)
        return slice(first, max(first + 1, round((start + extent) * pixels)))

    x, y, width, height = region
    return mask[along(y, height, mask.shape[0]), along(x, width, mask.shape[1])]


def shares(mask: np.ndarray, encoding: MaskEncoding, labels: Sequence[str]) -> dict[str, float]:
    """Return the fraction of the pixels that each class has, by name.

    Args:
        mask: ids of ``encoding``, [H, W]; need not be contiguous.
        encoding: of the mask.
        labels: names by id. If they are not known, the ids that occur are their names.

    Returns:
        Numbers of 0 to 1. The rest, up to 1, has no class.
    """
    values = encoding.unlabelled + 1
    # Faster than np.bincount, which converts the mask to int64 first. [values, 1] in OpenCV 4.
    counts = cv2.calcHist([mask], [0], None, [values], [0, values]).ravel()
    names = dict(enumerate(labels)) or {
        int(index): str(index) for index in np.flatnonzero(counts[:-1])}
    return {name: float(counts[index]) / mask.size for index, name in names.items()}


class ClassShares:
    """The topics ``~/classes`` of a camera, one for each task.

    Args:
        node: a LifecycleNode.
        spec: the network.
        prefix: of the topic names: '' or the camera's name and a slash.
        qos: of the topics.

    Attributes:
        region: of parameter ``classes_region``; see ``region_fault``.
    """

    def __init__(self, node: Any, spec: ModelSpec, prefix: str, qos: Any) -> None:
        self.region: Sequence[float] = (0.0, 0.0, 0.0, 0.0)
        self.publishers = {joined(task.name, 'mask'): node.create_lifecycle_publisher(
            DiagnosticArray, f'~/{prefix}{joined(task.name, "classes")}', qos)
            for task in spec.tasks}

    def is_subscribed(self, mask: str) -> bool:
        """Return whether the shares of an output have subscribers; only masks have shares."""
        publisher = self.publishers.get(mask)
        return publisher is not None and publisher.get_subscription_count() > 0

    def publish(self, name: str, mask: np.ndarray, header: Any, spec: ModelSpec) -> None:
        """Publish the shares of a mask.

        Args:
            name: of the output, such as 'mask'.
            mask: its pixels.
            header: of the image.
            spec: the network, which has the labels.
        """
        labels = next(task.labels for task in spec.tasks if task.name == split(name)[0])
        parts = {IMAGE: mask, **({REGION: part_of(mask, self.region)} if any(self.region) else {})}
        self.publishers[name].publish(DiagnosticArray(header=header, status=[
            DiagnosticStatus(name=part, values=[
                KeyValue(key=key, value=f'{value:.6f}')
                for key, value in shares(pixels, spec.encoding, labels).items()])
            for part, pixels in parts.items()]))
