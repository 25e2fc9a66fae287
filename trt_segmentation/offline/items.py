# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The input files of a run, and the paths of their results."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trt_segmentation.errors import ImageError, printable
from trt_segmentation.graph.pipeline.output_names import OUTPUTS, joined, kind_of
from trt_segmentation.images.header import IMAGE_SUFFIXES
from trt_segmentation.images.sources import (
    has_image_suffix,
    is_broken_link,
    is_read_as_image,
    refuse_address,
)

VIDEO_SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.ts', '.webm', '.wmv')
"""Suffixes of videos in folders; a video that is given by its path may have any suffix."""

def file_suffix(output: str) -> str:
    """Return the suffix of the file of an output of one image."""
    return '.json' if kind_of(output) == 'detections' else '.png'


def frame_name(output: str, index: int) -> str:
    """Return the name of the file of an output of a video's frame."""
    return f'{index:06d}{file_suffix(output)}'


@dataclass(frozen=True)
class Item:
    """One file to segment.

    Attributes:
        path: of the image or video.
        results: prefix of the paths of its results: a/x for a/x_mask.png.
        is_video: whether it is a video.
    """

    path: Path
    results: Path
    is_video: bool

    def target(self, output: str) -> Path:
        """Return the path of an output: a PNG or the detections' JSON for an image; for a video
        an MP4 of the overlays or a folder of these files."""
        suffix = file_suffix(output)
        if self.is_video:
            suffix = '.mp4' if kind_of(output) == 'overlay' else ''
        return self.results.with_name(f'{self.results.name}_{output.replace("/", "_")}{suffix}')


@dataclass(frozen=True)
class FoundItems:
    """The input files of a run.

    Attributes:
        items: in the order in which they are segmented.
        refused: an error message for each input that cannot be used.
        skipped: number of files in folders that are neither images nor videos.
    """

    items: Sequence[Item]
    refused: Sequence[str]
    skipped: int


def find_items(inputs: Sequence[Path], output: Path,
               is_excluded: Callable[[Path], bool] = lambda folder: False,
               tasks: Sequence[str] = ('',)) -> FoundItems:
    """Find the images and videos of a run.

    Args:
        inputs: files, and folders that are searched recursively, without hidden files, files in
            the output, and results of an earlier run.
        output: folder of the results, with the same subfolders as the inputs. If results of
            different inputs would have the same path, their subfolders are those below the
            deepest folder that contains all inputs.
        is_excluded: whether a folder is not searched.
        tasks: of the network; ('',) for a network of one task.
    """
    names = [joined(task, name) for task in tasks for name in OUTPUTS]
    items: list[Item] = []
    refused: list[str] = []
    skipped = 0
    for given in inputs:
        try:
            refuse_address(given)
            if given.is_dir():
                found, others = _in_folder(given, output, is_excluded, names, refused)
                items += found
                skipped += others
            elif is_broken_link(given):
                refused.append(_broken(given))
            elif given.exists() and not given.is_file():
                raise ImageError(f'{given}: is neither a file nor a folder, but a pipe or a '
                                 'device; write what it gives into a file, and name that')
            else:
                items.append(_item(given, given.parent, output, not is_read_as_image(given)))
        except ImageError as error:
            refused.append(str(error))
        except OSError as error:
            refused.append(printable(f'{given}: cannot be read ({error.strerror})'))
    items = list({os.path.abspath(item.path): item for item in reversed(items)}.values())[::-1]
    claimed = Counter(target for item in items for target in _targets(item, names))
    common = _common_folder(inputs)
    items = [item if all(claimed[target] == 1 for target in _targets(item, names)) else
             _item(item.path, common, output, item.is_video) for item in items]
    owners: dict[Path, Item] = {}
    kept: list[Item] = []
    for item in items:
        targets = _targets(item, names)
        if owner := next((owners[target] for target in targets if target in owners), None):
            refused.append(printable(f'{item.path}: its results would replace those of '
                                     f'{owner.path}; rename one'))
            continue
        owners.update(dict.fromkeys(targets, item))
        kept.append(item)
    return FoundItems(kept, refused, skipped)


def without_long_names(found: FoundItems, outputs: Sequence[str]) -> FoundItems:
    """Refuse the items whose results would have longer names than their file system holds.

    Args:
        found: result of ``find_items``.
        outputs: those that are written.
    """
    reasons = {item: _long_name(item, outputs) for item in found.items}
    return replace(found, items=[item for item, reason in reasons.items() if not reason],
                   refused=[*found.refused, *filter(None, reasons.values())])


def _long_name(item: Item, outputs: Sequence[str]) -> str:
    """A sentence about a result whose name is too long; '' if there is none."""
    folder = item.results.absolute().parent
    most = os.pathconf(next(filter(os.path.exists, (folder, *folder.parents))), 'PC_NAME_MAX')
    longest = max(len(os.fsencode(target.name)) for target in _targets(item, outputs))
    if longest <= most:
        return ''
    return printable(f'{item.path}: the name of its result would have {longest} bytes, and names '
                     f'in {folder} have at most {most}; rename it')


def _broken(link: Path) -> str:
    return printable(f'{link}: is a link to a file that does not exist')


def _targets(item: Item, names: Sequence[str]) -> list[Path]:
    """The paths of the outputs with those names."""
    return [item.target(name) for name in names]


def _common_folder(inputs: Sequence[Path]) -> Path:
    folders = [os.path.abspath(path if os.path.isdir(path) else path.parent) for path in inputs]
    return Path(os.path.commonpath(folders))


def _item(path: Path, base: Path, output: Path, is_video: bool) -> Item:
    relative = Path(os.path.relpath(os.path.abspath(path), os.path.abspath(base)))
    name = path.name if path.stem == '.' else path.stem  # of '..png'
    return Item(path, output / relative.with_name(name), is_video)


def _in_folder(folder: Path, output: Path, is_excluded: Callable[[Path], bool],
               names: Sequence[str], refused: list[str]) -> tuple[list[Item], int]:
    files = list(_walk(folder, output, is_excluded, refused))
    candidates = [_item(path, folder, output, _has_video_suffix(path))
                  for path in files if _is_candidate(path)]
    results = {os.path.abspath(item.target(name)) for item in candidates for name in names}
    items = [item for item in candidates if results.isdisjoint(_with_folder(item.path))]
    if not items:
        others = f' among its {len(files)} files' if files else ''
        raise ImageError(
            f'{folder}: contains no image or video{others}; supported, also in subfolders, are '
            f'images ({", ".join(IMAGE_SUFFIXES)}) and videos ({", ".join(VIDEO_SUFFIXES)})')
    return items, len(files) - len(candidates)


def _with_folder(path: Path) -> tuple[str, str]:
    """The paths that may be results of a run: the file, or the folder of a video's frame."""
    return os.path.abspath(path), os.path.abspath(path.parent)


def _is_candidate(path: Path) -> bool:
    """Whether a file is an image or a video, by its suffix or by its content."""
    return _has_video_suffix(path) or is_read_as_image(path)


def _has_video_suffix(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _walk(folder: Path, output: Path, is_excluded: Callable[[Path], bool],
          refused: list[str]) -> Iterator[Path]:
    """The files in a folder and its subfolders, in order; links to folders are followed once.
    Folders that cannot be read, and images and videos that are links to files that do not exist,
    are added to ``refused``."""
    def refuse(error: OSError) -> None:
        refused.append(printable(f'{error.filename}: cannot be read ({error.strerror})'))

    own = os.path.realpath(output)
    seen = set()
    for place, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(place)
        is_own = real == own and real != os.path.realpath(folder)
        if real in seen or is_own or is_excluded(Path(place)):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        for name in sorted(files):
            path = Path(place, name)
            if name.startswith('.'):
                continue
            if path.is_file():
                yield path
            elif is_broken_link(path) and (has_image_suffix(path) or _has_video_suffix(path)):
                refused.append(_broken(path))
