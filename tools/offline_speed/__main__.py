# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Measure ``trt-segmentation run`` against the hand-written ``baseline.py``::

    python tools/offline_speed --rounds 3 --json docs/measurements/offline_speed.json

The two run in turn on generated inputs.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from trt_segmentation.benchmark.host import describe_host
from trt_segmentation.demo.clip import read_frame

BASELINE = Path(__file__).with_name('baseline.py')
SIZE = 720, 1280


def main() -> int:
    """Generate the inputs, measure, print a table and write the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--frames', type=int, default=300)
    parser.add_argument('--cases', nargs='+', choices=list(CASES), default=list(CASES))
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    report: dict[str, Any] = {'host': describe_host(), 'frames': args.frames,
                              'rounds': args.rounds, 'cases': {}}
    print(f'{"":28} {"baseline, s":>12} {"run, s":>10} {"speed-up":>9}')
    for name in args.cases:
        with tempfile.TemporaryDirectory(prefix='offline_speed_') as folder:
            make, outputs, is_bag = CASES[name]
            rounds = 1 if make is _pngs else args.rounds  # minutes each
            times = _measure(make(Path(folder), args.frames), outputs, is_bag, rounds)
        baseline, run = (float(np.median(series)) for series in times.values())
        report['cases'][name] = {**times, 'times_as_fast': baseline / run}
        print(f'{name:28} {baseline:12.2f} {run:10.2f} {baseline / run:9.2f}', flush=True)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + '\n', encoding='utf-8')
    return 0


def _measure(given: Path, outputs: tuple[str, ...], is_bag: bool, rounds: int,
             ) -> dict[str, list[float]]:
    """Seconds of each round, from the start of the program to its end."""
    output = given.parent / 'output'
    run_output = output.with_suffix('.mcap') if is_bag else output
    commands = {
        'baseline_s': [sys.executable, str(BASELINE), str(given), str(output), *outputs],
        'run_s': [sys.executable, '-m', 'trt_segmentation.cli.main', 'run', str(given), '--output',
                  str(run_output), '--backend', 'onnxruntime', '--outputs', *outputs]}
    times: dict[str, list[float]] = {name: [] for name in commands}
    # Let Python write the bytecode of modules, as in an installation.
    environment = {name: value for name, value in os.environ.items()
                   if name != 'PYTHONDONTWRITEBYTECODE'}
    for _ in range(rounds):
        for name, command in commands.items():
            start = time.monotonic()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, env=environment)
            times[name].append(time.monotonic() - start)
            for path in {output, run_output}:
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
    return times


def _scenes(size: tuple[int, int]) -> list[np.ndarray]:
    """Ten road scenes with camera noise."""
    noise = np.random.default_rng(0)
    scenes = [read_frame(number, *size).image for number in range(10)]
    return [np.clip(scene + noise.normal(0, 3, scene.shape), 0, 255).astype(np.uint8)
            for scene in scenes]


def _jpegs(folder: Path, count: int) -> Path:
    return _files(folder / 'images', count, '.jpg', SIZE)


def _pngs(folder: Path, count: int) -> Path:
    return _files(folder / 'images', 10_000, '.png', (64, 96))


def _one(folder: Path, count: int) -> Path:
    return next(_files(folder / 'images', 1, '.jpg', SIZE).iterdir())


def _files(folder: Path, count: int, suffix: str, size: tuple[int, int]) -> Path:
    folder.mkdir()
    data = [cv2.imencode(suffix, scene)[1].tobytes() for scene in _scenes(size)]
    for index in range(count):
        (folder / f'{index:06d}{suffix}').write_bytes(data[index % len(data)])
    return folder


def _raw_bag(folder: Path, count: int) -> Path:
    return _bag(folder, count, lambda types, header, scene: types['sensor_msgs/msg/Image'](
        header, *scene.shape[:2], 'bgr8', 0, scene.strides[0], scene.reshape(-1)))


def _jpeg_bag(folder: Path, count: int) -> Path:
    return _bag(
        folder, count, lambda types, header, scene: types['sensor_msgs/msg/CompressedImage'](
            header, 'bgr8; jpeg compressed bgr8', cv2.imencode('.jpg', scene)[1].ravel()))


def _bag(folder: Path, count: int, message_of: Callable) -> Path:
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore
    store = get_typestore(Stores.LATEST)
    types = store.types
    path = folder / 'bag'
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        scenes = _scenes(SIZE)
        for index in range(count):
            stamp = types['builtin_interfaces/msg/Time'](index // 30, index % 30 * 33_000_000)
            header = types['std_msgs/msg/Header'](stamp, 'camera_color_optical_frame')
            message = message_of(types, header, scenes[index % len(scenes)])
            kind = message.__msgtype__
            if index == 0:
                connection = writer.add_connection('/camera/image_raw', kind, typestore=store)
            writer.write(connection, 1 + index * 33_000_000, store.serialize_cdr(message, kind))
    return path


_BOTH = 'mask', 'overlay'
CASES: dict[str, tuple[Callable[[Path, int], Path], tuple[str, ...], bool]] = {
    'JPEGs': (_jpegs, _BOTH, False),
    'raw bag': (_raw_bag, _BOTH, True),
    'compressed bag': (_jpeg_bag, _BOTH, True),
    'raw bag, mask alone': (_raw_bag, ('mask',), True),
    '10,000 tiny PNGs': (_pngs, _BOTH, False),
    'one image': (_one, _BOTH, False),
}
"""By name: generator of the input, outputs, and whether the input is a rosbag."""

if __name__ == '__main__':
    raise SystemExit(main())
