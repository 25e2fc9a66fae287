# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Other outputs on ONNX Runtime: the weights are in memory once, and no image waits long."""

from pathlib import Path

import output_sets
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def found(tmp_path_factory):
    """What a process measures that asks a network of 40 MB for all sets of outputs in turn."""
    model = tmp_path_factory.mktemp('sets') / 'random.onnx'
    output_sets.write_network(model, 40)
    return output_sets.measure(model, ROOT, repeats=3)


def test_all_sets_take_hardly_more_memory_than_one(found):
    assert len(found['sets']) == 7
    assert found['memory_of_all_over_one'] <= 1.3


def test_an_opened_network_keeps_its_weights_twice_at_most(found):
    """In the spec and in ONNX Runtime; neither serialised nor in freed memory."""
    taken = found['opened_mb'] - found['start_mb']
    assert taken < 2 * 40 + 60  # ONNX Runtime's library, and head and tail


def test_the_first_image_of_a_set_takes_far_less_than_opening(found):
    for row in found['sets'][1:]:
        stall = row['first_cpu_ms'] - row['least_cpu_ms']
        assert stall < found['opening_cpu_ms'] / 4, row
