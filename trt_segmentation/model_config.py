# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The model config: preprocessing of a network, meaning of its output, and its classes.

It is one YAML file per network, or the same text under ``METADATA_KEY`` in the metadata of the
ONNX file. Every key is optional; ``graph/reading/resolve.py`` derives the others from the graph.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from trt_segmentation.classes.mask_encoding import MONO8, MONO16
from trt_segmentation.classes.merging import MergedClass, merge_tree, read_merge
from trt_segmentation.classes.palette import Colour, Palette, preset_labels, preset_names
from trt_segmentation.errors import ConfigError, ModelError, did_you_mean

METADATA_KEY = 'trt_segmentation'
COLOR_ORDERS = ('rgb', 'bgr')
COLORS = (*COLOR_ORDERS, 'gray')
DEPTHS = (8, 16)
RESIZES = ('stretch', 'letterbox', 'none')
SCORE_KINDS = ('logits', 'probabilities', 'sigmoid')
KINDS = (*SCORE_KINDS, 'ids', 'queries', 'instances')
LAYOUTS = ('nchw', 'nhwc')
UNLABELLED = MONO8.unlabelled
"""Value of a pixel without a class, in a mono8 mask and in class ids that a network outputs."""

MAX_CLASSES = UNLABELLED
"""A mono8 mask has 256 values, one of which means unlabelled."""

MOST_CLASSES = MONO16.unlabelled
"""A mono16 mask has 65536 values, one of which means unlabelled."""


@dataclass(frozen=True)
class InputConfig:
    """The preprocessing, ``(pixel * scale - mean) / std``; None for a key that is not set.

    Attributes:
        color: order of the network's three channels, 'rgb' or 'bgr'; 'gray' for one channel.
        scale: factor of the pixel, which is 0..255, or 0..65535 if ``depth`` is 16.
        mean, std: one value per network channel.
        resize: 'stretch', 'letterbox' or 'none': how the image is resized to the network's size.
        size: height, width in pixels; needed for a network with dynamic input size.
        layout: 'nchw' or 'nhwc'; needed if the graph leaves it open.
        border: for letterbox, pixel value of all three channels around the image, 0..255; if not
            set, the network gets 0 there, which is the colour ``mean``.
        depth: for gray, bits of a pixel that are fed, 8 or 16. With 8, pixels of 16 bits are fed
            as their high byte; with 16, pixels of 8 bits are multiplied by 257. If not set, a
            ``scale`` below 1/1000 means 16.
    """

    color: str | None = None
    scale: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    resize: str | None = None
    size: tuple[int, int] | None = None
    border: float | None = None
    layout: str | None = None
    depth: int | None = None

    def fault(self) -> str:
        """Return the contradiction between color, mean, std and depth; '' if there is none."""
        if self.color in COLOR_ORDERS and self.depth is not None:
            return (f'input.depth is {self.depth}, but input.color is {self.color}; depth is for '
                    'gray only')
        counts = [3 if self.color in COLOR_ORDERS else 1] if self.color else [1, 3]
        for key, values in (('mean', self.mean), ('std', self.std)):
            if values is not None and len(values) not in counts:
                return (f'input.{key} has {_counted(len(values))}, but input.color is '
                        f'{self.color}, which has {_counted(counts[0], "channel")}; give one '
                        'number per channel')
        if self.mean and self.std and len(self.mean) != len(self.std):
            return (f'input.mean has {_counted(len(self.mean))}, but input.std '
                    f'{_counted(len(self.std))}; give one number per channel, 3 for rgb and bgr '
                    'and 1 for gray')
        return ''


def _counted(count: int, name: str = 'number') -> str:
    return f'{count} {name}{"s" * (count != 1)}'


@dataclass(frozen=True)
class OutputConfig:
    """The meaning of the network's output; None for a key that is not set.

    Attributes:
        name: of the output that is used, for a network with several.
        kind: 'logits', 'probabilities', 'sigmoid' (one probability per class), 'ids', 'queries'
            (masks with class scores each, as in MaskFormer), or 'instances' (boxes with a class
            and mask coefficients, and prototypes, as in Ultralytics' YOLO).
        layout: 'nchw' or 'nhwc'.
        threshold: lowest probability, 0..1, of a foreground, a sigmoid class or an instance.
        class_name: for 'queries' and 'instances', the output with their classes; ``name`` is the
            output with the masks or prototypes.
        grow_masks: for 'queries' and 'instances', whether their masks are first resized to the
            input's size.
        align_corners: for scores, whether they are resized to the input's size as PyTorch's
            ``interpolate`` does with ``align_corners=True``, before anything else.
    """

    name: str | None = None
    kind: str | None = None
    layout: str | None = None
    threshold: float | None = None
    class_name: str | None = None
    grow_masks: bool | None = None
    align_corners: bool | None = None


@dataclass(frozen=True)
class ClassesConfig:
    """The classes; None for a key that is not set.

    Attributes:
        labels: unique names, indexed by class id.
        colors: RGB 0..255, indexed by class id.
        unlabelled: the network's id for "no class"; such pixels have no class in the mask.
        merge: the classes of the mask if they differ from these; see ``classes.merging``.
    """

    labels: tuple[str, ...] | None = None
    colors: tuple[Colour, ...] | None = None
    unlabelled: int | None = None
    merge: tuple[MergedClass, ...] | None = None

    def fault(self) -> str:
        """Return the contradiction between labels and colors; '' if there is none."""
        if self.labels is None or self.colors is None or len(self.labels) == len(self.colors):
            return ''
        return (f'classes.labels has {len(self.labels)} entries but classes.colors '
                f'{len(self.colors)}; give one colour per label')


@dataclass(frozen=True)
class TaskConfig:
    """One mask of a network with several masks.

    Attributes:
        task: name in its topics and files, ``~/<task>/mask``; '' for the only mask of a network,
            which is ``~/mask``.
        output, classes: as for a network with this mask only.
    """

    task: str
    output: OutputConfig
    classes: ClassesConfig

    def over(self, other: 'TaskConfig') -> 'TaskConfig':
        """Return this task, with keys that are not set taken from ``other``."""
        return replace(self, output=_over(self.output, other.output),
                       classes=_over(self.classes, other.classes))


@dataclass(frozen=True)
class ModelConfig:
    """The config of a network; see its sections.

    Attributes:
        input: the preprocessing.
        output, classes: of a network with one mask.
        outputs: of a network with several masks, one entry per mask; then no key of ``output``
            and ``classes`` is set.
    """

    input: InputConfig = field(default_factory=InputConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    classes: ClassesConfig = field(default_factory=ClassesConfig)
    outputs: tuple[TaskConfig, ...] = ()

    @classmethod
    def of_tasks(cls, fed: InputConfig, tasks: tuple[TaskConfig, ...]) -> 'ModelConfig':
        """Return the config with this input section and these ``tasks``."""
        if tasks[0].task:
            return cls(fed, outputs=tasks)
        return cls(fed, tasks[0].output, tasks[0].classes)

    @property
    def tasks(self) -> tuple[TaskConfig, ...]:
        """The masks: ``outputs``, or one without a name, from ``output`` and ``classes``."""
        return self.outputs or (TaskConfig('', self.output, self.classes),)

    def of_task(self, task: TaskConfig) -> 'ModelConfig':
        """Return the config that uses only this mask of the network."""
        return ModelConfig(self.input, task.output, task.classes)

    @classmethod
    def from_file(cls, path: str | Path) -> 'ModelConfig':
        """Read a YAML file.

        Raises:
            ConfigError: it is missing, is no YAML, or has an invalid key or value.
        """
        try:
            text = Path(path).read_text(encoding='utf-8')
        except OSError as error:
            raise ConfigError(f'{path}: cannot be read ({error.strerror})') from error
        except UnicodeDecodeError as error:
            raise ConfigError(f'{path}: cannot be read: it is no UTF-8 text') from error
        return cls.from_text(text, str(path))

    @classmethod
    def from_text(cls, text: str, source: str) -> 'ModelConfig':
        """Read YAML text; ``source`` names it in errors.

        Raises:
            ConfigError: it is no YAML, or has an invalid key or value.
        """
        try:
            tree = _Loader(text).get_single_data()
        except ConfigError as error:
            raise ConfigError(f'{source}: {error}') from None
        except Exception as error:  # PyYAML's constructors raise ValueError, KeyError and more
            place = ' '.join(str(error).replace(' in "<unicode string>", ', ' at ').split())
            raise ConfigError(f'{source}: is no valid YAML ({place})') from error
        try:
            return _read_config({} if tree is None else tree)
        except ConfigError as error:
            raise ConfigError(f'{source}: {error}') from None

    def set_keys(self) -> frozenset[str]:
        """Return the keys that are set, such as 'input.color'."""
        sections = {'input': _set_values(self.input), 'output': _set_values(self.output),
                    'classes': _set_values(self.classes),
                    **{f'outputs.{each.task}': _set_values(each.output, each.classes)
                       for each in self.outputs}}
        return frozenset(f'{section}.{key}' for section, keys in sections.items() for key in keys)

    def over(self, other: 'ModelConfig') -> 'ModelConfig':
        """Return this config, with keys that are not set taken from ``other``.

        The masks are those of this config if it has any key of output, classes or outputs, else
        those of ``other``. A mask takes missing keys from the mask of ``other`` with the same
        task or the same output of the network.

        Raises:
            ConfigError: this config has one mask without a name, the other one has several.
        """
        has_masks = bool(self.outputs or _set_values(self.output) or _set_values(self.classes))
        tasks = other.tasks if not has_masks else tuple(
            task.over(found) if (found := _counterpart(task, other)) else task
            for task in self.tasks)
        if other.outputs and has_masks and not (self.outputs or self.output.name):
            names = ', '.join(str(each.output.name) for each in other.outputs)
            raise ConfigError('the config has output or classes without output.name, but the '
                              "network's own config has several masks, of "
                              f'{names}; name one of them as output.name, or write outputs')
        return ModelConfig.of_tasks(_over(self.input, other.input), tasks)

    def to_text(self) -> str:
        """Return the config as YAML, without keys that are not set."""
        tree: dict[str, Any] = {
            'input': _set_values(self.input), 'output': _set_values(self.output),
            'classes': _set_values(self.classes),
            'outputs': [{'task': each.task, **_set_values(each.output, each.classes)}
                        for each in self.outputs]}
        return yaml.safe_dump({k: v for k, v in tree.items() if v}, sort_keys=False,
                              default_flow_style=None, width=99)


class _Loader(yaml.SafeLoader):
    """Refuses duplicate keys, which YAML forbids and PyYAML accepts."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                raise ConfigError(f"has the key '{key}' twice; remove one")
        return super().construct_mapping(node, deep)


def _over(mine: Any, theirs: Any) -> Any:
    """Return a section, with keys that are not set taken from another one."""
    return replace(theirs, **{f.name: value for f in fields(mine)
                              if (value := getattr(mine, f.name)) is not None})


def _counterpart(task: TaskConfig, other: ModelConfig) -> TaskConfig | None:
    """Return the mask of another config with the same task or the same output."""
    if task.task == other.tasks[0].task == '':
        return other.tasks[0]
    is_same = [each for each in other.tasks if each.task == task.task] or \
        [each for each in other.tasks
         if task.output.name is not None and each.output.name == task.output.name]
    return is_same[0] if len(is_same) == 1 else None


@contextmanager
def naming_task(task: str) -> Iterator[None]:
    """Put the task into the message of errors raised inside; '' changes nothing."""
    try:
        yield
    except (ConfigError, ModelError) as error:
        if not task:
            raise
        raise type(error)(f'outputs, task {task}: {error}', error.settings) from error


def _set_values(*sections: Any) -> dict[str, Any]:
    """The values that are set in sections, by key, as YAML types."""
    values = {f.name: value for section in sections for f in fields(section)
              if (value := getattr(section, f.name)) is not None}
    return {key: merge_tree(value) if key == 'merge' else _as_lists(value)
            for key, value in values.items()}


def _as_lists(value: Any) -> Any:
    return [_as_lists(item) for item in value] if isinstance(value, tuple) else value


def _read_config(tree: Any) -> ModelConfig:
    sections = _checked_keys('the config', tree, ('input', 'output', 'classes', 'outputs'))
    fed, several = _read_input(sections.get('input')), sections.get('outputs')
    if fault := fed.fault():
        raise ConfigError(fault)
    if several is None:
        return ModelConfig(fed, _read_output(sections.get('output')),
                           _read_classes(sections.get('classes')))
    if others := [key for key in ('output', 'classes') if sections.get(key) is not None]:
        raise ConfigError(f'has outputs and {" and ".join(others)}; for several masks, write '
                          f'these keys into the entries of outputs and remove '
                          f'{" and ".join(others)}; for one mask, remove outputs')
    return ModelConfig(fed, outputs=_read_tasks(several))


_TASK_NAME = re.compile('[A-Za-z][A-Za-z0-9_]*')
_TASK_KEYS = {'output': tuple(f.name for f in fields(OutputConfig)),
              'classes': (*(f.name for f in fields(ClassesConfig)), 'preset')}
"""Keys of an entry of ``outputs``, by section; ``task`` is one more."""


def _read_tasks(value: Any) -> tuple[TaskConfig, ...]:
    if not isinstance(value, list) or not value:
        raise ConfigError(f'outputs is {value!r}; it is a list with an entry for each mask, such '
                          'as [{name: drivable}, {name: lanes}]')
    tasks = tuple(_read_task(f'outputs[{index}]', entry) for index, entry in enumerate(value))
    counts = Counter(each.task for each in tasks)
    if repeated := [task for task, count in counts.items() if count > 1]:
        raise ConfigError(f'outputs has the task {", ".join(repeated)} twice; give each entry '
                          'another name by the key task')
    return tasks


def _read_task(where: str, tree: Any) -> TaskConfig:
    known = ('task', *_TASK_KEYS['output'], *_TASK_KEYS['classes'])
    entry = _checked_keys(where, tree, known)
    task = entry.get('task', entry.get('name'))
    if entry.get('name') is None:
        raise ConfigError(f'{where} has no name; name is the output of the network that gives '
                          'the mask')
    if not isinstance(task, str) or not _TASK_NAME.fullmatch(task) or task == 'network':
        raise ConfigError(
            f'{where} is called {task!r}, which is no valid topic name; set one by the key '
            "task: letters, digits and underscores, a letter first, and not 'network'")
    sections = {section: {key: entry[key] for key in keys if key in entry}
                for section, keys in _TASK_KEYS.items()}
    with naming_task(task):
        return TaskConfig(task, _read_output(sections['output']),
                          _read_classes(sections['classes']))


def _read_input(tree: Any) -> InputConfig:
    keys = _checked_keys('input', tree, tuple(f.name for f in fields(InputConfig)))
    std = _numbers('input.std', keys.get('std'))
    if std is not None and 0.0 in std:
        raise ConfigError(f'input.std is {list(std)}; it is a divisor, no value may be 0')
    scale = _number('input.scale', keys.get('scale'))
    if scale == 0:
        raise ConfigError('input.scale is 0, with which all images are equal; it is a factor of '
                          'the pixel, such as 1/255 = 0.00392157')
    border, resize = _number('input.border', keys.get('border')), keys.get('resize')
    if border is not None and not 0 <= border <= 255:
        raise ConfigError(f'input.border is {border}; it is a pixel value, 0 to 255')
    if border is not None and resize not in (None, 'letterbox'):
        raise ConfigError(f'input.border is {border}, but input.resize is {resize}, which has no '
                          'borders; remove one of them')
    return InputConfig(
        color=_choice('input.color', keys.get('color'), COLORS),
        scale=scale,
        mean=_numbers('input.mean', keys.get('mean')),
        std=std,
        resize=_choice('input.resize', resize, RESIZES),
        size=_read_size(keys.get('size')),
        border=border,
        layout=_choice('input.layout', keys.get('layout'), LAYOUTS),
        depth=_read_depth(keys.get('depth')))


def _read_depth(value: Any) -> int | None:
    if value is not None and not (_is_int(value) and value in DEPTHS):
        raise ConfigError(f'input.depth is {value!r}; it is 8 or 16, the bits of a pixel that '
                          'the network gets')
    return value


def _read_size(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    if (not isinstance(value, list) or len(value) != 2
            or not all(_is_int(extent) and extent > 0 for extent in value)):
        raise ConfigError(f'input.size is {value!r}; it is [height, width] in pixels, whole '
                          'numbers above 0')
    return value[0], value[1]


def _read_output(tree: Any) -> OutputConfig:
    keys = _checked_keys('output', tree, tuple(f.name for f in fields(OutputConfig)))
    threshold = _number('output.threshold', keys.get('threshold'))
    if threshold is not None and not 0 <= threshold <= 1:
        raise ConfigError(f'output.threshold is {threshold}; it is a probability, 0 to 1')
    for key in ('name', 'class_name'):
        name = keys.get(key)
        if name is not None and not isinstance(name, str):
            raise ConfigError(f'output.{key} is {name!r}; it is the name of an output, a string')
    return OutputConfig(name=keys.get('name'),
                        class_name=keys.get('class_name'),
                        grow_masks=_flag('output.grow_masks', keys.get('grow_masks')),
                        align_corners=_flag('output.align_corners', keys.get('align_corners')),
                        kind=_choice('output.kind', keys.get('kind'), KINDS),
                        layout=_choice('output.layout', keys.get('layout'), LAYOUTS),
                        threshold=threshold)


def _read_classes(tree: Any) -> ClassesConfig:
    keys = _checked_keys('classes', tree, ('labels', 'colors', 'unlabelled', 'merge', 'preset'))
    labels, colors = _read_labels(keys.get('labels')), _read_colors(keys.get('colors'))
    preset = _choice('classes.preset', keys.get('preset'), preset_names())
    if preset is not None:
        labels = preset_labels(preset) if labels is None else labels
        colors = Palette.preset(preset).colors if colors is None else colors
    unlabelled = keys.get('unlabelled')
    if unlabelled is not None and not (_is_int(unlabelled) and 0 <= unlabelled <= MOST_CLASSES):
        raise ConfigError(f'classes.unlabelled is {unlabelled!r}; it is an id, 0 to '
                          f'{MOST_CLASSES}')
    classes = ClassesConfig(labels, colors, unlabelled, read_merge(keys.get('merge')))
    if fault := classes.fault():
        raise ConfigError(fault)
    return classes


def _read_labels(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(label, str) for label in value):
        raise ConfigError(f'classes.labels is {value!r}; it is a list of names '
                          '(quote names that YAML does not read as strings)')
    repeated = sorted(label for label, count in Counter(value).items() if count > 1)
    if repeated:
        raise ConfigError(f'classes.labels repeats {", ".join(repeated)}; consumers look up '
                          'classes by name, so names must be unique')
    if not 0 < len(value) <= MOST_CLASSES:
        raise ConfigError(f'classes.labels has {len(value)} entries; a mask holds 1 to '
                          f'{MOST_CLASSES} classes')
    return tuple(value)


def _read_colors(value: Any) -> tuple[Colour, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise ConfigError(f'classes.colors is {value!r}; it is a list of [red, green, blue]')
    if not 0 < len(value) <= MOST_CLASSES:
        raise ConfigError(f'classes.colors has {len(value)} entries; a mask holds 1 to '
                          f'{MOST_CLASSES} classes')
    for color in value:
        if (not isinstance(color, list) or len(color) != 3
                or not all(_is_int(c) and 0 <= c <= 255 for c in color)):
            raise ConfigError(f'classes.colors has the entry {color!r}; '
                              'each is [red, green, blue], 0 to 255')
    return tuple((color[0], color[1], color[2]) for color in value)


def _checked_keys(name: str, tree: Any, known: tuple[str, ...]) -> Mapping[str, Any]:
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f'{name} is {tree!r}; it is a mapping with the keys {", ".join(known)}')
    unknown = [str(key) for key in tree if key not in known]
    if unknown:
        raise ConfigError(f'{name} has the unknown key {", ".join(unknown)}; '
                          f'known keys are {", ".join(known)}{did_you_mean(unknown[0], known)}')
    return tree


def _choice(name: str, value: Any, known: tuple[str, ...]) -> str | None:
    if value is not None and value not in known:
        raise ConfigError(f"{name} is '{value}'; it is one of {', '.join(known)}")
    return value


def _flag(name: str, value: Any) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise ConfigError(f'{name} is {value!r}; it is true or false')
    return value


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(name: str, value: Any) -> float | None:
    if value is None:
        return None
    try:
        number = float(value) if _is_int(value) or isinstance(value, float) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        fix = _as_yaml_number(value) if isinstance(value, str) else ''
        raise ConfigError(f'{name} is {value!r}, which YAML reads as text; write {fix}' if fix else
                          f'{name} is {value!r}; it is a finite number')
    return number


def _as_yaml_number(text: str) -> str:
    """The number in a text as YAML 1.1 writes it, with a point and a sign of the exponent; '' if
    there is none."""
    match = re.fullmatch(r'([+-]?[0-9]+)(\.[0-9]*)?(?:[eE]([+-]?)([0-9]+))?', text)
    if not match:
        return ''
    whole, fraction, sign, exponent = match.groups()
    if exponent is None:
        return whole + (fraction or '')
    return f'{whole}{fraction or ".0"}e{sign or "+"}{exponent}'


def _numbers(name: str, value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) not in (1, 3) or None in value:
        raise ConfigError(f'{name} is {value!r}; it is a list of 3 numbers, one per channel, or '
                          'of 1 number for input.color gray')
    return tuple(_number(f'{name}[{i}]', item) or 0.0 for i, item in enumerate(value))
