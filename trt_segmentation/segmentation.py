# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The results of a segmenter."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trt_segmentation.errors import ImageError
from trt_segmentation.graph.pipeline.output_names import split


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The results for one image.

    ``mask`` and the other properties raise ImageError where they were not requested, and
    where the network has several tasks, each with its own; see ``task``.

    Attributes:
        arrays: the requested outputs by name, such as 'mask'; 'lanes/mask' where the network has
            several tasks.
    """

    arrays: Mapping[str, np.ndarray]

    @property
    def mask(self) -> np.ndarray:
        """uint8 [H, W], class ids, 255 for no class; with mono16 uint16 and 65535."""
        return self._asked_for('mask')

    @property
    def confidence(self) -> np.ndarray:
        """uint8 [H, W], probability of that class, 0..255."""
        return self._asked_for('confidence')

    @property
    def overlay(self) -> np.ndarray:
        """uint8 [H, W, 3], the image under the class colours, in the image's channel order. H and
        W are half of the image's, rounded up, with an ``overlay_scale`` of 0.5."""
        return self._asked_for('overlay')

    @property
    def instances(self) -> np.ndarray:
        """uint16 [H, W], the id of the instance at a pixel, 1 and up; 0 without an instance. Of
        several at a pixel, it is the one with the highest score. See ``RunOptions.instances``."""
        return self._asked_for('instances')

    @property
    def detections(self) -> np.ndarray:
        """float32 [K, 6]: x_min, y_min, x_max, y_max in pixels of the image, score 0..1 and class
        id as in the mask. Row i is the id i + 1; rows with a score of 0 are unused."""
        return self._asked_for('detections')

    def task(self, name: str) -> 'Segmentation':
        """Return the results of one task of a network with several tasks.

        Raises:
            ImageError: no output of that task was requested.
        """
        arrays = {split(output)[1]: array for output, array in self.arrays.items()
                  if split(output)[0] == name}
        if not arrays:
            tasks = dict.fromkeys(split(output)[0] or 'one without a name'
                                  for output in self.arrays)
            raise ImageError(f"no output of task '{name}' was requested, only of "
                             f'{", ".join(tasks)}')
        return Segmentation(arrays)

    def copy(self) -> 'Segmentation':
        """Return a copy that the next ``infer`` does not overwrite."""
        return Segmentation({name: array.copy() for name, array in self.arrays.items()})

    def _asked_for(self, name: str) -> np.ndarray:
        if tasks := [split(output)[0] for output in self.arrays if split(output)[0]]:
            raise ImageError(f'each task has its own {name}, {", ".join(dict.fromkeys(tasks))}: '
                             f"write segmentation.task('{tasks[0]}').{name}")
        if name not in self.arrays:
            raise ImageError(f"{name} was not requested; write infer(image, outputs=('{name}',))")
        return self.arrays[name]


@dataclass(frozen=True, eq=False)
class Prediction:
    """One image of ``Segmenter.predict`` and its results.

    Attributes:
        name: of the file, of a video's frame (its stem and number), or of a rosbag's message
            (when it was recorded, nanoseconds).
        image: uint8 BGR [H, W, 3]; for a network of one channel as ``open_images`` returns gray
            images. A new array.
        segmentation: the next step of ``predict`` overwrites its arrays, unless you ``copy`` it.
    """

    name: str
    image: np.ndarray
    segmentation: Segmentation
