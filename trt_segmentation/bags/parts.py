# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Parts of a rosbag, which several processes can segment independently and in any order."""

import json
import shutil
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from trt_segmentation.bags.writing import Classes, Header, OutputBag, tasks_of
from trt_segmentation.errors import ImageError
from trt_segmentation.gpu_encodings import GpuEncodings
from trt_segmentation.graph.pipeline.prepare import check_outputs
from trt_segmentation.images.decoding import ImageDecoder, swap_red_and_blue
from trt_segmentation.images.gaps import GapDetector
from trt_segmentation.images.rosbag import DamagedBagError, ImageTopic
from trt_segmentation.offline import thread_segmenter
from trt_segmentation.offline.overlap import LaneCount, Lanes, read_ahead
from trt_segmentation.segmentation import Segmentation
from trt_segmentation.segmenter import Segmenter

FRAMES_PER_PART = 25
"""Mean number of frames in a part; a process that is killed loses about one part."""

_AHEAD = 2
"""Messages that are read ahead of the segmentation."""

_REPORT = 'report.json'


@dataclass(frozen=True)
class BagWork:
    """Settings of the segmentation of every part; the same for all processes.

    Attributes:
        bag: rosbag to read.
        topic: its image topic.
        folder: for finished parts.
        outputs: of ``Segmenter.infer``.
        lanes: how many frames one process segments at the same time.
        open_segmenter: opens the network on a GPU; None for the one that the options name.
    """

    bag: Path
    topic: str
    folder: Path
    outputs: tuple[str, ...]
    lanes: LaneCount
    open_segmenter: Callable[[int | None], Segmenter]


@dataclass(frozen=True)
class Part:
    """The messages received in start <= time < stop, nanoseconds."""

    index: int
    start: int
    stop: int

    def folder(self, work: BagWork) -> Path:
        """Return the folder of the part if another process segments it: a rosbag2 and a report."""
        return work.folder / f'part_{self.index:06d}'


@dataclass
class Report:
    """The result of a part.

    Attributes:
        index: of the part.
        frames: number of segmented frames.
        dropped: an error message for each frame that could not be segmented.
        damage: error message if the bag could not be read to the end of the part; else ''.
        runs_on: backend and device of the network.
        classes: of the tasks of the outputs.
        header: of the first mask; None without one.
    """

    index: int
    frames: int = 0
    dropped: list[str] = field(default_factory=list)
    damage: str = ''
    runs_on: str = ''
    classes: tuple[Classes, ...] = ()
    header: Header | None = None

    @classmethod
    def of(cls, values: dict[str, Any]) -> 'Report':
        """Return the report with these ``values()``, read from JSON."""
        report = cls(**values)
        report.classes = tuple(
            Classes(each['task'], tuple(each['labels']), each['threshold'])
            for each in values['classes'])
        report.header = Header(**report.header) if report.header else None  # type: ignore
        return report

    def values(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return asdict(self)


def plan(topic: ImageTopic) -> list[Part]:
    """Split a topic into parts of equal duration.

    Unlike parts with equal counts, these need no reading of the messages.
    """
    count = -(-topic.count // FRAMES_PER_PART)
    span = topic.stop - topic.start
    edges = [topic.start + span * index // count for index in range(count + 1)] if count else []
    return [Part(index, *edge) for index, edge in enumerate(pairwise(edges))]


def segment_part(work: BagWork, part: Part) -> Report:
    """Segment a part into its folder, which appears only when it is complete.

    Raises:
        SegmentationError: the network cannot be opened or run.
    """
    unfinished = work.folder / f'unfinished_{uuid.uuid4().hex}'  # two processes may have this part
    try:
        with OutputBag(unfinished, '.mcap', work.outputs) as bag:
            report, = segment_parts(work, [part], bag.write_images)
        text = json.dumps(report.values())
        (unfinished / _REPORT).write_text(text, encoding='utf-8')
        _rename(unfinished, part.folder(work))
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return report


def read_report(folder: Path) -> Report:
    """Read the report of a part that ``segment_part`` has finished."""
    return Report.of(json.loads((folder / _REPORT).read_text(encoding='utf-8')))


Write = Callable[[int, Header, Mapping[str, np.ndarray], Report], None]
"""Called with the time of reception in nanoseconds, the header, the outputs by name (BGR), and the
report of the part so far; the arrays are valid until it returns."""


def segment_parts(work: BagWork, parts: Sequence[Part], write: Write) -> Iterator[Report]:
    """Segment parts one after the other; yield the report of each when its frames are written.

    Args:
        work: settings; the segmenter is this thread's open one.
        parts: in the order of time.
        write: called for each frame, in order, in another thread.

    Raises:
        SegmentationError: the network cannot be opened or run.
    """
    segmenter = thread_segmenter.segmenter(work.folder, work.open_segmenter)
    check_outputs(segmenter.spec, work.outputs)
    classes = tuple(Classes(task.name, task.labels, task.threshold)
                    for task in segmenter.spec.tasks if task.name in tasks_of(work.outputs))
    lanes = Lanes(segmenter, work.outputs, work.lanes)
    waiting, gaps = deque[Future[Report | None]](), GapDetector()
    try:
        frames_read = _read(work, parts, segmenter, lanes.encodings)
        with closing(read_ahead(frames_read, _AHEAD)) as frames:
            for frame in frames:
                waiting.append(_start(frame, segmenter, classes, lanes, write, gaps))
                while len(waiting) > work.lanes.lanes:
                    yield from _finished(waiting.popleft())
        for done in waiting:
            yield from _finished(done)
    finally:
        lanes.close()


def _finished(done: 'Future[Report | None]') -> Iterator[Report]:
    report = done.result()
    if report is not None:
        yield report


@dataclass(frozen=True)
class _Frame:
    """A message that was read, or the end of its part.

    Attributes:
        report: of its part.
        received: time of recording, nanoseconds.
        header: of the message; None at the end of the part.
        pixels, color, encoding: of ``Segmenter.infer``.
        error: set if it cannot be decoded.
    """

    report: Report
    received: int = 0
    header: Any = None
    pixels: np.ndarray | None = None
    color: str = ''
    encoding: str = ''
    error: ImageError | None = None


def _read(work: BagWork, parts: Sequence[Part], segmenter: Segmenter, encodings: GpuEncodings,
          ) -> Generator[_Frame, None, None]:
    """Read parts, in one thread, because an SQLite connection belongs to its thread."""
    # A decoder reuses its buffer for its next frame. Frames in use are one here, those in the
    # queue, one that the consumer takes from it, and those in the lanes.
    decoders = cycle([ImageDecoder(segmenter.jpeg_decoder())
                      for _ in range(1 + _AHEAD + 1 + work.lanes.images)])
    bits = segmenter.spec.gray_bits
    with ImageTopic(work.bag, work.topic) as topic:
        for part in parts:
            report = Report(part.index)
            try:
                for recorded in topic.messages(part.start, part.stop):
                    try:
                        message = topic.message(recorded)
                        yield _Frame(report, recorded.received, message.header,
                                     *_decoded(message, next(decoders), encodings, bits))
                    except ImageError as error:
                        yield _Frame(report, recorded.received, error=error)
            except DamagedBagError as error:
                report.damage = str(error)
            yield _Frame(report)


def _decoded(message: Any, decoder: ImageDecoder, encodings: GpuEncodings, gray_bits: int,
             ) -> tuple[np.ndarray, str, str]:
    """Return what ``Segmenter.infer`` gets of a message: image, color and encoding."""
    encoding = getattr(message, 'encoding', '')  # a CompressedImage has none
    if encodings.takes(encoding):
        return decoder.read_rows(message), 'bgr', encoding
    return (*decoder.read(message, gray_bits), '')


def _start(frame: _Frame, segmenter: Segmenter, classes: tuple[Classes, ...], lanes: Lanes,
           write: Write, gaps: GapDetector) -> 'Future[Report | None]':
    """Start a frame; at the end of a part, return its report after all frames before it."""
    report = frame.report
    report.runs_on, report.classes = str(segmenter.info), classes
    if frame.error is not None:
        return lanes.run_in_order(_drop, frame, frame.error)
    if frame.pixels is None:
        return lanes.run_in_order(lambda: report)
    stamp = frame.header.stamp
    return lanes.segment(frame.pixels, frame.color, write_in_order=partial(_write, write, frame),
                         refuse_in_order=partial(_drop, frame), encoding=frame.encoding,
                         restart=gaps.is_gap(stamp.sec * 10 ** 9 + stamp.nanosec))


def _drop(frame: _Frame, error: ImageError) -> None:
    seconds, nanoseconds = divmod(frame.received, 10 ** 9)
    frame.report.dropped.append(f'received at {seconds}.{nanoseconds:09d}: {error}')


def _write(write: Write, frame: _Frame, result: Segmentation) -> None:
    for array in result.arrays.values():
        if array.ndim == 3 and frame.color == 'rgb':
            swap_red_and_blue(array)
    report, stamp = frame.report, frame.header.stamp
    header = Header(stamp.sec, stamp.nanosec, frame.header.frame_id)
    write(frame.received, header, result.arrays, report)
    report.header = report.header or header
    report.frames += 1


def _rename(unfinished: Path, folder: Path) -> None:
    try:
        unfinished.rename(folder)
    except OSError:
        if not folder.is_dir():  # another process has finished the same part first
            raise
