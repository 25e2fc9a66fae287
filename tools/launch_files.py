# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Run the launch files of the package where ROS 2's launch is not installed, and start nothing.

Stand-ins of the few classes that the launch files use record what they are called with. So the
reference page lists the arguments, and a test can try the commands that the documentation shows.
"""

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Argument:
    """A launch argument; ``default_value`` is None for one that is required."""

    name: str
    default_value: str | None = None
    description: str = ''


def read_arguments(name: str) -> list[Argument]:
    """Return the arguments of a launch file, such as 'seg.launch.py'."""
    with _stand_ins():
        return _description(ROOT / 'launch' / name).get_launch_arguments()


def started_nodes(name: str, given: Mapping[str, str]) -> list[SimpleNamespace]:
    """Return what a launch file makes its nodes from.

    Args:
        name: of the launch file.
        given: arguments, as after ``ros2 launch trt_segmentation seg.launch.py``.

    Raises:
        ConfigError: an argument has a value that the launch file refuses.
        ValueError: it has no such argument, or one that is required is not given.
    """
    with _stand_ins():
        return list(_nodes(ROOT / 'launch' / name, given))


def _nodes(path: Path, given: Mapping[str, str]) -> Iterator[SimpleNamespace]:
    description = _description(path)
    arguments = {each.name: each.default_value for each in description.get_launch_arguments()}
    if unknown := [each for each in given if each not in arguments]:
        raise ValueError(f'{path.name} has no argument {", ".join(unknown)}')
    values = {**arguments, **given}
    if missing := [each for each, value in values.items() if value is None]:
        raise ValueError(f'{path.name} needs the argument {", ".join(missing)}')
    context = SimpleNamespace(launch_configurations=values)
    for entity in description.entities:
        if isinstance(entity, _Function):
            for action in entity.function(context):
                yield from _unpacked(action)


def _unpacked(action: Any) -> Iterator[SimpleNamespace]:
    """The nodes of a group, of an inclusion, or the node itself."""
    if isinstance(action, _Group):
        for each in action.actions:
            yield from _unpacked(each)
    elif isinstance(action, _Inclusion):
        yield from _nodes(action.source.path, dict(action.launch_arguments))
    else:
        yield action


class _Description:
    def __init__(self, entities: list[Any]) -> None:
        self.entities = entities

    def get_launch_arguments(self) -> list[Argument]:
        return [each for each in self.entities if isinstance(each, Argument)]


class _Function:
    def __init__(self, function: Any) -> None:
        self.function = function


class _Group:
    def __init__(self, actions: list[Any]) -> None:
        self.actions = actions


class _Source:
    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def get_launch_description(self, context: Any) -> _Description:
        return _description(self.path)


class _Inclusion:
    def __init__(self, source: _Source, launch_arguments: Any = ()) -> None:
        self.source, self.launch_arguments = source, launch_arguments


class _NotFoundError(KeyError):
    pass


def _description(path: Path) -> _Description:
    spec = importlib.util.spec_from_file_location(path.name.replace('.', '_'), path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Let imports of launch, launch_ros and ament_index_python find the stand-ins."""
    actions = {'DeclareLaunchArgument': Argument, 'OpaqueFunction': _Function,
               'PopLaunchConfigurations': object, 'PushLaunchConfigurations': object,
               'GroupAction': _Group, 'IncludeLaunchDescription': _Inclusion}
    contents: dict[str, dict[str, Any]] = {
        'launch': {'LaunchContext': SimpleNamespace, 'LaunchDescription': _Description},
        'launch.actions': actions,
        'launch.events': {}, 'launch.events.process': {'ProcessExited': object},
        'launch.launch_description_sources': {'PythonLaunchDescriptionSource': _Source},
        'launch.logging': {'get_logger': mock.Mock()},
        'launch_ros': {}, 'launch_ros.actions': {'Node': SimpleNamespace},
        'ament_index_python': {},
        'ament_index_python.packages': {
            'PackageNotFoundError': _NotFoundError, 'get_package_prefix': lambda name: '/opt/ros',
            'get_package_share_directory': lambda name: str(ROOT)}}
    modules = {name: ModuleType(name) for name in contents}
    for name, content in contents.items():
        vars(modules[name]).update(content)
    with mock.patch.dict(sys.modules, modules):
        yield
