# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Parsing and validation of launch arguments; imports neither launch nor rclpy."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from trt_segmentation.errors import ConfigError
from trt_segmentation.ros.parameters import rules, value_from_text
from trt_segmentation.ros.paths import expand_path

NOT_GIVEN = ''
"""Value of a launch argument that selects the default."""

NODE_NAME = 'segmentation'

LOG_LEVELS = 'debug', 'info', 'warn', 'error', 'fatal'

_OTHER_PARAMETERS = 'use_sim_time', 'start_type_description_service', 'qos_overrides'
"""Parameters that rclpy declares on every node."""


def argument_error(name: str, fault: str) -> ConfigError:
    """Return the error for a bad argument, which may come from a parent launch file.

    In launch, an included file inherits the arguments of its parent.
    """
    return ConfigError(
        f"{fault}. If you did not set it: an included launch file inherits arguments of the same "
        f"name from its parent. Set '{name}' in the launch_arguments of the inclusion ('' selects "
        'the default)')


def parameter_overrides(given: Mapping[str, str]) -> dict[str, Any]:
    """Return the node's parameters that are set as launch arguments.

    Args:
        given: launch arguments by name; ``NOT_GIVEN`` and missing ones are skipped.

    Raises:
        ConfigError: a value has the wrong type or is out of its range.
    """
    overrides = {name: _parameter(name, given[name]) for name in rules()
                 if given.get(name, NOT_GIVEN) != NOT_GIVEN}
    if given.get('use_sim_time', NOT_GIVEN) != NOT_GIVEN:
        overrides['use_sim_time'] = flag('use_sim_time', given['use_sim_time'])
    return overrides


def _parameter(name: str, text: str) -> Any:
    try:
        value = value_from_text(name, text)
        fault = rules()[name].fault(name, value)
        if value == []:  # launch cannot pass an empty list to a node
            fault = f"{name} is '{text}'; omit it instead"
    except ConfigError as error:
        fault = str(error)
    except TypeError:  # elements of a wrong type, such as roi:=[a, b, c, d]
        fault = f"{name} is '{text}'; its elements have the wrong type"
    if fault:
        raise argument_error(name, fault)
    return value


def flag(name: str, text: str) -> bool:
    """Return a boolean argument; upper and lower case are accepted.

    Raises:
        ConfigError: it is neither true nor false.
    """
    if text.lower() not in ('true', 'false', NOT_GIVEN):
        raise argument_error(name, f"{name} is '{text}'; it must be true or false")
    return text.lower() == 'true'


def log_level(text: str) -> str:
    """Return a log level as rcl expects it; upper and lower case are accepted.

    Raises:
        ConfigError: unknown level.
    """
    level = text.lower() or 'info'
    level = {'warning': 'warn', 'critical': 'fatal'}.get(level, level)
    if level not in LOG_LEVELS:
        raise argument_error('log_level',
                             f"log_level is '{text}'; it must be one of {', '.join(LOG_LEVELS)}")
    return level


# Names

def full_namespace(pushed: str | None, namespace: str) -> str:
    """Return the namespace of a node, '' for the root.

    Args:
        pushed: namespace that parent launch files have pushed (PushRosNamespace).
        namespace: the argument; an absolute one replaces the pushed namespace.
    """
    parts = (namespace,) if namespace.startswith('/') else (pushed or '', namespace)
    return ''.join(f'/{part.strip("/")}' for part in parts if part.strip('/'))


def absolute_topic(namespace: str, topic: str) -> str:
    """Return a topic as an absolute name; a relative one is in the namespace."""
    return topic if topic.startswith(('/', '~')) else f'{namespace}/{topic}'


def for_camera(name: str, template: str, camera: str) -> str:
    """Return the topic of one camera.

    Args:
        name: of the argument, for error messages.
        template: topic in which ``{camera}`` is replaced by the camera's name.
        camera: the camera's name; '' for one camera without a name.

    Raises:
        ConfigError: it has another placeholder, or the camera has no name.
    """
    topic = template.replace('{camera}', camera) if camera else template
    if '{' in topic or '}' in topic:
        raise argument_error(name, f"{name} is '{template}'; the only placeholder is {{camera}}, "
                                   'and it needs the argument cameras')
    return topic


def check_differs(name: str, template: str, cameras: Sequence[str]) -> None:
    """Check that a topic differs for each camera.

    Args:
        name: of the argument, for error messages.
        template: the argument; the default differs for each camera.
        cameras: their names.

    Raises:
        ConfigError: it is the same for several cameras.
    """
    if template != NOT_GIVEN and '{camera}' not in template and len(cameras) > 1:
        raise argument_error(name, f"{name} is '{template}', the same topic for all cameras; it "
                                   'must contain {camera}, which is replaced by their names')


# Parameter files

def params_file(text: str, default: Path, node: str) -> tuple[str, list[str]]:
    """Return the path of a parameter file, and warnings.

    Args:
        text: the argument ``params_file``.
        default: the file to use if none is given.
        node: full name of the node that reads it, such as ``/front/segmentation``.

    Raises:
        ConfigError: it does not exist, or is not YAML. rcl and launch would ignore such a
            file.
    """
    path = Path(expand_path('params_file', text) or default)
    if not path.is_file():
        raise argument_error('params_file', f"params_file is '{path}', which does not exist")
    try:
        tree = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        why = ' '.join(str(error).split())
        raise argument_error('params_file',
                             f"params_file is '{path}', which is not valid YAML: {why}") from None
    return str(path), _params_file_warnings(path, tree, node)


def _params_file_warnings(path: Path, tree: Any, node: str) -> list[str]:
    sections = dict(_sections(tree, ''))
    matching = {name: section for name, section in sections.items() if _matches(name, node)}
    if not matching:
        found = ', '.join(sections) or 'no ros__parameters'
        return [f"params_file '{path}' sets no parameter of {node}: it contains {found}. Write "
                f'{node}: or /**: as the top-level key, and ros__parameters: below it']
    known = {*rules(), *_OTHER_PARAMETERS}
    return [f"params_file '{path}' sets '{parameter}' of {name}, which has no such parameter"
            for name, section in matching.items() if '*' not in name
            for parameter in section if parameter.partition('.')[0] not in known]


def _sections(tree: Any, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the parameters of each node in a parameter file."""
    for key, below in tree.items() if isinstance(tree, dict) else ():
        if key == 'ros__parameters':
            yield prefix, below if isinstance(below, dict) else {}
        else:
            yield from _sections(below, f'{prefix}/{str(key).strip("/")}')


def _matches(pattern: str, node: str) -> bool:
    """Return whether a name in a parameter file, which may have wildcards, matches a node."""
    wildcards = {'**': r'(/\w+)*', '*': r'/\w+'}
    tokens = pattern.strip('/').split('/')
    return bool(re.fullmatch(''.join(wildcards.get(token, f'/{re.escape(token)}')
                                     for token in tokens), node))
