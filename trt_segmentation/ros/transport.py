# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Fast DDS settings for reliable and fast transport of images between processes."""

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
"""The variable that each library reads: Fast DDS 2 (Humble, Jazzy) is libfastrtps and reads only
the old name, Fast DDS 3 (Kilted and newer) is libfastdds and reads only the new name; see
``XMLParserCommon.cpp`` of Fast DDS 2.6, 2.14, 3.2 and 3.6."""

_MIDDLEWARE = 'librmw_fastrtps_shared_cpp.so'
"""The ROS 2 library that is linked with Fast DDS."""

_TRANSPORTS = 'FASTDDS_BUILTIN_TRANSPORTS'
_PUBLICATION_MODE = 'RMW_FASTRTPS_PUBLICATION_MODE'

CORES_TO_SPARE = 4
"""Minimum number of cores for asynchronous publishing, so that its thread does not slow down the
node; measured with 2 and 16 cores, see docs/explanation/performance.md."""


def large_image_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to add to a process that publishes images.

    By default, Fast DDS sends messages to other processes of the same host through a shared
    memory segment of 512 KB, and loses larger best-effort messages: a 640x480 overlay has 900 KB.
    The setting of the publishing process applies. ``fastdds.xml`` in this folder enlarges the
    segment and changes nothing else. With at least ``CORES_TO_SPARE`` cores, a thread of Fast DDS
    sends the messages instead of the publishing thread.

    Args:
        environment: of the process. A transport, a profile or a publication mode that is set
            there is kept. Variables that the installed middleware does not read are ignored.
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
    """The environment variables for a profile file of Fast DDS.

    Attributes:
        to_set: variables to set.
        read: variables that the middleware reads, so that a user may have set.
    """

    to_set: tuple[str, ...]
    read: tuple[str, ...]


def find_profile_variables(environment: Mapping[str, str]) -> ProfileVariables:
    """Return the variables that the installed middleware reads.

    The library file of rmw_fastrtps contains the name of the Fast DDS library that it is linked
    with. It is read, not loaded. ROS_DISTRO is not used, since the wheels on PyPI do not set it.
    If the file is not found, both variables are set. Newer rmw_fastrtps still accepts the
    old name, and logs a deprecation warning (seen with 9.3).

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
    """Yield the possible folders of the ROS 2 libraries, in the order of the loader."""
    for entry in environment.get('LD_LIBRARY_PATH', '').split(os.pathsep):
        if entry:
            yield Path(entry)
    for entry in environment.get('AMENT_PREFIX_PATH', '').split(os.pathsep):
        if entry:
            yield Path(entry, 'lib')
    # Wheels of rclpy and conda packages set no variables: <prefix>/lib/python3.x/site-packages.
    rclpy = importlib.util.find_spec('rclpy')
    if rclpy is not None and rclpy.origin is not None:
        yield from (folder for folder in Path(rclpy.origin).parents if folder.name == 'lib')
    yield Path(sys.prefix, 'lib')
