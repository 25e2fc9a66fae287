# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Names of the graph's outputs: ``mask``, or ``lanes/mask`` for a network with several tasks."""

INSTANCE_OUTPUTS = 'instances', 'detections'
"""The outputs of a task whose network finds instances, if ``RunOptions.instances`` is set."""

DETECTION_VALUES = 6
"""Values of a detection: x_min, y_min, x_max, y_max, score, class id."""

OUTPUTS = 'mask', 'confidence', 'overlay', *INSTANCE_OUTPUTS
"""The outputs of each task."""


def joined(task: str, name: str) -> str:
    """Return the name of a task's output or input; '' is the only task of a network."""
    return f'{task}/{name}' if task else name


def split(name: str) -> tuple[str, str]:
    """Return the two arguments of ``joined``: the task, and which of ``OUTPUTS``."""
    task, _, output = name.rpartition('/')
    return task, output


def kind_of(name: str) -> str:
    """Return which of ``OUTPUTS`` a name is, without its task."""
    return split(name)[1]


def with_kind(name: str, other: str) -> str:
    """Return the name of another output of the same task."""
    return joined(split(name)[0], other)
