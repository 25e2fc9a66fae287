# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The exponential mean of the class probabilities, compared with NumPy."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trt_segmentation.graph.pipeline.prepare import MASK_INTERPOLATIONS, prepare

SIZE = 6, 5
SEEDS = st.integers(0, 2 ** 16)
FOR_CPU = pytest.mark.parametrize('for_cpu', [False, True], ids=['for TensorRT', 'for the CPU'])


def run(networks, values, previous, weight, *, for_cpu, kind='logits', outputs=None, **options):
    """Return the outputs of a network with output ``values`` [1, C, h, w] by name."""
    spec = replace(networks.spec_of(networks.fixed(values), output={'kind': kind}),
                   smoothing=True)
    prepared = prepare(spec, outputs, for_cpu=for_cpu, **options)
    onnx.checker.check_model(prepared.model)
    session = onnxruntime.InferenceSession(prepared.model.SerializeToString(),
                                           providers=['CPUExecutionProvider'])
    fed = {'image': networks.random_image(*spec.size)[None],
           'channels': np.array(spec.channels('bgr'), np.int32),
           'palette': spec.palette_table('bgr'), 'alpha': np.array(0.5, np.float32),
           'previous': previous, 'smoothing': np.array(weight, np.float32)}
    names = [value.name for value in session.get_outputs()]
    found = session.run(None, {each.name: fed[each.name] for each in session.get_inputs()})
    return dict(zip(names, found, strict=True))


def random_state(networks, channels, seed):
    return networks.softmax(networks.random_scores(channels, *SIZE, seed)[0])[None] \
        .astype(np.float32)


@FOR_CPU
@given(channels=st.integers(2, 9), weight=st.floats(0, 0.95), seed=SEEDS)
def test_the_state_is_the_mean_of_softmax_and_the_previous_state(networks, for_cpu, channels,
                                                                 weight, seed):
    scores = networks.random_scores(channels, *SIZE, seed)
    previous = random_state(networks, channels, seed + 1)
    found = run(networks, scores, previous, weight, for_cpu=for_cpu)
    wanted = weight * previous[0] + (1 - weight) * networks.softmax(scores[0])
    np.testing.assert_allclose(found['state'][0], wanted, atol=1e-6)
    highest = np.sort(wanted, axis=0)
    certain = highest[-1] - highest[-2] > 1e-5
    np.testing.assert_array_equal(found['mask'][0][certain], wanted.argmax(axis=0)[certain])
    difference = found['confidence'][0].astype(int) - networks.as_byte(wanted.max(axis=0))
    assert np.abs(difference).max() <= 1


@FOR_CPU
@pytest.mark.parametrize(('kind', 'channels'), [('probabilities', 4), ('sigmoid', 3),
                                                ('logits', 1), ('sigmoid', 1)])
def test_all_kinds_of_scores_are_smoothed(networks, for_cpu, kind, channels):
    random = np.random.default_rng(channels)
    values = random.random((1, channels, *SIZE), np.float32)
    previous = random.random((1, channels, *SIZE), np.float32)
    found = run(networks, values, previous, 0.7, for_cpu=for_cpu, kind=kind)
    current = 1 / (1 + np.exp(-values)) if kind == 'logits' else values
    wanted = (0.7 * previous + 0.3 * current)[0]
    np.testing.assert_allclose(found['state'][0], wanted, atol=1e-6)
    ids = (wanted[0] >= 0.5) if channels == 1 else wanted.argmax(axis=0)
    if kind == 'sigmoid' and channels > 1:
        ids = np.where(wanted.max(axis=0) < 0.5, 255, ids)
    np.testing.assert_array_equal(found['mask'][0], ids)


@FOR_CPU
@pytest.mark.parametrize('interpolation', MASK_INTERPOLATIONS)
def test_without_weight_the_mask_is_that_of_the_image_alone(networks, for_cpu, interpolation):
    scores = networks.random_scores(5, *SIZE, 3)
    options = {'for_cpu': for_cpu, 'mask_interpolation': interpolation}
    found = run(networks, scores, np.zeros_like(scores), 0, **options)
    spec = networks.spec_of(networks.fixed(scores), output={'kind': 'logits'})
    alone = networks.Runner(prepare(spec, **options))(networks.random_image(*spec.size))
    np.testing.assert_array_equal(found['mask'][0], alone['mask'])


@FOR_CPU
def test_a_pixel_without_probabilities_keeps_its_state(networks, for_cpu):
    scores = networks.random_scores(3, *SIZE, 1)
    scores[0, 1, 2, 3] = np.nan
    scores[0, :, 4, 1] = -np.inf
    scores[0, 0, 0, 0] = -np.inf  # excludes one class
    previous = random_state(networks, 3, 2)
    found = run(networks, scores, previous, 0.5, for_cpu=for_cpu)
    assert np.isfinite(found['state']).all()
    assert (found['mask'][0, [2, 4], [3, 1]] == 255).all()
    for row, column in ((2, 3), (4, 1)):
        np.testing.assert_array_equal(found['state'][0, :, row, column],
                                      previous[0, :, row, column])
    assert found['state'][0, 0, 0, 0] == pytest.approx(previous[0, 0, 0, 0] / 2)
    assert found['mask'][0, 0, 0] != 255


@FOR_CPU
@pytest.mark.parametrize('output', ['mask', 'confidence', 'overlay'])
def test_every_output_alone_gives_the_same_state(networks, for_cpu, output):
    scores, previous = networks.random_scores(4, *SIZE, 5), random_state(networks, 4, 6)
    everything = run(networks, scores, previous, 0.6, for_cpu=for_cpu)
    found = run(networks, scores, previous, 0.6, for_cpu=for_cpu, outputs=(output,))
    assert set(found) == {output, 'state'}
    for name in found:
        np.testing.assert_array_equal(found[name], everything[name])


def test_without_smoothing_the_graph_has_no_state(networks):
    spec = networks.spec_of(networks.fixed(networks.random_scores(3, *SIZE, 1)))
    model = prepare(spec).model
    assert {value.name for value in model.graph.input} == {'image', 'channels', 'palette',
                                                           'alpha'}
    assert 'state' not in {value.name for value in model.graph.output}
