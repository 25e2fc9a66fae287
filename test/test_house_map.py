# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The picture of the rooms in CONTRIBUTING.md is that of the package as it is."""

import house_map


def test_the_picture_is_up_to_date():
    assert house_map.PICTURE.read_text(encoding='utf-8') == house_map.picture(), \
        'python tools/house_map.py draws it again'


def test_every_room_imports_only_from_floors_below():
    imports = house_map.read_imports(house_map.read_modules(house_map.read_rooms()))
    floors = house_map.find_floors(imports)
    assert floors['cli'] == max(floors.values())
    assert floors['errors'] == 0
    assert all(floors[room] > floors[below] for room, found in imports.items() for below in found)


def test_lines_that_follow_from_others_are_left_out():
    imports = {'a': {'b', 'c'}, 'b': {'c'}, 'c': set()}
    assert house_map.without_implied(imports) == {'a': {'b'}, 'b': {'c'}, 'c': set()}
    assert house_map.find_floors(imports) == {'a': 2, 'b': 1, 'c': 0}
