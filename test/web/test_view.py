# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""End to end: camera and node over DDS, ``trt-segmentation view``, a real browser."""

import base64
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from trt_segmentation.classes.detections import used_rows
from trt_segmentation.demo.clip import LABELS, read_frame
from trt_segmentation.options import RunOptions
from trt_segmentation.ros.transport import large_image_environment
from trt_segmentation.segmenter import Segmenter

pytestmark = [pytest.mark.ros, pytest.mark.skipif(importlib.util.find_spec('rclpy') is None,
                                                  reason='rclpy is not installed')]
VIEW = '-m', 'trt_segmentation.cli.main', 'view', '--port=0'
PIXELS = """() => {
  const picture = document.getElementById('picture'), canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
  canvas.getContext('2d').drawImage(picture, 0, 0);
  return canvas.toDataURL('image/png').split(',')[1];
}"""

# Prints class and box (x_min, y_min, x_max, y_max) of the first detections on a topic.
DETECTIONS = '-c', """
import json, sys
import rclpy
from vision_msgs.msg import Detection2DArray

def box_of(found):
    centre = getattr(found.bbox.center, 'position', found.bbox.center)
    half = found.bbox.size_x / 2, found.bbox.size_y / 2
    return centre.x - half[0], centre.y - half[1], centre.x + half[0], centre.y + half[1]

rclpy.init()
node, received = rclpy.create_node('listener'), []
node.create_subscription(Detection2DArray, sys.argv[1], received.append, 5)
while not received:
    rclpy.spin_once(node)
print(json.dumps([[each.results[0].hypothesis.class_id, box_of(each)]
                  for each in received[0].detections]))
"""


@pytest.fixture(scope='module')
def scene():
    return read_frame(7, 180, 320).image


@pytest.fixture(scope='module')
def programs():
    """Start programs of ours in a ROS domain of their own; end them in the end."""
    environment = {**os.environ, 'ROS_DOMAIN_ID': str(1 + (os.getpid() + 50) % 100),
                   'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    environment |= large_image_environment(environment)
    running = []

    def start(*arguments, stdout=subprocess.PIPE):
        running.append(subprocess.Popen([sys.executable, *arguments], env=environment, text=True,
                                        stdout=stdout, stderr=subprocess.PIPE))
        return running[-1]

    yield start
    for program in running:
        program.kill()
        program.communicate()


@pytest.fixture(scope='module')
def camera(programs, scene, tmp_path_factory):
    """A camera that shows one scene all the time."""
    folder = tmp_path_factory.mktemp('camera')
    cv2.imwrite(str(folder / 'scene.png'), scene)
    programs('-m', 'trt_segmentation.demo.ros.image_publisher', str(folder), '--frames', '100000',
             '--rate', '10', stdout=subprocess.DEVNULL)


@pytest.fixture(scope='module')
def start_node(programs, camera):
    """Start a node that sees the camera: ``start_node('/front', name=value, ...)``."""
    def start(namespace, **parameters):
        told = {'diagnostics_period': 0.2, 'num_threads': 1, 'backend': 'onnxruntime',
                **parameters}
        return programs('-m', 'trt_segmentation.ros.node', '--ros-args',
                        *(each for name, value in told.items() for each in
                          ('-p', f'{name}:={value}')),
                        '-r', f'__ns:={namespace}', '-r', 'image:=/image')

    return start


@pytest.fixture(scope='module')
def node_process(start_node):
    """The process of the node."""
    return start_node('/front', temporal_smoothing=0.3)


@pytest.fixture
def node(node_process):
    """The node's full name."""
    return '/front/segmentation'


@contextmanager
def ending(process):
    """End a process after the body of a with statement."""
    try:
        yield process
    finally:  # DDS would keep a killed process as a participant for long
        process.send_signal(signal.SIGINT)
        process.wait(10)


@contextmanager
def shown(programs, node):
    """The URL at which ``trt-segmentation view`` shows a node, and its process."""
    with ending(programs(*VIEW, '--node', node)) as process:
        match = re.fullmatch(
            rf'{node} is shown at (http://127\.0\.0\.1:\d+/) \(stop with Ctrl-C\)\n',
            process.stdout.readline())
        assert match
        yield match[1], process


@pytest.fixture
def view(programs, node):
    """See ``shown``."""
    with shown(programs, node) as found:
        yield found


def states(url):
    """Yield the states of the page while connected."""
    with urllib.request.urlopen(f'{url}events', timeout=20) as answer:
        for line in answer:
            if line.startswith(b'data: '):
                yield json.loads(line[6:])


def first_state(url, condition, patience=60):
    """Return the first state that meets a condition."""
    for _, state in zip(range(patience), states(url), strict=False):
        if condition(state):
            return state
    raise AssertionError(state)


@pytest.fixture
def page(browser):
    """An empty page of the browser."""
    page = browser.new_page()
    page.set_default_timeout(30_000)
    yield page
    page.close()


def picture_of(page):
    """Return the pixels of the picture that a page shows, int [H, W, 3] BGR."""
    page.wait_for_function('document.getElementById("picture").naturalWidth')
    png = np.frombuffer(base64.b64decode(page.evaluate(PIXELS)), np.uint8)
    return cv2.imdecode(png, cv2.IMREAD_COLOR).astype(int)


def test_a_browser_sees_what_the_node_makes(view, page, scene):
    url, _ = view
    expected = Segmenter.open().infer(scene, outputs=('mask', 'overlay'))
    page.goto(url)
    page.locator('#legend').filter(has_text='road').wait_for()
    page.locator('#level').filter(has_text='OK').wait_for()
    seen = picture_of(page)
    assert np.abs(seen - expected.arrays['overlay']).mean() < 5  # it was a JPEG
    counts = np.bincount(expected.mask.ravel())
    for index in np.flatnonzero(counts):
        assert (f'{LABELS[index]}\n\t{100 * counts[index] / expected.mask.size:.1f} %'
                in page.inner_text('#legend')), LABELS[index]
    colors = page.eval_on_selector_all(
        '.swatch', 'all => all.map(one => one.style.backgroundColor)')
    assert len(set(colors)) == np.count_nonzero(counts)
    largest = Segmenter.open().spec.palette.colors[counts.argmax()]
    assert colors[0] == 'rgb({}, {}, {})'.format(*largest)
    assert page.inner_text('h1') == '/front/segmentation'
    assert page.inner_text('#running').startswith('onnxruntime, fp32')
    page.locator('#p95').filter(has_text=' ms').wait_for()
    move_slider(page)


def move_slider(page):
    """Set temporal smoothing, and wait until the node reports it."""
    page.locator('#weight-text').filter(has_text='0.30').wait_for()
    page.focus('#weight')
    for _ in range(6):
        page.keyboard.press('ArrowRight')
    page.click('summary')
    page.locator('#values tr').filter(has_text='temporal smoothing').filter(
        has_text='0.6').wait_for()
    assert page.inner_text('#weight-text') == '0.60'
    assert page.inner_text('#smoothing-fault') == ''


@contextmanager
def stopped(process):
    """Suspend a process for the body of a with statement."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@pytest.fixture
def live_page(view, page):
    """A page on which everything is live."""
    page.goto(view[0])
    wait_until_live(page)
    return page


def wait_until_live(page):
    page.wait_for_function('() => !document.querySelector(".old") && '
                           'document.getElementById("picture").naturalWidth')
    # A warning is of frames that a stopped node has dropped.
    page.wait_for_function('() => ["OK", "WARN"].includes('
                           'document.getElementById("level").textContent) && '
                           '!document.getElementById("notice").textContent')


def wait_until_grey(page, notice):
    page.locator('#notice').filter(has_text=notice).wait_for()
    page.wait_for_function('() => document.querySelectorAll(".old").length == 5')
    assert page.inner_text('#level') == 'STALE'
    colors = page.evaluate("""['#level', '#p95', '#legend td'].map(
        (part) => getComputedStyle(document.querySelector(part)).color)""")
    assert len(set(colors)) == 1
    assert page.is_visible('#picture')


def test_a_node_that_stops_answering_makes_all_grey(live_page, node_process):
    with stopped(node_process):
        wait_until_grey(live_page, 'No messages from the node since ')
    wait_until_live(live_page)


def test_a_viewer_that_stops_answering_makes_all_grey(live_page, view):
    with stopped(view[1]):
        wait_until_grey(live_page, 'No answer from trt-segmentation view since ')
    wait_until_live(live_page)


def test_the_node_works_only_while_somebody_looks(view):
    def unwanted(state):
        return int(state['status']['values']['frames dropped, no_subscriber'])

    url, _ = view
    before = unwanted(first_state(url, lambda state: state['status'] and state['classes']))
    for _ in range(10):
        time.sleep(1.0)  # nobody looks
        if unwanted(first_state(url, lambda state: state['status'])) > before:
            return
    raise AssertionError('the node has segmented every frame')


def test_another_name_tells_which_nodes_there_are(programs, node):
    process = programs(*VIEW, '--node', 'rear/segmentation')
    url = re.search('http://[^ ]+', process.stdout.readline())[0]
    state = first_state(url, lambda state: state['others'])
    assert state['others'] == [node]
    assert (state['picture_age'], state['status']) == (None, None)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_without_a_complaint(view, number):
    url, process = view
    first_state(url, lambda state: state['picture_age'] is not None)
    with urllib.request.urlopen(f'{url}stream', timeout=20) as stream:
        stream.read(1)
        process.send_signal(number)
        _, complaints = process.communicate(timeout=10)
    assert (process.returncode, complaints) == (0, '')


@pytest.mark.parametrize(('arguments', 'sentence'), [
    (['--node', '/a b'], "--node is '/a b'; it must be the full name of a node"),
    (['--host', '192.0.2.1'], 'cannot listen on 192.0.2.1, port 0')])
def test_what_cannot_be_shown_is_one_sentence(programs, arguments, sentence):
    process = programs(*VIEW, *arguments)
    shown, complaints = process.communicate(timeout=30)
    assert (process.returncode, shown) == (1, '')
    errors = [line for line in complaints.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1
    assert errors[0].startswith(f'error: {sentence}')
    assert 'Traceback' not in complaints


# Instances


@pytest.fixture
def spotted(networks, tmp_path):
    """The path of a network whose instances depend on the colours of the image."""
    return networks.save_with_config(
        networks.spotted((32, 48)), tmp_path / 'net.onnx', output={'kind': 'instances'},
        input={'color': 'rgb'}, classes={'labels': ['car', 'bus', 'person']})


def borders(ids):
    """Return where a pixel of an instance has a neighbour that is not of it."""
    height, width = ids.shape
    around = np.pad(ids, 1, 'edge')
    differs = [around[y:y + height, x:x + width] != ids for y in range(3) for x in range(3)]
    return (ids > 0) & np.any(differs, axis=0)


def test_a_browser_sees_outlines_where_the_instances_are(programs, start_node, page, spotted,
                                                         scene, until):
    pytest.importorskip('vision_msgs')
    options = RunOptions('onnxruntime', instances=True, measure=False)
    with Segmenter.open(spotted, options=options) as segmenter:
        expected = segmenter.infer(scene, outputs=segmenter.available_outputs).copy()
        found = list(used_rows(expected.detections, segmenter.spec.labels))
    outlines = borders(expected.instances)
    inside = (expected.instances > 0) & ~cv2.dilate(outlines.astype(np.uint8),
                                                    np.ones((5, 5))).astype(bool)
    assert len(found) == 2 and inside.sum() > outlines.sum() > 1000
    node = start_node('/things', engine_path=spotted, instances='true', measure='false')
    with ending(node), shown(programs, '/things/segmentation') as (url, _):
        detections = programs(*DETECTIONS, '/things/segmentation/detections')
        page.goto(url)
        page.locator('#instances').get_by_text('2', exact=True).wait_for()
        until(lambda: np.mean(picture_of(page)[outlines].min(-1) > 160) > 0.95, 'the outlines')
        assert np.abs(picture_of(page) - expected.arrays['overlay'])[inside].mean() < 5
        boxes = json.loads(detections.communicate(timeout=30)[0])
    assert [name for name, _ in boxes] == [each.name for each in found]
    np.testing.assert_allclose([box for _, box in boxes], [each.box for each in found], atol=1e-3)
