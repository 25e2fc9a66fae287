# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""vision_msgs/Detection2DArray: the boxes, classes and scores of the instances in an image."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from trt_segmentation.classes.detections import Detection, used_rows

try:
    from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose
except ImportError:
    Detection2DArray = None

MISSING = ('vision_msgs is not installed, so ~/detections is not published. Install it with '
           'sudo apt install ros-$ROS_DISTRO-vision-msgs')


def detections_message(header: Any, detections: np.ndarray, labels: Sequence[str],
                       ) -> 'Detection2DArray':
    """Return the message of the detections with a score above 0.

    Args:
        header: std_msgs/Header of the image.
        detections: of ``Segmentation.detections``.
        labels: names of the mask's classes by id; a class without a name gets its id as name.
    """
    return Detection2DArray(header=header, detections=[
        _detection(header, found) for found in used_rows(detections, labels)])


def _detection(header: Any, found: Detection) -> 'Detection2D':
    x_min, y_min, x_max, y_max = found.box
    message, result = Detection2D(header=header, id=str(found.id)), ObjectHypothesisWithPose()
    result.hypothesis.class_id = found.name
    result.hypothesis.score = found.score
    message.results = [result]
    message.bbox.size_x, message.bbox.size_y = x_max - x_min, y_max - y_min
    # geometry_msgs/Pose2D up to vision_msgs 3; vision_msgs/Pose2D with a position from 4.0.
    centre = getattr(message.bbox.center, 'position', message.bbox.center)
    centre.x, centre.y = (x_min + x_max) / 2, (y_min + y_max) / 2
    return message
