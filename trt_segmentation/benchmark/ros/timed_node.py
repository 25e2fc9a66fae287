# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The node of this package with measured steps, for ``trt-segmentation bench --ros``."""

import os
from typing import Any

from rclpy.executors import Executor

from trt_segmentation.benchmark.ros.rows import FrameClock
from trt_segmentation.ros import node
from trt_segmentation.ros.camera import Camera
from trt_segmentation.ros.frame_processor import FrameProcessor
from trt_segmentation.ros.frame_worker import FrameJob
from trt_segmentation.ros.inputs import SerializedTaker
from trt_segmentation.ros.outputs import Outputs
from trt_segmentation.ros.transport import large_image_environment
from trt_segmentation.segmenter import Segmenter


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT; write the times of every frame that it publishes to stdout."""
    os.environ.update(large_image_environment(os.environ))
    clock = FrameClock()
    clock.watch(Executor, '_take_subscription', 'taking', 'taken')
    clock.watch(SerializedTaker, 'take_data', 'taking', 'taken')
    clock.watch(Segmenter, 'infer_batch', 'infer', 'inferred')
    clock.watch(node.SegmentationNode, '_on_image', before='called')
    clock.watch(Outputs, 'publish', after='published')
    _hand_over_after(Camera, clock)
    _finish_after(FrameProcessor, clock)
    return node.main(args)


def _hand_over_after(owner: Any, clock: FrameClock) -> None:
    watched = owner.read

    def read(self: Any, *args: Any) -> Any:
        frame = watched(self, *args)
        clock.hand_over(frame.header.stamp)
        return frame

    owner.read = read


def _finish_after(owner: Any, clock: FrameClock) -> None:
    watched = owner._publish

    def publish(self: Any, job: FrameJob) -> None:
        watched(self, job)
        clock.finish(job.frames[0].header.stamp)

    owner._publish = publish


if __name__ == '__main__':
    raise SystemExit(main())
