# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Value ranges of a network's tensors, measured on images, and the file that stores them."""

import contextlib
import hashlib
import io
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from trt_segmentation.errors import BackendError, ConfigError, ModelError
from trt_segmentation.graph.onnx_tools.onnxruntime_api import import_onnxruntime, open_session
from trt_segmentation.graph.pipeline.prepare import prepare_head
from trt_segmentation.graph.reading.resolve import ModelSpec
from trt_segmentation.images.gray import as_bands
from trt_segmentation.options import CALIBRATION_METHODS, CalibrationOptions

Ranges = Mapping[str, tuple[float, float]]
"""Lowest and highest value by tensor."""

_BINS = 1024
"""Bins of a histogram, over both signs; int8 has 256 steps, so a step has 2 to 4 bins."""

_LEVELS = 128
"""Steps to which entropy calibration fits a histogram; ONNX Runtime's default."""


@dataclass(frozen=True)
class CalibrationTable:
    """Saved ranges with their provenance.

    Attributes:
        source: the network's name.
        network: sha256 of the network in float, hexadecimal.
        fed: ``preprocessing_text`` of the network.
        method: one of ``CALIBRATION_METHODS``.
        count: number of images.
        ranges: lowest and highest value by tensor.
    """

    source: str
    network: str
    fed: str
    method: str
    count: int
    ranges: Ranges

    def write(self, path: Path) -> None:
        """Write the table as JSON.

        Raises:
            ConfigError: it cannot be written there.
        """
        try:
            path.write_text(json.dumps(asdict(self), indent=1) + '\n', encoding='utf-8')
        except OSError as error:
            raise ConfigError(f'{path}: the calibration table cannot be written '
                              f'({error.strerror})') from error

    @classmethod
    def read(cls, path: Path) -> 'CalibrationTable':
        """Read a table.

        Raises:
            ConfigError: the file cannot be read, or is no calibration table.
        """
        try:
            table = cls(**json.loads(path.read_text(encoding='utf-8')))
            ranges = {name: (float(low), float(high))
                      for name, (low, high) in table.ranges.items()}
        except OSError as error:
            raise ConfigError(f'{path}: cannot be read ({error.strerror})') from error
        except (ValueError, TypeError, AttributeError) as error:
            raise ConfigError(f'{path}: is no calibration table ({error}); delete it and '
                              'calibrate again') from error
        return replace(table, ranges=ranges)


def calibrated_ranges(spec: ModelSpec, model: onnx.ModelProto, names: Sequence[str],
                      images: Iterable[np.ndarray], options: CalibrationOptions) -> Ranges:
    """Return the ranges of tensors: from the saved table, else measured on images and saved.

    Args:
        spec: of the network; its preprocessing is used.
        model: the network; its node names may differ from those in ``spec``.
        names: of its float tensors.
        images: uint8 [H, W, 3], BGR, any size; not read if there is a table.
        options: path of the table, and calibration method.

    Raises:
        ConfigError: there is neither a table nor an image, the table belongs to another
            network or lacks a tensor, or there is no such method.
        ModelError: the network has values that are not finite.
    """
    from tqdm import tqdm
    path = Path(options.table) if options.table else None
    if path is not None and path.exists():
        return _saved_ranges(path, spec, names, options.method)
    fed = tqdm(network_inputs(spec, images), desc='calibration', unit='image', disable=None)
    ranges, count = measure_ranges(model, spec.network.source, names, fed, options.method)
    if count == 0:
        raise missing_ranges_error(spec.network.source, options)
    if path is not None:
        CalibrationTable(spec.network.source, network_digest(spec), preprocessing_text(spec),
                         options.method, count, ranges).write(path)
    return ranges


def missing_ranges_error(source: str, options: CalibrationOptions) -> ConfigError:
    """Return the error for int8 without value ranges.

    Args:
        source: name of the network in the message.
        options: give neither an existing table nor an image.
    """
    if options.images:
        return ConfigError(f'{options.images}: has no image to calibrate {source} on')
    table = f' ({options.table} does not exist)' if options.table else ''
    return ConfigError(
        f'{source}: int8 needs value ranges; give a few hundred of your own images as '
        f'calibration.images, a saved table as calibration.table{table}, or a network '
        'with QuantizeLinear and DequantizeLinear nodes',
        settings=('calibration.images', 'calibration.table'))


def _saved_ranges(path: Path, spec: ModelSpec, names: Sequence[str], method: str) -> Ranges:
    table = CalibrationTable.read(path)
    digest, source = network_digest(spec), spec.network.source
    if table.network != digest:
        raise ConfigError(f'{path}: this calibration table belongs to {table.source} (sha256 '
                          f'{table.network[:12]}), not to {source} (sha256 {digest[:12]}); '
                          'name another file or delete it')
    if table.fed != preprocessing_text(spec):
        raise ConfigError(f'{path}: this calibration table of {source} was measured with '
                          f'{table.fed}, but the config has {preprocessing_text(spec)}; name '
                          'another file or delete it')
    if missing := [name for name in names if name not in table.ranges]:
        raise ConfigError(f"{path}: this calibration table lacks tensor '{missing[0]}' of "
                          f'{source}; delete it and calibrate again')
    logger = logging.getLogger(__name__)
    logger.info('%s: ranges from %s (%s over %d images)', source, path, table.method, table.count)
    if table.method != method:
        logger.warning('%s was measured by %s, not %s; delete it to calibrate again', path,
                       table.method, method)
    return table.ranges


def network_digest(spec: ModelSpec) -> str:
    """Return the sha256 of a spec's network, hexadecimal."""
    return hashlib.sha256(spec.network.model.SerializeToString(deterministic=True)).hexdigest()


def preprocessing_text(spec: ModelSpec) -> str:
    """Return a description of a network's preprocessing."""
    depth = f', depth {spec.depth}' if spec.depth != 8 else ''
    return (f'color {spec.color}, scale {spec.scale!r}, mean {list(spec.mean)}, '
            f'std {list(spec.std)}, resize {spec.resize}{depth}')


def calibration_digest(options: CalibrationOptions) -> str:
    """Return the sha256 that identifies the calibration data; '' if there is none.

    It is the digest of the table if it exists, else of all image files in order and of topic,
    method and count.

    Raises:
        ImageError: there are no such images.
    """
    if options.table and Path(options.table).is_file():
        return _digest([Path(options.table)])
    if not options.images:
        return ''
    from trt_segmentation.images.sources import source_files  # brings OpenCV
    chosen = json.dumps([options.topic, options.method, options.count])
    return _digest(source_files(options.images), chosen.encode())


def samples_digest(options: CalibrationOptions) -> str:
    """Return the sha256 that identifies the images and the topic, without table, method and
    count; '' if there are no images.

    Raises:
        ImageError: there are no such images.
    """
    if not options.images:
        return ''
    from trt_segmentation.images.sources import source_files  # brings OpenCV
    return _digest(source_files(options.images), json.dumps([options.topic]).encode())


def _digest(paths: Sequence[Path], start: bytes = b'') -> str:
    digest = hashlib.sha256(start)
    for path in paths:
        with path.open('rb') as file:
            digest.update(path.stat().st_size.to_bytes(8, 'little'))
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def open_runtime(model: onnx.ModelProto, source: str) -> Any:
    """Return an ``onnxruntime.InferenceSession`` on the CPU.

    Raises:
        BackendError: ONNX Runtime is not installed.
        ModelError: it does not accept the network.
    """
    try:
        return open_session(model.SerializeToString())
    except ImportError as error:
        raise BackendError('conversion to fp16 and int8 needs ONNX Runtime, which is not '
                           'installed; pip install onnxruntime') from error
    except Exception as error:  # the binding raises its own types, one for each status code
        raise ModelError(f'{source}: ONNX Runtime does not accept this network: '
                         f'{error}') from error


def image_feed(spec: ModelSpec, image: np.ndarray) -> dict[str, np.ndarray]:
    """Return the inputs of a head or a prepared graph for a uint8 BGR [H, W, 3] image, or for an
    image that ``images.gray.as_bands`` takes."""
    fed = as_bands(np.ascontiguousarray(image))
    channels = np.array(spec.channels('bgr'), np.int32)
    return {'image': fed[None], 'channels': channels}


def network_inputs(spec: ModelSpec, images: Iterable[np.ndarray],
                   ) -> Iterator[dict[str, np.ndarray]]:
    """Yield the network's input for each image, see ``image_feed``."""
    name, head = spec.network.inputs[0].name, None
    for image in images:
        head = head or open_runtime(prepare_head(spec), spec.network.source)
        yield {name: head.run(None, image_feed(spec, image))[0]}


def measure_ranges(model: onnx.ModelProto, source: str, names: Sequence[str],
                   feeds: Iterable[dict[str, np.ndarray]], method: str,
                   ) -> tuple[dict[str, tuple[float, float]], int]:
    """Return the ranges that int8 covers, by tensor, and the number of feeds.

    Memory holds the tensors of one feed, and one histogram per tensor.

    Args:
        model: the network in float.
        source: its name in messages.
        names: of float tensors, which may be inputs of the network.
        feeds: inputs of the network.
        method: 'minmax' covers every value, 'percentile' 99.999 % of them, 'entropy' the range
            that loses the least information (as TensorRT's entropy calibrator).

    Raises:
        ConfigError: there is no such method.
        ModelError: the network has values that are not finite.
    """
    if method not in CALIBRATION_METHODS:
        raise ConfigError(f"the calibration method is '{method}'; it is one of "
                          f'{", ".join(CALIBRATION_METHODS)}')
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    given = {value.name for value in (*model.graph.input, *model.graph.output)}
    extended.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names
                                 if name not in given)
    inner = [name for name in names if name not in {value.name for value in model.graph.input}]
    runtime = open_runtime(extended, source)
    collector = _MinMax() if method == 'minmax' else _histograms(method)
    count = 0
    for count, feed in enumerate(feeds, 1):
        values = dict(zip(inner, runtime.run(inner, feed), strict=True)) if inner else {}
        values.update((name, feed[name]) for name in names if name in feed)
        for name, array in values.items():
            if not np.isfinite(array).all():
                raise ModelError(f"{source}: tensor '{name}' has values that are not finite on "
                                 f'calibration image {count}; use precision fp32')
        collector.collect_value(values)
    if count == 0:
        return {}, 0
    with contextlib.redirect_stdout(io.StringIO()):  # ONNX Runtime prints its progress
        found = getattr(collector, f'compute_{method}')()
    return {name: (float(low), float(high)) for name, (low, high, *_) in found.items()}, count


class _MinMax:
    """The lowest and the highest value of each tensor."""

    def __init__(self) -> None:
        self._ranges: dict[str, tuple[float, float]] = {}

    def collect_value(self, values: Mapping[str, np.ndarray]) -> None:
        for name, array in values.items():
            low, high = self._ranges.get(name, (np.inf, -np.inf))
            self._ranges[name] = min(low, array.min()), max(high, array.max())

    def compute_minmax(self) -> Ranges:
        return self._ranges


def _histograms(method: str) -> Any:
    """ONNX Runtime's collector, with histograms of constant size.

    The original one keeps the bin width of the first image and adds bins, which become millions
    after an almost black first image. This one doubles the bin width and joins pairs of bins.
    """
    collector: Any = import_onnxruntime('quantization.calibrate').HistogramCollector

    class Histograms(collector):
        def merge_histogram(self, old_histogram: tuple, data_arr: np.ndarray, new_min: float,
                            new_max: float, new_threshold: float) -> tuple:
            counts, _, low, high, threshold = old_histogram
            if threshold == 0:
                threshold = new_threshold
            while threshold < new_threshold:
                threshold, counts = 2 * threshold, _halved(counts)
            added, edges = np.histogram(data_arr, _BINS, range=(-threshold, threshold))
            return counts + added, edges, min(low, new_min), max(high, new_max), threshold

    return Histograms(method=method, symmetric=False, num_bins=_BINS,
                      num_quantized_bins=_LEVELS, percentile=99.999, scenario='same')


def _halved(counts: np.ndarray) -> np.ndarray:
    """The same histogram over twice the range: pairs of bins in the middle half."""
    wide = np.zeros_like(counts)
    quarter = len(counts) // 4
    wide[quarter:3 * quarter] = counts.reshape(-1, 2).sum(axis=1)
    return wide
