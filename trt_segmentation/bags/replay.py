# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A rosbag through a network into a rosbag2; after an interrupt, it goes on where it was."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from trt_segmentation.bags.parts import (
    BagWork,
    Part,
    Report,
    plan,
    read_report,
    segment_part,
    segment_parts,
)
from trt_segmentation.bags.salvage import DamageError, read_mcap, salvage
from trt_segmentation.bags.writing import Header, OutputBag, tasks_of
from trt_segmentation.errors import ConfigError, ImageError, OutputError
from trt_segmentation.images.rosbag import DamagedBagError, ImageTopic
from trt_segmentation.images.sources import source_files
from trt_segmentation.offline.checkpoint import RunCheckpoint, open_checkpoint
from trt_segmentation.offline.workers import Workers, do_tasks, here

_SALVAGED, _DAMAGE = 'salvaged', 'damage.json'


@dataclass(frozen=True)
class Replayed:
    """What became of a rosbag.

    Attributes:
        topic: whose images were segmented.
        frames: how many.
        dropped: a sentence for each that could not be.
        damage: a sentence for each place where the bag could not be read on.
        runs_on: what the network ran on; several where processes differ.
    """

    topic: str
    frames: int
    dropped: Sequence[str]
    damage: Sequence[str]
    runs_on: Sequence[str]


def replay(work: BagWork, output: Path, settings: Mapping[str, Any], workers: Workers,
           progress: Callable[[int, int], None]) -> Replayed:
    """Segment an image topic of a rosbag into a new rosbag2 of one file.

    Its bytes do not depend on how many workers there are, nor on interrupts: the bag is cut into
    parts, whose frames are written in the order of the parts, into a file beside the output that
    becomes the output in the end.

    Args:
        work: what to do; its folder is made here, beside the output.
        output: file that ends in one of ``writing.STORAGES``.
        settings: all that the masks depend on, for JSON; parts made with others are refused.
        workers: who does it.
        progress: called with frames done and frames in all, for every finished part.

    Raises:
        ConfigError: the output is there already, or its parts were made with other settings.
        ImageError: there is not one image that can be segmented, or no such topic.
        OutputError: the output cannot be written.
        SegmentationError: the network cannot be opened or run, or a worker has died.
    """
    work = replace(work, folder=output.with_name(f'{output.name}.parts'))
    if output.exists() and not work.folder.is_dir():
        raise _is_there(output)
    settings = {'input': _described(work.bag), 'topic': work.topic, 'outputs': work.outputs,
                **settings}
    try:
        with open_checkpoint(work.folder) as run:
            return _replay(run, work, output, settings, workers, progress)
    except (OSError, sqlite3.Error) as error:  # as rosbags' writers word a full disk
        where = getattr(error, 'filename', None) or work.folder
        raise OutputError(f'{where}: {getattr(error, "strerror", error)}; once that is mended, '
                          'the same command goes on where this run was') from error


def _is_there(output: Path) -> ConfigError:
    return ConfigError(f'{output}: is there already; delete it or choose another --output')


def _replay(run: RunCheckpoint, work: BagWork, output: Path, settings: Mapping[str, Any],
            workers: Workers, progress: Callable[[int, int], None]) -> Replayed:
    run.check(settings)
    if finished := [entry for entry in run.entries if 'finished' in entry]:
        with suppress(FileNotFoundError):
            Path(finished[-1]['file']).rename(output)
        if output.exists():
            run.finish()
            return Replayed(**finished[-1]['finished'])
    if output.exists():
        raise _is_there(output)
    for left in work.folder.glob('unfinished_*'):
        shutil.rmtree(left)
    work, damage = _readable(work)
    with ImageTopic(work.bag, work.topic) as topic:
        work = replace(work, topic=topic.name)
        parts, total = plan(topic), topic.count
    if not parts:
        raise ImageError(f'{work.bag}, topic {work.topic}: holds no message')
    reports = _segment(run, work, parts, output, workers, partial(_progress, progress, total))
    done = _summed(work, reports, damage, total)
    if not done.frames:
        reason = (*done.dropped, *done.damage)[0]
        run.finish()
        raise ImageError(f'{work.bag}, topic {work.topic}: not one of {total} images could be '
                         f'segmented; the first: {reason}')
    file = _growing(work, output)[-1]
    if file.suffix != output.suffix:
        file = _converted(work, file, output)
    run.note(finished=asdict(done), file=str(file))
    file.rename(output)
    run.finish()
    return done


def _progress(progress: Callable[[int, int], None], total: int, reports: Sequence[Report],
              ) -> None:
    progress(sum(report.frames + len(report.dropped) for report in reports), total)


def _summed(work: BagWork, reports: Sequence[Report], damage: list[str], total: int) -> Replayed:
    dropped = [sentence for report in reports for sentence in report.dropped]
    damage = damage + [report.damage for report in reports if report.damage]
    frames = sum(report.frames for report in reports)
    if missing := total - frames - len(dropped):
        damage.append(f'{missing} of {total} messages of {work.topic} are not where the index '
                      'says')
    return Replayed(work.topic, frames, dropped, damage,
                    sorted({report.runs_on for report in reports if report.frames}))


def _described(bag: Path) -> list[Any]:
    stats = [(file, file.stat()) for file in source_files(bag)]
    return [str(bag), *([file.name, stat.st_size, stat.st_mtime_ns] for file, stat in stats)]


def _readable(work: BagWork) -> tuple[BagWork, list[str]]:
    """The work on the bag itself; or, where that is damaged, on a copy of what can be read."""
    copy = work.folder / _SALVAGED
    if not copy.is_dir():
        try:
            ImageTopic(work.bag, work.topic).close()
        except DamagedBagError as error:
            _copy(work, copy, str(error))
        else:
            return work, []
    told = json.loads((copy / _DAMAGE).read_text(encoding='utf-8'))
    return replace(work, bag=copy, topic=told['topic']), [told['damage']]


def _copy(work: BagWork, copy: Path, error: str) -> None:
    unfinished = work.folder / f'unfinished_{_SALVAGED}'
    salvaged = salvage(work.bag, work.topic, unfinished)
    told = {'topic': salvaged.topic,
            'damage': f'{error}; {salvaged.count} images up to the damage ({salvaged.damage})'}
    (unfinished / _DAMAGE).write_text(json.dumps(told), encoding='utf-8')
    unfinished.rename(copy)


def _segment(run: RunCheckpoint, work: BagWork, parts: Sequence[Part], output: Path,
             workers: Workers, progress: Callable[[Sequence[Report]], None]) -> list[Report]:
    """Write the frames of all parts into a bag that grows in their order."""
    with _Growing(run, work, parts, output) as growing:
        progress(growing.reports)
        rest = parts[len(growing.reports):]
        if workers.is_here:
            with here(workers):
                for _ in _segment_here(growing, work, rest):
                    progress(growing.reports)
        else:
            missing = [part for part in rest if not part.folder(work).is_dir()]
            growing.append_finished()
            for _ in do_tasks(partial(segment_part, work), missing, workers):
                growing.append_finished()
                progress(growing.reports)
    return growing.reports


def _segment_here(growing: '_Growing', work: BagWork, rest: Sequence[Part]) -> Iterator[None]:
    """Segment parts straight into the bag, but for those that are in folders already."""
    for is_there, group in groupby(rest, lambda part: part.folder(work).is_dir()):
        if is_there:
            growing.append_finished()
            yield
        else:
            for report in segment_parts(work, list(group), growing.write):
                growing.note(report)
                yield


def _growing(work: BagWork, output: Path) -> list[Path]:
    """The storage files that have grown, oldest first."""
    return [folder / output.stem / f'{output.stem}.mcap'
            for folder in sorted(work.folder.glob('output_*'))]


class _Growing:
    """The output while it is being written, always as .mcap, of which an interrupt leaves all
    but the end.

    Attributes:
        reports: of the parts that are in it, in their order.
    """

    def __init__(self, run: RunCheckpoint, work: BagWork, parts: Sequence[Part], output: Path,
                 ) -> None:
        self.reports: list[Report] = []
        self._run, self._work, self._parts = run, work, parts
        self._is_labelled = False
        before = _growing(work, output)
        number = int(before[-1].parts[-3].removeprefix('output_')) + 1 if before else 0
        folder = work.folder / f'output_{number:06d}'
        folder.mkdir()
        self._bag = OutputBag(folder / output.stem, '.mcap', work.outputs)
        # Where there are several, the newer ones are copies that were not completed.
        if before:
            self._copy(before[0])
        for file in before:
            shutil.rmtree(file.parents[1])

    def write(self, received: int, header: Header, arrays: Mapping[str, np.ndarray],
              report: Report) -> None:
        """Write a frame; see ``parts.Write``."""
        self._label(received, header, report)
        self._bag.write_images(received, header, arrays)

    def note(self, report: Report) -> None:
        """Remember that the next part is written."""
        self._run.note(part=report.values())
        self.reports.append(report)

    def append_finished(self) -> None:
        """Move the next parts in here, as far as other processes have finished them."""
        from rosbags.rosbag2 import Reader
        for part in self._parts[len(self.reports):]:
            folder = part.folder(self._work)
            if not folder.is_dir():
                return
            report = read_report(folder)
            with Reader(folder) as reader:
                for connection, received, data in reader.messages():
                    assert report.header is not None
                    self._label(received, report.header, report)
                    self._bag.write_serialized(connection.topic, received, data)
            self.note(report)
            shutil.rmtree(folder)

    def __enter__(self) -> '_Growing':
        return self

    def __exit__(self, *error: object) -> None:
        self._bag.__exit__(*error)

    def _label(self, received: int, header: Header, report: Report) -> None:
        if not self._is_labelled:
            for classes in report.classes:
                self._bag.write_labels(received, header, classes)
        self._is_labelled = True

    def _copy(self, file: Path) -> None:
        """Copy the parts that an interrupted run has written whole."""
        noted = {entry['part']['index']: Report.of(entry['part'])
                 for entry in self._run.entries if 'part' in entry}
        there = sum(1 for _ in _messages(file))
        wanted, labels = 0, len(tasks_of(self._work.outputs))
        for part in self._parts:
            if part.index not in noted:
                break
            messages = noted[part.index].frames * len(self._work.outputs)
            if wanted + messages and wanted + messages + labels > there:
                break
            wanted += messages
            self.reports.append(noted[part.index])
        self._is_labelled = wanted > 0
        for count, (topic, received, data) in enumerate(_messages(file)):
            if not wanted or count >= wanted + labels:
                return
            self._bag.write_serialized(topic, received, data)


def _messages(file: Path) -> Iterator[tuple[str, int, bytes]]:
    """The messages of a .mcap file up to where it ends: topic, received and data."""
    if file.is_file():
        with suppress(DamageError):
            for topic, _, received, data in read_mcap(file):
                yield topic, received, data


def _converted(work: BagWork, file: Path, output: Path) -> Path:
    """Copy the grown bag into one of the output's storage; return its file."""
    from rosbags.rosbag2 import Reader
    folder = work.folder / 'unfinished_converted'
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with Reader(file.parent) as reader, \
            OutputBag(folder / output.stem, output.suffix, work.outputs) as bag:
        for connection, received, data in reader.messages():
            bag.write_serialized(connection.topic, received, data)
    return bag.file
