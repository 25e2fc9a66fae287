# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Camera, node and subscriber as separate processes over DDS, run at one rate after the other."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm

from trt_segmentation.benchmark.frames import MAX_LOSS, Marks, Run, find_peak, together
from trt_segmentation.errors import BackendError
from trt_segmentation.requirements import require

ARMS = {'ours': 'timed_node', 'usual': 'baseline_node'}
"""Modules of ``trt_segmentation.benchmark.ros`` by the arm that they run."""

START_PATIENCE = 180.0
"""Seconds until the first result: a TensorRT engine takes its time to load."""

SETTLE = 0.7
"""Seconds without news after which a run is over, besides what a frame takes: more than the rows'
period."""

HIGHEST_RATE = 2000.0
"""Hz up to which the peak is searched."""

HELD = 0.95
"""Share of the asked rate that the camera must reach, else the rate counts as too high."""

ATTEMPTS = 2
"""Runs that must lose too much before a rate counts as too high: other work comes and goes."""

STEP_DOWN = 0.95
"""Factor to the next lower rate, where a peak loses too much when it is run again."""


class DdsBench:
    """The processes of a benchmark; use it with ``with``.

    Args:
        arms: some of ``ARMS``.
        arguments: ROS arguments of the nodes.
        size: height and width of the camera's images.
        outputs: what the subscriber listens to, some of mask, confidence, overlay.

    Attributes:
        middleware: what carries the messages, for the report.

    Raises:
        MissingPackageError: rclpy is not installed.
        BackendError: a process ends, or nothing arrives.
    """

    def __init__(self, arms: Sequence[str], arguments: Sequence[str], size: tuple[int, int],
                 outputs: Sequence[str]) -> None:
        require('rclpy')
        self.arms = tuple(arms)
        self.middleware: dict[str, str] = {}
        self._outputs = tuple(outputs)
        self._rooms = {arm: f'/bench_{os.getpid()}/{arm}' for arm in arms}
        self._settle = dict.fromkeys(arms, SETTLE)
        self._news: queue.Queue[dict[str, Any]] = queue.Queue()
        self._marks: dict[int, Marks] = {}
        self._received: dict[int, dict[str, int]] = {}
        self._processes: list[subprocess.Popen] = []
        self._camera: subprocess.Popen | None = None
        topics = [f'{room}/segmentation/{output}' for room in self._rooms.values()
                  for output in outputs]
        height, width = size
        try:
            for arm, room in self._rooms.items():
                self._start(ARMS[arm], '--ros-args', '--log-level', 'warn', '-r', f'__ns:={room}',
                            *arguments)
            self._start('subscriber', *topics)
            self._camera = self._start('publisher', '--height', str(height), '--width', str(width),
                                       *(f'{room}/image' for room in self._rooms.values()))
            self.middleware = self._answer('ready', START_PATIENCE)
            for arm in arms:
                self._await_results(arm)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> 'DdsBench':
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def run(self, arm: str, rate: float, seconds: float) -> Run:
        """Let the camera run for an arm; return what was seen.

        Args:
            arm: of ``arms``.
            rate: Hz.
            seconds: how long, two frames at least.
        """
        frames = max(2, round(rate * seconds))
        order = {'topic': f'{self._rooms[arm]}/image', 'rate': rate, 'frames': frames}
        assert self._camera is not None and self._camera.stdin is not None
        self._camera.stdin.write(json.dumps(order) + '\n')
        self._camera.stdin.flush()
        sent = self._answer('sent', 4 * frames / rate + 30)
        while self._take_news(self._settle[arm]) is not None:
            pass
        received = {stamp: self._received[stamp] for stamp in sent
                    if len(self._received.get(stamp, ())) == len(self._outputs)}
        marks = {stamp: self._marks[stamp] for stamp in sent if stamp in self._marks}
        self._received.clear()
        self._marks.clear()
        return Run(rate, sent, marks, received)

    def close(self) -> None:
        """End all processes."""
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()  # which ends the camera
            if process is not self._camera and process.poll() is None:
                process.send_signal(signal.SIGINT)
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, module: str, *arguments: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, '-m', f'trt_segmentation.benchmark.ros.{module}', *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._processes.append(process)
        threading.Thread(target=self._listen, args=(process,), daemon=True).start()
        return process

    def _listen(self, process: subprocess.Popen) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith('{'):
                self._news.put(json.loads(line))

    def _await_results(self, arm: str) -> None:
        """Wait until frames come back as all results, and see how long they take."""
        deadline = time.monotonic() + START_PATIENCE
        while not (found := self.run(arm, 10.0, 0.5)).received:
            if time.monotonic() > deadline:
                raise BackendError(f'{arm}: nothing arrives over DDS; see the troubleshooting '
                                   'section of the README')
            self._settle[arm] *= 2
        self._settle[arm] = SETTLE + max(
            max(received.values()) - stamp for stamp, received in found.received.items()) / 1e9

    def _answer(self, key: str, patience: float) -> Any:
        deadline = time.monotonic() + patience
        while (news := self._take_news(0.2)) is None or key not in news:
            if time.monotonic() > deadline:
                raise BackendError(f"the camera does not say '{key}' within {patience:.0f} s")
        return news[key]

    def _take_news(self, patience: float) -> dict[str, Any] | None:
        """Take in one line of a process; None where there is none for so long."""
        for process in self._processes:
            if process.poll() is not None:
                raise BackendError(f'{process.args[2]} ended with exit code '  # type: ignore
                                   f'{process.returncode}; its messages are above')
        try:
            news = self._news.get(timeout=patience)
        except queue.Empty:
            return None
        for number, stamp, received in news.get('received', ()):
            output = self._outputs[number % len(self._outputs)]
            self._received.setdefault(stamp, {})[output] = received
        for stamp, *times in news.get('marks', ()):
            self._marks[stamp] = Marks(*times)
        return news


def measure_rates(bench: DdsBench, rates: Sequence[float], runs: int, seconds: float,
                  ) -> dict[str, list[dict[str, Any]]]:
    """Run every arm in turn at every rate.

    Args:
        bench: the processes.
        rates: Hz.
        runs: how often each; see ``frames.together``.
        seconds: of one run.

    Returns:
        By arm, for each rate: 'rate', the figures together, and those of each run under 'runs'.
    """
    entries: dict[str, list[dict[str, Any]]] = {arm: [] for arm in bench.arms}
    for rate in tqdm(rates, desc='rates', unit='rate', disable=None):
        figures: dict[str, list[dict[str, Any]]] = {arm: [] for arm in bench.arms}
        for _ in range(runs):
            for arm in bench.arms:
                figures[arm].append(bench.run(arm, rate, seconds).figures())
        for arm, found in figures.items():
            entries[arm].append(_entry(rate, found))
    return entries


def measure_peak(bench: DdsBench, arm: str, runs: int, seconds: float) -> dict[str, Any]:
    """Search the highest rate of an arm, then run it; see ``frames.find_peak``.

    Returns:
        As one of ``measure_rates``; a rate of 0 where no rate is low enough. 'camera_at_its_end'
        says that it was the camera that could not go faster.
    """
    limits: list[float] = []

    def loss_at(rate: float) -> float:
        for _ in range(ATTEMPTS):
            run = bench.run(arm, rate, seconds)
            if run.figures()['sent_rate'] < HELD * rate:
                limits.append(rate)
                return 1.0
            if run.loss <= MAX_LOSS:
                break
        return run.loss

    rate = find_peak(loss_at, 1.0, HIGHEST_RATE)
    entry = _repeated(bench, arm, rate, runs, seconds)
    while entry.get('loss', 0.0) > MAX_LOSS:  # the search was lucky
        entry = _repeated(bench, arm, entry['rate'] * STEP_DOWN, runs, seconds)
    return {**entry, 'camera_at_its_end': bool(limits)}


def _repeated(bench: DdsBench, arm: str, rate: float, runs: int, seconds: float,
              ) -> dict[str, Any]:
    if rate < 1:
        return {'rate': 0.0}
    return _entry(rate, [bench.run(arm, rate, seconds).figures() for _ in range(runs)])


def _entry(rate: float, figures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {'rate': rate, **together(figures), 'runs': list(figures)}
