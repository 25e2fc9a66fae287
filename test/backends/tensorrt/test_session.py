# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Engines at work: right results, memory that is counted, and what happens when CUDA refuses."""

from dataclasses import replace

import numpy as np
import pytest

from trt_segmentation.backends.base import BackendInfo, output_shape
from trt_segmentation.backends.onnxruntime import OnnxRuntimeSession
from trt_segmentation.backends.tensorrt.session import TensorRtSession
from trt_segmentation.backends.tensorrt.stage import Stage
from trt_segmentation.errors import BackendError, ModelError
from trt_segmentation.graph.onnx_tools.network import describe_network, read_network
from trt_segmentation.graph.pipeline.prepare import available_outputs, prepare
from trt_segmentation.graph.reading.resolve import resolve
from trt_segmentation.images.gray import as_bands
from trt_segmentation.model_config import ModelConfig
from trt_segmentation.segmenter import Segmenter, demo_model

PROFILE = {'image': ((1, 8, 8, 3), (1, 240, 320, 3), (1, 720, 1280, 3))}
INFO = BackendInfo('tensorrt', '10.3.0', 'Stand-in GPU', 'fp32')
WEIGHTS = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, -1]]
@pytest.fixture
def load(gpu, tensorrt):
    """Opens the prepared graph of a spec as one engine; everything is freed in the end."""
    opened = []

    def load(spec, **how):
        bands = (1, 1, 3) if spec.gray_bits else (3, 3, 3)
        profile = {'image': tuple((spec.batch, *size[1:3], count) for size, count
                                  in zip(PROFILE['image'], bands, strict=True))}
        plan = tensorrt.plan(prepare(spec, **how).model, profile)
        opened.append(TensorRtSession(gpu.device, [Stage.load(plan, gpu.device)], INFO,
                                      batch=spec.batch, tasks=[task.name for task in spec.tasks]))
        return opened[-1]

    yield load
    for session in opened:
        session.close()
        session.close()  # once more does no harm
    gpu.assert_all_is_freed()


@pytest.fixture
def spec(networks):
    return networks.spec_of(networks.pointwise(WEIGHTS, (32, 48)), input={'color': 'bgr'})


@pytest.fixture
def session(load, spec):
    return load(spec)


def batch_of(networks, count, **sections):
    network = describe_network(networks.pointwise(WEIGHTS, (32, 48)), 'net.onnx')
    return resolve(network, networks.config_of(**sections), count)


def buffers(size, outputs=('mask',)):
    return {name: np.full(output_shape(name, size), 77, np.uint8) for name in outputs}


def run(session, image, outputs=('mask',), out=None):
    size = image.shape[:2]
    out = buffers(size, outputs) if out is None else out
    session.resize(*size, outputs, image.shape[2])
    session.infer([image], [out])
    return out


def on_cpu(spec, image, outputs=('mask',), **how):
    """Return what the same graph gives on ONNX Runtime's own session."""
    return run(OnnxRuntimeSession(spec, num_threads=1, for_cpu=False, **how), image, outputs)


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, name)


# Results -----------------------------------------------------------------------------------


@pytest.mark.parametrize('resize', ['stretch', 'letterbox'])
def test_every_kind_of_network_gives_what_it_gives_on_the_cpu(networks, load, kind, resize):
    spec = networks.spec_of(networks.KINDS[kind](), input={'resize': resize})
    outputs, image = available_outputs(spec), networks.random_image(60, 75)
    session = load(spec)
    for _ in range(3):  # the first copies, the second locks, the third is as all that follow
        found = run(session, image, outputs)
    assert_same(found, on_cpu(spec, image, outputs))


@pytest.mark.parametrize('resize', ['stretch', 'letterbox'])
@pytest.mark.parametrize('depth', [8, 16])
def test_one_channel_gives_what_it_gives_on_the_cpu(networks, load, gpu, resize, depth):
    model = networks.pointwise([[1], [-1]], (32, 48), stride=2)
    spec = networks.spec_of(model, input={'resize': resize, 'depth': depth, 'mean': [0.4]})
    outputs, session = available_outputs(spec), load(spec)
    for bands in (1, 3, 2, 1):
        image = np.ascontiguousarray(networks.random_image(60, 75)[..., :bands])
        for _ in range(3):
            found = run(session, image, outputs)
        assert_same(found, on_cpu(spec, image, outputs))
    assert (gpu.counts['engines'], gpu.counts['contexts']) == (1, 1)


def test_a_gray_frame_is_page_locked_where_it_is(networks, load, gpu):
    spec = networks.spec_of(networks.pointwise([[1], [-1]], (32, 48)))
    session, gray = load(spec), np.zeros((60, 75), np.uint8)
    out = {'mask': np.empty((60, 75), np.uint8)}
    for _ in range(4):  # each frame is another view of the same memory
        run(session, as_bands(gray), out=out)
    assert gpu.locked[gray.ctypes.data] == gray.nbytes
    assert gpu.counts['locked'] == 2


@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear'])
def test_the_demo_network_at_several_sizes_and_back(networks, load, interpolation):
    spec = resolve(read_network(demo_model()), ModelConfig())
    session = load(spec, mask_interpolation=interpolation)
    for seed, size in enumerate([(480, 640), (90, 160), (480, 640)]):
        image = networks.random_image(*size, seed)
        assert_same(run(session, image), on_cpu(spec, image, mask_interpolation=interpolation))


def test_another_size_loads_no_engine_and_makes_no_context(networks, session, gpu):
    for size in [(480, 640), (720, 1280), (64, 64), (480, 640)]:
        run(session, networks.random_image(*size))
    assert (gpu.counts['engines'], gpu.counts['contexts']) == (1, 1)


def test_a_frame_of_the_same_size_allocates_nothing(networks, session, gpu):
    out = run(session, networks.random_image(20, 30))
    allocated, graphs = gpu.counts['allocated'], gpu.counts['captured']
    for seed in range(4):
        run(session, networks.random_image(20, 30, seed), out=out)
    assert (gpu.counts['allocated'], gpu.counts['captured']) == (allocated, graphs)


@pytest.mark.parametrize('outputs', [('mask',), ('overlay',), ('mask', 'confidence', 'overlay')])
def test_only_what_is_asked_for_is_copied(networks, session, gpu, outputs):
    image = networks.random_image(20, 30)
    out = buffers((20, 30), ('mask', 'confidence', 'overlay'))
    run(session, image, outputs, out)
    assert gpu.counts['copied out'] == len(outputs)
    assert {name for name, array in out.items() if (array != 77).any()} == set(outputs)


def test_tasks_have_outputs_and_palettes_of_their_own(networks, load, gpu):
    heads = {'road': WEIGHTS[:2], 'lanes': WEIGHTS}
    spec = networks.spec_of(networks.heads(heads, (32, 48)), input={'color': 'bgr'},
                            outputs=[{'name': name} for name in heads])
    session, cpu = load(spec), OnnxRuntimeSession(spec, num_threads=1, for_cpu=False)
    for seed, task in enumerate(heads):
        for each in (session, cpu):
            each.set_palette(networks.random_image(256, 1, seed)[:, 0], task)
    image, every = networks.random_image(20, 30), available_outputs(spec)
    for outputs in (('lanes/mask',), ('road/mask', 'lanes/overlay'), every):
        before = gpu.counts['copied out']
        assert_same(run(session, image, outputs), run(cpu, image, outputs))
        assert gpu.counts['copied out'] - before == len(outputs)
    with pytest.raises(ModelError, match=r'cannot give mask; it gives road/mask, .*lanes/overlay'):
        session.resize(20, 30, ('mask',))


def test_controls_take_effect_on_the_next_frame(networks, session, spec):
    image, outputs = networks.random_image(20, 30), ('mask', 'overlay')
    cpu = OnnxRuntimeSession(spec, num_threads=1, for_cpu=False)
    for seed, (alpha, channels) in enumerate([(0.5, (0, 1, 2)), (1, (2, 1, 0)), (0, (1, 1, 0))]):
        for each in (session, cpu):
            each.set_alpha(alpha)
            each.set_channels(channels)
            each.set_palette(networks.random_image(256, 1, seed)[:, 0])
        assert_same(run(session, image, outputs), run(cpu, image, outputs))


def test_an_image_outside_the_profile_is_refused_with_both_sizes(networks, session):
    for size, said in [((720, 1281), '1281x720'), ((7, 100), '100x7')]:
        with pytest.raises(BackendError, match=f'the image is {said}, but .* for 8x8 to 1280x720'):
            session.resize(*size, ('mask',))
    run(session, networks.random_image(20, 30))


def test_measured_times_come_with_the_right_results(networks, session, spec):
    image, out = networks.random_image(20, 30), buffers((20, 30))
    session.resize(20, 30, ('mask',))
    times = session.measure([image], [out])
    assert min(times.copy_in, times.run, times.copy_out) >= 0
    assert_same(out, on_cpu(spec, image))


# Page-locked arrays ------------------------------------------------------------------------


def test_an_array_that_comes_twice_is_locked_and_another_unlocks_it(networks, session, gpu):
    first, second = buffers((20, 30)), buffers((20, 30))
    locked = []
    for out in (first, first, first, second, second):
        run(session, networks.random_image(20, 30), out=out)
        locked.append(list(gpu.locked))
    here, there = ([out['mask'].ctypes.data] for out in (first, second))
    assert locked == [[], here, here, [], there]


def test_image_memory_that_stays_is_locked_and_other_memory_unlocks_it(networks, session, spec,
                                                                      gpu):
    """As of messages, which are taken into one memory, whatever stands before their pixels."""
    memory, size = np.zeros(2000, np.uint8), 20 * 30 * 3
    locked = []
    for seed, start in enumerate((8, 8, 8, 24, 24, None, None, 8)):
        image = networks.random_image(20, 30, seed)
        if start is not None:
            memory[start:start + size] = image.ravel()
            image = memory[start:start + size].reshape(20, 30, 3)
        assert_same(run(session, image, out=buffers((20, 30))), on_cpu(spec, image))
        locked.append([address - memory.ctypes.data for address in gpu.locked])
    assert locked == [[], [8], [8], [], [24], [], [], []]


def test_it_tells_when_it_only_waits_for_the_gpu(networks, session, spec, gpu):
    image, out, seen = networks.random_image(20, 30), buffers((20, 30)), []
    session.on_enqueued = lambda: seen.append((out['mask'].copy(), gpu.counts['synchronised']))
    assert_same(run(session, image, out=out), on_cpu(spec, image))
    (mask, synchronised), = seen
    assert (mask == 77).all()  # the GPU has not written it yet
    assert synchronised == gpu.counts['synchronised'] - 1


def test_arrays_that_are_used_in_turn_stay_locked(networks, session, spec, gpu):
    """As of messages that are received while the network runs."""
    session.image_buffers = 3
    images, locked = [networks.random_image(20, 30, seed) for seed in range(4)], []
    for index in (0, 1, 2, 0, 1, 2, 0, 2, 3):
        assert_same(run(session, images[index], out=buffers((20, 30))),
                    on_cpu(spec, images[index]))
        locked.append(sorted(number for number, image in enumerate(images)
                             if image.ctypes.data in gpu.locked))
    assert locked == [[], [], [], [0], [0, 1], [0, 1, 2], [0, 1, 2], [0, 1, 2], [1, 2]]
    session.close()
    assert gpu.locked == {}


def test_results_are_right_where_every_frame_brings_another_array(networks, session, spec, gpu):
    row = [buffers((20, 30)) for _ in range(4)]
    images = [networks.random_image(20, 30, seed) for seed in range(4)]
    for image, out in zip(images, row, strict=True):
        run(session, image, out=out)
    for image, out in zip(images, row, strict=True):
        assert_same(out, on_cpu(spec, image))
    assert gpu.counts['locked'] == 0


def test_another_size_unlocks_and_frees(networks, session, gpu):
    image, out = networks.random_image(20, 30), buffers((20, 30))
    for _ in range(2):
        run(session, image, out=out)
    blocks = len(gpu.memory)
    run(session, networks.random_image(30, 20))
    assert (len(gpu.memory), len(gpu.graphs), gpu.locked) == (blocks, 1, {})


def test_memory_that_cannot_be_locked_is_still_written(networks, session, spec, gpu):
    gpu.fail('page lock', 99)
    image, out = networks.random_image(20, 30), buffers((20, 30))
    for _ in range(4):
        run(session, image, out=out)
        assert_same(out, on_cpu(spec, image))
    assert gpu.counts['locked'] == 0


# Several images at once --------------------------------------------------------------------


@pytest.mark.parametrize('resize', ['stretch', 'letterbox'])
def test_several_images_give_what_each_gives_on_the_cpu(networks, load, gpu, resize):
    outputs, size = ('mask', 'confidence', 'overlay'), (60, 75)
    images = [networks.random_image(*size, seed) for seed in range(3)]
    spec = batch_of(networks, 3, input={'resize': resize})
    session, outs = load(spec), [buffers(size, outputs) for _ in range(3)]
    session.resize(*size, outputs)
    for _ in range(3):  # the first copies, the second locks, the third is as all that follow
        session.infer(images, outs)
    for image, out in zip(images, outs, strict=True):
        assert_same(out, on_cpu(replace(spec, batch=1), image, outputs))
    assert len(gpu.locked) == 3 * (1 + len(outputs))
    assert gpu.counts['copied in'] - 3 == gpu.counts['copied out'] / 3 == 3 * 3


def test_each_images_array_is_locked_by_itself(networks, load, gpu):
    session, size = load(batch_of(networks, 2)), (20, 30)
    first, second, third = (buffers(size) for _ in range(3))
    session.resize(*size, ('mask',))
    locked = []
    for outs in ([first, second], [first, second], [first, third], [second, third]):
        session.infer([networks.random_image(*size, seed) for seed in range(2)], outs)
        locked.append(sorted(gpu.locked))
    one, two, three = (out['mask'].ctypes.data for out in (first, second, third))
    assert locked == [[], sorted([one, two]), [one], [three]]


def test_frames_of_several_images_allocate_nothing(networks, load, gpu):
    session, size = load(batch_of(networks, 2)), (20, 30)
    images, outs = [networks.random_image(*size)] * 2, [buffers(size) for _ in range(2)]
    session.resize(*size, ('mask',))
    allocated = gpu.counts['allocated']
    for _ in range(4):
        session.infer(images, outs)
    assert gpu.counts['allocated'] == allocated
    assert gpu.counts['launched'] == 4


def test_an_engine_that_mixes_its_images_is_refused(networks, load):
    scores = networks.random_scores(4, 32, 48)
    spec = replace(networks.spec_of(networks.fixed(scores)), batch=2)  # it says one for any
    session = load(spec)
    with pytest.raises(BackendError, match=r"the engine's '\w+' is \[1, .*\] for 2 images"):
        session.resize(20, 30, ('mask',))


# Failures ----------------------------------------------------------------------------------


def test_an_engine_that_cannot_be_recorded_runs_without_a_graph(networks, session, spec, gpu):
    gpu.fail('capture')
    image = networks.random_image(20, 30)
    for _ in range(2):
        found = run(session, image)
    assert_same(found, on_cpu(spec, image))
    assert gpu.counts['launched'] == 0


@pytest.mark.parametrize('when', ['at a new size', 'at a frame'])
def test_after_a_failure_the_next_image_has_new_contexts(networks, session, spec, gpu, when):
    gpu.fail('capture', 99)  # so that each frame is enqueued by TensorRT
    segmenter, image = Segmenter(session, spec), networks.random_image(20, 30)
    wanted = on_cpu(spec, image)['mask']
    if when == 'at a frame':
        segmenter.infer(image)
    gpu.fail('enqueue')
    with pytest.raises(BackendError, match=r'cannot run the engine: .* CUDA launch failure'):
        segmenter.infer(image)
    np.testing.assert_array_equal(segmenter.infer(image).mask, wanted)
    assert gpu.counts['contexts'] == 2


def test_a_lack_of_memory_is_said_and_a_smaller_image_still_works(networks, session, spec, gpu):
    gpu.total = 2_000_000
    segmenter, image = Segmenter(session, spec), networks.random_image(20, 30)
    with pytest.raises(BackendError, match=r'has no \d\.\d MB left .* smaller images'):
        segmenter.infer(networks.random_image(720, 1280))
    np.testing.assert_array_equal(segmenter.infer(image).mask, on_cpu(spec, image)['mask'])


def test_closing_after_a_failure_frees_everything(networks, session, gpu):
    gpu.fail('capture')
    out = run(session, networks.random_image(20, 30))
    gpu.fail('enqueue')
    with pytest.raises(BackendError):
        run(session, networks.random_image(20, 30), out=out)
    session.close()
    assert (gpu.memory, gpu.locked, gpu.graphs) == ({}, {}, {})
