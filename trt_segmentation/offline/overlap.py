# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Reading, inference and writing at the same time: each in threads of its own."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from trt_segmentation.errors import ImageError
from trt_segmentation.images.allocator import keep_large_blocks
from trt_segmentation.segmenter import Segmentation, Segmenter

T = TypeVar('T')


class _End:
    """What ends a queue, and the error that ended the reading, if one did."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def read_ahead(items: Generator[T, None, None], count: int) -> Generator[T, None, None]:
    """Yield what a generator yields, up to ``count`` items before they are asked for.

    The generator runs in a thread of its own from its first step to its last; its errors are
    raised here, at their place. Closing this one closes it after its next item.
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
        while thread.is_alive():  # it may wait for room
            while not found.empty():
                found.get()
            thread.join(0.01)


@dataclass(frozen=True)
class LaneCount:
    """How many images one process has under way at the same time.

    Attributes:
        lanes: each a thread in which an image is segmented and its results are encoded.
        computing: how many of them may compute at once, 1 or 2; the others encode. Only where
            the backend can.
    """

    lanes: int = 1
    computing: int = 1

    @property
    def images(self) -> int:
        """How many images that are not computed yet ``Lanes`` may hold."""
        return self.lanes + 1


class Lanes:
    """Segments several images at the same time, and writes their results.

    Each image has a thread that computes and writes; what has to be written in order, another
    one does.

    Args:
        segmenter: the network.
        outputs: of ``Segmenter.infer``.
        count: of threads.
    """

    def __init__(self, segmenter: Segmenter, outputs: tuple[str, ...], count: LaneCount) -> None:
        keep_large_blocks()  # bytes of images are allocated and freed all the time
        self._outputs = outputs
        self._segmenters: queue.SimpleQueue[Segmenter] = queue.SimpleQueue()
        self._segmenters.put(segmenter)
        self._twin = segmenter.twin() if count.computing > 1 else None
        if self._twin is not None:
            self._segmenters.put(self._twin)
        self._pool = ThreadPoolExecutor(count.lanes, 'segment')
        self._line = ThreadPoolExecutor(1, 'write in order')
        self._slots = deque(_Slot() for _ in range(count.images))

    def segment(self, image: np.ndarray, color: str,
                write: Callable[[Segmentation], object] | None = None,
                write_in_order: Callable[[Segmentation], object] | None = None,
                refuse_in_order: Callable[[ImageError], object] | None = None) -> Future:
        """Segment an image, and have its results written; wait while too many are under way.

        Args:
            image: of ``Segmenter.infer``; nobody changes it until it is computed.
            color: of ``Segmenter.infer``.
            write: called in one of several threads.
            write_in_order: called image by image. The arrays are good until both have returned.
            refuse_in_order: called in its place where ``infer`` refuses the image; without it,
                the error is raised.

        Returns:
            Done when everything is; raises what was raised.
        """
        slot = self._slots[0]
        wait(slot.users)
        self._slots.rotate(-1)
        computed = self._pool.submit(self._compute, slot, image, color, write)
        done = computed if write_in_order is None else self._line.submit(
            _finish, computed, write_in_order, refuse_in_order)
        slot.users = [computed, done]
        return done

    def run_in_order(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Call a function in the thread of ``write_in_order``, after what that has to do."""
        return self._line.submit(function, *arguments)

    def close(self) -> None:
        """Wait for what has begun; drop what has not."""
        for pool in (self._pool, self._line):
            pool.shutdown(cancel_futures=True)
        if self._twin is not None:
            self._twin.close()

    def _compute(self, slot: '_Slot', image: np.ndarray, color: str,
                 write: Callable[[Segmentation], object] | None) -> Segmentation:
        segmenter = self._segmenters.get()
        try:
            out = slot.arrays_for(segmenter, self._outputs, image.shape[:2])
            result = segmenter.infer(image, color=color, outputs=self._outputs, out=out)
        finally:
            self._segmenters.put(segmenter)
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
    """Arrays that one image's results are in until they are written."""

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
