# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A small web server: one page, pictures as MJPEG, states as server-sent events, and one setting.

It has no authentication, and sends no CORS headers, so that pages of other origins cannot read
from it. Only the page itself can change the setting, and only on this machine.
"""

import asyncio
import base64
import hashlib
import ipaddress
import json
import logging
import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from trt_segmentation.web.live import Live
from trt_segmentation.web.source import Source
from trt_segmentation.web.view_options import ViewError, ViewOptions

_LOGGER = logging.getLogger(__name__)

PATIENCE = 2.0
"""Maximum seconds that a client that does not read can delay the shutdown."""

_LONGEST_BODY = 1000
"""Of a request, bytes."""

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_BOUNDARY = 'picture'
_PART_HEADER = f'--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\n\r\n'.encode()


@asynccontextmanager
async def serving(source: Source, options: ViewOptions) -> AsyncIterator[str]:
    """Serve the page for the body of a with statement.

    Yields:
        Its URL.

    Raises:
        ViewError: the host or port cannot be used.
    """
    if not options.is_local:
        _LOGGER.warning('the page is not limited to this machine: everyone who can reach %s '
                        'over the network can open it', options.host)
    runner = web.AppRunner(make_app(source, options), access_log=None,
                           shutdown_timeout=PATIENCE)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, options.host, options.port).start()
        except OSError as error:
            raise ViewError(
                f'cannot listen on {options.host}, port {options.port}: '
                f'{error.strerror or error}; choose others with --host and --port (0 takes a free '
                'port)') from error
        host = socket.gethostname() if options.is_everywhere else options.host
        yield f'http://{f"[{host}]" if ":" in host else host}:{runner.addresses[0][1]}/'
    finally:
        await runner.cleanup()


def make_app(source: Source, options: ViewOptions) -> web.Application:
    """Return the server's application: ``/``, ``/stream``, ``/events`` and ``/smoothing``."""
    page = (resources.files('trt_segmentation') / 'web' / 'page.html').read_text('utf-8')
    headers = _security_headers(page)
    live = Live(source, options.fps, options.width)

    async def show_page(request: web.Request) -> web.Response:
        return web.Response(text=page, content_type='text/html')

    async def stream(request: web.Request) -> web.StreamResponse:
        return await _stream(request, live)

    async def events(request: web.Request) -> web.StreamResponse:
        return await _events(request, live)

    async def smoothing(request: web.Request) -> web.Response:
        return await _set_smoothing(request, source, options)

    async def close_streams(app: web.Application) -> None:
        live.close()

    async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(headers)

    app = web.Application(middlewares=[_host_check(options)], client_max_size=_LONGEST_BODY)
    for path, handler in (('/', show_page), ('/stream', stream), ('/events', events)):
        app.router.add_get(path, handler, allow_head=False)
    app.router.add_post('/smoothing', smoothing)
    app.on_shutdown.append(close_streams)
    app.on_response_prepare.append(add_headers)
    return app


async def _set_smoothing(request: web.Request, source: Source, options: ViewOptions,
                         ) -> web.Response:
    """Set temporal smoothing: the body is JSON, ``{"value": 0.6}``.

    A page of another origin can send only requests that need no permission: their Origin or
    their Content-Type is another one.
    """
    if not options.is_local:
        raise web.HTTPForbidden(text='the page is not limited to this machine, so it changes no '
                                     f'parameters: --host is {options.host}')
    origin = urlsplit(request.headers.get('Origin', '')).netloc
    if origin != request.headers['Host'] or request.content_type != 'application/json':
        raise web.HTTPForbidden(text='only the page itself can change parameters')
    try:
        value = float(json.loads(await request.text())['value'])
    except (ValueError, TypeError, KeyError):
        value = math.nan
    if not math.isfinite(value):
        raise web.HTTPBadRequest(text='the body must be {"value": NUMBER}')
    if fault := await asyncio.to_thread(source.set_smoothing, value):
        raise web.HTTPConflict(text=fault)
    return web.Response(status=204)


async def _stream(request: web.Request, live: Live) -> web.StreamResponse:
    """Answer with JPEG files that replace each other."""
    response = await _open(request, f'multipart/x-mixed-replace; boundary={_BOUNDARY}')
    # Chromium shows a picture only after it has read the header of the next part, so send it now.
    await response.write(_PART_HEADER)
    async with aclosing(live.pictures()) as pictures:
        async for jpeg in pictures:
            if not await _sent(request, response, jpeg and jpeg + b'\r\n' + _PART_HEADER):
                break
    return response


async def _events(request: web.Request, live: Live) -> web.StreamResponse:
    """Answer with one server-sent event for each state."""
    response = await _open(request, 'text/event-stream')
    async with aclosing(live.states()) as states:
        async for state in states:
            if not await _sent(request, response, state and b'data: ' + state + b'\n\n'):
                break
    return response


async def _open(request: web.Request, content_type: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={'Content-Type': content_type})
    await response.prepare(request)
    return response


async def _sent(request: web.Request, response: web.StreamResponse, data: bytes) -> bool:
    """Write data, if any; return whether the client is still connected."""
    try:
        if data:
            await response.write(data)
    except ConnectionError:
        return False
    return request.transport is not None and not request.transport.is_closing()


def _host_check(options: ViewOptions) -> Any:
    """Return the middleware that refuses requests for other host names.

    Without it, another site could resolve its own name to 127.0.0.1 (DNS rebinding) and read this
    page.
    """
    names = {'localhost', '127.0.0.1', '::1', options.host.lower()}
    if options.is_everywhere:
        names |= {socket.gethostname().lower(), f'{socket.gethostname()}.local'.lower()}

    def is_ours(name: str | None) -> bool:
        return name in names or (options.is_everywhere and _is_address(name))

    @web.middleware
    async def check(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if not is_ours(_host_name(request.headers.get('Host', ''))):
            raise web.HTTPForbidden(text='403: trt-segmentation view does not serve this host '
                                         'name; see its option --host\n')
        return await handler(request)

    return check


def _host_name(header: str) -> str | None:
    try:
        return urlsplit(f'//{header}').hostname
    except ValueError:
        return None


def _is_address(name: str | None) -> bool:
    try:
        return bool(ipaddress.ip_address(name or ''))
    except ValueError:
        return False


def _security_headers(page: str) -> dict[str, str]:
    """Return the headers of all responses; the page's script and style are allowed by hash."""
    script, style = (_hash(page.partition(f'<{tag}>')[2].partition(f'</{tag}>')[0])
                     for tag in ('script', 'style'))
    return {
        'Content-Security-Policy':
            f"default-src 'self'; script-src '{script}'; style-src '{style}'; "
            "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        'Cross-Origin-Resource-Policy': 'same-origin',
        'X-Content-Type-Options': 'nosniff',
        'Referrer-Policy': 'no-referrer',
        'Cache-Control': 'no-store',
    }


def _hash(text: str) -> str:
    """Return a hash in the format of Content-Security-Policy."""
    return 'sha256-' + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
