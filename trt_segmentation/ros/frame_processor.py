# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The way of a frame through the node: read, matched, segmented, published, or dropped."""

import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from std_msgs.msg import Float64

from trt_segmentation.errors import ImageError, SegmentationError
from trt_segmentation.images.gaps import GapDetector
from trt_segmentation.ros.camera import Camera, Frame, drop_frames
from trt_segmentation.ros.frame_worker import FrameJob, FrameWorker
from trt_segmentation.ros.gpu_encodings import FrameEncodings
from trt_segmentation.ros.lifecycle import GuardedLifecycleNode
from trt_segmentation.ros.log_bridge import WARNING_PERIOD, logging_errors
from trt_segmentation.ros.parameters import Parameters
from trt_segmentation.ros.rate_limit import RateLimit
from trt_segmentation.ros.stamps import to_nanoseconds
from trt_segmentation.ros.statistics import (
    BACKEND_FAILED,
    BAD_FRAME,
    DEFECT,
    DISABLED,
    MAX_RATE,
    NO_SUBSCRIBER,
    NOT_PUBLISHED,
    REPLACED,
    UNSYNCHRONISED,
    stamp_age,
)
from trt_segmentation.ros.synchroniser import Synchroniser
from trt_segmentation.segmenter import Segmenter

T = TypeVar('T')


class FrameProcessor:
    """Segments the frames of the cameras and publishes the results, while a network is loaded.

    Its owner holds a lock in every call. With two frames in flight, a worker segments and
    publishes without that lock; see ``finish``.

    Args:
        node: owner of the topics.
        cameras: of the node, advertised before the first frame.
        segmenter: of the network; ``close`` does not close it.
        settings: the parameters.
        in_flight: number of frames that can be in flight, 1 or 2.
        latency: publisher of ~/latency.

    Attributes:
        encodings: converts the encodings of the cameras on the GPU.
    """

    def __init__(self, node: GuardedLifecycleNode, cameras: Sequence[Camera],
                 segmenter: Segmenter, settings: Parameters, in_flight: int, latency: Any,
                 ) -> None:
        self._node, self._cameras, self._latency = node, cameras, latency
        self._synchroniser: Synchroniser[Frame] = Synchroniser(len(cameras))
        self._rate_limit = RateLimit(settings.max_rate)
        self._gaps = GapDetector(to_nanoseconds(settings.smoothing_max_gap))
        self._tolerance = to_nanoseconds(settings.sync_tolerance)
        self._worker = FrameWorker(self._process, self._drop_replaced) if in_flight > 1 else None
        self._use(segmenter, settings)

    def set_max_rate(self, rate: float) -> None:
        """Set the maximum rate in Hz; 0 sets no limit."""
        self._rate_limit.set_rate(rate)

    def set_max_gap(self, seconds: float) -> None:
        """Set the longest time between two images that temporal smoothing continues over."""
        self._gaps.max_gap = to_nanoseconds(seconds)

    def set_tolerance(self, seconds: float) -> None:
        """Set the maximum difference of the stamps in one batch."""
        self._tolerance = to_nanoseconds(seconds)

    def switch_segmenter(self, segmenter: Segmenter, settings: Parameters) -> None:
        """Continue with another segmenter, after ``finish``.

        Args:
            segmenter: without a fault of ``Outputs.fault``.
            settings: of its network.
        """
        self.encodings.close()
        self._use(segmenter, settings)

    def handle(self, camera: Camera, msg: Any, info: dict, enabled: bool) -> None:
        """Segment an image, or give it to the worker; drop it if it is not wanted.

        Args:
            camera: that received it.
            msg, info: as passed by ``ImageInput``.
            enabled: whether images are segmented at all.
        """
        arrived = time.monotonic()
        camera.monitor.note_arrival(arrived, info.get('publication_sequence_number'),
                                    info.get('publisher_gid', b''))
        wanted = [each.outputs.subscribed() for each in self._cameras]
        if not enabled or not any(wanted):
            reason = NO_SUBSCRIBER if enabled else DISABLED
            camera.drop(reason)
            self.drop_waiting(reason)
            return
        if self._synchroniser.discard(camera.index):
            camera.drop(UNSYNCHRONISED)  # before its buffer is overwritten
        frame = self._attempt((camera,), lambda: self._read(camera, msg, arrived))
        if frame is None:
            return
        dropped, frames = self._synchroniser.add(camera.index, frame.stamp, frame,
                                                 self._tolerance)
        for index in dropped:
            self._cameras[index].drop(UNSYNCHRONISED)
        if not frames:
            return
        job = FrameJob(self._segmenter, self.encodings, self._gaps, self._cameras, frames, wanted,
                       arrived)
        if self._worker is None:
            self._process(job)
        else:
            self._worker.submit(job)
            for each in self._cameras:
                each.select_slot(self._worker.slots_in_use(each.index))

    def finish(self) -> None:
        """Wait until the frames that the worker has are published."""
        if self._worker is not None:
            self._worker.finish()

    def is_waiting(self, camera: int) -> bool:
        """Return whether a frame of a camera waits for the other cameras."""
        return self._synchroniser.is_waiting(camera)

    def drop_waiting(self, reason: str) -> None:
        """Drop the frames that wait for the other cameras."""
        for index in self._synchroniser.clear():
            self._cameras[index].drop(reason)

    def close(self) -> None:
        """End the worker, after its frames are published; drop the frames that wait."""
        if self._worker is not None:
            self._worker.close()
        self.encodings.close()
        self.drop_waiting(UNSYNCHRONISED)

    def _use(self, segmenter: Segmenter, settings: Parameters) -> None:
        self._segmenter = segmenter
        self.encodings = FrameEncodings(segmenter, self._node.log_bridge,
                                        settings.input_encodings, settings.region)
        if self._worker is not None:
            segmenter.call_when_enqueued(self._worker.note_enqueued)

    def _read(self, camera: Camera, msg: Any, arrived: float) -> Frame | None:
        """Return the frame of a message; None if it exceeds the rate limit."""
        if self._rate_limit.is_limited:
            partners = len(self._cameras) > 1
            stamp, tolerance = (camera.stamp_of(msg), self._tolerance) if partners else (0, -1)
            if not self._rate_limit.admit(arrived, camera.index, stamp, tolerance):
                camera.drop(MAX_RATE)
                return None
        try:
            return camera.read(msg, self._segmenter.spec.gray_bits, self.encodings.takes)
        except ImageError:
            self._rate_limit.give_back()
            raise

    def _attempt(self, cameras: Sequence[Camera], work: Callable[[], T]) -> T | None:
        """Return the result of ``work``; on failure, drop a frame of each camera, return None."""
        logger = self._node.get_logger()
        try:
            return work()
        except ImageError as error:
            message = drop_frames(cameras, BAD_FRAME, str(error))
            logger.warning(message, throttle_duration_sec=WARNING_PERIOD)
        except SegmentationError as error:
            message = drop_frames(cameras, BACKEND_FAILED, str(error))
            logger.error(message, throttle_duration_sec=WARNING_PERIOD)
        except Exception as error:  # a bug in this package must not stop the node
            if not self._node.context.ok():  # a signal has shut down ROS: publishers are invalid
                return None
            message = drop_frames(cameras, DEFECT, repr(error), traceback.format_exc())
            logger.error(message, throttle_duration_sec=WARNING_PERIOD)
        return None

    def _process(self, job: FrameJob) -> None:
        """Segment and publish; with two frames in flight in the worker's thread, without lock."""
        with self._node.log_bridge.capturing():
            if self._attempt(job.cameras, job.segment):
                self._publish(job)

    def _publish(self, job: FrameJob) -> None:
        ages = []
        for camera, frame, names in zip(job.cameras, job.frames, job.wanted, strict=True):
            try:
                camera.outputs.publish(frame.header, names)
            except Exception as error:  # the middleware raises RuntimeError and its own types
                self._note_unpublished(camera, error)
                continue
            published = time.monotonic()
            ages.append(stamp_age(self._node.get_clock().now().nanoseconds, frame.header.stamp))
            camera.monitor.note_published(published, ages[-1], published - job.arrived)
        with logging_errors(self._node, '~/latency'):
            if ages and self._latency.get_subscription_count() > 0:
                self._latency.publish(Float64(data=max(ages)))

    def _note_unpublished(self, camera: Camera, error: Exception) -> None:
        if not self._node.context.ok():  # shut down by a signal; publishing is not possible
            return
        self._node.get_logger().error(drop_frames((camera,), NOT_PUBLISHED, repr(error)),
                                      throttle_duration_sec=WARNING_PERIOD)

    def _drop_replaced(self, job: FrameJob) -> None:
        for camera in job.cameras:
            camera.drop(REPLACED)
