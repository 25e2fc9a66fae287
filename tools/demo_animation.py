#!/usr/bin/env python3
# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Make docs/images/demo.webp: a drive, and its overlay by the node behind a line that moves::

    PYTHONPATH=tools python tools/demo_animation.py

Each image is published to the node, which runs the demo network, and its ~/overlay is received,
over DDS. Needs rclpy and Pillow.
"""

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from demo_scenes.scenes import render
from PIL import Image as Picture
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image

from trt_segmentation.ros.node import SegmentationNode

FILE = Path(__file__).resolve().parents[1] / 'docs' / 'images' / 'demo.webp'

STREET = 8
"""Seed; the demo network was not trained on it."""

FRAMES, METRES_PER_FRAME, RATE = 60, 0.5, 12
"""The rate is in Hz."""

SIZE = 640, 360
"""Width and height of the animation in pixels; the node gets 1280x720."""

QUALITY = 62
"""Of WebP, 0..100."""

TIMEOUT = 10.0
"""Seconds to wait for the overlay of one image."""


def overlays(images: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the overlay of each image that the node publishes: uint8 [H, W, 3], BGR."""
    context = rclpy.Context()
    context.init()
    node = SegmentationNode(context=context, parameter_overrides=[
        Parameter('overlay_alpha', value=0.6)])
    peer = rclpy.create_node('camera', context=context)
    executor = SingleThreadedExecutor(context=context)
    received: list[Image] = []
    camera = peer.create_publisher(Image, 'image', qos_profile_sensor_data)
    peer.create_subscription(Image, 'segmentation/overlay', received.append, QoSProfile(depth=5))
    for each in (node, peer):
        executor.add_node(each)
    node.start()
    try:
        for number, image in enumerate(images, 1):
            _send(camera, number, image, received, executor)
            yield np.frombuffer(received[-1].data, np.uint8).reshape(image.shape)
    finally:
        node.trigger_deactivate()
        node.trigger_cleanup()
        node.destroy_node()
        peer.destroy_node()
        executor.shutdown()
        context.shutdown()


def _send(camera: Any, number: int, image: np.ndarray, received: list[Image],
          executor: SingleThreadedExecutor) -> None:
    """Publish an image until its overlay is received: the peers first discover each other."""
    height, width = image.shape[:2]
    message = Image(height=height, width=width, encoding='bgr8', step=width * 3,
                    data=image.tobytes())
    message.header.stamp.sec = number
    end = time.monotonic() + TIMEOUT

    def is_there() -> bool:
        return bool(received) and received[-1].header.stamp.sec == number

    while not is_there():
        if time.monotonic() > end:
            raise SystemExit(f'the node published no overlay within {TIMEOUT:.0f} s')
        camera.publish(message)
        again = time.monotonic() + 0.5
        while not is_there() and time.monotonic() < again:
            executor.spin_once(timeout_sec=0.05)


def wiped(image: np.ndarray, overlay: np.ndarray, share: float) -> np.ndarray:
    """Return a picture of ``SIZE`` whose left part is the overlay, with a line between them.

    Args:
        image, overlay: uint8 [H, W, 3].
        share: of the overlay, 0..1.
    """
    image, overlay = (cv2.resize(each, SIZE, interpolation=cv2.INTER_AREA)
                      for each in (image, overlay))
    edge = round(share * SIZE[0])
    picture = np.concatenate([overlay[:, :edge], image[:, edge:]], axis=1)
    picture[:, max(edge - 1, 0):edge + 1] = 255
    return picture


def main() -> None:
    """Write the animation."""
    images = [render(STREET, distance=number * METRES_PER_FRAME).image
              for number in range(FRAMES)]
    pictures = []
    for number, (image, overlay) in enumerate(zip(images, overlays(images), strict=True)):
        share = 0.56 - 0.44 * math.cos(2 * math.pi * number / FRAMES)  # from 0.12 to 1 and back
        pictures.append(Picture.fromarray(wiped(image, overlay, share)[:, :, ::-1].copy()))
    FILE.parent.mkdir(parents=True, exist_ok=True)
    pictures[0].save(FILE, save_all=True, append_images=pictures[1:], duration=1000 // RATE,
                     loop=0, quality=QUALITY, method=6)
    print(f'{FILE}: {FILE.stat().st_size / 1e6:.2f} MB, {len(pictures)} frames')


if __name__ == '__main__':
    main()
