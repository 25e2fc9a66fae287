# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""vision_msgs/LabelInfo: the class names of the ids in the mask."""

from typing import Any

from trt_segmentation.errors import ConfigError

try:
    from vision_msgs.msg import LabelInfo, VisionClass
except ImportError:
    LabelInfo = None

MISSING = ('vision_msgs is not installed, so ~/label_info is not published and Nav2 does not get '
           'the class names. Install it with sudo apt install ros-$ROS_DISTRO-vision-msgs')


def label_info_message(stamp: Any, labels: tuple[str, ...], threshold: float,
                       unlabelled: tuple[int, str] | None = None) -> 'LabelInfo':
    """Return the message that maps the ids in the mask to class names.

    Args:
        stamp: builtin_interfaces/Time, the current time.
        labels: unique names, indexed by class id.
        threshold: minimum probability of a class.
        unlabelled: the id that means no class and its name; None to leave it out.
    """
    names = [*enumerate(labels), *((unlabelled,) if unlabelled else ())]
    message = LabelInfo(threshold=threshold, class_map=[
        VisionClass(class_id=index, class_name=name) for index, name in names])
    message.header.stamp = stamp
    return message


def check_unlabelled(name: str, labels: tuple[str, ...]) -> None:
    """Check the name of the id that means no class: Nav2 and others look classes up by name.

    Raises:
        ConfigError: a class has the same name.
    """
    if name in labels:
        raise ConfigError(
            f"label_unlabelled is '{name}', which is also the name of class {labels.index(name)}; "
            "choose a name that no class has, or '' to leave the id out of ~/label_info")
