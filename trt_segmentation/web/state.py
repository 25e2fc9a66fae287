# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The state that is sent to the page, as a JSON-compatible dict."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from trt_segmentation.web.pace import SOONEST
from trt_segmentation.web.source import Status, View

LEVELS = ('OK', 'WARN', 'ERROR', 'STALE')
"""Names of the levels of diagnostic_msgs/DiagnosticStatus, by number."""

COLORS_KEY = 'class colors'
"""Key of the value on /diagnostics with ``#rrggbb`` for each class id, separated by spaces."""


SMOOTHING_KEY = 'temporal smoothing'
"""Key of the weight of temporal smoothing on /diagnostics, if the network was opened with it."""

POINT_COUNT_KEY = 'points in the newest message'
"""Key of the number of points in the newest ~/points on /diagnostics, if the node has points."""


def colors_key(task: str) -> str:
    """Return ``COLORS_KEY`` of a task; the task is '' if the network has only one."""
    return f'{COLORS_KEY}, {task}' if task else COLORS_KEY


_FIGURES = {'input': 'input rate, Hz', 'output': 'output rate, Hz', 'p50': 'latency p50, ms',
            'p95': 'latency p95, ms', 'points': POINT_COUNT_KEY, 'smoothing': SMOOTHING_KEY}
_RUNNING = ('backend', 'precision', 'device')
_NO_LOSS = 'frames dropped, no_subscriber', 'frames dropped, disabled'


def state_of(view: View) -> dict[str, Any]:
    """Return the state of a view for the page.

    Returns:
        node, topic, picture_age, mask_is_of_picture, instances, others: as in ``View``.
        picture_stale: whether the next picture is overdue.
        classes: those that occur, the largest first: name, color (``#rrggbb``, or None if
            unknown) and share, the fraction of the mask's pixels, 0..1.
        unlabelled: fraction of the pixels without a class; None before the first mask.
        status: level, message, stale (whether the next one is overdue), silent_for (seconds since
            the last message, if overdue), running, figures (Hz, ms, frames, points and weight of
            smoothing) and all values; None before the first.
    """
    colors = view.status.values.get(colors_key(view.task), '').split() if view.status else []
    counts = _counts(view.mask)
    shares = {int(index): float(counts[index] / counts.sum()) for index in np.flatnonzero(counts)}
    unlabelled = shares.pop(len(counts) - 1, 0.0)
    # Rounded to whole percents, so that classes of nearly equal shares keep their order.
    largest_first = sorted(shares, key=lambda index: -round(shares[index] * 100))
    return {'node': view.node, 'topic': view.topic, 'picture_age': view.picture_age,
            'picture_stale': _picture_is_stale(view),
            'mask_is_of_picture': view.mask_is_of_picture, 'instances': view.instances,
            'others': [name for name in view.others if name != view.node],
            'classes': [{'name': view.labels.get(index, f'class {index}'), 'share': shares[index],
                         'color': colors[index] if index < len(colors) else None}
                        for index in largest_first],
            'unlabelled': None if view.mask is None else unlabelled,
            'status': _status(view.status, view) if view.status else None}


def _counts(mask: np.ndarray | None) -> np.ndarray:
    """Return the number of pixels by id, for every id that the mask's type can hold."""
    if mask is None:
        return np.zeros(0, np.int64)
    return np.bincount(mask.ravel(), minlength=np.iinfo(mask.dtype).max + 1)


def _picture_is_stale(view: View) -> bool:
    return view.picture_age is not None and view.picture_age > view.picture_limit


def _node_is_silent(status: Status, view: View) -> bool:
    """Whether both pictures and diagnostics are missing.

    If diagnostics are rare, missing pictures show sooner that the node has stopped: figures from
    before the last picture are outdated until the next diagnostics arrive.
    """
    if view.picture_age is None or not _picture_is_stale(view):
        return False
    return status.age > max(SOONEST, view.picture_age - view.picture_limit)


def _status(status: Status, view: View) -> dict[str, Any]:
    values = {key: value for key, value in status.values.items()
              if not key.startswith(COLORS_KEY)}
    silent, overdue = _node_is_silent(status, view), status.age > status.limit
    message, silent_for = status.message, None
    if silent or (overdue and view.picture_age is None):
        message = 'no messages from the node'
        silent_for = min(filter(None, (status.age, view.picture_age)))
    elif overdue:
        message, silent_for = 'no diagnostics from the node', status.age
    return {
        'level': LEVELS[3 if silent or overdue else min(status.level, 3)],
        'message': message,
        'stale': silent or overdue,
        'silent_for': silent_for,
        'running': ', '.join(values[key] for key in _RUNNING if key in values),
        'figures': {name: values[key] for name, key in _FIGURES.items() if key in values}
        | _dropped(values),
        'values': values,
    }


def _dropped(values: Mapping[str, str]) -> dict[str, str]:
    counts = [int(value) for key, value in values.items()
              if key.startswith('frames dropped') and key not in _NO_LOSS and value.isdigit()]
    return {'dropped': str(sum(counts))} if counts else {}
