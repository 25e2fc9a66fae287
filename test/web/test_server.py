# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The server by itself, over real sockets."""

import asyncio
import json
import logging
import re
import socket
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest

from trt_segmentation.errors import ImageError
from trt_segmentation.web import live
from trt_segmentation.web.server import serving
from trt_segmentation.web.source import Status
from trt_segmentation.web.state import state_of
from trt_segmentation.web.view_options import ViewError, ViewOptions

PATHS = '/', '/stream', '/events'


def next_part(answer):
    """Read until the head of the next part of a multipart answer; return the JPEG file, if any."""
    boundary = answer.headers.get_param('boundary')
    head = f'--{boundary}\r\nContent-Type: image/jpeg\r\n\r\n'.encode()
    part = b''
    while not part.endswith(head):
        part += answer.read(1)
        assert part, 'the stream has ended'
    return part.removesuffix(head).removesuffix(b'\r\n') or next_part(answer)


def decoded(jpeg):
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)


def next_event(answer):
    """Read one server-sent event."""
    line = answer.readline().decode()
    assert line.startswith('data: ')
    assert answer.readline() == b'\n'
    return json.loads(line[6:])


# Access


def test_the_page_needs_nothing_from_elsewhere(serve):
    with serve().answer('/') as answer:
        page = answer.read().decode()
        assert (answer.status, answer.headers.get_content_type()) == (200, 'text/html')
    assert not re.search(r'https?:|src="//|@import|url\(', page)
    assert '<html lang="en">' in page


def test_every_answer_is_guarded(serve):
    server = serve()
    for path in (*PATHS, '/nothing'):
        with server.answer(path, Origin='http://evil.example') as answer:
            policy = answer.headers['Content-Security-Policy']
            assert policy.startswith("default-src 'self'; script-src 'sha256-")
            assert 'unsafe' not in policy
            assert answer.headers['X-Content-Type-Options'] == 'nosniff'
            assert answer.headers['Cross-Origin-Resource-Policy'] == 'same-origin'
            assert not [name for name in answer.headers if name.startswith('Access-Control')]


@pytest.mark.parametrize('method', ['POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'PATCH'])
def test_only_get_is_answered(serve, method):
    server = serve()
    for path in PATHS:
        with server.answer(path, method) as answer:
            assert answer.status == 405


def post(server, body='{"value": 0.6}', **headers):
    headers = {'Content-Type': 'application/json', 'Origin': server.url.rstrip('/'),
               **{name.replace('_', '-'): text for name, text in headers.items()}}
    with server.answer('/smoothing', 'POST', body, **headers) as answer:
        return answer.status, answer.read().decode()


def test_the_page_sets_temporal_smoothing(serve, source):
    server = serve()
    assert post(server) == (204, '')
    source.fault = 'temporal_smoothing is 1.5; it must be 0 to 0.95'
    assert post(server, '{"value": 1.5}') == (409, source.fault)
    assert source.weights == [0.6, 1.5]


@pytest.mark.parametrize('headers', [
    {'Origin': 'http://evil.example'}, {'Origin': 'null'}, {'Origin': ''},
    {'Origin': 'http://localhost:1'}, {'Content_Type': 'text/plain'},
    {'Content_Type': 'application/x-www-form-urlencoded'}, {'Host': 'evil.example'}])
def test_pages_of_other_origins_set_nothing(serve, source, headers):
    assert post(serve(), **headers)[0] == 403
    assert not source.weights


@pytest.mark.parametrize('body', ['', '0.5', '[]', '{}', '{"value": "much"}', '{"value": NaN}',
                                  '{"value": null}', '{"value": 1e999}'])
def test_only_a_number_is_a_value(serve, source, body):
    assert post(serve(), body) == (400, 'the body must be {"value": NUMBER}')
    assert not source.weights


def test_a_page_that_is_open_to_the_network_sets_nothing(serve, source):
    server = serve(host='0.0.0.0')
    host = f'127.0.0.1:{server.port}'
    status, why = post(server, Host=host, Origin=f'http://{host}')
    assert (status, not source.weights) == (403, True)
    assert why.endswith('so it changes no parameters: --host is 0.0.0.0')


@pytest.mark.parametrize('host', ['localhost', 'LocalHost:8080', '127.0.0.1:1', '[::1]:8080'])
def test_this_machines_names_are_served(serve, host):
    with serve().answer('/', Host=host) as answer:
        assert answer.status == 200


@pytest.mark.parametrize('host', ['evil.example', 'evil.example:8080', '127.0.0.1.evil.example',
                                  'localhost@evil.example', '127.0.0.2', '', '[::1', '/'])
def test_other_names_are_refused(serve, source, host):
    server = serve()
    for path in (*PATHS, '/nothing'):
        with server.answer(path, Host=host) as answer:
            assert answer.status in (400, 403)  # what is no name at all, aiohttp itself refuses
    assert not source.listening


def test_the_host_that_was_given_is_served(serve):
    with serve(host='127.0.0.2').answer('/', Host='127.0.0.2') as answer:
        assert answer.status == 200


@pytest.mark.parametrize(('host', 'status'), [
    ('192.168.1.5:8080', 200), (socket.gethostname(), 200), ('evil.example', 403)])
def test_everywhere_addresses_and_the_machines_name_are_served(serve, host, status):
    with serve(host='0.0.0.0').answer('/', Host=host) as answer:
        assert answer.status == status


def test_by_default_other_addresses_of_this_machine_are_not_listened_on(serve):
    port = serve().port
    socket.create_connection(('127.0.0.1', port), 10).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(('127.0.0.2', port), 10)


def test_opening_it_to_the_network_is_warned_once(serve, caplog):
    with caplog.at_level(logging.WARNING, 'trt_segmentation'):
        serve()
        assert not caplog.records
        serve(host='0.0.0.0')
    assert [record.getMessage() for record in caplog.records] == [
        'the page is not limited to this machine: everyone who can reach 0.0.0.0 over the network '
        'can open it']


# Pictures


def test_parts_of_the_stream_are_the_pictures(serve, source, plain):
    with serve(fps=50).answer('/stream') as answer:
        assert answer.headers.get_content_type() == 'multipart/x-mixed-replace'
        for color in ((200, 30, 30), (30, 30, 200)):
            source.show(plain(*color))
            newest = [decoded(next_part(answer)) for _ in range(2)][-1]  # repeated when unchanged
            np.testing.assert_allclose(newest, plain(*color), atol=6)


@pytest.mark.parametrize(('width', 'size'), [(80, (45, 80)), (160, (90, 160)), (960, (90, 160))])
def test_wide_pictures_are_scaled_down_and_none_up(serve, source, plain, width, size):
    source.pixels = plain(1, 2, 3)
    with serve(width=width).answer('/stream') as answer:
        assert decoded(next_part(answer)).shape[:2] == size


def test_a_picture_is_encoded_once_for_all(serve, source, plain):
    source.pixels = plain(1, 2, 3)
    server = serve()
    with server.answer('/stream') as one, server.answer('/stream') as other:
        assert next_part(one) == next_part(other)
    assert source.taken == 1


def test_pictures_come_no_faster_than_fps(serve, source, plain):
    source.pixels = plain(250, 0, 0)
    with serve(fps=0.1).answer('/stream') as answer:
        first = next_part(answer)
        source.show(plain(0, 0, 250))
        assert next_part(answer) == first, 'the same is repeated until 10 s are over'
    assert source.taken == 1


def test_a_picture_that_cannot_be_made_does_not_end_the_stream(serve, source, plain, monkeypatch,
                                                               caplog, until):
    def broken():
        raise ImageError('overlay 3x2: no data')

    monkeypatch.setattr(live, '_PAUSE_AFTER_ERROR', 0.0)
    monkeypatch.setattr(source, 'picture', broken)
    with serve(fps=50).answer('/stream') as answer:
        until(lambda: 'not shown: overlay 3x2: no data' in caplog.text, 'the warning')
        monkeypatch.undo()
        source.show(plain(1, 2, 3))
        next_part(answer)


# States


def test_events_are_the_state(serve, source):
    source.now = replace(source.now, mask=np.uint8([0, 0, 1]), picture_age=0.25,
                         labels={0: 'ro\nad', 1: '<b>'})
    with serve().answer('/events') as answer:
        assert answer.headers.get_content_type() == 'text/event-stream'
        first = next_event(answer)
        number = first.pop('number')
        assert first == state_of(source.now)
        source.now = replace(source.now, status=Status(2, 'broken'))
        last = [next_event(answer) for _ in range(2)][-1]
        assert last['status']['message'] == 'broken'
        assert last['number'] > number


def test_a_repeated_state_has_the_same_number(serve, source, monkeypatch):
    monkeypatch.setattr(live, 'REPEAT', 0.01)
    monkeypatch.setattr(live, 'STATE_PERIOD', 1000.0)
    with serve().answer('/events') as answer:
        assert next_event(answer) == next_event(answer)


# Clients that connect and leave


def test_the_source_listens_only_while_somebody_looks(serve, source, plain, until):
    server = serve()
    with server.answer('/') as answer:
        answer.read()
    assert not source.listening
    with server.answer('/events') as events:
        next_event(events)
        with server.answer('/stream') as stream:
            source.show(plain(1, 2, 3))
            next_part(stream)
        assert source.listening
    until(lambda: not source.listening, 'the source to stop')


def test_a_client_that_leaves_before_the_first_picture_is_noticed(serve, source, until):
    with serve().answer('/stream'):
        until(lambda: source.listening, 'the source to start')
    until(lambda: not source.listening, 'the source to stop')


def test_a_later_client_gets_no_old_picture(serve, source, plain, until):
    server = serve(fps=50)
    source.pixels = plain(250, 0, 0)
    with server.answer('/stream') as answer:
        old = next_part(answer)
    until(lambda: not source.listening, 'the source to stop')
    source.pixels = plain(0, 0, 250)
    with server.answer('/stream') as answer:
        assert next_part(answer) != old


def test_the_server_ends_while_somebody_looks(serve, source, plain):
    server = serve()
    source.pixels = plain(1, 2, 3)
    with server.answer('/stream') as stream, server.answer('/events') as events:
        next_part(stream)
        next_event(events)
        server.close()
    assert not source.listening


def test_a_client_that_does_not_read_does_not_block_the_shutdown(serve, source, monkeypatch):
    monkeypatch.setattr(live, 'REPEAT', 0.001)
    source.pixels = np.random.default_rng(1).integers(0, 255, (900, 1600, 3), np.uint8)
    server = serve(width=1600)
    with server.answer('/stream'):
        time.sleep(1.5)  # socket buffers are full by then
        server.close()


@pytest.mark.parametrize(('host', 'taken'), [('127.0.0.1', True), ('192.0.2.1', False)])
def test_an_address_that_cannot_be_used_is_one_sentence(serve, source, host, taken):
    async def enter(port):
        async with serving(source, ViewOptions(host=host, port=port)):
            pass

    with pytest.raises(ViewError) as raised:
        asyncio.run(enter(serve().port if taken else 0))
    assert str(raised.value).startswith(f'cannot listen on {host}, port ')
    assert 'choose others with --host and --port' in str(raised.value)
    assert ': None;' not in str(raised.value)
    assert '\n' not in str(raised.value)
