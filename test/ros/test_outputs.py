# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Masks of another size, masks of a region, and PNG masks, over real DDS."""

import cv2
import numpy as np
import pytest
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage

from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

ALL = 'mask', 'confidence', 'overlay'

# An overlay is published when the file GATE is there, which is removed then; the second fails.
GATED_OVERLAYS = '-c', """
import itertools, os, time
from trt_segmentation.ros import node
from trt_segmentation.ros.image_msgs import OutgoingImage

at_once, numbers = OutgoingImage.publish, itertools.count(1)

def when_allowed(self, header, publisher):
    if publisher.topic_name.endswith('overlay'):
        while not os.path.exists(os.environ['GATE']):
            time.sleep(0.01)
        os.remove(os.environ['GATE'])
        if next(numbers) == 2:
            raise RuntimeError('refused once')
    at_once(self, header, publisher)

OutgoingImage.publish = when_allowed
raise SystemExit(node.main())
"""

ROI = 40, 20, 200, 100
INSIDE = np.s_[20:120, 40:240]


# mask_height, mask_width


@pytest.fixture(scope='module')
def small_masks(make_module_bench):
    """A node with masks of 80x45 and overlays of half the size, without CameraInfo yet."""
    bench = make_module_bench(mask_height=45, mask_width=80, overlay_scale=0.5)
    bench.infos = bench.collect(CameraInfo, 'segmentation/camera_info')
    bench.listen(*ALL)
    return bench


def test_outputs_have_the_wanted_size(small_masks, image_message, pixels_of, scene):
    stamp = small_masks.send(image_message(scene))
    options = RunOptions(mask_size=(45, 80), overlay_scale=0.5)
    expected = Segmenter.open(options=options).infer(scene, outputs=ALL)
    for output in ALL:
        msg = small_masks.answer(output, stamp)
        assert (msg.height, msg.width) == ((90, 160) if output == 'overlay' else (45, 80))
        np.testing.assert_array_equal(pixels_of(msg), expected.arrays[output])
    small_masks.spin_for(0.2)
    assert not small_masks.infos, 'the camera gives no calibration'


def test_camera_info_is_the_masks(small_masks, image_message, scene, stamp_of):
    camera = small_masks.node.create_publisher(CameraInfo, 'camera_info', qos_profile_sensor_data)
    small_masks.spin_until(lambda: camera.get_subscription_count(), 'a reader of camera_info')
    told = CameraInfo(height=180, width=320,
                      k=[300.0, 0.0, 159.5, 0.0, 300.0, 89.5, 0.0, 0.0, 1.0],
                      p=[280.0, 0.0, 160.5, -28.0, 0.0, 280.0, 88.5, 0.0, 0.0, 0.0, 1.0, 0.0])
    told.header.frame_id = 'another_frame'

    def told_and_heard():
        camera.publish(told)
        return small_masks.infos

    stamps = small_masks.send_until(image_message(scene), told_and_heard, 'camera_info')
    info = small_masks.infos[0]
    assert stamp_of(info) in stamps
    assert info.header.frame_id == 'camera_color_optical_frame'
    assert (info.height, info.width) == (45, 80)
    np.testing.assert_allclose(info.k, [75, 0, 39.5, 0, 75, 22, 0, 0, 1])
    np.testing.assert_allclose(info.p, [70, 0, 39.75, -7, 0, 70, 21.75, 0, 0, 0, 1, 0])
    stamp = small_masks.send(image_message(scene[:140]))  # no scaled image of this camera_info
    small_masks.answer('mask', stamp)
    said = 'camera_info is of an image of 320x180, but the image is 320x140'
    small_masks.spin_until(lambda: said in small_masks.log(), 'a warning')
    small_masks.spin_for(0.2)
    assert stamp not in [stamp_of(each) for each in small_masks.infos]


def test_masks_as_large_as_the_image_have_its_calibration(make_bench):
    bench = make_bench()
    bench.listen('mask')
    assert not bench.node.count_publishers(f'{bench.namespace}/segmentation/camera_info')
    assert not bench.node.count_subscribers(f'{bench.namespace}/camera_info')


# mask_encoding


def test_masks_of_16_bits_are_messages_and_pngs_of_16_bits(make_bench, image_message, scene):
    bench = make_bench(mask_encoding='mono16')
    pngs = bench.collect(CompressedImage, 'segmentation/mask/compressed')
    bench.listen('mask')
    stamp = bench.send(image_message(scene))
    msg = bench.answer('mask', stamp)
    assert (msg.encoding, msg.step, msg.is_bigendian) == ('mono16', 2 * msg.width, 0)
    mask = np.frombuffer(msg.data, '<u2').reshape(msg.height, msg.width)
    np.testing.assert_array_equal(mask, Segmenter.open().infer(scene).mask)
    bench.spin_until(lambda: pngs, 'a PNG')
    assert pngs[0].format == 'mono16; png compressed '
    png = cv2.imdecode(np.frombuffer(pngs[0].data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(png, mask)


# roi


@pytest.fixture(scope='module')
def region_bench(make_module_bench):
    bench = make_module_bench(roi=list(ROI))
    bench.listen(*ALL)
    return bench


@pytest.mark.parametrize('encoding', ['bgr8', 'rgb8'])
def test_only_the_region_is_segmented(region_bench, image_message, pixels_of, scene, segmenter,
                                      encoding):
    sent = scene if encoding == 'bgr8' else np.ascontiguousarray(scene[:, :, ::-1])
    stamp = region_bench.send(image_message(sent, encoding))
    crop = segmenter.infer(scene[INSIDE], outputs=ALL)
    nothing = np.zeros((180, 320), np.uint8)
    for output, outside in (('mask', ~nothing), ('confidence', nothing), ('overlay', scene)):
        expected = outside.copy()
        expected[INSIDE] = crop.arrays[output]
        np.testing.assert_array_equal(pixels_of(region_bench.answer(output, stamp)), expected)


def test_an_image_without_the_region_is_a_bad_frame(region_bench, image_message, scene):
    before = region_bench.counts()['frames dropped, bad_frame']
    region_bench.send(image_message(scene[:100]))
    region_bench.spin_until(
        lambda: region_bench.counts()['frames dropped, bad_frame'] == before + 1, 'the drop')
    assert ('frame dropped: the region of interest is 200x100 at 40, 20, but the image is 320x100'
            in region_bench.log())
    region_bench.segment(image_message(scene))


# ~/mask/compressed


def test_compressed_masks_are_exact_though_nobody_wants_raw_ones(make_bench, image_message, scene,
                                                                 segmenter, stamp_of):
    bench = make_bench()
    masks = bench.collect(CompressedImage, 'segmentation/mask/compressed')
    bench.listen()
    expected = segmenter.infer(scene).mask.copy()
    stamps = bench.send_until(image_message(scene), lambda: masks, 'a compressed mask')
    mask = masks[0]
    np.testing.assert_array_equal(
        cv2.imdecode(np.frombuffer(mask.data, np.uint8), cv2.IMREAD_UNCHANGED), expected)
    assert stamp_of(mask) in stamps
    assert mask.header.frame_id == 'camera_color_optical_frame'
    # 'ENCODING; CODEC compressed ENCODING' is what compressed_image_transport's decoder parses.
    assert mask.format == 'mono8; png compressed '


# ~/overlay/compressed


def test_overlays_are_jpegs_of_the_quality_that_is_set(make_bench, image_message, scene,
                                                       segmenter, stamp_of):
    bench = make_bench()
    jpegs = bench.collect(CompressedImage, 'segmentation/overlay/compressed')
    bench.listen()
    expected = segmenter.infer(scene, outputs=ALL).overlay.astype(int)
    stamps = bench.send_until(image_message(scene), lambda: jpegs, 'a JPEG')
    sizes = {}
    for quality, off in ((80, 6), (10, 20)):
        assert bench.set_parameter('overlay_jpeg_quality', quality).successful
        jpegs.clear()
        stamps += bench.send_until(image_message(scene), lambda: jpegs, 'a JPEG')
        jpeg = jpegs[-1]
        assert jpeg.format == 'bgr8; jpeg compressed bgr8'
        assert stamp_of(jpeg) in stamps
        assert jpeg.header.frame_id == 'camera_color_optical_frame'
        found = cv2.imdecode(np.frombuffer(jpeg.data, np.uint8), cv2.IMREAD_COLOR)
        assert np.abs(found - expected).mean() < off
        sizes[quality] = len(jpeg.data)
    assert sizes[10] < sizes[80] / 2
    assert not bench.set_parameter('overlay_jpeg_quality', 0).successful


# Publishing in a thread


def test_a_mask_waits_for_no_overlay(make_bench, image_message, pixels_of, stamp_of, scene,
                                     segmenter, tmp_path, monkeypatch):
    gate = tmp_path / 'gate'
    monkeypatch.setenv('GATE', str(gate))
    bench = make_bench(program=GATED_OVERLAYS)
    bench.listen('mask', 'overlay')
    images = [scene, scene[::-1], scene[:, ::-1]]
    stamps = [bench.send(image_message(images[0]))]
    for number, image in enumerate(images):
        expected = segmenter.infer(image, outputs=ALL)
        np.testing.assert_array_equal(pixels_of(bench.answer('mask', stamps[-1])), expected.mask)
        assert stamps[-1] not in map(stamp_of, bench.received['overlay'])
        if number < 2:  # its results must not overwrite the unpublished overlay
            stamps.append(bench.send(image_message(images[number + 1])))
            bench.spin_for(0.2)
        gate.touch()
        bench.spin_until(lambda: not gate.exists(), 'the overlay to be published')
        if number != 1:
            np.testing.assert_array_equal(pixels_of(bench.answer('overlay', stamps[number])),
                                          expected.overlay)
    assert "not published: RuntimeError('refused once')" in bench.log()
    assert stamps[1] not in map(stamp_of, bench.received['overlay'])
