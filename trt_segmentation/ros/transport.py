# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Fast DDS settings with which images reach another process."""

from collections.abc import Mapping
from importlib import resources

_OPERATOR_SETTINGS = ('FASTDDS_BUILTIN_TRANSPORTS', 'FASTDDS_DEFAULT_PROFILES_FILE',
                      'FASTRTPS_DEFAULT_PROFILES_FILE')


def large_image_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to add to a process that publishes images.

    By default, Fast DDS hands messages to other processes of the same host through a shared
    memory segment of 512 KB and loses best-effort ones that are larger: a 640x480 overlay has
    900 KB. What counts is the setting of the publishing process. ``fastdds.xml`` beside this
    module enlarges the segment and changes nothing else.

    Args:
        environment: what the process has already. Nothing is returned where the operator has
            chosen a transport or a profile.
    """
    if any(environment.get(name) for name in _OPERATOR_SETTINGS):
        return {}
    profile = str(resources.files('trt_segmentation') / 'ros' / 'fastdds.xml')
    # Humble's Fast DDS 2.6 knows only the old name, newer ones warn about it.
    humble = environment.get('ROS_DISTRO') == 'humble'
    return {'FASTRTPS_DEFAULT_PROFILES_FILE' if humble else 'FASTDDS_DEFAULT_PROFILES_FILE':
            profile}
