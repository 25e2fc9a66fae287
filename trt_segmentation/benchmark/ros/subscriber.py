# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The benchmark's subscriber: reports when each result arrived."""

import argparse
import os
import struct
import time
from functools import partial

from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from trt_segmentation.benchmark.ros.rows import Rows
from trt_segmentation.images.allocator import keep_large_blocks
from trt_segmentation.ros.spinning import init_ros, spin
from trt_segmentation.ros.transport import large_image_environment


class BenchmarkSubscriber(Node):
    """Receives serialized results and reads only their stamps.

    Args:
        topics: of images; a row is the topic's index, the stamp and the time of arrival, ns, and
            the size of the message, bytes.
    """

    def __init__(self, topics: list[str]) -> None:
        super().__init__('recorder')
        self._rows = Rows('received')
        for number, topic in enumerate(topics):
            self.create_subscription(Image, topic, partial(self._on_image, number),
                                     QoSProfile(depth=10), raw=True)

    def _on_image(self, number: int, data: bytes) -> None:
        now = time.time_ns()
        seconds, nanoseconds = struct.unpack_from('<iI', data, 4)  # after CDR's encapsulation
        self._rows.add(number, seconds * 10**9 + nanoseconds, now, len(data))


def main(argv: list[str] | None = None) -> int:
    """Receive until SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('topics', nargs='+')
    args = parser.parse_args(argv)
    os.environ.update(large_image_environment(os.environ))
    keep_large_blocks()
    init_ros([])
    spin(partial(BenchmarkSubscriber, args.topics))
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
