# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Real builds. TensorRT for RTX does them without a GPU; it is always strongly typed."""

import logging
import re
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from trt_segmentation.backends.tensorrt import engine_loader, parsing
from trt_segmentation.backends.tensorrt.api import Capabilities, find_log, find_tensorrt
from trt_segmentation.backends.tensorrt.build_requests import with_precision
from trt_segmentation.backends.tensorrt.builder import (
    Plan,
    UnbuildableError,
    _build,
    apply_options,
    build_plan,
    onnx_name,
    pin_to_float32,
    use_timing_cache,
    with_or_without_pins,
)
from trt_segmentation.backends.tensorrt.parsing import (
    Parsed,
    creation_flags,
    parse,
    reads_axes,
)
from trt_segmentation.demo.clip import read_frame
from trt_segmentation.errors import BackendError, ConfigError, MissingBackendError, ModelError
from trt_segmentation.graph.onnx_tools.network import describe_network, read_network
from trt_segmentation.graph.onnx_tools.opset import opset_of
from trt_segmentation.graph.pipeline.camera_bytes import (
    CAMERA_BYTES,
    CAMERA_ENCODINGS,
    camera_graph,
    camera_profile,
    main_name,
)
from trt_segmentation.graph.pipeline.prepare import (
    MASK_INTERPOLATIONS,
    prepare,
    prepare_head,
    prepare_tail,
)
from trt_segmentation.graph.reading.resolve import resolve
from trt_segmentation.model_config import ModelConfig
from trt_segmentation.options import BuildOptions, CalibrationOptions
from trt_segmentation.segmenter import demo_model

try:
    trt = find_tensorrt()
    find_log().call('no builder', trt.Builder, find_log().logger)
except BackendError as error:
    pytest.skip(f'nothing can be built here: {error}', allow_module_level=True)

SIZES = {'image': ((1, 64, 64, 3), (1, 240, 320, 3), (1, 480, 640, 3))}
WEIGHTS = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, -1]]
CAN = Capabilities.of(trt)


def build(model, options=None, profiles=SIZES, **more):
    return build_plan(model.SerializeToString(), profiles, options or BuildOptions(),
                      float_layers=str.isupper, source='net.onnx', **more)


def prepared(spec, **how):
    return prepare(spec, **how).model


@pytest.fixture
def model(networks):
    return prepared(networks.spec_of(networks.pointwise(WEIGHTS, (32, 48))))


@pytest.fixture
def configured():
    """Return a builder config with these options, and the builder."""
    def configure(**options):
        builder = trt.Builder(find_log().logger)
        config = builder.create_builder_config()
        apply_options(BuildOptions(**options), trt, CAN, builder, config)
        return config
    return configure


@pytest.mark.parametrize('resize', ['stretch', 'letterbox'])
def test_every_kind_of_network_builds(networks, kind, resize):
    spec = networks.spec_of(networks.KINDS[kind](), input={'resize': resize})
    assert len(build(prepared(spec)).plan) > 10_000


@pytest.mark.parametrize(('resize', 'depth', 'interpolation'), [
    ('stretch', 8, 'nearest'), ('letterbox', 16, 'bilinear'), ('none', 16, 'nearest')])
def test_networks_of_one_channel_build(networks, resize, depth, interpolation):
    size = (None, None) if resize == 'none' else (32, 48)
    layout = 'nchw' if depth == 8 else 'nhwc'
    spec = networks.spec_of(networks.pointwise([[1], [-1]], size, layout=layout),
                            input={'resize': resize, 'depth': depth})
    spec = replace(spec, overlay_scale=0.5 if resize == 'letterbox' else 1.0)
    image = tuple((*shape[:3], bands) for shape, bands in zip(SIZES['image'], (1, 1, 3),
                                                              strict=True))
    plan = build(prepared(spec, mask_interpolation=interpolation), profiles={'image': image})
    assert len(plan.plan) > 10_000


@pytest.mark.parametrize('encoding', sorted(set(map(main_name, CAMERA_ENCODINGS))))
def test_conversions_of_cameras_build(encoding):
    sizes = tuple(shape[1:3] for shape in SIZES['image'])
    profile = {CAMERA_BYTES: camera_profile(encoding, 2, sizes)}
    assert len(build(camera_graph(encoding, 2), profiles=profile).plan) > 10_000


def test_several_tasks_build(networks):
    spec = networks.spec_of(networks.heads({'road': WEIGHTS[:2], 'lanes': WEIGHTS}, (32, 48)),
                            outputs=[{'name': 'road'}, {'name': 'lanes'}])
    assert len(build(prepared(spec)).plan) > 10_000


def test_a_plan_that_was_cut_short_is_refused_in_tensorrts_words(model, gpu, monkeypatch,
                                                                 tmp_path):
    monkeypatch.setattr(engine_loader, 'find_device', lambda index: gpu.device)
    loader, path, plan = engine_loader.EngineLoader(), tmp_path / 'net.engine', build(model).plan
    for end in (0, 20, 64, len(plan) // 2, -1):
        path.write_bytes(plan[:end])
        with pytest.raises(ModelError, match=(
                r'net\.engine: TensorRT cannot load the engine: .*Error Code \d.*\. Without '
                rf'net\.engine\.json, .* is unknown; this machine is {trt.__name__} '
                rf'{trt.__version__} on Stand-in GPU .*\. Build it here from its \.onnx file, or '
                'copy it again')):
            loader.describe(path)
    assert gpu.depth() == 0


@pytest.mark.parametrize('grow', [False, True])
@pytest.mark.parametrize('shape', [(1, 4 + 3 + 8, 600), (1, 300, 6 + 8)])
def test_instances_build(networks, shape, grow):
    rng = np.random.default_rng(0)
    found, prototypes = (rng.random(each, np.float32) for each in (shape, (1, 8, 16, 24)))
    model = networks.instances(found, prototypes, size=(64, 96))
    spec = resolve(describe_network(model, 'net.onnx'), networks.config_of(
        output={'grow_masks': grow}, input={'resize': 'letterbox'},
        classes={'labels': ['car', 'bus', 'person']}), instances=True)
    assert spec.pair.kind == 'instances'
    model = prepared(spec)
    assert {'instances', 'detections'} < {value.name for value in model.graph.output}
    assert len(build(model).plan) > 10_000


@pytest.mark.parametrize(('part', 'batch'), [(prepared, 3), (prepare_tail, 1)],
                         ids=['whole', 'tail'])
def test_temporal_smoothing_builds_with_states_of_fixed_size(networks, part, batch):
    spec = networks.spec_of(networks.pointwise(WEIGHTS, (32, 48)), batch=batch)
    model = part(replace(spec, smoothing=True))
    profile = {'image': tuple((batch, *each[1:]) for each in SIZES['image'])}
    assert len(build(model, profiles=profile).plan) > 1000
    states = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
              for value in (*model.graph.input, *model.graph.output)
              if value.name in ('previous', 'state')}
    assert states == {'previous': [batch, 4, 32, 48], 'state': [batch, 4, 32, 48]}


def test_instances_of_queries_build(networks):
    spec = resolve(describe_network(networks.asked((64, 96), 100, 20), 'net.onnx'),
                   networks.config_of(output={'kind': 'queries', 'grow_masks': True},
                                      input={'resize': 'letterbox'}), instances=True)
    model = prepared(spec)
    assert {'instances', 'detections'} < {value.name for value in model.graph.output}
    assert len(build(model).plan) > 10_000


@pytest.mark.parametrize('layout', ['nchw', 'nhwc'])
def test_aligned_corners_build(networks, layout):
    scores = networks.random_scores(4, 8, 12)
    scores = scores if layout == 'nchw' else scores.transpose(0, 2, 3, 1)
    spec = networks.spec_of(networks.fixed(scores, size=(64, 96)), input={'resize': 'letterbox'},
                            output={'layout': layout, 'align_corners': True})
    for interpolation in MASK_INTERPOLATIONS:
        assert len(build(prepared(spec, mask_interpolation=interpolation)).plan) > 1000


@pytest.mark.parametrize('dtype', [TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT64])
@pytest.mark.parametrize('last', [[], [helper.make_node('Identity', ['cast'], ['moved']),
                                       helper.make_node('Flatten', ['moved'], ['flat'], axis=2)],
                                  [helper.make_node('Mul', ['one', 'cast'], ['moved'])]])
def test_ids_that_a_network_casts_to_other_integers_build(networks, dtype, last):
    nodes = [helper.make_node('ArgMax', ['pixels'], ['highest'], axis=1, keepdims=1),
             helper.make_node('Cast', ['highest'], ['cast'], to=dtype), *last]
    shape = [32, 48] if nodes[-1].op_type == 'Flatten' else [1, 1, 32, 48]
    factor = {'one': np.ones((), helper.tensor_dtype_to_np_dtype(dtype))}
    model = networks.onnx_model(nodes, [networks.tensor('pixels', [1, 3, 32, 48])],
                                [networks.tensor(nodes[-1].output[0], shape, dtype)],
                                factor if nodes[-1].op_type == 'Mul' else {})
    assert len(build(prepared(networks.spec_of(model))).plan) > 1000


@pytest.mark.parametrize('dtype', [TensorProto.UINT8, TensorProto.INT8, TensorProto.UINT16])
def test_an_image_of_integers_that_a_network_casts_builds(networks, dtype):
    nodes = [helper.make_node('Transpose', ['pixels'], ['first'], perm=[0, 3, 1, 2]),
             helper.make_node('Cast', ['first'], ['cast'], to=TensorProto.FLOAT)]
    model = networks.onnx_model(nodes, [networks.tensor('pixels', [1, 32, 48, 3], dtype)],
                                [networks.tensor('cast', [1, 3, 32, 48])])
    model.graph.value_info.append(networks.tensor('first', [1, 3, 32, 48], dtype))
    for scale in (None, 2.0):  # the second is clipped to the range of the type
        spec = networks.spec_of(model, input={'scale': scale}, output={'kind': 'logits'})
        assert len(build(prepared(spec)).plan) > 1000
        image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
        masks = [networks.Runner(prepare(spec, ('mask',), for_cpu=for_cpu))(image)['mask']
                 for for_cpu in (False, True)]
        np.testing.assert_array_equal(*masks)


@pytest.mark.parametrize('resize', ['stretch', 'letterbox'])
@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear'])
def test_every_kind_of_network_builds_for_three_images(networks, resize, interpolation):
    sizes = {'image': tuple((3, *shape[1:]) for shape in SIZES['image'])}
    for make in networks.SEEING.values():
        network = describe_network(make(), 'net.onnx')
        spec = resolve(network, networks.config_of(input={'resize': resize}), 3)
        plan = build(prepared(spec, mask_interpolation=interpolation), profiles=sizes)
        assert len(plan.plan) > 10_000


@pytest.mark.parametrize('interpolation', ['nearest', 'bilinear'])
def test_the_demo_network_builds(interpolation):
    spec = replace(resolve(read_network(demo_model()), ModelConfig()),
                   overlay_scale=0.5 if interpolation == 'nearest' else 1.0)
    plan = build(prepared(spec, mask_interpolation=interpolation))
    assert len(plan.plan) > spec.network.model.ByteSize()
    assert plan.seconds > 0


def test_networks_from_elsewhere_build(known_answer):
    spec = resolve(read_network(known_answer.model), known_answer.config)
    assert len(build(prepared(spec)).plan) > 100_000


def typed(spec, precision, images):
    """Return the prepared graph of a network in another precision."""
    options = BuildOptions(precision, calibration=CalibrationOptions(str(images)))
    return prepared(with_precision(spec, options)[0]), options


@pytest.mark.parametrize('precision', ['fp16', 'int8'])
def test_the_demo_network_builds_in_every_precision(precision, tmp_path):
    cv2.imwrite(str(tmp_path / 'road.png'), read_frame(7, 288, 512).image)
    spec = resolve(read_network(demo_model()), ModelConfig())
    model, options = typed(spec, precision, tmp_path)
    assert build(model, options).plan != build(prepared(spec)).plan


@pytest.mark.parametrize('precision', ['fp16', 'int8'])
def test_networks_from_elsewhere_build_in_every_precision(known_answer, precision):
    spec = resolve(read_network(known_answer.model), known_answer.config)
    model, options = typed(spec, precision, known_answer.image)
    ops = {node.op_type for node in model.graph.node}
    halves = {tensor.data_type for tensor in model.graph.initializer} & {TensorProto.FLOAT16}
    assert halves if precision == 'fp16' else 'QuantizeLinear' in ops
    assert len(build(model, options).plan) > 100_000


def test_what_decodes_anchors_stays_in_float_in_int8(networks, tmp_path):
    cv2.imwrite(str(tmp_path / 'noise.png'), networks.random_image(32, 640))
    options = BuildOptions('int8', calibration=CalibrationOptions(str(tmp_path)))
    quantized, kept = with_precision(networks.spec_of(networks.anchored()), options)
    nodes = quantized.network.model.graph.node
    makers = {name: node.op_type for node in nodes for name in node.output}
    read = {node.name: [makers.get(name, '') for name in node.input] for node in nodes}
    assert read['distances'] == read['classes'] == ['DequantizeLinear'] * 2
    assert (read['expect'], read['add corners']) == (['Softmax', ''], ['Sub', 'Add'])
    assert {'expect', 'add corners'} <= set(kept)
    assert not {'body', 'distances', 'classes'} & set(kept)


@pytest.mark.parametrize('resize', ['stretch', 'letterbox'])
@pytest.mark.parametrize('part', [prepare_head, prepare_tail])
def test_head_and_tail_build_alone(networks, part, resize):
    spec = networks.spec_of(networks.pointwise(WEIGHTS, (32, 48), stride=4),
                            input={'resize': resize})
    assert build(part(spec)).plan


def test_a_network_that_is_not_prepared_builds(networks):
    assert build(networks.pointwise(WEIGHTS, (32, 48)), profiles={}).plan


@pytest.mark.parametrize(('profiles', 'message'), [
    ({}, r"'image' of net.onnx has open dimensions"),
    ({'picture': SIZES['image']}, r'no input picture .* it has image, channels'),
    ({'image': SIZES['image'][::-1]}, r"'image', dimension 1: .* 480, 240, 64; none"),
    ({'image': ((1, 0, 64, 3), *SIZES['image'][1:])}, r"'image', dimension 1: .* 0, 240, 480"),
    ({'image': ((1, 64, 64, 4),) * 3}, r"'image', dimension 3: the network fixes it to 3; "
                                       r'.* 4, 4, 4'),
    ({'image': ((64, 64, 3),) * 3}, r"'image' has 4 dimensions; .* \[64, 64, 3\]")])
def test_shapes_that_do_not_fit_are_refused_by_name(model, profiles, message):
    with pytest.raises(ConfigError, match=message):
        build(model, profiles=profiles)


def test_an_operator_that_tensorrt_lacks_is_named_with_its_node(networks):
    node = helper.make_node('Unique', ['x'], ['y'], name='network/odd one')
    model = networks.onnx_model([node], [networks.tensor('x', [8])],
                                [networks.tensor('y', ['n'])])
    with pytest.raises(BackendError, match=rf"TensorRT {trt.__version__} does not support node "
                                           r"'odd one' \(Unique\) of net.onnx .*opset"):
        build(model, profiles={})


@pytest.mark.parametrize(('op', 'domain'), [('FusedGemm', 'com.microsoft'),
                                            ('Upsample', 'com.microsoft.nchwc')])
def test_an_operator_of_another_runtime_has_a_fix_of_its_own(networks, op, domain):
    node = helper.make_node(op, ['x'], ['y'], domain=domain)
    model = networks.onnx_model([node], [networks.tensor('x', [1, 8])],
                                [networks.tensor('y', [1, 8])])
    model.opset_import.append(helper.make_opsetid(domain, 1))
    with pytest.raises(BackendError, match=rf'\({op}\) .* optimizations for another runtime'):
        build(model, profiles={})


def test_what_is_no_onnx_is_said_to_be_none():
    with pytest.raises(ModelError, match=r'net.onnx is not an ONNX model: '):
        build_plan(b'nonsense', {}, BuildOptions(), float_layers=str.isupper, source='net.onnx')


def test_a_lack_of_memory_is_said_to_be_one():
    spec = resolve(read_network(demo_model()), ModelConfig())
    with pytest.raises(BackendError, match=r'lack of GPU memory: raise the option workspace'):
        build(prepared(spec), BuildOptions(workspace=1))


def test_a_node_without_an_implementation_may_be_a_lack_of_memory(monkeypatch):
    """As an H100 said on 2026-11-27, with nine builds at a time; the builder is a stand-in."""
    def refuse(*_):
        find_log().logger.log(trt.Logger.ERROR, 'Could not find any implementation for node '
                                                '{ForeignNode[tail/Cast_62...tail/Gather_69]}.')

    monkeypatch.setattr(trt.Builder, 'build_serialized_network', refuse)
    spec = resolve(read_network(demo_model()), ModelConfig())
    with pytest.raises(BackendError, match=r'Cast_62.*; this can also be a lack of GPU mem'):
        build(prepared(spec))


@pytest.mark.parametrize('option', ['version_compatible', 'hardware_compatible'])
def test_an_option_that_this_tensorrt_lacks_is_refused_by_name(configured, option):
    if getattr(CAN, option):
        pytest.skip(f'TensorRT {CAN.version} has it')
    with pytest.raises(BackendError, match=rf'{option} is true, which TensorRT {CAN.version} '):
        configured(**{option: True})


def test_a_dla_that_is_not_there_is_refused(configured):
    with pytest.raises(BackendError, match=r'dla_core is 9, and this machine has \d DLA cores'):
        configured(dla_core=9)


def test_an_unknown_tactic_source_is_refused_with_the_known_ones(configured):
    with pytest.raises(ConfigError, match=r'tactic_sources has CUBLASS, .* knows .*JIT_CONVOLU'):
        configured(tactic_sources=('JIT_CONVOLUTIONS', 'CUBLASS'))


def test_an_optimization_level_that_is_none_is_refused(configured):
    with pytest.raises(ConfigError, match='optimization_level is 6; it is 0 to 5'):
        configured(optimization_level=6)


def test_options_arrive_in_the_builder_config(configured):
    config = configured(workspace=3, optimization_level=1, tactic_sources=('JIT_CONVOLUTIONS',))
    assert config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE) == 3 << 20
    assert config.builder_optimization_level == 1
    assert config.get_tactic_sources() == 1 << int(trt.TacticSource.JIT_CONVOLUTIONS)
    assert config.profiling_verbosity == trt.ProfilingVerbosity.DETAILED


@pytest.mark.parametrize('tf32', [False, True])
def test_factors_are_rounded_to_tf32_only_on_demand(configured, tf32):
    assert configured(tf32=tf32).get_flag(trt.BuilderFlag.TF32) == tf32


@pytest.mark.skipif(not CAN.strongly_typed, reason='needs a strongly typed TensorRT')
def test_networks_are_strongly_typed_where_that_is_possible():
    network = trt.Builder(find_log().logger).create_network(creation_flags(trt, CAN))
    assert network.get_flag(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


OLD = SimpleNamespace(
    __name__='tensorrt', __version__='8.6.0', float32='float32',
    NetworkDefinitionCreationFlag=SimpleNamespace(EXPLICIT_BATCH=0),
    BuilderFlag=SimpleNamespace(FP16='FP16', INT8='INT8', TF32='TF32',
                                OBEY_PRECISION_CONSTRAINTS='OBEY',
                                PREFER_PRECISION_CONSTRAINTS='PREFER'),
    ProfilingVerbosity=SimpleNamespace(DETAILED='DETAILED'))
"""Names of TensorRT 8.6, which needs a GPU for a single look at it."""


@pytest.mark.parametrize(('precision', 'expected'), [
    ('fp32', set()), ('fp16', {'FP16', 'OBEY'}), ('int8', {'INT8', 'FP16', 'PREFER'})])
def test_an_old_tensorrt_gets_explicit_batch_and_precision_flags(precision, expected):
    flags = {'TF32'}
    config = SimpleNamespace(set_flag=flags.add, clear_flag=flags.remove)
    can = Capabilities.of(OLD)
    apply_options(BuildOptions(precision=precision), OLD, can, None, config)
    assert flags == expected
    assert creation_flags(OLD, can) == 1


@pytest.mark.parametrize('unbuildable', [False, True])
def test_what_cannot_be_built_with_pinned_layers_is_built_without(caplog, unbuildable):
    def build(pins):
        if pins and unbuildable:
            raise UnbuildableError('Could not find any implementation')
        return Plan(b'with pins' if pins else b'without', b'', (), 1.0)

    plan = with_or_without_pins(build)
    assert (plan.plan, plan.unpinned) == ((b'without', True) if unbuildable
                                          else (b'with pins', False))
    assert ('It is rebuilt without layers pinned to float32' in caplog.text) == unbuildable


@pytest.mark.parametrize(('words', 'kind'), [
    ('Could not find any implementation for node {ForeignNode[tail/Cast_62]}.', UnbuildableError),
    ('Assertion !n->candidateRequirements.empty() failed.', UnbuildableError),
    ('Requested amount of GPU memory could not be allocated', BackendError)])
def test_a_lack_of_memory_is_no_reason_to_build_without_pinned_layers(words, kind):
    def fail(*args):
        raise RuntimeError(words)

    with pytest.raises(BackendError, match=re.escape(words)) as caught:
        _build(SimpleNamespace(build_serialized_network=fail), None, None, find_log(), 'no plan')
    assert type(caught.value) is kind


class FakeLayer(SimpleNamespace):
    """A layer as TensorRT 8.6 has it, with one input and these outputs."""

    precision = None

    def __init__(self, name, kind, source, *outputs, shape=False, metadata=''):
        tensors = [SimpleNamespace(dtype=dtype, is_shape_tensor=shape) for dtype in outputs]
        super().__init__(name=name, type=SimpleNamespace(name=kind), num_inputs=2,
                         num_outputs=len(outputs), get_output=tensors.__getitem__, set={},
                         metadata=metadata)
        self.get_input = [SimpleNamespace(dtype=source, is_shape_tensor=shape), None].__getitem__
        self.set_output_type = self.set.__setitem__


PINNED = [FakeLayer('head/Mul_1', 'ELEMENTWISE', 'float32', 'float32'),
          FakeLayer('tail/ArgMax_2', 'TOPK', 'float32', 'float32', 'int32'),
          FakeLayer('tail/Less_3', 'ELEMENTWISE', 'float32', 'bool'),
          FakeLayer('(Unnamed Layer* 7)', 'SHUFFLE', 'float32', 'float32',
                    metadata='[ONNX Layer: tail/Squeeze_4]')]
LEFT = [FakeLayer('network/Conv', 'CONVOLUTION', 'float32', 'float32'),
        FakeLayer('head/constant', 'CONSTANT', 'float32', 'float32'),
        FakeLayer('head/Cast_0', 'CAST', 'uint8', 'float32'),
        FakeLayer('head/Q', 'QUANTIZE', 'float32', 'int8'),
        FakeLayer('head/Scales', 'CONCATENATION', 'float32', 'float32', shape=True),
        FakeLayer('tail/Gather', 'GATHER', 'int32', 'int32')]


def test_float_layers_of_an_old_tensorrt_are_pinned_and_no_others():
    layers = [*PINNED, *LEFT]
    network = SimpleNamespace(num_layers=len(layers), get_layer=layers.__getitem__)
    count = pin_to_float32(OLD, network, lambda name: name.startswith(('head/', 'tail/')))
    assert count == len(PINNED)
    assert [layer.precision for layer in layers] == ['float32'] * 4 + [None] * 6
    assert [layer.set for layer in layers] == [
        {0: 'float32'}, {0: 'float32'}, {}, {0: 'float32'}, *[{}] * 6]


def test_layers_bear_the_names_of_their_nodes(model):
    builder = trt.Builder(find_log().logger)
    network = builder.create_network(creation_flags(trt, CAN))
    parser = trt.OnnxParser(network, find_log().logger)
    assert parser.parse(model.SerializeToString())
    names = {onnx_name(network.get_layer(index)) for index in range(network.num_layers)}
    nodes = {node.name for node in model.graph.node if node.op_type not in ('Constant', 'Shape')}
    assert {name for name in nodes if name.startswith(('head/', 'tail/'))} - names == set()


def test_progress_is_told_from_the_start(model):
    told = []
    build(model, on_progress=told.append)
    assert told[0] == 'building an engine of net.onnx, which can take minutes'


def test_what_the_listener_raises_ends_the_build(model):
    def listener(text):
        raise InterruptedError(text)

    with pytest.raises(InterruptedError, match='building an engine'):
        build(model, on_progress=listener)


@pytest.mark.parametrize('data', [b'', b'of another time', bytes(500)])
def test_a_timing_cache_of_any_kind_does_no_harm(model, data):
    plan = build(model, timing_cache=data)
    assert plan.plan
    assert bool(plan.timing_cache) == CAN.timing_cache


def test_a_timing_cache_that_tensorrt_cannot_read_is_replaced_by_an_empty_one(caplog):
    """As 8.6 does; the builder that is installed here may keep no times at all."""
    log = find_log()

    def create(data):
        if data:
            log.logger.log(trt.ILogger.ERROR, 'The timing cache will not be used!')
        return [data]

    used = []
    config = SimpleNamespace(create_timing_cache=create,
                             set_timing_cache=lambda times, other: used.append(times) or True)
    can = SimpleNamespace(timing_cache=True)
    assert use_timing_cache(config, log, can, b'of another time') == [b'']
    assert used == [[b'']]
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_layers_are_told_or_none_are(model):
    runtime = trt.Runtime(find_log().logger)
    plan = build(model)
    can_load = runtime.deserialize_cuda_engine(plan.plan) is not None
    assert bool(plan.layers) == can_load


def test_a_tensorrt_without_a_builder_is_said_to_have_none(monkeypatch, model):
    lean = SimpleNamespace(__version__='8.6.0', ILogger=trt.ILogger, Runtime=trt.Runtime)
    monkeypatch.setattr('trt_segmentation.backends.tensorrt.builder.find_tensorrt', lambda: lean)
    with pytest.raises(MissingBackendError, match=r'TensorRT 8.6.0 can only run engines'):
        build(model)



def test_this_parser_reads_axes_that_are_an_input():
    builder = trt.Builder(find_log().logger)
    network = builder.create_network(creation_flags(trt, CAN))
    assert reads_axes(Parsed(builder, network, trt.OnnxParser(network, find_log().logger)))


def test_a_parser_that_reduces_over_all_axes_is_found_out():
    """A stand-in for that of TensorRT 8.6, which needs a GPU."""
    network = SimpleNamespace(get_output=lambda index: SimpleNamespace(shape=()))
    assert not reads_axes(Parsed(None, network, SimpleNamespace(parse=lambda model: True)))


def test_a_parser_that_overlooks_axes_gets_an_older_opset(networks, kind, monkeypatch):
    parsed = []
    monkeypatch.setattr(parsing, 'reads_axes', lambda empty: False)
    monkeypatch.setattr(parsing, 'parse',
                        lambda parser, log, model, *names: (parsed.append(model),
                                                            parse(parser, log, model, *names)))
    build(prepared(networks.spec_of(networks.KINDS[kind](opset=18))))
    assert [opset_of(onnx.ModelProto.FromString(model)) for model in parsed] == [17]


def test_a_parser_that_overlooks_axes_gets_older_words_in_the_same_opset(networks, monkeypatch):
    read = []
    monkeypatch.setattr(parsing, 'reads_axes', lambda empty: False)
    monkeypatch.setattr(parsing, 'parse', lambda parser, log, model, *names: read.append(model))
    model = networks.onnx_model([helper.make_node('Shape', ['x'], ['y'], start=1)],
                                [networks.tensor('x', [1, 2])],
                                [networks.tensor('y', [1], TensorProto.INT64)], opset=17)
    parsing.read_onnx(trt, find_log(), model.SerializeToString(), 'net.onnx', 'TensorRT')
    nodes = onnx.ModelProto.FromString(read[0]).graph.node
    assert [node.op_type for node in nodes] == ['Shape', 'Slice']
