# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Which files a run segments, and where the results of each go."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trt_segmentation.errors import ImageError, printable
from trt_segmentation.graph.pipeline.output_names import OUTPUTS, joined, kind_of
from trt_segmentation.images.header import IMAGE_SUFFIXES
from trt_segmentation.images.sources import is_image, refuse_address

VIDEO_SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.ts', '.webm', '.wmv')
"""What files in folders are taken for videos; one that is named may be called anything."""

FRAME_NAME = '{:06d}.png'


@dataclass(frozen=True)
class Item:
    """One file to segment.

    Attributes:
        path: of the image or video.
        results: what the paths of its results begin with: a/x for a/x_mask.png.
        is_video: whether it is a video.
    """

    path: Path
    results: Path
    is_video: bool

    def target(self, output: str) -> Path:
        """Return where an output goes: a PNG; of a video a folder of them, and of its overlays
        an MP4."""
        suffix = '.png' if not self.is_video else '.mp4' if kind_of(output) == 'overlay' else ''
        return self.results.with_name(f'{self.results.name}_{output.replace("/", "_")}{suffix}')


@dataclass(frozen=True)
class FoundItems:
    """What a run has to do.

    Attributes:
        items: in the order in which they are done.
        refused: a sentence for each input that cannot be one.
        passed_over: how many files in folders are neither images nor videos.
    """

    items: Sequence[Item]
    refused: Sequence[str]
    passed_over: int


def find_items(inputs: Sequence[Path], output: Path,
               is_left_out: Callable[[Path], bool] = lambda folder: False,
               tasks: Sequence[str] = ('',)) -> FoundItems:
    """Find the images and videos of a run.

    Args:
        inputs: files, and folders that are searched with all folders below; what is hidden there,
            and what is in the output or was written by an earlier run, is left out.
        output: folder of the results, with the same folders as are below the inputs. Where
            results of different inputs would have one name, those lie in the folders that they
            have below the deepest folder that holds all inputs.
        is_left_out: whether a folder is not searched.
        tasks: of the network; '' is that of a network of one.
    """
    names = [joined(task, name) for task in tasks for name in OUTPUTS]
    items: list[Item] = []
    refused: list[str] = []
    passed_over = 0
    for given in inputs:
        try:
            refuse_address(given)
            if given.is_dir():
                found, others = _in_folder(given, output, is_left_out, names)
                items += found
                passed_over += others
            else:
                items.append(_item(given, given.parent, output, not is_image(given)))
        except ImageError as error:
            refused.append(str(error))
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
    return FoundItems(kept, refused, passed_over)


def _targets(item: Item, names: Sequence[str]) -> list[Path]:
    """Where the outputs of those names would go."""
    return [item.target(name) for name in names]


def _common_folder(inputs: Sequence[Path]) -> Path:
    folders = [os.path.abspath(path if path.is_dir() else path.parent) for path in inputs]
    return Path(os.path.commonpath(folders))


def _item(path: Path, base: Path, output: Path, is_video: bool) -> Item:
    relative = Path(os.path.relpath(os.path.abspath(path), os.path.abspath(base)))
    return Item(path, output / relative.with_name(path.stem), is_video)


def _in_folder(folder: Path, output: Path, is_left_out: Callable[[Path], bool],
               names: Sequence[str]) -> tuple[list[Item], int]:
    files = list(_walk(folder, output, is_left_out))
    candidates = [_item(path, folder, output, path.suffix.lower() in VIDEO_SUFFIXES)
                  for path in files if _is_meant(path)]
    made = {os.path.abspath(item.target(name)) for item in candidates for name in names}
    items = [item for item in candidates if made.isdisjoint(_with_folder(item.path))]
    if not items:
        others = f'; its {len(files)} files are others' if files else ''
        raise ImageError(
            f'{folder}: holds nothing to segment{others}; images ({", ".join(IMAGE_SUFFIXES)}) '
            f'and videos ({", ".join(VIDEO_SUFFIXES)}) are looked for, in folders below it, too')
    return items, len(files) - len(candidates)


def _with_folder(path: Path) -> tuple[str, str]:
    """The paths under which a run may have written a file: its own, and of a frame its folder."""
    return os.path.abspath(path), os.path.abspath(path.parent)


def _is_meant(path: Path) -> bool:
    """Whether a file is an image or a video, or by its name ought to be one."""
    return path.suffix.lower() in IMAGE_SUFFIXES + VIDEO_SUFFIXES or is_image(path)


def _walk(folder: Path, output: Path, is_left_out: Callable[[Path], bool]) -> Iterator[Path]:
    """The files in a folder and below, in order; links to folders are followed once each."""
    own = os.path.realpath(output)
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        is_own = real == own and real != os.path.realpath(folder)
        if real in seen or is_own or is_left_out(Path(place)):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        for name in sorted(files):
            path = Path(place, name)
            if not name.startswith('.') and path.is_file():
                yield path
