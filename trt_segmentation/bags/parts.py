# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A rosbag cut into parts that any process can segment, in any order, any number of times."""

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
from trt_segmentation.graph.pipeline.prepare import check_outputs
from trt_segmentation.images.decoding import ImageDecoder, swap_red_and_blue
from trt_segmentation.images.rosbag import DamagedBagError, ImageTopic
from trt_segmentation.offline import thread_segmenter
from trt_segmentation.offline.overlap import LaneCount, Lanes, read_ahead
from trt_segmentation.segmenter import Segmentation, Segmenter

FRAMES_PER_PART = 25
"""On average. What one process loses when it is killed."""

_AHEAD = 2
"""Messages that are read before they are segmented."""

_REPORT = 'report.json'


@dataclass(frozen=True)
class BagWork:
    """What is done with every part; the same for all processes.

    Attributes:
        bag: rosbag to read.
        topic: its image topic.
        folder: where finished parts go.
        outputs: of ``Segmenter.infer``.
        lanes: how many frames one process has under way at the same time.
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
    """Messages that were received from ``start`` on and before ``stop``, nanoseconds."""

    index: int
    start: int
    stop: int

    def folder(self, work: BagWork) -> Path:
        """Return where another process leaves the finished part: a rosbag2 and a report."""
        return work.folder / f'part_{self.index:06d}'


@dataclass
class Report:
    """What became of a part.

    Attributes:
        index: of the part.
        frames: how many were segmented.
        dropped: a sentence for each that could not be.
        damage: a sentence where the bag could not be read on; ''.
        runs_on: what the network ran on.
        classes: of the tasks that outputs are of.
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
        """Return the report that ``values`` has made JSON of."""
        report = cls(**values)
        report.classes = tuple(
            Classes(each['task'], tuple(each['labels']), each['threshold'])
            for each in values['classes'])
        report.header = Header(**report.header) if report.header else None  # type: ignore
        return report

    def values(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def plan(topic: ImageTopic) -> list[Part]:
    """Cut a topic into parts of equal time: unlike equal counts, that needs no look at the
    messages, and a part is found without reading those before it."""
    count = -(-topic.count // FRAMES_PER_PART)
    span = topic.stop - topic.start
    edges = [topic.start + span * index // count for index in range(count + 1)] if count else []
    return [Part(index, *edge) for index, edge in enumerate(pairwise(edges))]


def segment_part(work: BagWork, part: Part) -> Report:
    """Segment a part into a folder of its own, which is there as a whole or not at all.

    Raises:
        SegmentationError: the network cannot be opened or run.
    """
    unfinished = work.folder / f'unfinished_{uuid.uuid4().hex}'  # perhaps two do the same part
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
"""Takes when an image was received, its header, the outputs by name (BGR), and its part's report
so far; the arrays are good until it returns."""


def segment_parts(work: BagWork, parts: Sequence[Part], write: Write) -> Iterator[Report]:
    """Segment parts one after the other; yield the report of each when its frames are written.

    Args:
        work: what is done; the network is the one that this thread holds open.
        parts: in the order of their time.
        write: called for each frame, in order, in another thread.

    Raises:
        SegmentationError: the network cannot be opened or run.
    """
    segmenter = thread_segmenter.segmenter(work.folder, work.open_segmenter)
    check_outputs(segmenter.spec, work.outputs)
    classes = tuple(Classes(task.name, task.labels, task.threshold)
                    for task in segmenter.spec.tasks if task.name in tasks_of(work.outputs))
    lanes = Lanes(segmenter, work.outputs, work.lanes)
    waiting = deque[Future[Report | None]]()
    try:
        frames_read = _read(work, parts, segmenter.spec.gray_bits)
        with closing(read_ahead(frames_read, _AHEAD)) as frames:
            for frame in frames:
                waiting.append(_begun(frame, segmenter, classes, lanes, write))
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
        received: when it was recorded, nanoseconds.
        header: the message's; None at the end of the part.
        pixels: of ``ImageDecoder.read``.
        color: channel order of the pixels.
        error: why it cannot be decoded.
    """

    report: Report
    received: int = 0
    header: Any = None
    pixels: np.ndarray | None = None
    color: str = ''
    error: ImageError | None = None


def _read(work: BagWork, parts: Sequence[Part], gray_bits: int) -> Generator[_Frame, None, None]:
    """Read parts, in one thread: SQLite's connections stay with theirs."""
    # What a decoder has converted is its own memory until its next frame. There are frames here,
    # in the queue, in the hands of who takes them out, and in the lanes.
    decoders = cycle([ImageDecoder() for _ in range(1 + _AHEAD + 1 + work.lanes.images)])
    with ImageTopic(work.bag, work.topic) as topic:
        for part in parts:
            report = Report(part.index)
            try:
                for recorded in topic.messages(part.start, part.stop):
                    try:
                        yield _Frame(report, recorded.received,
                                     *topic.decode(recorded, next(decoders), gray_bits))
                    except ImageError as error:
                        yield _Frame(report, recorded.received, error=error)
            except DamagedBagError as error:
                report.damage = str(error)
            yield _Frame(report)


def _begun(frame: _Frame, segmenter: Segmenter, classes: tuple[Classes, ...], lanes: Lanes,
           write: Write) -> 'Future[Report | None]':
    """Begin with a frame; at the end of a part, its report comes after all that went before."""
    report = frame.report
    report.runs_on, report.classes = str(segmenter.info), classes
    if frame.error is not None:
        return lanes.run_in_order(_drop, frame, frame.error)
    if frame.pixels is None:
        return lanes.run_in_order(lambda: report)
    return lanes.segment(frame.pixels, frame.color, write_in_order=partial(_write, write, frame),
                         refuse_in_order=partial(_drop, frame))


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
        if not folder.is_dir():  # another process was faster: its part has the same content
            raise
