# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""``run`` with images, folders and videos as input and a folder of PNGs and MP4s as output."""

import argparse
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from trt_segmentation.cli.arguments import check_topic
from trt_segmentation.cli.run_options import (
    lanes_of,
    opener,
    outputs_of,
    settings,
    tasks_of,
    workers_of,
)
from trt_segmentation.errors import (
    BackendError,
    ConfigError,
    ImageError,
    OutputError,
    printable,
)
from trt_segmentation.images.atomic_files import make_folder
from trt_segmentation.images.rosbag import is_bag
from trt_segmentation.offline.files import (
    Done,
    Work,
    segment_files,
    segment_task,
    segmenter_for,
    tasks,
)
from trt_segmentation.offline.items import Item, find_items, without_long_names
from trt_segmentation.offline.overlap import LaneCount

if TYPE_CHECKING:
    from trt_segmentation.offline.checkpoint import RunCheckpoint
    from trt_segmentation.offline.workers import Workers

_UNFINISHED = '.unfinished'
"""Folder in the output that exists until the run has finished."""


def execute(args: argparse.Namespace) -> int:
    """Segment every input; return 1 if one has failed."""
    workers = workers_of(args)
    _check(args)
    network_tasks = tasks_of(args)
    outputs = outputs_of(args, network_tasks)
    found = find_items(args.inputs, args.output, is_bag, network_tasks)
    found = without_long_names(found, outputs)
    if args.temporal_smoothing:
        _check_videos(found.items)
    items = [_absolute(item) for item in found.items] if workers.cluster else found.items
    is_one_image = workers.is_in_process and _is_one_image(items)
    lanes = LaneCount() if is_one_image else lanes_of(args, workers)
    work = Work(outputs, args.output.resolve() / _UNFINISHED, lanes,
                opener(args, workers, lanes))
    summary = _Summary(args.output, len(items) + len(found.refused))
    for sentence in found.refused:
        summary.fail(sentence)
    try:
        if is_one_image and not work.scratch.is_dir():
            summary.add(_one_image(work, items[0], args.output, workers))
        elif items:
            _several(work, items, settings(args), workers, summary)
    except (OutputError, BackendError) as error:
        if not work.scratch.is_dir():  # there is nothing to resume
            raise
        raise type(error)(f'{error}; {summary.text()}; after you have fixed that, the same '
                          'command resumes this run', error.settings) from error
    except KeyboardInterrupt:
        print(f'interrupted: {summary.text()}; the same command resumes this run',
              file=sys.stderr)
        raise
    skipped = f'; {found.skipped} other files skipped' if found.skipped else ''
    print(f'{summary.text()}{skipped} ({"; ".join(sorted(summary.runs_on)) or "nothing was run"})')
    if summary.failed > 1:
        print(f'{summary.failed} failed; each is named above', file=sys.stderr)
    return 1 if summary.failed else 0


def _check(args: argparse.Namespace) -> None:
    if bag := next(filter(is_bag, args.inputs), None):
        raise ImageError(f'{bag}: is a rosbag, so the output is a rosbag2; use --output OUT.mcap '
                         'or OUT.db3')
    check_topic('--topic', args.topic, args.inputs)


def _is_one_image(items: Sequence[Item]) -> bool:
    return len(items) == 1 and not items[0].is_video


def _check_videos(items: Sequence[Item]) -> None:
    """Refuse images, which have no order in time."""
    if image := next((item for item in items if not item.is_video), None):
        raise ConfigError(f'{image.path}: is an image, but --temporal-smoothing needs a video or '
                          'a rosbag, whose frames follow each other in time; name only those',
                          settings=['temporal_smoothing'])


def _absolute(item: Item) -> Item:
    """The item with absolute paths, for processes in another working folder."""
    return replace(item, path=item.path.absolute(), results=item.results.absolute())


class _Summary:
    """Counts segmented and failed inputs, and reports each failure when it happens.

    Attributes:
        failed: number of inputs that could not be segmented.
        segmented: number of segmented inputs.
        runs_on: descriptions of the backends; several if the processes differ.
    """

    def __init__(self, output: Path, total: int) -> None:
        self.failed = 0
        self.runs_on: set[str] = set()
        self._output = output
        self._total = total
        self.segmented = 0
        self._before = 0

    def fail(self, sentence: str) -> None:
        """Count and report an input that has failed."""
        self.failed += 1
        _print_error(f'error: {sentence}')

    def add(self, done: Done) -> None:
        """Count the result of an input."""
        for remark in done.remarks:
            _print_error(f'warning: {remark}')
        self.runs_on.add(done.runs_on)
        if done.failure:
            self.fail(done.failure)
        else:
            self.segmented += 1

    def skip(self, count: int) -> None:
        """Count inputs that an earlier run has segmented."""
        self._before = count
        self.segmented += count

    def text(self) -> str:
        """Return the number of inputs segmented so far, as text."""
        before = f', {self._before} of them by an earlier run' if self._before else ''
        return f'{self.segmented} of {self._total} inputs segmented into {self._output}{before}'


def _print_error(text: str) -> None:
    from tqdm import tqdm
    tqdm.write(printable(text), file=sys.stderr)


def _one_image(work: Work, item: Item, output: Path, workers: 'Workers') -> Done:
    """Segment one image, without a checkpoint."""
    from trt_segmentation.offline.workers import in_process
    with in_process(workers):
        done, = segment_files(replace(work, scratch=output), [item])
    return done


def _several(work: Work, items: Sequence[Item], settings: Mapping[str, object],
             workers: 'Workers', summary: _Summary) -> None:
    """Segment inputs, with a checkpoint from which an interrupted run resumes.

    A run of one image leaves the checkpoint of an earlier run, which has more to do.
    """
    from tqdm import tqdm

    from trt_segmentation.offline.checkpoint import open_checkpoint
    from trt_segmentation.offline.workers import in_process
    with in_process(workers):
        if workers.is_in_process:
            segmenter_for(work)  # before anything is left in the output
        make_folder(work.scratch.parent)
        with open_checkpoint(work.scratch) as run:
            is_guest = run.has_results and _is_one_image(items)
            run.check(settings)
            rest = _rest(run, items, work.outputs)
            summary.skip(len(items) - len(rest))
            with closing(_results(work, rest, workers)) as results, \
                    tqdm(total=len(items), initial=len(items) - len(rest), unit='file',
                         disable=None) as bar:
                for done in results:
                    summary.add(done)
                    if not done.failure:
                        run.append(file=_noted(done.item), source=_source(done.item),
                                 outputs=work.outputs)
                    bar.update()
            if not is_guest:
                run.finish()


def _results(work: Work, items: Sequence[Item], workers: 'Workers') -> Generator[Done, None, None]:
    if workers.is_in_process:
        yield from segment_files(work, items)
        return
    from trt_segmentation.offline.workers import run_tasks
    for group in run_tasks(partial(segment_task, work), tasks(items), workers):
        yield from group


def _rest(run: 'RunCheckpoint', items: Sequence[Item], outputs: Sequence[str]) -> list[Item]:
    """The items that the earlier run has not segmented, or that have changed since."""
    segmented = {tuple(entry['file']): entry for entry in run.entries}

    def is_done(item: Item) -> bool:
        entry = segmented.get(_noted(item))
        return entry is not None and entry['source'] == _source(item) \
            and set(outputs) <= set(entry['outputs']) \
            and all(item.target(name).exists() for name in outputs)

    return [item for item in items if not is_done(item)]


def _noted(item: Item) -> tuple[str, str]:
    return str(item.path.absolute()), str(item.results.absolute())


def _source(item: Item) -> list[int]:
    """Size and modification time of a file, to detect changes; [] if it is missing."""
    try:
        stat = item.path.stat()
    except OSError:
        return []
    return [stat.st_size, stat.st_mtime_ns]
