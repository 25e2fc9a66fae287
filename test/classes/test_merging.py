# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Merged classes in the model config: valid and invalid ones."""

import pytest

from trt_segmentation.errors import ConfigError
from trt_segmentation.model_config import ModelConfig

NETWORK = {'labels': ['road', 'path', 'person', 'dog', 'sky']}


def read(text):
    return ModelConfig.from_text(text, 'net.yaml')


def spec_of(networks, channels=5, **classes):
    return networks.spec_of(networks.fixed(networks.random_scores(channels, 4, 5)),
                            classes=classes)


def test_labels_and_ids_name_the_members(networks):
    spec = spec_of(networks, **NETWORK, merge={'way': ['road', 1], 'other': 'rest', 'me': [2]})
    assert spec.labels == ('way', 'other', 'me')
    assert spec.merge.mask_ids == (0, 0, 2, 1, 1)


def test_a_class_that_is_not_listed_has_no_class_in_the_mask(networks):
    spec = spec_of(networks, **NETWORK, merge={'way': ['road']})
    assert spec.merge.mask_ids == (0, None, None, None, None)


def test_colours_are_those_of_the_config_else_of_the_first_member(networks):
    colors = [[i, i, i] for i in range(5)]
    merge = {'way': ['path', 'road'], 'me': {'of': ['person'], 'color': [9, 8, 7]},
             'other': 'rest'}
    spec = spec_of(networks, **NETWORK, colors=colors, merge=merge)
    assert spec.palette.colors == ((1, 1, 1), (9, 8, 7), (3, 3, 3))


def test_names_of_merged_classes_are_not_assumed(networks):
    spec = spec_of(networks, merge={'way': [0, 'class 1'], 'other': 'rest'})
    assert spec.labels == ('way', 'other')
    assert 'classes.labels' not in [fact.key for fact in spec.assumed]


def test_a_written_merge_is_read_back():
    config = read('classes: {preset: ade20k, merge: {road: [road, 52], '
                  'person: {of: [person], color: [1, 2, 3]}, obstacle: rest}}')
    assert read(config.to_text()) == config


@pytest.mark.parametrize(('merge', 'message'), [
    ('[road]', 'it is a mapping such as'),
    ('{way: road}', "classes.merge.way is 'road'; it is a list"),
    ('{way: []}', 'it is a list of labels or ids'),
    ('{way: [true]}', 'it is a list of labels or ids'),
    ('{1: [road]}', 'has the key 1; keys are names'),
    ('{a: rest, b: rest}', 'gives the rest to a and to b; only one'),
    ('{way: {color: [1, 2, 3]}}', 'known keys are of (needed) and color'),
    ('{way: {of: [road], colour: [1, 2, 3]}}', 'has the keys of, colour; known keys'),
    ('{way: {of: [road], color: [1, 2]}}', 'way.color is [1, 2]; it is [red, green, blue]'),
    ('{way: {of: [road], color: [1, 2, 256]}}', 'it is [red, green, blue], 0 to 255'),
])
def test_invalid_merges_are_refused(merge, message):
    with pytest.raises(ConfigError) as caught:
        read(f'classes: {{merge: {merge}}}')
    assert message in str(caught.value)
    assert str(caught.value).startswith('net.yaml: classes.merge')


@pytest.mark.parametrize(('classes', 'message'), [
    ({'merge': {'way': ['raod']}}, "names 'raod', which is no class of the network; similar names "
                                   'are road'),
    ({'merge': {'way': ['Person']}}, 'similar names are person'),
    ({'merge': {'way': ['xyzzy']}}, 'its classes are road, path, person, dog, sky'),
    ({'merge': {'way': [5]}}, 'names class 5, but the network has 5 classes, 0 to 4'),
    ({'merge': {'way': [-1]}}, 'names class -1'),
    ({'merge': {'way': ['road'], 'b': ['path', 0]}}, 'names 0 twice, for way and for b'),
    ({'merge': {'way': ['road', 'road']}}, "names 'road' twice, for way and for way"),
    ({'merge': {'way': [0, 1, 2, 3, 4], 'b': 'rest'}}, 'b takes the rest, but every class'),
    ({'merge': {'way': ['road']}, 'unlabelled': 0}, 'is no class by classes.unlabelled (0)'),
])
def test_merges_that_do_not_fit_the_network_are_refused(networks, classes, message):
    with pytest.raises(ConfigError) as caught:
        spec_of(networks, **NETWORK, **classes)
    assert message in str(caught.value)
    assert str(caught.value).startswith('net.onnx: ')


def test_names_need_a_network_whose_names_are_known(networks):
    with pytest.raises(ConfigError, match='class names are not known; name classes by id'):
        networks.spec_of(networks.fixed(networks.random_scores(1, 4, 5)[0].astype('int32')),
                         classes={'merge': {'way': ['road']}})
