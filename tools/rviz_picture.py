#!/usr/bin/env python3
# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Draw the window that RViz shows with config/seg.rviz, docs/images/rviz.svg::

    python tools/rviz_picture.py

The tree of displays, the panels and their topics are those of the config. What they show is drawn
from the ground truth of a frame of the demo clip.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'tools')]

import svg  # noqa: E402

from trt_segmentation.demo.clip import LABELS, read_frame  # noqa: E402
from trt_segmentation.model_config import ModelConfig  # noqa: E402

CONFIG = ROOT / 'config' / 'seg.rviz'
PICTURE = ROOT / 'docs' / 'images' / 'rviz.svg'

FRAME = 13
"""Of the demo clip."""

_SIDE, _BAR, _ROW, _MARGIN = 300, 34, 19, 12
"""Pixels: width of the left column, height of the title bar and of a row of the tree."""

_CELL, _POINT = 16, 10
"""Every so many pixels of the frame, an image in a panel has a cell, and the cloud a point."""


def picture() -> str:
    """Return the picture of the config as it is."""
    config = yaml.safe_load(CONFIG.read_text(encoding='utf-8'))
    manager, window = config['Visualization Manager'], config['Window Geometry']
    width, height = window['Width'] * 3 // 4, window['Height'] * 3 // 4
    displays = [each for each in manager['Displays'] if each['Enabled']]
    images = [each for each in displays if each['Class'].endswith('/Image')
              and not window.get(each['Name'], {}).get('collapsed')]
    clouds = [each for each in displays if each['Class'].endswith('/PointCloud2')]
    labels = read_frame(FRAME).labels[_CELL // 2::_CELL, _CELL // 2::_CELL]
    tree = list(_tree(manager['Global Options'], displays))
    below = _BAR + _MARGIN + len(tree) // 2 * _ROW + 14
    return svg.picture(width, height, "RViz with the package's layout", [
        svg.text(_MARGIN, 22, f'{CONFIG.name} - RViz', size=12, kind='faint'),
        svg.line(0, _BAR, width, _BAR), svg.line(_SIDE, _BAR, _SIDE, height),
        *tree, *_panels(images, below, height - below - _MARGIN, labels),
        *_view(clouds, width, height)])


def _tree(options: Mapping[str, Any], displays: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The panel Displays: two texts in each row."""
    rows = [('Fixed Frame', options['Fixed Frame'], False)]
    for each in displays:
        rows.append((each['Name'], each['Class'].rpartition('/')[2], True))
        rows.append(('Topic', each['Topic']['Value'], False))
    y = _BAR + _MARGIN + 12
    yield svg.text(_MARGIN, y, 'Displays', weight=600)
    yield ''
    for name, value, is_display in rows:
        y += _ROW
        yield svg.text(_MARGIN + (6 if is_display else 24), y, f'{"☑ " * is_display}{name}',
                       size=12, weight=600 if is_display else 400)
        yield svg.text(_MARGIN + 106, y, value, size=11, kind='faint')


def _panels(images: Sequence[Mapping[str, Any]], top: float, room: float,
            labels: np.ndarray) -> Iterator[str]:
    """The panels of images in the left column, one below the other."""
    each_room = room / max(len(images), 1)
    cell = min((each_room - 24) / labels.shape[0], (_SIDE - 2 * _MARGIN) / labels.shape[1])
    for number, each in enumerate(images):
        y = top + number * each_room
        colors = _greys() if each.get('Normalize Range') else _colors()
        yield svg.text(_MARGIN, y + 12, each['Name'], size=12, weight=600)
        yield from _mosaic(labels, colors, _MARGIN, y + 20, cell)


def _mosaic(labels: np.ndarray, colors: Sequence[str], left: float, top: float, cell: float
            ) -> Iterator[str]:
    """An image of classes: for each class one path, with a rectangle for each run in a row."""
    runs: list[list[str]] = [[] for _ in colors]
    for row, ids in enumerate(labels):
        starts = [0, *(np.flatnonzero(np.diff(ids)) + 1)]
        for start, end in zip(starts, [*starts[1:], len(ids)], strict=True):
            runs[ids[start]].append(f'M{start} {row}h{end - start}v1h{start - end}z')
    yield f'<g transform="translate({left} {top:.5g}) scale({cell:.4g})" ' \
          'shape-rendering="crispEdges">'
    for color, paths in zip(colors, runs, strict=True):
        if paths:
            yield f'<path fill="{color}" d="{"".join(paths)}"/>'
    yield '</g>'


def _view(clouds: Sequence[Mapping[str, Any]], width: int, height: int) -> Iterator[str]:
    """The 3D view, with the points of the clouds."""
    yield svg.rect(_SIDE + 1, _BAR + 1, width - _SIDE - 2, height - _BAR - 2, color='#1b1f24',
                   radius=6)
    for each in clouds:
        yield svg.text(_SIDE + 16, _BAR + 26, f"{each['Name']}: {each['Topic']['Value']}", size=12,
                       color='#e6edf3')
        x, y, ids = _points(read_frame(FRAME).labels[_POINT // 2::_POINT, _POINT // 2::_POINT])
        x = _SIDE + (width - _SIDE) / 2 + x * (width - _SIDE)
        y = _BAR + (height - _BAR) * y
        inside = (x > _SIDE + 8) & (x < width - 8) & (y > _BAR + 40) & (y < height - 8)
        for label, color in enumerate(_colors()):
            dots = [f'M{u:.0f} {v:.0f}h0' for u, v in
                    zip(x[inside & (ids == label)], y[inside & (ids == label)], strict=True)]
            if dots:
                yield (f'<path d="{"".join(dots)}" stroke="{color}" stroke-width="2.2" '
                       'stroke-linecap="round"/>')


def _points(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where the points of a frame are in a view from above and behind, and their classes.

    The ground is flat, 1.4 m below a camera with a horizontal opening angle of 65 degrees; what
    stands on it is as far away as the lowest pixel of its class in the same column.
    """
    rows, columns = labels.shape
    focal, horizon = columns / 2 / np.tan(np.radians(32.5)), rows * 0.45
    bottom = np.zeros(labels.shape)
    for y, x in np.ndindex(rows, columns):  # the lowest row of the same class, without a gap
        down = labels[y:, x] != labels[y, x]
        bottom[y, x] = y + (np.argmax(down) if down.any() else rows - y) - 1
    row, column = np.indices(labels.shape)
    is_ground = np.isin(labels, [LABELS.index('road'), LABELS.index('lane marking')])
    base = np.where(is_ground, row, bottom) + 0.5 - horizon
    is_near = (base > 1.2) & (labels != LABELS.index('sky'))
    depth = 1.4 * focal / np.where(is_near, base, 1)
    right, up = (column - columns / 2) * depth / focal, 1.4 - (row + 0.5 - horizon) * depth / focal
    angle, back, high = np.radians(24), 7.0, 6.0
    away, above = depth + back, up - high
    far = away * np.cos(angle) - above * np.sin(angle)
    rise = above * np.cos(angle) + away * np.sin(angle)
    shown = is_near & (far > 1)
    return (1.25 * right / far)[shown], (0.7 - 1.6 * rise / far)[shown], labels[shown]


def _colors() -> list[str]:
    config = ModelConfig.from_file(ROOT / 'trt_segmentation' / 'demo' / 'road_scenes.yaml')
    return ['#{:02x}{:02x}{:02x}'.format(*color) for color in config.classes.colors or ()]


def _greys() -> list[str]:
    """What RViz makes of ids with Normalize Range."""
    return ['#{0:02x}{0:02x}{0:02x}'.format(round(255 * number / (len(LABELS) - 1)))
            for number in range(len(LABELS))]


if __name__ == '__main__':
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(picture(), encoding='utf-8')
