# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Likely configs of a network whose file does not define its input, tried on a photo."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from trt_segmentation.backends import open_network
from trt_segmentation.graph.analysis.measurement import measurement_setup
from trt_segmentation.graph.onnx_tools.network import FLOAT_TYPES, Network
from trt_segmentation.graph.reading.image_input import IMAGENET_MEAN, IMAGENET_STD
from trt_segmentation.graph.reading.resolve import ModelSpec, resolve, with_mask
from trt_segmentation.images.gray import as_bgr
from trt_segmentation.model_config import COLOR_ORDERS, InputConfig, ModelConfig
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

_NORMALISATIONS: Mapping[str, InputConfig] = {
    'ImageNet mean and std': InputConfig(scale=1 / 255, mean=IMAGENET_MEAN, std=IMAGENET_STD),
    '-1 to 1': InputConfig(scale=1 / 127.5, mean=(1.0,) * 3, std=(1.0,) * 3),
    '0 to 1': InputConfig(scale=1 / 255, mean=(0.0,) * 3, std=(1.0,) * 3),
    '0 to 255': InputConfig(scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3),
}
"""Common normalisations, the most frequent first. ``resolve`` assumes the first."""

_GRAY_NORMALISATIONS: Mapping[str, InputConfig] = {
    '0 to 1': InputConfig(scale=1 / 255, mean=(0.0,), std=(1.0,)),
    '-1 to 1': InputConfig(scale=1 / 127.5, mean=(1.0,), std=(1.0,)),
    'ImageNet average mean and std': InputConfig(scale=1 / 255, mean=(0.449,), std=(0.226,)),
    '0 to 255': InputConfig(scale=1.0, mean=(0.0,), std=(1.0,)),
}
"""Common normalisations of one channel. For networks trained on ImageNet, mean and std are the
averages over its colours."""

_MOST_CLASSES = 3
"""Number of classes whose fractions are shown."""


@dataclass(frozen=True)
class LikelyConfig:
    """One likely config.

    Attributes:
        name: for example 'rgb, 0 to 1'.
        input: only the keys that neither graph nor config define.
    """

    name: str
    input: InputConfig

    @property
    def yaml(self) -> str:
        """Return the line for a model config; '' if no key is set."""
        keys = {key: list(value) if isinstance(value, tuple) else value
                for key, value in asdict(self.input).items() if value is not None}
        if not keys:
            return ''
        return yaml.safe_dump({'input': keys}, sort_keys=False, default_flow_style=True,
                              width=1000).strip()[1:-1]  # without the outer braces

    def over(self, config: ModelConfig) -> ModelConfig:
        """Return a config with these keys added."""
        return ModelConfig(self.input).over(config)


@dataclass(frozen=True)
class Trial:
    """The result of a photo with one config.

    Attributes:
        config: the config.
        spec: the spec of the network with this config.
        mask: uint8 or uint16 [H, W].
        overlay: uint8 [H, W, 3], BGR.
        confidence: mean over the mask, 0..1; None if the network has no confidence.
    """

    config: LikelyConfig
    spec: ModelSpec
    mask: np.ndarray
    overlay: np.ndarray
    confidence: float | None

    def most_common(self) -> list[tuple[int, str]]:
        """Return id and text of the most common classes, without those below 0.5 %."""
        shares = np.bincount(self.mask.ravel()) / self.mask.size
        largest = [int(index) for index in np.argsort(-shares, kind='stable')[:_MOST_CLASSES]]
        return [(index, f'{self._name(index)}: {shares[index]:.0%}') for index in largest
                if shares[index] >= 0.005 or index == largest[0]]

    def confidence_text(self) -> str:
        """Return the mean confidence as text; '' if the network has none."""
        return '' if self.confidence is None else f'mean confidence {self.confidence:.2f}'

    def _name(self, index: int) -> str:
        if index == self.spec.encoding.unlabelled:
            return 'no class'
        labels = self.spec.labels
        return labels[index] if index < len(labels) else f'class {index}'


def likely_configs(spec: ModelSpec) -> list[LikelyConfig]:
    """Return the likely configs of a network; the first is the one that ``resolve`` assumes.

    Args:
        spec: spec of the network; the configs differ only in its assumed keys.
    """
    assumed = {fact.key for fact in spec.assumed}
    colors = COLOR_ORDERS if 'input.color' in assumed else ('',)
    is_float = spec.network.inputs[0].dtype in FLOAT_TYPES
    normalisations = _normalisations(spec) if 'input.scale' in assumed and is_float else \
        {'': InputConfig()}
    return [LikelyConfig(', '.join(filter(None, (color, name))) or 'unchanged',
                         InputConfig(color or None, kept.scale, kept.mean, kept.std))
            for color in colors for name, kept in normalisations.items()]


def _normalisations(spec: ModelSpec) -> Mapping[str, InputConfig]:
    if not spec.gray_bits:
        return _NORMALISATIONS
    if spec.depth == 8:
        return _GRAY_NORMALISATIONS
    return {name.replace('255', '65535'): replace(fed, scale=(fed.scale or 1.0) / 257)
            if name != '0 to 255' else fed for name, fed in _GRAY_NORMALISATIONS.items()}


def try_out(network: Network, config: ModelConfig, configs: Sequence[LikelyConfig],
            image: np.ndarray, options: RunOptions) -> list[Trial]:
    """Segment a photo once with each config, one after the other.

    Args:
        network: the network.
        config: keys that all configs share.
        configs: configs to try.
        image: uint8 [H, W, 3], BGR, or gray as from ``open_images``.
        options: backend and its options.
    """
    from tqdm import tqdm
    trials, measuring = [], measurement_setup(options, lambda: image)
    for likely in tqdm(configs, unit='config', leave=False, disable=None):
        spec = with_mask(resolve(network, likely.over(config), measuring=measuring), options)
        segmenter = Segmenter(open_network(spec, options), spec)
        try:
            wanted = tuple(name for name in ('mask', 'overlay', 'confidence')
                           if name in segmenter.available_outputs)
            found = segmenter.infer(image, outputs=wanted).copy()
        finally:
            segmenter.close()
        confidence = float(found.confidence.mean()) / 255 if 'confidence' in wanted else None
        trials.append(Trial(likely, spec, found.mask, found.overlay, confidence))
    return trials


def same_masks(trials: Sequence[Trial]) -> dict[int, list[int]]:
    """Group trials with equal masks.

    Returns:
        The numbers of the trials of each group, from 1, by the number of its first trial.
    """
    groups: dict[int, list[int]] = {}
    for number, trial in enumerate(trials, 1):
        first = next((first for first in groups
                      if np.array_equal(trials[first - 1].mask, trial.mask)), number)
        groups.setdefault(first, []).append(number)
    return groups


def picture_of(image: np.ndarray, name: str, trials: Sequence[Trial]) -> np.ndarray:
    """Return a sheet with the photo and each different overlay, numbered, as BGR."""
    from trt_segmentation.images.render import Cell, sheet  # imports OpenCV
    cells = [Cell(as_bgr(image), (f'photo {name}',))]
    for first, numbers in same_masks(trials).items():
        trial = trials[first - 1]
        same = f'same mask: {", ".join(map(str, numbers[1:]))}' if numbers[1:] else ''
        captions = [(text, trial.spec.palette_table('bgr')[index])
                    for index, text in trial.most_common()]
        title = tuple(filter(None, (f'{first}  {trial.config.name}', same)))
        cells.append(Cell(trial.overlay, title,
                          (*captions, (trial.confidence_text(), None))))
    return sheet(cells)


def describe(configs: Sequence[LikelyConfig], trials: Sequence[Trial]) -> str:
    """Return the configs with their numbers and lines, and the results of the photo.

    Args:
        configs: all configs.
        trials: their trials; empty without a photo.
    """
    firsts = {number: first for first, numbers in same_masks(trials).items()
              for number in numbers}
    lines = []
    for number, config in enumerate(configs, 1):
        found = ''
        if trials:
            trial = trials[number - 1]
            shares = ', '.join(text for _, text in trial.most_common())
            found = f'same mask as {firsts[number]}' if firsts[number] != number else \
                '; '.join(filter(None, (shares, trial.confidence_text())))
        lines += [f'  {number}  {config.name:27} {found}'.rstrip(),
                  *([f'     {config.yaml}'] if config.yaml else [])]
    return '\n'.join(lines)


def default_picture(model: Path, photo: Path) -> Path:
    """Return the default path of the picture."""
    return Path(f'{model.stem}_on_{photo.stem}.png')
