# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The hand-written baseline as a node, for ``trt-segmentation bench --ros --against baseline``."""

import os
from functools import partial
from typing import Any

import numpy as np
from rclpy.executors import Executor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from trt_segmentation.benchmark.baseline import BaselinePipeline, open_network_only
from trt_segmentation.benchmark.ros.rows import FrameClock
from trt_segmentation.images.decoding import ImageDecoder
from trt_segmentation.ros.inputs import TRANSPORTS
from trt_segmentation.ros.outputs import OUTPUT_QOS
from trt_segmentation.ros.parameters import declare_parameters, read_parameters
from trt_segmentation.ros.spinning import init_ros, spin
from trt_segmentation.ros.transport import large_image_environment
from trt_segmentation.segmenter import Segmenter

NEWEST_ONLY = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


class BaselineNode(Node):
    """A node that converts messages as cv_bridge does in Python and runs ``BaselinePipeline``.

    It has the parameters of the real node. It publishes the mask, and the overlay while that has
    subscribers.

    Args:
        clock: records the times of its steps.
    """

    def __init__(self, clock: FrameClock) -> None:
        super().__init__('segmentation')
        declare_parameters(self)
        self._clock = clock
        settings = read_parameters(self)
        segmenter = Segmenter.open(settings.engine_path, config=settings.model_config or None,
                                   options=settings.run_options)
        self._spec, backend = segmenter.spec, segmenter.info.backend
        segmenter.close()
        self._network = open_network_only(self._spec, backend, settings.run_options)
        self._pipelines: dict[bool, BaselinePipeline] = {}
        self._masks = self.create_publisher(Image, '~/mask', OUTPUT_QOS)
        self._overlays = self.create_publisher(Image, '~/overlay', OUTPUT_QOS)
        self._decoder = ImageDecoder()
        transport = TRANSPORTS[settings.input_transport]
        self.create_subscription(transport.message, f'image{transport.suffix}', self._on_image,
                                 NEWEST_ONLY)

    def _on_image(self, msg: Any) -> None:
        self._clock.mark('called')
        overlay = self._overlays.get_subscription_count() > 0
        if overlay not in self._pipelines:
            self._pipelines[overlay] = BaselinePipeline(self._spec, self._network, overlay)
        pipeline = self._pipelines[overlay]
        image, _ = self._decoder.read(msg)
        self._clock.mark('infer')
        mask = pipeline.run(image)
        self._clock.mark('inferred')
        self._masks.publish(_message(msg, mask, 'mono8'))
        if pipeline.overlay is not None:
            self._overlays.publish(_message(msg, pipeline.overlay, 'bgr8'))
        self._clock.mark('published')
        self._clock.finish(msg.header.stamp)


def _message(source: Any, pixels: np.ndarray, encoding: str) -> Image:
    msg = Image(header=source.header, height=pixels.shape[0], width=pixels.shape[1],
                encoding=encoding, step=pixels.nbytes // pixels.shape[0])
    msg.data.frombytes(pixels.tobytes())  # as cv_bridge since Humble
    return msg


def main(args: list[str] | None = None) -> int:
    """Run until SIGINT; write the times of every frame to stdout."""
    os.environ.update(large_image_environment(os.environ))
    init_ros(args)
    clock = FrameClock()
    clock.watch(Executor, '_take_subscription', 'taking', 'taken')
    spin(partial(BaselineNode, clock))
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
