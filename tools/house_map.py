#!/usr/bin/env python3
# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Draw the rooms of the package, docs/house.svg::

    python tools/house_map.py

A room is a folder or a loose module, see ``ROOMS`` in test/test_architecture.py. It stands one
floor above the highest room that it imports. Lines show imports that do not follow from others.
"""

import ast
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'trt_segmentation'
PICTURE = ROOT / 'docs' / 'house.svg'

_BOX_WIDTH, _BOX_HEIGHT = 148, 40
_GAP, _FLOOR_HEIGHT, _MARGIN = 20, 78, 16
"""Pixels, as the box."""

_COLORS = {'ros': '#2563eb', 'graph': '#b45309'}
"""Fill of rooms with such a part in their name; the others are grey."""


def read_rooms() -> tuple[str, ...]:
    """Return the dotted names of the rooms, from the top down."""
    tree = ast.parse((ROOT / 'test' / 'test_architecture.py').read_text(encoding='utf-8'))
    value = next(node.value for node in tree.body if isinstance(node, ast.Assign)
                 and ast.unparse(node.targets[0]) == 'ROOMS')
    return tuple(ast.literal_eval(value))


def room_of(module: str, rooms: Iterable[str]) -> str:
    """Return the room of a module, given by its dotted name in the package; '' for none."""
    return max((room for room in rooms if f'{module}.'.startswith(f'{room}.')), key=len,
               default='')


def read_modules(rooms: Iterable[str]) -> dict[str, list[Path]]:
    """Return the modules of each room; a package without code in it is not counted."""
    modules: dict[str, list[Path]] = {room: [] for room in rooms}
    for path in sorted(PACKAGE.rglob('*.py')):
        name = '.'.join(path.relative_to(PACKAGE).with_suffix('').parts)
        if room := room_of(name, rooms):
            body = ast.parse(path.read_text(encoding='utf-8')).body
            if len(body) > 1 or path.stem != '__init__':
                modules[room].append(path)
    return modules


def read_imports(modules: Mapping[str, Iterable[Path]]) -> dict[str, set[str]]:
    """Return which other rooms each room imports."""
    return {room: {found for path in paths for name in _imported(path)
                   if (found := room_of(name, modules)) and found != room}
            for room, paths in modules.items()}


def _imported(path: Path) -> list[str]:
    """Dotted names in the package that a module imports, wherever in it."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f'{node.module}.{alias.name}' for alias in node.names]
    prefix = f'{PACKAGE.name}.'
    return [name.removeprefix(prefix) for name in names if name.startswith(prefix)]


def find_floors(imports: Mapping[str, set[str]]) -> dict[str, int]:
    """Return the floor of each room, 0 at the bottom."""
    floors: dict[str, int] = {}

    def floor_of(room: str) -> int:
        if room not in floors:
            floors[room] = 1 + max(map(floor_of, imports[room]), default=-1)
        return floors[room]

    for room in imports:
        floor_of(room)
    return floors


def without_implied(imports: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return the imports without those that a room also reaches through another one."""
    def reached(room: str) -> set[str]:
        return imports[room].union(*map(reached, imports[room]))

    return {room: found - set().union(*map(reached, found)) for room, found in imports.items()}


def draw(modules: Mapping[str, list[Path]], imports: Mapping[str, set[str]]) -> str:
    """Return the picture as SVG."""
    floors = find_floors(imports)
    top = max(floors.values())
    rows = [[room for room in modules if floors[room] == floor] for floor in range(top, -1, -1)]
    width = max(map(len, rows)) * (_BOX_WIDTH + _GAP) - _GAP + 2 * _MARGIN
    height = (top + 1) * _FLOOR_HEIGHT - (_FLOOR_HEIGHT - _BOX_HEIGHT) + 2 * _MARGIN
    places = {}
    for number, row in enumerate(rows):
        extent = len(row) * (_BOX_WIDTH + _GAP) - _GAP
        for column, room in enumerate(row):
            places[room] = ((width - extent) // 2 + column * (_BOX_WIDTH + _GAP),
                            _MARGIN + number * _FLOOR_HEIGHT)
    lines = [_line(places[room], places[below]) for room in modules
             for below in sorted(without_implied(imports)[room])]
    boxes = [_box(room, len(paths), *places[room]) for room, paths in modules.items()]
    return '\n'.join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>', *lines, *boxes, '</svg>', ''])


def _line(upper: tuple[int, int], lower: tuple[int, int]) -> str:
    """A curve from the bottom of one box to the top of another."""
    x1, y1 = upper[0] + _BOX_WIDTH // 2, upper[1] + _BOX_HEIGHT
    x2, y2 = lower[0] + _BOX_WIDTH // 2, lower[1]
    bend = (_FLOOR_HEIGHT - _BOX_HEIGHT) // 2
    return (f'<path d="M{x1} {y1} C{x1} {y1 + bend} {x2} {y2 - bend} {x2} {y2}" fill="none" '
            'stroke="#94a3b8"/>')


def _box(room: str, count: int, x: int, y: int) -> str:
    color = next((color for part, color in _COLORS.items() if part in room.split('.')), '#475569')
    middle, counted = x + _BOX_WIDTH // 2, f'{count} modules' if count > 1 else '1 module'
    return (f'<rect x="{x}" y="{y}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="6" '
            f'fill="{color}"/>'
            f'<text x="{middle}" y="{y + 17}" font-size="13" fill="#ffffff" '
            f'text-anchor="middle">{escape(room)}</text>'
            f'<text x="{middle}" y="{y + 32}" font-size="10" fill="#e2e8f0" '
            f'text-anchor="middle">{counted}</text>')


def picture() -> str:
    """Return the picture of the package as it is."""
    modules = read_modules(read_rooms())
    return draw(modules, read_imports(modules))


if __name__ == '__main__':
    PICTURE.write_text(picture(), encoding='utf-8')
