# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What an output's values are when a network is run once: what the graph does not say.

The image is the user's where there is one, else a rendered road scene, the first of the sample
images that ship with the package. Trained networks tell more on a scene than on noise, gradients
and patches. One that finds persons, cut before its Sigmoid, has logits of both signs on 13 of 16
rendered scenes, the one that is taken here among them, and only negative ones on the latter.
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
from trt_segmentation.graph.analysis.measurement_store import MeasuredStore
from trt_segmentation.graph.onnx_tools.network import Network
from trt_segmentation.graph.onnx_tools.onnxruntime_api import (
    import_onnxruntime,
    open_session,
    return_free_memory,
)
from trt_segmentation.graph.onnx_tools.weights import model_digest
from trt_segmentation.options import CalibrationOptions, RunOptions

logger = logging.getLogger(__name__)

T = TypeVar('T')

OPEN_SIZE = (448, 896)
"""Height and width of the image where the network takes any: multiples of strides up to 64 and of
patches of 14 pixels."""

_VERSION = 1
"""Part of what a kept measurement is found by: raise it where ``measurement_of`` or
``sample_image`` changes."""

_TOLERANCE = 0.01
"""Within which a sum is 1 and a value is a probability: float16 and 8 bits round so much."""

_TOLERANCE_OF_CLASS = 1 / 512
"""By which each class may add to that in a sum: half a step of 8 bits."""

_NEARLY_255, _MANY = 250, 16
_MOST_CLASSES_SEEN = 64
"""Different classes that a test image is taken for at most; a picture or a depth has more."""

_FEW = 0.05
"""How far values of one sign have to reach, as a part of the other's, to count as both signs."""

_COUNTED = 10000
"""About how many values are looked at first, to see whether there are many different ones."""


@dataclass(frozen=True)
class Measurement:
    """The values of one output on the test image.

    Attributes:
        lowest, highest: of all values that are finite.
        integers: whether all are whole numbers.
        sums_to_one: whether the values of each pixel sum to 1, along ``axis`` of ``measured``.
        two: the only two values there are; None where there are more, or fewer.
        different: how many different values there are.
    """

    lowest: float
    highest: float
    integers: bool
    sums_to_one: bool
    two: tuple[float, float] | None
    different: int

    @property
    def is_constant(self) -> bool:
        """Whether there is one value only, which tells nothing."""
        return self.lowest == self.highest

    @property
    def are_within_0_and_1(self) -> bool:
        """Whether all values are within 0..1."""
        return self.lowest >= -_TOLERANCE and self.highest <= 1 + _TOLERANCE

    @property
    def are_probabilities(self) -> bool:
        """Whether all values are within 0..1 and not only 0 and 1."""
        return self.are_within_0_and_1 and not self.integers

    @property
    def are_bytes(self) -> bool:
        """Whether these are values from 0 to 1 as 0 to 255: many, almost up to 255."""
        return (self.lowest >= 0 and _NEARLY_255 <= self.highest <= 255.5
                and self.different >= _MANY)

    @property
    def are_many(self) -> bool:
        """Whether whole numbers are more different ones than the classes of one image."""
        return self.different > _MOST_CLASSES_SEEN

    @property
    def is_lopsided(self) -> bool:
        """Whether values of both signs are almost only of one, as what is no logit may be."""
        smaller, larger = sorted((abs(self.lowest), abs(self.highest)))
        return self.lowest >= 0 or self.highest <= 0 or smaller < _FEW * larger

    def __str__(self) -> str:
        whole = 'whole numbers ' if self.integers else ''
        sums = ', sums of 1' if self.sums_to_one else ''
        return f'{whole}{self.lowest:.4g} to {self.highest:.4g}{sums}'


def measurement_of(values: np.ndarray, axis: int | None) -> Measurement | None:
    """Return what there is to say about values; None where none is finite.

    Args:
        values: of one output.
        axis: where the classes are; None where there is one value a pixel.
    """
    finite = values[np.isfinite(values)].astype(np.float64)
    if not finite.size:
        return None
    lowest, highest = float(finite.min()), float(finite.max())
    are_two = lowest < highest and bool(((finite == lowest) | (finite == highest)).all())
    sums = axis is not None and values.shape[axis] > 1 and bool(
        (np.abs(values.sum(axis, dtype=np.float64) - 1)
         <= _TOLERANCE + values.shape[axis] * _TOLERANCE_OF_CLASS).all())
    return Measurement(lowest, highest, bool((finite == np.round(finite)).all()), sums,
                       (lowest, highest) if are_two else None, _count_of_different(finite))


def _count_of_different(values: np.ndarray) -> int:
    """How many different values there are, counted up to ``_MOST_CLASSES_SEEN`` and one more."""
    found = np.unique(values[:: max(1, values.size // _COUNTED)])
    return len(found) if len(found) > _MOST_CLASSES_SEEN else len(np.unique(values))


@dataclass(frozen=True)
class Feeding:
    """How an image becomes the network's input; see ``resolve.ModelSpec``."""

    layout: str
    size: tuple[int, int] | None
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    color: str = 'rgb'


Photo = Callable[[], np.ndarray | None]


@dataclass(frozen=True)
class Measuring:
    """How a network is measured where its graph does not decide what its values mean.

    Attributes:
        folder: where what was measured is kept; None keeps nothing.
        photo: returns the image to measure on, uint8 BGR [H, W, 3], or None for
            ``sample_image``; called only where the graph does not decide.
        run: takes the input and returns the outputs by name; None runs the network on ONNX
            Runtime.
        plan: the engine that ``run`` runs; empty without one.
    """

    folder: Path | None = None
    photo: Photo | None = None
    run: Callable[[np.ndarray], Mapping[str, np.ndarray]] | None = None
    plan: bytes = b''


def measuring_of(options: RunOptions, photo: Photo | None = None) -> Measuring | None:
    """Return how a network is measured that is opened with such options; None where it is not.

    Args:
        options: if they name calibration images, one of these is what it is measured on.
        photo: see ``Measuring``; goes before the calibration images.
    """
    if not options.measure:
        return None
    told = options.build.calibration
    if photo is None and told.images:
        photo = partial(_first_image, told)
    return Measuring(cache_folder(options.engine_cache), photo)


def _first_image(told: CalibrationOptions) -> np.ndarray | None:
    from trt_segmentation.images.sources import open_images  # brings OpenCV
    try:
        return next((image for _, image in open_images(told.images, told.topic, 1)), None)
    except ImageError as error:
        logger.warning('the network is measured on a rendered image, since %s', error)
        return None


class Probe:
    """Runs a network once, when its values are first asked for and not known from before.

    Args:
        network: with its input's size fixed, where it is known.
        feeding: how its input is made.
        measuring: what runs it, on what, and where the results are kept.
    """

    def __init__(self, network: Network, feeding: Feeding, measuring: Measuring) -> None:
        self._network = network
        self._feeding = feeding
        self._measuring = measuring
        self._values: Mapping[str, np.ndarray] | None = None
        self.fault = ''
        self.is_missing = False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image that it is fed."""
        return self._feeding.size or OPEN_SIZE

    def measurement(self, name: str, form: str,
                    measure: Callable[[np.ndarray], Measurement | None]) -> Measurement | None:
        """Return what an output's values are, from the folder where they were measured before.

        Args:
            name: of the output.
            form: all that ``measure`` depends on besides the values.
            measure: is given the values.

        Returns:
            None where the network could not be run (``fault`` says why), or no value is finite.
        """
        def ask(values: np.ndarray) -> dict[str, Any] | None:
            measured = measure(values)
            return None if measured is None else asdict(measured)

        return self._kept_or(name, form, ask, _from_json)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return the shape of an output on the image; None where the network could not be run."""
        return self._kept_or(name, 'shape', lambda values: list(values.shape), tuple)

    def _kept_or(self, name: str, what: str, ask: Callable[[np.ndarray], Any],
                 read: Callable[[Any], T | None]) -> T | None:
        """Return what is kept of an output's values, or ask them; None where there are none.

        Args:
            name: of the output.
            what: names what is asked.
            ask: returns the answer as JSON can hold it, or None.
            read: returns what such an answer means; None where it means nothing.
        """
        store = MeasuredStore(self._measuring.folder) if self._measuring.folder else None
        question, key = f'{name}: {what}', self._kept_under if store else ''
        kept = store.read(key) if store and key else {}
        if question in kept and (known := read(kept[question])) is not None:
            return known
        values = self.values(name)
        found = None if values is None else ask(values)
        if found is None:
            return None
        if store and key:
            store.write(key, {**kept, question: found})
        return read(found)

    def values(self, name: str) -> np.ndarray | None:
        """Return an output on the image; None where the network could not be run, and ``fault``
        says why."""
        if self._values is None:
            try:
                self._values = (self._measuring.run or self._run)(self._input())
            except ImportError:
                self._values, self.fault = {}, 'ONNX Runtime is not installed'
                self.is_missing = True
            except Exception as error:  # each status of the runtime has its own type
                self._values, self.fault = {}, ' '.join(str(error).split())[:300]
        return self._values.get(name)

    def _input(self) -> np.ndarray:
        return fed_image(self._feeding, self._network.inputs[0].dtype, self._photo)

    @cached_property
    def _photo(self) -> np.ndarray | None:
        return self._measuring.photo() if self._measuring.photo else None

    @cached_property
    def _kept_under(self) -> str:
        """The digest of all that decides the values; '' where there is none."""
        try:
            content = self._measuring.plan or model_digest(self._network.model).encode()
            photo = b'' if self._photo is None else \
                f'{self._photo.shape}'.encode() + self._photo.tobytes()
        except Exception:  # serialising ends at 2 GB; a photo that cannot be read is met again
            return ''
        parts = f'{_VERSION} {self._network.inputs[0]} {self._feeding}'.encode(), photo, content
        digests = [hashlib.sha256(part).digest() for part in parts]
        return hashlib.sha256(b''.join(digests)).hexdigest()

    def _run(self, fed: np.ndarray) -> dict[str, np.ndarray]:
        options = import_onnxruntime().SessionOptions()
        options.log_severity_level = 4
        session = open_session(self._network.model.SerializeToString(), options)
        names = [value.name for value in session.get_outputs()]
        found = session.run(names, {self._network.inputs[0].name: fed})
        del session
        return_free_memory()  # before the one that stays is opened
        given = zip(names, found, strict=True)
        return {name: values for name, values in given if isinstance(values, np.ndarray)}


def _from_json(kept: Mapping[str, Any]) -> Measurement | None:
    """Return a kept measurement; None where it is that of another version."""
    try:
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value
                                  for name, value in kept.items()}
        return Measurement(**values)
    except (AttributeError, TypeError):
        return None


def fed_image(feeding: Feeding, dtype: int, photo: np.ndarray | None = None) -> np.ndarray:
    """Return an image as a network's input.

    Args:
        feeding: how it is fed.
        dtype: ONNX element type of the input.
        photo: uint8 BGR [H, W, 3]; None takes ``sample_image``.
    """
    height, width = feeding.size or OPEN_SIZE
    image = sample_image(height, width) if photo is None else _resized(photo, height, width)
    if feeding.color == 'gray':
        image = image[..., 1:2]  # green, most of the brightness
    elif feeding.color == 'rgb':
        image = image[..., ::-1]
    fed = (image.astype(np.float32) * feeding.scale - np.asarray(feeding.mean, np.float32)) \
        / np.asarray(feeding.std, np.float32)
    if feeding.layout == 'nchw':
        fed = fed.transpose(2, 0, 1)
    wanted = np.dtype(helper.tensor_dtype_to_np_dtype(dtype)) \
        if dtype != TensorProto.BFLOAT16 else np.dtype(np.float32)
    if wanted.kind in 'iu':
        limits = np.iinfo(wanted)
        fed = np.clip(np.floor(fed + 0.5), limits.min, limits.max)
    return np.ascontiguousarray(fed[None].astype(wanted))


def sample_image(height: int, width: int) -> np.ndarray:
    """Return the image where the user gives none: uint8 BGR [height, width, 3]."""
    from trt_segmentation.images.sources import SAMPLES, read_image  # brings OpenCV
    return _resized(read_image(SAMPLES / '1.jpg'), height, width)


def _resized(photo: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a photo with another size: its nearest pixels, which keep the range of values."""
    rows = np.arange(height) * photo.shape[0] // height
    columns = np.arange(width) * photo.shape[1] // width
    return photo[rows[:, None], columns]
