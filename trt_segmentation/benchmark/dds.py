# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Camera, node and subscriber as separate processes over DDS, measured at several rates."""

import json
import os
import queue
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from trt_segmentation.benchmark.frames import (
    MAX_LOSS,
    FrameTimes,
    Run,
    combine_runs,
    find_peak,
    together,
)
from trt_segmentation.benchmark.processes import start_module, wait_or_kill
from trt_segmentation.errors import BackendError
from trt_segmentation.requirements import require

IMPLEMENTATIONS = {'node': 'timed_node', 'baseline': 'baseline_node'}
"""Modules of ``trt_segmentation.benchmark.ros``, by the name of the implementation they run."""

JPEG = 'jpeg'
CAMERA_ENCODINGS = ('bgr8', 'nv12', 'yuyv', 'bayer_rggb8', JPEG)
"""What the camera can publish: encodings of sensor_msgs/Image, and JPEG as CompressedImage."""


def transport_of(encoding: str) -> str:
    """Return the node's parameter input_transport for one of ``CAMERA_ENCODINGS``."""
    return 'compressed' if encoding == JPEG else 'raw'


START_TIMEOUT = 180.0
"""Seconds until the first result; long, since a TensorRT engine may have to be loaded."""

SETTLE = 0.7
"""Seconds without a new row, besides the time of a frame, after which a run has ended. Longer than
``rows.PERIOD``."""

LOWEST_RATE, HIGHEST_RATE = 1.0, 2000.0
"""Hz; bounds of the search for the peak."""

MIN_CAMERA_RATE = 0.95
"""Share of the requested rate that the camera must reach; below it the rate counts as too high."""

ATTEMPTS = 2
"""Runs that must exceed ``MAX_LOSS`` before a rate counts as too high: other load can disturb one
run."""

STEP_DOWN = 0.95
"""Factor to the next lower rate, where a peak exceeds ``MAX_LOSS`` when it is measured again."""


@dataclass(frozen=True)
class _Node:
    """A node of an implementation.

    Attributes:
        namespace: its ROS namespace.
        label: '' or its camera's name and a slash.
        prefixes: of its image topics: '', or the name of each of its cameras and a slash.
    """

    namespace: str
    label: str
    prefixes: tuple[str, ...]

    @property
    def arguments(self) -> tuple[str, ...]:
        """Its ROS arguments besides those of all nodes."""
        cameras = [prefix.removesuffix('/') for prefix in self.prefixes if prefix]
        return ('-p', f'cameras:={json.dumps(cameras)}') if cameras else ()


def _nodes(implementation: str, cameras: Sequence[str], one_node_each: bool) -> tuple[_Node, ...]:
    namespace = f'/bench_{os.getpid()}/{implementation}'
    if one_node_each and len(cameras) > 1:
        return tuple(_Node(f'{namespace}/{name}', f'{name}/', ('',)) for name in cameras)
    return (_Node(namespace, '', tuple(f'{name}/' if name else '' for name in cameras)),)


class DdsBench:
    """The processes of a benchmark; a context manager.

    Args:
        implementations: some of ``IMPLEMENTATIONS``.
        arguments: ROS arguments of the nodes.
        size: height and width of the cameras' images.
        outputs: what the subscriber subscribes to, some of mask, confidence, overlay.
        encoding: of ``CAMERA_ENCODINGS``.
        cameras: number of cameras, which publish images with the same stamp. A frame is one
            image of each.
        one_node_each: whether each camera has a node; otherwise a node takes all images in a
            batch.

    Attributes:
        middleware: the middleware and its settings, for the report.

    Raises:
        MissingPackageError: rclpy is not installed.
        BackendError: a process has ended, or no result arrives.
    """

    def __init__(self, implementations: Sequence[str], arguments: Sequence[str],
                 size: tuple[int, int], outputs: Sequence[str], *, encoding: str = 'bgr8',
                 cameras: int = 1, one_node_each: bool = False) -> None:
        require('rclpy')
        self.implementations = tuple(implementations)
        self.middleware: dict[str, str] = {}
        arguments = [*arguments, '-p', f'input_transport:={transport_of(encoding)}']
        names = [f'camera{number}' for number in range(cameras)] if cameras > 1 else ['']
        self._nodes = {name: _nodes(name, names, one_node_each) for name in implementations}
        self._images = {name: [f'{node.namespace}/{prefix}image'
                               + ('/compressed' if encoding == JPEG else '')
                               for node in nodes for prefix in node.prefixes]
                        for name, nodes in self._nodes.items()}
        # By the number of a topic in the subscriber: the camera and the output.
        self._results = {f'{node.namespace}/segmentation/{prefix}{output}':
                         f'{node.label}{prefix}{output}'
                         for nodes in self._nodes.values() for node in nodes
                         for prefix in node.prefixes for output in outputs}
        self._labels = list(self._results.values())
        self._expected = cameras * len(outputs)
        self._message_bytes = 0.0
        self._sizes: dict[str, list[int]] = {}
        self._settle = dict.fromkeys(implementations, SETTLE)
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self._times: dict[int, list[FrameTimes]] = {}
        self._received: dict[int, dict[str, int]] = {}
        self._processes: list[subprocess.Popen] = []
        self._camera: subprocess.Popen | None = None
        height, width = size
        try:
            for name, nodes in self._nodes.items():
                for node in nodes:
                    self._start(IMPLEMENTATIONS[name], '--ros-args', '--log-level', 'warn', '-r',
                                f'__ns:={node.namespace}', *arguments, *node.arguments)
            self._start('subscriber', *self._results)
            self._camera = self._start(
                'publisher', '--height', str(height), '--width', str(width), '--encoding',
                encoding, *(topic for topics in self._images.values() for topic in topics))
            self.middleware = self._wait_for('ready', START_TIMEOUT)
            for name in implementations:
                self._wait_for_results(name)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> 'DdsBench':
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def run(self, implementation: str, rate: float, seconds: float) -> Run:
        """Publish images to one implementation; return what was observed.

        Args:
            implementation: one of ``implementations``.
            rate: of the camera, Hz.
            seconds: duration; at least two frames are sent.
        """
        frames = max(2, round(rate * seconds))
        order = {'topics': self._images[implementation], 'rate': rate, 'frames': frames}
        assert self._camera is not None and self._camera.stdin is not None
        self._camera.stdin.write(json.dumps(order) + '\n')
        self._camera.stdin.flush()
        sent = self._wait_for('sent', 4 * frames / rate + 30)
        while self._take_line(self._settle[implementation]) is not None:
            pass
        received = {stamp: self._received[stamp] for stamp in sent
                    if len(self._received.get(stamp, ())) == self._expected}
        nodes = len(self._nodes[implementation])
        times = {stamp: together(self._times[stamp]) for stamp in sent
                 if len(self._times.get(stamp, ())) == nodes}
        sizes = {'image': self._message_bytes,
                 **{name: sum(found) / len(found) for name, found in self._sizes.items()}}
        for collected in (self._received, self._times, self._sizes):
            collected.clear()
        return Run(rate, sent, times, received, sizes)

    def close(self) -> None:
        """Stop all processes."""
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()  # the camera ends with its stdin
            if process is not self._camera:
                process.terminate()
        wait_or_kill(self._processes, 10)

    def _start(self, module: str, *arguments: str) -> subprocess.Popen:
        process = start_module(f'benchmark.ros.{module}', *arguments, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
        self._processes.append(process)
        threading.Thread(target=self._listen, args=(process,), daemon=True).start()
        return process

    def _listen(self, process: subprocess.Popen) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith('{'):
                self._lines.put(json.loads(line))

    def _wait_for_results(self, implementation: str) -> None:
        """Wait until all results of frames arrive, and measure how long they take."""
        deadline = time.monotonic() + START_TIMEOUT
        while not (found := self.run(implementation, 10.0, 0.5)).received:
            if time.monotonic() > deadline:
                raise BackendError(f'{implementation}: no results arrive over DDS; see '
                                   'docs/how-to/diagnose.md')
            self._settle[implementation] *= 2
        self._settle[implementation] = SETTLE + max(
            max(received.values()) - stamp for stamp, received in found.received.items()) / 1e9

    def _wait_for(self, key: str, timeout: float) -> Any:
        deadline = time.monotonic() + timeout
        while (line := self._take_line(0.2)) is None or key not in line:
            if time.monotonic() > deadline:
                raise BackendError(
                    f"the camera has not reported '{key}' within {timeout:.0f} s")
        return line[key]

    def _take_line(self, timeout: float) -> dict[str, Any] | None:
        """Process one line of output of a process; None if there is none within the timeout."""
        for process in self._processes:
            if process.poll() is not None:
                raise BackendError(f'{process.args[2]} ended with exit code '  # type: ignore
                                   f'{process.returncode}; its messages are above')
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            return None
        for number, stamp, received, size in line.get('received', ()):
            self._received.setdefault(stamp, {})[self._labels[number]] = received
            self._sizes.setdefault(self._labels[number], []).append(size)
        for stamp, *times in line.get('times', ()):
            self._times.setdefault(stamp, []).append(FrameTimes(*times))
        self._message_bytes = line.get('message_bytes', self._message_bytes)
        return line


def measure_rates(bench: DdsBench, rates: Sequence[float], runs: int, seconds: float,
                  ) -> dict[str, list[dict[str, Any]]]:
    """Measure every implementation at every rate, in turn.

    Args:
        bench: the processes.
        rates: Hz.
        runs: number of runs at each rate; see ``frames.combine_runs``.
        seconds: duration of one run.

    Returns:
        By implementation, for each rate: 'rate', the combined figures, and those of each run under
        'runs'.
    """
    entries: dict[str, list[dict[str, Any]]] = {name: [] for name in bench.implementations}
    for rate in tqdm(rates, desc='rates', unit='rate', disable=None):
        figures: dict[str, list[dict[str, Any]]] = {name: [] for name in bench.implementations}
        for _ in range(runs):
            for name in bench.implementations:
                figures[name].append(bench.run(name, rate, seconds).figures())
        for name, found in figures.items():
            entries[name].append(_entry(rate, found))
    return entries


def measure_peak(bench: DdsBench, implementation: str, runs: int, seconds: float,
                 measured: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Search the highest rate of an implementation, then measure it; see ``frames.find_peak``.

    Args:
        bench, runs, seconds: as of ``measure_rates``.
        implementation: one of those of ``bench``.
        measured: its entries of ``measure_rates``; the search starts at the highest rate that
            lost little.

    Returns:
        An entry as of ``measure_rates``; its rate is 0 if even the lowest rate loses too much.
        'camera_limited' is whether the camera could not go faster.
    """
    limits: list[float] = []

    def loss_at(rate: float) -> float:
        for _ in range(ATTEMPTS):
            run = bench.run(implementation, rate, seconds)
            if run.figures()['sent_rate'] < MIN_CAMERA_RATE * rate:
                limits.append(rate)
                return 1.0
            if run.loss <= MAX_LOSS:
                break
        return run.loss

    start = max((entry['rate'] for entry in measured if entry['loss'] <= MAX_LOSS),
                default=LOWEST_RATE)
    rate = find_peak(loss_at, start, HIGHEST_RATE) or find_peak(loss_at, LOWEST_RATE, start)
    entry = _repeated(bench, implementation, rate, runs, seconds)
    while entry.get('loss', 0.0) > MAX_LOSS:  # it was not exceeded by chance in the search
        entry = _repeated(bench, implementation, entry['rate'] * STEP_DOWN, runs, seconds)
    return {**entry, 'camera_limited': bool(limits)}


def _repeated(bench: DdsBench, implementation: str, rate: float, runs: int, seconds: float,
              ) -> dict[str, Any]:
    if rate < 1:
        return {'rate': 0.0}
    return _entry(rate, [bench.run(implementation, rate, seconds).figures() for _ in range(runs)])


def _entry(rate: float, figures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {'rate': rate, **combine_runs(figures), 'runs': list(figures)}
