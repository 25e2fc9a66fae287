# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The specified behaviour of the node, over real DDS between processes."""

import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters, SetParametersAtomically

from trt_segmentation.options import cpu_model


@pytest.fixture(scope='module')
def expected(segmenter, scene):
    outputs = ('mask', 'confidence', 'overlay')
    return segmenter.infer(scene, outputs=outputs).copy()


def test_outputs_are_aligned_with_the_image(make_bench, image_message, scene, expected, pixels_of,
                                            stamp_of):
    bench = make_bench()
    bench.listen('mask', 'confidence', 'overlay')
    stamp = bench.send(image_message(scene))
    encodings = {'mask': 'mono8', 'confidence': 'mono8', 'overlay': 'bgr8'}
    for output, encoding in encodings.items():
        msg = bench.answer(output, stamp)
        assert (msg.height, msg.width, msg.encoding) == (180, 320, encoding)
        assert msg.step == 320 * (3 if encoding == 'bgr8' else 1)
        assert stamp_of(msg) == stamp
        assert msg.header.frame_id == 'camera_color_optical_frame'
        np.testing.assert_array_equal(pixels_of(msg), getattr(expected, output))


def test_rgb_camera_gets_the_same_mask_and_a_bgr_overlay(make_bench, image_message, scene,
                                                         expected, pixels_of):
    bench = make_bench()
    bench.listen('mask', 'overlay')
    stamp = bench.send(image_message(np.ascontiguousarray(scene[:, :, ::-1]), 'rgb8'))
    np.testing.assert_array_equal(pixels_of(bench.answer('mask', stamp)), expected.mask)
    np.testing.assert_array_equal(pixels_of(bench.answer('overlay', stamp)), expected.overlay)


def test_camera_may_change_its_size_and_encoding(make_bench, image_message, segmenter, scene):
    bench = make_bench()
    bench.listen('mask')
    for size in ((320, 180), (64, 48), (641, 363), (320, 180)):
        resized = cv2.resize(scene, size)
        np.testing.assert_array_equal(bench.segment(image_message(resized)),
                                      segmenter.infer(resized).mask)
    grey = cv2.cvtColor(scene, cv2.COLOR_BGR2GRAY)
    np.testing.assert_array_equal(
        bench.segment(image_message(grey, 'mono8')),
        segmenter.infer(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)).mask)


def test_nothing_is_computed_without_subscribers(make_bench, image_message, scene):
    bench = make_bench()
    bench.wait_until_active()
    bench.wait_until_met()
    for _ in range(3):
        bench.send_in_vain(image_message(scene), 'no_subscriber')
    counts = bench.counts()
    assert counts['frames dropped, no_subscriber'] == 3
    assert counts['frames segmented'] == 0
    bench.listen('confidence')
    bench.segment(image_message(scene), 'confidence')
    assert bench.counts()['frames segmented'] == 1


def test_every_frame_is_counted(make_bench, image_message, scene):
    bench = make_bench()
    bench.listen('mask')
    large = image_message(cv2.resize(scene, (1280, 720)))
    bench.segment(large)  # what is lost before a first frame cannot be known
    kept, lost = 'frames segmented', 'frames dropped, keep_latest'
    before, published = bench.counts(), bench.published

    def counted():
        counts = bench.counts()
        return sum(counts[key] - before[key] for key in (kept, lost))

    for _ in range(59):
        stamp = bench.send(large)
    bench.answer('mask', stamp)
    published = bench.published - published  # the last one perhaps twice
    bench.spin_until(lambda: counted() >= published, 'every frame to be counted')
    assert counted() == published
    assert bench.counts()[lost] > before[lost], 'the burst was to outrun the node'


def test_diagnostics_name_the_processor(make_bench):
    bench = make_bench()
    bench.wait_until_active()
    assert bench.status().hardware_id == cpu_model() != ''


def test_overlay_alpha_changes_live(make_bench, image_message, scene):
    bench = make_bench(overlay_alpha=0.0)
    bench.listen('overlay')
    np.testing.assert_array_equal(bench.segment(image_message(scene), 'overlay'), scene)
    assert bench.set_parameter('overlay_alpha', 1.0).successful
    colours = bench.segment(image_message(scene), 'overlay')
    assert len(np.unique(colours.reshape(-1, 3), axis=0)) <= 7


@pytest.mark.parametrize(('name', 'value', 'reason'), [
    ('overlay_alpha', 1.5, '1'),
    ('confidence', False, 'read only on configure'),
    ('qos_depth', 2, 'read only on configure'),
    ('autostart', False, 'read'),
    ('tune_allocator', False, 'read'),
])
def test_refused_parameter_changes_have_a_reason(make_bench, name, value, reason):
    bench = make_bench()
    bench.wait_until_active()
    result = bench.set_parameter(name, value)
    assert not result.successful
    assert reason in result.reason
    assert name in result.reason


def test_parameters_describe_themselves(make_bench):
    bench = make_bench()
    alpha, backend, autostart = bench.describe('overlay_alpha', 'backend', 'autostart')
    assert (alpha.floating_point_range[0].from_value,
            alpha.floating_point_range[0].to_value) == (0, 1)
    assert 'onnxruntime' in backend.additional_constraints
    assert autostart.read_only
    assert all(entry.description for entry in (alpha, backend, autostart))


def test_lifecycle_loads_and_frees(make_bench, image_message, scene, expected):
    bench = make_bench(autostart=False)
    assert bench.state() == 'unconfigured'
    assert bench.transition(Transition.TRANSITION_CONFIGURE)
    assert bench.state() == 'inactive'
    assert bench.camera.get_subscription_count() == 0
    assert bench.transition(Transition.TRANSITION_ACTIVATE)
    bench.listen('mask')
    np.testing.assert_array_equal(bench.segment(image_message(scene)), expected.mask)
    assert bench.transition(Transition.TRANSITION_DEACTIVATE)
    assert bench.transition(Transition.TRANSITION_CLEANUP)
    bench.spin_until(lambda: bench.node.count_publishers(
        f'{bench.namespace}/segmentation/mask') == 0, 'its publishers to go')
    assert bench.set_parameter('confidence', False).successful
    assert bench.transition(Transition.TRANSITION_CONFIGURE)
    assert bench.transition(Transition.TRANSITION_ACTIVATE)
    bench.wait_until_active()
    bench.wait_until_met()
    np.testing.assert_array_equal(bench.segment(image_message(scene)), expected.mask)
    assert bench.node.count_publishers(f'{bench.namespace}/segmentation/confidence') == 0


def test_a_wrong_model_is_reported_and_can_be_corrected(make_bench):
    bench = make_bench(engine_path='/nowhere/net.onnx')
    bench.spin_until(lambda: bench.diagnostics and bench.diagnostics[-1].message != 'not active',
                     'the fault')
    status = bench.diagnostics[-1]
    assert status.level == status.ERROR
    assert '/nowhere/net.onnx' in status.message
    assert bench.state() == 'unconfigured'
    assert bench.set_parameter('engine_path', '').successful
    assert bench.transition(Transition.TRANSITION_CONFIGURE)
    assert bench.transition(Transition.TRANSITION_ACTIVATE)
    bench.wait_until_active()
    _, log = bench.stop()
    assert 'configure failed: /nowhere/net.onnx' in log


def test_assumed_settings_are_logged_at_the_start(make_bench, model):
    bench = make_bench(engine_path=model)
    bench.wait_until_active()
    _, log = bench.stop()
    assert f'{model}: neither a model config nor the network defines classes.labels; ' in log


def test_a_parameter_of_an_unknown_type_is_refused(make_bench):
    bench = make_bench()
    parameters = [Parameter(name='overlay_alpha', value=ParameterValue(type=3, double_value=0.25)),
                  Parameter(name='max_rate', value=ParameterValue(type=77))]
    for service, name in ((SetParameters, 'set_parameters'),
                          (SetParametersAtomically, 'set_parameters_atomically')):
        answer = bench.call(service, name, service.Request(parameters=parameters))
        results = answer.results if service is SetParameters else [answer.result]
        assert len(results) == (2 if service is SetParameters else 1)
        for result in results:
            assert not result.successful
            assert result.reason.startswith('max_rate has the type 77; types are 0 to 9')
    assert bench.parameter('overlay_alpha') == 0.5
    assert bench.set_parameter('overlay_alpha', 0.25).successful
    assert bench.parameter('overlay_alpha') == 0.25


def test_a_path_that_the_system_does_not_allow_is_a_fault(make_bench):
    path = f'/{"n" * 300}.onnx'
    bench = make_bench(engine_path=path)
    bench.wait_for_status('cannot be read (File name too long)')
    _, log = bench.stop()
    assert f'configure failed: {path}: cannot be read (File name too long)' in log
    assert 'Traceback' not in log


def test_a_missing_backend_is_reported(make_bench):
    bench = make_bench(backend='tensorrt')
    bench.spin_until(lambda: bench.diagnostics and bench.diagnostics[-1].message != 'not active',
                     'the fault')
    assert any(said in bench.diagnostics[-1].message
               for said in ('there is no NVIDIA GPU here', 'is not installed'))


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_cleanly(make_bench, image_message, scene, number):
    bench = make_bench()
    bench.listen('mask')
    bench.segment(image_message(scene))
    code, log = bench.stop(number)
    assert code == 0
    assert 'Traceback' not in log


@pytest.mark.parametrize('pause', [0.0, 0.01, 0.05])
def test_two_signals_end_it_as_one(make_bench, image_message, scene, pause):
    bench = make_bench()
    bench.listen('mask')
    bench.segment(image_message(scene))
    bench.send(image_message(scene))
    bench.process.send_signal(signal.SIGINT)
    time.sleep(pause)
    code, log = bench.stop(signal.SIGTERM)
    assert code == 0
    assert 'Traceback' not in log


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_ros_2_is_initialized_ends_it_cleanly(number):
    program = ('import signal, rclpy; from trt_segmentation.ros import node; '
               f'rclpy.init = lambda **options: signal.raise_signal({int(number)}); '
               'raise SystemExit(node.main([]))')
    ended = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True,
                           timeout=60)
    assert (ended.returncode, ended.stderr) == (0, '')


WITHOUT_OPTIONAL_PACKAGES = '-c', """
import sys
for name in ('cv_bridge', 'vision_msgs', 'bond'):
    sys.modules[name] = None  # importing it fails
from trt_segmentation.ros import node
raise SystemExit(node.main())
"""


def test_without_optional_packages_only_their_outputs_are_missing(make_bench, image_message, scene,
                                                                  expected):
    bench = make_bench(program=WITHOUT_OPTIONAL_PACKAGES, autostart=False)
    assert bench.transition(Transition.TRANSITION_CONFIGURE)
    assert bench.transition(Transition.TRANSITION_ACTIVATE)
    bench.listen('mask', 'confidence', 'overlay')
    bench.send_in_vain(image_message(np.zeros((4, 30), np.uint8), 'rgb16'), 'bad_frame')
    stamp = bench.send(image_message(scene))
    for output in ('mask', 'confidence', 'overlay'):
        bench.answer(output, stamp)
    np.testing.assert_array_equal(bench.segment(image_message(scene)), expected.mask)
    for topic in ('segmentation/label_info', 'bond'):
        assert not bench.node.count_publishers(f'{bench.namespace}/{topic}')
    log = bench.log()
    assert log.count('vision_msgs is not installed, so ~/label_info is not published') == 1
    assert log.count('no bond with a lifecycle manager: package bond is not installed') == 1
    assert 'cv_bridge if it is installed' in log


def test_bad_frames_are_logged_once(make_bench, image_message, scene):
    bench = make_bench()
    bench.listen('mask')
    bad = image_message(scene, '32FC7')
    for _ in range(5):
        bench.send_in_vain(bad, 'bad_frame')
    bench.segment(image_message(scene))
    assert bench.counts()['frames dropped, bad_frame'] == 5
    _, log = bench.stop()
    assert log.count("encoding '32FC7', 320x180: depth and other") == 1
