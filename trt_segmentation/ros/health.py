# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The health checks of the node: a level and a message for /diagnostics."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from trt_segmentation.backends.base import BackendInfo
from trt_segmentation.ros.statistics import (
    BAD_FRAME,
    EXPECTED,
    KEEP_LATEST,
    MAX_AGE,
    NO_SUBSCRIBER,
    WINDOW,
    Statistics,
)


class Level(IntEnum):
    """The levels of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclass(frozen=True)
class Thresholds:
    """Limits beyond which /diagnostics reports a warning or an error.

    Attributes:
        input_timeout: maximum seconds without an image; 0 never warns.
        min_rate: minimum rate of the images in Hz; 0 never warns.
        max_drop_share: maximum fraction of dropped frames, 0 to 1; 1 never warns. Frames
            dropped for one of ``EXPECTED`` do not count.
        max_latency: maximum 95th percentile of the seconds from stamp to publish; 0 never
            warns.
        max_failures: consecutive failed frames after which an error is reported.
    """

    input_timeout: float = 5.0
    min_rate: float = 0.0
    max_drop_share: float = 0.1
    max_latency: float = 0.0
    max_failures: int = 5


@dataclass(frozen=True)
class LoadedModel:
    """The loaded network, from configure to cleanup.

    Attributes:
        model: path of the network or engine.
        info: reported by the backend.
        requested_precision: '' for a prebuilt engine, whose precision is fixed.
        colors: of the classes by task, ``#rrggbb``; '' is the only task of most networks.
        smoothing: weight of temporal smoothing; None if the network was opened without it.
    """

    model: str
    info: BackendInfo
    requested_precision: str
    colors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    smoothing: float | None = None


@dataclass(frozen=True)
class NodeState:
    """State of the node at the time of a report.

    Attributes:
        active: whether it is subscribed to the camera.
        fault: '' or the error that keeps it from working.
        topic: resolved name of the image topic.
        publishers: number on that topic, compatible or not.
        mismatch: '' or why no images can be received from them; see ``inputs.Publishers``.
        loaded: None while no network is loaded.
        gpu_memory: bytes that the session uses and bytes that are free; None without a GPU.
        enabled: as set by ~/enable.
        cpu_share: of one core, used by the node's process; None if it is reported elsewhere.
    """

    active: bool
    fault: str = ''
    topic: str = 'image'
    publishers: int = 0
    mismatch: str = ''
    loaded: LoadedModel | None = None
    gpu_memory: tuple[int, int] | None = None
    enabled: bool = True
    cpu_share: float | None = None


_LOST_ON_THE_WAY = "see 'Images are lost on the way' in docs/how-to/diagnose.md"

_BUSY_SHARE = 1 / 3
"""Fraction of the camera's period. A node that takes longer may itself miss frames of a camera
that sends irregularly."""


def precision_fault(loaded: LoadedModel) -> str:
    """Return '' or the warning that the network runs in another precision than requested."""
    if not loaded.requested_precision or loaded.info.precision in ('', loaded.requested_precision):
        return ''
    return (f'precision {loaded.requested_precision} was requested; {loaded.info.backend} runs '
            f'this network in {loaded.info.layers or loaded.info.precision}')


def assess(statistics: Statistics, state: NodeState, thresholds: Thresholds) -> tuple[Level, str]:
    """Return the worst level, and the messages of all checks with this level."""
    if state.fault:
        return Level.ERROR, state.fault
    if not state.active:
        return Level.STALE, 'not active'
    found = [(level, sentence) for level, check in _CHECKS
             if (sentence := check(statistics, state, thresholds))]
    if not found:
        return Level.OK, _normal(statistics, state)
    worst = max(level for level, _ in found)
    return worst, '; '.join(sentence for level, sentence in found if level == worst)


# The checks: each returns '' or a message.

def _failing(statistics: Statistics, state: NodeState, thresholds: Thresholds) -> str:
    if statistics.failures < thresholds.max_failures:
        return ''
    return f'the last {statistics.failures} frames all failed: {statistics.why}'


def _no_images(statistics: Statistics, state: NodeState, thresholds: Thresholds) -> str:
    if not 0 < thresholds.input_timeout < statistics.silent_for:
        return ''
    publishers = f'{state.publishers} publisher{"s" * (state.publishers != 1)}'
    if statistics.incompatible and state.publishers:
        some = 'none' if state.publishers == 1 else 'not all'
        publishers += f', {some} compatible: {statistics.incompatible}'
    if state.mismatch:
        publishers += f'; {state.mismatch}'
    elif state.publishers and not statistics.incompatible:
        publishers += f'; either nothing is sent, or it is lost on the way ({_LOST_ON_THE_WAY})'
    return f'no image on {state.topic} for {statistics.silent_for:.1f} s; {publishers}'


def _low_rate(statistics: Statistics, state: NodeState, thresholds: Thresholds) -> str:
    if statistics.input_rate >= thresholds.min_rate or statistics.measured_for < WINDOW \
            or _no_images(statistics, state, thresholds):
        return ''
    return (f'images arrive at {statistics.input_rate:.1f} Hz; min_rate is '
            f'{thresholds.min_rate:g} Hz')


def _high_drop_share(statistics: Statistics, state: NodeState, thresholds: Thresholds) -> str:
    number, frames, reasons = _missed(statistics)
    if number <= thresholds.max_drop_share * frames:
        return ''
    return (f'{number} of {frames} frames in {WINDOW:g} s were dropped ({reasons}); '
            f'max_drop_share is {thresholds.max_drop_share:.0%}{_bad_frame(statistics)}'
            f'{_transport_hint(statistics)}')


def _bad_frame(statistics: Statistics) -> str:
    """Return '' or what was wrong with the last frame that could not be read."""
    if BAD_FRAME not in statistics.dropped or not statistics.bad_frame:
        return ''
    return f'; the last bad frame: {statistics.bad_frame}'


def _transport_hint(statistics: Statistics) -> str:
    """Return '' or the sentence that the node is not what loses frames."""
    p99 = statistics.callback.get(99, 0.0)
    if KEEP_LATEST not in statistics.dropped or p99 * statistics.input_rate > _BUSY_SHARE:
        return ''
    return (f'; a frame takes the node {p99 * 1e3:.1f} ms (p99), so images are probably lost on '
            f'the way ({_LOST_ON_THE_WAY})')


def _missed(statistics: Statistics) -> tuple[int, int, str]:
    """Return the number of unexpectedly dropped frames, that of all frames, and the reasons."""
    dropped = {reason: number for reason, number in statistics.dropped.items()
               if reason not in EXPECTED}
    number = sum(dropped.values())
    return (number, max(statistics.frames, number),  # one may have arrived before the window
            ', '.join(f'{reason} {count}' for reason, count in dropped.items()))


def _high_latency(statistics: Statistics, state: NodeState, thresholds: Thresholds) -> str:
    if not thresholds.max_latency:
        return ''
    if not 0 <= statistics.stamp_age <= MAX_AGE:
        side = 'ahead of' if statistics.stamp_age < 0 else 'behind'
        return (f"latency cannot be measured: the newest image's stamp is "
                f"{abs(statistics.stamp_age):.1f} s {side} the node's clock; synchronise the "
                'clocks; for simulated time, set use_sim_time and publish /clock')
    p95 = statistics.latency.get(95, 0.0)
    if p95 <= thresholds.max_latency:
        return ''
    return (f'latency p95 is {p95 * 1e3:.1f} ms; max_latency is '
            f'{thresholds.max_latency * 1e3:.1f} ms')


def _precision(statistics: Statistics, state: NodeState, thresholds: Thresholds) -> str:
    return precision_fault(state.loaded) if state.loaded is not None else ''


Check = Callable[[Statistics, NodeState, Thresholds], str]

_CHECKS: tuple[tuple[Level, Check], ...] = (
    (Level.ERROR, _failing), (Level.WARN, _no_images), (Level.WARN, _low_rate),
    (Level.WARN, _high_drop_share), (Level.WARN, _high_latency), (Level.WARN, _precision))


def _normal(statistics: Statistics, state: NodeState) -> str:
    if not state.enabled:
        return 'disabled by ~/enable'
    if NO_SUBSCRIBER in statistics.dropped and not statistics.output_rate:
        return 'nobody subscribes, so nothing is segmented'
    number, frames, reasons = _missed(statistics)
    if 0 < frames == number:
        return (f'nothing is segmented: all {number} frames in {WINDOW:g} s were dropped '
                f'({reasons}){_bad_frame(statistics)}')
    return 'segmenting' if statistics.frames or statistics.input_rate else 'waiting for images'
