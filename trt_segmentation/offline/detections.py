# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Results as files: images as PNG, detections as JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from trt_segmentation.classes.detections import used_rows
from trt_segmentation.graph.pipeline.output_names import kind_of, split
from trt_segmentation.images.atomic_files import write_file, write_image
from trt_segmentation.segmenter import Segmenter

Labels = Mapping[str, Sequence[str]]
"""Names of the mask's classes by id, by task."""


def labels_of(segmenter: Segmenter) -> Labels:
    """Return the class names of a network."""
    return {task.name: task.labels for task in segmenter.spec.tasks}


def write_result(path: Path, output: str, array: np.ndarray, labels: Labels, scratch: Path,
                 ) -> None:
    """Write an output of one image; see ``write_image`` and ``detections_json``."""
    if kind_of(output) == 'detections':
        write_file(path, detections_json(array, labels[split(output)[0]]), scratch)
    else:
        write_image(path, array, scratch)


def detections_json(detections: np.ndarray, labels: Sequence[str]) -> bytes:
    """Return a JSON list with an object for each detection: id, class_id, class, score, box.

    Args:
        detections: of ``Segmentation.detections``.
        labels: names of the mask's classes by id.

    Returns:
        UTF-8. ``id`` is the value of the pixels in the image of instances; ``box`` is x_min,
        y_min, x_max, y_max in pixels of the image.
    """
    found = [{'id': each.id, 'class_id': each.class_id, 'class': each.name,
              'score': round(each.score, 6), 'box': [round(side, 3) for side in each.box]}
             for each in used_rows(detections, labels)]
    return (json.dumps(found, indent=1, ensure_ascii=False) + '\n').encode()
