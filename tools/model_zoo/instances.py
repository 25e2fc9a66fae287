# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Instances by the post-processing of a family, compared with those of the Segmenter.

Images are resized or letterboxed to the network's input beforehand, and ids are compared at the
size of the family's masks, so that no resize is between the two.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from model_zoo.entry import UNIT_BGR, Entry, Instance, Network
from model_zoo.random_weights import as_input
from trt_segmentation.model_config import ModelConfig
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter


@dataclass(frozen=True)
class InstanceReference:
    """An image and its instances, the highest score first.

    Attributes:
        image: uint8 BGR, of the network's input size.
        found: its instances.
    """

    image: np.ndarray
    found: list[Instance]


@dataclass(frozen=True)
class InstanceAgreement:
    """Agreement of the Segmenter's instances with those of the family.

    Attributes:
        count: number of instances of the family in all images.
        missing: of the Segmenter, instances that the family does not have; or the other way round.
        score: largest difference of scores, 0..1.
        box: largest difference of boxes in pixels of the input.
        pixels: share of the pixels whose instance has the same score and class, 0..1.
        covered: share of the pixels with an instance, 0..1.
    """

    count: int
    missing: int
    score: float
    box: float
    pixels: float
    covered: float


def instance_references(entry: Entry, network: Network, images: Sequence[np.ndarray],
                        small: bool) -> list[InstanceReference]:
    """Return the instances of images; an empty list if the family finds none."""
    if network.instances is None:
        return []
    size, references = entry.size(small), []
    for image in images:
        pixels = 255 * as_input([image], size, replace(UNIT_BGR, border=entry.feed.border))[0]
        fitting = np.ascontiguousarray(pixels.round().byte().permute(1, 2, 0).numpy())
        with torch.no_grad():
            output = network.module(as_input([fitting], size, entry.feed))
            found = network.instances(output)
        references.append(InstanceReference(fitting, sorted(found, key=lambda each: -each.score)))
    return references


def compare_instances(model: Path, config: ModelConfig, references: Sequence[InstanceReference],
                      ) -> InstanceAgreement:
    """Run the Segmenter on ONNX Runtime and compare its instances.

    Args:
        model, config: the exported network.
        references: with at least one instance.
    """
    size = next(each.mask.shape for reference in references for each in reference.found)
    options = RunOptions('onnxruntime', instances=True, mask_size=(size[0], size[1]))
    segmenter = Segmenter.open(model, config=config, options=options)
    results = []
    for reference in references:
        found = segmenter.infer(reference.image, outputs=('instances', 'detections'))
        results.append(_compare(found.instances, found.detections, reference.found))
    segmenter.close()
    count, missing = (sum(getattr(each, name) for each in results)
                      for name in ('count', 'missing'))
    score, box = (max(getattr(each, name) for each in results) for name in ('score', 'box'))
    pixels, covered = (float(np.mean([getattr(each, name) for each in results]))
                       for name in ('pixels', 'covered'))
    return InstanceAgreement(count, missing, score, box, pixels, covered)


def _compare(ids: np.ndarray, detections: np.ndarray, wanted: list[Instance]) -> InstanceAgreement:
    found = detections[detections[:, 4] > 0]
    rows = np.array([[*(each.box or (0, 0, 0, 0)), each.score, each.class_id] for each in wanted],
                    np.float32).reshape(-1, 6)
    has_boxes = all(each.box for each in wanted)
    pairs = _paired(found, rows)
    score = max((abs(found[a, 4] - rows[b, 4]) for a, b in pairs), default=0.0)
    box = max((np.abs(found[a, :4] - rows[b, :4]).max() for a, b in pairs if has_boxes),
              default=0.0)
    painted = np.zeros((*ids.shape, 2), np.float32)
    for each in reversed(wanted):  # the highest score comes last
        painted[each.mask] = each.score, each.class_id
    ours = np.concatenate([np.zeros((1, 2), np.float32), detections[:, 4:]])[ids]
    equal = np.isclose(ours, painted, atol=1e-3).all(-1)
    return InstanceAgreement(len(rows), len(found) + len(rows) - 2 * len(pairs), float(score),
                             float(box), float(equal.mean()), float((ids > 0).mean()))


def _paired(found: np.ndarray, wanted: np.ndarray) -> list[tuple[int, int]]:
    """Return the rows of the same instance, as pairs of indices: of the same class, the next
    score within 1 %."""
    free, pairs = list(range(len(wanted))), []
    for index, row in enumerate(found):
        same = [other for other in free if wanted[other, 5] == row[5]
                and abs(wanted[other, 4] - row[4]) < 0.01]
        if same:
            best = min(same, key=lambda other: np.abs(wanted[other, :5] - row[:5]).max())
            pairs.append((index, best))
            free.remove(best)
    return pairs
