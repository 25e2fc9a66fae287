# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The recorder of the demo: saves all masks and the newest overlay, and prints each message."""

import argparse
import json
from functools import partial
from pathlib import Path

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from trt_segmentation.images.allocator import keep_large_blocks
from trt_segmentation.ros.spinning import init_ros, spin
from trt_segmentation.ros.stamps import nanoseconds


class Recorder(Node):
    """Writes one JSON line to stdout for each mask and each diagnostics message.

    Args:
        folder: for masks (<stamp>_mask.npy) and the newest overlay (<stamp>_overlay.npy).
        namespace: of the segmentation node.
    """

    def __init__(self, folder: Path, namespace: str) -> None:
        super().__init__('recorder', namespace=namespace)
        self._folder = folder
        self._newest_overlay: Path | None = None
        qos = QoSProfile(depth=10)
        self.create_subscription(Image, 'segmentation/mask', self._on_mask, qos)
        self.create_subscription(Image, 'segmentation/overlay', self._on_overlay, qos)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, qos)

    def _on_mask(self, msg: Image) -> None:
        now = self.get_clock().now().nanoseconds
        stamp = nanoseconds(msg.header.stamp)
        np.save(self._folder / f'{stamp}_mask.npy', _pixels(msg))
        _print_json({'mask': stamp, 'latency_ms': (now - stamp) / 1e6})

    def _on_overlay(self, msg: Image) -> None:
        path = self._folder / f'{nanoseconds(msg.header.stamp)}_overlay.npy'
        np.save(path, _pixels(msg))
        if self._newest_overlay is not None:
            self._newest_overlay.unlink()
        self._newest_overlay = path

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            if status.name == f'{self.get_namespace()[1:]}/segmentation: segmentation':
                _print_json({'diagnostics': {value.key: value.value for value in status.values},
                      'message': status.message})


def main(argv: list[str] | None = None) -> int:
    """Record until SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--namespace', required=True, help='of the segmentation node')
    args = parser.parse_args(argv)
    keep_large_blocks()
    init_ros()
    spin(partial(Recorder, args.folder, args.namespace))
    return 0


def _pixels(msg: Image) -> np.ndarray:
    shape = (msg.height, msg.width) if msg.encoding == 'mono8' else (msg.height, msg.width, 3)
    return np.frombuffer(msg.data, np.uint8).reshape(shape)


def _print_json(entry: dict) -> None:
    print(json.dumps(entry), flush=True)


if __name__ == '__main__':
    raise SystemExit(main())
