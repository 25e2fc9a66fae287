# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Parts cover a topic without gap or overlap, and are made once."""

from itertools import pairwise

import numpy as np

from trt_segmentation.bags.parts import FRAMES_PER_PART, Work, plan, release, segment_part
from trt_segmentation.bags.reading import ImageTopic
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


def test_a_finished_part_is_not_made_again(short_drive, tmp_path):
    def unused(device):
        raise AssertionError('opened for a part that is there')

    work = Work(short_drive, '', tmp_path, ('mask',), lambda device: Segmenter.open())
    with ImageTopic(short_drive) as topic:
        part = plan(topic)[1]
    report = segment_part(work, part)
    release()
    again = Work(short_drive, '', tmp_path, ('mask',), unused)
    assert segment_part(again, part) == report
    assert 18 <= report.frames <= 22
    assert report.dropped == []
