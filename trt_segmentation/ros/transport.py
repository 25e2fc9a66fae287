# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Fast DDS settings with which images reach another process, and early."""

import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from trt_segmentation.options import cpu_count

_OLD, _NEW = 'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'
_VARIABLES = {b'libfastrtps.so': _OLD, b'libfastdds.so': _NEW}
"""What each library reads: Fast DDS 2 (Humble, Jazzy) is libfastrtps and knows the old name only,
Fast DDS 3 (Kilted and newer) is libfastdds and knows the new name only; ``XMLParserCommon.cpp``
of Fast DDS 2.6, 2.14, 3.2 and 3.6."""

_MIDDLEWARE = 'librmw_fastrtps_shared_cpp.so'
"""The ROS 2 library that is linked with Fast DDS."""

_TRANSPORTS = 'FASTDDS_BUILTIN_TRANSPORTS'
_PUBLICATION_MODE = 'RMW_FASTRTPS_PUBLICATION_MODE'

CORES_TO_SPARE = 4
"""From so many on, a thread of the middleware takes nothing away from the node; measured with 2
and with 16, see docs/performance.md."""


def large_image_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to add to a process that publishes images.

    By default, Fast DDS hands messages to other processes of the same host through a shared
    memory segment of 512 KB and loses best-effort ones that are larger: a 640x480 overlay has
    900 KB. What counts is the setting of the publishing process. ``fastdds.xml`` beside this
    module enlarges the segment and changes nothing else. With ``CORES_TO_SPARE``, messages are
    handed on by a thread of Fast DDS instead of the one that publishes.

    Args:
        environment: what the process has already. What the operator has chosen there, a
            transport, a profile or a publication mode, is left alone. A variable that the
            installed middleware does not read is no choice.
    """
    added = {}
    variables = find_profile_variables(environment)
    if not any(environment.get(name) for name in (_TRANSPORTS, *variables.read)):
        profile = str(resources.files('trt_segmentation') / 'ros' / 'fastdds.xml')
        added = dict.fromkeys(variables.to_set, profile)
    if cpu_count() >= CORES_TO_SPARE and not environment.get(_PUBLICATION_MODE):
        added[_PUBLICATION_MODE] = 'ASYNCHRONOUS'
    return added


class ProfileVariables(NamedTuple):
    """The environment variables that name a profile file to Fast DDS.

    Attributes:
        to_set: what to set.
        read: what the middleware reads, so what an operator may have set.
    """

    to_set: tuple[str, ...]
    read: tuple[str, ...]


def find_profile_variables(environment: Mapping[str, str]) -> ProfileVariables:
    """Return the variables that the installed middleware reads.

    The library decides, not the distribution's name, which PyPI's wheels do not set: the file of
    rmw_fastrtps names the Fast DDS that it is linked with. The file is read, not loaded. Where
    there is none, both variables are to be set: each Fast DDS reads its own, and the cost is a
    deprecation warning of newer rmw_fastrtps, which still takes the old name (seen with 9.3).

    Args:
        environment: of the process that will load the middleware.
    """
    both = tuple(_VARIABLES.values())
    for folder in _library_folders(environment):
        try:
            content = (folder / _MIDDLEWARE).read_bytes()
        except OSError:
            continue
        found = [name for library, name in _VARIABLES.items() if library in content]
        if len(found) == 1:
            return ProfileVariables(
                (found[0],), tuple(name for name in both
                                   if name == found[0] or name.encode() in content))
    return ProfileVariables(both, both)


def _library_folders(environment: Mapping[str, str]) -> Iterator[Path]:
    """Yield where ROS 2's libraries may lie, in the order in which the loader looks."""
    for entry in environment.get('LD_LIBRARY_PATH', '').split(os.pathsep):
        if entry:
            yield Path(entry)
    for entry in environment.get('AMENT_PREFIX_PATH', '').split(os.pathsep):
        if entry:
            yield Path(entry, 'lib')
    # rclpy's wheels and conda's packages need no variables: <prefix>/lib/python3.x/site-packages.
    rclpy = importlib.util.find_spec('rclpy')
    if rclpy is not None and rclpy.origin is not None:
        yield from (folder for folder in Path(rclpy.origin).parents if folder.name == 'lib')
    yield Path(sys.prefix, 'lib')
