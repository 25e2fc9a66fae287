# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Several cameras in one batch of one node, over DDS."""

import cv2
import numpy as np
import onnx
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import serialize_message
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Float64
from std_srvs.srv import SetBool, Trigger

from trt_segmentation.ros import label_info
from trt_segmentation.ros.inputs import TRANSPORTS
from trt_segmentation.ros.stamps import nanoseconds
from trt_segmentation.segmenter import Segmenter, demo_model

NAMES = 'front', 'left', 'right'
SIZE = 48, 64
MILLISECOND = 10**6
CONFIG = 'input: {color: bgr, scale: 1}'


class Cameras:
    """Three cameras around a bench's node.

    Args:
        bench: of conftest; its node has the parameter ``cameras``.
        outputs: subscribed outputs of every camera.
    """

    def __init__(self, bench, outputs=('mask',), names=NAMES, transport='raw'):
        self.bench, self._transport = bench, TRANSPORTS[transport]
        self.publishers = {name: self.publisher(name) for name in names}
        self.received = {(name, output): bench.collect(Image, f'segmentation/{name}/{output}')
                         for name in names for output in outputs}
        self._sent = {name: [] for name in names}  # serialized

    def publisher(self, name):
        message_type, suffix = self._transport.message, self._transport.suffix
        return self.bench.node.create_publisher(message_type, f'{name}/image{suffix}',
                                                qos_profile_sensor_data)

    def wait(self):
        """Wait until cameras, node and test have discovered each other."""
        node, namespace = self.bench.node, self.bench.namespace
        self.bench.spin_until(
            lambda: all(each.get_subscription_count() for each in self.publishers.values())
            and all(node.count_publishers(f'{namespace}/segmentation/{name}/{output}')
                    for name, output in self.received), 'the cameras of the node')
        self.bench.wait_until_met()
        return self

    def now(self):
        return self.bench.node.get_clock().now().nanoseconds

    def send(self, name, message, stamp):
        message.header.stamp = Time(nanoseconds=stamp).to_msg()
        message.header.frame_id = f'{name}_optical'
        self._sent[name].append(serialize_message(message))
        self.publishers[name].publish(message)

    def _send_again(self):
        """Send the last frame of each camera once more that the node has not received."""
        for name, sent in self._sent.items():
            if self.counts(name)['received'] < len(sent):
                self.publishers[name].publish(sent[-1])

    def send_all(self, messages, offsets=(0, MILLISECOND, 2 * MILLISECOND)):
        """Send one frame of each camera; return their stamps by name."""
        now = self.now()
        stamps = {name: now + offset for name, offset in zip(messages, offsets, strict=False)}
        for name, message in messages.items():
            self.send(name, message, stamps[name])
        return stamps

    def answer(self, name, stamp, output='mask'):
        messages = self.received[name, output]

        def found():
            return [msg for msg in messages if nanoseconds(msg.header.stamp) == stamp]

        return self.bench.spin_until_answered(found, self._send_again, f'{output} of {name}')[0]

    def status(self, name=''):
        """Return the status of a camera or of the node, published after this call."""
        return self.bench.status(name)

    def counts(self, name):
        return {key.removeprefix('frames '): count
                for key, count in self.bench.counts(name).items()}

    def wait_for_count(self, name, count, value):
        self.bench.spin_until_answered(lambda: self.counts(name)[count] == value,
                                       self._send_again, f'{value} {count}')

    def wait_for(self, name, text):
        self.bench.spin_until(lambda: text in self.status(name).message, f'{name}: {text}')
        return self.status(name)


@pytest.fixture
def images(networks):
    return {name: networks.random_image(*SIZE, seed) for seed, name in enumerate(NAMES)}


@pytest.fixture
def messages(images, image_message):
    return {name: image_message(image) for name, image in images.items()}


@pytest.fixture
def start(make_bench, model):
    """Starts a node of three cameras."""
    def start(outputs=('mask',), **parameters):
        parameters = {'engine_path': model, 'cameras': f'[{",".join(NAMES)}]', **parameters}
        transport = parameters.get('input_transport', 'raw')
        return Cameras(make_bench(**parameters), outputs, transport=transport).wait()

    return start


def assert_all_counted(counts):
    """Every received frame was segmented, dropped for a reason, or waits."""
    dropped = sum(number for key, number in counts.items()
                  if key.startswith('dropped') and 'keep_latest' not in key)
    assert counts['received'] == counts['segmented'] + dropped + counts['waiting']


# Results -----------------------------------------------------------------------------------


def test_each_camera_gets_what_it_would_get_alone(start, scene, image_message, pixels_of,
                                                  segmenter):
    outputs = 'mask', 'confidence', 'overlay'
    cameras = start(outputs, engine_path=demo_model())
    pictures = {'front': scene, 'left': scene[:, ::-1].copy(), 'right': scene[::-1].copy()}
    stamps = cameras.send_all({name: image_message(image) for name, image in pictures.items()})
    for name, image in pictures.items():
        wanted = segmenter.infer(image, outputs=outputs)
        for output in outputs:
            found = cameras.answer(name, stamps[name], output)
            assert found.header.frame_id == f'{name}_optical'
            # Sums may be rounded otherwise in a batch, which confidence shows first.
            off = np.abs(pixels_of(found).astype(int) - wanted.arrays[output]).max()
            assert off <= (output == 'confidence')


def test_max_rate_drops_whole_batches(start, messages):
    cameras = start(max_rate=0.01)
    stamps = cameras.send_all(messages)
    for name in NAMES:
        cameras.answer(name, stamps[name])
    cameras.send_all(messages)
    for name in NAMES:
        cameras.wait_for_count(name, 'dropped, max_rate', 1)
        counts = cameras.counts(name)
        assert counts['segmented'] == 1
        assert_all_counted(counts)


def test_rgb_cameras_get_bgr_overlays(start, images, image_message, pixels_of, model):
    cameras = start(('mask', 'overlay'))
    stamps = cameras.send_all({
        name: image_message(np.ascontiguousarray(image[..., ::-1]), 'rgb8')
        for name, image in images.items()})
    alone = Segmenter.open(model)
    for name, image in images.items():
        wanted = alone.infer(image, outputs=('mask', 'overlay'))
        for output in ('mask', 'overlay'):
            found = pixels_of(cameras.answer(name, stamps[name], output))
            np.testing.assert_array_equal(found, wanted.arrays[output])


def test_the_topics_of_the_cameras(start):
    cameras = start(mask_height=24, mask_width=32)
    bench = cameras.bench
    own = f'{bench.namespace}/segmentation'
    names = {name for name, _ in bench.node.get_topic_names_and_types()
             if bench.node.count_publishers(name)}
    for camera in NAMES:
        topics = {f'{own}/{camera}/{output}' for output in
                  ('mask', 'mask/compressed', 'confidence', 'overlay', 'overlay/compressed',
                   'camera_info')}
        assert topics <= names
        assert bench.node.count_subscribers(f'{bench.namespace}/{camera}/camera_info') == 1
    assert not {f'{own}/mask', f'{own}/overlay', f'{own}/front/label_info'} & names
    if label_info.LabelInfo is not None:
        assert bench.node.count_publishers(f'{own}/label_info') == 1


def test_masks_of_another_size_come_with_each_cameras_own_calibration(start, messages):
    cameras = start(mask_height=24, mask_width=32)
    bench = cameras.bench
    infos = {name: bench.collect(CameraInfo, f'segmentation/{name}/camera_info')
             for name in NAMES}
    publishers = {name: bench.node.create_publisher(CameraInfo, f'{name}/camera_info', 5)
                  for name in NAMES}

    def publish_all():
        for focal, name in enumerate(NAMES, 10):
            info = CameraInfo(width=64, height=48)
            info.k[0] = info.k[4] = float(focal)
            publishers[name].publish(info)
        cameras.send_all(messages)

    bench.publish_until(publish_all, lambda: all(infos.values()), 'camera_info')
    for focal, name in enumerate(NAMES, 10):
        assert cameras.received[name, 'mask'][-1].width == 32
        assert infos[name][-1].k[0] == focal / 2


def test_compressed_images_and_masks(start, images):
    cameras = start(input_transport='compressed')
    bench = cameras.bench
    pngs = bench.collect(CompressedImage, 'segmentation/left/mask/compressed')
    bench.wait_until_met()
    sent = {name: CompressedImage(format='png', data=cv2.imencode('.png', image)[1].tobytes())
            for name, image in images.items()}
    bench.publish_until(lambda: cameras.send_all(sent), lambda: pngs, 'a compressed mask')
    mask = cv2.imdecode(np.frombuffer(pngs[0].data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask, images['left'].argmax(axis=2))


def test_outputs_with_subscribers_of_any_camera_are_computed(start, messages, images, pixels_of):
    cameras = start(outputs=())
    for name, message in messages.items():
        cameras.send(name, message, cameras.now())
        cameras.wait_for_count(name, 'dropped, no_subscriber', 1)
    masks = cameras.received['left', 'mask'] = cameras.bench.collect(
        Image, 'segmentation/left/mask')
    cameras.bench.wait_until_met()
    stamps = cameras.send_all(messages)
    found = pixels_of(cameras.answer('left', stamps['left']))
    np.testing.assert_array_equal(found, images['left'].argmax(axis=2))
    assert len(masks) == 1
    assert [cameras.counts(name)['segmented'] for name in NAMES] == [1, 1, 1]


def test_latency_is_that_of_the_latest(start, messages):
    cameras = start()
    latencies = cameras.bench.collect(Float64, 'segmentation/latency')
    cameras.bench.wait_until_met()
    assert cameras.bench.set_parameter('sync_tolerance', 5.0).successful
    stamps = cameras.send_all(messages, (-2000 * MILLISECOND, 0, 0))
    cameras.answer(NAMES[0], stamps[NAMES[0]])
    cameras.bench.spin_until(lambda: latencies, 'a latency')
    assert 2 < latencies[0].data < 20
    assert len(latencies) == 1


def test_a_region_of_interest_is_that_of_every_camera(start, messages, images, pixels_of):
    cameras = start(roi='[8, 4, 32, 20]')
    stamps = cameras.send_all(messages)
    for name in NAMES:
        mask = pixels_of(cameras.answer(name, stamps[name]))
        assert (mask[4:24, 8:40] < 3).all()
        assert (mask != 255).sum() == 20 * 32


# Frames without a match ------------------------------------------------------------


def test_frames_apart_are_counted_and_the_tolerance_changes_live(start, messages):
    cameras = start(max_drop_share=0.5)
    for number in range(1, 4):
        cameras.send_all(messages, (0, 50 * MILLISECOND, 100 * MILLISECOND))
        for name in NAMES:
            cameras.wait_for_count(name, 'received', number)
    assert not any(cameras.received.values())
    for name, waiting in (('front', 0), ('left', 0), ('right', 1)):
        counts = cameras.counts(name)
        assert counts['received'] == 3
        assert counts['dropped, unsynchronised'] == 3 - waiting
        assert counts['waiting'] == waiting
    status = cameras.status('left')
    assert status.level == DiagnosticStatus.WARN
    assert '3 of 3 frames in 5 s were dropped (unsynchronised 3)' in status.message
    assert 'left: 3 of 3 frames' in cameras.status().message
    assert cameras.bench.set_parameter('sync_tolerance', 0.2).successful
    stamps = cameras.send_all(messages, (0, 50 * MILLISECOND, 100 * MILLISECOND))
    for name in NAMES:
        cameras.answer(name, stamps[name])
        assert_all_counted(cameras.counts(name))


def test_a_lost_camera_is_reported_and_recovers(start, messages):
    cameras = start(input_timeout=0.5, max_drop_share=0.5)
    cameras.answer('left', cameras.send_all(messages)['left'])
    cameras.bench.node.destroy_publisher(cameras.publishers['left'])
    others = {name: messages[name] for name in ('front', 'right')}

    def one_is_missed():
        cameras.send_all(others)
        cameras.bench.spin_for(0.05)
        return any('left: no image on' in each.message for each in cameras.bench.diagnostics)

    cameras.bench.spin_until(one_is_missed, 'the lack of left')
    for _ in range(60):
        cameras.send_all(others)
        cameras.bench.spin_for(0.02)
    assert 'left/image for' in cameras.status('left').message
    assert 'unsynchronised' in cameras.status('front').message
    assert cameras.status().level == DiagnosticStatus.WARN
    cameras.publishers['left'] = cameras.publisher('left')
    cameras.wait()
    stamps = cameras.send_all(messages)
    for name in NAMES:
        cameras.answer(name, stamps[name])
        assert_all_counted(cameras.counts(name))


def test_a_bad_frame_is_logged_with_its_camera_and_drops_one_match(start, messages, image_message,
                                                                   images):
    cameras = start()
    bad = {**messages, 'left': image_message(images['left'], '32FC7')}
    cameras.send_all(bad)
    for name in NAMES:
        cameras.wait_for_count(name, 'received', 1)
    stamps = cameras.send_all(messages)
    for name in NAMES:
        cameras.answer(name, stamps[name])
    assert cameras.counts('left')['dropped, bad_frame'] == 1
    for name in ('front', 'right'):
        assert cameras.counts(name)['dropped, unsynchronised'] == 1
        assert cameras.counts(name)['dropped, bad_frame'] == 0
    assert "left: frame dropped: encoding '32FC7', 64x48: depth and other" in cameras.bench.log()


@pytest.mark.parametrize(('change', 'said'), [
    (lambda image: (image[:24], 'bgr8'), 'front 64x48 bgr, left 64x24 bgr, right 64x48 bgr'),
    (lambda image: (image, 'rgb8'), 'front 64x48 bgr, left 64x48 rgb, right 64x48 bgr')])
def test_different_images_are_dropped_and_logged(start, messages, image_message, images, change,
                                                 said):
    cameras = start(roi='[0, 0, 64, 24]')
    cameras.send_all({**messages, 'left': image_message(*change(images['left']))})
    cameras.bench.spin_until(lambda: 'a frame of each camera dropped' in cameras.bench.log(),
                             'the warning')
    assert ('images of one batch must have the same size and channel order, but '
            f'they are {said}') in cameras.bench.log()
    assert [cameras.counts(name)['dropped, bad_frame'] for name in NAMES] == [1, 1, 1]
    assert not any(cameras.received.values())
    stamps = cameras.send_all(messages)
    for name in NAMES:
        cameras.answer(name, stamps[name])


@pytest.mark.parametrize('depth', [1, 2])
def test_every_frame_is_accounted_for(start, networks, image_message, depth):
    cameras = start(pipeline_depth=depth)
    for seed in range(40):
        image = image_message(networks.random_image(480, 640, seed))
        cameras.send_all({name: image for name in NAMES if seed % 5 or name != 'right'})
        cameras.bench.spin_for(0.01)
    cameras.bench.spin_for(0.5)
    for name in NAMES:
        counts = cameras.counts(name)
        assert_all_counted(counts)
        assert counts['segmented'] == len(cameras.received[name, 'mask']) > 0


# Control -----------------------------------------------------------------------------------


def test_cameras_change_between_cleanup_and_configure(start, messages, images, image_message,
                                                      pixels_of):
    cameras = start()
    bench = cameras.bench
    refused = bench.set_parameter('cameras', ['front'])
    assert not refused.successful
    assert 'read only on configure' in refused.reason
    assert bench.transition(Transition.TRANSITION_DEACTIVATE)
    assert bench.transition(Transition.TRANSITION_CLEANUP)
    topic = f'{bench.namespace}/segmentation/right/mask'
    bench.spin_until(lambda: bench.node.count_publishers(topic) == 0, 'its publishers to go')
    assert not bench.set_parameter('cameras', ['front', 'front']).successful
    assert bench.set_parameter('cameras', ['left', 'front']).successful
    assert bench.transition(Transition.TRANSITION_CONFIGURE)
    assert bench.transition(Transition.TRANSITION_ACTIVATE)
    two = Cameras(bench, names=('left', 'front')).wait()
    stamps = two.send_all({name: messages[name] for name in ('left', 'front')})
    for name in ('left', 'front'):
        np.testing.assert_array_equal(pixels_of(two.answer(name, stamps[name])),
                                      images[name].argmax(axis=2))
    assert bench.transition(Transition.TRANSITION_DEACTIVATE)
    assert bench.transition(Transition.TRANSITION_CLEANUP)
    assert bench.set_parameter('cameras', [], Parameter.Type.STRING_ARRAY).successful
    assert bench.transition(Transition.TRANSITION_CONFIGURE)
    assert bench.transition(Transition.TRANSITION_ACTIVATE)
    bench.listen('mask')
    np.testing.assert_array_equal(bench.segment(image_message(images['left'])),
                                  images['left'].argmax(axis=2))


def test_load_model_changes_the_network_of_all(start, messages, images, networks, model,
                                               pixels_of):
    cameras = start()
    darkest = model.with_name('darkest.onnx')
    onnx.save(networks.pointwise(-np.eye(3), SIZE, metadata=CONFIG), darkest)
    fixed = model.with_name('fixed.onnx')
    onnx.save(networks.fixed(networks.random_scores(3, *SIZE)), fixed)
    for path, works in ((fixed, False), (darkest, True)):
        assert cameras.bench.set_parameter('engine_path', str(path)).successful
        answer = cameras.bench.call(Trigger, 'load_model', Trigger.Request())
        assert answer.success == works, answer.message
        if not works:
            assert 'cannot take 3 images at once' in answer.message
            assert cameras.bench.parameter('engine_path') == str(model)
        stamps = cameras.send_all(messages)
        for name in NAMES:
            mask = pixels_of(cameras.answer(name, stamps[name]))
            image = images[name].astype(int)
            np.testing.assert_array_equal(mask, (-image if works else image).argmax(axis=2))


def test_enable_holds_for_all(start, messages):
    cameras = start()
    cameras.send('front', messages['front'], cameras.now())
    assert cameras.bench.call(SetBool, 'enable', SetBool.Request(data=False)).success
    cameras.send_all(messages)
    for name, dropped in zip(NAMES, (2, 1, 1), strict=True):
        cameras.wait_for_count(name, 'dropped, disabled', dropped)
    assert cameras.status('left').message == 'disabled by ~/enable'
    assert cameras.bench.call(SetBool, 'enable', SetBool.Request(data=True)).success
    cameras.answer('right', cameras.send_all(messages)['right'])


def test_a_network_with_a_fixed_batch_of_one_is_refused(make_bench, networks, model):
    onnx.save(networks.fixed(networks.random_scores(3, *SIZE)), model)
    bench = make_bench(engine_path=model, cameras='[front, left]')
    status = bench.wait_for_status('cannot take 2 images at once')
    assert status.level == DiagnosticStatus.ERROR
    assert 'run one node for each camera' in status.message


def test_the_loaded_network_is_reported_once(start):
    cameras = start()
    common, front = ({value.key for value in cameras.status(name).values}
                     for name in ('', 'front'))
    assert {'model', 'backend', 'precision'} <= common
    assert not common & front
    assert {'input rate, Hz', 'frames received', 'frames waiting',
            'frames dropped, unsynchronised'} <= front
