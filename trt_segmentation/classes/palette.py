# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Class names and colours of published datasets, and generated colours for other networks."""

from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import yaml

from trt_segmentation.errors import ConfigError

Colour = tuple[int, int, int]


def preset_names() -> tuple[str, ...]:
    """Return the names that ``classes: {preset: NAME}`` takes."""
    folder = resources.files('trt_segmentation') / 'classes' / 'presets'
    return tuple(sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith('.yaml')))


@cache
def _read_preset(name: str) -> dict:
    if name not in preset_names():
        known = ', '.join(preset_names())
        raise ConfigError(f"classes.preset is '{name}'; known presets are {known}")
    path = resources.files('trt_segmentation') / 'classes' / 'presets' / f'{name}.yaml'
    return yaml.safe_load(path.read_text(encoding='utf-8'))


def preset_labels(name: str) -> tuple[str, ...]:
    """Return the class names of a preset, indexed by class id.

    Raises:
        ConfigError: there is no such preset.
    """
    return tuple(_read_preset(name)['labels'])


@dataclass(frozen=True)
class Palette:
    """One RGB colour, 0..255 per channel, for each class id; black for all other ids.

    Attributes:
        colors: indexed by class id.
    """

    colors: tuple[Colour, ...]

    @classmethod
    def preset(cls, name: str) -> 'Palette':
        """The published colours of a preset.

        Raises:
            ConfigError: there is no such preset.
        """
        return cls(tuple(tuple(color) for color in _read_preset(name)['colors']))

    @classmethod
    def generate(cls, count: int, background: bool = False) -> 'Palette':
        """Distinct colours for any number of classes.

        The formula is the Pascal VOC devkit's colour map: the id's bits, three at a time, become
        the high bits of red, green and blue. Its first colour is black.

        Args:
            count: number of classes.
            background: whether class 0 is the background and gets black; else black is not used.
        """
        def color(index: int) -> Colour:
            rgb = [0, 0, 0]
            for bit in range(8):
                for channel in range(3):
                    rgb[channel] |= (index >> (3 * bit + channel) & 1) << (7 - bit)
            return rgb[0], rgb[1], rgb[2]

        first = 0 if background else 1
        return cls(tuple(color(index) for index in range(first, first + count)))

    @property
    def hexadecimal(self) -> tuple[str, ...]:
        """The colours in CSS notation, ``#rrggbb``."""
        return tuple('#{:02x}{:02x}{:02x}'.format(*color) for color in self.colors)

    def table(self, order: str = 'bgr', size: int = 256) -> np.ndarray:
        """Return a lookup table for all values of a mask.

        Args:
            order: 'bgr' or 'rgb'.
            size: number of mask values, greater than the number of colours.

        Returns:
            uint8 [size, 3].
        """
        table = np.zeros((size, 3), np.uint8)
        table[:len(self.colors)] = np.reshape(self.colors, (-1, 3))
        return np.ascontiguousarray(table[:, ::-1] if order == 'bgr' else table)
