# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The node on TensorRT, with a stand-in for the GPU in the same process."""

import threading
import time
from itertools import count

import cv2
import numpy as np
import onnx
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import Trigger

from trt_segmentation.backends.tensorrt import build_process
from trt_segmentation.benchmark.camera_frames import camera_bytes
from trt_segmentation.errors import BackendError
from trt_segmentation.graph.pipeline.camera_bytes import CAMERA_BYTES
from trt_segmentation.images.decoding import rows_to_bgr
from trt_segmentation.images.encoding import encode_jpeg
from trt_segmentation.images.gaps import GapDetector
from trt_segmentation.ros.frame_worker import FrameJob
from trt_segmentation.ros.node import SegmentationNode
from trt_segmentation.segmenter import Segmenter

TIMEOUT = 30.0
SIZE = 64, 96


@pytest.fixture
def settings():
    """More parameters of the node; some tests have their own."""
    return {}


@pytest.fixture
def node(context, networks, tensorrt, gpu, tmp_path, settings):
    """A node whose mask is the brightest channel of a 64x96 image."""
    config = 'input: {color: bgr, scale: 1}'
    onnx.save(networks.pointwise(np.eye(3), SIZE, metadata=config), tmp_path / 'net.onnx')
    told = {'engine_path': str(tmp_path / 'net.onnx'), 'backend': 'tensorrt',
            'diagnostics_period': 0.1, 'tune_allocator': False, **settings}
    node = SegmentationNode(
        context=context, namespace=f'/{tmp_path.name}',
        parameter_overrides=[Parameter(name, value=value) for name, value in told.items()])
    node.start()
    yield node
    node.destroy_node()
    gpu.assert_all_is_freed()


class Camera:
    """A camera, a consumer of masks, and an executor for them and the node."""

    def __init__(self, node, context, kind=Image, topic='image'):
        self._masks, self._overlays, self._values, self.message = [], [], {}, ''
        self._node = rclpy.create_node('camera', namespace=node.get_namespace(), context=context)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(node)
        self._executor.add_node(self._node)
        self._publisher = self._node.create_publisher(kind, topic, qos_profile_sensor_data)
        self._node.create_subscription(Image, 'segmentation/mask', self._masks.append,
                                       QoSProfile(depth=5))
        self._overlay_topic = (Image, 'segmentation/overlay', self._overlays.append,
                               QoSProfile(depth=5))
        self._node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        self.spin_until(lambda: self._publisher.get_subscription_count() and
                        self._node.count_publishers('segmentation/mask'))
        self.spin_for(0.5)  # until the node knows the consumer, too

    def listen_to(self, topic, kind, received):
        self._node.create_subscription(kind, f'segmentation/{topic}', received.append,
                                       QoSProfile(depth=5))
        self.spin_until(lambda: self._node.count_publishers(f'segmentation/{topic}'))
        self.spin_for(0.5)

    def listen_to_overlay(self):
        self._node.create_subscription(*self._overlay_topic)
        self.spin_until(lambda: self._node.count_publishers('segmentation/overlay'))
        self.spin_for(0.5)

    def spin_for(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.02)

    def _on_diagnostics(self, msg):
        self._values = {value.key: value.value for value in msg.status[0].values}
        self.message = msg.status[0].message

    def spin_until(self, condition):
        end = time.monotonic() + TIMEOUT
        while not condition():
            assert time.monotonic() < end, self._values
            self._executor.spin_once(timeout_sec=0.02)

    def send(self, message):
        self._masks.clear(), self._overlays.clear()
        self._publisher.publish(message)

    def wait_for_mask(self):
        self.spin_until(lambda: self._masks)
        return self._masks[-1]

    def wait_for_overlay(self):
        self.spin_until(lambda: self._overlays)
        return self._overlays[-1]

    def value(self, key):
        return self._values[key]

    def wait_for_value(self, key, value):
        self.spin_until(lambda: self._values.get(key) == value)

    def close(self):
        self._executor.shutdown()
        self._node.destroy_node()


@pytest.fixture
def camera(node, context):
    camera = Camera(node, context)
    yield camera
    camera.close()


def assert_right(camera, image, image_message, pixels_of):
    camera.send(image_message(image))
    mask = pixels_of(camera.wait_for_mask())
    np.testing.assert_array_equal(mask, image.argmax(axis=2))


@pytest.mark.parametrize('settings', [{'pipeline_depth': 1}])
def test_masks_of_many_frames_are_right(networks, camera, gpu, image_message, pixels_of):
    for seed in range(4):
        assert_right(camera, networks.random_image(*SIZE, seed), image_message, pixels_of)
    assert gpu.counts['locked'] == 2  # the incoming and the outgoing message's own bytes
    camera.wait_for_value('backend', 'tensorrt')
    camera.wait_for_value('device', 'Stand-in GPU')


def test_two_frames_are_in_flight_by_default(networks, camera, image_message, pixels_of):
    for seed in range(6):  # more than there are buffers
        assert_right(camera, networks.random_image(*SIZE, seed), image_message, pixels_of)
    camera.wait_for_value('frames segmented', '6')
    assert camera.value('frames dropped, replaced') == '0'  # there with two in flight alone


@pytest.mark.parametrize('settings', [{
    'temporal_smoothing': 0.8, 'smoothing_max_gap': 3600.0, 'pipeline_depth': 2}])
def test_the_mean_of_the_images_decides(camera, node, tensorrt, image_message, pixels_of):
    red, blue = (np.full((*SIZE, 3), colour, np.uint8) for colour in ((0, 0, 200), (200, 0, 0)))

    seconds = count(1)

    def segmented(image):
        message = image_message(image)
        message.header.stamp.sec = next(seconds)
        camera.send(message)
        mask = pixels_of(camera.wait_for_mask())
        assert (mask == mask[0, 0]).all()
        return mask[0, 0]

    assert [segmented(image) for image in (red, *[blue] * 4)] == [2, 2, 2, 2, 0]  # 0.8 ** 4 < 0.5
    node.set_parameters([Parameter('smoothing_max_gap', value=0.5)])
    assert segmented(red) == 2
    node.set_parameters([Parameter('smoothing_max_gap', value=3600.0)])
    assert segmented(blue) == 2
    node.set_parameters([Parameter('temporal_smoothing', value=0.0)])
    assert segmented(blue) == 0
    assert len(tensorrt.builds) == 1


@pytest.mark.parametrize('settings', [{'input_transport': 'compressed'}])
def test_jpegs_are_decoded_on_the_gpu_and_bad_ones_dropped(node, context, codec, gpu, pixels_of):
    camera = Camera(node, context, CompressedImage, 'image/compressed')
    image = np.zeros((*SIZE, 3), np.uint8)
    for index, part in enumerate(np.split(image, 3, axis=1)):
        part[..., index] = 200
    good = cv2.imencode('.jpg', image)[1].tobytes()
    for index in range(6):
        if index % 2:
            camera.send(CompressedImage(format='jpeg', data=good[:len(good) // 2]))
            camera.wait_for_value('frames dropped, bad_frame', str((index + 1) // 2))
            continue
        camera.send(CompressedImage(format='jpeg', data=good))
        mask = pixels_of(camera.wait_for_mask())
        assert (mask == image.argmax(axis=2)).mean() > 0.95  # colours blur at the borders
    assert (codec.decoded, codec.decoders, gpu.counts['copied within']) == (3, 1, 3)
    node.trigger_deactivate(), node.trigger_cleanup()
    codec.free()
    camera.close()


def test_overlays_are_encoded_on_the_gpu_and_copied_only_when_read(
        networks, node, camera, codec, gpu, image_message, pixels_of):
    jpegs, image = [], networks.random_image(*SIZE)
    camera.listen_to('overlay/compressed', CompressedImage, jpegs)

    def next_jpeg():
        jpegs.clear()
        camera.send(image_message(image, 'rgb8'))
        camera.spin_until(lambda: jpegs)
        return jpegs[-1]

    assert next_jpeg().format == 'bgr8; jpeg compressed bgr8'
    before = gpu.counts['copied out']
    found = cv2.imdecode(np.frombuffer(next_jpeg().data, np.uint8), cv2.IMREAD_COLOR)
    assert (codec.encoded, gpu.counts['copied out'] - before) == (2, 1)  # the mask alone
    codec.fails = lambda size: 'none'
    by_opencv = next_jpeg().data
    codec.fails = lambda size: ''
    camera.listen_to_overlay()
    assert next_jpeg().data == by_opencv
    overlay = pixels_of(camera.wait_for_overlay()).astype(int)
    assert np.abs(found - overlay).mean() < 40  # noise, which JPEG blurs
    assert encode_jpeg(overlay.astype(np.uint8), 80) == by_opencv.tobytes()
    assert codec.encoded == 3


def test_a_failure_of_the_gpu_drops_one_frame(networks, camera, gpu, image_message, pixels_of):
    gpu.fail('capture', 99)  # so that each frame is enqueued by TensorRT
    assert_right(camera, networks.random_image(*SIZE), image_message, pixels_of)
    gpu.fail('enqueue')
    camera.send(image_message(networks.random_image(*SIZE)))
    camera.wait_for_value('frames dropped, backend_failed', '1')
    assert_right(camera, networks.random_image(*SIZE, 1), image_message, pixels_of)


def test_cleanup_frees_the_gpu(networks, camera, node, gpu, image_message, pixels_of):
    for seed in range(2):
        assert_right(camera, networks.random_image(*SIZE, seed), image_message, pixels_of)
    node.trigger_deactivate()
    assert gpu.memory
    node.trigger_cleanup()
    gpu.assert_all_is_freed()


def test_a_gpu_that_fails_for_good_is_reported_and_the_node_lives(
        networks, camera, node, gpu, image_message, monkeypatch):
    def fail(*arguments):
        raise gpu.driver.Error('an illegal memory access was encountered')

    for call in ('mem_get_info', 'memcpy_htod_async'):
        monkeypatch.setattr(gpu.driver, call, fail)
    camera.spin_until(lambda: 'illegal memory access' in camera.message)
    node.set_parameters([Parameter('overlay_alpha', value=0.2)])
    failed = camera.value('frames dropped, backend_failed')
    camera.send(image_message(networks.random_image(*SIZE)))
    camera.wait_for_value('frames dropped, backend_failed', str(int(failed) + 1))


def test_many_threads_get_one_thing_done_at_a_time(networks, node, context, image_message,
                                                   pixels_of):
    """Frames, ~/load_model, transitions and parameters on an executor of several threads."""
    image = networks.random_image(*SIZE)
    message, masks, errors, stop = image_message(image), [], [], threading.Event()
    peer = rclpy.create_node('peer', namespace=node.get_namespace(), context=context)
    camera = peer.create_publisher(Image, 'image', qos_profile_sensor_data)
    peer.create_subscription(Image, 'segmentation/mask', masks.append, QoSProfile(depth=5))
    peer.create_timer(0.003, lambda: camera.publish(message))
    client = peer.create_client(Trigger, 'segmentation/load_model')
    executor = MultiThreadedExecutor(4, context=context)
    executor.add_node(node), executor.add_node(peer)

    def spin():
        try:
            while not stop.is_set():
                executor.spin_once(timeout_sec=0.1)
        except BaseException as error:
            errors.append(error)

    def wait_for(condition):
        end = time.monotonic() + TIMEOUT
        while not condition():
            assert not errors, errors
            assert time.monotonic() < end
            time.sleep(0.002)

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        assert client.wait_for_service(TIMEOUT)
        for number in range(12):
            wait_for(lambda: masks)
            loaded = client.call_async(Trigger.Request())
            for alpha in (0.1, 0.9):
                node.set_parameters([Parameter('overlay_alpha', value=alpha)])
            wait_for(loaded.done)
            assert loaded.result().success, loaded.result().message
            if number % 3 == 0:
                node.trigger_deactivate(), node.trigger_activate()
            masks.clear()
        wait_for(lambda: len(masks) > 5)
    finally:
        stop.set()
        thread.join()
        executor.shutdown()
        peer.destroy_node()
    for mask in masks:
        np.testing.assert_array_equal(pixels_of(mask), image.argmax(axis=2))
    counts = node._cameras[0].monitor.counts
    assert counts.dropped['defect'] == counts.dropped['backend_failed'] == 0


def camera_frame(networks, encoding, seed=0, padding=0):
    """Return a message, and the BGR image that OpenCV makes of it."""
    image = cv2.resize(networks.random_image(5, 7, seed), SIZE[::-1])
    rows = camera_bytes(image, encoding)
    if encoding != 'bgr8':
        image = rows_to_bgr(rows, encoding)
    message = Image(encoding=encoding, height=SIZE[0], width=SIZE[1],
                    step=rows.shape[1] + padding)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    message.data.frombytes(padded.tobytes())
    message.header.stamp.sec = seed + 1
    return message, image


def wait_until_ready(camera, node, *encodings):
    camera.spin_until(lambda: all(node._processor.encodings.takes(each) for each in encodings))


def conversions(tensorrt):
    return [build['source'] for build in tensorrt.builds if CAMERA_BYTES in build['profiles']]


@pytest.fixture
def fed(monkeypatch):
    """Return the encodings of all images that were given to a segmenter."""
    found, infer_batch = [], Segmenter.infer_batch

    def spy(self, images, *, encoding='', **how):
        result = infer_batch(self, images, encoding=encoding, **how)
        found.append(encoding)
        return result

    monkeypatch.setattr(Segmenter, 'infer_batch', spy)
    return found


def assert_segmented(camera, message, image, pixels_of):
    camera.send(message)
    mask = camera.wait_for_mask()
    assert mask.header == message.header
    assert (pixels_of(mask) == image.argmax(axis=2)).mean() > 0.99  # not where YUV is a tie


def test_camera_encodings_are_converted_on_the_gpu_with_overlay(
        networks, camera, node, tensorrt, fed, pixels_of):
    node.set_parameters([Parameter('overlay_alpha', value=0.0)])
    camera.listen_to_overlay()
    encodings = ['nv12', 'yuyv', 'bayer_grbg8', 'mono8', 'bgra8']
    for encoding in encodings:  # the CPU may convert these
        assert_segmented(camera, *camera_frame(networks, encoding), pixels_of)
    wait_until_ready(camera, node, *encodings)
    fed.clear()
    order = [*encodings, 'bgr8', *encodings[::-1]]
    for seed, encoding in enumerate(order):
        message, image = camera_frame(networks, encoding, seed, padding=seed % 3)
        assert_segmented(camera, message, image, pixels_of)
        overlay = camera.wait_for_overlay()
        assert (overlay.header, overlay.encoding) == (message.header, 'bgr8')
        assert np.abs(pixels_of(overlay).astype(int) - image).max() <= 1
    assert fed == ['' if each == 'bgr8' else each for each in order]
    assert sorted(conversions(tensorrt)) == sorted(f'the conversion of {each}'
                                                   for each in encodings)


def test_the_cpu_converts_while_the_converter_is_built(
        networks, camera, node, fed, pixels_of, monkeypatch):
    build, go_on = build_process.build_in_child, threading.Event()

    def slow(*arguments, **more):
        assert go_on.wait(TIMEOUT)
        return build(*arguments, **more)

    monkeypatch.setattr(build_process, 'build_in_child', slow)
    for seed in range(3):
        assert_segmented(camera, *camera_frame(networks, 'nv12', seed), pixels_of)
    go_on.set()
    wait_until_ready(camera, node, 'nv12')
    assert_segmented(camera, *camera_frame(networks, 'nv12'), pixels_of)
    assert fed == ['', '', '', 'nv12']
    camera.spin_until(lambda: camera_counts(node) == (4, 0))  # the worker counts afterwards


def camera_counts(node):
    """Return how many frames were published, and how many dropped."""
    counts = node._cameras[0].monitor.counts
    return counts.segmented, sum(counts.dropped.values())


def test_the_cpu_converts_where_the_builder_fails(
        networks, camera, node, fed, pixels_of, monkeypatch, caplog):
    def fail(*arguments, **more):
        raise BackendError('there is no space left on the GPU')

    monkeypatch.setattr(build_process, 'build_in_child', fail)
    for seed in range(4):
        assert_segmented(camera, *camera_frame(networks, 'yuyv', seed), pixels_of)
        camera.spin_for(0.05)
    assert fed == [''] * 4
    warnings = [record.getMessage() for record in caplog.records if record.levelname == 'WARNING']
    assert warnings == ['yuyv is converted on the CPU, since its converter on the GPU failed: '
                        'there is no space left on the GPU']


def test_the_cpu_converts_where_the_converter_does_not_run(
        networks, camera, node, gpu, fed, pixels_of, monkeypatch):
    takes = node._processor.encodings.takes
    camera.spin_until(lambda: takes('bayer_rggb8'))
    camera.send(camera_frame(networks, 'bgr8')[0])
    camera.wait_for_mask()
    fed.clear()
    gpu.fail('enqueue')
    for seed in range(2):
        assert_segmented(camera, *camera_frame(networks, 'bayer_rggb8', seed), pixels_of)
    assert fed == ['', '']
    camera.spin_until(lambda: camera_counts(node) == (3, 0))


def test_an_image_that_is_too_small_does_not_end_the_conversion_on_the_gpu(
        networks, camera, node, fed, pixels_of):
    camera.spin_until(lambda: node._processor.encodings.takes('nv12'))
    small = Image(encoding='nv12', height=32, width=32, step=32)
    small.data.frombytes(bytes(48 * 32))
    camera.send(small)
    camera.wait_for_value('frames dropped, backend_failed', '1')
    assert_segmented(camera, *camera_frame(networks, 'nv12'), pixels_of)
    assert fed == ['nv12']


@pytest.mark.parametrize('settings', [{'roi': [16, 0, 64, 64]}])
def test_a_region_of_interest_is_cut_out_of_the_cameras_bytes(networks, camera, node, fed,
                                                              tensorrt, pixels_of):
    def mask_of(encoding, seed):
        message, image = camera_frame(networks, encoding, seed)
        camera.send(message)
        mask = pixels_of(camera.wait_for_mask())
        assert (mask[:, :16] == 255).all() and (mask[:, 80:] == 255).all()
        assert (mask[:, 16:80] == image[:, 16:80].argmax(axis=2)).mean() > 0.9  # stretched
        return image

    mask_of('nv12', 0)  # the CPU may convert it
    wait_until_ready(camera, node, 'nv12')
    fed.clear()
    mask_of('nv12', 1)
    mask_of('bayer_rggb8', 2)
    assert fed == ['nv12', '']
    camera.listen_to_overlay()
    image = mask_of('nv12', 3)
    overlay = pixels_of(camera.wait_for_overlay())
    np.testing.assert_array_equal(overlay[:, :16], image[:, :16])
    assert fed == ['nv12', '', '']
    assert conversions(tensorrt) == ['the conversion of nv12']


@pytest.mark.parametrize('settings', [{'input_encodings': ['nv12', 'yuv422']}])
def test_named_encodings_are_built_when_the_node_is_configured(node, tensorrt):
    end = time.monotonic() + TIMEOUT
    while len(conversions(tensorrt)) < 2 \
            or not all(node._processor.encodings.takes(each) for each in ('nv12', 'yuv422')):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert sorted(conversions(tensorrt)) == ['the conversion of nv12', 'the conversion of uyvy']


@pytest.mark.parametrize('fails', [False, True])
def test_build_only_waits_for_the_named_encodings(context, networks, tensorrt, gpu, tmp_path,
                                                  monkeypatch, fails):
    build = build_process.build_in_child

    def maybe(model, profiles, *arguments, **more):
        if fails and CAMERA_BYTES in profiles:
            raise BackendError('there is no space left on the GPU')
        return build(model, profiles, *arguments, **more)

    monkeypatch.setattr(build_process, 'build_in_child', maybe)
    onnx.save(networks.pointwise(np.eye(3), SIZE), tmp_path / 'net.onnx')
    told = {'engine_path': str(tmp_path / 'net.onnx'), 'backend': 'tensorrt', 'build_only': True,
            'tune_allocator': False, 'input_encodings': ['nv12', 'yuv422']}
    node = SegmentationNode(
        context=context, namespace=f'/{tmp_path.name}',
        parameter_overrides=[Parameter(name, value=value) for name, value in told.items()])
    try:
        assert node.build() is not fails
        assert ('no space left' in node.fault) is fails
        assert len(conversions(tensorrt)) == (0 if fails else 2)
    finally:
        node.destroy_node()
    gpu.assert_all_is_freed()


@pytest.mark.parametrize('cameras', [['front', 'left']])
def test_cameras_of_a_batch_may_have_different_encodings(networks, tensorrt, gpu, tmp_path,
                                                         context, cameras, fed):
    config = 'input: {color: bgr, scale: 1}'
    onnx.save(networks.pointwise(np.eye(3), SIZE, metadata=config), tmp_path / 'net.onnx')
    told = {'engine_path': str(tmp_path / 'net.onnx'), 'backend': 'tensorrt', 'cameras': cameras,
            'tune_allocator': False, 'input_encodings': ['nv12', 'yuyv']}
    node = SegmentationNode(
        context=context, namespace=f'/{tmp_path.name}',
        parameter_overrides=[Parameter(name, value=value) for name, value in told.items()])
    node.start()
    try:
        end = time.monotonic() + TIMEOUT
        encodings = node._processor.encodings
        while not (encodings.takes('nv12') and encodings.takes('yuyv')):
            assert time.monotonic() < end
            time.sleep(0.01)
        for pair, expected in ((('nv12', 'nv12'), 'nv12'), (('nv12', 'yuyv'), ''),
                               (('bgr8', 'yuyv'), ''), (('yuyv', 'yuyv'), 'yuyv')):
            frames = [camera_frame(networks, each, seed) for seed, each in enumerate(pair)]
            read = [camera.read(message, 0, encodings.takes)
                    for camera, (message, _) in zip(node._cameras, frames, strict=True)]
            assert FrameJob(node._segmenter, encodings, GapDetector(0),
                            node._cameras, read, [('mask',)] * 2, 0.0).segment()
            assert fed[-1] == expected
            for camera, (_, image) in zip(node._cameras, frames, strict=True):
                mask = camera.outputs.buffers(SIZE, ('mask',))['mask']
                assert (mask == image.argmax(axis=2)).mean() > 0.99
    finally:
        node.destroy_node()
