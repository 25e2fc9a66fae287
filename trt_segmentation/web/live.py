# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Sends the newest picture and state of a source to all clients; each is encoded once."""

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
"""Seconds after which a picture or state is sent again even if it has not changed: a server
detects a closed connection only by writing to it."""

_PAUSE_AFTER_ERROR = 5.0
"""Seconds to wait after an error, to limit the number of warnings in the log."""


class Live:
    """Streams of pictures and states for all clients.

    The source is subscribed only while there are clients. Call all methods from one event loop.

    Args:
        source: source of pictures and states.
        fps: maximum pictures per second.
        width: maximum width of a picture, pixels; wider ones are scaled down.
    """

    def __init__(self, source: Source, fps: float, width: int) -> None:
        self._source = source
        self._period = 1 / fps
        self._width = width
        self._clients = 0
        self._tasks: list[asyncio.Task] = []
        self._pictures, self._states = _Newest(), _Newest()
        self._numbers = itertools.count()

    async def pictures(self) -> AsyncGenerator[bytes, None]:
        """Yield JPEG files until ``close``; b'' before the first. Slow clients miss some."""
        with self._client():
            async for jpeg in self._pictures.values():
                yield jpeg

    async def states(self) -> AsyncGenerator[bytes, None]:
        """Yield the result of ``state_of`` as JSON until ``close``; b'' before the first.

        Each state has a new ``number``, so that the page detects repeated ones.
        """
        with self._client():
            async for state in self._states.values():
                yield state

    def close(self) -> None:
        """End all streams."""
        self._pictures.close()
        self._states.close()

    @contextmanager
    def _client(self) -> Iterator[None]:
        self._clients += 1
        if self._clients == 1:
            self._start()
        try:
            yield
        finally:
            self._clients -= 1
            if self._clients == 0:
                self._stop()

    def _start(self) -> None:
        loop, changed = asyncio.get_running_loop(), asyncio.Event()
        changed.set()
        self._source.start(lambda: loop.call_soon_threadsafe(changed.set))
        self._tasks = [loop.create_task(self._encode_pictures(changed)),
                       loop.create_task(self._encode_states())]

    def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._source.stop()
        self._pictures.clear()  # the next client must not see an old one
        self._states.clear()

    async def _encode_pictures(self, changed: asyncio.Event) -> None:
        while True:
            await changed.wait()
            changed.clear()
            await self._update(self._pictures, self._jpeg, self._period)

    async def _encode_states(self) -> None:
        while True:
            await self._update(self._states, self._json, STATE_PERIOD)

    async def _update(self, newest: '_Newest', encode: Callable[[], bytes],
                      period: float) -> None:
        """Encode one in a thread; return when the period is over."""
        end = time.monotonic() + period
        try:
            if encoded := await asyncio.to_thread(encode):
                newest.put(encoded)
        except Exception as error:  # one failure must not end the stream
            is_expected = isinstance(error, SegmentationError)
            _LOGGER.warning('not shown: %s', error if is_expected else traceback.format_exc())
            end += _PAUSE_AFTER_ERROR
        await asyncio.sleep(end - time.monotonic())

    def _jpeg(self) -> bytes:
        picture = self._source.picture()
        return b'' if picture is None else jpeg_of(picture, self._width)

    def _json(self) -> bytes:
        state = state_of(self._source.view())
        return json.dumps({'number': next(self._numbers), **state}).encode()


def jpeg_of(pixels: np.ndarray, width: int) -> bytes:
    """Return a picture as a JPEG file.

    Args:
        pixels: uint8 [H, W, 3], BGR.
        width: maximum width in pixels; a wider picture is scaled down.
    """
    if pixels.shape[1] > width:
        height = max(1, round(pixels.shape[0] * width / pixels.shape[1]))
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


class _Newest:
    """The newest value, for many waiting clients."""

    def __init__(self) -> None:
        self._value = b''
        self._closed = False
        self._changed = asyncio.Event()

    def put(self, value: bytes) -> None:
        self._value = value
        self._wake()

    def clear(self) -> None:
        self._value = b''

    def close(self) -> None:
        self._closed = True
        self._wake()

    async def values(self) -> AsyncGenerator[bytes, None]:
        """Yield the value now, when it changes, and again after ``REPEAT`` seconds."""
        while not self._closed:
            changed = self._changed
            yield self._value
            try:
                await asyncio.wait_for(changed.wait(), REPEAT)
            except asyncio.TimeoutError:
                continue

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
