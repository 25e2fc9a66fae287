# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The page in a real headless browser."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from trt_segmentation.web import live
from trt_segmentation.web.outlines import with_outlines
from trt_segmentation.web.source import Status
from trt_segmentation.web.state import COLORS_KEY, POINT_COUNT_KEY, SMOOTHING_KEY

HTML = '<img src=x onerror="document.title = `taken over`">'
ROAD_AND_SKY = np.uint8([0] * 3 + [1])
CENTRE = """
const picture = document.getElementById('picture');
const canvas = document.createElement('canvas');
const pen = canvas.getContext('2d');
canvas.width = picture.naturalWidth;
canvas.height = picture.naturalHeight;
if (!canvas.width) return [0, 0, 0];
pen.drawImage(picture, 0, 0);
return Array.from(pen.getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data.slice(0, 3));
"""


class Page:
    """A browser's page, and what went wrong on it."""

    def __init__(self, browser, **options):
        self.tab = browser.new_page(**options)
        self.errors, self.asked = [], []
        self.tab.on('console', lambda message: self.errors.append(message.text))
        self.tab.on('pageerror', lambda error: self.errors.append(str(error)))
        self.tab.on('request', lambda request: self.asked.append(request.url))

    def text(self, selector):
        return self.tab.inner_text(selector)

    def all_of(self, selector, expression):
        """Return an expression of each element ``one``; at once, since rows are replaced."""
        return self.tab.evaluate(
            'selector => Array.from(document.querySelectorAll(selector), one => '
            f'{expression})', selector)

    def color(self, selector):
        return self.all_of(selector, 'getComputedStyle(one).color')[0]

    def grey(self):
        """Return what is marked as no longer true, in the page's order."""
        return self.all_of('.old', 'one.id')

    def wait_for(self, selector, text):
        """Wait until an element's text holds some other text."""
        self.tab.locator(selector).filter(has_text=text).wait_for()

    def wait_for_color(self, *rgb):
        """Wait until the middle of the picture has a colour, about."""
        self.tab.wait_for_function(
            'wanted => { const color = (() => {' + CENTRE + '})(); return '
            'color.every((value, i) => Math.abs(value - wanted[i]) < 12); }', arg=list(rgb))


@pytest.fixture
def open_page(browser):
    """Open a page: ``open_page(url, color_scheme='dark')``; no script may fail on it."""
    pages = []

    def start(url, **options):
        pages.append(Page(browser, **options))
        pages[-1].tab.set_default_timeout(20_000)
        pages[-1].tab.goto(url)
        return pages[-1]

    yield start
    for page in pages:
        page.tab.close()


def test_the_page_shows_picture_classes_and_figures(open_page, serve, source, plain):
    source.pixels = plain(20, 40, 200)
    source.now = replace(
        source.now, picture_age=0.1, mask=ROAD_AND_SKY, labels={0: 'road', 1: 'sky'},
        status=Status(0, 'segmenting', {
            COLORS_KEY: '#804080 #4682b4', 'backend': 'tensorrt', 'precision': 'fp16',
            'input rate, Hz': '29.9', 'output rate, Hz': '29.8', 'latency p50, ms': '2.5',
            'latency p95, ms': '4.0', 'frames dropped, keep_latest': '7'}))
    server = serve()
    page = open_page(server.url)
    page.wait_for_color(200, 40, 20)  # though no other follows
    page.wait_for('#legend', 'road')
    assert page.text('#legend tbody').split() == ['road', '75.0', '%', 'sky', '25.0', '%']
    colors = page.all_of('.swatch', 'getComputedStyle(one).backgroundColor')
    assert colors == ['rgb(128, 64, 128)', 'rgb(70, 130, 180)']
    assert page.text('h1') == '/front/segmentation'
    assert (page.text('#level'), page.text('#message')) == ('OK', 'segmenting')
    assert [page.text(f'#{name}') for name in ('input', 'output', 'p50', 'p95', 'dropped')] == [
        '29.9 Hz', '29.8 Hz', '2.5 ms', '4.0 ms', '7']
    assert page.text('#running') == 'tensorrt, fp16'
    assert page.text('#notice') == ''
    assert not page.errors
    assert all(url.startswith((server.url, 'data:')) for url in page.asked)


def test_instances_and_points_show_where_they_exist(open_page, serve, source, plain):
    source.pixels = plain(0, 0, 0)
    source.now = replace(source.now, picture_age=0.1)
    page = open_page(serve(fps=50).url)
    page.wait_for('#level', 'OK')
    optional = 'instances', 'points', 'smoothing'
    assert not any(page.tab.is_visible(f'#{name}') for name in optional)
    ids = np.zeros((90, 160), np.uint16)
    ids[45:, 80:] = 1  # its corner is the centre
    source.now = replace(source.now, instances=1, status=Status(
        0, 'segmenting', {POINT_COUNT_KEY: '76800'}))
    source.show(with_outlines(plain(0, 0, 0), ids))
    page.wait_for('#points', '76,800')
    assert page.text('#instances') == '1'
    page.wait_for_color(255, 255, 255)


def test_the_slider_sets_temporal_smoothing(open_page, serve, source, until):
    def now(weight):
        source.now = replace(source.now, status=Status(0, 'segmenting', {SMOOTHING_KEY: weight}))

    now('0.3')
    page = open_page(serve().url)
    page.wait_for('#weight-text', '0.30')
    page.tab.focus('#weight')
    page.tab.keyboard.press('ArrowRight')
    page.tab.keyboard.press('ArrowRight')
    until(lambda: source.weights[-1:] == [0.4], 'the value of the slider')
    assert page.text('#weight-text') == '0.40'
    now('0.4')
    assert page.text('#smoothing-fault') == ''
    source.fault = 'the backend is <b>busy</b>'
    page.tab.keyboard.press('End')
    page.wait_for('#smoothing-fault', 'Not changed: the backend is <b>busy</b>')
    page.wait_for('#weight-text', '0.40')  # that of the node
    assert source.weights[-1] == 0.95
    assert all('409' in error for error in page.errors)


def test_every_picture_is_seen_at_once(open_page, serve, source, plain, monkeypatch):
    monkeypatch.setattr(live, 'REPEAT', 1000.0)
    source.now = replace(source.now, picture_age=0.1)
    page = open_page(serve(fps=50).url)
    for bgr in ((200, 30, 30), (30, 200, 30), (30, 30, 200)):
        source.show(plain(*bgr))
        page.wait_for_color(*bgr[::-1])


def test_rows_that_do_not_change_stay(open_page, serve, source):
    """A reader selects text in them, and a screen reader is in the middle of one."""
    def now(labels, values):
        source.now = replace(source.now, labels=labels, mask=np.uint8(sorted(labels)),
                             status=Status(0, 'segmenting', values))

    now({0: 'road', 1: 'sky'}, {'backend': 'tensorrt', 'input rate, Hz': '29.9'})
    page = open_page(serve().url)
    page.wait_for('#legend', 'sky')
    page.tab.evaluate("document.querySelectorAll('tr').forEach(row => { row.marked = true; })")
    now({0: 'road', 1: 'sky', 2: 'tree'}, {'backend': 'tensorrt', 'input rate, Hz': '30.1'})
    page.wait_for('#legend', 'tree')
    text_and_marked = '[one.textContent, one.marked === true]'
    assert page.all_of('#values tr', text_and_marked) == [
        ['backendtensorrt', True], ['input rate, Hz30.1', False]]
    assert page.all_of('#legend tr', text_and_marked) == [
        [f'{name}33.3 %', False] for name in ('road', 'sky', 'tree')]
    now({0: 'road'}, {})
    page.wait_for('#legend', '100.0 %')
    assert page.all_of('tr', 'one.textContent') == ['road100.0 %']


def test_names_from_the_network_are_text(open_page, serve, source):
    source.now = replace(
        source.now, node=f'/{HTML}', topic=HTML, mask=ROAD_AND_SKY, labels={0: HTML, 1: '&lt;b>'},
        others=(HTML,), status=Status(1, HTML, {HTML: HTML, 'backend': HTML, COLORS_KEY: HTML}))
    page = open_page(serve().url)
    page.wait_for('#legend', HTML)
    assert '&lt;b>' in page.text('#legend')
    page.wait_for('#notice', HTML)
    page.tab.click('summary')
    assert page.text('#values').split('\t')[0] == HTML
    assert page.tab.locator('img').count() == 1
    assert page.tab.title() == f'/{HTML}'


def test_no_image_yet_says_what_to_check(open_page, serve, source):
    source.now = replace(source.now, status=None, others=('/left/segmentation',))
    page = open_page(serve().url)
    page.wait_for('#notice', 'No image yet. Check that the node runs and publishes '
                             '/front/segmentation/overlay. '
                             'Available nodes: /left/segmentation.')
    assert not page.tab.is_visible('#picture')
    assert page.text('#message') == 'no diagnostics from the node yet'
    assert page.text('#hint') == 'No mask yet.'


def test_a_picture_that_stands_still_is_called_old(open_page, serve, source, plain):
    source.pixels = plain(20, 40, 200)
    source.now = replace(source.now, picture_age=0.1)
    page = open_page(serve().url)
    page.wait_for_color(200, 40, 20)
    assert page.text('#notice') == ''
    source.now = replace(source.now, picture_age=3.5)
    page.wait_for('#notice', 'No new image since')
    assert page.tab.is_visible('#picture')
    source.now = replace(source.now, picture_age=0.1)
    page.tab.wait_for_selector('#notice', state='hidden')


def status(**known):
    return Status(0, 'segmenting', {'input rate, Hz': '29.9', 'latency p95, ms': '4.0',
                                    COLORS_KEY: '#804080 #4682b4'}, **known)


def live_page(open_page, serve, source, plain, **options):
    """Open a page on which everything is live."""
    source.pixels = plain(20, 40, 200)
    source.now = replace(source.now, picture_age=0.1, mask=ROAD_AND_SKY,
                         labels={0: 'road', 1: 'sky'}, status=status())
    page = open_page(serve().url, **options)
    page.wait_for_color(200, 40, 20)
    page.wait_for('#level', 'OK')
    assert page.grey() == []
    return page


def test_figures_of_a_silent_node_are_grey(open_page, serve, source, plain):
    page = live_page(open_page, serve, source, plain)
    black = page.color('#p95')
    source.now = replace(source.now, picture_age=2.1, status=status(age=2.5))
    page.wait_for('#notice', 'No messages from the node since ')
    assert page.text('#message') == '', 'the notice says it'
    assert page.grey() == ['level', 'message', 'frame', 'figures', 'legend']
    assert page.text('#level') == 'STALE'
    assert page.text('#p95') == '4.0 ms'
    grey = page.color('#p95')
    assert grey != black
    assert {page.color(part) for part in ('#level', '#message', '#input', '#legend td')} == {grey}
    source.now = replace(source.now, picture_age=0.1, status=status())
    page.wait_for('#level', 'OK')
    assert page.grey() == []
    assert page.color('#p95') == black


def test_of_a_camera_that_stops_only_picture_and_shares_are_grey(open_page, serve, source, plain):
    page = live_page(open_page, serve, source, plain)
    source.now = replace(source.now, picture_age=2.1)
    page.wait_for('#notice', 'No new image since')
    assert page.grey() == ['frame', 'legend']


def test_without_diagnostics_only_they_are_grey(open_page, serve, source, plain):
    page = live_page(open_page, serve, source, plain)
    source.now = replace(source.now, status=status(age=2.1))
    page.wait_for('#message', 'no diagnostics from the node since ')
    assert page.grey() == ['level', 'message', 'figures']


def test_shares_of_an_earlier_image_are_grey(open_page, serve, source, plain):
    page = live_page(open_page, serve, source, plain)
    source.now = replace(source.now, mask_is_of_picture=False)
    page.wait_for('#hint', 'Shares of an earlier image: the mask of this one has not arrived.')
    assert page.grey() == ['legend']


def test_a_server_that_has_nothing_new_makes_all_grey(open_page, serve, source, plain,
                                                      monkeypatch):
    page = live_page(open_page, serve, source, plain)
    go_on = threading.Event()
    view = source.view
    monkeypatch.setattr(source, 'view', lambda: go_on.wait(30) and view())
    page.wait_for('#notice', 'No answer from trt-segmentation view since ')
    assert page.grey() == ['level', 'message', 'frame', 'figures', 'legend']
    assert page.tab.is_visible('#picture')
    go_on.set()
    page.wait_for('#level', 'OK')
    assert page.grey() == []
    assert page.text('#notice') == ''


def test_the_page_goes_on_when_the_server_comes_back(open_page, serve, source, plain):
    source.pixels = plain(20, 40, 200)
    source.now = replace(source.now, picture_age=0.1)
    server = serve()
    page = open_page(server.url)
    page.wait_for_color(200, 40, 20)
    server.close()
    page.wait_for('#notice', 'No answer from trt-segmentation view since')
    assert page.text('#notice').endswith('; reconnecting.')
    source.pixels = plain(200, 40, 20)
    serve(port=server.port)
    page.wait_for_color(20, 40, 200)
    page.tab.wait_for_selector('#notice', state='hidden')


def test_pause_by_keyboard_lets_the_node_rest(open_page, serve, source, plain, until):
    source.pixels = plain(20, 40, 200)
    source.now = replace(source.now, picture_age=0.1)
    page = open_page(serve().url)
    page.wait_for_color(200, 40, 20)
    page.tab.keyboard.press('Tab')
    page.tab.keyboard.press('Enter')
    page.wait_for('#notice', 'Paused.')
    until(lambda: not source.listening, 'the source to stop')
    page.tab.keyboard.press('Space')
    page.wait_for_color(200, 40, 20)
    assert source.listening


def test_a_page_that_is_closed_lets_the_node_rest(open_page, serve, source, plain, until):
    source.pixels = plain(20, 40, 200)
    page = open_page(serve().url)
    until(lambda: source.listening, 'the source to start')
    page.tab.goto('about:blank')
    until(lambda: not source.listening, 'the source to stop')


def test_the_page_fits_a_phone(open_page, serve, source, plain):
    source.pixels = plain(20, 40, 200)
    source.now = replace(source.now, picture_age=0.1, mask=ROAD_AND_SKY,
                         labels={0: 'road' * 30, 1: 'sky'})
    page = open_page(serve().url, viewport={'width': 320, 'height': 640})
    page.wait_for('#legend', 'roadroad')
    assert page.tab.evaluate('document.documentElement.scrollWidth') == 320


def test_the_page_is_dark_where_the_system_is(open_page, serve):
    url = serve().url
    paper = [open_page(url, color_scheme=scheme).tab.evaluate(
        'getComputedStyle(document.body).backgroundColor') for scheme in ('light', 'dark')]
    assert paper == ['rgb(255, 255, 255)', 'rgb(20, 23, 27)']
