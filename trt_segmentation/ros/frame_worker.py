# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Segments frames in a thread, while the executor's thread receives and reads the next one."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trt_segmentation.backends.device_arrays import ON_GPU
from trt_segmentation.errors import ImageError
from trt_segmentation.graph.pipeline.output_names import kind_of
from trt_segmentation.images.decoding import swap_red_and_blue
from trt_segmentation.images.gaps import GapDetector
from trt_segmentation.ros.camera import Camera, Frame
from trt_segmentation.ros.gpu_encodings import FrameEncodings
from trt_segmentation.segmenter import Segmenter


@dataclass(frozen=True)
class FrameJob:
    """A frame of each camera, and how it is segmented.

    Attributes:
        segmenter: of the network.
        encodings: segments the images or their region, in the encodings that the GPU converts.
        gaps: finds gaps between stamps, after which temporal smoothing starts again.
        cameras: that took the frames.
        frames: one of each camera, in their order.
        wanted: for each camera, the outputs that have subscribers.
        arrived: time of the callback with the last frame, seconds of the monotonic clock.
    """

    segmenter: Segmenter
    encodings: FrameEncodings
    gaps: GapDetector
    cameras: Sequence[Camera]
    frames: Sequence[Frame]
    wanted: Sequence[tuple[str, ...]]
    arrived: float

    def segment(self) -> bool:
        """Write the results into the output messages of the cameras; return True.

        Raises:
            ImageError: the images of a batch differ, or see ``Segmenter.infer_batch``.
            BackendError: the runtime failed.
        """
        outputs = tuple(dict.fromkeys(name for names in self.wanted for name in names))
        frames = self.encodings.uniform(self.frames, outputs)
        self._check_equal(frames)
        if self.segmenter.spec.smoothing and self.gaps.is_gap(frames[0].stamp):
            self.segmenter.reset_smoothing()
        outs = [camera.outputs.buffers(frames[0].size, outputs) for camera in self.cameras]
        self.encodings.infer_batch(frames, outputs, outs)
        if frames[0].color == 'rgb':
            for name in outputs:
                if kind_of(name) == 'overlay':
                    for out in (each for each in outs if each[name] is not ON_GPU):
                        swap_red_and_blue(out[name])
        return True

    def _check_equal(self, frames: Sequence[Frame]) -> None:
        kinds = {(frame.image.shape, frame.image.dtype, frame.color) for frame in frames}
        if len(kinds) > 1:
            found = ', '.join(f'{camera.name} {frame}' for camera, frame
                              in zip(self.cameras, frames, strict=True))
            raise ImageError(f'images of one batch must have the same size and channel order, but '
                             f'they are {found}')


def frames_in_flight(pipeline_depth: int, backend: str) -> int:
    """Return how many frames a node has in flight, 1 or 2.

    Two overlap receiving and inference. On a CPU both use the same cores, and two gain nothing.

    Args:
        pipeline_depth: the parameter; 0 leaves the choice to the backend.
        backend: of ``BackendInfo``.
    """
    return pipeline_depth or (2 if backend == 'tensorrt' else 1)


LONGEST_START = 0.002
"""Seconds that ``FrameWorker.submit`` waits for a frame to be enqueued. That takes about 0.5 ms;
longer where outputs of the last frame are still being published."""


class FrameWorker:
    """A thread that runs one job at a time, in the order of their submission.

    One job can wait while another one runs. A newer job replaces it.

    ``submit`` and ``finish`` must not be called by two threads at once, nor by the functions
    below. The thread takes no lock of its owner, so its owner may hold locks while it waits.

    Args:
        run: segments and publishes; must not raise.
        on_replaced: called by ``submit`` with a job that is not run.
    """

    def __init__(self, run: Callable[[FrameJob], None],
                 on_replaced: Callable[[FrameJob], None]) -> None:
        self._work, self._on_replaced = run, on_replaced
        self._changed = threading.Condition()
        self._running: FrameJob | None = None
        self._waiting: FrameJob | None = None
        self._is_enqueued = False
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, daemon=True, name='segment')
        self._thread.start()

    def submit(self, job: FrameJob) -> None:
        """Run a job after the running one.

        If the thread is idle, wait until it has taken the job, and up to ``LONGEST_START`` for
        ``note_enqueued``: until then it needs the interpreter lock, which the executor would hold
        for most of a millisecond before it waits for the next message.
        """
        with self._changed:
            replaced, self._waiting = self._waiting, job
            self._changed.notify_all()
            if self._running is None:
                self._changed.wait_for(lambda: self._waiting is not job or self._is_closed)
                self._changed.wait_for(lambda: self._running is not job or self._is_enqueued,
                                       LONGEST_START)
        if replaced is not None:
            self._on_replaced(replaced)

    def note_enqueued(self) -> None:
        """Let ``submit`` return, as the running job only waits for the processor."""
        with self._changed:
            self._is_enqueued = True
            self._changed.notify_all()

    def slots_in_use(self, camera: int) -> set[int]:
        """Return the ``Frame.slot`` of the camera's frames that run or wait; at most two."""
        with self._changed:
            return {job.frames[camera].slot for job in (self._running, self._waiting)
                    if job is not None}

    def finish(self) -> None:
        """Wait until all submitted jobs have run."""
        with self._changed:
            self._changed.wait_for(lambda: self._running is None and self._waiting is None)

    def close(self) -> None:
        """End the thread, after all submitted jobs have run."""
        self.finish()
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                self._work(job)
            finally:
                with self._changed:
                    self._running = None
                    self._changed.notify_all()
                job = None  # its images must not outlive it

    def _next(self) -> FrameJob | None:
        """Wait for a job; None ends the thread."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is not None or self._is_closed)
            self._running, self._waiting, self._is_enqueued = self._waiting, None, False
            self._changed.notify_all()
            return self._running
