# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Options of ``trt-segmentation view``."""

import argparse
import importlib.metadata
import importlib.util

import pytest

from trt_segmentation.cli.main import main
from trt_segmentation.web.view_options import ViewOptions, add_arguments, parsed


def parse(*arguments):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parsed(parser.parse_args(arguments))


def test_by_default_only_this_machine_can_look():
    assert parse() == ViewOptions()
    assert ViewOptions().is_local


@pytest.mark.parametrize(('host', 'local', 'everywhere'), [
    ('localhost', True, False), ('127.0.0.5', True, False), ('::1', True, False),
    ('0.0.0.0', False, True), ('::', False, True), ('192.168.1.5', False, False),
    ('robot', False, False)])
def test_who_can_look_follows_from_the_host(host, local, everywhere):
    options = ViewOptions(host=host)
    assert (options.is_local, options.is_everywhere) == (local, everywhere)


def test_options_pass_to_another_process():
    options = ViewOptions('/front/segmentation', '::1', 0, 2.5, 640, 'lanes')
    assert parse(*options.arguments()) == options


def test_a_node_may_be_named_without_its_first_slash():
    assert parse('--node', 'front/segmentation').node == '/front/segmentation'


@pytest.mark.parametrize('argument', ['--port=65536', '--port=-1', '--fps=0', '--fps=nan',
                                      '--fps=1e9', '--width=1', '--width=wide'])
def test_numbers_out_of_bounds_are_refused(argument, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(argument)
    assert ended.value.code == 2
    assert f"'{argument.partition('=')[2]}' is not a number from" in capsys.readouterr().err


def test_an_aiohttp_that_is_too_old_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: 1)
    monkeypatch.setattr(importlib.metadata, 'version', lambda name: '3.8.1')
    monkeypatch.setattr('os.execv', None)
    assert main(['view']) == 1
    assert capsys.readouterr().err == (
        'error: aiohttp 3.8.1 is installed, and 3.9 or newer is needed; it serves the page; '
        "pip install 'aiohttp>=3.9'\n")


@pytest.mark.parametrize(('missing', 'way_out'), [
    ('rclpy', 'source a ROS 2 installation'),
    ('aiohttp', "pip install 'aiohttp>=3.9'")])
def test_what_is_not_installed_is_one_sentence(missing, way_out, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None if name == missing else 1)
    monkeypatch.setattr('os.execv', None)
    assert main(['view']) == 1
    message = capsys.readouterr().err
    assert message.startswith(f'error: {missing}')
    assert way_out in message
    assert message.count('\n') == 1
