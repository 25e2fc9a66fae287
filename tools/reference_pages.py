#!/usr/bin/env python3
# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Write the pages of docs/reference that list what the code accepts::

    python tools/reference_pages.py

parameters.md comes from the node's table of parameters and from the launch files, command_line.md
from the parsers of the commands, model_config.md from the dataclasses of the model config.
"""

import argparse
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / 'docs' / 'reference'
sys.path[:0] = [str(ROOT), str(ROOT / 'tools')]

import launch_files  # noqa: E402

from trt_segmentation import model_config  # noqa: E402
from trt_segmentation.classes import merging  # noqa: E402
from trt_segmentation.classes.palette import preset_names  # noqa: E402
from trt_segmentation.cli.main import COMMANDS, command_parser  # noqa: E402
from trt_segmentation.ros.parameters import (  # noqa: E402
    CONFIGURE,
    LIVE,
    RELOAD,
    STARTUP,
    ParameterRule,
    Parameters,
)

GENERATED = '<!-- Written by tools/reference_pages.py; edit the code instead. -->'

GROUPS = {
    'engine_path': 'Network', 'min_size': 'TensorRT engines',
    'calibration_images': 'int8 calibration', 'num_threads': 'ONNX Runtime',
    'mask_interpolation': 'Masks', 'cameras': 'Several cameras',
    'input_encodings': 'Camera encodings', 'points': 'Labelled points',
    'input_transport': 'Images in', 'temporal_smoothing': 'Temporal smoothing',
    'classes_region': 'Classes and overlay', 'input_timeout': 'Diagnostics',
    'autostart': 'Process'}
"""Headings, each by the parameter with which its group begins in the table."""

TAKES_EFFECT = {LIVE: 'next image', RELOAD: 'load', CONFIGURE: 'configure', STARTUP: 'start'}

def _code(value: Any) -> str:
    """A value as it is written in YAML, in a Markdown table."""
    if isinstance(value, tuple):
        return f'`[{", ".join(map(str, value))}]`'
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f'`{text}`' if text else '`""`'


def _choices(values: Iterable[Any]) -> str:
    return ', '.join(map(_code, values))


CONFIG_VALUES = {
    'input.color': _choices(model_config.COLORS), 'input.scale': 'a number, not 0',
    'input.mean': '1 or 3 numbers', 'input.std': '1 or 3 numbers, none is 0',
    'input.resize': _choices(model_config.RESIZES), 'input.size': '[height, width], above 0',
    'input.border': '0 to 255', 'input.layout': _choices(model_config.LAYOUTS),
    'input.depth': _choices(model_config.DEPTHS),
    'output.name': 'a string', 'output.kind': _choices(model_config.KINDS),
    'output.layout': _choices(model_config.LAYOUTS), 'output.threshold': '0 to 1',
    'output.class_name': 'a string', 'output.grow_masks': '`true`, `false`',
    'output.align_corners': '`true`, `false`',
    'classes.labels': f'1 to {model_config.MOST_CLASSES} names',
    'classes.colors': f'1 to {model_config.MOST_CLASSES} entries [r, g, b], each 0 to 255',
    'classes.unlabelled': f'0 to {model_config.MOST_CLASSES}',
    'classes.merge': 'a mapping'}
"""The values of each key that ``model_config`` accepts; a test tries them."""

_PARAMETERS_HEAD = f"""{GENERATED}

# Parameters

The parameters of the node, with their defaults. `ros2 param describe /segmentation NAME` prints
the same text. The launch file has an argument of the same name for each, and `config/seg.yaml`
holds the defaults. Paths may begin with `~` or `package://`.

| takes effect | meaning |
|---|---|
| next image | the value can be changed while the node runs |
| load | the value is read when a network is opened: on configure and by `~/load_model` |
| configure | the value can be changed while the node is unconfigured |
| start | the value is read once, when the process starts |
"""

_COMMANDS_HEAD = f"""{GENERATED}

# Command line

`trt-segmentation COMMAND --help` prints the same text. All commands exit with 0, with 1 after an
error, which they print, and with 2 for wrong arguments.
"""

_CONFIG_HEAD = f"""{GENERATED}

# Model config

The model config defines how a network is fed, what its output means and which classes it has. It
is a YAML file (parameter `model_config`, option `--config`), or the same text in the metadata of
the ONNX file under the key `{model_config.METADATA_KEY}`. Every key is optional: what the graph
defines is read from the graph. An unknown key, a duplicate key and a contradiction are errors.
`trt-segmentation inspect --write-config` writes a complete config.
"""

_CONFIG_ENTRIES = """
## `outputs`

For a network with several masks: a list with an entry for each, instead of `output` and `classes`.
An entry has the keys of `output` and of `classes`, and

| key | values | meaning |
|---|---|---|
| `name` | a string, required | the output of the network that gives the mask |
| `task` | letters, digits and underscores, a letter first, not `network`; default: `name` | \
name in the topics and files of the mask, `~/<task>/mask` |
"""


def parameters_page() -> str:
    """Return docs/reference/parameters.md."""
    head = 'parameter', 'type and values', 'default', 'takes effect', 'description'
    parts = [_PARAMETERS_HEAD]
    for title, rows in _groups():
        parts.append(f'## {title}\n\n{_table(head, rows)}')
    parts.append('## Launch arguments\n\nBeside these parameters, the launch files have the '
                 'following arguments. An empty value selects the default.\n')
    for name in ('seg.launch.py', 'multi_camera.launch.py'):
        parts.append(f'### `{name}`\n\n{_table(("argument", "default", "meaning"), _own(name))}')
    return '\n'.join(parts)


def _groups() -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    title, rows = '', list[tuple[str, ...]]()
    for entry in fields(Parameters):
        if entry.name in GROUPS and rows:
            yield title, rows
            rows = []
        title = GROUPS.get(entry.name, title)
        rule = entry.metadata['rule']
        kind = ': '.join(filter(None, (_type_of(entry.default, rule), _values(rule))))
        rows.append((f'`{entry.name}`', kind, _code(entry.default), TAKES_EFFECT[rule.changes],
                     f'{_cell(rule.description)}.'))
    yield title, rows


def _type_of(default: Any, rule: ParameterRule) -> str:
    if not isinstance(default, tuple):
        return {'str': 'string'}.get(type(default).__name__, type(default).__name__)
    kind = type(default[0]).__name__ if default else 'string'
    return f'{rule.length} {kind}s' if rule.length else f'list of {kind}'


def _values(rule: ParameterRule) -> str:
    if rule.choices or rule.members:
        return ', '.join(_code(each) for each in rule.choices or rule.members)
    if rule.minimum is not None and rule.maximum is not None:
        return f'{rule.minimum:.12g} to {rule.maximum:.12g}'
    return 'unique names' if rule.pattern else ''


def _own(name: str) -> Iterator[tuple[str, ...]]:
    """The arguments of a launch file that are no parameters of the node."""
    names = {entry.name for entry in fields(Parameters)} - {'cameras'}
    for each in launch_files.read_arguments(name):
        is_parameter = each.name in names or (each.name == 'cameras' and name.startswith('seg'))
        if not is_parameter:
            default = '' if each.default_value is None else each.default_value
            default = default.replace(f'{ROOT}/', '')
            yield (f'`{each.name}`', 'required' if each.default_value is None else _code(default),
                   f'{_cell(each.description)}.')


def command_line_page() -> str:
    """Return docs/reference/command_line.md."""
    rows = [(f'[`{name}`](#{name})', f'{_cell(text)}.') for name, text in COMMANDS.items()]
    parts = [_COMMANDS_HEAD, _table(('command', 'what it does'), rows)]
    parsers = {name: command_parser(name) for name in COMMANDS}
    shared = _shared_groups(parsers.values())
    for name, parser in parsers.items():
        parts += _command(name, parser, shared)
    parts.append('## Options of several commands\n')
    for title, options in shared.items():
        parts.append(f'### {_heading(title)}\n\n{_options(options)}')
    return '\n'.join(parts)


def _shared_groups(parsers: Iterable[argparse.ArgumentParser]
                   ) -> dict[str, list[argparse.Action]]:
    """The groups of options that more than one command has, each with all of its options."""
    shared: dict[str, dict[str, argparse.Action]] = {}
    counts: dict[str, int] = {}
    for parser in parsers:
        for group in parser._action_groups[2:]:
            title = str(group.title)
            counts[title] = counts.get(title, 0) + 1
            for action in group._group_actions:
                shared.setdefault(title, {}).setdefault(_names(action), action)
    return {title: list(found.values()) for title, found in shared.items() if counts[title] > 1}


def _command(name: str, parser: argparse.ArgumentParser,
             shared: dict[str, list[argparse.Action]]) -> Iterator[str]:
    usage = parser.format_usage().removeprefix('usage: ').strip()
    yield (f'## {name}\n\n{_cell(COMMANDS[name])}.\n\n```text\n{usage}\n```\n\n'
           f'{_epilog(parser)}')
    positional, options, *groups = parser._action_groups
    yield _options([*positional._group_actions, *options._group_actions])
    links = []
    for group in groups:
        title, actions = str(group.title), group._group_actions
        if title not in shared:
            yield f'### {_heading(title)}\n\n{_options(actions)}'
            continue
        link = f'[{_heading(title)}](#{_heading(title).lower().replace(" ", "-")})'
        found = {_names(each) for each in actions}
        without = [each for each in map(_names, shared[title]) if each not in found]
        links.append(link + (f' (without {", ".join(without)})' if without else ''))
    if links:
        yield f'And the options of: {", ".join(links)}.\n'


def _epilog(parser: argparse.ArgumentParser) -> str:
    command = (parser.epilog or '').partition('\n')[2].strip()
    return f'```bash\n{command}\n```\n'


def _options(actions: Iterable[argparse.Action]) -> str:
    rows = [(_names(each), f'{_cell(_help(each))}.') for each in actions
            if '--help' not in each.option_strings]
    return _table(('option', 'meaning'), rows)


def _names(action: argparse.Action) -> str:
    """An option as it is written, with what follows it."""
    value = '|'.join(map(str, action.choices)) if action.choices else action.metavar
    if not action.option_strings:
        return f'`{value or action.dest}`'
    value = '' if action.nargs == 0 else f' {value or action.dest.upper()}'
    if action.nargs == '+':
        value += f' [{value.strip()} ...]'
    return f'`{", ".join(action.option_strings)}{value}`'.replace('|', '\\|')


def _help(action: argparse.Action) -> str:
    return (action.help or '').replace('%%', '%')


def _heading(title: str) -> str:
    return title[0].upper() + title[1:] if not title.startswith('int8') else title


def model_config_page() -> str:
    """Return docs/reference/model_config.md."""
    parts = [_CONFIG_HEAD]
    for name, section in (('input', model_config.InputConfig),
                          ('output', model_config.OutputConfig),
                          ('classes', model_config.ClassesConfig)):
        parts.append(f'## `{name}`\n\n{_first_line(section)}\n\n{_keys(name, section)}')
    parts.append(f'### `merge`\n\n{_merge_text()}')
    parts.append(_CONFIG_ENTRIES.lstrip())
    return '\n'.join(parts)


def _first_line(section: type) -> str:
    """The summary of a section's docstring, without what holds for Python only."""
    text = (inspect.getdoc(section) or '').partition('\n\n')[0]
    return _cell(text.partition('; None')[0].replace('``', '`').rstrip('.')) + '.'


def _keys(name: str, section: type) -> str:
    meanings = dict(_attributes(section))
    rows = [(f'`{entry.name}`', CONFIG_VALUES[f'{name}.{entry.name}'],
             f'{_cell(meanings[entry.name])}.') for entry in fields(section)]
    if section is model_config.ClassesConfig:
        rows.insert(0, ('`preset`', ', '.join(map(_code, preset_names())),
                        'labels and colours of a dataset, which `labels` and `colors` replace.'))
    return _table(('key', 'values', 'meaning'), rows)


def _attributes(section: type) -> Iterator[tuple[str, str]]:
    """The attributes of a docstring with their descriptions; 'mean, std: ...' is both."""
    text = (inspect.getdoc(section) or '').partition('Attributes:\n')[2]
    for found in re.finditer(r'^ {4}(\w[\w, ]*): (.*(?:\n {8}.*)*)', text, re.M):
        meaning = ' '.join(found[2].split()).replace('``', '`')
        meaning = meaning.replace('`classes.merging`', '[`merge`](#merge)')
        for name in found[1].split(', '):
            yield name, meaning


def _merge_text() -> str:
    """The module docstring of ``classes.merging``, as Markdown."""
    _, example, rest = (merging.__doc__ or '').split('\n\n', 2)
    block, _, rest = rest.partition('\n\nMembers')
    lines = '\n'.join(line.removeprefix('    ') for line in block.splitlines())
    assert example == '::'
    return (f'`merge` gives the mask fewer classes than the network has:\n\n```yaml\n{lines}\n```'
            f'\n\nMembers{rest}')


def _cell(text: str) -> str:
    """Text in one line of a Markdown table, with topics and options as code; what Markdown would
    read as HTML or as emphasis is escaped."""
    line = ' '.join(text.split()).rstrip('.').replace('|', '\\|')
    line = re.sub(r'(?<![\w`/])(~/[\w/]+|--[a-z][\w-]*)', r'`\1`', line)
    parts = line.split('`')  # every second one is code
    parts[::2] = [each.replace('<', '\\<').replace('*', '\\*') for each in parts[::2]]
    return '`'.join(parts)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ['---'] * len(lines[0]))
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


def pages() -> dict[str, str]:
    """Return the text of each page by its name."""
    return {'parameters.md': parameters_page(), 'command_line.md': command_line_page(),
            'model_config.md': model_config_page()}


if __name__ == '__main__':
    PAGES.mkdir(exist_ok=True)
    for page_name, page in pages().items():
        (PAGES / page_name).write_text(page, encoding='utf-8')
