# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""~/points over real DDS, and the rules of Nav2's semantic segmentation layer for the cloud.

The rules are those of github.com/kiwicampus/semantic_segmentation_layer at commit a70cf6e:
``semantic_segmentation_layer.cpp`` (subscriptions of best effort, exact stamps, equal numbers of
pixels and points) and ``segmentation_buffer.cpp`` (pixel ``v * width + u`` belongs to the point of
that number, points whose z is not finite are skipped, ids are looked up by name).
"""

from array import array
from pathlib import Path

import numpy as np
import pytest
import yaml
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField

from trt_segmentation.demo.clip import LABELS, read_frame

ROOT = Path(__file__).parents[2]
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE,
                     durability=DurabilityPolicy.TRANSIENT_LOCAL)
HEIGHT, WIDTH = 90, 160
FX, FY, CX, CY = 150.0, 151.0, 79.3, 44.8
FRAME = 'camera_color_optical_frame'
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


class DepthCamera:
    """Publishes images with depth for a node, and receives its points."""

    def __init__(self, bench, *outputs):
        self.bench = bench
        self.depth = bench.node.create_publisher(Image, 'depth/image', qos_profile_sensor_data)
        self.info = bench.node.create_publisher(CameraInfo, 'depth/camera_info',
                                                qos_profile_sensor_data)
        # The subscription of the layer.
        self.clouds = bench.collect(PointCloud2, 'segmentation/points', qos_profile_sensor_data)
        bench.listen(*outputs, qos=qos_profile_sensor_data)
        bench.spin_until(self.depth.get_subscription_count, 'its depth subscription')
        bench.spin_until(self.info.get_subscription_count, 'its camera_info subscription')
        bench.wait_until_met()

    def send(self, image, depth, encoding='32FC1', frame_id=FRAME, later=0, info=True):
        """Send an image with its depth; return the stamp of the image."""
        if info:
            self.info.publish(camera_info())
        stamp = self.bench.send(image)
        height, width = depth.shape
        msg = Image(height=height, width=width, encoding=encoding, step=depth.nbytes // height,
                    data=array('B', depth.tobytes()))
        msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(stamp + later, 10**9)
        msg.header.frame_id = frame_id
        self.depth.publish(msg)
        return stamp

    def cloud(self, stamp, stamp_of):
        self.bench.spin_until(lambda: [each for each in self.clouds if stamp_of(each) == stamp],
                              'points')
        return next(each for each in self.clouds if stamp_of(each) == stamp)


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


def test_the_costmap_parameters_make_persons_lethal(make_bench, image_message, stamp_of):
    vision_msgs = pytest.importorskip('vision_msgs.msg')
    tree = yaml.safe_load((ROOT / 'config' / 'nav2_semantic.yaml').read_text())
    layer = tree['local_costmap']['local_costmap']['ros__parameters'][
        'semantic_segmentation_layer']
    source = layer['camera']
    bench = make_bench(points='depth', mask_height=HEIGHT // 2, mask_width=WIDTH // 2)
    infos = bench.collect(vision_msgs.LabelInfo, 'segmentation/label_info', LATCHED)
    camera = DepthCamera(bench, 'mask', 'confidence')
    bench.spin_until(lambda: infos, 'label info')
    for key, topic in (('segmentation_topic', 'mask'), ('confidence_topic', 'confidence'),
                       ('labels_topic', 'label_info'), ('pointcloud_topic', 'points')):
        assert source[key] == f'/segmentation/{topic}'
        assert bench.node.count_publishers(f'{bench.namespace}{source[key]}') == 1
    costs = costs_by_id(infos[0], source)  # every class has a cost
    scene, depth = max((read_frame(number, HEIGHT, WIDTH) for number in range(3)),
                       key=lambda each: np.sum(each.labels == LABELS.index('person'))), depth_of(5)
    stamp = camera.send(image_message(scene.image), depth)
    mask = bench.answer('mask', stamp)
    found = seen_costs(mask, bench.answer('confidence', stamp), camera.cloud(stamp, stamp_of),
                       costs, source)
    near = (depth[1::2, 1::2] > 0).ravel()  # the depth pixel of each mask pixel
    assert found and set(found) <= set(np.flatnonzero(near))
    for pixel, cost in found.items():
        name = LABELS[mask.data[pixel]]
        assert cost == {'person': 254, 'vegetation': 160, 'road': 0}.get(name, cost)
    assert costs[LABELS.index('person')] == 254
    assert source['expensive']['max_cost'] == 160 and 'grass' in source['expensive']['classes']


def test_mask_and_points_are_what_nav2_reads(make_bench, image_message, stamp_of):
    bench = make_bench(points='depth', points_rgb=True)
    camera = DepthCamera(bench, 'mask', 'confidence')
    for number in range(2):
        depth = depth_of(number)
        millimetres = np.round(depth * 1000).astype(np.uint16)
        stamp = camera.send(image_message(read_frame(number, HEIGHT, WIDTH).image), millimetres,
                            '16UC1')
        mask, confidence = bench.answer('mask', stamp), bench.answer('confidence', stamp)
        cloud = camera.cloud(stamp, stamp_of)
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
    assert int(values_of(bench)['points published']) == 2


def test_dense_points_have_only_the_wanted_classes(make_bench, image_message, stamp_of):
    bench = make_bench(points='depth', points_organized=False, points_stride=2,
                       points_classes=f'[{LABELS[0]}]', points_range='[1.0, 5.0]',
                       points_tolerance=0.01, mask_encoding='mono16')
    camera = DepthCamera(bench)
    for number in range(2):  # nobody subscribes to the mask
        scene, depth = read_frame(number, HEIGHT, WIDTH), depth_of(number)
        cloud = camera.cloud(camera.send(image_message(scene.image), depth, later=-5_000_000),
                             stamp_of)
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


def test_bad_depth_is_counted_and_named_and_the_mask_goes_on(make_bench, image_message, stamp_of):
    bench = make_bench(points='depth')
    camera = DepthCamera(bench, 'mask')
    image, depth = image_message(read_frame(0, HEIGHT, WIDTH).image), depth_of(0)
    for _ in range(3):  # these wait for their camera_info
        bench.answer('mask', camera.send(image, depth, info=False))
    cases = [
        ({'info': False}, depth, 'no camera_info on /'),
        ({'frame_id': 'depth_frame'}, depth, "frame_id 'depth_frame'"),
        ({'encoding': '8UC4'}, depth, "encoding '8UC4'"),
        ({}, np.ones((50, 60), np.float32), 'of an image of 160x90, but the depth image is 60x50'),
        ({'later': 3_000_000}, depth, 'is 0.003000 s from the image; points_tolerance is 0 s'),
        ({}, np.full_like(depth, np.nan), 'no depth is valid')]
    for options, pixels, sentence in cases:
        bench.answer('mask', camera.send(image, pixels, **options))
        bench.wait_for_status(sentence)
    values = values_of(bench)
    assert int(values['points dropped, bad_depth']) >= 4
    assert int(values['points dropped, no_depth']) >= 1
    assert int(values['points published without valid depth']) == 1
    points = points_of(camera.cloud(camera.send(image, depth), stamp_of))
    np.testing.assert_allclose(points['z'], pinhole_model(depth)[2], rtol=1e-6)
    assert 'no points' in bench.log()
    bench.spin_until(lambda: bench.status().message == 'segmenting', 'a normal status')


def test_an_unknown_class_is_named(make_bench):
    bench = make_bench(points='depth', points_classes='[unicorn]')
    status = bench.wait_for_status("points_classes has 'unicorn'")
    assert LABELS[0] in status.message


def values_of(bench):
    return {value.key: value.value for value in bench.status().values}
