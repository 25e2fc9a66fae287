# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Ids that a table or a shift gives, against the names of the classes and the mask's type."""

import numpy as np
import pytest
from onnx import TensorProto

from trt_segmentation.errors import ConfigError
from trt_segmentation.graph.onnx_tools.network import describe_network
from trt_segmentation.graph.reading.id_count import IdCount, count_ids
from trt_segmentation.graph.reading.resolve import with_mask
from trt_segmentation.options import RunOptions

SIZE = 8, 12
INT64, FLOAT = TensorProto.INT64, TensorProto.FLOAT


def best(op, classes=4):
    return op('ArgMax', op.conv(classes), axis=1, keepdims=0)


def table(*ids, dtype=np.int64):
    return lambda op: op('Gather', np.array(ids, dtype), best(op, len(ids)))


FOUND = {
    'the classes': (best, IdCount(4, True)),
    'a table': (table(7, 8, 11, 26), IdCount(27)),
    'a table of floats': (table(7, 8, 11, 26, dtype=np.float32), IdCount(27)),
    'a table without a class': (table(0, 1, 255, 2), IdCount(3)),
    'a shift': (lambda op: op('Add', best(op), np.int64(1)), IdCount(5)),
    'a shift in front': (lambda op: op('Add', np.int64(1000), best(op)), IdCount(1004)),
    'a shift down': (lambda op: op('Sub', best(op), np.int64(1)), IdCount(3)),
    'a shifted table': (lambda op: op('Add', table(7, 8)(op), np.int64(2)), IdCount(11)),
    'a table behind a Slice': (lambda op: op('Slice', table(7, 8)(op), np.array([0]),
                                             np.array([8]), np.array([1])), IdCount(9)),
    'a table that is cast': (lambda op: op('Cast', table(7, 8)(op), to=FLOAT), IdCount(9)),
    'half a class': (lambda op: op('Sub', op('Cast', best(op), to=FLOAT), np.float32(0.5)),
                     IdCount()),
    'numbers that are no ids': (table(0.5, 1.5, dtype=np.float32), IdCount()),
    'a threshold': (lambda op: op('Where', op('Greater', op.conv(), np.float32(0)), np.int64(7),
                                  np.int64(0)), IdCount()),
}


@pytest.mark.parametrize(('build', 'expected'), FOUND.values(), ids=list(FOUND))
def test_ids_of_the_graph(halves, build, expected):
    network = describe_network(halves.network(build, ([1, *SIZE], INT64)), 'net.onnx')
    assert count_ids(network, 'y', 255) == expected


@pytest.mark.parametrize('build', [table(7, 8, 11, 26),
                                   lambda op: op('Add', best(op, 19), np.int64(1))])
def test_names_of_another_numbering_are_refused(networks, halves, build):
    network = halves.network(build, ([1, *SIZE], INT64))
    with pytest.raises(ConfigError, match=r'19 entries, for the ids 0 to 18, but output .* gives '
                                          r'ids up to (19|26)'):
        networks.spec_of(network, classes={'preset': 'cityscapes'})


def test_names_of_more_ids_than_the_table_has(networks, halves):
    network = halves.network(table(7, 8, 11, 26), ([1, *SIZE], INT64))
    labels = [f'label {number}' for number in range(34)]
    assert networks.spec_of(network, classes={'labels': labels}).labels == tuple(labels)


@pytest.mark.parametrize('build', [table(100, 7001, 11002),
                                   lambda op: op('Add', best(op), np.int64(1000))])
def test_ids_above_those_of_the_mask(networks, halves, build):
    spec = networks.spec_of(halves.network(build, ([1, *SIZE], INT64)))
    with pytest.raises(ConfigError, match=r'needs (11003|1004) class ids, but a mono8 mask'):
        with_mask(spec, RunOptions())
    assert with_mask(spec, RunOptions(mask_encoding='mono16')).encoding.name == 'mono16'
