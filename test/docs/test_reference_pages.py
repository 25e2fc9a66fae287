# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The pages that list parameters, options and keys are those of the code."""

from dataclasses import fields

import pytest
import reference_pages as reference

from trt_segmentation.cli.main import COMMANDS
from trt_segmentation.errors import ConfigError
from trt_segmentation.model_config import (
    ClassesConfig,
    InputConfig,
    ModelConfig,
    OutputConfig,
)
from trt_segmentation.ros.parameters import rules


def test_the_pages_are_up_to_date():
    for name, text in reference.pages().items():
        assert (reference.PAGES / name).read_text(encoding='utf-8') == text, \
            f'{name}: python tools/reference_pages.py writes it again'


def test_every_parameter_has_a_row_in_a_group():
    page = reference.parameters_page()
    assert set(reference.GROUPS) <= set(rules())
    assert all(page.count(f'\n| `{name}` |') == 1 for name in rules() if name != 'cameras')


def test_every_option_of_every_command_is_on_its_page():
    page = reference.command_line_page()
    for name in COMMANDS:
        for action in reference.command_parser(name)._actions:
            assert action.help == '==SUPPRESS==' or action.help
            assert all(f'`{option}' in page or f', {option}' in page
                       for option in action.option_strings if option not in ('-h', '--help'))


def test_every_key_of_the_model_config_has_its_values():
    sections = {'input': InputConfig, 'output': OutputConfig, 'classes': ClassesConfig}
    assert set(reference.CONFIG_VALUES) == {
        f'{name}.{entry.name}' for name, section in sections.items() for entry in fields(section)}


@pytest.mark.parametrize(('key', 'good', 'bad'), [
    ('input.mean', ['[1]', '[1, 2, 3]'], ['[1, 2]', '1']),
    ('input.std', ['[1]', '[1, 2, 3]'], ['[0]', '[1, 0, 1]']),
    ('input.size', ['[1, 1]'], ['[0, 1]', '[1]']), ('input.border', ['0', '255'], ['-1', '256']),
    ('input.depth', ['8', '16'], ['12']), ('input.color', ['gray'], ['rgba']),
    ('output.threshold', ['0', '1'], ['-0.1', '1.1']), ('output.grow_masks', ['true'], ['1']),
    ('classes.colors', ['[[0, 0, 255]]'], ['[]', '[[0, 0, 256]]']),
    ('classes.labels', ['[road]'], ['[]', '[road, road]']),
    ('classes.unlabelled', ['0', '65535'], ['-1', '65536'])])
def test_the_values_are_those_that_a_config_accepts(key, good, bad):
    section, _, name = key.partition('.')
    for value in good:
        ModelConfig.from_text(f'{section}: {{{name}: {value}}}', 'test')
    for value in bad:
        with pytest.raises(ConfigError, match=name):
            ModelConfig.from_text(f'{section}: {{{name}: {value}}}', 'test')
