# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Build a TensorRT plan from an ONNX graph, in this process; see ``build_process`` for a child."""

import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from trt_segmentation.backends.tensorrt.api import Capabilities, Log, find_log, find_tensorrt
from trt_segmentation.backends.tensorrt.layers import Layer, parse_layers
from trt_segmentation.backends.tensorrt.parsing import read_onnx
from trt_segmentation.backends.tensorrt.progress import Progress, log_progress
from trt_segmentation.errors import (
    BackendError,
    ConfigError,
    MissingBackendError,
    UnbuildableError,
)
from trt_segmentation.options import BuildOptions

logger = logging.getLogger(__name__)

Shape = tuple[int, ...]
Profiles = Mapping[str, tuple[Shape, ...]]

_MIB = 1 << 20
_PRECISION_FLAGS = {'fp32': (), 'fp16': ('FP16',), 'int8': ('INT8', 'FP16')}
"""Unquantized layers of an int8 network run in fp16 where that is faster."""

_CONSTRAINTS = {'fp16': 'OBEY_PRECISION_CONSTRAINTS', 'int8': 'PREFER_PRECISION_CONSTRAINTS'}
"""Builder flag for pinned layers of networks that are not strongly typed. int8 does not use OBEY:
with Q/DQ nodes, TensorRT 8.6 then fails to build every second network; see
docs/reference/tensorrt.md."""

_OPTIMIZATION_LEVELS = range(-1, 6)
_DEFAULT_LEVEL = -1


@dataclass(frozen=True)
class Plan:
    """A built engine.

    Attributes:
        plan: the serialized engine.
        timing_cache: for the next build; empty where this TensorRT has no timing cache.
        layers: of the engine; empty where this machine cannot load the plan.
        seconds: duration of the build, including a failed attempt.
        unpinned: whether the build failed with layers pinned to float32, and pins none.
    """

    plan: bytes
    timing_cache: bytes
    layers: tuple[Layer, ...]
    seconds: float
    unpinned: bool = False


def build_plan(model: bytes, profiles: Profiles, options: BuildOptions, *,
               float_layers: Callable[[str], bool], source: str = 'the network',
               timing_cache: bytes = b'',
               on_progress: Callable[[str], None] = log_progress) -> Plan:
    """Build a plan: seconds to many minutes.

    Args:
        model: a serialized ONNX model; the types of its tensors define the precision.
        profiles: smallest, tuned-for and largest shape of each input with open dimensions.
        options: how to build; ``options.calibration`` is ignored.
        float_layers: returns whether the ONNX node of a name must stay in float32. It is called
            only for old versions, whose networks are not strongly typed.
        source: name of the model in errors.
        timing_cache: of an earlier plan for this GPU and TensorRT; any other content is ignored.
        on_progress: called with a sentence at the start and about every second. An exception in
            it ends the build, at once where TensorRT can be interrupted.

    Raises:
        MissingBackendError: there is no TensorRT, it has no builder, or it finds no GPU.
        BackendError: TensorRT does not support the model or an option, or cannot build.
        ConfigError: profiles that do not fit the model; an option with an unknown value.
        ModelError: ``model`` is not an ONNX model.
    """
    trt, log = find_tensorrt(), find_log()
    name = f'TensorRT {trt.__version__}'
    if not hasattr(trt, 'Builder'):
        raise MissingBackendError(f'{name} can only run engines here; build {source} where all of '
                             'TensorRT is installed')
    can = Capabilities.of(trt)
    started = time.monotonic()

    def attempt(pins: bool) -> Plan:
        parsed = read_onnx(trt, log, model, source, name)
        builder, network = parsed.builder, parsed.network
        config = builder.create_builder_config()
        apply_options(options, trt, can, builder, config)
        config.add_optimization_profile(_profile(builder, network, profiles, source))
        if not can.strongly_typed and pins:
            pin_to_float32(trt, network, float_layers)
        times = use_timing_cache(config, log, can, timing_cache)
        with Progress(trt, can, config, f'building an engine of {source}', on_progress):
            plan = _build(builder, network, config, log, f'{name} cannot build {source}')
        kept = bytes(config.get_timing_cache().serialize()) if times is not None else b''
        return Plan(plan, kept, _inspect(trt, log, plan), time.monotonic() - started)

    if can.strongly_typed or options.precision == 'fp32':
        return attempt(False)
    return with_or_without_pins(attempt)


def with_or_without_pins(build: Callable[[bool], Plan]) -> Plan:
    """Build with layers pinned to float32, or without if that fails; the first failure is logged.

    TensorRT 8.6 has no implementation of some fp16 graphs with pinned layers, such as letterboxed
    instances.

    Args:
        build: called with whether to pin layers.

    Raises:
        UnbuildableError: TensorRT cannot build it either way.
        SegmentationError: anything else that ``build`` raises.
    """
    try:
        return build(True)
    except UnbuildableError as error:
        logger.warning('%s. It is rebuilt without layers pinned to float32, and its masks are '
                       'compared with those of fp32', error)
        return replace(build(False), unpinned=True)


def onnx_name(layer: Any) -> str:
    """Return the name of the ONNX node that a layer was made from, else the layer's own.

    The parser makes names unique and adds unnamed helper layers; the metadata has the name of the
    node.
    """
    found = re.match(r'\[ONNX Layer: (.*)\]', getattr(layer, 'metadata', '') or '')
    return found[1] if found else layer.name


_UNPINNED = {'ASSERTION', 'CAST', 'CONDITION', 'CONDITIONAL_INPUT', 'CONDITIONAL_OUTPUT',
             'CONSTANT', 'DEQUANTIZE', 'IDENTITY', 'ITERATOR', 'LOOP_OUTPUT', 'QUANTIZE',
             'RECURRENCE', 'SHAPE', 'TRIP_LIMIT'}
"""Layer types that compute nothing, or whose precision follows from their tensors."""


def pin_to_float32(trt: Any, network: Any, float_layers: Callable[[str], bool]) -> int:
    """Pin layers of a network that is not strongly typed to float32; return their number.

    Args:
        trt: the module of TensorRT.
        network: its layers are changed.
        float_layers: returns whether the ONNX node of a name must stay in float32.
    """
    pinned = 0
    for layer in map(network.get_layer, range(network.num_layers)):
        outputs = [layer.get_output(index) for index in range(layer.num_outputs)]
        inputs = [layer.get_input(index) for index in range(layer.num_inputs)]
        # Omitted inputs are None. A comparison has floats only among its inputs.
        floats = [tensor for tensor in (*inputs, *outputs) if tensor is not None
                  and tensor.dtype == trt.float32 and not tensor.is_shape_tensor]
        if not floats or layer.type.name in _UNPINNED or not float_layers(onnx_name(layer)):
            continue
        layer.precision = trt.float32
        for index, tensor in enumerate(outputs):
            if tensor.dtype == trt.float32 and not tensor.is_shape_tensor:
                layer.set_output_type(index, trt.float32)
        pinned += 1
    return pinned


def apply_options(options: BuildOptions, trt: Any, can: Capabilities, builder: Any,
                  config: Any) -> None:
    """Write the options into a builder config.

    Raises:
        BackendError: an option that this TensorRT or this machine does not support.
        ConfigError: an unknown value of an option.
    """
    flags = trt.BuilderFlag
    # The engine inspector needs it to report the precision of layers.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    (config.set_flag if options.tf32 else config.clear_flag)(flags.TF32)
    if not can.strongly_typed and options.precision != 'fp32':
        for name in _PRECISION_FLAGS[options.precision]:
            config.set_flag(getattr(flags, name))
        config.set_flag(getattr(flags, _CONSTRAINTS[options.precision]))
    if options.workspace:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace * _MIB)
    if options.optimization_level not in _OPTIMIZATION_LEVELS:
        raise ConfigError(f'optimization_level is {options.optimization_level}; it is 0 to 5, or '
                          "-1 for TensorRT's default", settings=['optimization_level'])
    if options.optimization_level != _DEFAULT_LEVEL:
        config.builder_optimization_level = options.optimization_level
    if options.tactic_sources is not None:
        config.set_tactic_sources(_tactic_mask(trt, options.tactic_sources))
    if options.version_compatible:
        _demand(can.version_compatible, 'version_compatible', can)
        config.set_flag(flags.VERSION_COMPATIBLE)
    if options.hardware_compatible:
        _demand(can.hardware_compatible, 'hardware_compatible', can)
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    if options.dla_core >= 0:
        _use_dla(options.dla_core, trt, builder, config)


def _demand(possible: bool, option: str, can: Capabilities) -> None:
    if not possible:
        raise BackendError(f'{option} is true, which TensorRT {can.version} does not support; it '
                           'must be false')


def _tactic_mask(trt: Any, names: tuple[str, ...]) -> int:
    known = trt.TacticSource.__members__
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f'tactic_sources has {", ".join(unknown)}, which TensorRT '
                          f'{trt.__version__} does not know; it knows {", ".join(known)}',
                          settings=['tactic_sources'])
    return sum(1 << int(known[name]) for name in set(names))


def _use_dla(core: int, trt: Any, builder: Any, config: Any) -> None:
    count = builder.num_DLA_cores
    if core >= count:
        raise BackendError(f'dla_core is {core}, and this machine has {count} DLA cores; it must '
                           f'be {f"0 to {count - 1}" if count else "-1 (none)"}')
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def _profile(builder: Any, network: Any, profiles: Profiles, source: str) -> Any:
    """Check the shapes against the network and return the profile of them."""
    profile = builder.create_optimization_profile()
    inputs = {tensor.name: tuple(tensor.shape)
              for tensor in map(network.get_input, range(network.num_inputs))}
    if unknown := sorted(set(profiles) - set(inputs)):
        raise ConfigError(f'{source} has no input {", ".join(unknown)} for the given shapes; it '
                          f'has {", ".join(inputs)}')
    for name, shape in inputs.items():
        if name in profiles:
            _check_shapes(name, shape, profiles[name])
            profile.set_shape(name, *profiles[name])
        elif -1 in shape:
            raise ConfigError(f"input '{name}' of {source} has open dimensions, {list(shape)}, "
                              'and no shapes were given for it')
    return profile


def _check_shapes(name: str, shape: Shape, given: tuple[Shape, ...]) -> None:
    smallest, tuned, largest = given
    if not len(shape) == len(smallest) == len(tuned) == len(largest):
        raise ConfigError(f"input '{name}' has {len(shape)} dimensions; the shapes given for it "
                          f'are {", ".join(str(list(each)) for each in given)}')
    for axis, (extent, *bounds) in enumerate(zip(shape, *given, strict=True)):
        if not 0 < bounds[0] <= bounds[1] <= bounds[2]:
            raise ConfigError(f"input '{name}', dimension {axis}: smallest, tuned-for and largest "
                              f'are {", ".join(map(str, bounds))}; none may be larger than the '
                              'next, and all are at least 1')
        if extent != -1 and set(bounds) != {extent}:
            raise ConfigError(f"input '{name}', dimension {axis}: the network fixes it to "
                              f'{extent}; the shapes given are {", ".join(map(str, bounds))}')


def use_timing_cache(config: Any, log: Log, can: Capabilities, data: bytes) -> Any:
    """Give a build a timing cache; return it, since it must live until the build ends.

    Returns None where this TensorRT has no timing cache.
    """
    for content in (data, b'') if can.timing_cache else ():
        try:  # for data that it cannot read, TensorRT 8.6 returns a cache that it does not use
            times = log.call('timing cache', config.create_timing_cache, content, strict=True)
            log.call('timing cache', config.set_timing_cache, times, False, strict=True)
        except BackendError as error:  # of another version or GPU: start with an empty one
            logger.debug('%s', error)
        else:
            return times
    return None


_ADVICE = (
    (re.compile(r'out of memory|outofmemory|insufficient (workspace|memory)|bad_alloc|'
                r'workspace (size|limit)|memory allocation|could not be allocated|'
                r'could not allocate', re.I),
     'this is a lack of GPU memory: raise the option workspace if you set it, close other '
     'programs on the GPU, or lower max_size', BackendError),
    (re.compile(r'could not find any implementation', re.I),
     'this can also be a lack of GPU memory: close other programs on the GPU, or build fewer '
     'engines at a time; else try another optimization_level or precision', UnbuildableError),
    (re.compile(r'libnvinfer_lean'),
     'version_compatible needs the lean runtime, which is not installed: install it, or leave '
     'the option out', BackendError))
"""Pattern of a TensorRT error, the advice to add and the class to raise; the first match is used.
"""

_IN_ADVICE = ('max_size', 'optimization_level', 'version_compatible')
"""Settings that ``_ADVICE`` names; others, such as workspace, are also words of TensorRT."""


def _build(builder: Any, network: Any, config: Any, log: Log, what: str) -> bytes:
    try:
        return bytes(log.call(what, builder.build_serialized_network, network, config))
    except BackendError as error:
        for pattern, advice, kind in _ADVICE:
            if pattern.search(str(error)):
                raise kind(f'{error}; {advice}', _IN_ADVICE) from error
        raise UnbuildableError(str(error)) from error


def _inspect(trt: Any, log: Log, plan: bytes) -> tuple[Layer, ...]:
    try:
        runtime = log.call('no runtime', trt.Runtime, log.logger)
        if hasattr(runtime, 'engine_host_code_allowed'):
            runtime.engine_host_code_allowed = True  # version-compatible plans hold code: ours
        engine = log.call('cannot load', runtime.deserialize_cuda_engine, plan)
        inspector = engine.create_engine_inspector()
        return parse_layers(log.call('cannot inspect', inspector.get_engine_information,
                                     trt.LayerInformationFormat.JSON))
    except BackendError as error:
        logger.debug('the new plan cannot be inspected here: %s', error)
        return ()
