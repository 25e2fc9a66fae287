# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A rosbag by one process, by one per GPU, and after SIGKILL: the file must be the same."""

import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trt_segmentation.bags.writing import Header, OutputBag
from trt_segmentation.demo.clip import read_frame

FRAMES = 300
SIZE = 360, 640
SCENES = 10
PERIOD = 33_000_000
"""Nanoseconds between two frames."""

KILLED_AFTER = 2
"""Finished parts when the processes are killed."""

TIMEOUT = 120.0


def check_bag(command: Callable[..., list[str]], folder: Path, devices: Sequence[str],
              ) -> dict[str, Any]:
    """Replay a bag of rendered roads in three ways.

    Args:
        command: returns a command line of ``trt-segmentation``; a model follows its arguments.
        folder: recreated.
        devices: indices of the GPUs.

    Returns:
        By run: duration in 'seconds' and the file's 'sha256'; 'same' is whether all files are
        equal.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    bag = _write_drive(folder / 'drive')

    def replay(way: str, gpus: Sequence[str]) -> list[str]:
        return command('run', str(bag), '--output', str(folder / way / 'masks.mcap'), '--workers',
                       str(len(gpus)), '--devices', ','.join(gpus), '--model')

    def replayed(way: str, gpus: Sequence[str]) -> dict[str, Any]:
        started = time.monotonic()
        subprocess.run(replay(way, gpus), check=True, capture_output=True)
        return {'seconds': time.monotonic() - started, 'gpus': len(gpus), 'sha256':
                hashlib.sha256((folder / way / 'masks.mcap').read_bytes()).hexdigest()}

    for way in ('one', 'each', 'killed'):
        (folder / way).mkdir()
    found = {'one process': replayed('one', devices[:1]),
             'one process per GPU': replayed('each', devices)}
    _kill_in_the_middle(replay('killed', devices), folder / 'killed' / 'masks.mcap.parts')
    found['again after SIGKILL'] = replayed('killed', devices)
    return {'frames': FRAMES, 'size': f'{SIZE[1]}x{SIZE[0]}', 'ways': found,
            'same': len({each['sha256'] for each in found.values()}) == 1}


def _write_drive(folder: Path) -> Path:
    """Write a rosbag2 with one image topic of rendered roads that move sideways."""
    scenes = [read_frame(number, *SIZE).image for number in range(SCENES)]
    with OutputBag(folder, '.mcap', ('overlay',)) as bag:
        for number in range(FRAMES):
            stamp = 10**18 + number * PERIOD
            header = Header(stamp // 10**9, stamp % 10**9, 'camera')
            image = np.roll(scenes[number % SCENES], 3 * number, axis=1)
            bag.write_image('overlay', stamp, header, image)
    return folder


def _kill_in_the_middle(command: Sequence[str], parts: Path) -> None:
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + TIMEOUT
    while len(list(parts.glob('part_*'))) < KILLED_AFTER:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f'{KILLED_AFTER} parts are not finished within {TIMEOUT:.0f} s')
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
