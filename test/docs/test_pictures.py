# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The pictures of the documentation that scripts make."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
import rviz_picture as rviz
import yaml

IMAGES = Path(__file__).parents[2] / 'docs' / 'images'


def test_rviz_is_drawn_from_its_config():
    drawn = rviz.picture()
    assert rviz.PICTURE.read_text(encoding='utf-8') == drawn, \
        'python tools/rviz_picture.py draws it again'
    texts = {each.text for each in ElementTree.fromstring(drawn).iter()}
    manager = yaml.safe_load(rviz.CONFIG.read_text())['Visualization Manager']
    assert {each['Topic']['Value'] for each in manager['Displays']} <= texts
    assert manager['Global Options']['Fixed Frame'] in texts


def test_the_demo_is_a_short_animation():
    pictures = pytest.importorskip('PIL.Image')
    file = IMAGES / 'demo.webp'
    assert file.stat().st_size < 2e6
    with pictures.open(file) as animation:
        assert animation.n_frames == 60
        assert animation.size == (640, 360)
