# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Parsing and validation of launch arguments, without launch."""

from pathlib import Path

import pytest

from trt_segmentation.errors import ConfigError
from trt_segmentation.ros.launch_arguments import (
    absolute_topic,
    flag,
    for_camera,
    full_namespace,
    log_level,
    parameter_overrides,
    params_file,
)


def test_parameters_get_their_types():
    found = parameter_overrides({'overlay_alpha': '1', 'roi': '[1, 2, 3, 4]', 'device': '',
                                 'confidence': 'False', 'use_sim_time': 'TRUE', 'a_parents': 'x'})
    assert found == {'overlay_alpha': 1.0, 'roi': [1, 2, 3, 4], 'confidence': False,
                     'use_sim_time': True}


@pytest.mark.parametrize(('name', 'text', 'fault'), [
    ('device', 'left_camera', 'int is needed'), ('device', '99', 'it must be 0 to 63'),
    ('precision', 'fp61', 'it must be one of fp32, fp16, int8'), ('cameras', '[]', 'omit it'),
    ('roi', '[a, b, c, d]', 'wrong type'), ('roi', '[1, 2]', 'it must have 4 values'),
    ('cameras', '[1, 2]', 'wrong type'), ('use_sim_time', 'maybe', 'it must be true or false')])
def test_a_bad_value_may_be_inherited_and_the_error_names_the_remedy(name, text, fault):
    with pytest.raises(ConfigError, match=fault) as caught:
        parameter_overrides({name: text})
    assert 'inherits arguments of the same name' in str(caught.value)
    assert f"Set '{name}' in the launch_arguments" in str(caught.value)


@pytest.mark.parametrize(('text', 'expected'), [('true', True), ('True', True), ('FALSE', False),
                                                ('', False)])
def test_flags(text, expected):
    assert flag('rviz', text) is expected


@pytest.mark.parametrize(('text', 'expected'), [
    ('INFO', 'info'), ('Warning', 'warn'), ('warn', 'warn'), ('Critical', 'fatal'), ('', 'info')])
def test_log_levels(text, expected):
    assert log_level(text) == expected


def test_a_log_level_that_does_not_exist():
    with pytest.raises(ConfigError, match="log_level is 'LOUD'; it must be one of debug, info"):
        log_level('LOUD')


@pytest.mark.parametrize(('pushed', 'namespace', 'expected'), [
    (None, '', ''), (None, 'a', '/a'), ('/r', '', '/r'), ('/r', 'a/b/', '/r/a/b'),
    ('/r', '/a', '/a'), ('/', 'a', '/a'), ('/r', '/', '')])
def test_namespaces(pushed, namespace, expected):
    assert full_namespace(pushed, namespace) == expected


@pytest.mark.parametrize(('topic', 'expected'), [('a/b', '/r/a/b'), ('/a', '/a'), ('~/a', '~/a')])
def test_topics(topic, expected):
    assert absolute_topic('/r', topic) == expected


@pytest.mark.parametrize(('template', 'camera'), [
    ('/{camera}/image', ''), ('/{cam}/image', 'front'), ('/{camera}/{', 'front')])
def test_braces_that_nothing_replaces(template, camera):
    with pytest.raises(ConfigError, match=r'the only placeholder is \{camera}'):
        for_camera('image_topic', template, camera)


@pytest.mark.parametrize(('key', 'node', 'is_meant'), [
    ('/**', '/r/segmentation', True), ('segmentation', '/segmentation', True),
    ('segmentation', '/r/segmentation', False), ('/r/segmentation', '/r/segmentation', True),
    ('/**/segmentation', '/segmentation', True), ('/*/segmentation', '/segmentation', False),
    ('/*/segmentation', '/r/segmentation', True), ('/*', '/segmentation', True),
    ('r/**', '/r/segmentation', True), ('planner_server', '/segmentation', False)])
def test_files_of_parameters_mean_nodes_as_rcl_reads_them(tmp_path, key, node, is_meant):
    file = tmp_path / 'parameters.yaml'
    file.write_text(f"'{key}':\n  ros__parameters: {{min_rate: 1.0}}\n")
    path, warnings = params_file(str(file), file, node)
    assert path == str(file)
    assert (warnings == []) is is_meant
    assert is_meant or f'sets no parameter of {node}' in warnings[0]


def test_a_namespace_may_stand_around_the_node(tmp_path):
    file = tmp_path / 'parameters.yaml'
    file.write_text('r: {segmentation: {ros__parameters: {min_rate: 1.0}}}')
    assert params_file('', file, '/r/segmentation') == (str(file), [])


@pytest.mark.parametrize('text', ['', 'a: 1', '[]', '/**: {min_rate: 1.0}'])
def test_a_file_without_parameters_is_a_warning(tmp_path, text):
    file = tmp_path / 'parameters.yaml'
    file.write_text(text)
    _, (warning,) = params_file(str(file), file, '/segmentation')
    assert 'it contains no ros__parameters' in warning


def test_a_misspelt_parameter_is_a_warning(tmp_path):
    file = tmp_path / 'parameters.yaml'
    file.write_text('segmentation: {ros__parameters: {precisions: fp16, use_sim_time: true, '
                    'qos_overrides: {}, min_rate: 1.0}}\n'
                    '/**: {ros__parameters: {of_another_node: 1}}')
    _, (warning,) = params_file(str(file), file, '/segmentation')
    assert "sets 'precisions' of /segmentation, which has no such parameter" in warning


@pytest.mark.parametrize(('text', 'fault'), [(None, 'does not exist'),
                                             ('a: [b', 'not valid YAML'),
                                             (b'\xff', 'not valid YAML')])
def test_a_file_that_cannot_be_read(tmp_path, text, fault):
    file = tmp_path / 'parameters.yaml'
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=fault):
        params_file(str(file), tmp_path, '/segmentation')


def test_the_shipped_file_is_good():
    shipped = Path(__file__).parents[2] / 'config' / 'seg.yaml'
    assert params_file('', shipped, '/robot1/front/segmentation') == (str(shipped), [])
