# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Two frames in flight: order, exact counts and right masks under overload and during changes."""

import signal
import threading
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from lifecycle_msgs.msg import Transition
from std_srvs.srv import Trigger

from trt_segmentation.ros import frame_worker
from trt_segmentation.ros.frame_processor import FrameProcessor
from trt_segmentation.ros.frame_worker import FrameWorker, frames_in_flight
from trt_segmentation.segmenter import Segmenter

SIZE = (540, 720)
DEACTIVATE, ACTIVATE = Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE
CLEANUP, CONFIGURE = Transition.TRANSITION_CLEANUP, Transition.TRANSITION_CONFIGURE

# The first argument is a method of the worker's threads that lasts until a signal has shut down
# ROS; then only is the signal handled in the main thread. It creates the file of the second one.
HELD_UNTIL_A_SIGNAL = '-c', """
import sys, time
from pathlib import Path
import rclpy
from trt_segmentation.ros import node
from trt_segmentation.ros.image_msgs import OutgoingImage
from trt_segmentation.segmenter import Segmenter

method, held = sys.argv[1], Path(sys.argv[2])
of = Segmenter if method == 'infer_batch' else OutgoingImage
at_once = getattr(of, method)

def after_shutdown(function):
    def wait(*arguments, **options):
        while rclpy.ok():
            time.sleep(0.01)
        return function(*arguments, **options)
    return wait

def when_shut_down(*arguments, **options):
    held.touch()
    return after_shutdown(at_once)(*arguments, **options)

setattr(of, method, when_shut_down)
node.Interrupt.__call__ = after_shutdown(node.Interrupt.__call__)
raise SystemExit(node.main(sys.argv[3:]))
"""


@pytest.fixture(scope='module')
def bright(networks, tmp_path_factory):
    """The path of a network whose mask is the brightest channel of images of ``SIZE``."""
    path = tmp_path_factory.mktemp('model') / 'net.onnx'
    config = 'input: {color: bgr, scale: 1}'
    onnx.save(networks.pointwise(np.eye(3), SIZE, metadata=config), path)
    return path


@pytest.fixture(scope='module')
def pictures(networks, image_message):
    """Different images as messages, each with its mask."""
    return [(image_message(image), image.argmax(axis=2))
            for image in (networks.random_image(*SIZE, seed) for seed in range(7))]


@pytest.fixture
def bench(make_bench, bright):
    made = make_bench(engine_path=bright, backend='onnxruntime', pipeline_depth=2)
    made.listen('mask')
    return made


def send_burst(bench, pictures, count):
    """Send different frames faster than the node can take them; return masks by stamp."""
    expected = {}
    for index in range(count):
        msg, mask = pictures[index % len(pictures)]
        expected[bench.send(msg)] = mask
        bench.executor.spin_once(timeout_sec=0.001)  # its queue of masks is short, too
    return expected


def assert_right(bench, expected, stamp_of, pixels_of):
    """Every mask that arrived is that of its own frame; they are in order."""
    stamps = [stamp_of(msg) for msg in bench.received['mask']]
    assert stamps == sorted(set(stamps))
    for msg in bench.received['mask']:
        np.testing.assert_array_equal(pixels_of(msg), expected[stamp_of(msg)])


def assert_counted(counts):
    """Every frame that was received was published, or dropped for a reason."""
    dropped = sum(number for key, number in counts.items()
                  if 'dropped' in key and 'keep_latest' not in key)
    assert counts['frames received'] == counts['frames segmented'] + dropped


def test_under_overload_the_newest_frames_are_segmented_in_order(bench, pictures, stamp_of,
                                                                 pixels_of):
    bench.segment(pictures[0][0])
    bench.received['mask'].clear()
    before, sent = bench.counts(), bench.published
    expected = send_burst(bench, pictures, 150)
    bench.answer('mask', max(expected))  # the newest is never dropped
    counts = bench.counts()
    assert_right(bench, expected, stamp_of, pixels_of)
    assert_counted(counts)
    assert counts['frames dropped, replaced'] > 0
    published = counts['frames segmented'] - before['frames segmented']
    assert published >= len(bench.received['mask'])  # the middleware replaces masks, too
    everything = sum(counts[f'frames {key}'] - before[f'frames {key}'] for key in
                     ('segmented', 'dropped, replaced', 'dropped, keep_latest'))
    assert everything == bench.published - sent >= 150  # the last one perhaps twice


def test_bad_frames_between_good_ones_cost_only_themselves(make_bench, bright, pictures,
                                                           image_message, stamp_of, pixels_of):
    """The queue is deep, so that the node reads bad frames while the network runs."""
    bench = make_bench(engine_path=bright, backend='onnxruntime', pipeline_depth=2, qos_depth=100)
    bench.listen('mask')
    bench.segment(pictures[0][0])
    bench.received['mask'].clear()
    bad = image_message(np.zeros((*SIZE, 3), np.uint8), '32FC7')
    expected = {}
    for _ in range(20):
        expected |= send_burst(bench, pictures, 3)
        bench.send(bad)
    expected |= send_burst(bench, pictures, 1)
    bench.answer('mask', max(expected))
    counts = bench.counts()
    assert_right(bench, expected, stamp_of, pixels_of)
    assert_counted(counts)
    assert counts['frames dropped, bad_frame'] > 0


def test_changes_wait_for_the_frames_in_flight(bench, pictures, stamp_of, pixels_of):
    expected = send_burst(bench, pictures, 30)
    for _ in range(2):
        assert bench.call(Trigger, 'load_model', Trigger.Request()).success
        expected |= send_burst(bench, pictures, 30)
        assert bench.transition(DEACTIVATE)
        assert_counted(bench.counts())
        assert bench.transition(ACTIVATE)
        bench.wait_until_met()
        expected |= send_burst(bench, pictures, 30)
        assert bench.transition(DEACTIVATE) and bench.transition(CLEANUP)
        assert bench.transition(CONFIGURE) and bench.transition(ACTIVATE)
        bench.wait_until_met()
    expected |= send_burst(bench, pictures, 1)
    bench.answer('mask', max(expected))
    assert_right(bench, expected, stamp_of, pixels_of)
    assert_counted(bench.counts())


def test_it_ends_with_frames_in_flight(bench, pictures):
    send_burst(bench, pictures, 30)
    assert 'only on configure' in bench.set_parameter('pipeline_depth', 1).reason
    send_burst(bench, pictures, 30)
    status, log = bench.stop()
    assert status == 0
    assert 'Traceback' not in log and '[ERROR]' not in log


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(('method', 'outputs'), [('infer_batch', ('mask', 'overlay')),
                                                 ('publish', ('overlay',))])
def test_a_signal_during_a_frame_is_no_error(make_bench, bright, pictures, tmp_path, method,
                                             outputs, number):
    held = tmp_path / 'held'
    bench = make_bench(program=(*HELD_UNTIL_A_SIGNAL, method, str(held)), engine_path=bright,
                       backend='onnxruntime', pipeline_depth=2)
    bench.listen(*outputs)

    def are_in_flight():
        counts = bench.counts()
        return held.exists() and \
            counts['frames received'] - counts['frames dropped, no_subscriber'] >= 2

    bench.send_until(pictures[0][0], are_in_flight, 'a frame that is held, and one that waits')
    status, log = bench.stop(number)
    assert status == 0, log
    assert 'Traceback' not in log and '[ERROR]' not in log, log
    bench.spin_for(0.2)
    assert not any(bench.received.values())  # it was not too late for the signal


# The worker alone


class Work:
    """Jobs that run until they are released."""

    def __init__(self):
        self.ran, self.replaced, self.started = [], [], threading.Semaphore(0)
        self.released = threading.Semaphore(0)
        self.worker = FrameWorker(self._run, self.replaced.append)

    def _run(self, job):
        self.started.release()
        assert self.released.acquire(timeout=10)
        self.ran.append(job)


def job(number, slot=0):
    return SimpleNamespace(number=number, frames=[SimpleNamespace(slot=slot)])


def test_one_job_waits_and_a_newer_one_replaces_it():
    work, jobs = Work(), [job(number, number % 3) for number in range(4)]
    work.worker.submit(jobs[0])
    assert work.started.acquire(timeout=10)
    for each in jobs[1:]:
        work.worker.submit(each)
    assert work.replaced == jobs[1:3]
    assert work.worker.slots_in_use(0) == {jobs[0].frames[0].slot, jobs[3].frames[0].slot}
    work.released.release(2)
    work.worker.finish()
    assert work.ran == [jobs[0], jobs[3]]
    assert work.worker.slots_in_use(0) == set()
    work.worker.close()


def test_an_idle_thread_takes_a_job_before_a_newer_one_can_replace_it():
    work = Work()
    for number in range(0, 100, 2):
        work.worker.submit(job(number))
        work.worker.submit(job(number + 1))
        work.released.release(2)
        work.worker.finish()
    assert not work.replaced
    assert [each.number for each in work.ran] == list(range(100))
    work.worker.close()


def test_submitting_waits_until_the_work_is_enqueued(monkeypatch):
    monkeypatch.setattr(frame_worker, 'LONGEST_START', 60)
    order, released = [], threading.Event()

    def run(job):
        threading.Event().wait(0.05)
        order.append('enqueued')
        worker.note_enqueued()
        assert released.wait(10)
        order.append('done')

    worker = FrameWorker(run, order.append)
    worker.submit(job(0))
    order.append('submitted')
    worker.submit(job(1))  # at once: the thread is not idle
    released.set()
    worker.close()
    assert order == ['enqueued', 'submitted', 'done', 'enqueued', 'done']


@pytest.mark.parametrize('longest', [60, 0])
def test_submitting_does_not_wait_for_work_that_fails_or_takes_long(monkeypatch, longest):
    monkeypatch.setattr(frame_worker, 'LONGEST_START', longest)
    work = Work()
    if longest:  # the job ends, and was not enqueued
        work.released.release()
    work.worker.submit(job(0))
    work.released.release()
    work.worker.close()
    assert [each.number for each in work.ran] == [0]


@pytest.mark.parametrize(('in_flight', 'told'), [(1, 0), (2, 2)])
def test_the_worker_hears_from_every_network(monkeypatch, networks, in_flight, told):
    calls = []
    monkeypatch.setattr(FrameWorker, 'note_enqueued', lambda worker: calls.append(worker))
    settings = SimpleNamespace(max_rate=0.0, smoothing_max_gap=0.5, sync_tolerance=0.0,
                               input_encodings=(), region=None)
    with Segmenter.open() as first, Segmenter.open() as second:
        processor = FrameProcessor(SimpleNamespace(log_bridge=None), [None], first, settings,
                                   in_flight, None)
        processor.switch_segmenter(second, settings)
        for segmenter in (first, second):
            segmenter.infer(networks.random_image(20, 30))
        processor.close()
    assert len(calls) == told


def test_two_frames_are_in_flight_on_a_gpu():
    assert {(depth, backend): frames_in_flight(depth, backend) for depth in range(3)
            for backend in ('tensorrt', 'onnxruntime')} == {
        (0, 'tensorrt'): 2, (0, 'onnxruntime'): 1, (1, 'tensorrt'): 1, (1, 'onnxruntime'): 1,
        (2, 'tensorrt'): 2, (2, 'onnxruntime'): 2}


def test_closing_waits_for_all_jobs():
    work = Work()
    work.worker.submit(job(0))
    assert work.started.acquire(timeout=10)
    work.worker.submit(job(1))
    closing = threading.Thread(target=work.worker.close)
    closing.start()
    work.released.release(2)
    closing.join(10)
    assert not closing.is_alive()
    assert [each.number for each in work.ran] == [0, 1]
    work.worker.close()  # again
