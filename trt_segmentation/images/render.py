# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Drawing of coloured masks, overlays, legends, panels, confusion matrices and sheets."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from trt_segmentation.classes.palette import Palette
from trt_segmentation.images.gray import as_bgr

_INK = (40, 40, 40)
_PAPER = (255, 255, 255)
_RED = (0, 0, 255)
_BLUE = (140, 70, 10)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_NAMES = 190
"""Width of the class names beside a confusion matrix, pixels."""

_CELL_BOX = 640, 480
"""Maximum width and height of a picture in a sheet, pixels; pictures are scaled to fit."""

_CELL_WIDTH = 380
"""Minimum width of a cell in a sheet, so that text fits below a narrow picture, pixels."""

_LINE = 22
_SHEET_ASPECT = 1.6
"""Target ratio of width to height of a sheet: about that of a screen."""


@dataclass(frozen=True)
class Cell:
    """A picture in a sheet, with its texts.

    Attributes:
        picture: uint8 [H, W, 3], BGR.
        title: lines above it.
        captions: lines below it, each with the colour (BGR) of the square before it, or None.
    """

    picture: np.ndarray
    title: Sequence[str] = ()
    captions: Sequence[tuple[str, Sequence[int] | None]] = ()


def colored_mask(mask: np.ndarray, palette: Palette) -> np.ndarray:
    """Return a mask in its classes' colours.

    Args:
        mask: uint8 or uint16 [H, W].

    Returns:
        uint8 [H, W, 3], BGR.
    """
    table = palette.table('bgr', np.iinfo(mask.dtype).max + 1)
    if mask.dtype != np.uint8:
        return table[mask]
    return cv2.applyColorMap(mask, table.reshape(256, 1, 3))


def halved(image: np.ndarray) -> np.ndarray:
    """Return an image of half the size, as of ``graph.pipeline.overlay_scale``.

    Args:
        image: uint8 [H, W, 3] or [H, W].

    Returns:
        The rounded mean of 2x2 pixels each, of half the height and width, rounded up.
    """
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        image = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    return cv2.resize(image, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)


def blended(image: np.ndarray, mask: np.ndarray, palette: Palette, alpha: float) -> np.ndarray:
    """Return an image blended with the colours of its mask, equal to the graph's overlay.

    Args:
        image: uint8 [H, W, 3], BGR.
        mask: uint8 or uint16 [H, W].
        alpha: 0 (image) .. 1 (colour).

    Returns:
        uint8 [H, W, 3], BGR.
    """
    share = np.float32(alpha)
    colors = colored_mask(mask, palette) * share
    # ONNX Runtime multiplies and adds the image in one step, which rounds once (MLAS, qladd.cpp).
    total = (image * float(np.float32(1) - share) + colors).astype(np.float32)
    return np.rint(total).astype(np.uint8)


def legend(mask: np.ndarray, labels: Sequence[str], palette: Palette, height: int) -> np.ndarray:
    """Return the classes that occur in a mask with their colours and shares, largest first.

    Args:
        mask: uint8 or uint16 [H, W].
        labels: class names by id.
        height: of the picture, pixels; classes that do not fit are left out.

    Returns:
        uint8 [height, 260, 3], BGR.
    """
    picture = np.full((height, 260, 3), _PAPER, np.uint8)
    unlabelled = np.iinfo(mask.dtype).max
    counts = np.bincount(mask.ravel(), minlength=unlabelled + 1)
    row = 26
    table = palette.table('bgr', unlabelled + 1)
    for line, index in enumerate(np.argsort(-counts, kind='stable')):
        top = 10 + line * row
        if counts[index] == 0 or top + row > height:
            break
        name = 'unlabelled' if index == unlabelled else \
            labels[index] if index < len(labels) else f'class {index}'
        color = tuple(int(c) for c in table[index])
        cv2.rectangle(picture, (10, top), (32, top + 18), color, cv2.FILLED)
        cv2.rectangle(picture, (10, top), (32, top + 18), _INK, 1)
        share = counts[index] / mask.size
        cv2.putText(picture, f'{name[:18]} {share:.1%}', (42, top + 14), _FONT, 0.45, _INK, 1,
                    cv2.LINE_AA)
    return picture


def panel(image: np.ndarray, mask: np.ndarray, overlay: np.ndarray, labels: Sequence[str],
          palette: Palette, height: int = 300) -> np.ndarray:
    """Return image, mask, overlay and legend side by side.

    Args:
        image, overlay: uint8 [H, W, 3], BGR.
        mask: uint8 or uint16 [H, W].
        height: of each picture, pixels.

    Returns:
        uint8 [height + 32, sum of widths, 3], BGR, a title above each.
    """
    pictures = {'image': _scaled(image, height), 'mask': _scaled_mask(mask, palette, height),
                'overlay': _scaled(overlay, height),
                'classes': legend(mask, labels, palette, height)}
    return np.hstack([_titled(picture, title) for title, picture in pictures.items()])


def differences(image: np.ndarray, ours: np.ndarray, theirs: np.ndarray, palette: Palette,
                height: int = 300) -> np.ndarray:
    """Return an image, two masks, and their differences in red, side by side.

    Args:
        image: uint8 [H, W, 3], BGR, or any image that ``images.gray.as_bgr`` accepts.
        ours, theirs: uint8 or uint16 [H, W].
        height: of each picture, pixels.

    Returns:
        uint8 [height + 32, sum of widths, 3], BGR, a title above each.
    """
    image = as_bgr(image)
    dimmed = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR) // 2
    dimmed[ours != theirs] = _RED
    pictures = {'image': _scaled(image, height), 'ours': _scaled_mask(ours, palette, height),
                'theirs': _scaled_mask(theirs, palette, height),
                'different': _scaled(dimmed, height)}
    return np.hstack([_titled(picture, title) for title, picture in pictures.items()])


def confusion_picture(confusion: np.ndarray, names: Sequence[str], reference: str) -> np.ndarray:
    """Draw a confusion matrix of the classes that occur; each row has shares of its sum.

    Args:
        confusion: int64, from ``confusion_matrix`` or ``joint_counts``.
        names: of its columns.
        reference: name of its rows.

    Returns:
        uint8 [H, W, 3], BGR.
    """
    counts = np.zeros((confusion.shape[1],) * 2)
    counts[:len(confusion)] = confusion
    kept = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1)).tolist()
    counts = counts[np.ix_(kept, kept)]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cell = int(np.clip(900 // len(kept), 10, 56))
    blue = np.array(_PAPER) + shares[..., None] * (np.array(_BLUE) - _PAPER)
    cells = blue.astype(np.uint8).repeat(cell, axis=0).repeat(cell, axis=1)
    if cell >= 30:
        for (row, column), share in np.ndenumerate(shares):
            place = column * cell + 6, int((row + 0.5) * cell) + 4
            cv2.putText(cells, f'{100 * share:.0f}', place, _FONT, 0.45,
                        _PAPER if share > 0.5 else _INK, 1, cv2.LINE_AA)
    left = np.full((len(cells), _NAMES, 3), 255, np.uint8)
    for row, index in enumerate(kept):
        cv2.putText(left, names[index][:20], (6, int((row + 0.5) * cell) + 4), _FONT,
                    min(0.45, cell / 30), _INK, 1, cv2.LINE_AA)
    corner = np.full((_NAMES, _NAMES, 3), 255, np.uint8)
    for line, text in enumerate((f'rows: {reference}', 'columns: this model', 'percent of a row')):
        cv2.putText(corner, text, (6, 24 + 22 * line), _FONT, 0.45, _INK, 1, cv2.LINE_AA)
    top = cv2.rotate(left, cv2.ROTATE_90_COUNTERCLOCKWISE)
    return np.vstack([np.hstack([corner, top]), np.hstack([left, cells])])


def sheet(cells: Sequence[Cell]) -> np.ndarray:
    """Return pictures in rows and columns, with their texts; lines that are too long are cut.

    Returns:
        uint8 [H, W, 3], BGR; with about the aspect ratio of a screen.
    """
    head, foot = (_LINE * max(map(len, lines)) + 6
                  for lines in ([cell.title for cell in cells],
                                [cell.captions for cell in cells]))
    pictures = [_fitted(cell.picture) for cell in cells]
    height = head + max(len(picture) for picture in pictures) + foot + 14
    width = max(_CELL_WIDTH, *(picture.shape[1] for picture in pictures)) + 16
    columns = _columns(len(cells), width / height)
    paper = np.full((math.ceil(len(cells) / columns) * height, columns * width, 3), 255, np.uint8)
    for index, (cell, picture) in enumerate(zip(cells, pictures, strict=True)):
        top, left = index // columns * height, index % columns * width + 8
        for line, text in enumerate(cell.title):
            _write(paper, text, left, top + line * _LINE, width - 16, thickness=2 - min(line, 1))
        bottom = top + head + len(picture)
        paper[top + head:bottom, left:left + picture.shape[1]] = picture
        for line, (text, color) in enumerate(cell.captions):
            row = bottom + 4 + line * _LINE
            if color is not None:
                corners = (left, row + 4), (left + 14, row + 18)
                cv2.rectangle(paper, *corners, tuple(int(c) for c in color), cv2.FILLED)
                cv2.rectangle(paper, *corners, _INK, 1)
            indent = 0 if color is None else 22
            _write(paper, text, left + indent, row, width - 16 - indent)
    return paper


def _columns(count: int, aspect: float) -> int:
    """Return the number of columns of cells that fits a screen best."""
    def cost(columns: int) -> float:
        rows = math.ceil(count / columns)
        blanks = rows * columns - count
        return abs(math.log(columns * aspect / rows / _SHEET_ASPECT)) + 0.15 * blanks

    return min(range(1, count + 1), key=cost)


def _fitted(picture: np.ndarray) -> np.ndarray:
    """Return a picture scaled to fit into ``_CELL_BOX``."""
    factor = min(_CELL_BOX[0] / picture.shape[1], _CELL_BOX[1] / picture.shape[0])
    height, width = (max(1, round(extent * factor)) for extent in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def _write(paper: np.ndarray, text: str, left: int, top: int, width: int,
           thickness: int = 1) -> None:
    """Write a line of ``_LINE`` pixels, cut to a width in pixels."""
    def extent(text: str) -> int:
        return cv2.getTextSize(text, _FONT, 0.5, thickness)[0][0]

    shown = text
    while extent(shown) > width:
        text = text[:-1]
        shown = text.rstrip() + '...'
    cv2.putText(paper, shown, (left, top + 16), _FONT, 0.5, _INK, thickness, cv2.LINE_AA)


def _scaled(picture: np.ndarray, height: int, interpolation: int = cv2.INTER_AREA) -> np.ndarray:
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    return cv2.resize(picture, (width, height), interpolation=interpolation)


def _scaled_mask(mask: np.ndarray, palette: Palette, height: int) -> np.ndarray:
    return _scaled(colored_mask(mask, palette), height, cv2.INTER_NEAREST)


def _titled(picture: np.ndarray, title: str) -> np.ndarray:
    framed = cv2.copyMakeBorder(picture, 28, 4, 3, 3, cv2.BORDER_CONSTANT, value=_PAPER)
    cv2.putText(framed, title, (8, 19), _FONT, 0.5, _INK, 1, cv2.LINE_AA)
    return framed
