# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""``~`` and ``package://`` in parameters that are paths."""

import sys
from dataclasses import fields

import pytest

from trt_segmentation.errors import ConfigError
from trt_segmentation.ros.parameters import Parameters
from trt_segmentation.ros.paths import PATH_PARAMETERS, expand_path, with_expanded_paths


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package my_robot; its share folder."""
    pytest.importorskip('ament_index_python')
    index = tmp_path / 'share' / 'ament_index' / 'resource_index' / 'packages'
    index.mkdir(parents=True)
    (index / 'my_robot').touch()
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))
    return tmp_path / 'share' / 'my_robot'


@pytest.mark.parametrize('text', ['', '/net.onnx', 'net.onnx', 'a/~/b', 'package:/x', 'file~'])
def test_other_paths_stay_as_they_are(text):
    assert expand_path('engine_path', text) == text


def test_the_home_folder(monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    assert expand_path('engine_path', '~/net.onnx') == '/home/me/net.onnx'
    assert expand_path('engine_cache', '~') == '/home/me'


def test_the_share_folder_of_a_package(package):
    package.mkdir()
    assert expand_path('engine_path', 'package://my_robot/m/net.onnx') == f'{package}/m/net.onnx'
    assert expand_path('calibration_images', 'package://my_robot') == f'{package}/'


@pytest.mark.parametrize('name', ['other', 'no such name', '..'])
def test_a_package_that_is_not_there(package, name):
    with pytest.raises(ConfigError, match=rf"model_config is 'package://{name}/net.yaml'; ROS "
                                          f'package {name} was not found in AMENT_PREFIX_PATH'):
        expand_path('model_config', f'package://{name}/net.yaml')


def test_no_package_path_at_all(package, monkeypatch):
    monkeypatch.delenv('AMENT_PREFIX_PATH')
    with pytest.raises(ConfigError, match='which is empty'):
        expand_path('engine_path', 'package://my_robot/net.onnx')


def test_no_package_is_named():
    with pytest.raises(ConfigError, match='it must name a ROS package'):
        expand_path('engine_path', 'package:///net.onnx')


def test_without_the_index(monkeypatch):
    monkeypatch.setitem(sys.modules, 'ament_index_python.packages', None)
    with pytest.raises(ConfigError, match='requires ament_index_python'):
        expand_path('engine_path', 'package://my_robot/net.onnx')


def test_every_path_among_the_parameters_is_expanded(monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    given = Parameters(**dict.fromkeys(PATH_PARAMETERS, '~/x'), calibration_topic='~/image')
    found = with_expanded_paths(given)
    assert {getattr(found, name) for name in PATH_PARAMETERS} == {'/home/me/x'}
    assert found.calibration_topic == '~/image'


def test_no_path_is_forgotten():
    told = {entry.name for entry in fields(Parameters)
            if any(word in entry.metadata['rule'].description.lower()
                   for word in ('path of', 'file', 'folder'))}
    assert told - {'build_only'} == set(PATH_PARAMETERS)
