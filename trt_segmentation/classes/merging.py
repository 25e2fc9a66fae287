# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Many classes of a network as few classes of the mask: ``classes: {merge: ...}``.

::

    classes:
      preset: ade20k
      merge:
        road: [road, path, sidewalk]                      # class 0 of the mask
        person: {of: [person], color: [220, 20, 60]}      # class 1
        obstacle: rest                                    # class 2: all that is named nowhere

Members are labels or ids of the network. What is named nowhere has no class in the mask, unless
one class takes the rest.
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
    """One class of the mask, as the config says it.

    Attributes:
        label: its name.
        of: labels or ids of the network's classes; ``REST`` for all that are named nowhere.
        color: RGB 0..255; None takes that of the first member.
    """

    label: str
    of: tuple[str | int, ...] | str
    color: Colour | None = None


@dataclass(frozen=True)
class ClassMerge:
    """A merge that fits a network.

    Attributes:
        told: as the config says it.
        labels, palette: of the network's own classes, as far as they are known.
        mask_ids: class of the mask by the network's class id; None where it has none.
    """

    told: tuple[MergedClass, ...]
    labels: tuple[str, ...]
    palette: Palette
    mask_ids: tuple[int | None, ...]

    @property
    def merged_labels(self) -> tuple[str, ...]:
        """Names of the mask's classes, by id."""
        return tuple(merged.label for merged in self.told)

    @property
    def merged_palette(self) -> Palette:
        """Colours of the mask's classes: those told, else those of the first members."""
        colors = self.palette.colors  # fewer than ids, where the number of classes is not known
        return Palette(tuple(merged.color or colors[self._first(index) % len(colors)]
                             for index, merged in enumerate(self.told)))

    def _first(self, index: int) -> int:
        """The first member that is told; of the rest, the one with the lowest id."""
        of = self.told[index].of
        if of == REST or not of:
            return self.mask_ids.index(index)
        return of[0] if isinstance(of[0], int) else self.labels.index(of[0])


def read_merge(tree: Any) -> tuple[MergedClass, ...] | None:
    """Read ``classes.merge``; None where it is not told.

    Raises:
        ConfigError: it says something that is not understood, or names a class twice.
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


def plain_merge(merge: Sequence[MergedClass]) -> dict[str, Any]:
    """Return what ``read_merge`` reads."""
    def value(merged: MergedClass) -> Any:
        of = REST if merged.of == REST else list(merged.of)
        return of if merged.color is None else {'of': of, 'color': list(merged.color)}

    return {merged.label: value(merged) for merged in merge}


def _read_class(label: Any, value: Any) -> MergedClass:
    if not isinstance(label, str):
        raise ConfigError(f'classes.merge has the key {label!r}; keys are names of classes, '
                          'quoted where YAML reads something else')
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


def resolve_merge(told: tuple[MergedClass, ...], labels: tuple[str, ...], palette: Palette,
                  count: int, unlabelled: int) -> ClassMerge:
    """Find out which class of the mask each class of a network becomes.

    Args:
        told: see ``read_merge``.
        labels: the network's class names by id; empty where nobody told them.
        palette: the network's class colours.
        count: of the network's class ids.
        unlabelled: the network's id for "no class".

    Raises:
        ConfigError: a member is no class of the network, or is named twice.
    """
    mask_ids: list[int | None] = [None] * count
    for mask_id, merged in enumerate(told):
        for member in () if merged.of == REST else merged.of:
            index = _index_of(member, merged.label, labels, count)
            if index == unlabelled:
                raise ConfigError(f'classes.merge.{merged.label} names {member!r}, which '
                                  f'classes.unlabelled ({unlabelled}) says is no class; leave '
                                  'one of the two out')
            if (before := mask_ids[index]) is not None:
                raise ConfigError(f'classes.merge names {member!r} twice, for '
                                  f'{told[before].label} and for {merged.label}; each class goes '
                                  'into one')
            mask_ids[index] = mask_id
    for mask_id, merged in enumerate(told):
        if merged.of == REST:
            rest = [index for index, taken in enumerate(mask_ids)
                    if taken is None and index != unlabelled]
            if not rest:
                raise ConfigError(f'classes.merge.{merged.label} takes the rest, but every class '
                                  'is named elsewhere; leave it out')
            for index in rest:
                mask_ids[index] = mask_id
    return ClassMerge(told, labels, palette, tuple(mask_ids))


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
        raise ConfigError(f"{where} '{member}', but the network's class names are not told; name "
                          'classes by id, or give classes.labels or classes.preset')
    lower = {known.lower(): known for known in reversed(labels)}
    near = difflib.get_close_matches(member.lower(), lower, n=3, cutoff=0.5)
    known = 'near it are ' + ', '.join(lower[name] for name in near) if near else \
        f'known are {", ".join(labels[:8])}' + (', ...' if len(labels) > 8 else '')
    raise ConfigError(f"{where} '{member}', which is no class of the network; {known}")
