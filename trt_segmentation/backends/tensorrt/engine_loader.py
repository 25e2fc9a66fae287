# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Opens a network or an engine file as a session."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import onnx

from trt_segmentation.backends.base import BackendInfo, Session
from trt_segmentation.backends.tensorrt.api import find_tensorrt
from trt_segmentation.backends.tensorrt.build_requests import (
    GraphRequest,
    Machine,
    NetworkRequest,
    build_options,
    sample_images,
    tensor_infos,
    with_precision,
)
from trt_segmentation.backends.tensorrt.cache import (
    Engine,
    EngineCache,
    key_of,
    read_engine,
)
from trt_segmentation.backends.tensorrt.converters import Converters
from trt_segmentation.backends.tensorrt.cuda import close_all, find_device
from trt_segmentation.backends.tensorrt.external_engine import (
    describe_stage,
    external_stage,
    stage_facts,
)
from trt_segmentation.backends.tensorrt.external_on_cpu import ExternalOnCpuSession
from trt_segmentation.backends.tensorrt.fp16_fallback import enqueue_ms, int8_or_fp16
from trt_segmentation.backends.tensorrt.layers import (
    Layer,
    as_json,
    from_json,
    parse_layers,
    precision_run,
    summary,
)
from trt_segmentation.backends.tensorrt.session import TensorRtSession
from trt_segmentation.backends.tensorrt.stage import Stage
from trt_segmentation.backends.tensorrt.stage_runner import StageRunner, run_once
from trt_segmentation.backends.tensorrt.verify import (
    agreement_with_fp32,
    check_batch,
    warn_if_low,
)
from trt_segmentation.cache_folder import cache_folder
from trt_segmentation.classes.mask_encoding import MONO8, MaskEncoding, mask_encoding
from trt_segmentation.errors import BackendError, ConfigError, ModelError, SegmentationError
from trt_segmentation.graph.analysis.measurement import measurement_setup
from trt_segmentation.graph.onnx_tools.network import outline_network, read_network
from trt_segmentation.graph.pipeline.camera_bytes import (
    CAMERA_BYTES,
    camera_graph,
    camera_profile,
    main_name,
)
from trt_segmentation.graph.pipeline.output_names import kind_of
from trt_segmentation.graph.pipeline.prepare import prepare_head, prepare_tail
from trt_segmentation.graph.pipeline.tensors import check_states
from trt_segmentation.graph.precision.int8 import is_quantized
from trt_segmentation.graph.reading.batch import batched
from trt_segmentation.graph.reading.instance_tensors import instance_tensors
from trt_segmentation.graph.reading.resolve import ModelSpec, resolve, with_mask
from trt_segmentation.model_config import ModelConfig
from trt_segmentation.options import BuildOptions, RunOptions

logger = logging.getLogger(__name__)


class EngineLoader:
    """Opens networks and engine files on one GPU.

    Args:
        device: index of the GPU.
        cache: folder of built engines; '' takes the user's cache folder.

    Attributes:
        machine: the TensorRT and GPU that engines are built for.

    Raises:
        MissingBackendError: TensorRT, PyCUDA, the driver or the GPU is not available.
    """

    def __init__(self, device: int = 0, cache: str = '') -> None:
        tensorrt = find_tensorrt()
        self._device = find_device(device)
        self._cache = EngineCache(cache_folder(cache))
        self.machine = Machine(f'{tensorrt.__name__} {tensorrt.__version__}', self._device.name,
                               self._device.compute_capability, self._device.properties)

    def open_network(self, spec: ModelSpec, options: BuildOptions, mask_interpolation: str,
                     ) -> TensorRtSession:
        """Open a network; if the cache has no engine of it, build one first.

        Raises:
            ConfigError: int8 without calibration data, or options that contradict each other.
            BackendError: TensorRT does not support the network.
        """
        request = NetworkRequest(spec, options, mask_interpolation, self.machine)
        engine = self._fetch(request)
        if reason := engine.facts.get('fp16_instead'):
            logger.info('%s: runs in fp16, though int8 was asked for: %s', spec.network.source,
                        reason)
        try:
            return self._open_single(engine)
        except BackendError as error:
            path = self._cache.path_of(request.name, engine.facts['key'])
            raise BackendError(f'{spec.network.source}: {_sentence(error)} Its engine was built '
                               f'for this machine, {self.machine}. Close other programs on the '
                               f'GPU, or remove {path} to have it rebuilt') from error

    def fetch(self, spec: ModelSpec, options: BuildOptions, mask_interpolation: str) -> Engine:
        """Return the engine of a network; see ``open_network``."""
        return self._fetch(NetworkRequest(spec, options, mask_interpolation, self.machine))

    def _fetch(self, request: NetworkRequest) -> Engine:
        check_states(request.spec)
        key_facts = request.key_facts()
        engine = self._cache.fetch(request.name, key_facts, lambda: self._build(request))
        return replace(engine, facts={**engine.facts, 'key': key_of(key_facts)})

    def open_network_only(self, spec: ModelSpec, options: BuildOptions) -> StageRunner:
        """Open the network only, without head and tail; for speed comparisons."""
        plan = self.fetch_network_only(spec, options).plan
        (stage,) = self._load_all([plan], f'{spec.network.source}: the network only')
        try:
            return StageRunner(self._device, stage)
        except BaseException:
            self._close([stage])
            raise

    def fetch_network_only(self, spec: ModelSpec, options: BuildOptions) -> Engine:
        """Return an engine of the network only, without head and tail."""
        typed, kept = with_precision(spec, options)
        model = batched(typed.network.model, spec.batch)
        return self._fetch_part('plain', model, spec, options, kept)

    def describe(self, path: Path) -> Engine:
        """Return an engine file with its description, from its sidecar or from the engine.

        Raises:
            ModelError: the file is damaged, or has no sidecar and does not run on this machine.
        """
        engine = read_engine(path)
        if engine.facts:
            return engine
        stage = self._load_external(path, engine.plan)
        try:
            return replace(engine, facts=stage_facts(stage) | {
                'machine': asdict(self.machine), 'layers': as_json(_inspected(stage))})
        finally:
            self._close([stage])

    def _build(self, request: NetworkRequest) -> Engine:
        """Build an engine; for int8 the faster one of int8 and fp16, see ``int8_or_fp16``."""
        options = request.options
        if options.precision != 'int8' or not options.fp16_fallback \
                or is_quantized(request.spec.network):
            return self._build_requested(request)
        half = replace(request, options=replace(options, precision='fp16'))
        return int8_or_fp16(lambda: self._build_requested(request), lambda: self._fetch(half),
                            partial(self._gpu_ms, spec=request.spec, options=options), options,
                            request.spec.network.source)

    def _gpu_ms(self, engines: Sequence[Engine], spec: ModelSpec, options: BuildOptions,
                ) -> list[float]:
        """Median milliseconds of one enqueue with only the mask, at the size tuned for."""
        sessions: list[TensorRtSession] = []
        try:
            for engine in engines:
                sessions.append(self._open_single(engine))
            return enqueue_ms(sessions, spec, options.opt_size)
        finally:
            close_all(session.close for session in sessions)

    def _build_requested(self, request: NetworkRequest) -> Engine:
        """Build an engine and compare its masks with those of the network in fp32."""
        check_batch(request.spec)
        engine = request.make(self._cache, self._device.index)
        images = sample_images(request.options, request.spec.gray_bits,
                               largest=engine.facts['unpinned'])
        session = self._open_single(engine)
        try:
            agreement = agreement_with_fp32(session, request.spec, request.mask_interpolation,
                                            images)
        finally:
            session.close()
        warn_if_low(agreement, request.options.precision, request.spec.network.source)
        return replace(engine, facts={**engine.facts, 'agreement_with_fp32': agreement})

    def open_engine(self, path: Path, config: ModelConfig, options: RunOptions,
                    ) -> tuple[Session, ModelSpec]:
        """Open an engine file: one that this package built, or an external one.

        Args:
            path: of the plan.
            config: the user's config; it takes precedence over the sidecar.
            options: for the parts that are built here: head and tail, or the whole engine.

        Raises:
            ModelError: the file is damaged, or does not run on this machine and its network is
                unknown.
            ConfigError: the config contradicts the engine.
        """
        engine = read_engine(path)
        if engine.facts:
            if 'config' not in engine.facts:
                raise ModelError(f'{path}: is only a part of another engine; open that engine, '
                                 'or its network')
            return self._open_own(path, engine, config, options)
        return self._open_external(path, engine.plan, config, options)

    def _open_own(self, path: Path, engine: Engine, config: ModelConfig, options: RunOptions,
                  ) -> tuple[Session, ModelSpec]:
        facts = engine.facts
        if options.mask_encoding != _encoding(facts).name:
            raise ConfigError(f'{path}: a {options.mask_encoding} mask was requested, but '
                              f'{_encoding(facts).name} is compiled into the engine; set '
                              'mask_encoding to that, or rebuild the engine',
                              settings=['mask_encoding'])
        if options.mask_size not in (None, _mask_size(facts)):
            height, width = options.mask_size
            raise ConfigError(f'{path}: a mask of {width}x{height} was requested, which is not '
                              'compiled into the engine; rebuild it with that size')
        if options.overlay_scale not in (1, _overlay_scale(facts)):
            raise ConfigError(f'{path}: an overlay_scale of {options.overlay_scale:g} was '
                              f'requested, but {_overlay_scale(facts):g} is compiled into the '
                              'engine; rebuild it with --overlay-scale '
                              f'{options.overlay_scale:g}', settings=['overlay_scale'])
        if options.batch != _batch(facts):
            raise ConfigError(f'{path}: takes {_batch(facts)} images at once, but batch is '
                              f'{options.batch}; set it to that, or rebuild the engine',
                              settings=['batch'])
        if options.smoothing and not _has_smoothing(facts):
            raise ConfigError(f'{path}: temporal smoothing is not compiled into the engine; '
                              'rebuild it with trt-segmentation build --temporal-smoothing, or '
                              'open it without smoothing', settings=['temporal_smoothing'])
        merged = _over_compiled(path, config, facts)
        network = outline_network(str(path), tensor_infos(facts['network']['inputs']),
                                  tensor_infos(facts['network']['outputs']))
        spec = _as_compiled(resolve(network, merged), facts)
        try:
            return self._open_single(engine), spec
        except BackendError as error:
            return self._open_rebuilt(path, facts, merged, options.build, error)

    def _open_rebuilt(self, path: Path, facts: Mapping[str, Any], config: ModelConfig,
                      options: BuildOptions, error: BackendError) -> tuple[Session, ModelSpec]:
        source = Path(facts['network']['source'])
        built_for = Machine(**facts['machine'])
        if built_for == self.machine:
            raise ModelError(f'{path}: {_sentence(error)} It was built for this machine, '
                             f'{self.machine}. Close other programs on the GPU, or rebuild it '
                             f'from {source}') from error
        reason = (f'{path}: {_sentence(error)} It was built for {built_for}; this machine is '
                  f'{self.machine}.')
        if not source.is_file():
            raise ModelError(f'{reason} Its network {source} does not exist; build it here from '
                             'the .onnx file') from error
        logger.warning('%s It is rebuilt from %s', reason, source)
        try:
            # The engine's config is complete, so nothing is measured.
            spec = _as_compiled(resolve(read_network(source), config, _batch(facts),
                                        instances=_has_instances(facts)), facts)
            built_with = build_options(facts['options'])
            if options.calibration != BuildOptions().calibration:
                built_with = replace(built_with, calibration=options.calibration)
            return self.open_network(spec, built_with, facts['mask_interpolation']), spec
        except SegmentationError as failure:
            raise ModelError(f'{reason} It cannot be rebuilt here: {failure}') from failure

    def _open_external(self, path: Path, plan: bytes, config: ModelConfig, options: RunOptions,
                      ) -> tuple[Session, ModelSpec]:
        if options.batch != 1:
            raise ConfigError(f'{path}: is an external engine and takes one image at a time, but '
                              f'batch is {options.batch}; open its .onnx file, or run one node '
                              'per camera')
        stage = external_stage(self._load_external(path, plan))
        try:
            return self._open_loaded(path, stage, config, options, plan)
        except BaseException:
            self._close([stage])
            raise

    def _open_loaded(self, path: Path, stage: Stage, config: ModelConfig, options: RunOptions,
                     plan: bytes) -> tuple[Session, ModelSpec]:
        if {'image', 'mask'} <= {kind_of(name) for name, _, _ in stage.tensors()}:
            raise ModelError(f'{path}: its sidecar {path.name}.json is missing, which has its '
                             'classes; trt-segmentation build wrote it beside the engine')
        measuring = measurement_setup(options)
        if measuring is not None:
            measuring = replace(measuring, plan=plan, run=partial(run_once, self._device, stage))
        with self._device.current():
            spec = resolve(describe_stage(stage, config, str(path)), config, measuring=measuring)
        spec = with_mask(spec, options)
        info, interpolation = self._info(_inspected(stage)), options.mask_interpolation
        if not hasattr(find_tensorrt(), 'Builder'):
            if spec.smoothing:
                raise ConfigError(f'{path}: {self.machine.tensorrt} has no builder, so the tail '
                                  'runs on the CPU, where an external engine has no temporal '
                                  'smoothing; install all of TensorRT, or open it without '
                                  'smoothing', settings=['temporal_smoothing'])
            logger.warning('%s has no builder: head and tail run on the CPU',
                           self.machine.tensorrt)
            return ExternalOnCpuSession(self._device, stage, spec, interpolation, info), spec
        exact = replace(options.build, precision='fp32')
        parts = {'head': prepare_head(spec),
                 'tail': prepare_tail(spec, mask_interpolation=interpolation)}
        plans = [self._fetch_part(name, model, spec, exact).plan for name, model in parts.items()]
        head, tail = self._load_all(plans, f'{path}: its head and tail')
        return TensorRtSession(self._device, [head, stage, tail], info, spec.encoding,
                               tasks=[task.name for task in spec.tasks],
                               converters=self._converters(1, lambda: options.build)), spec

    def _load_all(self, plans: Sequence[bytes], what: str) -> list[Stage]:
        """Load plans that were built here; ``what`` is their name in errors."""
        stages: list[Stage] = []
        try:
            for plan in plans:
                stages.append(Stage.load(plan, self._device))
        except BackendError as error:
            self._close(stages)
            raise BackendError(f'{what}, built for this machine, {self.machine}, cannot be '
                               f'loaded: {_sentence(error)} Close other programs on the GPU, or '
                               f'empty {self._cache.folder}, so that it is rebuilt'
                               ) from error
        except BaseException:
            self._close(stages)
            raise
        return stages

    def _close(self, stages: Sequence[Stage]) -> None:
        with self._device.current():
            close_all(stage.close for stage in stages)

    def _load_external(self, path: Path, plan: bytes) -> Stage:
        try:
            return Stage.load(plan, self._device)
        except BackendError as error:
            raise ModelError(f'{path}: {_sentence(error)} Without {path.name}.json, the machine '
                             f'that it was built for is unknown; this machine is {self.machine}. '
                             'Build it here from its .onnx file, or copy it again if '
                             f'{len(plan)} bytes is not its full size') from error

    def _fetch_part(self, name: str, model: onnx.ModelProto, spec: ModelSpec,
                    options: BuildOptions, kept: tuple[str, ...] = ()) -> Engine:
        source = Path(spec.network.source)
        request = GraphRequest(model, f'{name} of {source}', options, self.machine, kept)
        return self._cache.fetch(f'{source.stem}-{name}', request.key_facts(),
                                 lambda: request.make(self._cache, self._device.index))

    def fetch_converter(self, encoding: str, batch: int, options: BuildOptions) -> Engine:
        """Return the engine that converts an encoding of cameras to BGR.

        It is built at optimization level 0. On an H200, TensorRT 8.6 built the one of yuyv in 12 s
        instead of 40; it takes 0.20 ms instead of 0.16 for 1920x1080.

        Args:
            encoding: one of ``graph.pipeline.camera_bytes.CAMERA_ENCODINGS``.
            batch: number of images at once.
            options: of the network that it runs before.

        Raises:
            BackendError: it cannot be built.
        """
        name = main_name(encoding)
        exact = replace(options, precision='fp32', tf32=False, dla_core=-1, optimization_level=0)
        sizes = options.min_size, options.opt_size, options.max_size
        request = GraphRequest(camera_graph(name, batch), f'the conversion of {name}', exact,
                               self.machine,
                               profile={CAMERA_BYTES: camera_profile(name, batch, sizes)})
        return self._cache.fetch(f'camera-{name}', request.key_facts(),
                                 lambda: request.make(self._cache, self._device.index))

    def _converters(self, batch: int, options: Callable[[], BuildOptions]) -> Converters:
        return Converters(self._device,
                          lambda encoding: self.fetch_converter(encoding, batch, options()).plan)

    def _open_single(self, engine: Engine) -> TensorRtSession:
        """Open an engine that has head, network and tail."""
        facts = engine.facts
        info = self._info(from_json(facts.get('layers', ())), facts.get('key', ''))
        return TensorRtSession(self._device, [Stage.load(engine.plan, self._device)], info,
                               _encoding(facts), _batch(facts), _tasks(facts),
                               self._converters(_batch(facts),
                                                lambda: build_options(facts['options'])))

    def _info(self, layers: tuple[Layer, ...], key: str = '') -> BackendInfo:
        return BackendInfo('tensorrt', self.machine.tensorrt.split()[1], self.machine.gpu,
                           precision_run(layers) or 'unknown precision', summary(layers), key)


def _sentence(error: Exception) -> str:
    """Return the message of an error, which may end with one of TensorRT, with a full stop."""
    return f'{str(error).rstrip(". ")}.'


def _as_compiled(spec: ModelSpec, facts: Mapping[str, Any]) -> ModelSpec:
    """Return the spec with what is compiled into an engine besides its config."""
    return replace(spec, mask_size=_mask_size(facts), encoding=_encoding(facts),
                   batch=_batch(facts), overlay_scale=_overlay_scale(facts),
                   smoothing=_has_smoothing(facts))


def _has_instances(facts: Mapping[str, Any]) -> bool:
    """Whether the engine was built with ``RunOptions.instances``."""
    network = outline_network('', tensor_infos(facts['network']['inputs']),
                              tensor_infos(facts['network']['outputs']))
    return any(instance_tensors(network, task) for task in _tasks(facts))


def _mask_size(facts: Mapping[str, Any]) -> tuple[int, int] | None:
    size = facts['mask_size']
    return size and (size[0], size[1])


def _encoding(facts: Mapping[str, Any]) -> MaskEncoding:
    return mask_encoding(facts.get('mask_encoding', MONO8.name))  # missing in older engines


def _batch(facts: Mapping[str, Any]) -> int:
    return facts.get('batch', 1)  # as above


def _overlay_scale(facts: Mapping[str, Any]) -> float:
    return facts.get('overlay_scale', 1.0)  # as above


def _tasks(facts: Mapping[str, Any]) -> Sequence[str]:
    return facts.get('tasks', ('',))  # as above


def _has_smoothing(facts: Mapping[str, Any]) -> bool:
    return facts.get('smoothing', False)  # as above


def _inspected(stage: Stage) -> tuple[Layer, ...]:
    json_format = find_tensorrt().LayerInformationFormat.JSON
    return parse_layers(stage.engine.create_engine_inspector().get_engine_information(json_format))


def _over_compiled(path: Path, config: ModelConfig, facts: Mapping[str, Any]) -> ModelConfig:
    """Return the config compiled into an engine, with names and colours of the user's config."""
    compiled = ModelConfig.from_text(facts['config'], f'{path}.json')
    given = {each.task: each.classes for each in config.tasks}
    merged = config.over(compiled)
    if _compiled_in(merged) != _compiled_in(compiled):
        raise ConfigError(f'{path}: the config differs from the one compiled into the engine '
                          f'(see {path.name}.json) in input, output, unlabelled or merge; '
                          'rebuild the engine with that config')
    return ModelConfig.of_tasks(merged.input, tuple(
        replace(each, classes=replace(each.classes, colors=None))
        if each.classes.fault() and given[each.task].colors is None else each
        for each in merged.tasks))


def _compiled_in(config: ModelConfig) -> tuple[Any, ...]:
    """The values of a config that are compiled into an engine: all but names and colours."""
    return config.input, {each.task: (each.output, each.classes.unlabelled, each.classes.merge)
                          for each in config.tasks}
