# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The messages of the node on /diagnostics."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from trt_segmentation.ros.health import Level, NodeState, Thresholds, assess
from trt_segmentation.ros.points import Points
from trt_segmentation.ros.statistics import MAX_AGE, FrameCounts, Monitor, Statistics
from trt_segmentation.web.state import SMOOTHING_KEY, colors_key

_KEY_DIGITS = 16
"""Length of the keys in the file names of the engine cache."""


@dataclass(frozen=True)
class CameraStatus:
    """A diagnostic status: level, message, and values by key."""

    level: Level
    message: str
    values: Mapping[str, str]


def status_of(monitor: Monitor, now: float, state: NodeState, thresholds: Thresholds,
              waiting: bool | None = None) -> CameraStatus:
    """Return the current status of a camera.

    Args:
        monitor: of the camera.
        now: the current time.
        state: of the node; without the loaded model if that is reported separately.
        thresholds: the limits for warnings and errors.
        waiting: whether its newest frame waits for the other cameras; None for a single camera.
    """
    statistics = monitor.statistics(now)
    level, message = assess(statistics, state, thresholds)
    values = {**_values_of_model(state), **_values_of_statistics(statistics),
              **_values_of_counts(monitor.counts, monitor.reasons),
              **({} if waiting is None else {'frames waiting': str(int(waiting))}),
              'stamps ahead of the clock': str(monitor.stamps_ahead),
              f'stamps older than {MAX_AGE:g} s': str(monitor.stamps_old)}
    return CameraStatus(level, message, values)


def with_points(status: CameraStatus, points: Points | None) -> CameraStatus:
    """Return a status, with the counts of ~/points and a warning if they are not published."""
    if points is None:
        return status
    values = {**status.values, **points.values()}
    if not points.fault or status.level > Level.WARN:
        return replace(status, values=values)
    message = points.fault if status.level < Level.WARN else f'{status.message}; {points.fault}'
    return CameraStatus(Level.WARN, message, values)


def status_of_all(state: NodeState, cameras: Mapping[str, CameraStatus]) -> CameraStatus:
    """Return the status of a node with several cameras: the shared state, and the worst level of
    the cameras.

    Args:
        state: of the node.
        cameras: status of each, by its name.
    """
    own_level, own_message = assess(Statistics(), state, Thresholds())
    level = max(own_level, *(status.level for status in cameras.values()))
    sentences = [own_message] if own_level == level != Level.OK else []
    sentences += [f'{name}: {status.message}' for name, status in cameras.items()
                  if status.level == level and status.message not in sentences]
    return CameraStatus(level, '; '.join(sentences), _values_of_model(state))


def status_array(stamp: Time, name: str, statuses: Mapping[str, CameraStatus],
                 hardware: str = '') -> DiagnosticArray:
    """Return statuses as a message.

    Args:
        stamp: builtin_interfaces/Time of now.
        name: the node's full name.
        statuses: by suffix of the name: '' for the node, '/' and the name of a camera.
        hardware: name of the GPU or CPU that the network runs on; '' without a network.
    """
    array = DiagnosticArray(status=[DiagnosticStatus(
        level=bytes([status.level]), name=f'{name.lstrip("/")}{suffix}: segmentation',
        hardware_id=hardware, message=status.message,
        values=[KeyValue(key=key, value=value) for key, value in status.values.items()])
        for suffix, status in statuses.items()])
    array.header.stamp = stamp
    return array


# Values as text; unknown ones are left out.

def _values_of_model(state: NodeState) -> dict[str, str]:
    values = {}
    if state.loaded is not None:
        info = state.loaded.info
        values = {'model': str(state.loaded.model), 'backend': info.backend,
                  'backend version': info.version, 'device': info.device,
                  'precision': info.precision, 'layers': info.layers,
                  'engine key': info.engine_key[:_KEY_DIGITS],
                  **{colors_key(task): ' '.join(colors)
                     for task, colors in state.loaded.colors.items()}}
        if state.loaded.smoothing is not None:
            values[SMOOTHING_KEY] = f'{state.loaded.smoothing:g}'
    if state.gpu_memory is not None:
        used, free = state.gpu_memory
        values['GPU memory used, MB'] = f'{used / 1e6:.0f}'
        values['GPU memory free, MB'] = f'{free / 1e6:.0f}'
    if state.cpu_share is not None:
        values['CPU of the process, % of a core'] = f'{100 * state.cpu_share:.0f}'
    return {key: value for key, value in values.items() if value}


def _values_of_statistics(statistics: Statistics) -> dict[str, str]:
    values = {'input rate, Hz': statistics.input_rate, 'output rate, Hz': statistics.output_rate}
    for name, seconds in (('latency', statistics.latency), ('callback', statistics.callback)):
        values |= {f'{name} p{percent}, ms': value * 1e3 for percent, value in seconds.items()}
    return {key: f'{value:.1f}' for key, value in values.items()}


def _values_of_counts(counts: FrameCounts, reasons: tuple[str, ...]) -> dict[str, str]:
    return {'frames received': str(counts.received), 'frames segmented': str(counts.segmented),
            **{f'frames dropped, {reason}': str(counts.dropped[reason]) for reason in reasons}}
