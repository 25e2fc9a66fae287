# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""~/points over real DDS, and the rules of Nav2's semantic segmentation layer for the cloud.

The rules are those of github.com/kiwicampus/semantic_segmentation_layer at commit a70cf6e:
``semantic_segmentation_layer.cpp`` (subscriptions of best effort, exact stamps, equal numbers of
pixels and points) and ``segmentation_buffer.cpp`` (pixel ``v * width + u`` belongs to the point of
that number, points whose z is not finite are skipped, ids are looked up by name).
"""

import re
from array import array
from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnx
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from lifecycle_msgs.msg import Transition
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from std_srvs.srv import Trigger

from trt_segmentation.demo.clip import LABELS, read_frame
from trt_segmentation.errors import ImageError
from trt_segmentation.images import points as points_module
from trt_segmentation.images.points import PointOptions, PointProjector
from trt_segmentation.ros.parameters import Parameters
from trt_segmentation.ros.point_sources import read_cloud, read_depth
from trt_segmentation.ros.stamps import nanoseconds
from trt_segmentation.web.state import POINT_COUNT_KEY

ROOT = Path(__file__).parents[2]
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE,
                     durability=DurabilityPolicy.TRANSIENT_LOCAL)
HEIGHT, WIDTH = 90, 160
FX, FY, CX, CY = 150.0, 151.0, 79.3, 44.8
FRAME = 'camera_color_optical_frame'
TRIED = 'points published', 'points dropped, no_depth', 'points dropped, bad_depth'
TYPES = {PointField.FLOAT32: np.float32, PointField.UINT8: np.uint8, PointField.UINT16: np.uint16}


def camera_info(height=HEIGHT, width=WIDTH):
    return CameraInfo(height=height, width=width,
                      k=[1.0, 0.0, 2.0, 0.0, 1.0, 2.0, 0.0, 0.0, 1.0],
                      p=[FX, 0.0, CX, 0.0, 0.0, FY, CY, 0.0, 0.0, 0.0, 1.0, 0.0])


def points_of(msg):
    """Read a cloud by its fields, as PCL does: [height, width] of named fields."""
    kind = np.dtype({'names': [field.name for field in msg.fields],
                     'formats': [TYPES[field.datatype] for field in msg.fields],
                     'offsets': [field.offset for field in msg.fields],
                     'itemsize': msg.point_step})
    assert msg.row_step == msg.width * msg.point_step
    assert len(msg.data) == msg.height * msg.row_step
    assert not msg.is_bigendian
    return np.frombuffer(msg.data, kind).reshape(msg.height, msg.width)


def pinhole_model(depth):
    """Return x, y, z of float32 metres [H, W]."""
    v, u = np.mgrid[:depth.shape[0], :depth.shape[1]]
    z = np.where(depth > 0, depth, np.nan).astype(float)
    return (u - CX) / FX * z, (v - CY) / FY * z, z


class Cell:
    """The node of all tests, which each test configures with its own parameters."""

    def __init__(self, bench):
        self.bench, self._changed = bench, []
        bench.wait_until_met()

    def configure(self, **values):
        """Configure and activate the node with some parameters, all others at their defaults;
        return whether it succeeded."""
        if self.bench.state() == 'active':
            self.bench.transition(Transition.TRANSITION_DEACTIVATE)
            self.bench.transition(Transition.TRANSITION_CLEANUP)
        defaults = {name: getattr(Parameters, name) for name in self._changed}
        for name, value in {**defaults, **values}.items():
            kind = Parameter.Type.STRING_ARRAY if value in ((), []) else None
            assert self.bench.set_parameter(name, value, kind).successful
        self._changed = list(values)
        return (self.bench.transition(Transition.TRANSITION_CONFIGURE)
                and self.bench.transition(Transition.TRANSITION_ACTIVATE))


class DepthCamera:
    """Publishes images with depth for a node, and receives its points.

    Args:
        bench: with the node.
        cameras: all cameras of the node, this one included.
        outputs: subscribed, besides ~/points.
        prefix: of the topics of the camera.
        source: type of the messages with depth, and their topic.
    """

    def __init__(self, bench, cameras, *outputs, prefix='', source=(Image, 'depth/image')):
        self.bench, node, qos = bench, bench.node, qos_profile_sensor_data
        self._cameras, self._name = cameras, prefix.rstrip('/')
        self._sent, self._with_info = [], False  # serialized images and depth
        self.image = node.create_publisher(Image, f'{prefix}image', qos)
        self.depth = node.create_publisher(source[0], f'{prefix}{source[1]}', qos)
        self.info = node.create_publisher(CameraInfo, f'{prefix}depth/camera_info', qos)
        self.clouds = []
        # The subscriptions of the layer.
        self._subscriptions = [node.create_subscription(
            PointCloud2, f'segmentation/{prefix}points', self.clouds.append, qos)]
        for output in outputs:
            bench.received[output] = []
            self._subscriptions.append(node.create_subscription(
                Image, f'segmentation/{prefix}{output}', bench.received[output].append, qos))
        for publisher in (self.image, self.depth, *[self.info][:source[0] is Image]):
            bench.spin_until(publisher.get_subscription_count, publisher.topic_name)
        for subscription in self._subscriptions:
            bench.spin_until(lambda name=subscription.topic_name: node.count_publishers(name),
                             subscription.topic_name)
        bench.wait_until_met()

    def send(self, image, depth, encoding='32FC1', frame_id=FRAME, later=0, info=True,
             length=None):
        """Send an image with its depth, pixels or a message, of which only so many bytes; return
        the stamp of the image."""
        if info:
            self.info.publish(camera_info())
        if not isinstance(depth, PointCloud2):
            depth = depth_message(depth, encoding)
        stamp = self.bench.node.get_clock().now().nanoseconds
        for msg, frame, at in ((image, FRAME, stamp), (depth, frame_id, stamp + later)):
            msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(at, 10**9)
            msg.header.frame_id = frame
        self._sent.append([serialize_message(image), serialize_message(depth)[:length]])
        self._with_info = info
        for publisher, data in zip((self.image, self.depth), self._sent[-1], strict=True):
            publisher.publish(data)
        return stamp

    def _send_again(self):
        """Send what was sent last once more, if the node has not received everything."""
        values = values_of(self.bench, self._name)
        if int(values['frames received']) < len(self._sent):
            self.image.publish(self._sent[-1][0])
        if sum(int(values[key]) for key in TRIED) < len(self._sent):
            if self._with_info:
                self.info.publish(camera_info())
            self.depth.publish(self._sent[-1][1])

    def spin_until_answered(self, found, what):
        return self.bench.spin_until_answered(
            found, lambda: [camera._send_again() for camera in self._cameras], what)

    def wait_for_status(self, text):
        self.spin_until_answered(lambda: text in self.bench.status().message, text)

    def answer(self, output, stamp):
        return self._with_stamp(self.bench.received[output], stamp, output)

    def cloud(self, stamp):
        return self._with_stamp(self.clouds, stamp, 'points')

    def _with_stamp(self, messages, stamp, what):
        def found():
            return [each for each in messages if nanoseconds(each.header.stamp) == stamp]

        return self.spin_until_answered(found, what)[0]

    def close(self):
        for publisher in (self.image, self.depth, self.info):
            self.bench.node.destroy_publisher(publisher)
        for subscription in self._subscriptions:
            self.bench.node.destroy_subscription(subscription)


@pytest.fixture(scope='module')
def cell(make_module_bench):
    return Cell(make_module_bench(autostart=False))


@pytest.fixture
def make_camera(cell):
    cameras = []

    def make(*outputs, **options):
        cameras.append(DepthCamera(cell.bench, cameras, *outputs, **options))
        return cameras[-1]

    yield make
    for camera in cameras:
        camera.close()


def depth_message(depth, encoding='32FC1'):
    height, width = depth.shape
    return Image(height=height, width=width, encoding=encoding, step=depth.nbytes // height,
                 data=array('B', depth.tobytes()))


def cloud_message(x, y, z, kinds=('<f4', '<f4', '<f4'), offsets=(0, 4, 8), point_step=16,
                  row_padding=0):
    """Return an organized cloud, with fields of these types at these offsets."""
    kind = np.dtype({'names': ['x', 'y', 'z'], 'formats': kinds, 'offsets': offsets,
                     'itemsize': point_step})
    height, width = x.shape
    rows = np.full((height, width * point_step + row_padding), 0x7f, np.uint8)
    points = np.ndarray((height, width), kind, rows, 0, (rows.strides[0], point_step))
    for name, values in zip('xyz', (x, y, z), strict=True):
        points[name] = values
    types = {4: PointField.FLOAT32, 8: PointField.FLOAT64}
    fields = [PointField(name=name, offset=offsets[at], count=1,
                         datatype=types[np.dtype(kinds[at]).itemsize])
              for at, name in enumerate('xyz')]
    return PointCloud2(height=height, width=width, fields=fields[::-1], point_step=point_step,
                       row_step=rows.shape[1], is_bigendian='>' in kinds[0],
                       data=array('B', rows.tobytes()))


def depth_of(number):
    rng = np.random.default_rng(number)
    depth = rng.uniform(0.5, 9, (HEIGHT, WIDTH)).astype(np.float32)
    depth[rng.random(depth.shape) < 0.2] = 0
    return depth


def costs_by_id(label_info, source):
    """Return the costs of class ids, as the layer reads its parameters and LabelInfo."""
    costs = {}
    for kind in source['class_types']:
        for name in source[kind]['classes']:
            costs.setdefault(name, source[kind]['max_cost'])
    return {each.class_id & 0xff: costs[each.class_name] for each in label_info.class_map}


def seen_costs(mask, confidence, cloud, costs, source):
    """Return the cost of each point that the layer puts into its tiles, by pixel number."""
    assert mask.header == confidence.header == cloud.header
    count = mask.width * mask.height
    assert count == cloud.width * cloud.height == len(mask.data) == len(confidence.data)
    points = points_of(cloud).reshape(-1)
    found = {}
    for pixel in range(count):
        x, y, z = (points[pixel][name] for name in 'xyz')
        distance = np.sqrt(x * x + y * y + z * z)
        if np.isfinite(z) and mask.data[pixel] in costs and \
                source['min_obstacle_distance'] < distance < source['max_obstacle_distance']:
            found[pixel] = costs[mask.data[pixel]]
    return found


def test_the_costmap_parameters_make_persons_lethal(cell, make_camera, image_message):
    vision_msgs = pytest.importorskip('vision_msgs.msg')
    tree = yaml.safe_load((ROOT / 'config' / 'nav2_semantic.yaml').read_text())
    layer = tree['local_costmap']['local_costmap']['ros__parameters'][
        'semantic_segmentation_layer']
    source, bench = layer['camera'], cell.bench
    assert cell.configure(points='depth', mask_height=HEIGHT // 2, mask_width=WIDTH // 2)
    infos = bench.collect(vision_msgs.LabelInfo, 'segmentation/label_info', LATCHED)
    camera = make_camera('mask', 'confidence')
    bench.spin_until(lambda: infos, 'label info')
    for key, topic in (('segmentation_topic', 'mask'), ('confidence_topic', 'confidence'),
                       ('labels_topic', 'label_info'), ('pointcloud_topic', 'points')):
        assert source[key] == f'/segmentation/{topic}'
        assert bench.node.count_publishers(f'{bench.namespace}{source[key]}') == 1
    costs = costs_by_id(infos[-1], source)  # every class has a cost
    scene, depth = max((read_frame(number, HEIGHT, WIDTH) for number in range(3)),
                       key=lambda each: np.sum(each.labels == LABELS.index('person'))), depth_of(5)
    stamp = camera.send(image_message(scene.image), depth)
    mask = camera.answer('mask', stamp)
    found = seen_costs(mask, camera.answer('confidence', stamp), camera.cloud(stamp), costs,
                       source)
    near = (depth[1::2, 1::2] > 0).ravel()  # the depth pixel of each mask pixel
    assert found and set(found) <= set(np.flatnonzero(near))
    for pixel, cost in found.items():
        name = LABELS[mask.data[pixel]]
        assert cost == {'person': 254, 'vegetation': 160, 'road': 0}.get(name, cost)
    assert costs[LABELS.index('person')] == 254
    assert source['expensive']['max_cost'] == 160 and 'grass' in source['expensive']['classes']


def test_mask_and_points_are_what_nav2_reads(cell, make_camera, image_message):
    assert cell.configure(points='depth', points_rgb=True)
    camera = make_camera('mask', 'confidence')
    for number in range(2):
        depth = depth_of(number)
        millimetres = np.round(depth * 1000).astype(np.uint16)
        stamp = camera.send(image_message(read_frame(number, HEIGHT, WIDTH).image), millimetres,
                            '16UC1')
        mask, confidence = camera.answer('mask', stamp), camera.answer('confidence', stamp)
        cloud = camera.cloud(stamp)
        assert cloud.header == mask.header
        assert (cloud.height, cloud.width) == (mask.height, mask.width) == (HEIGHT, WIDTH)
        assert not cloud.is_dense
        points = points_of(cloud)
        for name, expected in zip('xyz', pinhole_model(millimetres / 1000), strict=True):
            np.testing.assert_allclose(points[name], expected, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(points['class_id'].ravel(), mask.data)
        np.testing.assert_array_equal(points['confidence'].ravel(), confidence.data)
        color = np.ascontiguousarray(points['rgb']).view(np.uint32)
        assert all(len(np.unique(color[points['class_id'] == each])) == 1
                   for each in np.unique(points['class_id']))
    values = values_after(cell.bench, 2)
    assert int(values[POINT_COUNT_KEY]) == np.isfinite(points['z']).sum()


def test_dense_points_have_only_the_wanted_classes(cell, make_camera, image_message):
    assert cell.configure(points='depth', points_organized=False, points_stride=2,
                          points_classes=[LABELS[0]], points_range=[1.0, 5.0],
                          points_tolerance=0.01, mask_encoding='mono16')
    camera = make_camera()
    for number in range(2):  # nobody subscribes to the mask
        scene, depth = read_frame(number, HEIGHT, WIDTH), depth_of(number)
        cloud = camera.cloud(camera.send(image_message(scene.image), depth, later=-5_000_000))
        points = points_of(cloud)[0]
        assert (cloud.height, cloud.is_dense) == (1, True)
        assert set(points['class_id']) == {0}
        x, y, z = (each[::2, ::2] for each in pinhole_model(depth))
        in_range = {each: (each_x, each_y) for each, each_x, each_y in zip(
            z.ravel(), x.ravel(), y.ravel(), strict=True) if 1 <= each <= 5}
        assert 0 < len(points) < len(in_range)
        for point in points:
            np.testing.assert_allclose((point['x'], point['y']), in_range[float(point['z'])],
                                       rtol=1e-6, atol=1e-6)


def test_bad_depth_is_counted_and_named_and_the_mask_goes_on(cell, make_camera, image_message):
    assert cell.configure(points='depth')
    bench, camera = cell.bench, make_camera('mask')
    image, depth = image_message(read_frame(0, HEIGHT, WIDTH).image), depth_of(0)
    for _ in range(3):  # these wait for their camera_info
        camera.answer('mask', camera.send(image, depth, info=False))
    cases = [
        ({'info': False}, depth, 'no camera_info on /'),
        ({'frame_id': 'depth_frame'}, depth, "frame_id 'depth_frame'"),
        ({'encoding': '8UC4'}, depth, "encoding '8UC4'"),
        ({'length': 60}, depth, 'a message of 60 bytes is not a valid sensor_msgs/Image'),
        ({}, np.ones((50, 60), np.float32), 'of an image of 160x90, but the depth image is 60x50'),
        ({'later': 1}, depth, 'is 0.000000001 s from the image; points_tolerance is 0 s'),
        ({'later': 3_000_000}, depth, 'is 0.003000000 s from the image; points_tolerance is 0 s'),
        ({}, np.full_like(depth, np.nan), 'no depth is valid')]
    for options, pixels, sentence in cases:
        camera.answer('mask', camera.send(image, pixels, **options))
        camera.wait_for_status(sentence)
    values = values_of(bench)
    assert int(values['points dropped, bad_depth']) >= 4
    assert int(values['points dropped, no_depth']) >= 1
    assert int(values['points published without valid depth']) == 1
    points = points_of(camera.cloud(camera.send(image, depth)))
    np.testing.assert_allclose(points['z'], pinhole_model(depth)[2], rtol=1e-6)
    assert 'no points' in bench.log()
    bench.spin_until(lambda: bench.status().message == 'segmenting', 'a normal status')


def test_a_depth_image_from_the_future_costs_only_its_own_mask(cell, make_camera, image_message):
    assert cell.configure(points='depth')
    camera = make_camera('mask')
    image, depth = image_message(read_frame(0, HEIGHT, WIDTH).image), depth_message(depth_of(0))
    camera.answer('mask', camera.send(image, depth_of(0), later=10 ** 10))
    camera.wait_for_status('no points: the nearest depth image')
    stamp = cell.bench.node.get_clock().now().nanoseconds
    for msg in (image, depth):
        msg.header.frame_id = FRAME
        msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(stamp, 10 ** 9)
    camera.image.publish(image)  # the depth arrives after its mask
    camera.bench.spin_until(lambda: camera.bench.received['mask'] and nanoseconds(
        camera.bench.received['mask'][-1].header.stamp) == stamp, 'a mask', 5)
    camera.bench.spin_for(0.2)
    camera.depth.publish(depth)
    camera.bench.spin_until(lambda: camera.clouds, 'points', 5)
    assert nanoseconds(camera.clouds[0].header.stamp) == stamp


def test_the_points_of_a_cloud_get_classes(cell, make_camera, image_message):
    assert cell.configure(points='cloud', points_range=[1.0, 6.0])
    bench, camera = cell.bench, make_camera('mask', source=(PointCloud2, 'depth/points'))
    image, (x, y, z) = image_message(read_frame(0, HEIGHT, WIDTH).image), \
        pinhole_model(depth_of(3))
    cloud = cloud_message(x, y, z, ('<f8', '<f4', '<f4'), (9, 1, 5), 24, row_padding=7)
    cases = [(cloud_message(*(each[:1] for each in (x, y, z))), FRAME,
              'the cloud is not organized: it is 160x1'),
             (cloud_message(*(each[:50] for each in (x, y, z))), FRAME,
              'the cloud is 160x50, but the mask is 160x90'),
             (cloud, 'depth_frame', "the cloud has frame_id 'depth_frame'")]
    for bad, frame, sentence in cases:
        camera.answer('mask', camera.send(image, bad, frame_id=frame))
        camera.wait_for_status(f'no points: {sentence}')
    for length in (80, 8):  # bytes that are no cloud, with and without a stamp
        camera.answer('mask', camera.send(image, cloud, length=length))
        camera.wait_for_status(f'no points: a message of {length} bytes ')
    stamp = camera.send(image, cloud)
    points, mask = points_of(camera.cloud(stamp)), camera.answer('mask', stamp)
    in_range = (z.astype(np.float32) >= 1) & (z.astype(np.float32) <= 6)
    for name, expected in zip('xyz', (x, y, z), strict=True):
        np.testing.assert_array_equal(points[name],
                                      np.where(in_range, expected, np.nan).astype(np.float32))
    np.testing.assert_array_equal(points['class_id'].ravel(), mask.data)
    bench.spin_until(lambda: bench.status().message == 'segmenting', 'a normal status')
    assert values_after(bench, 1)['points dropped, bad_depth'] == '5'


def test_each_camera_has_the_points_of_its_own_depth(cell, make_camera, image_message):
    names = 'front', 'left'
    assert cell.configure(points='depth', cameras=list(names), sync_tolerance=60.0)
    bench, image = cell.bench, image_message(read_frame(0, HEIGHT, WIDTH).image)
    cameras = [make_camera(prefix=f'{name}/') for name in names]
    depths = [depth_of(number) for number in range(2)]
    stamps = [camera.send(image, depth) for camera, depth in zip(cameras, depths, strict=True)]
    for camera, depth, stamp in zip(cameras, depths, stamps, strict=True):
        np.testing.assert_allclose(points_of(camera.cloud(stamp))['z'], pinhole_model(depth)[2],
                                   rtol=1e-6)
    stamp = cameras[0].send(image, depths[1])
    cameras[1].send(image, depths[0], frame_id='right')  # of one camera only
    np.testing.assert_allclose(points_of(cameras[0].cloud(stamp))['z'],
                               pinhole_model(depths[1])[2], rtol=1e-6)

    def statuses():
        bench.forget_diagnostics()
        bench.spin_until(lambda: len(bench.diagnostics) > 2, 'diagnostics')
        return {each.name.split(':')[0].rsplit('/', 1)[-1]: each for each in bench.diagnostics}

    bench.spin_until(lambda: "frame_id 'right'" in statuses()['left'].message, 'the bad depth')
    def counts(key):
        found = statuses()
        return [next(value.value for value in found[name].values if value.key == key)
                for name in names]

    bench.spin_until(lambda: counts('points published') == ['2', '1'], 'both counts')
    assert counts('points dropped, bad_depth') == ['0', '1']
    assert statuses()['front'].message == 'segmenting'


def test_a_loaded_network_needs_the_classes_of_the_points(cell, make_camera, image_message,
                                                          networks, tmp_path):
    for name, label in (('without', 'green'), ('with', 'road')):
        config = f'input: {{color: bgr, scale: 1}}\nclasses: {{labels: [blue, {label}, red]}}'
        onnx.save(networks.pointwise(np.eye(3), (48, 64), activation='Softmax', metadata=config),
                  tmp_path / f'{name}.onnx')
    assert cell.configure(points='depth', points_classes=['road'], engine_path='')
    bench, camera, depth = cell.bench, make_camera(), depth_of(0)
    road = image_message(read_frame(0, HEIGHT, WIDTH).image)
    green = image_message(np.full((HEIGHT, WIDTH, 3), (0, 200, 0), np.uint8))

    def load(name):
        bench.set_parameter('engine_path', str(tmp_path / f'{name}.onnx'))
        return bench.call(Trigger, 'load_model', Trigger.Request())

    def classes(image):
        points = points_of(camera.cloud(camera.send(image, depth)))
        return set(points['class_id'][np.isfinite(points['z'])])

    assert classes(road) == {LABELS.index('road')}
    refused = load('without')
    assert not refused.success
    assert refused.message == ("points_classes has 'road', which is no class of the network; its "
                               'classes are blue, green, red')
    assert classes(road) == {LABELS.index('road')}
    assert load('with').success
    assert classes(green) == {1}


@pytest.mark.parametrize(('place', 'value'), [
    (0, 0.0), (0, np.nan), (0, np.inf), (2, np.nan), (5, -1.0), (6, -np.inf)])
def test_a_camera_without_calibration_is_named(place, value):
    info, depth = camera_info(), depth_message(depth_of(0))
    info.k, info.p[place] = [0.0] * 9, value
    depth.header.frame_id = FRAME
    with pytest.raises(ImageError, match=r'info is not calibrated: .* positive'):
        read_depth(serialize_message(depth), FRAME, info)


def test_an_unknown_class_is_named(cell):
    assert not cell.configure(points='depth', points_classes=['unicorn'])
    status = cell.bench.wait_for_status("points_classes has 'unicorn'")
    assert LABELS[0] in status.message


@given(seed=st.integers(0, 1000), order=st.permutations(range(3)), gap=st.integers(0, 5),
       kind=st.sampled_from(['<f4', '<f8', '>f4', '>f8']), ratio=st.sampled_from([1, 2, 3, -2]),
       padding=st.integers(0, 9), stride=st.integers(1, 3), organized=st.booleans(),
       block=st.sampled_from([1, 15, 2**15]))
def test_clouds_of_any_layout_are_read(seed, order, gap, kind, ratio, padding, stride, organized,
                                       block):
    rng, size = np.random.default_rng(seed), (4, 6)
    larger = tuple(extent * abs(ratio) for extent in size)
    cloud_size, mask_size = (larger, size) if ratio > 0 else (size, larger)
    coordinates = rng.uniform(-2, 9, (3, *cloud_size)).astype(np.float32)
    for values in coordinates:
        values[rng.random(cloud_size) < 0.1] = rng.choice([np.nan, np.inf, -np.inf])
    width = np.dtype(kind).itemsize
    cloud = cloud_message(*coordinates, [kind] * 3, [gap + place * width for place in order],
                          gap + 3 * width + padding, padding)
    cloud.header.frame_id = FRAME
    mask = rng.integers(0, 4, mask_size, np.uint8)
    with patch.object(points_module, '_BLOCK', block):  # several blocks of rows, or one
        projector = PointProjector(mask_size, np.uint8, PointOptions(
            stride, 0.5, 7.0, organized, (0, 2), colors=np.eye(4, 3, dtype=np.uint8)))
    for _ in range(2):  # the buffers are reused
        count = projected(projector, cloud, mask)
    v, u = np.mgrid[:mask_size[0]:stride, :mask_size[1]:stride]
    v, u = (v * ratio + ratio // 2, u * ratio + ratio // 2) if ratio > 0 else \
        (v // -ratio, u // -ratio)
    expected, mask = coordinates[:, v, u], mask[::stride, ::stride]
    kept = (np.isfinite(expected).all(0) & (expected[2] >= 0.5) & (expected[2] <= 7)
            & (mask % 2 == 0))
    expected = np.where(kept, expected, np.nan)
    assert count == kept.sum()
    shown = np.s_[:] if organized else kept
    out = np.empty(projector.points.dtype.itemsize * mask[shown].size, np.uint8)
    projector.write(count, out)
    points = out.view(projector.points.dtype).reshape(mask[shown].shape)
    for axis, name in enumerate('xyz'):
        np.testing.assert_array_equal(points[name], expected[axis][shown])
    np.testing.assert_array_equal(points['class_id'], mask[shown])


@pytest.mark.parametrize(('change', 'sentence'), [
    ({'width': 0, 'row_step': 0, 'data': array('B', bytes(0))}, 'not organized: it is 0x4'),
    ({'data': array('B', bytes(383))}, 'point_step 16 and row_step 96, but it has 383 bytes'),
    ({'row_step': 95}, 'row_step 95, but it has 384 bytes'),
    ({'fields': []}, "no field 'x'; its fields are none"),
    ({'fields': [PointField(name='x', datatype=PointField.INT16, count=1)]},
     "field 'x' of the cloud has datatype 3 and count 1; it must be one FLOAT32"),
    ({'fields': [PointField(name='x', datatype=PointField.FLOAT64, count=2)]}, 'count 2'),
    ({'fields': [PointField(name='x', datatype=PointField.FLOAT32, count=1, offset=13)]},
     "field 'x' of the cloud ends at byte 17 of a point, but point_step is 16")])
def test_a_bad_cloud_is_named(change, sentence):
    cloud = cloud_message(*np.ones((3, 4, 6)))
    cloud.header.frame_id = FRAME
    for name, value in change.items():
        setattr(cloud, name, value)
    with pytest.raises(ImageError, match=re.escape(sentence)):
        projected(PointProjector((4, 6), np.uint8, PointOptions()), cloud,
                  np.zeros((4, 6), np.uint8))


def projected(projector, cloud, mask):
    return projector.take(read_cloud(serialize_message(cloud), FRAME), mask)


def values_after(bench, published):
    """Return the values on /diagnostics once so many clouds are counted: a cloud is counted after
    it is published."""
    bench.spin_until(lambda: int(values_of(bench)['points published']) >= published, 'the count')
    values = values_of(bench)
    assert int(values['points published']) == published
    return values


def values_of(bench, camera=''):
    return {value.key: value.value for value in bench.status(camera).values}
