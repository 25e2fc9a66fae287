# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Instances in the real node over DDS: ~/instances and ~/detections."""

from types import SimpleNamespace

import launch_files
import numpy as np
import pytest
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from trt_segmentation.options import RunOptions
from trt_segmentation.ros import detections
from trt_segmentation.ros.region import Region
from trt_segmentation.segmenter import Segmenter

SIZE = 32, 48
LABELS = ['car', 'bus', 'person']
OUTPUTS = 'instances', 'detections'


@pytest.fixture(scope='module')
def model(networks, tmp_path_factory):
    path = tmp_path_factory.mktemp('instances') / 'net.onnx'
    rng = np.random.default_rng(0)
    low = rng.uniform(-4, 36, (12, 2))
    rows = np.concatenate([low, low + rng.uniform(4, 20, (12, 2)), rng.uniform(0.1, 1, (12, 1)),
                           rng.integers(0, 3, (12, 1)), rng.normal(size=(12, 4))], axis=1)
    made = networks.instances(rows[None], rng.normal(size=(1, 4, 8, 12)), size=SIZE)
    return networks.save_with_config(made, path, classes={'labels': LABELS})


@pytest.fixture(scope='module')
def queries(networks, model):
    """The path of a network of queries with the same classes, but another number of rows."""
    return networks.save_with_config(networks.asked(SIZE, 7), model.with_name('queries.onnx'),
                                     classes={'labels': LABELS}, output={'threshold': 0.1})


@pytest.fixture(scope='module')
def segmenter(model):
    return Segmenter.open(model, options=RunOptions('onnxruntime', instances=True))


def as_rows(message):
    """Return a message's detections as rows of x_min, y_min, x_max, y_max, score, class, id."""
    rows = []
    for each in message.detections:
        result, = each.results
        centre, half = each.bbox.center.position, (each.bbox.size_x / 2, each.bbox.size_y / 2)
        rows.append([centre.x - half[0], centre.y - half[1], centre.x + half[0],
                     centre.y + half[1], result.hypothesis.score,
                     LABELS.index(result.hypothesis.class_id), int(each.id)])
    return np.array(rows)


def ids_of(message):
    """Return the pixels of a mono16 image."""
    pixels = np.frombuffer(message.data, '<u2').reshape(message.height, message.step // 2)
    return pixels[:, :message.width]


def check(message, found):
    used = np.flatnonzero(found[:, 4])
    assert used.size
    wanted = np.concatenate([found[used], used[:, None] + 1], axis=1)
    np.testing.assert_allclose(as_rows(message), wanted, rtol=1e-5, atol=1e-4)


@pytest.fixture
def detection_array():
    if detections.Detection2DArray is None:
        pytest.skip('vision_msgs with Detection2DArray is not installed')
    return detections.Detection2DArray


def test_ids_and_detections_have_the_images_header(make_bench, model, segmenter, queries, networks,
                                                   image_message, stamp_of, detection_array):
    bench = make_bench(engine_path=str(model), instances=True)
    messages = bench.collect(detection_array, 'segmentation/detections')
    bench.listen('mask', 'instances')
    bench.spin_until(lambda: bench.node.count_publishers(
        f'{bench.namespace}/segmentation/detections'), 'the topic of the detections')
    image = networks.random_image(40, 60)

    def check_frame(alone):
        expected = alone.infer(image, outputs=OUTPUTS)
        stamp = bench.send(image_message(image))
        ids = bench.answer('instances', stamp)
        assert ids.encoding == 'mono16'
        assert ids.header.frame_id == bench.answer('mask', stamp).header.frame_id
        np.testing.assert_array_equal(ids_of(ids), expected.instances)
        bench.spin_until(lambda: any(stamp_of(each) == stamp for each in messages),
                         'the detections')
        message = next(each for each in messages if stamp_of(each) == stamp)
        assert message.header == ids.header
        check(message, expected.detections)

    check_frame(segmenter)
    assert bench.set_parameter('engine_path', str(queries)).successful
    answer = bench.call(Trigger, 'load_model', Trigger.Request())
    assert answer.success, answer.message
    check_frame(Segmenter.open(queries, options=RunOptions('onnxruntime', instances=True)))


def test_cameras_and_tasks_have_their_own(make_bench, model, networks, image_message,
                                          detection_array):
    both = networks.joined({'all': networks.asked(SIZE), 'things': networks.spotted(SIZE)})
    path = networks.save_with_config(both, model.with_name('both.onnx'), outputs=[
        {'task': 'all', 'kind': 'queries', 'name': 'all/masks', 'class_name': 'all/classes',
         'labels': LABELS, 'threshold': 0.1},
        {'task': 'things', 'kind': 'instances', 'name': 'things/prototypes',
         'class_name': 'things/found', 'labels': LABELS}])
    bench = make_bench(engine_path=str(path), cameras='[front, rear]', sync_tolerance=1.0,
                       instances=True, measure=False)
    received = {name: bench.collect(kind, f'segmentation/{name}') for name, kind in (
        ('front/all/instances', Image), ('rear/all/detections', detection_array),
        ('front/things/detections', detection_array), ('rear/things/instances', Image))}
    images = {name: networks.random_image(40, 60, seed) for seed, name in
              enumerate(('front', 'rear'))}
    cameras = {name: bench.node.create_publisher(Image, f'{name}/image', 5) for name in images}
    bench.spin_until(lambda: all(each.get_subscription_count() for each in cameras.values()) and
                     all(bench.node.count_publishers(f'{bench.namespace}/segmentation/{name}')
                         for name in received), 'the topics of the node')
    bench.wait_until_met()

    sent = [(camera, image_message(images[name])) for name, camera in cameras.items()]
    bench.publish_until(lambda: bench.publish_together(sent), lambda: all(received.values()),
                        'the instances of both')
    alone = Segmenter.open(path, options=RunOptions('onnxruntime', instances=True, measure=False))
    for topic, messages in received.items():
        camera, _, output = topic.partition('/')
        expected = alone.infer(images[camera], outputs=(output,)).arrays[output]
        assert expected.any()
        if output.endswith('detections'):
            check(messages[0], expected)
        else:
            np.testing.assert_array_equal(ids_of(messages[0]), expected)


def test_in_a_region_boxes_are_moved_and_ids_are_pasted(segmenter, networks):
    image, region = networks.random_image(50, 70), Region(11, 7, 40, 30)
    inside = np.s_[7:37, 11:51]
    out = {name: np.full(segmenter.output_shape(name, (50, 70)), 77,
                         segmenter.output_dtype(name)) for name in OUTPUTS}
    region.infer_batch(segmenter, [image], color='bgr', outputs=OUTPUTS, outs=[out])
    crop = segmenter.infer(image[inside], outputs=OUTPUTS)
    np.testing.assert_array_equal(out['instances'][inside], crop.instances)
    outside = np.ones((50, 70), bool)
    outside[inside] = False
    assert not out['instances'][outside].any()
    used = crop.detections[:, 4] > 0
    assert used.any() and not out['detections'][~used].any()
    np.testing.assert_allclose(out['detections'][used],
                               crop.detections[used] + [11, 7, 11, 7, 0, 0], rtol=1e-6)


@pytest.mark.parametrize('has_position', [True, False])
def test_both_layouts_of_a_box_are_filled(monkeypatch, has_position):
    class Message(SimpleNamespace):
        def __init__(self, **fields):
            super().__init__(bbox=box(), hypothesis=SimpleNamespace(), **fields)

    def box():
        point = SimpleNamespace(x=0.0, y=0.0)
        centre = SimpleNamespace(position=point, theta=0.0) if has_position else point
        return SimpleNamespace(center=centre)

    for name in ('Detection2D', 'Detection2DArray', 'ObjectHypothesisWithPose'):
        monkeypatch.setattr(detections, name, Message, raising=False)
    rows = np.array([[0, 0, 0, 0, 0, 0], [2, 4, 12, 8, 0.5, 1]], np.float32)
    found, = detections.detections_message('header', rows, LABELS).detections
    centre = found.bbox.center.position if has_position else found.bbox.center
    assert (centre.x, centre.y, found.bbox.size_x, found.bbox.size_y) == (7, 6, 10, 4)
    assert (found.id, found.header, found.results[0].hypothesis.class_id) == ('2', 'header', 'bus')


def remapped_by_the_launch_file():
    """Return the topics that multi_camera.launch.py with batch:=true remaps for camera front."""
    given = {'cameras': 'front', 'batch': 'true'}
    node, = launch_files.started_nodes('multi_camera.launch.py', given)
    return dict(node.remappings)


def test_the_launch_file_remaps_all_topics_of_a_camera(make_bench, model):
    bench = make_bench(engine_path=str(model), instances=True, cameras=['front'], points='depth',
                       mask_height=16, mask_width=24)
    own = f'{bench.namespace}/segmentation/front/'

    def topics():
        found = bench.node.get_topic_names_and_types()
        return {name.removeprefix(own) for name, _ in found if name.startswith(own)}

    bench.spin_until(lambda: {'mask', 'instances', 'points', 'classes', 'camera_info'} <= topics(),
                     'the topics of the camera')
    remapped = remapped_by_the_launch_file()
    assert {remapped.get(f'~/front/{topic}') for topic in topics()} == {
        f'/front/segmentation/{topic}' for topic in topics()}
