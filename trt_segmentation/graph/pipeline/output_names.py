# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What a network's results are called: ``mask``, or ``lanes/mask`` where it has several tasks."""

OUTPUTS = 'mask', 'confidence', 'overlay'
"""What there is of each task."""


def joined(task: str, name: str) -> str:
    """Return the name of a task's output or control; '' is the task of a network of one."""
    return f'{task}/{name}' if task else name


def split(name: str) -> tuple[str, str]:
    """Return what ``joined`` has joined: the task, and which of ``OUTPUTS``."""
    task, _, output = name.rpartition('/')
    return task, output


def kind_of(name: str) -> str:
    """Return which of ``OUTPUTS`` a name is, whatever its task."""
    return split(name)[1]


def with_kind(name: str, other: str) -> str:
    """Return the name of another output of the same task."""
    return joined(split(name)[0], other)
