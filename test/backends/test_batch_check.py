# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Networks that take several images but look at them as if they were one are found out."""

import numpy as np
import onnx
import pytest
from onnx import helper

from trt_segmentation.backends.batch_check import check_independence
from trt_segmentation.errors import ModelError
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter, demo_model

SIZE = 32, 48
MIXES = 'gives an image in a batch of 2 another result than alone, so that it mixes images; ' \
        'export it with a dynamic batch axis, or run one node for each camera$'


def against_the_brightest(networks):
    """Each pixel against the brightest of all images."""
    return networks.against_the_brightest(SIZE)


def in_another_order(networks):
    """The scores of the first image are those of the last."""
    slicing = {'last': np.array([-1]), 'before': np.array([-2**40]), 'axis': np.array([0]),
               'back': np.array([-1])}
    return networks.ending(SIZE, [helper.make_node('Slice', ['sums', *slicing], ['scores'])],
                           slicing)


def mean_of_tokens(networks):
    """Less the mean over what it believes to be the tokens of one image."""
    node = helper.make_node
    return networks.ending(SIZE, [
        node('Transpose', ['sums'], ['last'], perm=[0, 2, 3, 1]),
        node('Reshape', ['last', 'tokens'], ['flat']),
        node('Unsqueeze', ['flat', 'zero'], ['sequence']),
        node('ReduceMean', ['sequence'], ['mean'], axes=[1]),
        node('Sub', ['sequence', 'mean'], ['without']),
        node('Reshape', ['without', 'map'], ['again']),
        node('Transpose', ['again'], ['scores'], perm=[0, 3, 1, 2])],
        {'tokens': np.array([-1, 3]), 'zero': np.array([0]), 'map': np.array([-1, *SIZE, 3])})


MIXING = pytest.mark.parametrize('make', [against_the_brightest, in_another_order,
                                          mean_of_tokens])


def test_every_kind_passes(networks):
    for make in (*networks.SEEING.values(), lambda: onnx.load(demo_model())):
        check_independence(networks.spec_of(make(), 3))


@MIXING
def test_a_network_that_mixes_images_is_refused(networks, make):
    check_independence(networks.spec_of(make(networks), 1))  # alone it is well
    with pytest.raises(ModelError, match='^net.onnx: ' + MIXES):
        check_independence(networks.spec_of(make(networks), 3))


@MIXING
def test_opening_finds_out(networks, make, tmp_path):
    path = tmp_path / 'net.onnx'
    onnx.save(make(networks), path)
    Segmenter.open(path, options=RunOptions('onnxruntime')).close()
    with pytest.raises(ModelError, match=MIXES):
        Segmenter.open(path, options=RunOptions('onnxruntime', batch=3))


def test_a_network_that_does_not_run_says_so(networks):
    model = networks.ending(SIZE, [helper.make_node('Gather', ['sums', 'gone'], ['scores'],
                                                    axis=1)], {'gone': np.array([0, 1, 7])})
    with pytest.raises(ModelError, match=r'^net.onnx: does not run on an input of '
                                         r'\[1, 3, 32, 48\] \(.*; set input.size$'):
        check_independence(networks.spec_of(model, 2))
