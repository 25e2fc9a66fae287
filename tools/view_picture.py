# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Take docs/images/view.png: the page of ``view`` in Chromium, beside a real node::

    PYTHONPATH=tools python tools/view_picture.py

A camera with depth publishes one street of the demo. The node segments it on ONNX Runtime and
publishes the labelled points. It needs ROS 2, Playwright and Chromium.
"""

import os
import shutil
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import rclpy
from demo_scenes.make_clip import STREETS
from demo_scenes.scenes import render_with_depth
from playwright.sync_api import sync_playwright
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from trt_segmentation.ros.transport import large_image_environment

PICTURE = Path(__file__).parents[1] / 'docs' / 'images' / 'view.png'
WIDTH, HEIGHT = 1000, 700
PORT = 18080
RATE = 5.0
"""Of the camera, Hz."""

WARM_UP = 12.0
"""Seconds after which rates and latencies are those of a running node."""

NODE = ('trt_segmentation.ros.node', '--ros-args', '-p', 'backend:=onnxruntime', '-p',
        'points:=depth', '-p', 'temporal_smoothing:=0.3')
VIEW = ('trt_segmentation.cli.main', 'view', '--port', str(PORT))


class DepthCamera(Node):
    """Publishes a rendered image, its depth and its calibration, and reads the points."""

    def __init__(self) -> None:
        super().__init__('depth_camera')
        frame, depth, camera = render_with_depth(STREETS[0])
        info = CameraInfo(height=frame.image.shape[0], width=frame.image.shape[1])
        info.k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
        messages = {'depth/camera_info': info, 'depth/image': _message(depth, '32FC1'),
                    'image': _message(frame.image, 'bgr8')}
        self._messages = [(self.create_publisher(type(msg), topic, qos_profile_sensor_data), msg)
                          for topic, msg in messages.items()]
        self.create_subscription(PointCloud2, 'segmentation/points', lambda msg: None,
                                 qos_profile_sensor_data)
        self.create_timer(1 / RATE, self._publish)

    def _publish(self) -> None:
        stamp = self.get_clock().now().to_msg()
        for publisher, msg in self._messages:
            msg.header.stamp, msg.header.frame_id = stamp, 'camera_color_optical_frame'
            publisher.publish(msg)


def _message(pixels: np.ndarray, encoding: str) -> Image:
    height, width = pixels.shape[:2]
    return Image(height=height, width=width, encoding=encoding, step=pixels.nbytes // height,
                 data=array('B', pixels.tobytes()))


def _spin(node: Node) -> None:
    with suppress(ExternalShutdownException):
        rclpy.spin(node)


@contextmanager
def running(*module: str) -> Iterator[None]:
    """Run a module with arguments as a process."""
    process = subprocess.Popen([sys.executable, '-m', *module])
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def main() -> int:
    """Write docs/images/view.png."""
    os.environ.update(large_image_environment(os.environ))
    rclpy.init()
    spinning = threading.Thread(target=_spin, args=(DepthCamera(),))
    spinning.start()
    with running(*NODE), running(*VIEW), sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which('chromium'),
                                         args=['--no-sandbox', '--disable-gpu'])
        page = browser.new_page(viewport={'width': WIDTH, 'height': HEIGHT})
        time.sleep(WARM_UP / 2)  # the server listens
        page.goto(f'http://127.0.0.1:{PORT}')
        page.locator('#points').wait_for(state='visible')
        time.sleep(WARM_UP)
        page.screenshot(path=PICTURE)
        browser.close()
    rclpy.shutdown()
    spinning.join()
    print(f'{PICTURE}: {PICTURE.stat().st_size // 1000} kB')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
