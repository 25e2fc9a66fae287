# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation of a rosbag into a rosbag2, resumable after an interrupt."""

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
from trt_segmentation.images.rosbag import DamagedBagError, ImageTopic, sqlite3_fault
from trt_segmentation.images.sources import source_files
from trt_segmentation.offline.checkpoint import RunCheckpoint, open_checkpoint
from trt_segmentation.offline.workers import Workers, in_process, run_tasks

_SALVAGED, _DAMAGE = 'salvaged', 'damage.json'


@dataclass(frozen=True)
class ReplayResult:
    """The result of a rosbag.

    Attributes:
        topic: image topic that was segmented.
        frames: number of segmented frames.
        dropped: an error message for each frame that could not be segmented.
        damage: an error message for each place from which the bag could not be read further.
        runs_on: backend and device of the network; several if processes differ.
    """

    topic: str
    frames: int
    dropped: Sequence[str]
    damage: Sequence[str]
    runs_on: Sequence[str]


def replay(work: BagWork, output: Path, settings: Mapping[str, Any], workers: Workers,
           progress: Callable[[int, int], None]) -> ReplayResult:
    """Segment an image topic of a rosbag into a new rosbag2 of one file.

    Its bytes depend neither on the number of workers nor on interrupts: the bag is split into
    parts, whose frames are written in the order of the parts into a file beside the output. When
    it is complete, it is renamed to the output.

    Args:
        work: settings; its folder is set here, beside the output.
        output: file that ends in one of ``writing.STORAGES``.
        settings: everything that the masks depend on, for JSON; parts with others are refused.
        workers: processes that segment the parts.
        progress: called after every part with the numbers of processed and of all frames.

    Raises:
        ConfigError: the output already exists, rosbags cannot write a file with its name, or its
            parts have other settings.
        ImageError: no image can be segmented, or there is no such topic.
        OutputError: the output cannot be written.
        SegmentationError: the network cannot be opened or run, or a worker has died.
    """
    if fault := sqlite3_fault(output):
        raise ConfigError(fault)
    work = replace(work, folder=output.with_name(f'{output.name}.parts'))
    if output.exists() and not work.folder.is_dir():
        raise _exists(output)
    settings = {'input': _identity(work.bag), 'topic': work.topic, 'outputs': work.outputs,
                **settings}
    try:
        with open_checkpoint(work.folder) as run:
            return _replay(run, work, output, settings, workers, progress)
    except (OSError, sqlite3.Error) as error:  # rosbags' writers raise these on a full disk
        where = getattr(error, 'filename', None) or work.folder
        raise OutputError(f'{where}: {getattr(error, "strerror", error)}; when this is '
                          'fixed, the same command resumes this run') from error


def _exists(output: Path) -> ConfigError:
    return ConfigError(f'{output}: already exists; delete it or choose another --output')


def _replay(run: RunCheckpoint, work: BagWork, output: Path, settings: Mapping[str, Any],
            workers: Workers, progress: Callable[[int, int], None]) -> ReplayResult:
    run.check(settings)
    if finished := [entry for entry in run.entries if 'finished' in entry]:
        with suppress(FileNotFoundError):
            Path(finished[-1]['file']).rename(output)
        if output.exists():
            run.finish()
            return ReplayResult(**finished[-1]['finished'])
    if output.exists():
        raise _exists(output)
    for folder in work.folder.glob('unfinished_*'):
        shutil.rmtree(folder)
    work, damage = _readable(work)
    with ImageTopic(work.bag, work.topic) as topic:
        work = replace(work, topic=topic.name)
        parts, total = plan(topic), topic.count
    if not parts:
        raise ImageError(f'{work.bag}, topic {work.topic}: has no messages')
    reports = _segment(run, work, parts, output, workers, partial(_progress, progress, total))
    done = _combine(work, reports, damage, total)
    if not done.frames:
        reason = (*done.dropped, *done.damage)[0]
        run.finish()
        raise ImageError(f'{work.bag}, topic {work.topic}: none of {total} images could be '
                         f'segmented; first error: {reason}')
    file = _partial_files(work, output)[-1]
    if file.suffix != output.suffix:
        file = _convert(work, file, output)
    run.append(finished=asdict(done), file=str(file))
    file.rename(output)
    run.finish()
    return done


def _progress(progress: Callable[[int, int], None], total: int, reports: Sequence[Report],
              ) -> None:
    progress(sum(report.frames + len(report.dropped) for report in reports), total)


def _combine(work: BagWork, reports: Sequence[Report], damage: list[str], total: int,
             ) -> ReplayResult:
    dropped = [sentence for report in reports for sentence in report.dropped]
    damage = damage + [report.damage for report in reports if report.damage]
    frames = sum(report.frames for report in reports)
    if missing := total - frames - len(dropped):
        damage.append(f'{missing} of {total} messages of {work.topic} are in the index but '
                      'missing in the bag')
    return ReplayResult(work.topic, frames, dropped, damage,
                    sorted({report.runs_on for report in reports if report.frames}))


def _identity(bag: Path) -> list[Any]:
    stats = [(file, file.stat()) for file in source_files(bag)]
    return [str(bag), *([file.name, stat.st_size, stat.st_mtime_ns] for file, stat in stats)]


def _readable(work: BagWork) -> tuple[BagWork, list[str]]:
    """The work on the bag, or on a copy of its readable part if rosbags cannot open it; and the
    damage."""
    copy = work.folder / _SALVAGED
    if not copy.is_dir():
        try:
            ImageTopic(work.bag, work.topic).close()
        except DamagedBagError as error:
            _copy(work, copy, str(error))
        else:
            return work, []
    record = json.loads((copy / _DAMAGE).read_text(encoding='utf-8'))
    damage = [record['damage']] if record['damage'] else []
    return replace(work, bag=copy, topic=record['topic']), damage


def _copy(work: BagWork, copy: Path, error: str) -> None:
    unfinished = work.folder / f'unfinished_{_SALVAGED}'
    salvaged = salvage(work.bag, work.topic, unfinished)
    damage = f'{error}; {salvaged.count} images up to the damage ({salvaged.damage})' \
        if salvaged.damage else ''  # rosbags does not read it, but it is whole
    record = {'topic': salvaged.topic, 'damage': damage}
    (unfinished / _DAMAGE).write_text(json.dumps(record), encoding='utf-8')
    unfinished.rename(copy)


def _segment(run: RunCheckpoint, work: BagWork, parts: Sequence[Part], output: Path,
             workers: Workers, progress: Callable[[Sequence[Report]], None]) -> list[Report]:
    """Write the frames of all parts into one bag, in the order of the parts."""
    with _PartialOutput(run, work, parts, output) as bag:
        progress(bag.reports)
        rest = parts[len(bag.reports):]
        if workers.is_in_process:
            with in_process(workers):
                for _ in _segment_in_process(bag, work, rest):
                    progress(bag.reports)
        else:
            missing = [part for part in rest if not part.folder(work).is_dir()]
            bag.append_finished()
            for _ in run_tasks(partial(segment_part, work), missing, workers):
                bag.append_finished()
                progress(bag.reports)
    return bag.reports


def _segment_in_process(bag: '_PartialOutput', work: BagWork, rest: Sequence[Part],
                        ) -> Iterator[None]:
    """Segment parts directly into the bag; move those that are finished in folders."""
    # A list, since append_finished deletes the folders.
    runs = [(is_finished, list(group)) for is_finished, group in groupby(
        rest, lambda part: part.folder(work).is_dir())]
    for is_finished, group in runs:
        if is_finished:
            bag.append_finished()
            yield
        else:
            for report in segment_parts(work, group, bag.write):
                bag.add_report(report)
                yield


def _partial_files(work: BagWork, output: Path) -> list[Path]:
    """The storage files of partial outputs, oldest first."""
    return [folder / output.stem / f'{output.stem}.mcap'
            for folder in sorted(work.folder.glob('output_*'))]


class _PartialOutput:
    """The output while it is incomplete: an .mcap, which can be read up to the interrupt.

    Attributes:
        reports: of the parts in it, in their order.
    """

    def __init__(self, run: RunCheckpoint, work: BagWork, parts: Sequence[Part], output: Path,
                 ) -> None:
        self.reports: list[Report] = []
        self._run, self._work, self._parts = run, work, parts
        self._is_labelled = False
        before = _partial_files(work, output)
        number = int(before[-1].parts[-3].removeprefix('output_')) + 1 if before else 0
        folder = work.folder / f'output_{number:06d}'
        folder.mkdir()
        self._bag = OutputBag(folder / output.stem, '.mcap', work.outputs)
        # Of several, the newer ones are incomplete copies of the oldest. Temporal smoothing needs
        # the frames before, so it starts again.
        if before and not work.lanes.in_order:
            self._copy(before[0])
        for file in before:
            shutil.rmtree(file.parents[1])

    def write(self, received: int, header: Header, arrays: Mapping[str, np.ndarray],
              report: Report) -> None:
        """Write a frame; see ``parts.Write``."""
        self._label(received, header, report)
        self._bag.write_images(received, header, arrays)

    def add_report(self, report: Report) -> None:
        """Record that the next part is written."""
        self._run.append(part=report.values())
        self.reports.append(report)

    def append_finished(self) -> None:
        """Move the next parts that other processes have finished into the bag."""
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
            self.add_report(report)
            # Under its own name, a folder that is deleted in part would pass for a finished one.
            shutil.rmtree(folder.rename(folder.with_name(f'unfinished_{folder.name}')))

    def __enter__(self) -> '_PartialOutput':
        return self

    def __exit__(self, *error: object) -> None:
        self._bag.__exit__(*error)

    def _label(self, received: int, header: Header, report: Report) -> None:
        if not self._is_labelled:
            for classes in report.classes:
                self._bag.write_labels(received, header, classes)
        self._is_labelled = True

    def _copy(self, file: Path) -> None:
        """Copy the complete parts of an interrupted run."""
        recorded = {entry['part']['index']: Report.of(entry['part'])
                 for entry in self._run.entries if 'part' in entry}
        available = sum(1 for _ in _messages(file))
        wanted, labels = 0, len(tasks_of(self._work.outputs))
        for part in self._parts:
            if part.index not in recorded:
                break
            messages = recorded[part.index].frames * len(self._work.outputs)
            if wanted + messages and wanted + messages + labels > available:
                break
            wanted += messages
            self.reports.append(recorded[part.index])
        self._is_labelled = wanted > 0
        for count, (topic, received, data) in enumerate(_messages(file)):
            if not wanted or count >= wanted + labels:
                return
            self._bag.write_serialized(topic, received, data)


def _messages(file: Path) -> Iterator[tuple[str, int, bytes]]:
    """The readable messages of a .mcap file: topic, received and data."""
    if file.is_file():
        with suppress(DamageError):
            for topic, _, received, data in read_mcap(file):
                yield topic, received, data


def _convert(work: BagWork, file: Path, output: Path) -> Path:
    """Copy the bag into the storage format of the output; return its file."""
    from rosbags.rosbag2 import Reader
    folder = work.folder / 'unfinished_converted'
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with Reader(file.parent) as reader, \
            OutputBag(folder / output.stem, output.suffix, work.outputs) as bag:
        for connection, received, data in reader.messages():
            bag.write_serialized(connection.topic, received, data)
    return bag.file
