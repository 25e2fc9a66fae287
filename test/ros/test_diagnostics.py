# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Levels, messages and values on /diagnostics, with simulated times."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message

from trt_segmentation.backends.base import BackendInfo
from trt_segmentation.ros.diagnostics import status_array, status_of, status_of_all
from trt_segmentation.ros.health import Level, LoadedModel, NodeState, Thresholds
from trt_segmentation.ros.statistics import (
    BACKEND_FAILED,
    BAD_FRAME,
    DEFECT,
    DISABLED,
    MAX_RATE,
    NO_SUBSCRIBER,
    NOT_PUBLISHED,
    REASONS,
    CpuMeter,
    LatencyMeter,
    Monitor,
    RateMeter,
    stamp_age,
)

TOPIC = '/camera/image_raw'
INFO = BackendInfo('tensorrt', '10.9.0', 'NVIDIA Orin', 'fp16', 'fp16 in 41 of 52 layers',
                   '0123456789abcdef' * 4)
ACTIVE = NodeState(active=True, topic=TOPIC, publishers=1,
                   loaded=LoadedModel('net.onnx', INFO, 'fp16', {'': ('#804080', '#000aff')}))
WHERE = "(see 'Images are lost on the way' in docs/how-to/diagnose.md)"
LOST = f'; either nothing is sent, or it is lost on the way {WHERE}'
EVENT = 'the publisher offers best_effort, reliable is requested; set reliability'


class Camera:
    """A monitor, and frames that arrive every ``1 / rate`` s from second 100 on."""

    def __init__(self, rate=30.0):
        self.monitor = Monitor(100.0)
        self.now = 100.0
        self.sequence = 0
        self.interval = 1 / rate

    def arrive(self, lost=0):
        self.now += self.interval * (1 + lost)
        self.sequence += 1 + lost
        self.monitor.note_arrival(self.now, self.sequence)

    def segment(self, frames=1, age=0.020, callback=0.010, lost=0):
        for _ in range(frames):
            self.arrive(lost)
            self.monitor.note_published(self.now + callback, age, callback)

    def drop(self, reason, frames=1, why=''):
        for _ in range(frames):
            self.arrive()
            self.monitor.note_dropped(self.now, reason, why)

    def status(self, state=ACTIVE, after=0.0, **thresholds):
        return status_of(self.monitor, self.now + after, state, Thresholds(**thresholds))

    def said(self, *args, **kwargs):
        status = self.status(*args, **kwargs)
        return status.level, status.message


@pytest.fixture
def camera():
    return Camera()


def test_frames_above_the_maximum_rate_are_no_fault_and_hide_none(camera):
    camera.segment(50)
    camera.drop(MAX_RATE, 50)
    assert camera.said() == (Level.OK, 'segmenting')
    for _ in range(5):
        camera.drop(BACKEND_FAILED, why='out of memory')
        camera.drop(MAX_RATE)
    assert camera.said(max_failures=5)[0] == Level.ERROR


# Rates and latencies

@pytest.mark.parametrize('hertz', [0.1, 0.9, 29.97, 400.0])
@pytest.mark.parametrize('lost', [0, 2])
def test_rate_of_a_steady_camera_is_exact_at_any_time(hertz, lost):
    meter = RateMeter()
    for index in range(5000):
        meter.note(index / hertz, 1 + lost)
    for part in (0.0, 0.5, 0.99):
        assert meter.rate((4999 + part) / hertz) == pytest.approx(hertz * (1 + lost))


def test_rate_falls_as_soon_as_frames_stop_and_is_zero_after_the_window():
    meter = RateMeter(window=5.0)
    for index in range(301):
        meter.note(index / 30)
    assert [round(meter.rate(10 + silent), 1) for silent in (0.0, 2.5, 5.1)] == [30.0, 15.1, 0.0]


def test_rate_and_count_before_the_second_event():
    meter = RateMeter()
    assert (meter.rate(3.0), meter.count(3.0)) == (0.0, 0)
    meter.note(3.0, 4)
    assert (meter.rate(3.0), meter.count(3.0)) == (0.0, 4)
    meter.note(3.0)  # at the same moment
    assert (meter.rate(3.0), meter.count(3.0)) == (0.0, 5)


def test_count_forgets_what_left_the_window():
    meter = RateMeter(window=5.0, capacity=8)
    for second in range(20):
        meter.note(second, 2)
    assert [meter.count(now) for now in (19.0, 21.5, 25.0)] == [10, 6, 0]


@given(st.lists(st.floats(0.001, 100), max_size=40), st.floats(0, 50))
def test_rate_is_never_more_than_the_closest_frames_give(intervals, after):
    meter = RateMeter(capacity=16)
    now = 0.0
    for interval in intervals:
        now += interval
        meter.note(now)
    assert 0 <= meter.rate(now + after) <= 1.001 / min(intervals, default=np.inf)


def test_percentiles_are_those_of_the_newest_samples():
    meter = LatencyMeter(capacity=100)
    assert meter.percentiles() == {}
    for seconds in [1000.0] * 250 + list(range(101)):  # a hundred and one: 0 is overwritten
        meter.note(seconds)
    expected = np.percentile(range(1, 101), [50, 95, 99])
    assert list(meter.percentiles().values()) == pytest.approx(expected)
    assert list(meter.percentiles()) == [50, 95, 99]


def test_frames_cost_no_memory(camera):
    camera.segment(400)
    camera.drop(BACKEND_FAILED)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        camera.segment(5000, lost=1)
        camera.drop(BACKEND_FAILED, 5000)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 4096  # a float each would be 240 KB


# Levels and messages

def test_before_the_first_image(camera):
    assert camera.said(after=4.9) == (Level.OK, 'waiting for images')


def test_undisturbed(camera):
    camera.segment(300)
    assert camera.said() == (Level.OK, 'segmenting')


def test_slow_network_is_no_silence():
    camera = Camera(rate=0.1)
    camera.segment(3, callback=9.0)
    assert camera.said(after=9.5) == (Level.OK, 'segmenting')


def test_nobody_subscribes_is_no_fault(camera):
    camera.drop(NO_SUBSCRIBER, 150)
    assert camera.said() == (Level.OK, 'nobody subscribes, so nothing is segmented')
    camera.segment(2)
    assert camera.said() == (Level.OK, 'segmenting')


def test_not_active_is_stale(camera):
    assert camera.said(NodeState(active=False), after=99.0) == (Level.STALE, 'not active')


def test_a_fault_outweighs_all(camera):
    camera.drop(BACKEND_FAILED, 9, 'out of memory')
    for active in (False, True):
        assert camera.said(NodeState(active, 'no such file')) == (Level.ERROR, 'no such file')


@pytest.mark.parametrize(('publishers', 'event', 'said'), [
    (0, '', '0 publishers'), (1, '', f'1 publisher{LOST}'), (2, '', f'2 publishers{LOST}'),
    (0, EVENT, '0 publishers'), (1, EVENT, f'1 publisher, none compatible: {EVENT}'),
    (2, EVENT, f'2 publishers, not all compatible: {EVENT}')])
def test_missing_images_are_reported_with_a_likely_cause(camera, publishers, event, said):
    if event:
        camera.monitor.note_qos_event(event)
    state = NodeState(True, topic=TOPIC, publishers=publishers)
    assert camera.said(state, after=7.2) == (
        Level.WARN, f'no image on {TOPIC} for 7.2 s; {said}')


def test_missing_images_are_reported_with_what_is_published_instead(camera):
    state = NodeState(True, topic=TOPIC, publishers=1, mismatch='its publisher sends letters')
    assert camera.said(state, after=7.2) == (
        Level.WARN, f'no image on {TOPIC} for 7.2 s; 1 publisher; its publisher sends letters')


def test_an_image_shows_that_a_publisher_fits(camera):
    camera.monitor.note_qos_event(EVENT)
    camera.segment()
    assert EVENT not in camera.status(after=8.0).message


def test_work_is_no_silence(camera):
    camera.segment(callback=30.0)
    assert camera.said(after=34.9)[0] == Level.OK
    assert camera.said(after=35.1) == (
        Level.WARN, f'no image on {TOPIC} for 5.1 s; 1 publisher{LOST}')
    camera.monitor.note_dropped(camera.now + 60.0, BAD_FRAME)
    assert camera.said(after=60.0, max_drop_share=1.0)[0] == Level.OK


def test_input_timeout_can_be_set_and_switched_off(camera):
    camera.segment()
    assert camera.said(after=1.6, input_timeout=1.5)[0] == Level.WARN
    assert camera.said(after=999.0, input_timeout=0.0)[0] == Level.OK


def test_a_low_image_rate_is_reported_after_the_window():
    camera = Camera(rate=10)
    camera.segment(40)
    assert camera.said(min_rate=15.0)[0] == Level.OK
    camera.segment(20)
    assert camera.said(min_rate=15.0) == (
        Level.WARN, 'images arrive at 10.0 Hz; min_rate is 15 Hz')
    assert camera.said(min_rate=9.9)[0] == Level.OK
    assert 'images arrive' not in camera.status(after=9.0, min_rate=15.0).message


def test_frames_dropped_by_keep_latest_count_as_input():
    camera = Camera(rate=32)
    camera.segment(100, lost=3, callback=0.120)  # by a network of 8 Hz
    status = camera.status(min_rate=31.0)
    assert (status.level, status.message) == (
        Level.WARN, '120 of 160 frames in 5 s were dropped (keep_latest 120); '
                    'max_drop_share is 10%')
    assert status.values['input rate, Hz'] == '32.0'
    assert status.values['output rate, Hz'] == '8.0'


def test_frames_that_a_fast_node_misses_are_lost_on_the_way():
    camera = Camera(rate=32)
    camera.segment(100, lost=3, callback=0.012)  # may be slower than irregular frames
    assert camera.said()[1].endswith('max_drop_share is 10%')
    camera = Camera(rate=32)
    camera.segment(100, lost=3, callback=0.010)
    assert camera.said() == (
        Level.WARN, '120 of 160 frames in 5 s were dropped (keep_latest 120); max_drop_share is '
                    '10%; a frame takes the node 10.0 ms (p99), so images are probably lost on '
                    f'the way {WHERE}')


@pytest.mark.parametrize(('share', 'level'), [(0.0, Level.WARN), (0.19, Level.WARN),
                                              (0.21, Level.OK), (1.0, Level.OK)])
def test_drops_count_from_their_share_on(camera, share, level):
    for _ in range(60):
        camera.segment(4)
        camera.drop(BAD_FRAME)
    assert camera.said(max_drop_share=share)[0] == level


def test_drops_are_named_and_forgotten(camera):
    camera.drop(BAD_FRAME, 3)
    camera.drop(DEFECT)
    camera.drop(NO_SUBSCRIBER, 2)
    assert camera.said() == (Level.WARN, '4 of 6 frames in 5 s were dropped (bad_frame 3, defect 1'
                                         '); max_drop_share is 10%')
    camera.segment(180)
    assert camera.said() == (Level.OK, 'segmenting')


def test_what_is_wrong_with_frames_that_cannot_be_read_is_named(camera):
    camera.segment()
    camera.drop(BAD_FRAME, 2, why="encoding 'foo' is unknown")
    camera.drop(BAD_FRAME, why='step is 10, a row has 192 bytes')
    said = '(bad_frame 3); max_drop_share is 10%; the last bad frame: step is 10, a row has 192 b'
    assert said in camera.status().message
    camera.segment(180)
    assert camera.said() == (Level.OK, 'segmenting')
    camera.drop(BAD_FRAME, 180, why='step is 10')
    assert camera.said(max_drop_share=1.0)[1].endswith('(bad_frame 151); the last bad frame: step '
                                                       'is 10')


def test_backend_that_always_fails_is_an_error(camera):
    camera.drop(BACKEND_FAILED, 4, 'out of memory')
    assert camera.said()[0] == Level.WARN
    camera.drop(BAD_FRAME)  # never reached the backend
    camera.drop(BACKEND_FAILED, 1, 'no such kernel')
    assert camera.said() == (Level.ERROR, 'the last 5 frames all failed: no such kernel')
    assert camera.said(max_failures=6)[0] == Level.WARN
    camera.segment()
    assert camera.said()[0] == Level.WARN


def test_latency_limit_is_kept_by_95_of_100(camera):
    camera.segment(96, age=0.020)
    camera.segment(4, age=0.500)
    assert camera.said(max_latency=0.1)[0] == Level.OK
    camera.segment(3, age=0.500)
    assert camera.said(max_latency=0.1) == (
        Level.WARN, 'latency p95 is 500.0 ms; max_latency is 100.0 ms')
    assert camera.said()[0] == Level.OK


@pytest.mark.parametrize(('age', 'said'), [(-3.0, '3.0 s ahead of'), (7200.0, '7200.0 s behind')])
def test_a_latency_that_cannot_be_measured_is_a_warning(camera, age, said):
    camera.segment(5, age=age)
    assert camera.said() == (Level.OK, 'segmenting')
    level, message = camera.said(max_latency=0.1)
    assert level == Level.WARN
    assert f"the newest image's stamp is {said} the node's clock" in message


def test_another_precision_is_reported(camera):
    camera.segment(9)
    for running, level in [(LoadedModel('a', INFO, 'fp32'), Level.WARN),
                           (LoadedModel('a', INFO, 'fp16'), Level.OK),
                           (LoadedModel('a', BackendInfo('b', '', '', ''), 'fp16'), Level.OK)]:
        assert camera.said(NodeState(True, loaded=running))[0] == level
    assert 'precision fp32 was requested; tensorrt runs this network in fp16 in 41 of 52' \
        in camera.said(NodeState(True, loaded=LoadedModel('a', INFO, 'fp32')))[1]


def test_all_faults_of_the_worst_level_are_reported(camera):
    camera.drop(BAD_FRAME)
    message = camera.status(after=6.0, input_timeout=4.0, min_rate=2.0).message
    assert message == f'no image on {TOPIC} for 6.0 s; 1 publisher{LOST}'
    message = camera.status(NodeState(True, loaded=LoadedModel('a', INFO, 'int8'))).message
    assert '1 of 1 frames' in message
    assert 'precision int8' in message


# Clocks

def test_implausible_stamps_are_counted_and_excluded_from_latency(camera):
    camera.segment(20, age=0.0124)
    camera.segment(3, age=-5.0)  # simulated time was reset
    camera.segment(2, age=1.7e9)  # the clock was set, or the camera sets no stamps
    values = camera.status().values
    assert values['latency p99, ms'] == '12.4'
    assert values['stamps ahead of the clock'] == '3'
    assert values['stamps older than 60 s'] == '2'
    assert values['frames segmented'] == '25'
    assert values['output rate, Hz'] == '30.0'


@given(st.integers(0, 2**31 - 1), st.integers(0, 10**9 - 1), st.integers(-10**12, 10**12))
def test_stamp_age_is_exact_and_has_a_sign(sec, nanosec, age):
    stamp = Time(sec=sec, nanosec=nanosec)
    assert stamp_age(sec * 10**9 + nanosec + age, stamp) == age / 1e9


# The message

def test_values_are_written_as_people_read_them(camera):
    camera.segment(200, age=0.0298, callback=0.01236)
    state = NodeState(True, loaded=ACTIVE.loaded, gpu_memory=(312_400_000, 5_000_000_000))
    assert dict(camera.status(state).values) == {
        'model': 'net.onnx', 'backend': 'tensorrt', 'backend version': '10.9.0',
        'device': 'NVIDIA Orin', 'precision': 'fp16', 'layers': 'fp16 in 41 of 52 layers',
        'engine key': '0123456789abcdef', 'class colors': '#804080 #000aff',
        'GPU memory used, MB': '312',
        'GPU memory free, MB': '5000', 'input rate, Hz': '30.0', 'output rate, Hz': '30.0',
        'latency p50, ms': '29.8', 'latency p95, ms': '29.8', 'latency p99, ms': '29.8',
        'callback p50, ms': '12.4', 'callback p95, ms': '12.4', 'callback p99, ms': '12.4',
        'frames received': '200', 'frames segmented': '200',
        **{f'frames dropped, {reason}': '0' for reason in REASONS},
        'stamps ahead of the clock': '0', 'stamps older than 60 s': '0'}


def test_the_cpu_share_is_a_percentage_of_one_core(camera):
    values = camera.status(replace(ACTIVE, cpu_share=1.234)).values
    assert values['CPU of the process, % of a core'] == '123'


def test_the_cpu_share_is_that_since_the_last_call(monkeypatch):
    times = iter([(10.0, 1.0), (12.0, 1.5), (13.0, 3.5), (13.0, 3.5)])
    now = [0.0, 0.0]
    monkeypatch.setattr('time.monotonic', lambda: now[0])
    monkeypatch.setattr('time.process_time', lambda: now[1])
    now[:] = next(times)
    meter, shares = CpuMeter(), []
    for now[:] in times:
        shares.append(meter.share())
    assert shares == [0.25, 2.0, 0.0]


def test_what_is_not_known_is_left_out():
    values = status_of(Monitor(0.0), 1.0, NodeState(active=False), Thresholds()).values
    unknown = ('model', 'engine key', 'GPU memory free, MB', 'latency p50, ms')
    assert not set(unknown) & set(values)
    assert set(values.values()) == {'0', '0.0'}


def test_any_sequence_number_can_come(camera):
    for sequence in (0, 2**64 - 1, None, 3):
        camera.monitor.note_arrival(camera.now, sequence)
    assert camera.status().level == Level.WARN


def test_every_frame_has_its_place(camera):
    camera.segment(3, lost=1)
    camera.drop(BAD_FRAME, 2)
    camera.drop(NO_SUBSCRIBER)
    counts = {key: int(value) for key, value in camera.status().values.items()
              if key.startswith('frames ')}
    assert counts == {'frames received': 6, 'frames segmented': 3, 'frames dropped, bad_frame': 2,
                      'frames dropped, no_subscriber': 1, 'frames dropped, keep_latest': 2,
                      'frames dropped, backend_failed': 0, 'frames dropped, defect': 0,
                      'frames dropped, not_published': 0, 'frames dropped, disabled': 0,
                      'frames dropped, max_rate': 0}
    assert sum(counts.values()) - counts['frames received'] == camera.sequence - 1


@pytest.mark.parametrize('level', ['OK', 'WARN', 'ERROR', 'STALE'])
def test_levels_are_those_of_the_message(level):
    assert bytes([Level[level]]) == getattr(DiagnosticStatus, level)


def test_message_survives_the_wire(camera):
    camera.segment(9)
    status = camera.status(after=7.0)
    array = status_array(Time(sec=7), '/robot/segmentation', {'': status})
    received = deserialize_message(serialize_message(array), DiagnosticArray)
    assert received.header.stamp.sec == 7
    assert received.status[0].level == DiagnosticStatus.WARN
    assert received.status[0].name == 'robot/segmentation: segmentation'
    assert received.status[0].message == status.message
    assert {each.key: each.value for each in received.status[0].values} == status.values


def test_a_node_that_is_switched_off_says_so_at_once(camera):
    camera.segment(3)
    off = replace(ACTIVE, enabled=False)
    assert camera.said(off) == (Level.OK, 'disabled by ~/enable')
    camera.drop(DISABLED, 5)
    assert camera.said(ACTIVE) == (Level.OK, 'segmenting')


def test_status_when_all_frames_are_dropped(camera):
    camera.drop(BAD_FRAME, 20)
    assert camera.said(max_drop_share=1.0) == (
        Level.OK, 'nothing is segmented: all 20 frames in 5 s were dropped (bad_frame 20)')
    camera.segment()
    assert camera.said(max_drop_share=1.0) == (Level.OK, 'segmenting')


@pytest.mark.parametrize('reason', [NO_SUBSCRIBER, DISABLED])
def test_failures_are_over_when_nobody_wants_frames(camera, reason):
    camera.drop(BACKEND_FAILED, 6, 'broken')
    assert camera.said(max_drop_share=1.0) == (Level.ERROR, 'the last 6 frames all failed: broken')
    camera.drop(reason)
    assert camera.status(max_drop_share=1.0).level == Level.OK


def test_failures_are_over_when_what_failed_is_replaced(camera):
    camera.drop(NOT_PUBLISHED, 6, 'refused')
    assert camera.status().level == Level.ERROR
    camera.monitor.reset_failures()
    assert camera.status().level == Level.WARN  # of the dropped frames


def test_each_publisher_counts_its_own_frames():
    """Two on one topic, and one that restarts: received and lost frames are all that they sent."""
    counts, sent = Monitor(0.0).counts, 0
    for number in range(1, 200):
        for publisher in (b'front', b'left' if number < 100 else b'left, restarted'):
            if publisher == b'front' or number % 2:
                counts.note_arrival(number, publisher)
                sent += 1
    assert counts.received == sent
    lost = 100 - 1 - 50, 199 - 101 - 49  # of left, before and after it restarted
    assert counts.dropped == {'keep_latest': sum(lost)}


def test_publishers_of_the_past_cost_no_memory():
    counts = Monitor(0.0).counts
    for number in range(1000):
        counts.note_arrival(1, b'%d' % number)
        counts.note_arrival(number, b'steady')
    assert len(counts._last_sequences) <= 64
    assert counts.dropped == {}  # that of the steady one is never forgotten


@pytest.mark.parametrize(('wanted', 'said'), [
    ('fp16', ''), ('fp32', 'precision fp32 was requested')])
def test_faults_of_cameras_are_reported_with_those_of_the_node(wanted, said):
    broken, slow = Camera(), Camera()
    broken.drop(BACKEND_FAILED, 20, 'broken')
    slow.segment(3)
    state = replace(ACTIVE, loaded=LoadedModel('net.onnx', INFO, wanted))
    alone = NodeState(active=True)
    whole = status_of_all(state, {'front': broken.status(alone), 'left': slow.status(alone)})
    assert (whole.level, whole.message) == (
        Level.ERROR, 'front: the last 20 frames all failed: broken')
    silent = {'front': slow.status(alone, after=60), 'left': slow.status(alone)}
    whole = status_of_all(state, silent)
    assert whole.level == Level.WARN
    assert whole.message.startswith(said)
    assert 'front: no image on image for 60.0 s' in whole.message


def test_a_fault_of_the_node_is_reported_once():
    state = NodeState(active=False, fault='net.onnx: not found')
    each = {name: Camera().status(state) for name in ('front', 'left')}
    assert status_of_all(state, each).message == 'net.onnx: not found'
