# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The front door: files, images, arrays to write into, and what happens when something fails."""

import copy
import gc
import multiprocessing
import os
import pickle
import re
import sys
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from onnx import helper
from PIL import Image

from trt_segmentation.backends.tensorrt import cuda
from trt_segmentation.backends.tensorrt.api import find_tensorrt
from trt_segmentation.backends.tensorrt.cuda import find_device
from trt_segmentation.demo.clip import read_frame
from trt_segmentation.errors import (
    BackendError,
    ConfigError,
    ImageError,
    MissingBackendError,
    ModelError,
)
from trt_segmentation.images.array_hints import array_hint
from trt_segmentation.model_config import ModelConfig
from trt_segmentation.options import BuildOptions, RunOptions
from trt_segmentation.segmenter import Segmenter, demo_model, output_shape

WEIGHTS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [.375, .375, .375]], np.float32)
PIXELS = 'input: {color: bgr, scale: 1}'
SIZE = 12, 16
ALL = ('mask', 'confidence', 'overlay')
ON_CPU = RunOptions(backend='onnxruntime', num_threads=1)


@pytest.fixture(scope='session')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('networks')


@pytest.fixture(scope='session')
def opened(networks, folder):
    """Opens models from files."""
    def open_model(model, config=PIXELS, **options):
        path = folder / 'net.onnx'
        onnx.save(model, path)
        config = ModelConfig.from_text(config, 'net.yaml')
        return Segmenter.open(path, config=config, options=replace(ON_CPU, **options))

    return open_model


@pytest.fixture
def segmenter(networks, opened):
    """One whose network is 12x16 and sees the pixels as they are."""
    return opened(networks.pointwise(WEIGHTS, SIZE))


@pytest.fixture(scope='session')
def free_segmenter(networks, opened):
    """One that takes images at their own size."""
    return opened(networks.pointwise(WEIGHTS, (None, None)),
                  'input: {color: bgr, scale: 1, resize: none}')


@pytest.fixture(scope='session')
def ids_segmenter(networks, opened):
    return opened(networks.fixed(np.ones((1, 4, 5), np.int64)))


def classes_of(image):
    return (image.astype(np.float32) @ WEIGHTS.T).argmax(axis=2).astype(np.uint8)


def buffers(size, outputs=ALL):
    return {name: np.full(output_shape(name, size), 77, np.uint8) for name in outputs}


# Images ------------------------------------------------------------------------------------


@given(sizes=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=6),
       outputs=st.sampled_from([('mask',), ALL, ('overlay', 'mask')]))
def test_many_sizes_in_turn_and_back(networks, free_segmenter, sizes, outputs):
    for index, size in enumerate([*sizes, *sizes[::-1]]):
        image = networks.random_image(*size, index)
        result = free_segmenter.infer(image, outputs=outputs)
        np.testing.assert_array_equal(result.mask, classes_of(image))
        assert result.arrays.keys() == set(outputs)
        for name in outputs:
            assert result.arrays[name].shape == output_shape(name, size)
            assert result.arrays[name].dtype == np.uint8


def test_bgr_and_rgb_give_the_same(networks, segmenter):
    for seed in range(3):  # in turn, so that each follows the other
        image = networks.random_image(20, 30, seed)
        bgr = segmenter.infer(image, outputs=ALL).copy()
        rgb = segmenter.infer(image[..., ::-1], color='rgb', outputs=ALL)
        np.testing.assert_array_equal(rgb.mask, bgr.mask)
        np.testing.assert_array_equal(rgb.confidence, bgr.confidence)
        np.testing.assert_array_equal(rgb.overlay, bgr.overlay[..., ::-1])


@pytest.mark.parametrize('color', ['rgb', 'bgr'])
def test_the_networks_colours_may_be_either(networks, opened, color):
    segmenter = opened(networks.pointwise(WEIGHTS, SIZE), f'input: {{color: {color}, scale: 1}}')
    image = networks.random_image(*SIZE)
    for order in ('bgr', 'rgb', 'bgr'):
        seen = image if order == color else image[..., ::-1]
        np.testing.assert_array_equal(segmenter.infer(image, color=order).mask, classes_of(seen))


@pytest.mark.parametrize('view', [
    lambda image: image[::2, ::3], lambda image: image[::-1], lambda image: image[:, :, ::-1],
    lambda image: image.transpose(1, 0, 2), lambda image: image[3:9, 5:6],
    np.asfortranarray, lambda image: np.broadcast_to(image[:1, :1], (5, 4, 3))],
    ids=['strided', 'upside down', 'channels swapped', 'transposed', 'cut out', 'Fortran',
         'repeated'])
def test_non_contiguous_images(networks, free_segmenter, view):
    image = view(networks.random_image(20, 30))
    np.testing.assert_array_equal(free_segmenter.infer(image).mask, classes_of(image))


def test_the_image_is_left_alone(networks, segmenter):
    image = networks.random_image(20, 30)
    image.setflags(write=False)
    before = image.copy()
    segmenter.infer(image, outputs=ALL)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(('image', 'found'), [
    (np.zeros((4, 5, 3), np.float32), r'float32 \[4, 5, 3\]'),
    (np.zeros((4, 5, 3), np.int8), r'int8 \[4, 5, 3\]'),
    (np.zeros((4, 5), np.uint8), r'uint8 \[4, 5\]'),
    (np.zeros((1, 4, 5, 3), np.uint8), r'uint8 \[1, 4, 5, 3\]'),
    (np.zeros((4, 5, 1), np.uint8), r'uint8 \[4, 5, 1\]'),
    (np.zeros((4, 5, 4), np.uint8), r'uint8 \[4, 5, 4\]'),
    (np.zeros((3, 4, 5), np.uint8), r'uint8 \[3, 4, 5\]'),
    (np.zeros((0, 5, 3), np.uint8), r'uint8 \[0, 5, 3\]'),
    (np.zeros((4, 0, 3), np.uint8), r'uint8 \[4, 0, 3\]'),
    ([[[1, 2, 3]]], 'a list'), (None, 'None'), ('street.jpg', 'a str'), (b'jpeg', 'a bytes'),
    (Path('street.jpg'), r'a pathlib(\._local)?\.PosixPath'),  # Python 3.13 names its module
    (Image.new('RGB', (4, 5)), r'a PIL\.Image\.Image')])
def test_bad_images_are_refused(networks, free_segmenter, image, found):
    with pytest.raises(ImageError, match=f'^the image is {found}; uint8 .* is needed'):
        free_segmenter.infer(image)
    good = networks.random_image(6, 7)
    np.testing.assert_array_equal(free_segmenter.infer(good).mask, classes_of(good))


PICTURE = np.random.default_rng(5).integers(0, 256, (6, 7, 3), np.uint8)
GRAY = np.broadcast_to(PICTURE[..., :1], PICTURE.shape)
ALPHA = np.dstack([PICTURE, PICTURE[..., 0]])


@pytest.mark.parametrize(('image', 'line', 'wanted'), [
    (PICTURE[..., 0], 'cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)', GRAY),
    (PICTURE[..., :1], 'cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)', GRAY),
    (ALPHA, 'cv2.cvtColor(image, cv2.COLOR_BGRA2BGR)', PICTURE),
    (PICTURE.transpose(2, 0, 1), 'image.transpose(1, 2, 0)', PICTURE),
    (ALPHA.transpose(2, 0, 1), 'cv2.cvtColor(image.transpose(1, 2, 0), cv2.COLOR_BGRA2BGR)',
     PICTURE),
    (PICTURE[None], 'image[0]', PICTURE),
    (PICTURE.transpose(2, 0, 1)[None], 'image[0].transpose(1, 2, 0)', PICTURE),
    (PICTURE / 255, '(image * 255).round().astype(np.uint8)', PICTURE),
    (PICTURE.astype(np.float32), 'image.round().astype(np.uint8)', PICTURE),
    (PICTURE.astype(np.int64), 'image.astype(np.uint8)', PICTURE),
    (PICTURE.astype(np.uint16) << 8, '(image >> 8).astype(np.uint8)', PICTURE),
    (PICTURE > 127, 'image.astype(np.uint8) * 255', (PICTURE > 127) * np.uint8(255)),
    (np.float32(PICTURE.transpose(2, 0, 1)[None]) / np.float32(255),
     '(image[0].transpose(1, 2, 0) * 255).round().astype(np.uint8)', PICTURE),
    (PICTURE.tolist(), 'np.asarray(image).astype(np.uint8)', PICTURE)],
    ids=['gray', 'gray plane', 'BGRA', 'channels first', 'BGRA channels first', 'batch', 'tensor',
         'float64', 'float of bytes', 'int64', 'uint16', 'bool', 'float tensor', 'list'])
def test_the_line_that_a_refusal_names_makes_the_image(free_segmenter, image, line, wanted):
    with pytest.raises(ImageError) as caught:
        free_segmenter.infer(image)
    assert str(caught.value).endswith(f'is needed: {line}')
    made = eval(line, {'image': image, 'np': np, 'cv2': cv2})
    np.testing.assert_array_equal(made, wanted)
    np.testing.assert_array_equal(free_segmenter.infer(made).mask, classes_of(wanted))


@pytest.mark.parametrize(('image', 'line'), [
    (None, 'cv2.imread returns None where a file is missing or is no image; is the path right?'),
    ('a.jpg', "infer(cv2.imread('a.jpg')), or predict('a.jpg')"),
    (Path('a.jpg'), "infer(cv2.imread('a.jpg')), or predict('a.jpg')"),
    ([PICTURE, PICTURE], 'infer_batch(images) takes several'),
    (PICTURE[..., 0].astype(np.uint16) << 8,
     'cv2.cvtColor((image >> 8).astype(np.uint8), cv2.COLOR_GRAY2BGR), if its values are '
     'brightness, not depth or class ids')])
def test_what_is_no_image_is_answered_with_what_to_write(free_segmenter, image, line):
    with pytest.raises(ImageError) as caught:
        free_segmenter.infer(image)
    assert str(caught.value).endswith(f'is needed: {line}')


@pytest.mark.parametrize('mode', ['RGB', 'L', 'P', 'RGBA', '1'])
def test_pictures_of_pillow_are_answered_with_what_to_write(free_segmenter, mode):
    image = Image.fromarray(PICTURE).convert(mode)
    with pytest.raises(ImageError) as caught:
        free_segmenter.infer(image)
    line = "infer(np.asarray(image.convert('RGB')), color='rgb')"
    assert str(caught.value).endswith(f'is needed: {line}')
    made = eval(line, {'image': image, 'np': np, 'infer': free_segmenter.infer})
    np.testing.assert_array_equal(made.mask,
                                  classes_of(np.asarray(image.convert('RGB'))[..., ::-1]))


def test_alpha_of_an_rgb_image_is_dropped_in_its_order(free_segmenter):
    with pytest.raises(ImageError, match='COLOR_RGBA2RGB'):
        free_segmenter.infer(ALPHA, color='rgb')


@given(arrays(st.sampled_from([np.uint8, np.uint16, np.int32, np.float32, np.float64, np.bool_]),
              array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=6)))
def test_a_named_line_always_makes_an_image(image):
    line = array_hint(image, 'bgr').partition(', if ')[0]
    if line:
        made = eval(line, {'image': image, 'np': np, 'cv2': cv2})
        assert made.dtype == np.uint8
        assert made.ndim == 3
        assert made.shape[2] == 3


@pytest.mark.parametrize('color', ['', 'BGR', 'gray', 'rgba'])
def test_unknown_colour_orders_are_refused(networks, free_segmenter, color):
    with pytest.raises(ImageError, match=f"color is '{color}'; it is one of rgb, bgr"):
        free_segmenter.infer(networks.random_image(6, 7), color=color)


# Outputs -----------------------------------------------------------------------------------


def test_arrays_belong_to_the_segmenter(networks, segmenter):
    first, second = (networks.random_image(*SIZE, seed) for seed in range(2))
    result = segmenter.infer(first, outputs=ALL)
    kept = result.copy()
    again = segmenter.infer(second, outputs=ALL)
    for name in ALL:
        assert again.arrays[name] is result.arrays[name]
        assert not np.shares_memory(kept.arrays[name], again.arrays[name])
    np.testing.assert_array_equal(kept.mask, classes_of(first))
    np.testing.assert_array_equal(result.mask, classes_of(second))
    assert kept == kept != result


@pytest.mark.parametrize('outputs', [('mask',), ('confidence',), ('overlay',), ('overlay', 'mask'),
                                     ALL])
def test_only_what_was_asked_for_is_there(networks, segmenter, outputs):
    image = networks.random_image(20, 30)
    everything = segmenter.infer(image, outputs=ALL).copy()
    result = segmenter.infer(image, outputs=outputs, out=buffers((20, 30)))
    for name in ALL:
        if name in outputs:
            np.testing.assert_array_equal(getattr(result, name), getattr(everything, name))
        else:
            with pytest.raises(ImageError, match=f'{name} was not requested'):
                getattr(result, name)


def test_results_are_written_into_the_arrays_given(networks, segmenter):
    image = networks.random_image(*SIZE)
    wanted = segmenter.infer(image, outputs=ALL).copy()
    out = buffers(SIZE)
    result = segmenter.infer(image, outputs=ALL, out=out)
    for name in ALL:
        assert result.arrays[name] is out[name]
        np.testing.assert_array_equal(out[name], wanted.arrays[name])


def test_arrays_given_may_change_from_image_to_image(networks, segmenter):
    images = [networks.random_image(*SIZE, seed) for seed in range(4)]
    row = np.full((4, *SIZE), 77, np.uint8)
    for image, mask in zip(images, row, strict=True):
        segmenter.infer(image, out={'mask': mask})
    own = segmenter.infer(images[0]).mask
    assert not np.shares_memory(own, row)
    np.testing.assert_array_equal(row, [classes_of(image) for image in images])


def not_writeable(array):
    array.setflags(write=False)
    return array


@pytest.mark.parametrize('name', ALL)
@pytest.mark.parametrize(('spoil', 'found'), [
    (lambda array: None, 'missing'), (lambda array: array[1:], r'uint8 \[11, 16.*\]'),
    (lambda array: array[None], r'uint8 \[1, 12, 16.*\]'),
    (lambda array: array.astype(np.int8), r'int8 \[.*\]'),
    (lambda array: array.astype(np.float32), r'float32 \[.*\]'),
    (lambda array: np.repeat(array, 2, axis=1)[:, ::2], r'uint8 \[.*\], not C-contiguous'),
    (np.asfortranarray, r'uint8 \[.*\], not C-contiguous'),
    (not_writeable, r'uint8 \[.*\], read-only'), (lambda array: array.tolist(), 'a list')],
    ids=['missing', 'smaller', 'batch', 'int8', 'float32', 'strided', 'Fortran', 'read-only',
         'list'])
def test_wrong_arrays_are_refused(networks, segmenter, name, spoil, found):
    image = networks.random_image(*SIZE)
    out = buffers(SIZE)
    out[name] = spoil(out[name])
    if out[name] is None:
        del out[name]
    with pytest.raises(ImageError, match=rf"out\['{name}'\] is {found}; a writable, C-contig"):
        segmenter.infer(image, outputs=ALL, out=out)
    assert all((np.asarray(array) == 77).all() for array in out.values())
    np.testing.assert_array_equal(segmenter.infer(image).mask, classes_of(image))


@pytest.mark.parametrize(('outputs', 'names'), [
    ('mask', ('mask',)), ('overlay', ('overlay',)), (['mask', 'overlay'], ('mask', 'overlay')),
    (('confidence',), ('confidence',))])
def test_outputs_are_a_name_or_several(networks, segmenter, outputs, names):
    image = networks.random_image(20, 30)
    wanted = segmenter.infer(image, outputs=ALL).copy()
    (batch,) = segmenter.infer_batch([image], outputs=outputs)
    for found in (batch, segmenter.infer(image, outputs=outputs)):
        assert tuple(found.arrays) == names
        for name in names:
            np.testing.assert_array_equal(found.arrays[name], wanted.arrays[name])
    with pytest.raises(ModelError, match='cannot give masks; '):
        segmenter.infer(image, outputs='masks')


def test_a_list_of_outputs_may_change_from_image_to_image(networks, segmenter):
    image, outputs = networks.random_image(20, 30), ['mask']
    for added in ('overlay', 'confidence'):
        assert tuple(segmenter.infer(image, outputs=outputs).arrays) == tuple(outputs)
        outputs.append(added)
        assert tuple(segmenter.infer(image, outputs=outputs).arrays) == tuple(outputs)


@pytest.mark.parametrize('name', ['confidence', 'depth'])
def test_outputs_that_the_network_has_not_are_refused(networks, ids_segmenter, name):
    assert ids_segmenter.available_outputs == ('mask', 'overlay')
    image = networks.random_image(4, 5)
    for _ in range(2):  # a refusal leaves the next image of the size before alone
        mask = ids_segmenter.infer(image, out=buffers((4, 5), ('mask',))).mask
        assert (mask == 1).all()
        with pytest.raises(ModelError, match=f'cannot give {name}'):
            ids_segmenter.infer(image, outputs=('mask', name))


@pytest.mark.parametrize('name', ['masks', 'instances', '', None])
def test_shape_and_type_of_such_outputs_are_refused(segmenter, name):
    said = f'cannot give {name}; .* gives mask, confidence'
    with pytest.raises(ModelError, match=said):
        segmenter.output_shape(name, SIZE)
    with pytest.raises(ModelError, match=said):
        segmenter.output_dtype(name)


@pytest.mark.parametrize('count', [0, -1])
def test_image_buffers_beyond_their_range_are_refused(segmenter, count):
    with pytest.raises(ConfigError, match=f'image_buffers is {count}; it must be 1 or more'):
        segmenter.image_buffers = count
    assert segmenter.image_buffers == 1


def test_overlay_alpha_may_change_between_images(networks, segmenter):
    image = networks.random_image(*SIZE)
    assert segmenter.overlay_alpha == 0.5
    colors = segmenter.spec.palette.table('bgr')[classes_of(image)].astype(float)
    for alpha in (0.5, 0, 1, 0.25, np.float32(0.75)):
        segmenter.overlay_alpha = alpha
        assert segmenter.overlay_alpha == alpha
        overlay = segmenter.infer(image, outputs=('overlay',)).overlay
        assert np.abs(overlay - (image + alpha * (colors - image))).max() <= 1


@pytest.mark.parametrize('alpha', [-0.01, 1.01, float('nan'), float('inf')])
def test_overlay_alpha_beyond_its_range_is_refused(segmenter, alpha):
    with pytest.raises(ConfigError, match=f'overlay_alpha is {alpha}; .*0 to 1'):
        segmenter.overlay_alpha = alpha
    assert segmenter.overlay_alpha == 0.5


# Long runs and failures --------------------------------------------------------------------


@pytest.mark.parametrize('given_arrays', [False, True])
def test_memory_stays_flat(networks, segmenter, given_arrays):
    size = 96, 128
    image = networks.random_image(*size)
    out = buffers(size) if given_arrays else None

    def run(frames):
        for frame in range(frames):
            segmenter.infer(image, color=('bgr', 'rgb')[frame % 2], outputs=ALL, out=out)

    run(100)
    tracemalloc.start()
    try:
        run(50)
        gc.collect()  # which also empties the interpreter's lists of free tuples
        resident, traced = psutil.Process().memory_info().rss, tracemalloc.get_traced_memory()[0]
        run(500)
        gc.collect()
        more_resident = psutil.Process().memory_info().rss - resident
        more_traced = tracemalloc.get_traced_memory()[0] - traced
    finally:
        tracemalloc.stop()
    assert more_traced < 50_000  # 500 arrays' headers alone are more
    assert more_resident < 4_000_000  # 500 masks are 6 MB, 500 images 18 MB


@pytest.fixture(scope='session')
def picky_segmenter(networks, opened):
    """One that says it takes any size, but whose network can reshape 6x7 only."""
    model = networks.pointwise(WEIGHTS, (None, None), names=('pixels', 'conv'))
    model.graph.node.append(helper.make_node('Reshape', ['conv', 'shape'], ['scores']))
    model.graph.initializer.append(helper.make_tensor('shape', 7, [4], [1, 4, 6, 7]))
    model.graph.output[0].CopyFrom(networks.tensor('scores', [1, 4, 'h', 'w']))
    return opened(model, 'input: {color: bgr, scale: 1, resize: none}\noutput: {kind: logits}')


@pytest.mark.parametrize('outputs', [('mask',), ALL])
def test_a_network_that_fails_can_be_used_again(networks, picky_segmenter, outputs):
    good, bad = networks.random_image(6, 7), networks.random_image(9, 11)
    for _ in range(3):
        result = picky_segmenter.infer(good, outputs=outputs)
        np.testing.assert_array_equal(result.mask, classes_of(good))
        with pytest.raises(BackendError, match='11x9 image'):
            picky_segmenter.infer(bad, outputs=outputs)
        with pytest.raises(BackendError, match='11x9 image'):
            picky_segmenter.infer(bad, outputs=outputs)


def test_a_failure_leaves_arrays_of_the_next_size_whole(networks, picky_segmenter):
    out = buffers((6, 7))
    with pytest.raises(BackendError):
        picky_segmenter.infer(networks.random_image(3, 2))
    good = networks.random_image(6, 7)
    picky_segmenter.infer(good, outputs=ALL, out=out)
    np.testing.assert_array_equal(out['mask'], classes_of(good))


# Closing and copies ------------------------------------------------------------------------


def test_a_with_statement_closes(networks, segmenter):
    image = networks.random_image(6, 7)
    with pytest.raises(KeyError), segmenter as entered:
        assert entered is segmenter
        mask = entered.infer(image).mask
        raise KeyError
    assert mask.shape == (6, 7)
    with pytest.raises(BackendError, match='is closed'), segmenter:
        pass


USES = {
    'infer': lambda each: each.infer(PICTURE), 'infer_batch': lambda each: each.infer_batch([]),
    'predict': lambda each: each.predict('gone.jpg'), 'twin': lambda each: each.twin(),
    'available_outputs': lambda each: each.available_outputs,
    'output_shape': lambda each: each.output_shape('mask', (6, 7)),
    'output_dtype': lambda each: each.output_dtype('mask'),
    'gpu_encodings': lambda each: each.gpu_encodings,
    'fetch_converter': lambda each: each.fetch_converter('nv12'),
    'jpeg_decoder': lambda each: each.jpeg_decoder(),
    'encodes_jpeg': lambda each: each.encodes_jpeg,
    'encode_jpeg': lambda each: each.encode_jpeg('overlay', 80),
    'image_buffers': lambda each: each.image_buffers,
    'call_when_enqueued': lambda each: each.call_when_enqueued(print),
    'overlay_alpha': lambda each: each.overlay_alpha,
    'overlay_alpha =': lambda each: setattr(each, 'overlay_alpha', 1),
    'smoothing': lambda each: each.smoothing,
    'smoothing =': lambda each: setattr(each, 'smoothing', 0.5),
    'reset_smoothing': lambda each: each.reset_smoothing(),
    'gpu_memory': lambda each: each.gpu_memory(),
    'gpu_times': lambda each: each.gpu_times(PICTURE, 'mask', 1),
    'layer_times': lambda each: each.layer_times(PICTURE, 'mask', 1)}


def test_a_function_is_called_before_each_result(segmenter):
    called = []
    segmenter.call_when_enqueued(lambda: called.append(len(called)))
    for _ in range(2):
        segmenter.infer(PICTURE)
    assert called == [0, 1]


def test_every_method_is_tried_on_a_closed_one():
    public = {name for name in vars(Segmenter) if not name.startswith('_')}
    assert public - {'open', 'close', 'info'} \
        == set(USES) - {'overlay_alpha =', 'smoothing ='}


@pytest.mark.parametrize('use', USES.values(), ids=USES)
def test_a_closed_one_refuses_with_a_sentence(segmenter, use):
    segmenter.close()
    segmenter.close()
    with pytest.raises(BackendError, match=r'net\.onnx: the segmenter is closed; open another'):
        use(segmenter)
    assert segmenter.info.backend == 'onnxruntime'  # diagnostics may ask meanwhile


@pytest.mark.parametrize('copied', [pickle.dumps, copy.copy, copy.deepcopy])
def test_it_cannot_be_copied_and_says_what_to_do_instead(segmenter, copied):
    with pytest.raises(TypeError, match=r'a Segmenter cannot be pickled or copied, since it holds '
                                        r"an open network; open one in each process: Segmenter"
                                        r"\.open\('.*net\.onnx'\)"):
        copied(segmenter)


@pytest.mark.filterwarnings('ignore:.*fork')
def test_a_fork_is_refused_instead_of_waiting_forever(networks, opened):
    segmenter = opened(networks.pointwise(WEIGHTS, SIZE), num_threads=2)
    context = multiprocessing.get_context('fork')
    answers = context.Queue()

    def use():
        try:
            segmenter.infer(PICTURE)
        except BackendError as error:
            answers.put(str(error))
        segmenter.close()

    with segmenter._lock:  # as where another thread is in a call at the time of the fork
        child = context.Process(target=use)
        child.start()
    said = answers.get(timeout=30)
    child.join(30)
    assert child.exitcode == 0
    assert said.endswith(f'was opened in process {os.getpid()} and is used in its fork {child.pid}'
                         '; open another one in each process')
    assert segmenter.infer(PICTURE).mask.shape == PICTURE.shape[:2]


# Files -------------------------------------------------------------------------------------


@pytest.fixture
def pictures(networks, tmp_path):
    """A folder of three images, by name."""
    images = {f'{index}.png': networks.random_image(6 + index, 7, index) for index in range(3)}
    for name, image in images.items():
        cv2.imwrite(str(tmp_path / name), image)
    (tmp_path / 'notes.txt').write_text('no image')
    return images


@pytest.mark.parametrize('outputs', ['mask', ('overlay', 'mask')])
def test_a_folder_is_segmented_image_by_image(free_segmenter, tmp_path, pictures, outputs):
    count = 0
    for prediction in free_segmenter.predict(tmp_path, outputs=outputs):
        image = pictures[prediction.name]
        np.testing.assert_array_equal(prediction.image, image)
        np.testing.assert_array_equal(prediction.segmentation.mask, classes_of(image))
        assert set(prediction.segmentation.arrays) == {'mask', *np.atleast_1d(outputs)}
        count += 1
    assert count == 3


def test_an_image_a_count_and_a_video_are_sources(networks, segmenter, tmp_path, pictures):
    (one,) = segmenter.predict(str(tmp_path / '1.png'))
    assert one.name == '1.png'
    assert [each.name for each in segmenter.predict(tmp_path, count=1)] == ['1.png']
    video = cv2.VideoWriter(str(tmp_path / 'drive.avi'), cv2.VideoWriter.fourcc(*'MJPG'), 10,
                            (64, 48))
    for seed in range(3):
        video.write(networks.random_image(48, 64, seed))
    video.release()
    names = [each.name for each in segmenter.predict(tmp_path / 'drive.avi')]
    assert names == ['drive_000000', 'drive_000001', 'drive_000002']


def test_results_belong_to_the_segmenter_and_images_to_the_caller(networks, segmenter, tmp_path):
    for index in range(2):
        cv2.imwrite(str(tmp_path / f'{index}.png'), networks.random_image(*SIZE, index))
    first, second = segmenter.predict(tmp_path)
    assert np.shares_memory(first.segmentation.mask, second.segmentation.mask)
    assert not np.shares_memory(first.image, second.image)
    kept = [each.segmentation.copy() for each in segmenter.predict(tmp_path)]
    np.testing.assert_array_equal(kept[0].mask, classes_of(first.image))


def test_an_image_that_cannot_be_read_ends_it_or_is_told(free_segmenter, tmp_path, pictures):
    path = tmp_path / '1.png'
    path.write_bytes(path.read_bytes()[:60])
    names = []
    with pytest.raises(ImageError, match=r'1\.png: cannot be decoded'):
        for prediction in free_segmenter.predict(tmp_path):
            names.append(prediction.name)
    assert names == ['0.png']
    errors = []
    found = free_segmenter.predict(tmp_path, on_error=errors.append)
    assert [prediction.name for prediction in found] == ['0.png', '2.png']
    assert [str(error).partition(': ')[0] for error in errors] == [str(path)]


def test_wrong_arguments_are_refused_by_the_call_itself(networks, opened, segmenter, tmp_path,
                                                        pictures):
    with pytest.raises(ModelError, match='cannot give depth'):
        segmenter.predict(tmp_path, outputs='depth')
    with pytest.raises(ImageError, match='gone: there is no such file'):
        segmenter.predict(tmp_path / 'gone')
    with pytest.raises(ImageError, match='rtsp://camera: is a URL'):
        segmenter.predict('rtsp://camera')
    for count in (-1, 1.5):
        with pytest.raises(ConfigError, match=f'count is {count}; it must be 0 .* or more'):
            segmenter.predict(tmp_path, count=count)
    with pytest.raises(ImageError, match='images given: 1; the network was opened for 2'):
        opened(networks.pointwise(WEIGHTS, SIZE), batch=2).predict(tmp_path)


def test_closing_it_meanwhile_ends_it(segmenter, tmp_path, pictures):
    predictions = segmenter.predict(tmp_path)
    next(predictions)
    segmenter.close()
    with pytest.raises(BackendError, match='is closed'):
        next(predictions)


# Opening -----------------------------------------------------------------------------------


def test_the_embedded_network_is_the_default():
    segmenter = Segmenter.open(options=ON_CPU)
    assert segmenter.spec.network.source == str(demo_model())
    assert segmenter.spec.assumed == ()
    assert segmenter.available_outputs == ALL
    mask = segmenter.infer(np.zeros((48, 64, 3), np.uint8)).mask
    assert mask.max() < len(segmenter.spec.labels)


@pytest.mark.parametrize('kind', ['file', 'path', 'config', 'metadata'])
def test_a_config_comes_from_anywhere(networks, folder, kind):
    model = networks.pointwise(WEIGHTS, SIZE, metadata=PIXELS if kind == 'metadata' else None)
    onnx.save(model, folder / 'net.onnx')
    (folder / 'net.yaml').write_text(PIXELS)
    config = {'file': str(folder / 'net.yaml'), 'path': folder / 'net.yaml',
              'config': ModelConfig.from_text(PIXELS, ''), 'metadata': None}[kind]
    image = networks.random_image(*SIZE)
    segmenter = Segmenter.open(str(folder / 'net.onnx'), config=config, options=ON_CPU)
    np.testing.assert_array_equal(segmenter.infer(image).mask, classes_of(image))


@pytest.mark.parametrize('config', [{'input': {'color': 'rgb'}}, 5])
def test_a_config_of_another_type_is_answered_with_what_to_write(config):
    with pytest.raises(ConfigError, match=rf'config is {re.escape(str(config))}; it is a '
                                          r'ModelConfig or the path of a YAML file; ModelConfig'):
        Segmenter.open(config=config)


@pytest.mark.parametrize(('options', 'said'), [
    *(({'mask_size': size}, f'mask_size is {size!r}; it is (height, width) in pixels')
      for size in ((0, 0), (4, -1), (4,), (4.5, 6), (16385, 4), 5, '45')),
    ({'batch': 2.5}, 'batch is 2.5; it must be 1 or more images'),
    *(({'num_threads': count}, f'num_threads is {count}; it must be between 0 and 1024')
      for count in (-1, 1025))])
def test_impossible_sizes_and_numbers_are_refused(networks, opened, options, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        opened(networks.pointwise(WEIGHTS, SIZE), **options)


def test_a_size_may_be_of_numpy(networks, opened):
    segmenter = opened(networks.pointwise(WEIGHTS, SIZE), mask_size=tuple(np.array([5, 7])))
    assert segmenter.infer(networks.random_image(*SIZE)).mask.shape == (5, 7)


@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear'])
def test_mask_interpolation(networks, opened, interpolation):
    scores = networks.random_scores(4, 5, 6)
    segmenter = opened(networks.fixed(scores), 'output: {kind: logits}',
                       mask_interpolation=interpolation)
    mask = segmenter.infer(networks.random_image(23, 37)).mask
    nearest = networks.grown(scores[0].argmax(axis=0), (23, 37))
    grown = networks.resized(scores[0].transpose(1, 2, 0), (23, 37)).argmax(axis=2)
    wanted, other = (nearest, grown) if interpolation == 'nearest' else (grown, nearest)
    assert (mask == wanted).mean() > 0.99 > (mask == other).mean()


@pytest.mark.parametrize(('options', 'said'), [
    ({'backend': 'openvino'}, ['openvino', 'auto, tensorrt, onnxruntime']),
    ({'backend': ''}, ["backend ''", 'auto, tensorrt, onnxruntime']),
    ({'build': BuildOptions('fp64')}, ['fp64', 'fp32, fp16, int8'])])
def test_unknown_options_are_refused(networks, opened, options, said):
    with pytest.raises(BackendError) as caught:
        opened(networks.pointwise(WEIGHTS, SIZE), **options)
    assert all(words in str(caught.value) for words in said)


@pytest.mark.parametrize(('missing', 'said'), [
    (('tensorrt', 'tensorrt_rtx'), 'TensorRT cannot be imported .*; pip install tensorrt'),
    (('pycuda', 'pycuda.driver'), 'PyCUDA is not installed; pip install pycuda')])
def test_tensorrt_is_refused_where_it_is_missing(networks, opened, monkeypatch, missing, said):
    loader = 'trt_segmentation.backends.tensorrt.engine_loader'
    present = SimpleNamespace(__name__='tensorrt', __version__='10.3.0', Runtime=None,
                              __spec__='found')
    monkeypatch.setitem(sys.modules, 'tensorrt', present)
    monkeypatch.setattr(f'{loader}.find_tensorrt', find_tensorrt.__wrapped__)
    monkeypatch.setattr(f'{loader}.find_device', find_device.__wrapped__)
    monkeypatch.setattr(cuda, 'has_gpu', lambda: True)
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingBackendError, match=said):
        opened(networks.pointwise(WEIGHTS, SIZE), backend='tensorrt')


def test_contradictions_come_through(networks, opened):
    with pytest.raises(ConfigError, match=r'net\.onnx: classes\.labels has 1'):
        opened(networks.pointwise(WEIGHTS, SIZE), 'classes: {labels: [a]}')


def bad_files(networks):
    """Return bytes of files that are no segmentation network, by what is wrong with them."""
    good = networks.pointwise(WEIGHTS, SIZE)
    two_inputs = networks.pointwise(WEIGHTS, SIZE)
    two_inputs.graph.input.append(networks.tensor('depth', [1, 1, *SIZE]))
    two_inputs.graph.node.append(helper.make_node('Identity', ['depth'], ['read']))
    batch = networks.onnx_model([], [networks.tensor('x', [4, 3, 12, 16])],
                                [networks.tensor('x', [4, 3, 12, 16])])
    no_outputs = networks.pointwise(WEIGHTS, SIZE)
    del no_outputs.graph.output[:]
    models = {'two inputs': two_inputs, 'batch of 4': batch, 'no outputs': no_outputs,
              '256 classes': networks.pointwise(np.ones((256, 3)), SIZE)}
    return {**{name: model.SerializeToString() for name, model in models.items()},
            'text': b'hello', 'empty': b'', 'truncated': good.SerializeToString()[:100]}


@pytest.mark.parametrize(('name', 'fact', 'fix'), [
    ('two inputs', 'has 2', 'one image input is needed'),
    ('batch of 4', 'has a batch of 4', 'export it with a batch of 1'),
    ('no outputs', 'has no output', 'export the network'),
    ('256 classes', 'needs 256 class ids', 'at most 255'),
    ('text', 'no valid ONNX', 'export it again'), ('empty', 'is empty', 'export it again'),
    ('truncated', 'no valid ONNX', 'export it again')])
def test_bad_files_are_refused(networks, folder, name, fact, fix):
    path = folder / f'{name}.onnx'
    path.write_bytes(bad_files(networks)[name])
    with pytest.raises((ModelError, ConfigError)) as caught:
        Segmenter.open(path)
    message = str(caught.value)
    assert message.startswith(f'{path}: ')
    assert fact in message
    assert fix in message


def test_a_missing_file_is_refused(folder):
    with pytest.raises(ModelError, match=r'nowhere\.onnx: there is no such file'):
        Segmenter.open(folder / 'nowhere.onnx')


def test_files_of_other_kinds_are_refused(folder):
    with pytest.raises(ModelError, match=r'net\.pt: is no model; models end in \.onnx, \.engine'):
        Segmenter.open(folder / 'net.pt')


# Several images at once --------------------------------------------------------------------


@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear'])
@pytest.mark.parametrize('resize', ['stretch', 'letterbox'])
def test_images_at_once_are_as_one_by_one(networks, opened, resize, interpolation):
    config = f'input: {{color: bgr, scale: 1, resize: {resize}}}'
    # The scores of the instances among them are numbers of any size, which a measurement refuses.
    how = {'mask_interpolation': interpolation, 'measure': False}
    for name, make in networks.SEEING.items():
        alone, together = (opened(make(), config, batch=batch, **how) for batch in (1, 3))
        outputs = alone.available_outputs
        for color, size in (('bgr', (20, 30)), ('rgb', (7, 50)), ('rgb', (20, 30))):
            images = [networks.random_image(*size, seed) for seed in range(3)]
            found = together.infer_batch(images, color=color, outputs=outputs)
            for image, each in zip(images, found, strict=True):
                wanted = alone.infer(image, color=color, outputs=outputs)
                for output in outputs:
                    np.testing.assert_array_equal(each.arrays[output], wanted.arrays[output],
                                                  f'{name}, {output}')


def test_results_of_several_images_land_in_the_arrays_given(networks, opened):
    segmenter = opened(networks.pointwise(WEIGHTS, SIZE), batch=2)
    outs = [buffers((20, 30)) for _ in range(2)]
    for seed in (0, 2):
        images = [networks.random_image(20, 30, seed + more) for more in range(2)]
        found = segmenter.infer_batch(images, outputs=ALL, outs=outs)
        for image, each, out in zip(images, found, outs, strict=True):
            assert all(each.arrays[name] is out[name] for name in ALL)
            small = np.ascontiguousarray(image)
            wanted = opened(networks.pointwise(WEIGHTS, SIZE)).infer(small, outputs=ALL)
            for name in ALL:
                np.testing.assert_array_equal(out[name], wanted.arrays[name])


def test_several_images_allocate_nothing_for_each_frame(networks, opened):
    segmenter = opened(networks.pointwise(WEIGHTS, SIZE), batch=3)
    size = 400, 600
    images = [networks.random_image(*size, seed) for seed in range(3)]
    outs = [buffers(size) for _ in range(3)]
    for _ in range(2):
        segmenter.infer_batch(images, outputs=ALL, outs=outs)
    tracemalloc.start()
    segmenter.infer_batch(images, outputs=ALL, outs=outs)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50_000


def test_another_number_of_images_is_refused(networks, opened):
    segmenter, image = opened(networks.pointwise(WEIGHTS, SIZE), batch=3), \
        networks.random_image(6, 7)
    for images in ([], [image], [image] * 4):
        with pytest.raises(ImageError, match=rf'images given: {len(images)}; the network was '
                                             'opened for 3 at once'):
            segmenter.infer_batch(images)
    with pytest.raises(ImageError, match=r'images given: 1; .* for 3 at once'):
        segmenter.infer(image)
    with pytest.raises(ImageError, match='outs has arrays for 2 images; 3 are'):
        segmenter.infer_batch([image] * 3, outs=[buffers((6, 7))] * 2)


def test_images_of_two_sizes_are_refused_with_both(networks, opened):
    segmenter = opened(networks.pointwise(WEIGHTS, SIZE), batch=2)
    images = [networks.random_image(6, 7), networks.random_image(7, 6)]
    with pytest.raises(ImageError, match='one image is 7x6 and another 6x7; images of '
                                         'one batch must have one size'):
        segmenter.infer_batch(images)
    assert len(segmenter.infer_batch([images[0]] * 2)) == 2


def test_a_network_that_takes_one_image_is_refused_with_its_file(networks, opened):
    with pytest.raises(ModelError, match=r"net\.onnx: cannot take 2 images at once: the first "
                                         "extent of output 'scores' is 1 "):
        opened(networks.fixed(networks.random_scores(4, *SIZE)), batch=2)


def test_a_network_of_one_image_that_does_not_tell_so_is_found_out(networks, opened):
    """Its output's shape is known only when it runs."""
    model = networks.fixed(networks.random_scores(4, *SIZE), declared=False)
    with pytest.raises(ModelError, match=r'net\.onnx: gives an image in a batch of 2 another '
                                         'result than alone'):
        opened(model, batch=2)


def test_a_twin_runs_at_the_same_time_and_outlives_the_other():
    image = read_frame(2, 180, 320).image
    first = Segmenter.open(options=RunOptions(backend='onnxruntime', num_threads=1))
    first.overlay_alpha = 0.8
    outputs = 'mask', 'overlay'
    expected = first.infer(image, outputs=outputs).copy()
    second = first.twin()
    assert second.overlay_alpha == 0.8
    second.overlay_alpha = 0.2
    found = {}

    def use(name, segmenter):
        found[name] = [segmenter.infer(image, outputs=outputs).copy() for _ in range(20)]

    threads = [threading.Thread(target=use, args=pair)
               for pair in (('first', first), ('second', second))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first.close()
    found['second'].append(second.infer(image[:90], outputs=('mask',)))
    for result in found['first']:
        np.testing.assert_array_equal(result.overlay, expected.overlay)
    for result in found['second'][:-1]:
        np.testing.assert_array_equal(result.mask, expected.mask)
        assert (result.overlay != expected.overlay).any()
    assert found['second'][-1].mask.shape == (90, 320)
