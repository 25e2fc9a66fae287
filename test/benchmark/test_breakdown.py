# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Time of each part of infer, measured by the runtimes' profilers."""

import numpy as np
import pytest

from trt_segmentation.benchmark.breakdown import PARTS, part_of, split_ms
from trt_segmentation.errors import BackendError
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

IMAGE = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)


@pytest.mark.parametrize(('layer', 'part'), [
    ('head/Cast_0', 'head'), ('tail/Gather_3 + tail/Cast_4', 'tail'),
    ('network//stem/Conv', 'network'), ('network/head/Conv', 'network'),
    ('{ForeignNode[head/Cast_0...network//stem/Conv]}', 'network'),
    ('{ForeignNode[tail/Mul_2...tail/Cast_9]}', 'tail'),
    ('Reformatting CopyNode for Output Tensor 0 to tail/Cast_9', 'tail'),
    ('Conv_17', 'network'), ('', 'network')])
def test_a_layer_belongs_to_the_part_whose_prefix_it_has(layer, part):
    assert part_of(layer) == part


def test_onnx_runtime_measures_head_network_and_tail():
    split = split_ms(Segmenter.open(options=RunOptions('onnxruntime')), IMAGE, ('mask',), 2)
    assert set(split) == {'head', 'network', 'tail'}
    assert min(split.values()) > 0


def test_outputs_that_are_not_requested_are_not_profiled():
    segmenter = Segmenter.open(options=RunOptions('onnxruntime'))
    mask, both = (segmenter.layer_times(IMAGE, outputs, 1)[0]
                  for outputs in (('mask',), ('mask', 'overlay')))
    assert len(mask) < len(both)


def test_a_profile_leaves_the_segmenter_as_it_is():
    segmenter = Segmenter.open(options=RunOptions('onnxruntime'))
    before = segmenter.infer(IMAGE).mask.copy()
    assert len(segmenter.layer_times(IMAGE, ('mask',), 3)) == 3
    np.testing.assert_array_equal(segmenter.infer(IMAGE).mask, before)


def test_tensorrt_measures_all_parts_and_keeps_its_cuda_graph(gpu, tensorrt):
    segmenter = Segmenter.open(options=RunOptions('tensorrt'))
    before = segmenter.infer(IMAGE).mask.copy()
    split = split_ms(segmenter, IMAGE, ('mask',), 2)
    assert tuple(split) == PARTS
    times = segmenter.gpu_times(IMAGE, ('mask',), 1)
    assert set(times) == {'copy_in', 'run', 'copy_out'}
    enqueued = gpu.counts['enqueued']
    np.testing.assert_array_equal(segmenter.infer(IMAGE).mask, before)
    assert gpu.counts['enqueued'] == enqueued  # the graph is launched, nothing is enqueued again
    segmenter.close()
    gpu.assert_all_is_freed()


@pytest.mark.parametrize('measure', ['gpu_times', 'layer_times'])
def test_images_are_segmented_after_a_failed_measurement(gpu, tensorrt, measure, monkeypatch):
    gpu.fail('capture', 99)  # so that TensorRT enqueues every run
    segmenter = Segmenter.open(options=RunOptions('tensorrt'))
    before = segmenter.infer(IMAGE).mask.copy()
    repeated = segmenter._repeated

    def repeated_before_a_failure(*args):
        images = repeated(*args)
        gpu.fail('enqueue')
        return images

    monkeypatch.setattr(segmenter, '_repeated', repeated_before_a_failure)
    with pytest.raises(BackendError, match='cannot run the engine'):
        getattr(segmenter, measure)(IMAGE, ('mask',), 1)
    np.testing.assert_array_equal(segmenter.infer(IMAGE).mask, before)


def test_the_profiler_is_a_tensorrt_profiler(monkeypatch):
    module = pytest.importorskip('tensorrt_rtx')
    from trt_segmentation.backends.tensorrt import stage
    monkeypatch.setattr(stage, 'find_tensorrt', lambda: module)
    profiler = stage.make_profiler()
    profiler.report_layer_time('head/Cast_0', 0.5)
    profiler.report_layer_time('head/Cast_0', 0.25)
    assert isinstance(profiler, module.IProfiler)
    assert profiler.times == {'head/Cast_0': 0.75}
