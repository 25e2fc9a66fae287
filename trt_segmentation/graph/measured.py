# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What an output's values are when a network is run once: what the graph does not say.

The image is made here: noise, gradients, and patches of one colour, black and white among them.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper

from trt_segmentation.graph.network import Network
from trt_segmentation.graph.onnxruntime_api import import_onnxruntime, open_session

logger = logging.getLogger(__name__)

OPEN_SIZE = (256, 320)
"""Height and width of the image where the network takes any."""

_TOLERANCE = 0.01
"""Within which a sum is 1 and a value is a probability: float16 and 8 bits round so much."""

_TOLERANCE_OF_CLASS = 1 / 512
"""By which each class may add to that in a sum: half a step of 8 bits."""

_NEARLY_255, _MANY = 250, 16
_MOST_CLASSES_SEEN = 64
"""Different classes that a test image is taken for at most; a picture or a depth has more."""

_FEW = 0.05


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
    values = np.asarray(values, np.float64)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    different = np.unique(finite)
    sums = axis is not None and values.shape[axis] > 1 and bool(
        (np.abs(values.sum(axis) - 1)
         <= _TOLERANCE + values.shape[axis] * _TOLERANCE_OF_CLASS).all())
    return Measurement(float(different[0]), float(different[-1]),
                       bool((different == np.round(different)).all()), sums,
                       (float(different[0]), float(different[1])) if len(different) == 2 else None,
                       len(different))


@dataclass(frozen=True)
class Feeding:
    """How an image becomes the network's input; see ``resolve.ModelSpec``."""

    layout: str
    size: tuple[int, int] | None
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Probe:
    """Runs a network once, when its values are first asked for.

    Args:
        network: with its input's size fixed, where it is known.
        feeding: how its input is made.
    """

    def __init__(self, network: Network, feeding: Feeding) -> None:
        self._network = network
        self._feeding = feeding
        self._values: Mapping[str, np.ndarray] | None = None
        self.fault = ''
        self.is_missing = False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image that it is fed."""
        return self._feeding.size or OPEN_SIZE

    def values(self, name: str) -> np.ndarray | None:
        """Return an output on the test image; None where the network could not be run, and
        ``fault`` says why."""
        if self._values is None:
            try:
                self._values = self._run()
            except ImportError:
                self._values, self.fault = {}, 'ONNX Runtime is not installed'
                self.is_missing = True
            except Exception as error:  # each status of the runtime has its own type
                self._values, self.fault = {}, ' '.join(str(error).split())[:300]
        return self._values.get(name)

    def _run(self) -> dict[str, np.ndarray]:
        options = import_onnxruntime().SessionOptions()
        options.log_severity_level = 4
        session = open_session(self._network.model.SerializeToString(), options)
        info = self._network.inputs[0]
        fed = fed_image(self._feeding, info.dtype)
        names = [value.name for value in session.get_outputs()]
        given = zip(names, session.run(names, {info.name: fed}), strict=True)
        return {name: values for name, values in given if isinstance(values, np.ndarray)}


def fed_image(feeding: Feeding, dtype: int) -> np.ndarray:
    """Return the test image as a network's input."""
    height, width = feeding.size or OPEN_SIZE
    image = sample_image(height, width)[..., :len(feeding.mean)].astype(np.float32)
    fed = (image * feeding.scale - np.asarray(feeding.mean, np.float32)) \
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
    """Return the test image: uint8 [height, width, 3]."""
    random = np.random.default_rng(0)
    rows, columns = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)[None]
    image = np.stack(np.broadcast_arrays(rows * 255, columns * 255, (rows + columns) * 127.5), 2)
    patches = random.integers(0, 256, (8, 8, 3)).astype(np.float64)
    patches[0, 0], patches[0, 1], patches[1, 0], patches[1, 1] = 0, 255, 255, 0
    patch = patches[(rows[:, 0] * 7.99).astype(int)][:, (columns[0] * 7.99).astype(int)]
    noise = random.integers(0, 256, (height, width, 3))
    image[:height // 2, :width // 2] = patch[:height // 2, :width // 2]
    image[height // 2:, width // 2:] = noise[height // 2:, width // 2:]
    image[height // 2:, :width // 2] = (image + patch)[height // 2:, :width // 2] / 2
    return np.asarray(np.clip(image, 0, 255), np.uint8)
