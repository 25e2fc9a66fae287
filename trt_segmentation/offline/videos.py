# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A video through a network: a folder of PNGs for each output, and an MP4 of the overlays."""

import hashlib
import os
import shutil
import uuid
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from trt_segmentation.errors import ImageError, OutputError
from trt_segmentation.graph.pipeline.output_names import kind_of, split, with_kind
from trt_segmentation.images.atomic_files import check_utf8, make_folder, write_file, write_image
from trt_segmentation.images.render import blended
from trt_segmentation.images.sources import open_video
from trt_segmentation.offline.items import FRAME_NAME, Item
from trt_segmentation.offline.overlap import Lanes, read_ahead
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
    images = tuple(name for name in work.outputs if kind_of(name) != 'overlay')
    for name in images:
        make_folder(item.target(name))
    films = tuple(name for name in work.outputs if kind_of(name) == 'overlay')
    there = _frames_there(item, images, films, work.scratch)
    with open_video(item.path) as video:
        rate = video.get(cv2.CAP_PROP_FPS) or _RATE
        with ExitStack() as stack:
            overlays = [stack.enter_context(_Overlays(item, name, work.scratch, rate))
                        for name in films]
            count = _segment(work, segmenter, item, video, there, overlays)
            for film in overlays:
                film.finish(count)
        expected = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    if count < expected:
        return (f'{item.path}: {count} of the {expected} frames that its header states could be '
                'decoded',)
    return ()


def _segment(work: 'Work', segmenter: Segmenter, item: Item, video: cv2.VideoCapture, there: int,
             overlays: Sequence['_Overlays']) -> int:
    """Segment what is not there; return the number of frames."""
    count, waiting = 0, deque[Future[None]]()
    lanes = Lanes(segmenter, work.outputs, work.lanes)
    skipped = 0 if overlays else there
    try:
        with closing(read_ahead(_frames(video, skipped), _AHEAD)) as frames:
            for count, frame in enumerate(frames, 1):
                if frame is None:
                    continue
                if count <= there:
                    for film in overlays:
                        overlay = _painted(segmenter, item, film.name, count - 1, frame)
                        waiting.append(lanes.run_in_order(film.write, overlay))
                else:
                    waiting.append(lanes.segment(
                        frame, 'bgr', partial(_write, item, work.scratch, count - 1),
                        partial(_write_overlays, overlays) if overlays else None))
                while len(waiting) > work.lanes.lanes:
                    waiting.popleft().result()
        for written in waiting:
            written.result()
    finally:
        lanes.close()
    if count == 0:
        raise ImageError(f'{item.path}: not one frame can be decoded')
    return count


def _frames_there(item: Item, images: tuple[str, ...], films: tuple[str, ...], scratch: Path,
                  ) -> int:
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
    masks = [with_kind(name, 'mask') for name in films or images]
    if not set(masks) <= set(images):  # which overlays are painted from
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
        if kind_of(name) != 'overlay':
            write_image(item.target(name) / FRAME_NAME.format(index), array, scratch)


def _write_overlays(overlays: Sequence['_Overlays'], result: Segmentation) -> None:
    for film in overlays:
        film.write(result.arrays[film.name])


def _painted(segmenter: Segmenter, item: Item, name: str, index: int, frame: np.ndarray,
             ) -> np.ndarray:
    """The overlay of that name of a frame whose mask is there."""
    path = item.target(with_kind(name, 'mask')) / FRAME_NAME.format(index)
    mask = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    assert mask is not None, path
    palette = next(task.palette for task in segmenter.spec.tasks if task.name == split(name)[0])
    return blended(frame, mask, palette, segmenter.overlay_alpha)


class _Overlays:
    """An MP4 that is being encoded; nothing is left of one that is not finished.

    Attributes:
        name: of the output that it is made of.
    """

    def __init__(self, item: Item, name: str, scratch: Path, rate: float) -> None:
        self.name = name
        self._target = item.target(name)
        make_folder(self._target.parent)
        self._path = scratch / f'.{uuid.uuid4().hex}.mp4'
        self._file = check_utf8(self._path)
        self._rate = rate
        self._writer: cv2.VideoWriter | None = None

    def write(self, overlay: np.ndarray) -> None:
        """Add a frame: uint8 BGR [H, W, 3], all of one size."""
        if self._writer is None:
            height, width = overlay.shape[:2]
            self._writer = cv2.VideoWriter(self._file, cv2.VideoWriter.fourcc(*'mp4v'),
                                           self._rate, (width, height))
        self._writer.write(overlay)

    def finish(self, frames: int) -> None:
        """Put the file in its place, if all of its frames can be read.

        Raises:
            ImageError: they cannot.
            OutputError: the disk is full.
        """
        self._release()
        video = cv2.VideoCapture(self._file)
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
