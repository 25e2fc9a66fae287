# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The camera of the demo: publishes images on ``image`` in a loop, and prints their stamps."""

import argparse
import json
import time
from array import array
from pathlib import Path

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from trt_segmentation.images.sources import open_images
from trt_segmentation.ros.spinning import init_ros, until_signal
from trt_segmentation.ros.stamps import nanoseconds


def main(argv: list[str] | None = None) -> int:
    """Publish frames at the given rate; write one JSON line for each to stdout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('images', type=Path, help='an image, or a folder of images')
    parser.add_argument('--frames', type=int, required=True)
    parser.add_argument('--rate', type=float, required=True, help='Hz')
    parser.add_argument('--namespace', default='', help='namespace of the topic image')
    args = parser.parse_args(argv)
    messages = [_message(image) for _, image in open_images(args.images)]
    init_ros()
    with until_signal():
        _publish(messages, args)
    return 0


def _publish(messages: list[Image], args: argparse.Namespace) -> None:
    node = Node('camera', namespace=args.namespace)
    publisher = node.create_publisher(Image, 'image', QoSProfile(depth=1))
    while publisher.get_subscription_count() == 0:
        time.sleep(0.02)
    time.sleep(0.5)  # until the subscriber has matched, too
    start = time.monotonic()
    for index in range(args.frames):
        time.sleep(max(0.0, start + index / args.rate - time.monotonic()))
        message = messages[index % len(messages)]
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)
        print(json.dumps({'sent': nanoseconds(message.header.stamp),
                          'picture': index % len(messages)}), flush=True)
    time.sleep(1.0)  # until the last message is sent
    node.destroy_node()


def _message(pixels: np.ndarray) -> Image:
    height, width = pixels.shape[:2]
    message = Image(height=height, width=width, encoding='bgr8', step=width * 3,
                    data=array('B', pixels.tobytes()))
    message.header.frame_id = 'camera_color_optical_frame'  # REP-103: z forward
    return message


if __name__ == '__main__':
    raise SystemExit(main())
