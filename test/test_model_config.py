# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The model config: valid configs, round trips, precedence and refused configs."""

import json
import re
from dataclasses import fields, replace

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trt_segmentation.classes.merging import MergedClass
from trt_segmentation.classes.palette import Palette, preset_labels, preset_names
from trt_segmentation.errors import ConfigError
from trt_segmentation.model_config import (
    COLOR_ORDERS,
    KINDS,
    LAYOUTS,
    RESIZES,
    ClassesConfig,
    InputConfig,
    ModelConfig,
    OutputConfig,
    TaskConfig,
)

FULL = """
input:
  color: bgr
  scale: 0.5
  mean: [1, 2.5, 3]
  std: [4, 5, 6]
  resize: letterbox
  size: [480, 640]
  border: 114
  layout: nhwc
output:
  name: scores
  kind: sigmoid
  layout: nhwc
  threshold: 0.25
  class_name: classes
  grow_masks: true
  align_corners: false
classes:
  labels: [road, "no", "1"]
  colors: [[1, 2, 3], [4, 5, 6], [255, 0, 255]]
  unlabelled: 0
  merge: {way: [road, "1"]}
"""


def read(text):
    return ModelConfig.from_text(text, 'net.yaml')


# Valid configs -----------------------------------------------------------------------------


def test_every_key_is_read():
    """A key that is removed, or gets another meaning, breaks the configs that people have."""
    assert read(FULL) == ModelConfig(
        InputConfig('bgr', 0.5, (1.0, 2.5, 3.0), (4.0, 5.0, 6.0), 'letterbox', (480, 640),
                    border=114, layout='nhwc'),
        OutputConfig('scores', 'sigmoid', 'nhwc', 0.25, 'classes', True, False),
        ClassesConfig(('road', 'no', '1'), ((1, 2, 3), (4, 5, 6), (255, 0, 255)), 0,
                      (MergedClass('way', ('road', '1')),)))
    sections = {'input': InputConfig, 'output': OutputConfig, 'classes': ClassesConfig}
    gray = read('input: {color: gray, depth: 16}')  # no other colour has a depth
    assert gray.input == InputConfig('gray', depth=16)
    assert read(FULL).set_keys() | gray.set_keys() == {
        f'{name}.{entry.name}' for name, section in sections.items() for entry in fields(section)}


@pytest.mark.parametrize('text', ['', '# nothing', '{}', 'input:', 'input: {}\nclasses:\noutput:',
                                  'input: {color: null}'])
def test_every_key_is_optional(text):
    assert read(text) == ModelConfig()


def test_a_file_is_read_like_text(tmp_path):
    path = tmp_path / 'net.yaml'
    path.write_text(FULL + '# é\n', encoding='utf-8')
    assert ModelConfig.from_file(path) == ModelConfig.from_file(str(path)) == read(FULL)


@pytest.mark.parametrize('name', preset_names())
def test_presets(name):
    classes = read(f'classes: {{preset: {name}}}').classes
    assert classes.labels == preset_labels(name)
    assert classes.colors == Palette.preset(name).colors


def test_labels_and_colours_go_before_a_preset():
    labels = [f'class {i}' for i in range(19)]
    colors = [[i, i, i] for i in range(19)]
    told = read(yaml.safe_dump({'classes': {'preset': 'cityscapes', 'labels': labels}})).classes
    assert told.labels == tuple(labels)
    assert told.colors == Palette.preset('cityscapes').colors
    told = read(yaml.safe_dump({'classes': {'preset': 'cityscapes', 'colors': colors}})).classes
    assert told.labels == preset_labels('cityscapes')
    assert told.colors[18] == (18, 18, 18)


# Round trip --------------------------------------------------------------------------------


NUMBERS = st.floats(-1e6, 1e6)
TRIPLES = st.tuples(NUMBERS, NUMBERS, NUMBERS)
BYTES = st.integers(0, 255)
INPUTS = st.builds(
    InputConfig, color=st.none() | st.sampled_from(COLOR_ORDERS),
    scale=st.none() | NUMBERS.filter(bool), mean=st.none() | TRIPLES,
    std=st.none() | TRIPLES.filter(all), resize=st.none() | st.sampled_from(RESIZES),
    size=st.none() | st.tuples(st.integers(1, 9999), st.integers(1, 9999)))
OUTPUTS = st.builds(
    OutputConfig, name=st.none() | st.text(), kind=st.none() | st.sampled_from(KINDS),
    layout=st.none() | st.sampled_from(LAYOUTS), threshold=st.none() | st.floats(0, 1),
    align_corners=st.none() | st.booleans())


@st.composite
def classes_configs(draw):
    labels = draw(st.none() | st.lists(st.text(), min_size=1, max_size=5, unique=True))
    count = st.integers(1, 5) if labels is None else st.just(len(labels))
    size = draw(count)
    colors = draw(st.none() | st.lists(st.tuples(BYTES, BYTES, BYTES), min_size=size,
                                       max_size=size))
    return ClassesConfig(None if labels is None else tuple(labels),
                         None if colors is None else tuple(colors), draw(st.none() | BYTES))


CONFIGS = st.builds(ModelConfig, INPUTS, OUTPUTS, classes_configs())
TASK_NAMES = st.from_regex('[A-Za-z][A-Za-z0-9_]*', fullmatch=True)
TASKS = st.builds(TaskConfig, TASK_NAMES.filter(lambda name: name != 'network'),
                  st.builds(replace, OUTPUTS, name=st.text()), classes_configs())
OF_TASKS = st.builds(ModelConfig, INPUTS, outputs=st.lists(
    TASKS, min_size=1, max_size=3, unique_by=lambda task: task.task).map(tuple))


@given(config=CONFIGS)
def test_what_is_written_reads_the_same(config):
    assert read(config.to_text()) == config


@settings(max_examples=20)
@given(config=OF_TASKS)
def test_what_is_written_of_tasks_reads_the_same(config):
    assert read(config.to_text()) == config


def test_keys_that_are_not_set_are_not_written():
    assert ModelConfig().to_text().strip() in ('', '{}')
    assert ModelConfig(input=InputConfig(color='bgr')).to_text() == 'input: {color: bgr}\n'


# Precedence --------------------------------------------------------------------------------


@given(mine=CONFIGS, theirs=CONFIGS)
def test_over_takes_missing_keys_from_the_other(mine, theirs):
    merged = mine.over(theirs)
    for section in ('input', 'output', 'classes'):
        parts = [getattr(config, section) for config in (merged, mine, theirs)]
        for key in fields(parts[0]):
            result, own, other = (getattr(part, key.name) for part in parts)
            assert result == (other if own is None else own)


@settings(max_examples=20)
@given(mine=OF_TASKS, theirs=OF_TASKS | CONFIGS)
def test_over_keeps_the_tasks_of_the_first(mine, theirs):
    merged = mine.over(theirs)
    assert [task.task for task in merged.tasks] == [task.task for task in mine.tasks]
    assert ModelConfig().over(mine) == mine
    assert mine.over(mine) == mine
    assert merged.set_keys() >= mine.set_keys()
    for result, own in zip(merged.tasks, mine.tasks, strict=True):
        assert result.over(own) == result == own.over(result)


def test_a_task_takes_missing_keys_from_the_other_config():
    theirs = read('outputs: [{name: a, kind: sigmoid, labels: [x, y]}, {name: b, task: c}]')
    merged = read('outputs: [{name: d, task: c}, {name: a, task: other, labels: [u, v]}]') \
        .over(theirs)
    assert merged == read('outputs: [{name: d, task: c}, '
                          '{name: a, task: other, kind: sigmoid, labels: [u, v]}]')
    one = read('output: {name: a, threshold: 0.25}').over(theirs)
    assert one == read('{output: {name: a, threshold: 0.25, kind: sigmoid}, '
                       'classes: {labels: [x, y]}}')


def test_the_task_is_named_as_the_output_unless_it_is_set():
    config = read('outputs: [{name: drivable, preset: cityscapes}, {name: output/1, task: lanes, '
                  'threshold: 0.2, colors: [[1, 2, 3]]}]')
    assert [(task.task, task.output.name) for task in config.tasks] == [
        ('drivable', 'drivable'), ('lanes', 'output/1')]
    assert config.tasks[0].classes.labels == preset_labels('cityscapes')
    assert config.tasks[1].classes.colors == ((1, 2, 3),)
    assert config.set_keys() >= {'outputs.lanes.threshold', 'outputs.drivable.labels'}


def test_over_keeps_falsy_values():
    mine = ModelConfig(InputConfig(scale=0.0), OutputConfig(threshold=0.0, name=''),
                       ClassesConfig(unlabelled=0))
    theirs = ModelConfig(InputConfig(scale=2.0), OutputConfig(threshold=1.0, name='b'),
                         ClassesConfig(unlabelled=9))
    assert mine.over(theirs) == mine


# Refused configs ---------------------------------------------------------------------------


REFUSED = [  # text, key and value that the message names
    ('input: {color: gbr}', 'input.color', 'gbr'),
    ('input: {color: [rgb]}', 'input.color', 'rgb'),
    ('input: {scale: big}', 'input.scale', 'big'),
    ('input: {scale: .nan}', 'input.scale', 'nan'),
    ('input: {scale: -.inf}', 'input.scale', '-inf'),
    ('input: {scale: true}', 'input.scale', 'True'),
    (f'input: {{scale: {"9" * 400}}}', 'input.scale', '999'),
    ('input: {mean: 1}', 'input.mean', '1'),
    ('input: {mean: [1, 2]}', 'input.mean', '[1, 2]'),
    ('input: {mean: [1, 2, null]}', 'input.mean', 'None'),
    ('input: {mean: [1, 2, x]}', 'input.mean[2]', 'x'),
    (f'input: {{mean: [1, {"9" * 400}, 2]}}', 'input.mean[1]', '999'),
    ('input: {std: [1, 2, 3, 4]}', 'input.std', '[1, 2, 3, 4]'),
    ('input: {scale: 0}', 'input.scale', '0, with which all images are equal'),
    ('input: {std: [1, 0, 2]}', 'input.std', '[1.0, 0.0, 2.0]'),
    ('input: {resize: crop}', 'input.resize', 'crop'),
    ('input: {size: 512}', 'input.size', '512'),
    ('input: {size: [512]}', 'input.size', '[512]'),
    ('input: {size: [0, 512]}', 'input.size', '[0, 512]'),
    ('input: {size: [-1, 512]}', 'input.size', '[-1, 512]'),
    ('input: {size: [1.5, 512]}', 'input.size', '[1.5, 512]'),
    ('input: {size: [true, 512]}', 'input.size', '[True, 512]'),
    ('output: {name: 3}', 'output.name', '3'),
    ('output: {kind: softmax}', 'output.kind', 'softmax'),
    ('output: {layout: chw}', 'output.layout', 'chw'),
    ('output: {threshold: 1.5}', 'output.threshold', '1.5'),
    ('output: {threshold: -0.1}', 'output.threshold', '-0.1'),
    ('output: {threshold: half}', 'output.threshold', 'half'),
    ('output: {align_corners: 1}', 'output.align_corners', '1'),
    ('classes: {labels: road}', 'classes.labels', 'road'),
    ('classes: {labels: [road, no]}', 'classes.labels', 'False'),
    ('classes: {labels: [a, b, a]}', 'classes.labels', 'a'),
    ('classes: {labels: []}', 'classes.labels', '0 entries'),
    (f'classes: {{labels: {[f"c{i}" for i in range(65536)]}}}', 'classes.labels',
     '65536 entries'),
    ('classes: {colors: red}', 'classes.colors', 'red'),
    ('classes: {colors: [red]}', 'classes.colors', 'red'),
    ('classes: {colors: [[1, 2]]}', 'classes.colors', '[1, 2]'),
    ('classes: {colors: [[1, 2, 256]]}', 'classes.colors', '[1, 2, 256]'),
    ('classes: {colors: [[1, 2, -1]]}', 'classes.colors', '[1, 2, -1]'),
    ('classes: {colors: [[1, 2, 0.5]]}', 'classes.colors', '[1, 2, 0.5]'),
    ('classes: {colors: []}', 'classes.colors', '0 entries'),
    (f'classes: {{colors: [&black [0, 0, 0]{", *black" * 65535}]}}', 'classes.colors',
     '65536 entries'),
    ('classes: {unlabelled: 65536}', 'classes.unlabelled', '65536'),
    ('classes: {unlabelled: -1}', 'classes.unlabelled', '-1'),
    ('classes: {unlabelled: none}', 'classes.unlabelled', 'none'),
    ('classes: {preset: imagenet}', 'classes.preset', 'imagenet'),
    ('input: [color]', 'input', 'color'),
    ('input: rgb', 'input', 'rgb'),
    ('[input]', 'the config', 'input'),
    ('input', 'the config', 'input'),
    ('input: {colour: rgb}', 'input', 'colour'),
    ('output: {Kind: ids}', 'output', 'Kind'),
    ('classes: {names: [a]}', 'classes', 'names'),
    ('inputs: {color: rgb}', 'the config', 'inputs'),
    ('{1: 2}', 'the config', '1'),
    ('outputs: {name: a}', 'outputs', "{'name': 'a'}"),
    ('outputs: []', 'outputs', '[]'),
    ('outputs: [a]', 'outputs[0]', "'a'"),
    ('outputs: [{name: a}, {kind: ids}]', 'outputs[1]', 'no name'),
    ('outputs: [{name: a}, {name: a}]', 'outputs', 'task a twice'),
    ('outputs: [{name: a}, {name: b, task: a}]', 'outputs', 'task a twice'),
    ('outputs: [{name: out/1}]', 'outputs[0]', "'out/1'"),
    ('outputs: [{name: 650}]', 'outputs[0]', '650'),
    ('outputs: [{name: a, task: 1st}]', 'outputs[0]', "'1st'"),
    ('outputs: [{name: a, task: network}]', 'outputs[0]', "'network'"),
    ('outputs: [{name: a, size: [1, 2]}]', 'outputs[0]', 'size'),
    ('outputs: [{name: a, threshold: 2}]', 'task a', '2'),
    ('outputs: [{name: a, labels: [x, y], colors: [[1, 2, 3]]}]', 'task a', '2 entries'),
    ('{output: {name: a}, outputs: [{name: a}]}', 'outputs', 'output'),
    ('{classes: {preset: ade20k}, outputs: [{name: a}]}', 'outputs', 'classes'),
    ('input: {color: rgb', 'no valid YAML', ' at line 1, column'),
    ('input: {colour: rgb}', 'colour', '; did you mean color?'),
    ('a: b: c', 'no valid YAML', 'line'),
]


@pytest.mark.parametrize(('text', 'key', 'value'), REFUSED,
                         ids=[f'{text[:40]}' for text, _, _ in REFUSED])
def test_refusals_name_file_key_and_value(text, key, value):
    with pytest.raises(ConfigError) as caught:
        read(text)
    message = str(caught.value)
    assert message.startswith('net.yaml: ')
    assert key in message
    assert value in message.replace(key, '', 1)


@pytest.mark.parametrize(('text', 'fix'), [
    ('1e-3', '1.0e-3'), ('1E3', '1.0e+3'), ('2.5e3', '2.5e+3'),
    ('"0.5"', '0.5'), ('"1"', '1')])
def test_a_number_that_yaml_reads_as_text_is_written_as_it_reads_it(text, fix):
    with pytest.raises(ConfigError, match=f'which YAML reads as text; write {re.escape(fix)}$'):
        read(f'input: {{scale: {text}}}')
    assert read(f'input: {{scale: {fix}}}').input.scale == float(text.strip('"'))


@pytest.mark.parametrize(('text', 'choices'), [
    ('input: {color: x}', COLOR_ORDERS), ('input: {resize: x}', RESIZES),
    ('output: {kind: x}', KINDS), ('output: {layout: x}', LAYOUTS),
    ('classes: {preset: x}', preset_names()), ('x: 1', ('input', 'output', 'classes', 'outputs')),
    ('input: {x: 1}', [f.name for f in fields(InputConfig)]),
    ('output: {x: 1}', [f.name for f in fields(OutputConfig)]),
    ('classes: {x: 1}', ('labels', 'colors', 'unlabelled', 'merge', 'preset'))])
def test_refusals_say_what_would_be_right(text, choices):
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert ', '.join(choices) in str(caught.value)


def test_labels_and_colours_must_be_equally_many():
    with pytest.raises(ConfigError, match=r'classes\.labels has 2 .* classes\.colors 1'):
        read('classes: {labels: [a, b], colors: [[1, 2, 3]]}')
    with pytest.raises(ConfigError, match=r'classes\.labels has 2 .* classes\.colors 19'):
        read('classes: {labels: [a, b], preset: cityscapes}')


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r'nowhere\.yaml: cannot be read'):
        ModelConfig.from_file(tmp_path / 'nowhere.yaml')
    with pytest.raises(ConfigError, match='cannot be read'):
        ModelConfig.from_file(tmp_path)
    (tmp_path / 'latin.yaml').write_bytes(b'classes: {labels: [caf\xe9]}')
    with pytest.raises(ConfigError, match=r'latin\.yaml: cannot be read'):
        ModelConfig.from_file(tmp_path / 'latin.yaml')


# No input raises anything but ConfigError --------------------------------------------------


SCALARS = (st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
           | st.binary(max_size=3) | st.dates() | st.datetimes()
           | st.sampled_from(['rgb', 'ids', 'none', 'stretch', 'cityscapes', 10 ** 400]))
KEYS = st.sampled_from(['input', 'output', 'classes', 'preset', *(
    f.name for section in (InputConfig, OutputConfig, ClassesConfig) for f in fields(section))])
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        KEYS | st.integers() | st.text(max_size=3), inner, max_size=4), max_leaves=12)


def assert_nothing_but_config_error(text):
    try:
        assert isinstance(read(text), ModelConfig)
    except ConfigError as error:
        assert str(error).startswith('net.yaml: ')


@given(tree=TREES)
def test_any_tree(tree):
    assert_nothing_but_config_error(yaml.safe_dump(tree))


@given(section=st.sampled_from(['input', 'output', 'classes']), key=KEYS, value=TREES)
def test_any_value_of_any_key(section, key, value):
    assert_nothing_but_config_error(yaml.safe_dump({section: {key: value}}))


@given(text=st.text(alphabet='ab01-_:.,[]{}&*!?|>"\'#%@ \n\t\0\ud800é', max_size=30))
@example(text='when: 2026-13-01')
@example(text='a: 0x_')
@example(text='a: ' + '9' * 5000)
@example(text='!!int abc')
@example(text='!!bool abc')
@example(text='!!timestamp abc')
@example(text='!!python/object:os.system {}')
@example(text='&a [*a]')
@example(text='input: &a {color: *a}')
@example(text='? [a]\n: b')
@example(text='[' * 5000)
def test_any_text(text):
    assert_nothing_but_config_error(text)


@given(tree=TREES)
def test_json_is_yaml_too(tree):
    assert_nothing_but_config_error(json.dumps(tree, default=str))
