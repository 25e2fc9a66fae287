# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Concurrent reading, inference and writing in threads."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np

from trt_segmentation.errors import BackendError, ImageError
from trt_segmentation.gpu_encodings import GpuEncodings
from trt_segmentation.graph.pipeline.camera_bytes import image_size
from trt_segmentation.images.allocator import keep_large_blocks
from trt_segmentation.images.decoding import rows_to_bgr
from trt_segmentation.segmentation import Segmentation
from trt_segmentation.segmenter import Segmenter

T = TypeVar('T')


class _End:
    """The end of a queue, with the error that ended the reading, if any."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def read_ahead(items: Generator[T, None, None], count: int) -> Generator[T, None, None]:
    """Yield the items of a generator, which runs up to ``count`` items ahead in another thread.

    Its errors are raised here, after the items before them. Closing this generator closes it after
    its next item.
    """
    found: queue.Queue[T | _End] = queue.Queue(count)
    stopped = threading.Event()

    def read() -> None:
        error: BaseException | None = None
        try:
            with closing(items):
                for item in items:
                    if stopped.is_set():
                        return
                    found.put(item)
        except BaseException as raised:
            error = raised
        found.put(_End(error))

    thread = threading.Thread(target=read, name='read ahead', daemon=True)
    thread.start()
    try:
        while not isinstance(item := found.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        while thread.is_alive():  # it may wait for space in the queue
            while not found.empty():
                found.get()
            thread.join(0.01)


@dataclass(frozen=True)
class LaneCount:
    """How many images one process segments at the same time.

    Attributes:
        lanes: number of threads; each segments an image and encodes its results.
        computing: how many of them may run inference at the same time, 1 or 2, if the backend
            supports it; the others encode.
        in_order: whether inference follows the order of the images, as temporal smoothing needs;
            ``computing`` is 1 then.
    """

    lanes: int = 1
    computing: int = 1
    in_order: bool = False

    @property
    def images(self) -> int:
        """Maximum number of images in ``Lanes`` before their inference."""
        return self.lanes + 1


class Lanes:
    """Segments several images at the same time, and writes their results.

    One thread runs the inference of an image and writes its results. Results that have to be
    written in order are written by a separate thread, and a separate thread runs inference that
    has to follow the order of the images.

    Args:
        segmenter: the network.
        outputs: of ``Segmenter.infer``.
        count: number of threads.

    Attributes:
        encodings: those that the segmenter converts on the GPU.
    """

    def __init__(self, segmenter: Segmenter, outputs: tuple[str, ...], count: LaneCount) -> None:
        keep_large_blocks()  # image data is allocated and freed for every image
        self.encodings = GpuEncodings(segmenter)
        self._outputs = outputs
        self._segmenters: queue.SimpleQueue[Segmenter] = queue.SimpleQueue()
        self._segmenters.put(segmenter)
        self._twin = segmenter.twin() if count.computing > 1 else None
        if self._twin is not None:
            self._segmenters.put(self._twin)
        self._pool = ThreadPoolExecutor(count.lanes, 'segment')
        self._ordered = ThreadPoolExecutor(1, 'write in order')
        self._inference = ThreadPoolExecutor(1, 'infer in order') if count.in_order else None
        self._slots = deque(_Slot() for _ in range(count.images))

    def segment(self, image: np.ndarray, color: str,
                write: Callable[[Segmentation], object] | None = None,
                write_in_order: Callable[[Segmentation], object] | None = None,
                refuse_in_order: Callable[[ImageError], object] | None = None,
                encoding: str = '', restart: bool = False) -> Future:
        """Start the segmentation of an image; wait while too many are in progress.

        Args:
            image: of ``Segmenter.infer``; must not change until its inference is done.
            color, encoding: of ``Segmenter.infer``.
            write: called with the results in one of several threads.
            write_in_order: called with the results in the order of the images. The arrays are
                valid until both have returned.
            refuse_in_order: called instead if ``infer`` raises an ImageError; without it, the
                error is raised.
            restart: whether temporal smoothing starts again with this image; ignored without
                ``LaneCount.in_order``.

        Returns:
            A future that is done when the image is; it raises the error of any of these calls.
        """
        slot = self._slots[0]
        wait(slot.users)
        self._slots.rotate(-1)
        infer: Callable[[], Segmentation] = partial(self._infer, slot, image, color, encoding)
        if self._inference is not None:
            infer = self._inference.submit(self._infer, slot, image, color, encoding,
                                           restart).result
        computed = self._pool.submit(_compute, infer, write)
        done = computed if write_in_order is None else self._ordered.submit(
            _finish, computed, write_in_order, refuse_in_order)
        slot.users = [computed, done]
        return done

    def run_in_order(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Call a function in the thread of ``write_in_order``, after the calls queued there."""
        return self._ordered.submit(function, *arguments)

    def close(self) -> None:
        """Cancel the images that have not started, and wait for the others."""
        for pool in (self._inference, self._pool, self._ordered):
            if pool is not None:
                pool.shutdown(cancel_futures=True)
        if self._twin is not None:
            self._twin.close()

    def _infer(self, slot: '_Slot', image: np.ndarray, color: str, encoding: str,
               restart: bool = False) -> Segmentation:
        segmenter = self._segmenters.get()
        try:
            if restart:
                segmenter.reset_smoothing()
            size = image_size(encoding, image.shape) if encoding else image.shape[:2]
            out = slot.arrays_for(segmenter, self._outputs, size)
            return self._infer_on_gpu_or_cpu(segmenter, image, color, encoding, out)
        finally:
            self._segmenters.put(segmenter)

    def _infer_on_gpu_or_cpu(self, segmenter: Segmenter, image: np.ndarray, color: str,
                             encoding: str, out: dict[str, np.ndarray]) -> Segmentation:
        if self.encodings.takes(encoding):
            try:
                return segmenter.infer(image, encoding=encoding, outputs=self._outputs, out=out)
            except BackendError as error:
                self.encodings.fall_back(encoding, error)
        pixels = rows_to_bgr(image, encoding) if encoding else image
        return segmenter.infer(pixels, color=color, outputs=self._outputs, out=out)


def _compute(infer: Callable[[], Segmentation],
             write: Callable[[Segmentation], object] | None) -> Segmentation:
    result = infer()
    if write is not None:
        write(result)
    return result


def _finish(computed: Future[Segmentation], write: Callable[[Segmentation], object],
            refuse: Callable[[ImageError], object] | None) -> object:
    try:
        result = computed.result()
    except ImageError as error:
        if refuse is None:
            raise
        return refuse(error)
    return write(result)


class _Slot:
    """Reused arrays for the results of one image."""

    def __init__(self) -> None:
        self.users: list[Future] = []
        self._size: tuple[int, ...] = ()
        self._arrays: dict[str, np.ndarray] = {}

    def arrays_for(self, segmenter: Segmenter, outputs: tuple[str, ...], size: tuple[int, int],
                   ) -> dict[str, np.ndarray]:
        if size != self._size:
            self._arrays = {name: np.empty(segmenter.output_shape(name, size),
                                           segmenter.output_dtype(name)) for name in outputs}
            self._size = size
        return self._arrays
