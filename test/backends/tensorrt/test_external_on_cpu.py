# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Head and tail on the CPU around an engine: controls, memory and failures.

That the results are right is in test_external_engine, for every kind of engine.
"""

import numpy as np
import pytest

from trt_segmentation.errors import BackendError
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

WEIGHTS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)


@pytest.fixture
def segmenter(networks, tensorrt, gpu, tmp_path):
    del tensorrt.module.Builder
    path = tmp_path / 'net.plan'
    path.write_bytes(tensorrt.plan(networks.pointwise(WEIGHTS, (32, 48))))
    segmenter = Segmenter.open(path, config=networks.config_of(
        input={'color': 'bgr', **networks.PASSED_THROUGH}),
        options=RunOptions('tensorrt', measure=False))
    yield segmenter
    segmenter.close()
    gpu.assert_all_is_freed()


def test_only_the_image_fed_and_the_scores_cross_the_bus(networks, segmenter, gpu):
    for size in ((32, 48), (40, 60), (32, 48)):
        segmenter.infer(networks.random_image(*size), outputs=('mask', 'overlay'))
    assert (gpu.counts['copied in'], gpu.counts['copied out']) == (3, 3)
    assert (gpu.counts['allocated'], gpu.counts['contexts']) == (2, 1)


def test_opacity_and_colours_change_with_the_next_image(networks, segmenter):
    image = networks.random_image(32, 48)
    colors = segmenter.spec.palette.table('bgr')[image.argmax(axis=2)]
    for alpha in (0, 1, 0.5):
        segmenter.overlay_alpha = alpha
        overlay = segmenter.infer(image, outputs=('overlay',)).overlay
        assert np.abs(overlay - (image + alpha * (colors.astype(float) - image))).max() <= 1


def test_idle_threads_do_not_spin_between_images(segmenter):
    for graph in (segmenter._session._head, segmenter._session._tail):
        options = graph._session.get_session_options()
        assert options.get_session_config_entry('session.intra_op.allow_spinning') == '0'


def test_after_a_failure_the_next_image_has_a_new_context(networks, segmenter, gpu):
    image = networks.random_image(32, 48)
    segmenter.infer(image)
    contexts = gpu.counts['contexts']
    gpu.fail('enqueue')
    with pytest.raises(BackendError, match=r'cannot run the engine: .* CUDA launch failure'):
        segmenter.infer(image)
    np.testing.assert_array_equal(segmenter.infer(image).mask, image.argmax(axis=2))
    assert gpu.counts['contexts'] == contexts + 1


def test_a_lack_of_memory_leaves_none_behind(networks, segmenter, gpu):
    gpu.total = 30_000
    with pytest.raises(BackendError, match='MB left'):
        segmenter.infer(networks.random_image(32, 48))
    assert gpu.memory == {}
    gpu.total = 300_000
    segmenter.infer(networks.random_image(32, 48))
