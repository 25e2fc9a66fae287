# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Fast DDS settings with which images reach another process, and early."""

from collections.abc import Mapping
from importlib import resources

from trt_segmentation.benchmark.host import cpu_count

_OPERATOR_SETTINGS = ('FASTDDS_BUILTIN_TRANSPORTS', 'FASTDDS_DEFAULT_PROFILES_FILE',
                      'FASTRTPS_DEFAULT_PROFILES_FILE')
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
            transport, a profile or a publication mode, is left alone.
    """
    added = {}
    if not any(environment.get(name) for name in _OPERATOR_SETTINGS):
        # Humble's Fast DDS 2.6 knows only the old name, newer ones warn about it.
        humble = environment.get('ROS_DISTRO') == 'humble'
        name = 'FASTRTPS_DEFAULT_PROFILES_FILE' if humble else 'FASTDDS_DEFAULT_PROFILES_FILE'
        added[name] = str(resources.files('trt_segmentation') / 'ros' / 'fastdds.xml')
    if cpu_count() >= CORES_TO_SPARE and not environment.get(_PUBLICATION_MODE):
        added[_PUBLICATION_MODE] = 'ASYNCHRONOUS'
    return added
