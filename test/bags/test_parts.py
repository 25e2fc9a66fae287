# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Parts cover a topic without gaps or overlaps, and are segmented once."""

from itertools import pairwise

import numpy as np

from trt_segmentation.bags.parts import (
    FRAMES_PER_PART,
    BagWork,
    plan,
    read_report,
    segment_part,
    segment_parts,
)
from trt_segmentation.images.rosbag import ImageTopic
from trt_segmentation.offline import thread_segmenter
from trt_segmentation.offline.overlap import LaneCount
from trt_segmentation.segmenter import Segmenter


def test_parts_hold_every_message_once_and_in_order(drive):
    with ImageTopic(drive) as topic:
        parts = plan(topic)
        counts = [len(list(topic.messages(part.start, part.stop))) for part in parts]
        assert sum(counts) == topic.count
        assert max(counts) <= FRAMES_PER_PART + 1
    assert all(first.stop == second.start for first, second in pairwise(parts))


def test_messages_of_one_instant_stay_together(tmp_path, bag_writer):
    with bag_writer(tmp_path / 'still', 'MCAP') as bag:
        bag.period = 0
        for _ in range(60):
            bag.write('/camera', bag.image(np.zeros((2, 2, 3), np.uint8)))
    with ImageTopic(bag.path) as topic:
        counts = [len(list(topic.messages(part.start, part.stop))) for part in plan(topic)]
    assert sorted(counts)[-1] == sum(counts) == 60


def test_a_part_is_the_same_in_a_folder_and_in_a_row(short_drive, tmp_path):
    work = BagWork(short_drive, '', tmp_path, ('mask',), LaneCount(2, 2),
                   lambda device: Segmenter.open())
    with ImageTopic(short_drive) as topic:
        parts = plan(topic)
    alone = segment_part(work, parts[1])
    assert read_report(parts[1].folder(work)) == alone
    written = []

    def write(received, header, arrays, report):
        written.append((received, header, arrays['mask'].copy()))

    reports = list(segment_parts(work, parts, write))
    thread_segmenter.release()
    assert reports[1] == alone
    assert [report.index for report in reports] == [0, 1, 2]
    assert 18 <= alone.frames <= 22
    assert alone.dropped == []
    assert len(written) == sum(report.frames for report in reports) == 60
    assert [received for received, *_ in written] == sorted(received for received, *_ in written)
