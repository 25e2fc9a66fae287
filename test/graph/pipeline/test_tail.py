# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Mask, confidence and overlay of a network's output, compared with NumPy."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trt_segmentation.graph.pipeline.prepare import MASK_INTERPOLATIONS, prepare

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))
SEEDS = st.integers(0, 2 ** 16)
MAPS = ((1, 1), (5, 4), (7, 13))
"""Sizes of score maps."""

NETWORK_SIZE = (32, 40)
STRIDED = ((32, 40), (16, 20), (8, 10), (11, 14), (64, 80))
"""Sizes of score maps of a network of ``NETWORK_SIZE``: also not dividing it, and larger."""


@pytest.fixture(scope='session', params=[False, True], ids=['for TensorRT', 'for the CPU'])
def decide(networks, request):
    """Makes the outputs of a network with output ``values`` for an image of the same size."""
    def outputs_of(values, image=None, size=None, options=None, alpha=0.5, **sections):
        model = networks.fixed(values, size=size)
        spec = networks.spec_of(model, **sections)
        height, width = size or spec.size
        image = networks.random_image(height, width) if image is None else image
        prepared = prepare(spec, **{'for_cpu': request.param, **(options or {})})
        return networks.Runner(prepared)(image, alpha=alpha)

    return outputs_of


@pytest.fixture(scope='session')
def strided(networks):
    """Makes a strided network's runner and its score map for an image of its input's size."""
    weights = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [.375, .375, .375]], np.float32)

    def runner_of(stride, size, interpolation, resize='stretch'):
        model = networks.pointwise(weights, size, stride=stride)
        spec = networks.spec_of(model, input={**networks.PASSED_THROUGH, 'color': 'bgr',
                                              'resize': resize}, output={'kind': 'logits'})
        return networks.Runner(prepare(spec, mask_interpolation=interpolation))

    def scores_of(stride, image):
        return image[::stride, ::stride].astype(np.float32) @ weights.T

    return runner_of, scores_of


def clear_winner(scores, margin=1e-2):
    """Where the two highest of scores [h, w, C] are not nearly the same."""
    highest = np.sort(scores, axis=2)
    return highest[..., -1] - highest[..., -2] > margin


def assert_same_where(mask, wanted, certain):
    assert certain.mean() > 0.5
    np.testing.assert_array_equal(mask[certain], wanted[certain])


def assert_close_bytes(found, wanted, tolerance=1):
    assert found.dtype == wanted.dtype == np.uint8
    assert np.abs(found.astype(int) - wanted.astype(int)).max() <= tolerance


# Decision ----------------------------------------------------------------------------------


@given(channels=st.integers(2, 9), seed=SEEDS)
def test_logits(networks, decide, channels, seed):
    scores = networks.random_scores(channels, 6, 5, seed)
    result = decide(scores, output={'kind': 'logits'})
    np.testing.assert_array_equal(result['mask'], scores[0].argmax(axis=0))
    assert_close_bytes(result['confidence'],
                       networks.as_byte(networks.softmax(scores[0]).max(axis=0)))


def test_logits_of_any_magnitude_do_not_overflow(decide):
    scores = np.array([[1e4, -1e4, 3e38], [0, 0, -3e38]], np.float32).reshape(1, 2, 3, 1)
    result = decide(scores, output={'kind': 'logits'})
    assert result['mask'].ravel().tolist() == [0, 1, 0]
    assert result['confidence'].ravel().tolist() == [255, 255, 255]


@given(channels=st.integers(2, 9), seed=SEEDS)
def test_probabilities(networks, decide, channels, seed):
    scores = networks.softmax(networks.random_scores(channels, 6, 5, seed), 1).astype(np.float32)
    result = decide(scores, output={'kind': 'probabilities'})
    np.testing.assert_array_equal(result['mask'], scores[0].argmax(axis=0))
    assert_close_bytes(result['confidence'], networks.as_byte(scores[0].max(axis=0)))


@given(threshold=st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]), channels=st.integers(2, 9),
       seed=SEEDS)
def test_sigmoid_of_several_classes(networks, decide, threshold, channels, seed):
    scores = networks.sigmoid(networks.random_scores(channels, 6, 5, seed)).astype(np.float32)
    result = decide(scores, output={'kind': 'sigmoid', 'threshold': threshold})
    highest = scores[0].max(axis=0)
    counts = highest >= np.float32(threshold)
    np.testing.assert_array_equal(result['mask'], np.where(counts, scores[0].argmax(axis=0), 255))
    assert_close_bytes(result['confidence'],
                       np.where(counts, networks.as_byte(highest), 0).astype(np.uint8))


@given(kind=st.sampled_from(['logits', 'sigmoid', 'probabilities']),
       threshold=st.sampled_from([0.2, 0.5, 0.8]), seed=SEEDS)
def test_one_channel_is_background_and_foreground(networks, decide, kind, threshold, seed):
    scores = networks.random_scores(1, 6, 5, seed)
    probability = networks.sigmoid(scores[0, 0])
    told = scores if kind == 'logits' else probability[None, None].astype(np.float32)
    result = decide(told, output={'kind': kind, 'threshold': threshold})
    foreground = probability >= threshold
    np.testing.assert_array_equal(result['mask'], foreground)
    assert_close_bytes(result['confidence'],
                       networks.as_byte(np.where(foreground, probability, 1 - probability)))


@pytest.mark.parametrize('kind', ['sigmoid', 'probabilities'])
def test_threshold_itself_counts(decide, kind):
    scores = np.array([0.25, 0.2499], np.float32).reshape(1, 1, 1, 2)
    result = decide(scores, output={'kind': kind, 'threshold': 0.25})
    assert result['mask'].tolist() == [[1, 0]]
    several = np.array([[0.25, 0.2499], [0, 0]], np.float32).reshape(1, 2, 1, 2)
    result = decide(several, output={'kind': 'sigmoid', 'threshold': 0.25})
    assert result['mask'].tolist() == [[0, 255]]


@pytest.mark.parametrize('probability', [-0.5, 1.001, 1.01, 1.5, 1e9])
def test_confidence_beyond_its_range_saturates(decide, probability):
    scores = np.array([probability, -1.0], np.float32).reshape(1, 2, 1, 1)
    result = decide(scores, output={'kind': 'probabilities'})
    assert result['mask'].tolist() == [[0]]
    assert result['confidence'].tolist() == [[0 if probability < 0 else 255]]


@pytest.mark.parametrize('shape', [(1, 1, 3, 4), (1, 3, 4, 1), (1, 3, 4)])
@pytest.mark.parametrize('dtype', [np.int32, np.int64, np.uint8])
def test_ids(decide, dtype, shape):
    ids = np.array([[0, 1, 2, 3], [254, 255, 17, 99], [128, 127, 100, 1]], dtype)
    result = decide(ids.reshape(shape), size=(3, 4))
    np.testing.assert_array_equal(result['mask'], ids)
    assert set(result) == {'mask', 'overlay'}


@pytest.mark.parametrize(('dtype', 'ids'), [
    (np.int32, [-1, -128, 256, 257, 2 ** 31 - 1, -2 ** 31]),
    (np.int64, [-1, 256, 2 ** 32, 2 ** 32 + 7, -2 ** 32 + 7, 2 ** 63 - 1, -2 ** 63])])
def test_ids_that_are_no_class_become_255(decide, dtype, ids):
    values = np.array([[[5, *ids]]], dtype)
    assert decide(values)['mask'].tolist() == [[5] + [255] * len(ids)]


@pytest.mark.parametrize('kind', ['logits', 'probabilities', 'sigmoid'])
@pytest.mark.parametrize('layout', ['nchw', 'nhwc'])
def test_output_layouts(networks, decide, kind, layout):
    probabilities = networks.softmax(networks.random_scores(5, 6, 7), 1).astype(np.float32)
    told = probabilities if layout == 'nchw' else probabilities.transpose(0, 2, 3, 1)
    result = decide(told, size=(6, 7), output={'kind': kind, 'layout': layout, 'threshold': 0})
    np.testing.assert_array_equal(result['mask'], probabilities[0].argmax(axis=0))
    confidence = networks.softmax(probabilities[0]) if kind == 'logits' else probabilities[0]
    assert_close_bytes(result['confidence'], networks.as_byte(confidence.max(axis=0)))


@pytest.mark.parametrize('dtype', [np.float16, np.float64])
def test_scores_of_other_floats(networks, decide, dtype):
    scores = networks.random_scores(5, 6, 7).astype(dtype)
    result = decide(scores, output={'kind': 'logits'})
    np.testing.assert_array_equal(result['mask'], scores[0].argmax(axis=0))
    assert_close_bytes(result['confidence'],
                       networks.as_byte(networks.softmax(scores[0]).max(axis=0)))


# Pixels without a class --------------------------------------------------------------------


@pytest.mark.parametrize('kind', ['logits', 'probabilities', 'sigmoid'])
@pytest.mark.parametrize('channel', [0, 1, 2])
@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear'])
def test_nan_in_any_channel_is_no_class(decide, kind, channel, interpolation):
    scores = np.full((1, 3, 2, 2), 0.3, np.float32)
    scores[0, 2] = 0.6
    scores[0, channel, 1, 0] = np.nan
    result = decide(scores, output={'kind': kind}, options={'mask_interpolation': interpolation})
    assert result['mask'][1, 0] == 255
    assert result['confidence'][1, 0] == 0
    assert (result['mask'][:, 1] == 2).all()


@pytest.mark.parametrize('kind', ['logits', 'probabilities', 'sigmoid'])
def test_nan_of_one_channel_is_no_class(decide, kind):
    scores = np.array([np.nan, 0.9, -0.9], np.float32).reshape(1, 1, 3, 1)
    result = decide(scores, output={'kind': kind})
    assert result['mask'].ravel().tolist() == [255, 1, 0]
    assert result['confidence'][0, 0] == 0


@pytest.mark.parametrize('kind', ['logits', 'probabilities', 'sigmoid'])
def test_all_minus_infinity_is_no_class(decide, kind):
    scores = np.array([[-np.inf, -np.inf], [-np.inf, 0.7]], np.float32).reshape(1, 2, 1, 2)
    result = decide(scores, output={'kind': kind})
    assert result['mask'].tolist() == [[255, 1]]
    assert result['confidence'][0, 0] == 0


BELOW, ABOVE = (np.nextafter(np.float32(-1e30), np.float32(end)) for end in (-np.inf, 0))
EXTREME = np.array([np.nan, np.inf, -np.inf, 1e38, -1e38, -1e30, BELOW, ABOVE, 65504, -65504, 7e4,
                    -7e4, 1e-45, -1e-45, 0, 1, -1, 0.5], np.float32)
KINDS = st.sampled_from(['logits', 'probabilities', 'sigmoid'])


def extreme_scores(seed):
    """Return scores [1, 3, 10, 8]; in the upper half, most pixels have a class."""
    rng = np.random.default_rng(seed)
    usual = rng.permutation(EXTREME[5:])
    return np.concatenate([rng.choice(usual, (1, 3, 5, 8)), rng.choice(EXTREME, (1, 3, 5, 8))],
                          axis=2)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, kind=KINDS)
def test_any_score_is_compared_as_it_is(networks, decide, seed, kind):
    scores = extreme_scores(seed)
    mask = decide(scores, output={'kind': kind, 'threshold': 0.5})['mask']
    highest = np.fmax.reduce(scores[0], initial=-np.inf)
    nothing = np.isnan(scores[0]).any(axis=0) | np.isinf(highest) | (highest < np.float32(-1e30))
    if kind == 'sigmoid':
        nothing |= highest < 0.5
    np.testing.assert_array_equal(mask, np.where(nothing, 255, scores[0].argmax(axis=0)))


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, kind=KINDS, source=SIZES, align_corners=st.booleans())
def test_extreme_scores_are_resized_alike(networks, seed, kind, source, align_corners):
    spec = networks.spec_of(networks.fixed(extreme_scores(seed), size=(20, 16)),
                            output={'kind': kind, 'align_corners': align_corners})
    masks = [networks.Runner(prepare(spec, ('mask',), mask_interpolation='bilinear',
                                     for_cpu=for_cpu))(networks.random_image(*source))['mask']
             for for_cpu in (False, True)]
    np.testing.assert_array_equal(*masks)


@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear'])
@pytest.mark.parametrize('source', [(6, 5), (3, 3), (12, 10), (13, 11)])
def test_a_class_ruled_out_by_minus_infinity_is_like_none(networks, source, interpolation):
    scores = networks.random_scores(4, 6, 5)
    masks = []
    for ruled_out in (-np.inf, -1e6):
        scores[:, 2] = ruled_out
        spec = networks.spec_of(networks.fixed(scores), output={'kind': 'logits'})
        runner = networks.Runner(prepare(spec, ('mask',), mask_interpolation=interpolation))
        masks.append(runner(networks.random_image(*source))['mask'])
    np.testing.assert_array_equal(*masks)


@pytest.mark.parametrize('source', [(6, 5), (12, 10), (40, 33), (200, 170)])
def test_a_cell_without_a_class_has_none_wherever_it_reaches(networks, source):
    scores = networks.random_scores(4, 6, 5)
    scores[0, 0] -= 20  # class 0 is nowhere the highest
    scores[0, :, 2, 3] = -np.inf
    spec = networks.spec_of(networks.fixed(scores), output={'kind': 'logits'})
    runner = networks.Runner(prepare(spec, ('mask',), mask_interpolation='bilinear'))
    mask = runner(networks.random_image(*source))['mask']
    reach = networks.resized(np.isneginf(scores[0, 0]), source)
    assert (mask != 0).all()
    assert (mask[reach > 1e-3] == 255).all()
    assert (mask[reach == 0] != 255).mean() > 0.99  # weights are rounded, too


def test_a_class_ruled_out_survives_the_letterbox(networks):
    scores = networks.random_scores(4, 6, 5)
    masks = []
    for ruled_out in (-np.inf, -1e6):
        scores[:, 2] = ruled_out
        spec = networks.spec_of(networks.fixed(scores, size=(30, 25)),
                                input={'resize': 'letterbox'}, output={'kind': 'logits'})
        runner = networks.Runner(prepare(spec, ('mask',), mask_interpolation='bilinear'))
        masks.append([runner(networks.random_image(*source))['mask']
                      for source in ((30, 25), (17, 31), (90, 20))])
    for mask, wanted in zip(*masks, strict=True):
        np.testing.assert_array_equal(mask, wanted)


@pytest.mark.parametrize('channel', [1, 2])
def test_infinity_is_never_class_0(decide, channel):
    scores = np.array([9, -1, 3], np.float32).reshape(1, 3, 1, 1)
    scores[0, channel] = np.inf
    assert decide(scores, output={'kind': 'logits'})['mask'] in (channel, 255)
    scores[0, 0] = -np.inf
    assert decide(scores, output={'kind': 'logits'})['mask'] in (channel, 255)


def test_a_certain_class_has_full_confidence(decide):
    scores = np.array([0, np.inf, 3], np.float32).reshape(1, 3, 1, 1)
    result = decide(scores, output={'kind': 'logits'})
    assert (result['mask'], result['confidence']) in ((1, 255), (255, 0))


@given(seed=SEEDS, channels=st.integers(2, 6))
def test_logits_below_zero_are_compared_like_others(networks, decide, seed, channels):
    scores = networks.random_scores(channels, 4, 5, seed) - 1000
    assert (scores < 0).all()
    result = decide(scores, output={'kind': 'logits'})
    np.testing.assert_array_equal(result['mask'], scores[0].argmax(axis=0))


@pytest.mark.parametrize('kind', ['logits', 'ids'])
@pytest.mark.parametrize('unlabelled', [0, 2, 254])
def test_the_networks_own_unlabelled_becomes_255(networks, decide, kind, unlabelled):
    scores = networks.random_scores(3, 6, 5)
    ids = scores[0].argmax(axis=0)
    told = scores if kind == 'logits' else ids[None].astype(np.int64)
    result = decide(told, output={'kind': kind}, classes={'unlabelled': unlabelled})
    np.testing.assert_array_equal(result['mask'], np.where(ids == unlabelled, 255, ids))
    if kind == 'logits':
        assert not result['confidence'][ids == unlabelled].any()
        assert result['confidence'][ids != unlabelled].all()


# Resizing ----------------------------------------------------------------------------------


@pytest.mark.parametrize('cells', MAPS)
@given(source=SIZES)
def test_nearest_takes_the_cell_under_the_pixels_centre(networks, nearest_runner, cells, source):
    runner, class_map = nearest_runner(cells)
    mask = runner(networks.random_image(*source))['mask']
    np.testing.assert_array_equal(mask, networks.grown(class_map, source))
    exact = cv2.resize(class_map, source[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    inside = centre_inside(source[0], cells[0])[:, None] & centre_inside(source[1], cells[1])
    np.testing.assert_array_equal(mask[inside], exact[inside])


def centre_inside(pixels, cells):
    """Where a pixel's centre is on no border of two cells, which OpenCV rounds differently."""
    return (2 * np.arange(pixels) + 1) * cells % (2 * pixels) != 0


@pytest.fixture(scope='session')
def nearest_runner(networks):
    """Makes the runner of a network that numbers the cells of its map, and that map."""
    runners = {}

    def runner_of(cells, resize='stretch'):
        if (cells, resize) not in runners:
            class_map = np.arange(cells[0] * cells[1], dtype=np.int32).reshape(cells) % 256
            size = (32, 40) if resize == 'letterbox' else cells
            model = networks.fixed(class_map[None], size=size)
            spec = networks.spec_of(model, input={'resize': resize})
            runner = networks.Runner(prepare(spec, ('mask',)))
            runners[cells, resize] = runner, class_map.astype(np.uint8)
        return runners[cells, resize]

    return runner_of


@pytest.mark.parametrize('cells', [(1, 1), *STRIDED])
@given(source=SIZES)
def test_nearest_undoes_the_letterbox(networks, nearest_runner, cells, source):
    runner, class_map = nearest_runner(cells, 'letterbox')
    mask = runner(networks.random_image(*source))['mask']
    np.testing.assert_array_equal(mask, networks.letterbox_grown(class_map, source, (32, 40)))


def test_nearest_undoes_the_letterbox_where_no_shape_is_declared(networks):
    ids = np.arange(8 * 10, dtype=np.int32).reshape(1, 8, 10)
    model = networks.fixed(ids, size=(32, 40), declared=False)
    spec = networks.spec_of(model, input={'resize': 'letterbox'})
    mask = networks.Runner(prepare(spec, ('mask',)))(networks.random_image(20, 20))['mask']
    np.testing.assert_array_equal(mask, networks.letterbox_grown(ids[0], (20, 20), (32, 40)))


@pytest.mark.parametrize('cells', MAPS)
@given(source=SIZES)
def test_bilinear_decides_on_the_resized_scores(networks, bilinear_runner, cells, source):
    runner, scores = bilinear_runner(cells, 'stretch')
    result = runner(networks.random_image(*source))
    wanted = networks.resized(scores, source)
    assert_same_where(result['mask'], wanted.argmax(axis=2), clear_winner(wanted))
    assert_close_bytes(result['confidence'],
                       networks.as_byte(networks.softmax(wanted, 2).max(axis=2)))


@pytest.fixture(scope='session')
def bilinear_runner(networks):
    """Makes the runner of a network with random scores, and those scores [h, w, C]."""
    runners = {}

    def runner_of(cells, resize):
        if (cells, resize) not in runners:
            scores = networks.random_scores(4, *cells)
            model = networks.fixed(scores, size=NETWORK_SIZE if resize == 'letterbox' else None)
            spec = networks.spec_of(model, input={'resize': resize},
                                    output={'kind': 'logits', 'layout': 'nchw'})
            runner = networks.Runner(prepare(spec, mask_interpolation='bilinear'))
            runners[cells, resize] = runner, scores[0].transpose(1, 2, 0)
        return runners[cells, resize]

    return runner_of


@pytest.mark.parametrize('cells', STRIDED)
@given(source=SIZES)
def test_bilinear_undoes_the_letterbox(networks, bilinear_runner, cells, source):
    runner, scores = bilinear_runner(cells, 'letterbox')
    result = runner(networks.random_image(*source))
    top, left, height, width = networks.letterbox_window(source, NETWORK_SIZE)
    inside = networks.resized(scores, NETWORK_SIZE)[top:top + height, left:left + width]
    wanted = networks.resized(inside, source)
    assert_same_where(result['mask'], wanted.argmax(axis=2), clear_winner(wanted))
    assert_close_bytes(result['confidence'],
                       networks.as_byte(networks.softmax(wanted, 2).max(axis=2)))


def test_bilinear_of_channels_last(networks):
    scores = networks.random_scores(4, 5, 6)
    image = networks.random_image(17, 31)
    masks = []
    for told, layout in ((scores, 'nchw'), (scores.transpose(0, 2, 3, 1), 'nhwc')):
        model = networks.fixed(told, size=(5, 6))
        spec = networks.spec_of(model, output={'kind': 'logits', 'layout': layout})
        masks.append(networks.Runner(prepare(spec, mask_interpolation='bilinear'))(image)['mask'])
    wanted = networks.resized(scores[0].transpose(1, 2, 0), (17, 31))
    for mask in masks:
        assert_same_where(mask, wanted.argmax(axis=2), clear_winner(wanted))


def test_bilinear_of_one_channel(networks):
    scores = networks.random_scores(1, 5, 6)
    spec = networks.spec_of(networks.fixed(scores), output={'kind': 'logits'})
    runner = networks.Runner(prepare(spec, mask_interpolation='bilinear'))
    mask = runner(networks.random_image(17, 31))['mask']
    wanted = networks.resized(scores[0, 0], (17, 31))
    assert_same_where(mask, wanted > 0, np.abs(wanted) > 1e-3)


# Aligned corners, as PyTorch and MMSegmentation call them


def corner_aligned(scores, size):
    """Return [h, w, C] at another size, corner cells' centres on corner pixels' centres."""
    rows, columns = (
        np.stack([np.interp(np.linspace(0, cells - 1, pixels), np.arange(cells), cell)
                  for cell in np.eye(cells)], axis=1)
        for cells, pixels in zip(scores.shape, size, strict=False))
    return np.einsum('yh,hwc,xw->yxc', rows, scores, columns)


@pytest.fixture(scope='session')
def corner_runner(networks):
    """Makes the runner of a network with random scores, and those scores [h, w, C] at the
    network's size. It aligns their corners itself, unless ``given`` them so."""
    runners = {}

    def runner_of(cells, interpolation, resize='stretch', layout='nchw', given=False):
        key = cells, interpolation, resize, layout, given
        if key not in runners:
            scores = networks.random_scores(4, *cells)[0].transpose(1, 2, 0)
            aligned = corner_aligned(scores, NETWORK_SIZE).astype(np.float32)
            told = aligned if given else scores
            told = told if layout == 'nhwc' else told.transpose(2, 0, 1)
            spec = networks.spec_of(
                networks.fixed(told[None], size=NETWORK_SIZE), input={'resize': resize},
                output={'kind': 'logits', 'layout': layout, 'align_corners': not given})
            prepared = prepare(spec, ('mask',), mask_interpolation=interpolation)
            runners[key] = networks.Runner(prepared), aligned
        return runners[key]

    return runner_of


@pytest.mark.parametrize('interpolation', MASK_INTERPOLATIONS)
@pytest.mark.parametrize('layout', ['nchw', 'nhwc'])
@pytest.mark.parametrize('cells', [(1, 1), *STRIDED])
@given(source=SIZES)
def test_corners_are_aligned_with_the_networks_input(networks, corner_runner, interpolation,
                                                     layout, cells, source):
    runner, aligned = corner_runner(cells, interpolation, layout=layout)
    mask = runner(networks.random_image(*source))['mask']
    grow = networks.resized if interpolation == 'bilinear' else networks.grown
    wanted = grow(aligned, source)
    assert_same_where(mask, wanted.argmax(axis=2), clear_winner(wanted))


@pytest.mark.parametrize('interpolation', MASK_INTERPOLATIONS)
@pytest.mark.parametrize('cells', STRIDED)
@given(source=SIZES)
def test_the_letterbox_is_undone_behind_aligned_corners(networks, corner_runner, interpolation,
                                                        cells, source):
    masks = [corner_runner(cells, interpolation, 'letterbox', given=given)[0](
        networks.random_image(*source))['mask'] for given in (False, True)]
    assert (masks[0] != masks[1]).mean() < 0.01  # but for near ties


def test_corners_are_aligned_with_an_image_of_any_size(networks):
    model = networks.pointwise(np.eye(3), (None, None), stride=4)
    spec = networks.spec_of(model, input={**networks.PASSED_THROUGH, 'color': 'bgr',
                                          'resize': 'none'},
                            output={'kind': 'logits', 'align_corners': True})
    image = networks.random_image(32, 40)
    wanted = corner_aligned(image[::4, ::4].astype(np.float32), (32, 40))
    mask = networks.Runner(prepare(spec))(image)['mask']
    assert_same_where(mask, wanted.argmax(axis=2), clear_winner(wanted))


@pytest.mark.parametrize('align_corners', [False, True])
def test_a_class_ruled_out_stays_so_between_aligned_corners(networks, align_corners):
    scores = networks.random_scores(3, 5, 6)
    scores[0, 1] = -np.inf
    spec = networks.spec_of(networks.fixed(scores, size=(20, 24)), output={
        'kind': 'logits', 'align_corners': align_corners})
    result = networks.Runner(prepare(spec))(networks.random_image(20, 24))
    assert set(np.unique(result['mask'])) == {0, 2}


def test_ids_are_always_resized_by_nearest(networks):
    ids = np.array([[[0, 200], [100, 50]]], np.int64)
    spec = networks.spec_of(networks.fixed(ids, size=(2, 2)))
    runner = networks.Runner(prepare(spec, mask_interpolation='bilinear'))
    mask = runner(networks.random_image(5, 7))['mask']
    np.testing.assert_array_equal(mask, networks.grown(ids[0], (5, 7)))


@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear'])
@pytest.mark.parametrize('resize', ['stretch', 'none'])
@pytest.mark.parametrize('stride', [1, 2, 3, 8])
def test_strided_networks(networks, strided, stride, resize, interpolation):
    runner_of, scores_of = strided
    image = networks.random_image(13, 22)
    size = (13, 22) if resize == 'stretch' else (None, None)
    result = runner_of(stride, size, interpolation, resize)(image)
    scores = scores_of(stride, image)
    if interpolation == 'nearest':
        wanted = networks.grown(scores.argmax(axis=2), (13, 22))
        certain = networks.grown(clear_winner(scores), (13, 22))
    else:
        grown = networks.resized(scores, (13, 22))
        wanted, certain = grown.argmax(axis=2), clear_winner(grown)
    assert_same_where(result['mask'], wanted, certain)


def test_confidence_is_resized_like_the_mask(networks, nearest_runner):
    scores = networks.random_scores(4, 5, 6)
    spec = networks.spec_of(networks.fixed(scores), output={'kind': 'logits'})
    result = networks.Runner(prepare(spec))(networks.random_image(17, 31))
    small = networks.as_byte(networks.softmax(scores[0]).max(axis=0))
    assert_close_bytes(result['confidence'], networks.grown(small, (17, 31)))


# Overlay -----------------------------------------------------------------------------------


@pytest.fixture(scope='session')
def painters(networks):
    """Both forms of the overlay, and the mask both show."""
    scores = networks.random_scores(5, 5, 6)
    scores[0, :, 0, 0] = np.nan
    spec = networks.spec_of(networks.fixed(scores), output={'kind': 'logits'})
    return {form: networks.Runner(prepare(spec, for_cpu=form)) for form in (False, True)}


@given(alpha=st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1)), source=SIZES,
       seed=SEEDS)
def test_overlay_blends_image_and_colours(networks, painters, alpha, source, seed):
    image = networks.random_image(*source, seed)
    palette = networks.random_image(256, 1, seed + 1)[:, 0]
    results = [painters[form](image, alpha=alpha, palette=palette) for form in (False, True)]
    colours = palette[results[0]['mask']].astype(np.float64)
    wanted = np.round(image + np.float64(np.float32(alpha)) * (colours - image)).astype(np.uint8)
    for result in results:
        assert_close_bytes(result['overlay'], wanted)
    np.testing.assert_array_equal(results[0]['mask'], results[1]['mask'])
    np.testing.assert_array_equal(results[0]['confidence'], results[1]['confidence'])
    assert_close_bytes(results[0]['overlay'], results[1]['overlay'])


@pytest.mark.parametrize('for_cpu', [False, True])
def test_overlay_at_its_ends(networks, painters, for_cpu):
    image = networks.random_image(9, 14)
    palette = networks.random_image(256, 1, 1)[:, 0]
    runner = painters[for_cpu]
    np.testing.assert_array_equal(runner(image, alpha=0, palette=palette)['overlay'], image)
    result = runner(image, alpha=1, palette=palette)
    np.testing.assert_array_equal(result['overlay'], palette[result['mask']])


@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear'])
@pytest.mark.parametrize('kind', ['logits', 'probabilities', 'sigmoid', 'ids'])
def test_both_forms_agree(networks, kind, interpolation):
    scores = networks.softmax(networks.random_scores(5, 5, 6), 1).astype(np.float32)
    told = scores.argmax(axis=1) if kind == 'ids' else scores
    spec = networks.spec_of(networks.fixed(told, size=(5, 6)), output={'kind': kind})
    image = networks.random_image(17, 31)
    plain, fast = (networks.Runner(prepare(spec, mask_interpolation=interpolation,
                                           for_cpu=form))(image) for form in (False, True))
    np.testing.assert_array_equal(plain.pop('mask'), fast.pop('mask'))
    for name, array in plain.items():
        assert_close_bytes(array, fast[name])
