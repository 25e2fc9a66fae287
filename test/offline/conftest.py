# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Images and videos to segment, and ways to interrupt a run."""

import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from trt_segmentation.demo.clip import read_frame

COMMAND = [sys.executable, '-m', 'trt_segmentation.cli.main', 'run']


@pytest.fixture(scope='session')
def scenes():
    """Five roads, uint8 BGR [64, 96, 3]."""
    return [read_frame(number, 64, 96).image for number in range(5)]


@pytest.fixture(scope='session')
def write_images(scenes):
    """Function that writes PNGs into a folder and returns it."""
    def write(folder, count, name='{:05d}.png'):
        folder.mkdir(parents=True)
        for index in range(count):
            cv2.imwrite(str(folder / name.format(index)), scenes[index % len(scenes)])
        return folder
    return write


@pytest.fixture(scope='session')
def write_video(scenes):
    """Function that writes a video of different frames."""
    def write(path, frames, size=(96, 64)):
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), 10, size)
        for index in range(frames):
            writer.write(np.roll(cv2.resize(scenes[index % len(scenes)], size), index, axis=1))
        writer.release()
        return path
    return write


@pytest.fixture
def interrupt():
    """Function that starts ``run`` and sends it a signal when a condition holds.

    It returns the exit status, stdout and stderr.
    """
    def interrupt(arguments, condition, number):
        process = subprocess.Popen([*COMMAND, *map(str, arguments)], stderr=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while not condition():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(number)
        shown = process.communicate(timeout=60)
        return process.returncode, *shown
    return interrupt


@pytest.fixture
def contents():
    """Function that returns the bytes of every file in a folder and its subfolders, by path."""
    def read(folder):
        return {path.relative_to(folder).as_posix(): path.read_bytes()
                for path in sorted(folder.rglob('*')) if path.is_file()}
    return read
