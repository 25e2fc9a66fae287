# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Sizes, colours and texts of drawn pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from trt_segmentation.classes.palette import Palette
from trt_segmentation.images.render import Cell, colored_mask, legend, panel, sheet

PALETTE = Palette(((255, 0, 0), (0, 255, 0), (0, 0, 255)))
LABELS = ('red', 'green', 'blue')
ROW, TOP = 26, 10
"""Height of a legend's line and where the first one begins."""


def swatches(picture):
    """Return the colours of a legend's lines, BGR."""
    centres = range(TOP + 9, picture.shape[0] - 16, ROW)
    return [tuple(picture[row, 20].tolist()) for row in centres]


def text_of(picture, line):
    """Return the part of a legend that holds the text of a line."""
    return picture[TOP + line * ROW:TOP + (line + 1) * ROW, 36:]


@given(mask=arrays.arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20))))
def test_colored_mask_is_the_palette_at_the_mask(mask):
    picture = colored_mask(mask, PALETTE)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, PALETTE.table('bgr')[mask])


def test_colored_mask_is_bgr_and_black_without_a_class():
    picture = colored_mask(np.array([[0, 1, 2, 3, 255]], np.uint8), PALETTE)
    assert picture.tolist() == [[[0, 0, 255], [0, 255, 0], [255, 0, 0], [0, 0, 0], [0, 0, 0]]]


def test_colored_mask_of_a_slice():
    mask = np.arange(64, dtype=np.uint8).reshape(8, 8)[::2, 1::3] % 4
    np.testing.assert_array_equal(colored_mask(mask, PALETTE), PALETTE.table('bgr')[mask])


def test_legend_lists_the_largest_first():
    mask = np.repeat(np.array([1, 2, 255], np.uint8), [20, 70, 10]).reshape(10, 10)
    picture = legend(mask, LABELS, PALETTE, 200)
    assert (picture.dtype, picture.shape) == (np.uint8, (200, 260, 3))
    white = (255, 255, 255)
    assert swatches(picture) == [(255, 0, 0), (0, 255, 0), (0, 0, 0), white, white, white, white]
    assert [bool((text_of(picture, line) < 255).any()) for line in range(5)] == \
        [True, True, True, False, False]


def test_legend_names_the_classes():
    gray = Palette(((9, 9, 9),) * 3)
    one, other = (legend(np.full((4, 4), index, np.uint8), LABELS, gray, 60) for index in (0, 1))
    np.testing.assert_array_equal(one[:, :36], other[:, :36])
    assert (text_of(one, 0) != text_of(other, 0)).any()
    renamed = legend(np.full((4, 4), 1, np.uint8), ('a', 'red', 'b'), gray, 60)
    np.testing.assert_array_equal(renamed, one)


def test_legend_names_classes_without_a_label():
    mask = np.full((4, 4), 7, np.uint8)
    unnamed = legend(mask, LABELS, PALETTE, 60)
    named = legend(mask, [f'class {i}' for i in range(8)], PALETTE, 60)
    np.testing.assert_array_equal(unnamed, named)
    unlabelled = legend(np.full((4, 4), 255, np.uint8), LABELS, PALETTE, 60)
    assert (text_of(unlabelled, 0) != text_of(unnamed, 0)).any()


@pytest.mark.parametrize(('height', 'lines'), [(1, 0), (35, 0), (36, 1), (61, 1), (62, 2),
                                               (88, 3), (200, 3)])
def test_legend_leaves_out_classes_that_do_not_fit(height, lines):
    mask = np.array([[0, 1, 2]], np.uint8)
    picture = legend(mask, LABELS, PALETTE, height)
    assert picture.shape == (height, 260, 3)
    rows = [row for row in range(TOP, height) if (picture[row, 10] != 255).any()]
    assert len(rows) == lines * 19


@pytest.mark.parametrize(('size', 'height', 'width'), [((30, 40), 300, 400), ((30, 40), 90, 120),
                                                       ((40, 30), 100, 75), ((400, 1), 100, 1),
                                                       ((720, 1280), 45, 80)])
def test_panel_sizes_and_colours(size, height, width):
    image = np.full((*size, 3), (10, 20, 30), np.uint8)
    overlay = np.full((*size, 3), (40, 50, 60), np.uint8)
    mask = np.full(size, 2, np.uint8)
    picture = panel(image, mask, overlay, LABELS, PALETTE, height)
    assert picture.dtype == np.uint8
    assert picture.shape == (height + 32, 3 * (width + 6) + 266, 3)
    for index, color in enumerate([(10, 20, 30), (255, 0, 0), (40, 50, 60)]):
        left = index * (width + 6) + 3
        assert (picture[28:28 + height, left:left + width] == color).all()
    assert swatches(picture[28:28 + height, 3 * (width + 6) + 3:])[0] == (255, 0, 0)


def test_panel_does_not_mix_classes():
    mask = np.indices((60, 80)).sum(axis=0).astype(np.uint8) % 3
    picture = panel(np.zeros((60, 80, 3), np.uint8), mask, np.zeros((60, 80, 3), np.uint8),
                    LABELS, PALETTE, 37)
    width = round(80 * 37 / 60)
    middle = picture[28:28 + 37, width + 9:2 * width + 9]
    assert set(map(tuple, middle.reshape(-1, 3).tolist())) == {
        (0, 0, 255), (0, 255, 0), (255, 0, 0)}


# Sheets of pictures


@pytest.mark.parametrize('size', [(90, 160), (320, 60), (60, 320), (1, 400), (400, 1)])
@pytest.mark.parametrize('count', [1, 2, 5, 6, 9])
def test_a_sheet_is_about_a_screen(size, count):
    picture = sheet([Cell(np.zeros((*size, 3), np.uint8), ('title',))] * count)
    assert picture.dtype == np.uint8
    height, width = picture.shape[:2]
    assert height <= 4 * 620
    assert width <= 5 * 660
    if count > 4:
        assert 0.8 < width / height < 3.5


def test_a_sheet_shows_every_picture_with_its_texts():
    colors = [(40 * index, 10, 200) for index in range(6)]
    picture = sheet([Cell(np.full((90, 160, 3), color, np.uint8), (f'{index}',),
                          (('road 50%', color), ('hint', None)))
                     for index, color in enumerate(colors)])
    found = {tuple(color) for color in picture.reshape(-1, 3).tolist()}
    assert set(colors) <= found
    squares = [int(np.all(picture == color, axis=2).sum()) for color in colors]
    assert all(count > 640 * 360 for count in squares)


@pytest.mark.parametrize('size', [(90, 160), (320, 60)])
def test_long_lines_are_cut(size):
    cell = Cell(np.full((*size, 3), 255, np.uint8), ('W' * 300,), (('W' * 300, (0, 0, 255)),))
    picture = sheet([cell] * 6)
    inked = (picture < 128).any(axis=(0, 2))
    width = max(380, min(640, round(480 * size[1] / size[0]))) + 16
    assert picture.shape[1] % width == 0
    for right in range(width, picture.shape[1] + 1, width):
        assert not inked[right - 6:right].any()
