# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Published class sets and generated colours."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trt_segmentation.classes.palette import Palette, preset_labels, preset_names
from trt_segmentation.errors import ConfigError

COUNTS = {'cityscapes': 19, 'ade20k': 150, 'pascal_voc': 21, 'coco_stuff': 171}
PUBLISHED = [  # preset, id, name, colour; from the sets' own publications
    ('cityscapes', 0, 'road', (128, 64, 128)),
    ('cityscapes', 8, 'vegetation', (107, 142, 35)),
    ('cityscapes', 10, 'sky', (70, 130, 180)),
    ('cityscapes', 11, 'person', (220, 20, 60)),
    ('cityscapes', 13, 'car', (0, 0, 142)),
    ('cityscapes', 18, 'bicycle', (119, 11, 32)),
    ('ade20k', 0, 'wall', (120, 120, 120)),
    ('ade20k', 2, 'sky', (6, 230, 230)),
    ('ade20k', 12, 'person', (150, 5, 61)),
    ('ade20k', 149, 'flag', (92, 0, 255)),
    ('pascal_voc', 0, 'background', (0, 0, 0)),
    ('pascal_voc', 1, 'aeroplane', (128, 0, 0)),
    ('pascal_voc', 15, 'person', (192, 128, 128)),
    ('pascal_voc', 20, 'tvmonitor', (0, 64, 128)),
    ('coco_stuff', 0, 'person', (0, 192, 64)),
    ('coco_stuff', 2, 'car', (0, 64, 96)),
    ('coco_stuff', 79, 'toothbrush', None),
    ('coco_stuff', 80, 'banner', None),
    ('coco_stuff', 170, 'wood', None),
]


def test_presets_are_these():
    assert preset_names() == tuple(sorted(COUNTS))


@pytest.mark.parametrize(('name', 'count'), COUNTS.items())
def test_counts(name, count):
    labels, colors = preset_labels(name), Palette.preset(name).colors
    assert len(labels) == len(colors) == count
    assert len(set(labels)) == count
    assert all(label == label.strip() != '' for label in labels)
    assert all(len(color) == 3 and all(0 <= c <= 255 for c in color) for color in colors)


@pytest.mark.parametrize(('name', 'index', 'label', 'color'), PUBLISHED)
def test_published_entries(name, index, label, color):
    assert preset_labels(name)[index] == label
    if color is not None:
        assert Palette.preset(name).colors[index] == color


def test_pascal_vocs_colours_are_the_devkits_formula():
    assert Palette.preset('pascal_voc') == Palette.generate(21, background=True)


@pytest.mark.parametrize('name', ['cityscape', 'Cityscapes', '', '../presets/cityscapes'])
def test_unknown_presets_are_refused(name):
    for reading in (preset_labels, Palette.preset):
        with pytest.raises(ConfigError, match=f"'{name}'.*ade20k, cityscapes, coco_stuff, pascal"):
            reading(name)


@given(count=st.integers(1, 255), background=st.booleans())
def test_generated_colours_are_distinct(count, background):
    colors = Palette.generate(count, background).colors
    assert len(set(colors)) == len(colors) == count
    assert colors == Palette.generate(255, background).colors[:count]
    assert ((0, 0, 0) in colors) == background
    assert all(0 <= c <= 255 for color in colors for c in color)


def test_only_background_is_black():
    assert Palette.generate(3, background=True).colors == ((0, 0, 0), (128, 0, 0), (0, 128, 0))
    assert Palette.generate(3).colors == ((128, 0, 0), (0, 128, 0), (128, 128, 0))


@given(colors=st.lists(st.tuples(*[st.integers(0, 255)] * 3), max_size=255))
def test_table(colors):
    palette = Palette(tuple(colors))
    rgb, bgr = palette.table('rgb'), palette.table('bgr')
    for table in (rgb, bgr, palette.table()):
        assert (table.dtype, table.shape) == (np.uint8, (256, 3))
        assert table.flags.c_contiguous
        assert not table[len(colors):].any()
    assert [tuple(row) for row in rgb[:len(colors)].tolist()] == colors
    np.testing.assert_array_equal(bgr, rgb[:, ::-1])
    np.testing.assert_array_equal(palette.table(), bgr)
