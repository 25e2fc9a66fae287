# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A rosbag cut into parts that any process can segment, in any order, any number of times."""

import json
import shutil
import threading
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from trt_segmentation.bags.reading import DamagedBagError, ImageTopic, Recorded
from trt_segmentation.bags.writing import Header, OutputBag
from trt_segmentation.errors import ImageError
from trt_segmentation.image_decoding import swap_red_and_blue
from trt_segmentation.segmenter import Segmenter

FRAMES_PER_PART = 25
"""On average. What one process loses when it is killed."""

_REPORT = 'report.json'


@dataclass(frozen=True)
class Work:
    """What is done with every part; the same for all processes.

    Attributes:
        bag: rosbag to read.
        topic: its image topic.
        folder: where finished parts go.
        outputs: of ``Segmenter.infer``.
        open_segmenter: opens the network on a GPU; None for the one that the options name.
    """

    bag: Path
    topic: str
    folder: Path
    outputs: tuple[str, ...]
    open_segmenter: Callable[[int | None], Segmenter]


@dataclass(frozen=True)
class Part:
    """Messages that were received from ``start`` on and before ``stop``, nanoseconds."""

    index: int
    start: int
    stop: int

    def folder(self, work: Work) -> Path:
        """Return where the part is once it is finished: a rosbag2 and a report."""
        return work.folder / f'part_{self.index:06d}'


@dataclass
class Report:
    """What became of a part.

    Attributes:
        frames: how many were segmented.
        dropped: a sentence for each that could not be.
        damage: a sentence where the bag could not be read on; ''.
        runs_on: what the network ran on.
        labels, threshold: of the network.
        header: of the first mask; None without one.
    """

    frames: int = 0
    dropped: list[str] = field(default_factory=list)
    damage: str = ''
    runs_on: str = ''
    labels: tuple[str, ...] = ()
    threshold: float = 0.0
    header: Header | None = None

    @classmethod
    def read(cls, folder: Path) -> 'Report':
        """Read the report of a finished part."""
        report = cls(**json.loads((folder / _REPORT).read_text(encoding='utf-8')))
        report.labels = tuple(report.labels)
        report.header = Header(**report.header) if report.header else None  # type: ignore
        return report

    def write(self, folder: Path) -> None:
        """Write it beside the part's bag."""
        (folder / _REPORT).write_text(json.dumps(asdict(self)), encoding='utf-8')


def plan(topic: ImageTopic) -> list[Part]:
    """Cut a topic into parts of equal time: unlike equal counts, that needs no look at the
    messages, and a part is found without reading those before it."""
    count = -(-topic.count // FRAMES_PER_PART)
    span = topic.stop - topic.start
    edges = [topic.start + span * index // count for index in range(count + 1)] if count else []
    return [Part(index, *edge) for index, edge in enumerate(pairwise(edges))]


def segment_part(work: Work, part: Part) -> Report:
    """Segment a part, unless that is done; it is there as a whole or not at all.

    Raises:
        SegmentationError: the network cannot be opened or run.
    """
    folder = part.folder(work)
    if folder.is_dir():
        return Report.read(folder)
    topic, segmenter = _mine.topic(work), _mine.segmenter(work)
    report = Report(runs_on=str(segmenter.info), labels=segmenter.spec.labels,
                    threshold=segmenter.spec.threshold)
    unfinished = work.folder / f'unfinished_{uuid.uuid4().hex}'  # perhaps two do the same part
    try:
        with OutputBag(unfinished, '.mcap', work.outputs) as bag:
            try:
                for recorded in topic.messages(part.start, part.stop):
                    _segment(topic, segmenter, work.outputs, recorded, bag, report)
            except DamagedBagError as error:
                report.damage = str(error)
        report.write(unfinished)
        _rename(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return report


def release() -> None:
    """Close what this thread holds open for the next part."""
    _mine.close()


def use_device(device: int | None) -> None:
    """Run this process's networks on a GPU."""
    _Mine.device = device


def _segment(topic: ImageTopic, segmenter: Segmenter, outputs: tuple[str, ...],
             recorded: Recorded, bag: OutputBag, report: Report) -> None:
    try:
        told, pixels, color = topic.decode(recorded)
        arrays = segmenter.infer(pixels, color=color, outputs=outputs).arrays
    except ImageError as error:
        seconds, nanoseconds = divmod(recorded.received, 10 ** 9)
        report.dropped.append(f'received at {seconds}.{nanoseconds:09d}: {error}')
        return
    header = Header(told.stamp.sec, told.stamp.nanosec, told.frame_id)
    for name in outputs:
        bag.write_image(name, recorded.received, header, _in_bgr(arrays[name], color))
    report.header = report.header or header
    report.frames += 1


def _in_bgr(array: np.ndarray, color: str) -> np.ndarray:
    if array.ndim == 3 and color == 'rgb':
        swap_red_and_blue(array)
    return array


def _rename(unfinished: Path, folder: Path) -> None:
    try:
        unfinished.rename(folder)
    except OSError:
        if not folder.is_dir():  # another process was faster: its part has the same content
            raise


class _Mine(threading.local):
    """What a thread keeps open from one part to the next."""

    device: int | None = None

    def __init__(self) -> None:
        self._topic: ImageTopic | None = None
        self._segmenter: Segmenter | None = None
        self._work: Work | None = None

    def topic(self, work: Work) -> ImageTopic:
        self._begin(work)
        if self._topic is None:
            self._topic = ImageTopic(work.bag, work.topic)
        return self._topic

    def segmenter(self, work: Work) -> Segmenter:
        self._begin(work)
        if self._segmenter is None:
            self._segmenter = work.open_segmenter(self.device)
        return self._segmenter

    def close(self) -> None:
        for held in (self._topic, self._segmenter):
            if held is not None:
                held.close()
        self._topic = self._segmenter = self._work = None

    def _begin(self, work: Work) -> None:
        """Let go of what other work has left: its folder tells works apart."""
        if self._work is not None and self._work.folder != work.folder:
            self.close()
        self._work = work


_mine = _Mine()
