# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Runs a network once to determine what its output values mean, if the graph does not.

The image is the user's. Without one, it is a rendered road scene, the first sample image of the
package. A scene shows more of a trained network than noise, gradients or patches do: a person
segmentation network, cut before its Sigmoid, gave logits of both signs on 13 of 16 rendered
scenes (the one used here is among them) and only negative logits on noise, gradients and patches.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from onnx import TensorProto, helper

from trt_segmentation.cache_folder import cache_folder
from trt_segmentation.errors import ImageError
from trt_segmentation.graph.analysis.measurement_store import MeasurementStore
from trt_segmentation.graph.onnx_tools.network import Network
from trt_segmentation.graph.onnx_tools.onnxruntime_api import (
    open_session,
    return_free_memory,
)
from trt_segmentation.graph.onnx_tools.weights import model_digest
from trt_segmentation.options import CalibrationOptions, RunOptions

logger = logging.getLogger(__name__)

T = TypeVar('T')

DEFAULT_SIZE = (448, 896)
"""Height and width of the image for a network of dynamic size: multiples of strides up to 64 and
of patches of 14 pixels."""

_VERSION = 2
"""Part of the cache key: increase it when ``measurement_of`` or ``sample_image`` changes."""

_TOLERANCE = 0.01
"""Tolerance for a sum of 1 and for the range 0..1: the rounding of float16 and of 8 bits."""

_TOLERANCE_OF_CLASS = 1 / 512
"""Additional tolerance of a sum for each class: half a step of 8 bits."""

_NEARLY_255, _MIN_BYTE_VALUES = 250, 16
_MOST_CLASSES_SEEN = 64
"""Maximum number of classes on the test image; a colour or depth image has more values."""

_MIN_SIGN_RATIO = 0.05
"""Values have both signs if the smaller extreme is at least this fraction of the larger one."""

_SAMPLE_SIZE = 10000
"""Size of the sample that is counted first; all values are counted only if it has few."""


@dataclass(frozen=True)
class Measurement:
    """The values of one output on the test image.

    Attributes:
        lowest, highest: of all finite values.
        integers: whether all values are integers.
        sums_to_one: whether the values of each pixel sum to 1 over the classes.
        are_unit_vectors: whether the squares of the values of each pixel sum to 1.
        two: the two values, if there are exactly two; else None.
        different: number of distinct values; may be too low above ``_MOST_CLASSES_SEEN``.
    """

    lowest: float
    highest: float
    integers: bool
    sums_to_one: bool
    are_unit_vectors: bool
    two: tuple[float, float] | None
    different: int

    @property
    def is_constant(self) -> bool:
        """Whether all values are equal, so that they do not show what they mean."""
        return self.lowest == self.highest

    @property
    def are_within_0_and_1(self) -> bool:
        """Whether all values are within 0..1."""
        return self.lowest >= -_TOLERANCE and self.highest <= 1 + _TOLERANCE

    @property
    def are_probabilities(self) -> bool:
        """Whether all values are within 0..1, and some are neither 0 nor 1."""
        return self.are_within_0_and_1 and not self.integers

    @property
    def are_bytes(self) -> bool:
        """Whether these are probabilities times 255: many distinct values, up to about 255."""
        return (self.lowest >= 0 and _NEARLY_255 <= self.highest <= 255.5
                and self.different >= _MIN_BYTE_VALUES)

    @property
    def are_many(self) -> bool:
        """Whether there are more distinct values than one image has classes."""
        return self.different > _MOST_CLASSES_SEEN

    @property
    def is_mostly_one_sign(self) -> bool:
        """Whether almost all of the range has one sign, so that the values may not be logits."""
        smaller, larger = sorted((abs(self.lowest), abs(self.highest)))
        return self.lowest >= 0 or self.highest <= 0 or smaller < _MIN_SIGN_RATIO * larger

    def __str__(self) -> str:
        whole = 'integers ' if self.integers else ''
        sums = ', sums of 1' if self.sums_to_one else ''
        return f'{whole}{self.lowest:.4g} to {self.highest:.4g}{sums}'


def measurement_of(values: np.ndarray, axis: int | None) -> Measurement | None:
    """Return the statistics of an output; None if no value is finite.

    Args:
        values: of one output.
        axis: the class axis; None if each pixel has one value.
    """
    finite = values[np.isfinite(values)].astype(np.float64)
    if not finite.size:
        return None
    lowest, highest = float(np.min(finite)), float(np.max(finite))
    are_two = lowest < highest and bool(((finite == lowest) | (finite == highest)).all())
    sums, squares = (_sums_to_one(values.astype(np.float64) ** power, axis) for power in (1, 2))
    return Measurement(lowest, highest, bool((finite == np.round(finite)).all()), sums, squares,
                       (lowest, highest) if are_two else None, _distinct_count(finite))


def _sums_to_one(values: np.ndarray, axis: int | None) -> bool:
    return axis is not None and values.shape[axis] > 1 and bool(
        (np.abs(values.sum(axis) - 1)
         <= _TOLERANCE + values.shape[axis] * _TOLERANCE_OF_CLASS).all())


def _distinct_count(values: np.ndarray) -> int:
    """The number of distinct values; may be too low above ``_MOST_CLASSES_SEEN``."""
    found = np.unique(values[:: max(1, values.size // _SAMPLE_SIZE)])
    return len(found) if len(found) > _MOST_CLASSES_SEEN else len(np.unique(values))


@dataclass(frozen=True)
class Preprocessing:
    """The conversion of an image to the network's input; see ``resolve.ModelSpec``."""

    layout: str
    size: tuple[int, int] | None
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    color: str = 'rgb'


Photo = Callable[[], np.ndarray | None]


@dataclass(frozen=True)
class MeasurementSetup:
    """How a network is measured, if its graph does not determine what its output values mean.

    Attributes:
        folder: cache of the measurements; None disables the cache.
        photo: returns the test image, uint8 BGR [H, W, 3], or None for ``sample_image``. It is
            called only if a measurement is needed.
        run: maps the input to the outputs by name; None runs the network on ONNX Runtime.
        plan: the engine that ``run`` executes; empty if there is none.
    """

    folder: Path | None = None
    photo: Photo | None = None
    run: Callable[[np.ndarray], Mapping[str, np.ndarray]] | None = None
    plan: bytes = b''


def measurement_setup(options: RunOptions, photo: Photo | None = None) -> MeasurementSetup | None:
    """Return how to measure a network under these options; None if measuring is disabled.

    Args:
        options: the first calibration image, if they name any, is the test image.
        photo: see ``MeasurementSetup``; takes precedence over the calibration images.
    """
    if not options.measure:
        return None
    calibration = options.build.calibration
    if photo is None and calibration.images:
        photo = partial(_first_image, calibration)
    return MeasurementSetup(cache_folder(options.engine_cache), photo)


def _first_image(options: CalibrationOptions) -> np.ndarray | None:
    from trt_segmentation.images.sources import open_images  # imports OpenCV
    try:
        return next((image for _, image in open_images(options.images, options.topic, 1)), None)
    except ImageError as error:
        logger.warning('the network is measured on a rendered image: %s', error)
        return None


class Probe:
    """Runs a network once, when an output is first requested and its measurement is not cached.

    Args:
        network: with a fixed input size, unless any size is valid.
        preprocessing: how an image becomes its input.
        measuring: the test image, the runtime and the cache.

    Attributes:
        fault: why the network could not run; empty if it did or was not run yet.
        is_missing: whether ONNX Runtime is not installed.
    """

    def __init__(self, network: Network, preprocessing: Preprocessing,
                 measuring: MeasurementSetup) -> None:
        self._network = network
        self._preprocessing = preprocessing
        self._measuring = measuring
        self._values: Mapping[str, np.ndarray] | None = None
        self.fault = ''
        self.is_missing = False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the network's input."""
        return self._preprocessing.size or DEFAULT_SIZE

    def measurement(self, name: str, form: str,
                    measure: Callable[[np.ndarray], Measurement | None]) -> Measurement | None:
        """Return the measurement of an output, from the cache if it is there.

        Args:
            name: of the output.
            form: identifies ``measure`` in the cache.
            measure: computes the measurement from the values.

        Returns:
            None if the network could not run (see ``fault``), or no value is finite.
        """
        def extract(values: np.ndarray) -> dict[str, Any] | None:
            measured = measure(values)
            return None if measured is None else asdict(measured)

        return self._cached_or_measured(name, form, extract, _from_json)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return an output's shape on the test image; None if the network could not run."""
        return self._cached_or_measured(name, 'shape', lambda values: list(values.shape), tuple)

    def _cached_or_measured(self, name: str, what: str, extract: Callable[[np.ndarray], Any],
                            read: Callable[[Any], T | None]) -> T | None:
        """Return a cached property of an output, or compute and cache it; None if there is none.

        Args:
            name: of the output.
            what: names the property in the cache.
            extract: computes it from the values, as JSON data or None.
            read: parses that data; returns None if it is not valid.
        """
        store = MeasurementStore(self._measuring.folder) if self._measuring.folder else None
        entry, key = f'{name}: {what}', self._cache_key if store else ''
        kept = store.read(key) if store and key else {}
        if entry in kept and (known := read(kept[entry])) is not None:
            return known
        values = self.values(name)
        found = None if values is None else extract(values)
        if found is None:
            return None
        if store and key:
            store.write(key, {**kept, entry: found})
        return read(found)

    def values(self, name: str) -> np.ndarray | None:
        """Return an output on the test image; None if the network could not run."""
        if self._values is None:
            try:
                self._values = (self._measuring.run or self._run)(self._input())
            except ImportError:
                self._values, self.fault = {}, 'ONNX Runtime is not installed'
                self.is_missing = True
            except Exception as error:  # ONNX Runtime has many
                self._values, self.fault = {}, ' '.join(str(error).split())[:300]
        return self._values.get(name)

    def _input(self) -> np.ndarray:
        return fed_image(self._preprocessing, self._network.inputs[0].dtype, self._photo)

    @cached_property
    def _photo(self) -> np.ndarray | None:
        return self._measuring.photo() if self._measuring.photo else None

    @cached_property
    def _cache_key(self) -> str:
        """Digest of everything that determines the values; '' if it cannot be computed."""
        try:
            content = self._measuring.plan or model_digest(self._network.model).encode()
            photo = b'' if self._photo is None else \
                f'{self._photo.shape}'.encode() + self._photo.tobytes()
        except Exception:  # models above 2 GB; an unreadable photo, which ``values`` reports
            return ''
        parts = (f'{_VERSION} {self._network.inputs[0]} {self._preprocessing}'.encode(), photo,
                 content)
        digests = [hashlib.sha256(part).digest() for part in parts]
        return hashlib.sha256(b''.join(digests)).hexdigest()

    def _run(self, fed: np.ndarray) -> dict[str, np.ndarray]:
        session = open_session(self._network.model.SerializeToString())
        names = [value.name for value in session.get_outputs()]
        found = session.run(names, {self._network.inputs[0].name: fed})
        del session
        return_free_memory()  # before the session for inference is opened
        given = zip(names, found, strict=True)
        return {name: values for name, values in given if isinstance(values, np.ndarray)}


def _from_json(kept: Mapping[str, Any]) -> Measurement | None:
    """Return a cached measurement; None if another version wrote it."""
    try:
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value
                                  for name, value in kept.items()}
        return Measurement(**values)
    except (AttributeError, TypeError):
        return None


def fed_image(preprocessing: Preprocessing, dtype: int, photo: np.ndarray | None = None,
              ) -> np.ndarray:
    """Return an image as a network's input.

    Args:
        preprocessing: how the image becomes the input.
        dtype: ONNX element type of the input.
        photo: uint8 BGR [H, W, 3]; None for ``sample_image``.
    """
    height, width = preprocessing.size or DEFAULT_SIZE
    image = sample_image(height, width) if photo is None else _resized(photo, height, width)
    if preprocessing.color == 'gray':
        image = image[..., 1:2]  # green, the largest part of the luminance
    elif preprocessing.color == 'rgb':
        image = image[..., ::-1]
    mean, std = (np.asarray(each, np.float32) for each in (preprocessing.mean, preprocessing.std))
    fed = (image.astype(np.float32) * preprocessing.scale - mean) / std
    if preprocessing.layout == 'nchw':
        fed = fed.transpose(2, 0, 1)
    wanted = np.dtype(helper.tensor_dtype_to_np_dtype(dtype)) \
        if dtype != TensorProto.BFLOAT16 else np.dtype(np.float32)
    if wanted.kind in 'iu':
        limits = np.iinfo(wanted)
        fed = np.clip(np.floor(fed + 0.5), limits.min, limits.max)
    return np.ascontiguousarray(fed[None].astype(wanted))


def sample_image(height: int, width: int) -> np.ndarray:
    """Return the default test image: uint8 BGR [height, width, 3]."""
    from trt_segmentation.images.sources import SAMPLES, read_image  # imports OpenCV
    return _resized(read_image(SAMPLES / '1.jpg'), height, width)


def _resized(photo: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a photo resized by nearest neighbour, which keeps the range of values."""
    rows = np.arange(height) * photo.shape[0] // height
    columns = np.arange(width) * photo.shape[1] // width
    return photo[rows[:, None], columns]
