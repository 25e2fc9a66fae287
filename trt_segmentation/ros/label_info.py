# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""vision_msgs/LabelInfo: the class names of the ids in the mask."""

from typing import Any

try:
    from vision_msgs.msg import LabelInfo, VisionClass
except ImportError:
    LabelInfo = None

MISSING = ('vision_msgs is not installed, so ~/label_info is not published and Nav2 does not get '
           'the class names. Install it with sudo apt install ros-$ROS_DISTRO-vision-msgs')


def label_info_message(stamp: Any, labels: tuple[str, ...], threshold: float) -> 'LabelInfo':
    """Return the message that maps the ids in the mask to class names.

    Args:
        stamp: builtin_interfaces/Time, the current time.
        labels: unique names, indexed by class id.
        threshold: minimum probability of a class.
    """
    message = LabelInfo(threshold=threshold, class_map=[
        VisionClass(class_id=index, class_name=label) for index, label in enumerate(labels)])
    message.header.stamp = stamp
    return message
