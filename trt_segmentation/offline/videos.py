# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A video through a network: a folder of PNGs for each output, and an MP4 of the overlays."""

import hashlib
import os
import shutil
import uuid
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from trt_segmentation.errors import ImageError, OutputError
from trt_segmentation.image_source import open_video
from trt_segmentation.images.writing import check_utf8, make_folder, write_file, write_image
from trt_segmentation.offline.items import FRAME_NAME, Item
from trt_segmentation.offline.overlap import Lanes, read_ahead
from trt_segmentation.render import blended
from trt_segmentation.segmenter import Segmentation, Segmenter

if TYPE_CHECKING:
    from trt_segmentation.offline.files import Work

_AHEAD = 2
"""Frames that are decoded before they are segmented."""

_RATE = 25.0
"""Hz, for videos that do not state theirs."""

_FULL = 1 << 20
"""Bytes. Where less is free and a video could not be written, that is why: OpenCV does not say."""


def segment_video(work: 'Work', segmenter: Segmenter, item: Item) -> tuple[str, ...]:
    """Segment a video. Frames whose results are there are not segmented again; their overlays
    are painted from the masks.

    Args:
        work: what is done with it.
        segmenter: the network.
        item: the video.

    Returns:
        Sentences that say what is unusual about it.

    Raises:
        ImageError: it cannot be decoded, or its overlays cannot be encoded.
        OutputError: a result cannot be written.
    """
    images = tuple(name for name in work.outputs if name != 'overlay')
    for name in images:
        make_folder(item.target(name))
    there = _frames_there(item, images, work.scratch)
    with open_video(item.path) as video:
        overlays = _Overlays(item, work.scratch, video.get(cv2.CAP_PROP_FPS) or _RATE) \
            if 'overlay' in work.outputs else None
        with overlays or nullcontext():
            count = _segment(work, segmenter, item, video, there, overlays)
            if overlays is not None:
                overlays.finish(count)
        expected = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    if count < expected:
        return (f'{item.path}: {count} of the {expected} frames that its header states could be '
                'decoded',)
    return ()


def _segment(work: 'Work', segmenter: Segmenter, item: Item, video: cv2.VideoCapture, there: int,
             overlays: '_Overlays | None') -> int:
    """Segment what is not there; return the number of frames."""
    count, waiting = 0, deque[Future[None]]()
    lanes = Lanes(segmenter, work.outputs, work.lanes)
    skipped = there if overlays is None else 0
    try:
        with closing(read_ahead(_frames(video, skipped), _AHEAD)) as frames:
            for count, frame in enumerate(frames, 1):
                if frame is None:
                    continue
                if count <= there:
                    assert overlays is not None
                    overlay = _painted(segmenter, item, count - 1, frame)
                    waiting.append(lanes.run_in_order(overlays.write, overlay))
                else:
                    waiting.append(lanes.segment(
                        frame, 'bgr', partial(_write, item, work.scratch, count - 1),
                        None if overlays is None else overlays.write_result))
                while len(waiting) > work.lanes.lanes:
                    waiting.popleft().result()
        for written in waiting:
            written.result()
    finally:
        lanes.close()
    if count == 0:
        raise ImageError(f'{item.path}: not one frame can be decoded')
    return count


def _frames_there(item: Item, images: tuple[str, ...], scratch: Path) -> int:
    """How many frames this run, or the one that it goes on from, has written whole, from the
    first one on; frames of others are removed."""
    try:
        stat = item.path.stat()
    except OSError as error:
        raise ImageError(f'{item.path}: cannot be read ({error.strerror})') from error
    begun = f'{stat.st_size} {stat.st_mtime_ns} {" ".join(images)}'
    name = hashlib.sha256(os.fsencode(item.results)).hexdigest()
    note = scratch / f'part_{name}'
    if not note.is_file() or note.read_text(encoding='utf-8') != begun:
        for output in images:
            for path in item.target(output).glob('[0-9]' * 6 + '.png'):
                path.unlink()
        write_file(note, begun.encode())
    if 'mask' not in images:  # which overlays are painted from
        return 0
    count = 0
    while all((item.target(each) / FRAME_NAME.format(count)).is_file() for each in images):
        count += 1
    return count


def _frames(video: cv2.VideoCapture, skipped: int) -> Generator['np.ndarray | None', None, None]:
    """The frames of a video; None for the first ones, which are not decoded."""
    for _ in range(skipped):
        if not video.grab():
            return
        yield None
    while (frame := video.read()[1]) is not None:
        yield frame


def _write(item: Item, scratch: Path, index: int, result: Segmentation) -> None:
    for name, array in result.arrays.items():
        if name != 'overlay':
            write_image(item.target(name) / FRAME_NAME.format(index), array, scratch)


def _painted(segmenter: Segmenter, item: Item, index: int, frame: np.ndarray) -> np.ndarray:
    """The overlay of a frame whose mask is there."""
    path = item.target('mask') / FRAME_NAME.format(index)
    mask = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    assert mask is not None, path
    return blended(frame, mask, segmenter.spec.palette, segmenter.overlay_alpha)


class _Overlays:
    """An MP4 that is being encoded; nothing is left of one that is not finished."""

    def __init__(self, item: Item, scratch: Path, rate: float) -> None:
        self._target = item.target('overlay')
        make_folder(self._target.parent)
        self._path = scratch / f'.{uuid.uuid4().hex}.mp4'
        self._name = check_utf8(self._path)
        self._rate = rate
        self._writer: cv2.VideoWriter | None = None

    def write(self, overlay: np.ndarray) -> None:
        """Add a frame: uint8 BGR [H, W, 3], all of one size."""
        if self._writer is None:
            height, width = overlay.shape[:2]
            self._writer = cv2.VideoWriter(self._name, cv2.VideoWriter.fourcc(*'mp4v'),
                                           self._rate, (width, height))
        self._writer.write(overlay)

    def write_result(self, result: Segmentation) -> None:
        """Add the overlay of a frame."""
        self.write(result.overlay)

    def finish(self, frames: int) -> None:
        """Put the file in its place, if all of its frames can be read.

        Raises:
            ImageError: they cannot.
            OutputError: the disk is full.
        """
        self._release()
        video = cv2.VideoCapture(self._name)
        found = int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
        video.release()
        if found != frames:
            if shutil.disk_usage(self._path.parent).free < _FULL:
                raise OutputError(f'{self._target}: cannot be written (No space left on device)')
            raise ImageError(f'{self._target}: cannot be written: {found} of {frames} frames are '
                             'in it; has OpenCV an MPEG-4 encoder? --outputs mask leaves it out')
        try:
            self._path.replace(self._target)
        except OSError as error:
            raise OutputError(f'{self._target}: cannot be written ({error.strerror})') from error

    def __enter__(self) -> '_Overlays':
        return self

    def __exit__(self, *error: object) -> None:
        self._release()
        self._path.unlink(missing_ok=True)

    def _release(self) -> None:
        if self._writer is not None:
            self._writer.release()
        self._writer = None
