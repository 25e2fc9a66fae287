# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What all commands share: help, what is imported, and how they end."""

import importlib
import os
import shlex
import subprocess
import sys
from argparse import Namespace

import pytest

from trt_segmentation.cli import inspect
from trt_segmentation.cli.main import COMMANDS, main

PROGRAM = [sys.executable, '-m', 'trt_segmentation.cli.main']


def help_of(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, '--help'])
    assert ended.value.code == 0
    return capsys.readouterr().out


def parsed(arguments, monkeypatch):
    """Return what a command would be executed with."""
    found = []

    def execute(args: Namespace) -> int:
        found.append(args)
        return 0

    monkeypatch.setattr(f'trt_segmentation.cli.{arguments[0]}.execute', execute)
    assert main(arguments) == 0
    return found[0]


@pytest.mark.parametrize('command', COMMANDS)
def test_summaries_are_those_of_the_modules(command):
    module = importlib.import_module(f'trt_segmentation.cli.{command}')
    assert COMMANDS[command] == module.__doc__.splitlines()[0]


def test_a_command_imports_no_other():
    text = ('import sys; from trt_segmentation.cli.main import main\n'
            'try:\n    main(["inspect", "--help"])\nfinally:\n    print(*sys.modules)')
    done = subprocess.run([sys.executable, '-c', text], capture_output=True, text=True,
                          timeout=60)
    loaded = done.stdout.splitlines()[-1].split()
    ours = {name for name in loaded if name.startswith('trt_segmentation.cli.')}
    assert ours == {f'trt_segmentation.cli.{name}' for name in ('console', 'inspect', 'main')}
    assert {'cv2', 'onnxruntime', 'tensorrt', 'tensorrt_rtx', 'tqdm'} & set(loaded) == set()


@pytest.mark.parametrize('command', COMMANDS)
def test_help_ends_with_an_example_that_parses(command, capsys, monkeypatch):
    shown = help_of(command, capsys)
    *_, title, example = shown.splitlines()
    assert title == 'example:'
    program, *arguments = shlex.split(example)
    assert (program, arguments[0]) == ('trt-segmentation', command)
    parsed(arguments, monkeypatch)


def test_an_unknown_command_is_answered_with_all_of_them(capsys):
    with pytest.raises(SystemExit) as ended:
        main(['segment'])
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert all(name in shown for name in COMMANDS)


@pytest.mark.parametrize('arguments', [['inspect'], ['inspect', '--help'], ['--help'],
                                       ['inspect', 'gone.onnx']], ids=' '.join)
def test_a_reader_that_goes_away_is_no_error(arguments):
    environment = {name: value for name, value in os.environ.items()
                   if name != 'PYTHONUNBUFFERED'}
    with subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=environment) as process:
        process.stdout.close()
        shown = process.stderr.read()
        code = process.wait(60)
    if arguments[-1] == 'gone.onnx':  # an error has somewhere to go
        assert (code, shown.count(b'\n')) == (1, 1)
    else:
        assert (code, shown) == (141, b'')


def test_an_interrupt_ends_without_a_word(monkeypatch, capsys):
    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(inspect, 'execute', interrupt)
    assert main(['inspect']) == 130
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ('', '')
