# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Whether what the node measures is well, and if not, why."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from trt_segmentation.backends.base import BackendInfo
from trt_segmentation.ros.statistics import MAX_AGE, NO_SUBSCRIBER, UNWANTED, WINDOW, Figures


class Level(IntEnum):
    """The levels of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclass(frozen=True)
class Thresholds:
    """From where on something is wrong.

    Attributes:
        input_timeout: seconds without an image that are one too many; 0 never warns.
        min_rate: Hz that images must come at; 0 takes any rate.
        max_drop_share: fraction of the frames that may be dropped, 0 to 1; 1 never warns.
            Frames that nobody subscribes to the results of are none of these.
        max_latency: seconds from stamp to publish that 95 of 100 frames must keep; 0 sets no
            limit.
        max_failures: frames that fail in a row when the backend is taken for broken.
    """

    input_timeout: float = 5.0
    min_rate: float = 0.0
    max_drop_share: float = 0.1
    max_latency: float = 0.0
    max_failures: int = 5


@dataclass(frozen=True)
class Running:
    """What runs, from configuration to cleanup.

    Attributes:
        model: path of the network or engine.
        info: what the backend says of it.
        wanted_precision: what was asked for; '' where a prebuilt engine has decided it.
        colors: of the classes by task, ``#rrggbb``; '' is that of a network of one.
    """

    model: str
    info: BackendInfo
    wanted_precision: str
    colors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class NodeState:
    """What the node itself knows when it reports.

    Attributes:
        active: whether it listens to the camera.
        fault: '' or the sentence that says why it cannot work.
        topic: that images come on, resolved.
        publishers: on that topic, compatible or not.
        mismatch: '' or why none of them can be received; see ``inputs.Sources``.
        running: None while nothing is open.
        gpu_memory: bytes that the session uses and bytes that are free; None without a GPU.
        enabled: whether ~/enable lets it segment.
    """

    active: bool
    fault: str = ''
    topic: str = 'image'
    publishers: int = 0
    mismatch: str = ''
    running: Running | None = None
    gpu_memory: tuple[int, int] | None = None
    enabled: bool = True


def precision_fault(running: Running) -> str:
    """Return '' or the sentence that says that another precision runs than was asked for."""
    if not running.wanted_precision or running.info.precision in ('', running.wanted_precision):
        return ''
    return (f'precision {running.wanted_precision} was asked for; {running.info.backend} runs '
            f'this network in {running.info.layers or running.info.precision}')


def assess(figures: Figures, state: NodeState, thresholds: Thresholds) -> tuple[Level, str]:
    """Return how the node is, and why: everything that is as bad as the worst."""
    if state.fault:
        return Level.ERROR, state.fault
    if not state.active:
        return Level.STALE, 'not active'
    found = [(level, sentence) for level, check in _CHECKS
             if (sentence := check(figures, state, thresholds))]
    if not found:
        return Level.OK, _undisturbed(figures, state)
    worst = max(level for level, _ in found)
    return worst, '; '.join(sentence for level, sentence in found if level == worst)


# What is checked: each returns '' or the sentence that says what is wrong.

def _failing(figures: Figures, state: NodeState, thresholds: Thresholds) -> str:
    if figures.failures < thresholds.max_failures:
        return ''
    return f'the last {figures.failures} frames all failed: {figures.why}'


def _silent(figures: Figures, state: NodeState, thresholds: Thresholds) -> str:
    if not 0 < thresholds.input_timeout < figures.silent_for:
        return ''
    publishers = f'{state.publishers} publisher{"s" * (state.publishers != 1)}'
    if figures.incompatible and state.publishers:
        some = 'none' if state.publishers == 1 else 'not all'
        publishers += f', {some} compatible: {figures.incompatible}'
    if state.mismatch:
        publishers += f'; {state.mismatch}'
    return f'no image on {state.topic} for {figures.silent_for:.1f} s; {publishers}'


def _slow(figures: Figures, state: NodeState, thresholds: Thresholds) -> str:
    if figures.input_rate >= thresholds.min_rate or figures.measured_for < WINDOW \
            or _silent(figures, state, thresholds):
        return ''
    return (f'images come at {figures.input_rate:.1f} Hz; at least {thresholds.min_rate:g} Hz '
            'are wanted')


def _dropping(figures: Figures, state: NodeState, thresholds: Thresholds) -> str:
    number, frames, reasons = _missed(figures)
    if number <= thresholds.max_drop_share * frames:
        return ''
    return (f'{number} of {frames} frames in {WINDOW:g} s were dropped ({reasons}); at most '
            f'{thresholds.max_drop_share:.0%} are wanted')


def _missed(figures: Figures) -> tuple[int, int, str]:
    """Return how many frames were dropped that somebody wanted, of how many, and why."""
    dropped = {reason: number for reason, number in figures.dropped.items()
               if reason not in UNWANTED}
    number = sum(dropped.values())
    return (number, max(figures.frames, number),  # a frame may have come before the window
            ', '.join(f'{reason} {count}' for reason, count in dropped.items()))


def _late(figures: Figures, state: NodeState, thresholds: Thresholds) -> str:
    if not thresholds.max_latency:
        return ''
    if not 0 <= figures.stamp_age <= MAX_AGE:
        side = 'ahead of' if figures.stamp_age < 0 else 'behind'
        return (f"latency cannot be measured: the newest image's stamp is "
                f"{abs(figures.stamp_age):.1f} s {side} the node's clock; synchronise the two, "
                'or set use_sim_time where time is simulated')
    p95 = figures.latency.get(95, 0.0)
    if p95 <= thresholds.max_latency:
        return ''
    return (f'latency p95 is {p95 * 1e3:.1f} ms; at most {thresholds.max_latency * 1e3:.1f} ms '
            'are wanted')


def _other_precision(figures: Figures, state: NodeState, thresholds: Thresholds) -> str:
    return precision_fault(state.running) if state.running is not None else ''


Check = Callable[[Figures, NodeState, Thresholds], str]

_CHECKS: tuple[tuple[Level, Check], ...] = (
    (Level.ERROR, _failing), (Level.WARN, _silent), (Level.WARN, _slow), (Level.WARN, _dropping),
    (Level.WARN, _late), (Level.WARN, _other_precision))


def _undisturbed(figures: Figures, state: NodeState) -> str:
    if not state.enabled:
        return 'switched off by ~/enable'
    if NO_SUBSCRIBER in figures.dropped and not figures.output_rate:
        return 'nobody subscribes, so nothing is segmented'
    number, frames, reasons = _missed(figures)
    if 0 < frames == number:
        return (f'nothing is segmented: all {number} frames in {WINDOW:g} s were dropped '
                f'({reasons})')
    return 'segmenting' if figures.frames or figures.input_rate else 'waiting for images'
