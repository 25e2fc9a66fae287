# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Merging of a network's classes into fewer classes of the mask: ``classes: {merge: ...}``.

::

    classes:
      preset: ade20k
      merge:
        road: [road, path, sidewalk]                      # class 0 of the mask
        person: {of: [person], color: [220, 20, 60]}      # class 1
        obstacle: rest                                    # class 2: all other classes

Members are labels or ids of the network. A class that is not listed has no class in the mask,
unless one merged class takes the rest.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trt_segmentation.classes.palette import Colour, Palette
from trt_segmentation.errors import ConfigError

REST = 'rest'


@dataclass(frozen=True)
class MergedClass:
    """One class of the mask, as written in the config.

    Attributes:
        label: its name.
        of: labels or ids of the network's classes; ``REST`` for all classes that are not listed.
        color: RGB 0..255; None takes the color of the first member.
    """

    label: str
    of: tuple[str | int, ...] | str
    color: Colour | None = None


@dataclass(frozen=True)
class ClassMerge:
    """A merge that was checked against a network.

    Attributes:
        classes: the classes of the mask, as written in the config.
        labels, palette: of the network's own classes, as far as they are known.
        mask_ids: ids in the mask, indexed by the network's class id; None for a class without
            one.
    """

    classes: tuple[MergedClass, ...]
    labels: tuple[str, ...]
    palette: Palette
    mask_ids: tuple[int | None, ...]

    @property
    def merged_labels(self) -> tuple[str, ...]:
        """Names of the mask's classes, by id."""
        return tuple(merged.label for merged in self.classes)

    @property
    def merged_palette(self) -> Palette:
        """Colours of the mask's classes: from the config, else those of the first members."""
        colors = self.palette.colors  # fewer than ids, where the number of classes is not known
        return Palette(tuple(merged.color or colors[self._first(index) % len(colors)]
                             for index, merged in enumerate(self.classes)))

    def _first(self, index: int) -> int:
        """The first member in the config; of the rest, the one with the lowest id."""
        of = self.classes[index].of
        if of == REST or not of:
            return self.mask_ids.index(index)
        return of[0] if isinstance(of[0], int) else self.labels.index(of[0])


def read_merge(tree: Any) -> tuple[MergedClass, ...] | None:
    """Read ``classes.merge``; None if it is not set.

    Raises:
        ConfigError: it is not valid, or more than one class takes the rest.
    """
    if tree is None:
        return None
    if not isinstance(tree, dict) or not tree:
        raise ConfigError(f'classes.merge is {tree!r}; it is a mapping such as '
                          '{road: [road, path], obstacle: rest}')
    merge = tuple(_read_class(label, value) for label, value in tree.items())
    takers = [merged.label for merged in merge if merged.of == REST]
    if len(takers) > 1:
        raise ConfigError(f'classes.merge gives the rest to {" and to ".join(takers)}; '
                          'only one class can take it')
    return merge


def merge_tree(merge: Sequence[MergedClass]) -> dict[str, Any]:
    """Return the YAML tree that ``read_merge`` reads."""
    def value(merged: MergedClass) -> Any:
        of = REST if merged.of == REST else list(merged.of)
        return of if merged.color is None else {'of': of, 'color': list(merged.color)}

    return {merged.label: value(merged) for merged in merge}


def _read_class(label: Any, value: Any) -> MergedClass:
    if not isinstance(label, str):
        raise ConfigError(f'classes.merge has the key {label!r}; keys are names of classes; '
                          'quote a name that YAML does not read as a string')
    where, color = f'classes.merge.{label}', None
    if isinstance(value, dict):
        if set(value) - {'of', 'color'} or 'of' not in value:
            raise ConfigError(f'{where} has the keys {", ".join(map(str, value))}; known keys '
                              'are of (needed) and color')
        value, color = value['of'], _read_color(where, value.get('color'))
    if value == REST:
        return MergedClass(label, REST, color)
    if not isinstance(value, list) or not value or not all(
            isinstance(member, (int, str)) and not isinstance(member, bool) for member in value):
        raise ConfigError(f"{where} is {value!r}; it is a list of labels or ids of the network's "
                          f'classes, or the word {REST}')
    return MergedClass(label, tuple(value), color)


def _read_color(where: str, value: Any) -> Colour | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 3 or not all(
            type(channel) is int and 0 <= channel <= 255 for channel in value):
        raise ConfigError(f'{where}.color is {value!r}; it is [red, green, blue], 0 to 255')
    return value[0], value[1], value[2]


def resolve_merge(classes: tuple[MergedClass, ...], labels: tuple[str, ...], palette: Palette,
                  count: int, unlabelled: int) -> ClassMerge:
    """Map each class of a network to a class of the mask.

    Args:
        classes: see ``read_merge``.
        labels: the network's class names by id; empty if they are not known.
        palette: the network's class colours.
        count: number of the network's class ids.
        unlabelled: the network's id for "no class".

    Raises:
        ConfigError: a member is no class of the network, or is named twice.
    """
    mask_ids: list[int | None] = [None] * count
    for mask_id, merged in enumerate(classes):
        for member in () if merged.of == REST else merged.of:
            index = _index_of(member, merged.label, labels, count)
            if index == unlabelled:
                raise ConfigError(f'classes.merge.{merged.label} names {member!r}, which is no '
                                  f'class by classes.unlabelled ({unlabelled}); remove one of '
                                  'the two')
            if (before := mask_ids[index]) is not None:
                raise ConfigError(f'classes.merge names {member!r} twice, for '
                                  f'{classes[before].label} and for {merged.label}; each class '
                                  'goes into one')
            mask_ids[index] = mask_id
    for mask_id, merged in enumerate(classes):
        if merged.of == REST:
            rest = [index for index, taken in enumerate(mask_ids)
                    if taken is None and index != unlabelled]
            if not rest:
                raise ConfigError(f'classes.merge.{merged.label} takes the rest, but every class '
                                  'is named elsewhere; remove it')
            for index in rest:
                mask_ids[index] = mask_id
    return ClassMerge(classes, labels, palette, tuple(mask_ids))


def _index_of(member: str | int, label: str, labels: tuple[str, ...], count: int) -> int:
    where = f'classes.merge.{label} names'
    if isinstance(member, int):
        if not 0 <= member < count:
            raise ConfigError(f'{where} class {member}, but the network has {count} classes, '
                              f'0 to {count - 1}')
        return member
    if member in labels:
        return labels.index(member)
    if not labels:
        raise ConfigError(f"{where} '{member}', but the network's class names are not known; name "
                          'classes by id, or set classes.labels or classes.preset')
    lower = {known.lower(): known for known in reversed(labels)}
    near = difflib.get_close_matches(member.lower(), lower, n=3, cutoff=0.5)
    known = 'similar names are ' + ', '.join(lower[name] for name in near) if near else \
        f'its classes are {", ".join(labels[:8])}' + (', ...' if len(labels) > 8 else '')
    raise ConfigError(f"{where} '{member}', which is no class of the network; {known}")
