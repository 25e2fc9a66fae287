# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation of a video into a folder of PNGs for each output and an MP4 of the overlays."""

import hashlib
import os
import shutil
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from trt_segmentation.errors import ImageError, OutputError
from trt_segmentation.graph.pipeline.output_names import kind_of, split, with_kind
from trt_segmentation.images.atomic_files import check_utf8, make_folder, write_file
from trt_segmentation.images.render import blended
from trt_segmentation.images.sources import open_video, video_frames
from trt_segmentation.offline.detections import Labels, labels_of, write_result
from trt_segmentation.offline.items import Item, file_suffix, frame_name
from trt_segmentation.offline.overlap import Lanes, read_ahead
from trt_segmentation.segmentation import Segmentation
from trt_segmentation.segmenter import Segmenter

if TYPE_CHECKING:
    from trt_segmentation.offline.files import Work

_AHEAD = 2
"""Frames that are decoded ahead of the segmentation."""

_RATE = 25.0
"""Frame rate in Hz for videos that do not state one."""

_Frame = tuple[int, 'np.ndarray | None']
"""Index and pixels of a frame; None if it is not decoded."""

_MIN_FREE = 1 << 20
"""Free bytes below which a full disk is reported as the cause of a failed video: OpenCV gives no
cause."""


def segment_video(work: 'Work', segmenter: Segmenter, item: Item) -> tuple[str, ...]:
    """Segment a video.

    Frames with existing results are not segmented again; their overlays are rendered from the
    masks. With temporal smoothing, which needs the frames before, and with overlays of half the
    size, whose pixels lie between those of the mask, the video starts again.

    Args:
        work: settings.
        segmenter: the network.
        item: the video.

    Returns:
        Warnings about the video.

    Raises:
        ImageError: the video cannot be decoded, or its overlays cannot be encoded.
        OutputError: a result cannot be written.
    """
    images = tuple(name for name in work.outputs if kind_of(name) != 'overlay')
    overlay_names = tuple(name for name in work.outputs if kind_of(name) == 'overlay')
    existing = _existing_frames(item, images, overlay_names, work.scratch)
    if work.lanes.in_order or (overlay_names and segmenter.spec.overlay_scale != 1):
        existing = 0
    segmenter.reset_smoothing()
    with open_video(item.path) as video:
        rate = video.get(cv2.CAP_PROP_FPS) or _RATE
        with ExitStack() as stack:
            overlays = [stack.enter_context(_Overlays(item, name, work.scratch, rate))
                        for name in overlay_names]
            count = _segment(work, segmenter, item, video, existing, images, overlays)
            for writer in overlays:
                writer.finish(count)
        expected = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    if count < expected:
        return (f'{item.path}: {count} of the {expected} frames that its header states could be '
                'decoded',)
    return ()


def _segment(work: 'Work', segmenter: Segmenter, item: Item, video: cv2.VideoCapture,
             existing: int, images: tuple[str, ...], overlays: Sequence['_Overlays']) -> int:
    """Segment the frames after the existing ones; return how many frames can be decoded."""
    count, waiting, labels = 0, deque[Future[None]](), labels_of(segmenter)
    lanes = Lanes(segmenter, work.outputs, work.lanes)
    skipped = 0 if overlays else existing
    try:
        found = video_frames(video, lambda index: index >= skipped)
        with closing(read_ahead(found, _AHEAD)) as decoded:
            frames = _with_a_frame(decoded, item)
            for name in images:
                make_folder(item.target(name))
            for index, frame in frames:
                count += 1
                if frame is None:
                    continue
                if index < existing:
                    for writer in overlays:
                        overlay = _overlay_from_mask(segmenter, item, writer.name, index, frame)
                        waiting.append(lanes.run_in_order(writer.write, overlay))
                else:
                    waiting.append(lanes.segment(
                        frame, 'bgr',
                        partial(_write, item, images, labels, work.scratch, index),
                        partial(_write_overlays, overlays) if overlays else None))
                while len(waiting) > work.lanes.lanes:
                    waiting.popleft().result()
        for written in waiting:
            written.result()
    finally:
        lanes.close()
    return count


def _existing_frames(item: Item, images: tuple[str, ...], overlays: tuple[str, ...],
                     scratch: Path) -> int:
    """Number of complete frames from the first one on that this run has written before an
    interrupt; frames of other runs are removed."""
    try:
        stat = item.path.stat()
    except OSError as error:
        raise ImageError(f'{item.path}: cannot be read ({error.strerror})') from error
    source = f'{stat.st_size} {stat.st_mtime_ns} {" ".join(images)}'
    name = hashlib.sha256(os.fsencode(item.results)).hexdigest()
    marker = scratch / f'part_{name}'
    if not marker.is_file() or marker.read_text(encoding='utf-8') != source:
        for output in images:
            for path in item.target(output).glob('[0-9]' * 6 + file_suffix(output)):
                path.unlink()
        write_file(marker, source.encode())
    masks = [with_kind(name, 'mask') for name in overlays or images]
    if not set(masks) <= set(images):  # overlays of existing frames need their masks
        return 0
    count = 0
    while all((item.target(each) / frame_name(each, count)).is_file() for each in images):
        count += 1
    return count


def _with_a_frame(frames: Iterator[_Frame], item: Item) -> Iterator[_Frame]:
    """Decode the first frame of a video, so that one without any leaves no folder; return all.

    Raises:
        ImageError: there is none.
    """
    for first in frames:
        return chain([first], frames)
    raise ImageError(f'{item.path}: no frame can be decoded')


def _write(item: Item, images: tuple[str, ...], labels: Labels, scratch: Path, index: int,
           result: Segmentation) -> None:
    for name in images:
        write_result(item.target(name) / frame_name(name, index), name, result.arrays[name],
                     labels, scratch)


def _write_overlays(overlays: Sequence['_Overlays'], result: Segmentation) -> None:
    for writer in overlays:
        writer.write(result.arrays[writer.name])


def _overlay_from_mask(segmenter: Segmenter, item: Item, name: str, index: int,
                       frame: np.ndarray) -> np.ndarray:
    """The overlay of a frame, rendered from its existing mask."""
    path = item.target(with_kind(name, 'mask')) / frame_name('mask', index)
    mask = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    assert mask is not None, path
    palette = next(task.palette for task in segmenter.spec.tasks if task.name == split(name)[0])
    return blended(frame, mask, palette, segmenter.overlay_alpha)


class _Overlays:
    """Writer of an MP4; an unfinished file is removed.

    Attributes:
        name: of the output that it encodes.
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
        """Add a frame, uint8 BGR [H, W, 3]; all frames have the same size."""
        if self._writer is None:
            height, width = overlay.shape[:2]
            self._writer = cv2.VideoWriter(self._file, cv2.VideoWriter.fourcc(*'mp4v'),
                                           self._rate, (width, height))
        self._writer.write(overlay)

    def finish(self, frames: int) -> None:
        """Move the file to its target if all frames can be read.

        Raises:
            ImageError: frames are missing in the file.
            OutputError: the disk is full.
        """
        self._release()
        video = cv2.VideoCapture(self._file)
        found = int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
        video.release()
        if found != frames:
            if shutil.disk_usage(self._path.parent).free < _MIN_FREE:
                raise OutputError(f'{self._target}: cannot be written (No space left on device)')
            raise ImageError(f'{self._target}: cannot be written: {found} of {frames} frames are '
                             'in it; check that OpenCV has an MPEG-4 encoder, or leave out the '
                             'overlays with --outputs mask')
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
