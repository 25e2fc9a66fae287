# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Hands the newest of a source to everyone who looks, each thing made once for all of them."""

import asyncio
import itertools
import json
import logging
import time
import traceback
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager

import cv2
import numpy as np

from trt_segmentation.errors import SegmentationError
from trt_segmentation.web.source import Source
from trt_segmentation.web.state import state_of

_LOGGER = logging.getLogger(__name__)

JPEG_QUALITY = 80
STATE_PERIOD = 0.25
"""Seconds between two states; see ``pace.SOONEST``."""

REPEAT = 1.0
"""Seconds after which a picture or state is given out again, new or not: only by writing does a
server find out that a browser has left."""

_PAUSE_AFTER_FAULT = 5.0
"""Seconds, so that the log is not filled with one sentence."""


class Live:
    """What everyone who looks is given.

    The source listens only while there is somebody. All methods are for one event loop.

    Args:
        source: where it comes from.
        fps: pictures a second at most.
        width: pixels that pictures are scaled down to where they are wider.
    """

    def __init__(self, source: Source, fps: float, width: int) -> None:
        self._source = source
        self._period = 1 / fps
        self._width = width
        self._watchers = 0
        self._tasks: list[asyncio.Task] = []
        self._pictures, self._states = _Newest(), _Newest()
        self._numbers = itertools.count()

    async def pictures(self) -> AsyncGenerator[bytes, None]:
        """Yield JPEG files, until ``close``; b'' for none yet. Who is slow misses some."""
        with self._watching():
            async for jpeg in self._pictures.values():
                yield jpeg

    async def states(self) -> AsyncGenerator[bytes, None]:
        """Yield what ``state_of`` returns as JSON, until ``close``; b'' for none yet.

        Its ``number`` is another one in each state, so that one that is repeated is not news.
        """
        with self._watching():
            async for state in self._states.values():
                yield state

    def close(self) -> None:
        """Let everyone go."""
        self._pictures.close()
        self._states.close()

    @contextmanager
    def _watching(self) -> Iterator[None]:
        self._watchers += 1
        if self._watchers == 1:
            self._begin()
        try:
            yield
        finally:
            self._watchers -= 1
            if self._watchers == 0:
                self._end()

    def _begin(self) -> None:
        loop, news = asyncio.get_running_loop(), asyncio.Event()
        news.set()
        self._source.start(lambda: loop.call_soon_threadsafe(news.set))
        self._tasks = [loop.create_task(self._make_pictures(news)),
                       loop.create_task(self._make_states())]

    def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._source.stop()
        self._pictures.forget()  # who comes next must not take it for live
        self._states.forget()

    async def _make_pictures(self, news: asyncio.Event) -> None:
        while True:
            await news.wait()
            news.clear()
            await self._make(self._pictures, self._jpeg, self._period)

    async def _make_states(self) -> None:
        while True:
            await self._make(self._states, self._json, STATE_PERIOD)

    async def _make(self, newest: '_Newest', make: Callable[[], bytes], period: float) -> None:
        """Make one in a thread; return when the period is over."""
        end = time.monotonic() + period
        try:
            if made := await asyncio.to_thread(make):
                newest.put(made)
        except Exception as error:  # one that cannot be made must not end all that follow
            told = isinstance(error, SegmentationError)
            _LOGGER.warning('not shown: %s', error if told else traceback.format_exc())
            end += _PAUSE_AFTER_FAULT
        await asyncio.sleep(end - time.monotonic())

    def _jpeg(self) -> bytes:
        picture = self._source.picture()
        return b'' if picture is None else jpeg_of(picture, self._width)

    def _json(self) -> bytes:
        state = state_of(self._source.view())
        return json.dumps({'number': next(self._numbers), **state}).encode()


def jpeg_of(pixels: np.ndarray, width: int) -> bytes:
    """Return a picture for eyes only.

    Args:
        pixels: uint8 [H, W, 3], BGR.
        width: pixels that it is scaled down to where it is wider.
    """
    if pixels.shape[1] > width:
        height = max(1, round(pixels.shape[0] * width / pixels.shape[1]))
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


class _Newest:
    """The newest of something; many wait for it."""

    def __init__(self) -> None:
        self._value = b''
        self._closed = False
        self._news = asyncio.Event()

    def put(self, value: bytes) -> None:
        self._value = value
        self._wake()

    def forget(self) -> None:
        self._value = b''

    def close(self) -> None:
        self._closed = True
        self._wake()

    async def values(self) -> AsyncGenerator[bytes, None]:
        """Yield it now, whenever there is a newer one, and again after ``REPEAT`` seconds."""
        while not self._closed:
            news = self._news
            yield self._value
            try:
                await asyncio.wait_for(news.wait(), REPEAT)
            except asyncio.TimeoutError:
                continue

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
