# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Images and videos through a network into PNGs and MP4s; an interrupted run goes on."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from trt_segmentation.errors import BackendError, ImageError, SegmentationError
from trt_segmentation.graph.pipeline.prepare import check_outputs
from trt_segmentation.images.atomic_files import make_folder, write_image
from trt_segmentation.images.sources import read_image
from trt_segmentation.offline import thread_segmenter
from trt_segmentation.offline.items import Item
from trt_segmentation.offline.overlap import LaneCount, Lanes, read_ahead
from trt_segmentation.segmenter import Segmentation, Segmenter

_AHEAD = 2
"""Images that are read before they are segmented."""

_MAX_FAILURES = 5
"""Files in a row that the backend fails on; with so many it is not the file's fault."""

_IMAGES_PER_TASK = 16
"""What one process loses at most when it is killed."""


@dataclass(frozen=True)
class Work:
    """What is done with every file; the same for all processes.

    Attributes:
        outputs: of ``Segmenter.infer``.
        scratch: folder for what is not complete yet, on the file system of the output.
        lanes: how many images one process has under way at the same time.
        open_segmenter: opens the network on a GPU; None for the one that the options name.
    """

    outputs: tuple[str, ...]
    scratch: Path
    lanes: LaneCount
    open_segmenter: Callable[[int | None], Segmenter]


@dataclass(frozen=True)
class Done:
    """What became of a file.

    Attributes:
        item: the file.
        failure: a sentence that says why it could not be segmented; ''.
        remarks: sentences that say what is unusual about it.
        runs_on: what the network ran on.
    """

    item: Item
    failure: str = ''
    remarks: tuple[str, ...] = ()
    runs_on: str = ''


def tasks(items: Sequence[Item]) -> list[list[Item]]:
    """Cut the work into tasks for several processes: one video, or some images."""
    images = [item for item in items if not item.is_video]
    return [[item] for item in items if item.is_video] + [
        images[start:start + _IMAGES_PER_TASK]
        for start in range(0, len(images), _IMAGES_PER_TASK)]


def opened(work: Work) -> Segmenter:
    """Return the network that this thread holds open for the work, opened first if need be.

    Raises:
        SegmentationError: it cannot be opened, or cannot give one of the outputs.
    """
    segmenter = thread_segmenter.segmenter(work.scratch, work.open_segmenter)
    check_outputs(segmenter.spec, work.outputs)
    return segmenter


def segment_task(work: Work, items: Sequence[Item]) -> list[Done]:
    """Segment files with the network that this thread holds open."""
    return list(segment_files(work, items))


def segment_files(work: Work, items: Sequence[Item]) -> Iterator[Done]:
    """Segment files with the network that this thread holds open; yield each when its results
    are written: images first.

    Raises:
        OutputError: a result cannot be written.
        BackendError: the network has failed on several files in a row.
        SegmentationError: the network cannot be opened, or cannot give one of the outputs.
    """
    segmenter = opened(work)
    runs_on, in_a_row = str(segmenter.info), 0
    for item, error, remarks in _segment(work, segmenter, items):
        in_a_row = in_a_row + 1 if isinstance(error, BackendError) else 0
        if error is not None and in_a_row >= _MAX_FAILURES:
            raise error
        yield Done(item, '' if error is None else str(error), remarks, runs_on)


_Result = tuple[Item, SegmentationError | None, tuple[str, ...]]
"""A file, why it could not be segmented, and remarks."""


def _segment(work: Work, segmenter: Segmenter, items: Sequence[Item]) -> Iterator[_Result]:
    yield from _segment_images(work, segmenter, [item for item in items if not item.is_video])
    for item in items:
        if item.is_video:
            from trt_segmentation.offline.videos import segment_video
            try:
                yield item, None, segment_video(work, segmenter, item)
            except (ImageError, BackendError) as error:
                yield item, error, ()


def _segment_images(work: Work, segmenter: Segmenter, items: Sequence[Item]) -> Iterator[_Result]:
    waiting = deque[tuple[Item, Future[None]]]()
    lanes = Lanes(segmenter, work.outputs, work.lanes)
    try:
        with closing(_read(items, segmenter.spec.gray_bits)) as images:
            for item, image in images:
                if isinstance(image, ImageError):
                    yield item, image, ()
                    continue
                waiting.append((item, lanes.segment(image, 'bgr', partial(_write, work, item))))
                while waiting and (len(waiting) > work.lanes.lanes or waiting[0][1].done()):
                    yield _written(*waiting.popleft())
        while waiting:
            yield _written(*waiting.popleft())
    finally:
        lanes.close()


def _written(item: Item, done: Future[None]) -> _Result:
    try:
        done.result()
    except (ImageError, BackendError) as error:
        return item, error, ()
    return item, None, ()


def _read(items: Sequence[Item], gray_bits: int) -> Generator[tuple[Item, Any], None, None]:
    """Items with their images, or with the ImageError that tells why there is none."""
    def read() -> Generator[tuple[Item, 'np.ndarray | ImageError'], None, None]:
        for item in items:
            try:
                yield item, read_image(item.path, gray_bits)
            except ImageError as error:
                yield item, error
    return read() if len(items) == 1 else read_ahead(read(), _AHEAD)


def _write(work: Work, item: Item, result: Segmentation) -> None:
    for name, array in result.arrays.items():
        target = item.target(name)
        make_folder(target.parent)
        write_image(target, array, work.scratch)
