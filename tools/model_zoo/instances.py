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

MIN_OVERLAP = 0.5
"""Smallest IoU of the boxes of the same instance."""


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
        results.append(_compare(found.instances, found.detections, reference.found,
                                reference.image.shape[:2]))
    segmenter.close()
    count, missing = (sum(getattr(each, name) for each in results)
                      for name in ('count', 'missing'))
    score, box = (max(getattr(each, name) for each in results) for name in ('score', 'box'))
    pixels, covered = (float(np.mean([getattr(each, name) for each in results]))
                       for name in ('pixels', 'covered'))
    return InstanceAgreement(count, missing, score, box, pixels, covered)


def _compare(ids: np.ndarray, detections: np.ndarray, wanted: list[Instance],
             size: tuple[int, int]) -> InstanceAgreement:
    """Compare the instances of one image.

    Args:
        ids: of the Segmenter, the size of the family's masks.
        detections: of the Segmenter.
        wanted: of the family, the highest score first.
        size: height and width of the image.
    """
    rows = _rows_of(wanted, size)
    theirs = np.zeros(ids.shape, int)
    for number, each in reversed(list(enumerate(wanted, 1))):  # the highest score comes last
        theirs[each.mask] = number
    pairs = _paired(detections, rows, _overlaps_of_ids(ids, theirs, len(detections), len(rows)))
    has_boxes = all(each.box for each in wanted)
    score = max((abs(detections[a, 4] - rows[b, 4]) for a, b in pairs), default=0.0)
    box = max((np.abs(detections[a, :4] - rows[b, :4]).max() for a, b in pairs if has_boxes),
              default=0.0)
    ours, painted = (np.concatenate([np.zeros((1, 2), np.float32), each[:, 4:]])[numbers]
                     for each, numbers in ((detections, ids), (rows, theirs)))
    equal = np.isclose(ours, painted, atol=1e-3).all(-1)
    found = int(np.count_nonzero(detections[:, 4]))
    return InstanceAgreement(len(rows), found + len(rows) - 2 * len(pairs), float(score),
                             float(box), float(equal.mean()), float((ids > 0).mean()))


def _rows_of(instances: Sequence[Instance], size: tuple[int, int]) -> np.ndarray:
    """Return instances as ``Segmentation.detections``; without a box, that around the mask."""
    return np.array([[*(each.box or _box_around(each.mask, size)), each.score, each.class_id]
                     for each in instances], np.float32).reshape(-1, 6)


def _box_around(mask: np.ndarray, size: tuple[int, int]) -> tuple[float, ...]:
    """Return the box of a mask in pixels of an image of ``size``; zeros for an empty mask."""
    if not mask.any():
        return 0.0, 0.0, 0.0, 0.0
    high, wide = size[0] / mask.shape[0], size[1] / mask.shape[1]
    rows, columns = np.nonzero(mask)
    return (columns.min() * wide, rows.min() * high,
            (columns.max() + 1) * wide, (rows.max() + 1) * high)


def _paired(found: np.ndarray, wanted: np.ndarray, visible: np.ndarray) -> list[tuple[int, int]]:
    """Return the rows of the same instance, as pairs of indices.

    Two of one class are the same if their boxes overlap; those that overlap most, boxes and
    visible pixels together, are paired first. Scores decide only between equal overlaps, as those
    of instances that others hide.

    Args:
        found, wanted: as ``Segmentation.detections``; rows with a score of 0 are no instances.
        visible: IoU of the visible pixels of each found and each wanted one.
    """
    boxes = _overlaps_of_boxes(found, wanted)
    possible = (boxes >= MIN_OVERLAP) & (found[:, None, 5] == wanted[:, 5]) & (found[:, 4:5] > 0)
    overlap = (boxes + visible).round(2)
    difference = np.abs(found[:, None, 4] - wanted[:, 4])
    pairs: dict[int, int] = {}
    for pair in sorted(zip(*np.nonzero(possible), strict=True),
                       key=lambda pair: (-overlap[pair], difference[pair])):
        ours, theirs = map(int, pair)
        if ours not in pairs and theirs not in pairs.values():
            pairs[ours] = theirs
    return list(pairs.items())


def _overlaps_of_boxes(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the IoU of each found and each wanted box."""
    ours, theirs = found[:, None, :4], wanted[None, :, :4]
    extents = np.minimum(ours[..., 2:], theirs[..., 2:]) - np.maximum(ours[..., :2],
                                                                      theirs[..., :2])
    both = extents.clip(0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(-1) for boxes in (ours, theirs)]
    return both / np.maximum(areas[0] + areas[1] - both, np.finfo(np.float32).tiny)


def _overlaps_of_ids(ours: np.ndarray, theirs: np.ndarray, count: int, their_count: int,
                     ) -> np.ndarray:
    """Return the IoU of the pixels of each pair of ids from 1 on: [count, their_count]."""
    both = np.zeros((count + 1, their_count + 1))
    np.add.at(both, (ours, theirs), 1)
    either = both.sum(0) + both.sum(1, keepdims=True) - both
    return (both / np.maximum(either, 1))[1:, 1:]
