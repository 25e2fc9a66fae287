# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark's camera: publishes at the rates that stdin requests, and reports the stamps.

A request is a line such as ``{"topics": ["/a/image"], "rate": 30.0, "frames": 90}``.
"""

import argparse
import json
import os
import sys
import time

import rclpy
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.utilities import get_rmw_implementation_identifier

from trt_segmentation.benchmark.dds import CAMERA_ENCODINGS, transport_of
from trt_segmentation.benchmark.ros.camera_images import camera_message
from trt_segmentation.benchmark.ros.rows import write_line
from trt_segmentation.demo.clip import read_frame
from trt_segmentation.ros.inputs import TRANSPORTS
from trt_segmentation.ros.spinning import init_ros
from trt_segmentation.ros.transport import find_profile_variables, large_image_environment

IMAGES = 4


class BenchmarkCamera(Node):
    """Publishes images of the demo clip, serialized in advance so that publishing costs little.

    Args:
        topics: on which it can publish.
        height, width: pixels.
        encoding: see ``camera_message``.

    Attributes:
        message_bytes: mean size of the messages.
    """

    def __init__(self, topics: list[str], height: int, width: int, encoding: str) -> None:
        super().__init__('camera')
        self._messages = [camera_message(read_frame(number, height, width).image, encoding)
                          for number in range(IMAGES)]
        self.message_bytes = sum(message.nbytes for message in self._messages) / IMAGES
        self._publishers_by_topic = {
            topic: self.create_publisher(TRANSPORTS[transport_of(encoding)].message, topic,
                                         qos_profile_sensor_data)
            for topic in topics}

    def run(self, topics: list[str], rate: float, frames: int) -> list[int]:
        """Publish each image on all topics; return the stamps. If the rate is too high, it is
        lower, without bursts."""
        publishers, stamps = [self._publishers_by_topic[topic] for topic in topics], []
        due = time.monotonic()
        for index in range(frames):
            time.sleep(max(0.0, due - time.monotonic()))
            due = max(due + 1 / rate, time.monotonic())
            message = self._messages[index % IMAGES]
            now = time.time_ns()
            message.set_stamp(now // 10**9, now % 10**9)
            for publisher in publishers:
                message.publish(publisher)
            stamps.append(now)
        return stamps


def main(argv: list[str] | None = None) -> int:
    """Publish as stdin requests until it is closed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('topics', nargs='+')
    parser.add_argument('--height', type=int, required=True)
    parser.add_argument('--width', type=int, required=True)
    parser.add_argument('--encoding', choices=CAMERA_ENCODINGS, default='bgr8')
    args = parser.parse_args(argv)
    os.environ.update(large_image_environment(os.environ))
    init_ros([])
    try:
        camera = BenchmarkCamera(args.topics, args.height, args.width, args.encoding)
        write_line(ready=_middleware(), message_bytes=camera.message_bytes)
        for line in sys.stdin:
            write_line(sent=camera.run(**json.loads(line)))
    except KeyboardInterrupt:
        pass
    finally:
        rclpy.try_shutdown()
    return 0


def _middleware() -> dict[str, str]:
    """The middleware and its settings, for the report."""
    profile = next((os.environ[name] for name in find_profile_variables(os.environ).read
                    if os.environ.get(name)), '')
    return {'rmw': get_rmw_implementation_identifier(),
            'ros_distro': os.environ.get('ROS_DISTRO', ''),
            'transport_profile': os.path.basename(profile),
            'builtin_transports': os.environ.get('FASTDDS_BUILTIN_TRANSPORTS', ''),
            'publication_mode': os.environ.get('RMW_FASTRTPS_PUBLICATION_MODE', '')}


if __name__ == '__main__':
    raise SystemExit(main())
