# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""The ONNX Runtime session, below the Segmenter."""

import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from trt_segmentation.backends import open_network
from trt_segmentation.backends.onnxruntime import OnnxRuntimeSession
from trt_segmentation.errors import BackendError
from trt_segmentation.graph.pipeline.prepare import available_outputs, prepare
from trt_segmentation.options import BuildOptions, RunOptions

WEIGHTS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [.375, .375, .375]], np.float32)
SIZE = 9, 14
ALL = ('mask', 'confidence', 'overlay')


@pytest.fixture(scope='session')
def spec(networks):
    return networks.spec_of(networks.pointwise(WEIGHTS, SIZE),
                            input={'color': 'bgr', **networks.PASSED_THROUGH})


@pytest.fixture
def session(spec):
    session = OnnxRuntimeSession(spec, num_threads=1)
    yield session
    session.close()


def test_its_threads_are_as_many_as_told_and_sleep_while_they_wait(spec):
    session = OnnxRuntimeSession(spec, num_threads=2)
    for part in (session._network, session._tail):
        options = part.get_session_options()
        assert options.intra_op_num_threads == 2
        assert options.get_session_config_entry('session.intra_op.allow_spinning') == '0'
    session.close()


@pytest.fixture
def opened_sessions(monkeypatch):
    """Counts the runtime's own sessions."""
    opened = []
    original = onnxruntime.InferenceSession

    def counted(*args, **kwargs):
        opened.append(args)
        return original(*args, **kwargs)

    monkeypatch.setattr(onnxruntime, 'InferenceSession', counted)
    return opened


def classes_of(image):
    return (image.astype(np.float32) @ WEIGHTS.T).argmax(axis=2).astype(np.uint8)


def buffers(size, outputs):
    shapes = {'mask': size, 'confidence': size, 'overlay': (*size, 3)}
    return {name: np.full(shapes[name], 77, np.uint8) for name in outputs}


@pytest.mark.parametrize('outputs', [('mask',), ('overlay',), ('confidence', 'mask'), ALL])
def test_results_land_in_the_arrays(networks, spec, session, outputs):
    image = networks.random_image(*SIZE)
    wanted = networks.Runner(prepare(spec, for_cpu=True))(image)
    session.resize(*SIZE, outputs)
    session.set_palette(spec.palette.table('bgr'))
    for _ in range(2):
        out = buffers(SIZE, outputs)
        session.infer([image], [out])
        for name in outputs:
            np.testing.assert_array_equal(out[name], wanted[name])


def test_nothing_is_written_around_the_arrays(networks, session):
    session.resize(*SIZE, ('mask',))
    frame = np.full((3, *SIZE), 77, np.uint8)
    image = networks.random_image(*SIZE)
    session.infer([image], [{'mask': frame[1]}])
    np.testing.assert_array_equal(frame[1], classes_of(image))
    assert (frame[[0, 2]] == 77).all()


def test_controls_take_effect_without_a_new_session(networks, session, opened_sessions):
    image = networks.random_image(*SIZE)
    session.resize(*SIZE, ALL)
    opened_sessions.clear()
    out = buffers(SIZE, ALL)
    for seed, alpha in enumerate((1, 0, 1)):
        palette = networks.random_image(256, 1, seed)[:, 0]
        channels = [(0, 1, 2), (2, 1, 0), (1, 2, 0)][seed]
        session.set_alpha(alpha)
        session.set_palette(palette)
        session.set_channels(channels)
        session.infer([image], [out])
        np.testing.assert_array_equal(out['mask'], classes_of(image[..., channels]))
        np.testing.assert_array_equal(out['overlay'], palette[out['mask']] if alpha else image)
    assert opened_sessions == []


def test_controls_outlive_a_resize(networks, session):
    session.set_channels((2, 1, 0))
    session.resize(5, 5, ('mask',))
    session.resize(*SIZE, ('mask',))
    image = networks.random_image(*SIZE)
    out = buffers(SIZE, ('mask',))
    session.infer([image], [out])
    np.testing.assert_array_equal(out['mask'], classes_of(image[..., ::-1]))


def test_other_outputs_open_a_tail_and_no_network(networks, spec, opened_sessions):
    session = OnnxRuntimeSession(spec, num_threads=1)
    assert len(opened_sessions) == 2  # what cannot be opened says so at once
    opened_sessions.clear()
    for outputs, count in ((('mask',), 0), (('mask', 'overlay'), 1), (('mask',), 2), (ALL, 3)):
        for size in ((5, 6), SIZE, SIZE):
            session.resize(*size, outputs)
            session.infer([networks.random_image(*size)], [buffers(size, outputs)])
        assert len(opened_sessions) == count
    for model, *_ in opened_sessions:
        assert 'Conv' not in {node.op_type for node in onnx.load_from_string(model).graph.node}


def test_a_failing_network_raises_and_recovers(networks):
    model = networks.pointwise(WEIGHTS, (None, None), names=('pixels', 'conv'))
    model.graph.node.append(helper.make_node('Reshape', ['conv', 'shape'], ['scores']))
    model.graph.initializer.append(helper.make_tensor('shape', TensorProto.INT64, [4],
                                                      [1, 4, *SIZE]))
    model.graph.output[0].CopyFrom(networks.tensor('scores', [1, 4, 'h', 'w']))
    spec = networks.spec_of(model, input={'resize': 'none', 'color': 'bgr', 'scale': 1},
                            output={'kind': 'logits'})
    session = OnnxRuntimeSession(spec, num_threads=1)
    for size, works in ((SIZE, True), ((8, 8), False), (SIZE, True)):
        session.resize(*size, ('mask',))
        image, out = networks.random_image(*size), buffers(size, ('mask',))
        if works:
            session.infer([image], [out])
            np.testing.assert_array_equal(out['mask'], classes_of(image))
        else:
            with pytest.raises(BackendError, match=r'ONNX Runtime failed on a 8x8 image: .+'):
                session.infer([image], [out])


def test_what_the_runtime_does_not_take_is_refused(networks):
    model = networks.onnx_model(
        [helper.make_node('Guess', ['pixels'], ['scores'], domain='own')],
        [networks.tensor('pixels', [1, 3, *SIZE])], [networks.tensor('scores', [1, 4, *SIZE])])
    model.opset_import.append(helper.make_opsetid('own', 1))
    with pytest.raises(BackendError, match=r'net\.onnx: ONNX Runtime does not support .*Guess'):
        OnnxRuntimeSession(networks.spec_of(model))


@pytest.mark.parametrize(('dtype', 'precision'), [
    (TensorProto.FLOAT, 'fp32'), (TensorProto.FLOAT16, 'fp16'), (TensorProto.UINT8, 'fp32')])
def test_info_says_what_really_runs(networks, dtype, precision):
    spec = networks.spec_of(networks.pointwise(WEIGHTS, SIZE, dtype=dtype))
    session = open_network(spec, RunOptions(backend='onnxruntime', num_threads=1,
                                            build=BuildOptions('fp16')))
    assert (session.info.backend, session.info.version, session.info.precision) == \
        ('onnxruntime', onnxruntime.__version__, precision)
    assert str(session.info) == \
        f'onnxruntime {onnxruntime.__version__} on {session.info.device}, {precision}'


@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear'])
def test_open_network_passes_the_interpolation_on(networks, interpolation):
    scores = networks.random_scores(4, 5, 6)
    spec = networks.spec_of(networks.fixed(scores), output={'kind': 'logits'})
    session = open_network(spec, RunOptions(backend='onnxruntime', num_threads=1,
                                            mask_interpolation=interpolation))
    image, out = networks.random_image(21, 33), buffers((21, 33), ('mask',))
    session.resize(21, 33, ('mask',))
    session.infer([image], [out])
    wanted = networks.Runner(prepare(spec, mask_interpolation=interpolation))(image)['mask']
    np.testing.assert_array_equal(out['mask'], wanted)


def test_a_missing_runtime_names_the_fix(spec, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    monkeypatch.delitem(sys.modules, 'trt_segmentation.backends.onnxruntime')
    with pytest.raises(BackendError, match='not installed; pip install onnxruntime'):
        open_network(spec, RunOptions(backend='onnxruntime'))


def assert_as_one_graph(networks, spec, interpolation, size=(21, 33)):
    """Network and tail give the bytes that the whole prepared graph gives."""
    image, outputs = networks.random_image(*size), available_outputs(spec)
    session = OnnxRuntimeSession(spec, num_threads=1, mask_interpolation=interpolation)
    session.set_palette(spec.palette.table('bgr'))
    session.set_channels(spec.channels('bgr'))
    whole = prepare(spec, mask_interpolation=interpolation, for_cpu=True)
    wanted = networks.Runner(whole)(image)
    for asked in (outputs, *((name,) for name in outputs)):
        out = buffers(size, asked)
        session.resize(*size, asked)
        session.infer([image], [out])
        for name in asked:
            np.testing.assert_array_equal(out[name], wanted[name], name)


@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear'])
@pytest.mark.parametrize('resize', ['stretch', 'letterbox'])
def test_two_graphs_give_the_bytes_of_one(networks, kind, resize, interpolation):
    spec = networks.spec_of(networks.KINDS[kind](), input={'resize': resize})
    assert_as_one_graph(networks, spec, interpolation)


@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear'])
def test_scores_in_half_precision_are_rounded_as_in_one_graph(networks, interpolation):
    weights = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    spec = networks.spec_of(networks.pointwise(weights, SIZE, dtype=TensorProto.FLOAT16))
    assert_as_one_graph(networks, spec, interpolation)
