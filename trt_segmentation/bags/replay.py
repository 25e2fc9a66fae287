# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A rosbag through a network into a rosbag2; after an interrupt, it goes on where it was."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from trt_segmentation.bags.parts import Part, Report, Work, plan
from trt_segmentation.bags.reading import DamagedBagError, ImageTopic
from trt_segmentation.bags.salvage import salvage
from trt_segmentation.bags.workers import Workers, segment_parts
from trt_segmentation.bags.writing import OutputBag
from trt_segmentation.errors import ConfigError, ImageError
from trt_segmentation.image_source import source_files

_MANIFEST, _SALVAGED, _DAMAGE = 'manifest.json', 'salvaged', 'damage.json'


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


def replay(work: Work, output: Path, settings: Mapping[str, Any], workers: Workers,
           progress: Callable[[int, int], None]) -> Replayed:
    """Segment an image topic of a rosbag into a new rosbag2 of one file.

    Its bytes do not depend on how many workers there are, nor on interrupts: the bag is cut into
    parts, finished parts are kept beside the output, and the output is put together from them.

    Args:
        work: what to do; its folder is made here, beside the output.
        output: file that ends in one of ``writing.STORAGES``.
        settings: all that the masks depend on, for JSON; parts made with others are refused.
        workers: who does it.
        progress: called with frames done and frames in all, for every finished part.

    Raises:
        ConfigError: the output is there already, or its parts were made with other settings.
        ImageError: there is not one image that can be segmented, or no such topic.
        SegmentationError: the network cannot be opened or run, or a worker has died.
    """
    if output.exists():
        raise ConfigError(f'{output}: is there already; delete it or choose another --output')
    work = replace(work, folder=output.with_name(f'{output.name}.parts'))
    settings = {'input': _described(work.bag), 'topic': work.topic, 'outputs': work.outputs,
                **settings}
    try:
        work.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(work.folder / 'lock', timeout=0):
            return _replay(work, output, settings, workers, progress)
    except Timeout as error:
        raise ConfigError(f'{work.folder}: another process is at work there; wait for it or '
                          'choose another --output') from error
    except (OSError, sqlite3.Error) as error:  # as rosbags' writers word a full disk
        where = getattr(error, 'filename', None) or work.folder
        raise ConfigError(f'{where}: {getattr(error, "strerror", error)}; once that is mended, '
                          'the same command goes on where this run was') from error


def _replay(work: Work, output: Path, settings: Mapping[str, Any], workers: Workers,
            progress: Callable[[int, int], None]) -> Replayed:
    _check_manifest(work.folder / _MANIFEST, settings)
    for left in work.folder.glob('unfinished_*'):
        shutil.rmtree(left)
    work, damage = _readable(work)
    with ImageTopic(work.bag, work.topic) as topic:
        work = replace(work, topic=topic.name)
        parts, total = plan(topic), topic.count
    if not parts:
        raise ImageError(f'{work.bag}, topic {work.topic}: holds no message')
    done = 0
    progress(done, total)
    for report in segment_parts(work, parts, workers):
        done += report.frames + len(report.dropped)
        progress(done, total)
    reports = [Report.read(part.folder(work)) for part in parts]
    dropped = [sentence for report in reports for sentence in report.dropped]
    damage += [report.damage for report in reports if report.damage]
    frames = sum(report.frames for report in reports)
    if missing := total - frames - len(dropped):
        damage.append(f'{missing} of {total} messages of {work.topic} are not where the index '
                      'says')
    if not frames:
        reason = (dropped or damage)[0]
        raise ImageError(f'{work.bag}, topic {work.topic}: not one of {total} images could be '
                         f'segmented; the first: {reason}')
    _merge(work, parts, reports, output)
    shutil.rmtree(work.folder)
    return Replayed(work.topic, frames, dropped, damage,
                    sorted({report.runs_on for report in reports if report.frames}))


def _described(bag: Path) -> list[Any]:
    stats = [(file, file.stat()) for file in source_files(bag)]
    return [str(bag), *([file.name, stat.st_size, stat.st_mtime_ns] for file, stat in stats)]


def _check_manifest(path: Path, settings: Mapping[str, Any]) -> None:
    settings = json.loads(json.dumps(settings, default=str))
    if not path.is_file():
        unfinished = path.with_suffix('.unfinished')
        unfinished.write_text(json.dumps(settings, indent=1) + '\n', encoding='utf-8')
        unfinished.rename(path)
        return
    try:
        begun = json.loads(path.read_text(encoding='utf-8'))
    except ValueError:
        begun = {}
    for key in (*settings, *begun):
        if begun.get(key) != settings.get(key):
            raise ConfigError(f'{path.parent}: was begun with {key} {begun.get(key)!r}, now it is '
                              f'{settings.get(key)!r}; delete this folder to begin anew, or '
                              'choose another --output')


def _readable(work: Work) -> tuple[Work, list[str]]:
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


def _copy(work: Work, copy: Path, error: str) -> None:
    unfinished = work.folder / f'unfinished_{_SALVAGED}'
    salvaged = salvage(work.bag, work.topic, unfinished)
    told = {'topic': salvaged.topic,
            'damage': f'{error}; {salvaged.count} images up to the damage ({salvaged.damage})'}
    (unfinished / _DAMAGE).write_text(json.dumps(told), encoding='utf-8')
    unfinished.rename(copy)


def _merge(work: Work, parts: Sequence[Part], reports: Sequence[Report], output: Path) -> None:
    """Put the output together from the finished parts."""
    from rosbags.rosbag2 import Reader
    unfinished = work.folder / 'unfinished_output'
    unfinished.mkdir()
    first = next(report for report in reports if report.header)
    with OutputBag(unfinished / output.stem, output.suffix, work.outputs) as bag:
        labels_written = False
        for part in parts:
            with Reader(part.folder(work)) as reader:
                for connection, received, data in reader.messages():
                    if not labels_written:
                        assert first.header is not None
                        bag.write_labels(received, first.header, first.labels, first.threshold)
                        labels_written = True
                    bag.write_serialized(connection.topic, received, data)
    bag.file.rename(output)
