# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Requests for engines: conversion to the precision, cache key, and build."""

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from trt_segmentation.backends.tensorrt.cache import Engine, EngineCache, key_of
from trt_segmentation.backends.tensorrt.layers import as_json, summary
from trt_segmentation.graph.onnx_tools.network import (
    TensorInfo,
    describe_network,
    dtype_name,
    shape_text,
)
from trt_segmentation.graph.onnx_tools.weights import model_digest
from trt_segmentation.graph.pipeline.prepare import prepare
from trt_segmentation.graph.pipeline.tensors import NETWORK_PREFIX
from trt_segmentation.graph.precision.calibration import calibration_digest, samples_digest
from trt_segmentation.graph.precision.fp16 import to_fp16
from trt_segmentation.graph.precision.int8 import is_quantized, to_int8
from trt_segmentation.graph.precision.rewriting import decoding_nodes
from trt_segmentation.graph.reading.instance_tensors import PREFIX as INSTANCES_PREFIX
from trt_segmentation.graph.reading.resolve import ModelSpec, complete_config
from trt_segmentation.options import BuildOptions, CalibrationOptions

logger = logging.getLogger(__name__)

_RECIPE = 5
"""Part of the cache's key; raise it when the same inputs must give another engine."""

_READ_BY_BUILDS = ('NVIDIA_TF32_OVERRIDE',)
"""Environment variables that change what TensorRT builds."""

_CONVERTERS = ('onnx', 'onnxruntime', 'onnxruntime-gpu')
"""Distributions that convert a network to fp16 or int8."""

_IN_WORDS = {'multiprocessor_count': 'multiprocessors', 'memory_gib': 'GiB'}

_SAMPLE_COUNT = 4


@dataclass(frozen=True)
class Machine:
    """The TensorRT and GPU that an engine is built for.

    Attributes:
        tensorrt: module and version, for example 'tensorrt 8.6.0'.
        gpu: name of the GPU.
        compute_capability: for example '9.0'.
        properties: of ``cuda.Device``; missing in older engines.
    """

    tensorrt: str
    gpu: str
    compute_capability: str
    properties: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        more = ''.join(f', {self.properties[name]} {unit}' for name, unit in _IN_WORDS.items()
                       if name in self.properties)
        return (f'{self.tensorrt} on {self.gpu} (compute capability {self.compute_capability}'
                f'{more})')


@dataclass(frozen=True)
class GraphRequest:
    """A request for an engine of a prepared graph.

    Attributes:
        model: inputs other than ``image`` and those of ``profile`` must have fixed sizes.
        source: its name in messages.
        options: how it is built; calibration is ignored.
        machine: the engine will run on.
        kept: nodes of the network that stay in float32 whatever the precision is.
        profile: smallest, tuned-for and largest shape of inputs other than ``image`` that have
            open dimensions.
    """

    model: onnx.ModelProto
    source: str
    options: BuildOptions
    machine: Machine
    kept: tuple[str, ...] = ()
    profile: Mapping[str, tuple] = field(default_factory=dict)

    def key_facts(self) -> dict[str, Any]:
        """Return all that the engine depends on, for its cache key."""
        options = asdict(self.options)
        del options['calibration']
        if self.options.precision != 'int8':
            del options['fp16_fallback']  # which has no effect then
        environment = {name: os.environ[name] for name in _READ_BY_BUILDS if name in os.environ}
        profile = {'profile': self.profile} if self.profile else {}
        return {'recipe': _RECIPE, 'graph': model_digest(self.model), 'options': options,
                'kept': list(self.kept), 'environment': environment,
                'machine': asdict(self.machine), **profile}

    def make(self, cache: EngineCache, device: int) -> Engine:
        """Build the engine; a minute or two.

        Args:
            cache: has TensorRT's timings of earlier builds.
            device: index of the GPU to build on.

        Raises:
            ConfigError: options that contradict each other.
            BackendError: TensorRT does not support the graph.
        """
        from trt_segmentation.backends.tensorrt.build_process import build_in_child
        profile = {**_camera_profile(self.model, self.options), **self.profile}
        plan = build_in_child(
            self.model.SerializeToString(), profile, self.options, source=self.source,
            device=device, timing_cache=cache.read_timing_cache(self._timings),
            float_layers=functools.partial(_computes_in_float, kept=frozenset(self.kept)))
        cache.write_timing_cache(self._timings, plan.timing_cache)
        logger.info('built %s in %.0f s: %s', self.source, plan.seconds,
                    summary(plan.layers) or f'{self.options.precision} asked for')
        return Engine(plan.plan, {
            'options': asdict(self.options), 'machine': asdict(self.machine),
            'tensors': _tensors(self.model), 'profile': profile,
            'build_seconds': round(plan.seconds, 1), 'unpinned': plan.unpinned,
            'layers': as_json(plan.layers)})

    @property
    def _timings(self) -> str:
        """Name of the timing cache, which is valid for one TensorRT version and GPU model."""
        machine = self.machine
        return '-'.join([machine.tensorrt, machine.gpu, machine.compute_capability,
                         key_of(machine.properties)[:8]])


def _camera_profile(model: onnx.ModelProto, options: BuildOptions) -> dict[str, tuple]:
    """Smallest, tuned-for and largest shape of the camera's image, if a graph has that input. The
    input of a network only may have the same name, but has a fixed height."""
    sizes = (options.min_size, options.opt_size, options.max_size)
    found = {}
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if value.name == 'image' and dims[1].dim_param:
            bands = (1, 1, 3) if dims[3].dim_param else (3, 3, 3)
            found[value.name] = tuple((dims[0].dim_value, *size, count)
                                      for size, count in zip(sizes, bands, strict=True))
    return found


@dataclass(frozen=True)
class NetworkRequest:
    """A request for an engine of a network with head and tail.

    Attributes:
        spec: the network.
        options: how it is built.
        mask_interpolation: see ``graph.pipeline.prepare.prepare``.
        machine: the engine will run on.
    """

    spec: ModelSpec
    options: BuildOptions
    mask_interpolation: str
    machine: Machine

    @property
    def name(self) -> str:
        """Prefix of the names of the engine's files."""
        return f'{Path(self.spec.network.source).stem}-{self.options.precision}'

    def key_facts(self) -> dict[str, Any]:
        """Return all that the engine depends on, without converting the network.

        Only a missing calibration table is written first, since the engine depends on its
        content.
        """
        return {**self._request(self.spec).key_facts(),
                'conversion': _CONVERSION_FACTS[self.options.precision](self.spec, self.options)}

    def make(self, cache: EngineCache, device: int) -> Engine:
        """Convert the network to its precision and build it; see ``GraphRequest.make``.

        Raises:
            ConfigError: int8 without calibration data, or options that contradict each other.
            BackendError: TensorRT does not support the network.
        """
        typed, kept = with_precision(self.spec, self.options)
        engine = self._request(typed, kept).make(cache, device)
        return Engine(engine.plan, {**_description(self), 'kept_in_fp32': list(kept),
                                    **engine.facts})

    def _request(self, spec: ModelSpec, kept: tuple[str, ...] = ()) -> GraphRequest:
        prepared = prepare(spec, mask_interpolation=self.mask_interpolation)
        return GraphRequest(prepared.model, self.spec.network.source, self.options, self.machine,
                            kept)


def _computes_in_float(layer: str, kept: frozenset[str]) -> bool:
    """Whether a layer stays in float32 in any precision: in half precision, coordinates and bytes
    would be rounded by whole pixels."""
    return (layer.startswith(('head/', 'tail/', NETWORK_PREFIX + INSTANCES_PREFIX))
            or layer.removeprefix(NETWORK_PREFIX) in kept)


def with_precision(spec: ModelSpec, options: BuildOptions) -> tuple[ModelSpec, tuple[str, ...]]:
    """Return the spec of the network in the requested precision, and the nodes left in fp32."""
    typed, kept = _CONVERSIONS[options.precision](replace(spec, batch=1, smoothing=False), options)
    return replace(typed, batch=spec.batch, smoothing=spec.smoothing), kept


def _to_fp16(spec: ModelSpec, options: BuildOptions) -> tuple[ModelSpec, tuple[str, ...]]:
    converted = to_fp16(spec, sample_images(options, spec.gray_bits))
    return converted.spec, converted.kept


def _to_int8(spec: ModelSpec, options: BuildOptions) -> tuple[ModelSpec, tuple[str, ...]]:
    quantized = spec if is_quantized(spec.network) else _quantized(spec, options)
    return quantized, tuple(sorted(decoding_nodes(spec, quantized.network.model.graph)))


def _quantized(spec: ModelSpec, options: BuildOptions) -> ModelSpec:
    from trt_segmentation.images.sources import open_images  # brings OpenCV
    given = options.calibration
    images = open_images(given.images, given.topic, given.count, gray_bits=spec.gray_bits) \
        if given.images else ()
    return to_int8(spec, (image for _, image in images), given)


_CONVERSIONS: dict[str, Callable[[ModelSpec, BuildOptions], tuple[ModelSpec, tuple[str, ...]]]] = {
    'fp32': lambda spec, options: (spec, ()),
    'fp16': _to_fp16,
    'int8': _to_int8,
}


def _fp16_facts(spec: ModelSpec, options: BuildOptions) -> dict[str, Any]:
    """The nodes that stay in fp32 depend on the values that the sample images give."""
    return {'samples': samples_digest(options.calibration) or 'sample images of the package',
            'versions': _versions()}


def _int8_facts(spec: ModelSpec, options: BuildOptions) -> dict[str, Any]:
    if is_quantized(spec.network):
        return {}
    table = options.calibration.table
    if table and not Path(table).is_file():
        with_precision(spec, options)
    return {'calibration': calibration_digest(options.calibration), 'versions': _versions()}


def _versions() -> dict[str, str]:
    versions = {}
    for name in _CONVERTERS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


_CONVERSION_FACTS: dict[str, Callable[[ModelSpec, BuildOptions], dict[str, Any]]] = {
    'fp32': lambda spec, options: {},
    'fp16': _fp16_facts,
    'int8': _int8_facts,
}
"""What each of ``_CONVERSIONS`` depends on besides the network."""


def sample_images(options: BuildOptions, gray_bits: int = 0, *, largest: bool = False,
                  ) -> list[np.ndarray]:
    """Return a few images to test a network with: the calibration images, see ``open_images``,
    else those of the package. They have sizes that the engine takes.

    Args:
        options: how it is built.
        gray_bits: of the network's ``ModelSpec``.
        largest: whether to add one image of the largest size that the engine takes, where
            errors of coordinates in half precision are largest.
    """
    from trt_segmentation.images.sources import SAMPLES, open_images  # bring OpenCV
    given = options.calibration
    images = [image for _, image in open_images(given.images or SAMPLES, given.topic,
                                                _SAMPLE_COUNT, gray_bits=gray_bits)]
    fitting = [_fitting(image, options) for image in images]
    return [*fitting, _resized(images[0], *options.max_size)] if largest else fitting


def _fitting(image: np.ndarray, options: BuildOptions) -> np.ndarray:
    height, width = (min(max(extent, smallest), largest) for extent, smallest, largest
                     in zip(image.shape[:2], options.min_size, options.max_size, strict=True))
    return _resized(image, height, width)


def _resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    import cv2
    return image if (height, width) == image.shape[:2] else cv2.resize(image, (width, height))


def _description(request: NetworkRequest) -> dict[str, Any]:
    """The description that is needed to use the engine without its network."""
    network = request.spec.network
    return {
        'network': {'source': str(Path(network.source).resolve()),
                    'inputs': [asdict(info) for info in network.inputs],
                    'outputs': [asdict(info) for info in network.outputs]},
        'config': complete_config(request.spec).to_text(),
        'mask_interpolation': request.mask_interpolation,
        'mask_size': request.spec.mask_size,
        'mask_encoding': request.spec.encoding.name,
        'overlay_scale': request.spec.overlay_scale,
        'batch': request.spec.batch,
        'tasks': [task.name for task in request.spec.tasks],
        'smoothing': request.spec.smoothing,
    }


def _tensors(model: onnx.ModelProto) -> list[tuple[str, str, str]]:
    """Name, side and type of the inputs and outputs, for display."""
    network = describe_network(model, '')
    sides = {'inputs': network.inputs, 'outputs': network.outputs}
    return [(info.name, side, f'{dtype_name(info.dtype)} {shape_text(info.shape)}')
            for side, infos in sides.items() for info in infos]


def build_options(described: Mapping[str, Any]) -> BuildOptions:
    """Return the options in an engine's description."""
    options: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value
                            for name, value in described.items()}
    options['calibration'] = CalibrationOptions(**described['calibration'])
    return BuildOptions(**options)


def tensor_infos(described: Sequence[Mapping[str, Any]]) -> list[TensorInfo]:
    """Return the inputs or outputs in an engine's description."""
    return [replace(TensorInfo(**info), shape=tuple(info['shape'])) for info in described]

