# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The commands and examples that the documentation shows work: see tools/documented_commands.py.

Those of ros2 are in test/ros/test_documented_commands.py.
"""

import ast
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import documented_commands as documented
import launch_files
import numpy as np
import pytest
import yaml

from trt_segmentation import Segmenter
from trt_segmentation.cli.main import COMMANDS, command_parser, main
from trt_segmentation.model_config import ModelConfig

ROOT = Path(__file__).parents[2]
NEEDED = {'--topic': 'rosbags', 'drive/': 'rosbags', 'masks.mcap': 'mcap', '--plot': 'matplotlib'}
"""Optional packages, by words of commands that need them."""

SHORTER = {'bench': ['--frames', '2', '--size', '72x128'],
           'compare': ['--frames', '2', '--calibration-count', '2']}
"""Options behind those of a command, so that it takes less time."""

WRITTEN = '--output', '--write-config'
"""Options with what a command writes. What another command of the page has written is removed."""


def done_with(action):
    """Give a test the examples that are treated in this way."""
    def mark(function):
        function.done_with = action
        return function
    return mark


def test_every_command_is_run_or_listed():
    unknown = [f'{each.place}: {" ".join(each.words) or each.language}: {why}'
               for each in documented.read_examples()
               for action, why in [documented.treatment(each)] if action == documented.UNKNOWN]
    assert not unknown, 'neither run nor listed:\n' + '\n'.join(unknown)


def test_the_list_names_known_reasons():
    lists = documented.read_not_run()
    used = {reason for name in ('programs', 'parsed', 'python') for reason in lists[name].values()}
    assert used <= set(lists['reasons'])
    assert {key for key in lists['parsed'] if key[0] != '-'} <= set(COMMANDS)


@done_with('run')
def test_runs(example, folder):
    if example.words:
        _run_command(example, documented.cli_arguments(example.words))
    elif example.language == 'python':
        _run_python(example)
    else:
        _read_yaml(example)


def _run_command(example, arguments):
    for word, package in NEEDED.items():
        if word in example.words:
            pytest.importorskip(package)
    for option in WRITTEN:
        if option in arguments:
            target = Path(arguments[arguments.index(option) + 1])
            shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
    if '--help' in arguments or '--version' in arguments:
        with pytest.raises(SystemExit, match='0'):
            main(arguments)
        return
    assert main([*arguments, *SHORTER.get(arguments[0], [])]) == 0, example.place


def _run_python(example):
    names = {'__name__': 'example', 'bgr_image': np.zeros((32, 48, 3), np.uint8)}
    if 'import ' not in example.text:  # a fragment, around which the page describes the rest
        action = SimpleNamespace
        names.update(seg_launch='seg.launch.py', PushRosNamespace=lambda name: name,
                     IncludeLaunchDescription=lambda source, launch_arguments=(): action(),
                     GroupAction=lambda actions, scoped=True, forwarding=True: action())
        if 'segmenter' in example.text:
            names['segmenter'] = Segmenter.open('net.onnx', config='net.yaml')
    if 'import rclpy' in example.text:
        pytest.importorskip('rclpy')
    if "'drive/'" in example.text:
        pytest.importorskip('rosbags')
    try:
        exec(compile(example.text, example.place, 'exec'), names)
    finally:
        for each in names.values():
            if isinstance(each, Segmenter):
                each.close()


def _read_yaml(example):
    tree = yaml.safe_load(example.text)
    if {'input', 'output', 'outputs', 'classes'} & set(tree):
        ModelConfig.from_text(example.text, example.place)
    for node, section in tree.items():
        if 'segmentation' in node and 'ros__parameters' in section:
            from trt_segmentation.ros.parameters import rules  # needs ROS 2's messages
            for name, value in section['ros__parameters'].items():
                assert name in rules(), f'{example.place}: {node} has no parameter {name}'
                assert not rules()[name].fault(name, value), example.place


@done_with('parsed')
def test_is_accepted_by_the_parser(example):
    if example.language == 'python':
        ast.parse(example.text)
    elif example.words:
        _parse(documented.cli_arguments(example.words))
    else:
        yaml.safe_load(example.text)


def _parse(arguments):
    command_parser(arguments[0]).parse_args(arguments[1:])


@done_with('checked')
def test_names_what_exists(example):
    words = documented.inner_words(example) or example.words
    if documented.is_cli(words):
        _parse(documented.cli_arguments(words))
    elif words[:2] == ('ros2', 'launch'):
        assert words[2] == 'trt_segmentation'
        given = dict(word.split(':=', 1) for word in words[4:])
        assert launch_files.started_nodes(words[3], given)
    elif words[0] == 'make':
        _check_targets(words)
    elif words[0] == 'pip':
        _check_packages(words)
    elif words[0].startswith('python'):
        _check_script(words)


def _check_targets(words):
    """The targets of make, and the variables that are set."""
    text = (ROOT / 'Makefile').read_text(encoding='utf-8')
    for word in words[1:]:
        name, is_variable, _ = word.partition('=')
        if not word.startswith('-'):
            assert re.search(rf'\b{name}\b' if is_variable else rf'^{name}:', text, re.M), name


def _check_packages(words):
    """The files of requirements and the extras of this package; others are not looked up."""
    files = [words[number + 1] for number, word in enumerate(words) if word in ('-r', '-c')]
    for file in files:
        assert (ROOT / file.removeprefix('src/trt_segmentation/')).is_file(), file
    for extras in re.findall(r'(?:trt_segmentation|\.)\[(.*?)\]', ' '.join(words)):
        for extra in extras.split(','):
            assert re.search(rf'^{extra} = \[', (ROOT / 'pyproject.toml').read_text(), re.M), extra


def _check_script(words):
    """A script of tools/ or a folder with one, and its options."""
    path = ROOT / words[1]
    assert path.is_file() or (path / '__main__.py').is_file(), path
    texts = [path.read_text()] if path.is_file() else [each.read_text()
                                                       for each in path.glob('*.py')]
    for option in (word.partition('=')[0] for word in words if word.startswith('--')):
        assert any(f"'{option}'" in text for text in texts), option


PAGE = """
~~~
    $ output of a program
~~~
  1. indented

     ```bash gpu
     A=1 trt-segmentation build \\
         net.onnx   # a comment
     cd x && make demo; echo 'a # b' > file
     ```
````python
'''
```bash
'''
````
```console
$ make test
1 passed
```
"""


def test_blocks_and_commands_are_found():
    found = [each for each in documented.examples_of('page.md', PAGE) if each.words]
    assert [(each.line, each.language, each.marker, each.words) for each in found] == [
        (8, 'bash', 'gpu', ('trt-segmentation', 'build', 'net.onnx')),
        (10, 'bash', 'gpu', ('cd', 'x')), (10, 'bash', 'gpu', ('make', 'demo')),
        (10, 'bash', 'gpu', ('echo', 'a # b')), (18, 'console', '', ('make', 'test'))]


@pytest.mark.parametrize(('block', 'fault'), [
    ('```bash\nfrobnicate\n```', "'frobnicate' is neither known nor listed"),
    ('```bash later\nmake demo\n```', "the marker 'later' is not in not_run.yaml"),
    ('```fortran\nend\n```', "the language 'fortran' is not known"),
    ('```{code-block} bash\nmake demo\n```', "the language '{code-block}' is not known")])
def test_what_is_neither_run_nor_listed_is_found(block, fault):
    example, = documented.examples_of('page.md', block)
    action, why = documented.treatment(example)
    assert action == documented.UNKNOWN
    assert fault in why

