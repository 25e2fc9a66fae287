# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The real server on a real socket, with a source that tests fill; and a real browser."""

import asyncio
import http.client
import shutil
import threading
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

import numpy as np
import pytest

from trt_segmentation.web.source import Status, View
from trt_segmentation.web.view_options import ViewOptions

TIMEOUT = 20.0
BROWSERS = 'chromium', 'chromium-browser', 'google-chrome'
# No requests to other servers than that of the page.
QUIET = ('--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
         '--disable-background-networking', '--disable-component-update', '--disable-sync')


class FilledSource:
    """A source that a test fills."""

    def __init__(self):
        self.listening = False
        self.taken = 0
        self.weights, self.fault = [], ''
        self.pixels = None
        self.now = View('/front/segmentation', '/front/segmentation/overlay', labels={0: 'road'},
                        status=Status(0, 'segmenting'))
        self._on_picture = None

    def start(self, on_picture):
        self.listening, self._on_picture = True, on_picture

    def stop(self):
        self.listening = False

    def show(self, pixels):
        """Set a new picture."""
        self.pixels = pixels
        if self.listening:
            self._on_picture()

    def picture(self):
        self.taken += self.pixels is not None
        return self.pixels

    def view(self):
        return self.now

    def set_smoothing(self, weight):
        self.weights.append(weight)
        return self.fault


class Server:
    """The server in a thread of its own.

    Attributes:
        url: of the page.
    """

    def __init__(self, source, options):
        self.url = ''
        self._host = '127.0.0.1' if options.is_everywhere else options.host
        self._loop = asyncio.new_event_loop()
        self._stop, started = asyncio.Event(), threading.Event()
        self._thread = threading.Thread(
            target=self._loop.run_until_complete, args=(self._serve(source, options, started),))
        self._thread.start()
        assert started.wait(TIMEOUT)

    async def _serve(self, source, options, started):
        from trt_segmentation.web.server import serving
        async with serving(source, options) as self.url:
            started.set()
            await self._stop.wait()

    @property
    def port(self):
        return urlsplit(self.url).port

    @contextmanager
    def answer(self, path='/', method='GET', body=None, **headers):
        """Send a request; keep the response open for the body of a with statement."""
        connection = http.client.HTTPConnection(self._host, self.port, timeout=TIMEOUT)
        connection.request(method, path, body, headers)
        try:
            yield connection.getresponse()
        finally:
            connection.close()

    def close(self):
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive(), 'the server does not end'


@pytest.fixture
def source():
    return FilledSource()


@pytest.fixture
def serve(source):
    """Serve the source: ``serve(fps=5)``; on a free port, unless one is given."""
    servers = []

    pytest.importorskip('aiohttp', '3.9', reason='aiohttp 3.9 is not installed (the extra view)')

    def start(**options):
        servers.append(Server(source, ViewOptions(**{'port': 0, **options})))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope='module')
def browser():
    """A headless Chromium under Playwright, whose event loop ends with the module."""
    playwright = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip('there is no Chromium here; apt-get install chromium')
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=program, args=list(QUIET))
        yield running
        running.close()


@pytest.fixture(scope='session')
def until():
    """Wait until a condition holds: ``until(lambda: ..., 'what is waited for')``."""
    def wait(condition, what):
        end = time.monotonic() + TIMEOUT
        while not condition():
            assert time.monotonic() < end, f'timed out waiting for {what}'
            time.sleep(0.02)

    return wait


@pytest.fixture(scope='session')
def plain():
    """Make pictures of one colour: ``plain(b, g, r)`` is uint8 BGR [90, 160, 3]."""
    return lambda *bgr: np.full((90, 160, 3), bgr, np.uint8)
