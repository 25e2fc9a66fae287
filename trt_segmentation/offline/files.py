# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation of image and video files into PNGs and MP4s, resumable after an interrupt."""

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
from trt_segmentation.images.atomic_files import make_folder
from trt_segmentation.images.sources import read_image
from trt_segmentation.offline import thread_segmenter
from trt_segmentation.offline.detections import Labels, labels_of, write_result
from trt_segmentation.offline.items import Item
from trt_segmentation.offline.overlap import LaneCount, Lanes, read_ahead
from trt_segmentation.segmentation import Segmentation
from trt_segmentation.segmenter import Segmenter

_AHEAD = 2
"""Images that are read ahead of the segmentation."""

_MAX_FAILURES = 5
"""Consecutive files that the backend fails on before the run stops: the files are then not the
cause."""

_IMAGES_PER_TASK = 16
"""Images that a process that is killed loses at most."""


@dataclass(frozen=True)
class Work:
    """Settings of the segmentation of every file; the same for all processes.

    Attributes:
        outputs: of ``Segmenter.infer``.
        scratch: folder for incomplete files, on the file system of the output.
        lanes: how many images one process segments at the same time.
        open_segmenter: opens the network on a GPU; None for the one that the options name.
    """

    outputs: tuple[str, ...]
    scratch: Path
    lanes: LaneCount
    open_segmenter: Callable[[int | None], Segmenter]


@dataclass(frozen=True)
class Done:
    """The outcome of one file.

    Attributes:
        item: the file.
        failure: message that explains why it could not be segmented; '' if it was.
        remarks: warnings about it.
        runs_on: backend and device of the network.
    """

    item: Item
    failure: str = ''
    remarks: tuple[str, ...] = ()
    runs_on: str = ''


def tasks(items: Sequence[Item]) -> list[list[Item]]:
    """Split the work into tasks for several processes: one video, or several images."""
    images = [item for item in items if not item.is_video]
    return [[item] for item in items if item.is_video] + [
        images[start:start + _IMAGES_PER_TASK]
        for start in range(0, len(images), _IMAGES_PER_TASK)]


def segmenter_for(work: Work) -> Segmenter:
    """Return this thread's open segmenter for the work; open it on the first call.

    Raises:
        SegmentationError: it cannot be opened, or cannot give one of the outputs.
    """
    segmenter = thread_segmenter.segmenter(work.scratch, work.open_segmenter)
    check_outputs(segmenter.spec, work.outputs)
    return segmenter


def segment_task(work: Work, items: Sequence[Item]) -> list[Done]:
    """Segment files with this thread's open segmenter."""
    return list(segment_files(work, items))


def segment_files(work: Work, items: Sequence[Item]) -> Iterator[Done]:
    """Segment files with this thread's open segmenter, images first; yield each when its results
    are written.

    Raises:
        OutputError: a result cannot be written.
        BackendError: the backend has failed on several files in a row.
        SegmentationError: the network cannot be opened, or cannot give one of the outputs.
    """
    segmenter = segmenter_for(work)
    runs_on, failures = str(segmenter.info), 0
    for item, error, remarks in _segment(work, segmenter, items):
        failures = failures + 1 if isinstance(error, BackendError) else 0
        if error is not None and failures >= _MAX_FAILURES:
            raise error
        yield Done(item, '' if error is None else str(error), remarks, runs_on)


_Result = tuple[Item, SegmentationError | None, tuple[str, ...]]
"""A file, the error if it could not be segmented, and warnings."""


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
    lanes, labels = Lanes(segmenter, work.outputs, work.lanes), labels_of(segmenter)
    try:
        with closing(_read(items, segmenter)) as images:
            for item, image in images:
                if isinstance(image, ImageError):
                    yield item, image, ()
                    continue
                write = partial(_write, work, item, labels)
                waiting.append((item, lanes.segment(image, 'bgr', write)))
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


def _read(items: Sequence[Item], segmenter: Segmenter) -> Generator[tuple[Item, Any], None, None]:
    """Items with their images, or with the ImageError of an image that cannot be read."""
    decode_jpeg = segmenter.jpeg_decoder(reuse=False)  # several images are read ahead

    def read() -> Generator[tuple[Item, 'np.ndarray | ImageError'], None, None]:
        for item in items:
            try:
                yield item, read_image(item.path, segmenter.spec.gray_bits, decode_jpeg)
            except ImageError as error:
                yield item, error
    return read() if len(items) == 1 else read_ahead(read(), _AHEAD)


def _write(work: Work, item: Item, labels: Labels, result: Segmentation) -> None:
    for name, array in result.arrays.items():
        target = item.target(name)
        make_folder(target.parent)
        write_result(target, name, array, labels, work.scratch)
