# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The requirements of Nav2's semantic segmentation layer, checked as it reads the messages.

The rules are those of semantic_segmentation_layer's segmentation_buffer.cpp: mask, confidence and
point cloud are matched by exact stamp, indexed ``data[v * width + u]`` whatever ``step`` says,
and nothing is used before a LabelInfo has come, whose classes are keyed by name.
"""

import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data

from trt_segmentation.demo.clip import LABELS, read_frame

vision_msgs = pytest.importorskip('vision_msgs.msg')
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE,
                     durability=DurabilityPolicy.TRANSIENT_LOCAL)


def test_mask_and_confidence_are_what_nav2_reads(make_bench, image_message):
    bench = make_bench()
    bench.listen('mask', 'confidence', qos=qos_profile_sensor_data)
    scenes = [read_frame(number, 180, 320) for number in range(3)]
    for scene in scenes:
        stamp = bench.send(image_message(scene.image))
        mask, confidence = bench.answer('mask', stamp), bench.answer('confidence', stamp)
        assert mask.header == confidence.header
        assert (mask.width, mask.height) == (confidence.width, confidence.height) == (320, 180)
        assert len(mask.data) == len(confidence.data) == 320 * 180
        v, u = np.mgrid[:180, :320]
        classes = np.frombuffer(mask.data, np.uint8)[v * mask.width + u]
        assert np.mean(classes == scene.labels) > 0.9
        assert set(np.unique(classes)) <= {*range(len(LABELS)), 255}


def test_label_info_is_latched_for_who_comes_late(make_bench):
    bench = make_bench()
    bench.wait_until_active()
    bench.wait_until_met()
    infos = []
    bench.node.create_subscription(vision_msgs.LabelInfo, 'segmentation/label_info',
                                   infos.append, LATCHED)
    bench.spin_until(lambda: infos, 'label info')
    classes = {entry.class_id: entry.class_name for entry in infos[0].class_map}
    assert classes == dict(enumerate(LABELS))
    assert len(set(classes.values())) == len(infos[0].class_map)
    assert max(classes) <= 255
    assert infos[0].threshold == pytest.approx(0.5)


def test_the_id_of_no_class_gets_a_name_on_request(make_bench):
    bench = make_bench(label_unlabelled='unlabelled')
    infos = bench.collect(vision_msgs.LabelInfo, 'segmentation/label_info', LATCHED)
    bench.spin_until(lambda: infos, 'label info')
    assert [(entry.class_id, entry.class_name) for entry in infos[0].class_map] == [
        *enumerate(LABELS), (255, 'unlabelled')]


def test_the_name_of_no_class_must_be_unique(make_bench):
    bench = make_bench(label_unlabelled=LABELS[2])
    status = bench.wait_for_status('label_unlabelled')
    assert f"'{LABELS[2]}', which is also the name of class 2" in status.message
