# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Creation, export and comparison of one network."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from demo_scenes.scenes import render

from model_zoo.entry import Entry, Network
from model_zoo.exporting import export
from model_zoo.instances import InstanceReference, instance_references
from model_zoo.random_weights import as_input, calibrated
from model_zoo.reference import Reference, reference
from trt_segmentation.model_config import ModelConfig
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

MIN_AGREEMENT = 0.995
"""Minimum share of equal pixels, without near ties."""

_SEEDS = (1, 2)
_SUFFIXES = ('.jpg', '.jpeg', '.png')


@dataclass(frozen=True)
class Exported:
    """An exported network with its reference masks.

    Attributes:
        entry: its entry in the zoo.
        model: the .onnx file.
        config: its model config.
        images: uint8 BGR [H, W, 3].
        references: one per image.
        growth: mask interpolation that corresponds to the family.
        instances: of each image; empty if the family finds none.
    """

    entry: Entry
    model: Path
    config: ModelConfig
    images: list[np.ndarray] = field(repr=False)
    references: list[Reference] = field(repr=False)
    growth: str
    instances: list[InstanceReference] = field(default_factory=list, repr=False)


def load_images(folder: Path | None, small: bool) -> list[np.ndarray]:
    """Return the images of a folder, or rendered road scenes without a folder."""
    if folder is None:
        height, width = (144, 176) if small else (720, 960)
        return [render(seed, height, width).image for seed in _SEEDS]
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    read = (cv2.imread(str(path), cv2.IMREAD_COLOR) for path in paths)
    return [image for image in read if image is not None]


def make(entry: Entry, small: bool, images: list[np.ndarray]) -> Network:
    """Return the calibrated network with reproducible weights, rounded to the exported dtype."""
    torch.manual_seed(0)
    network = entry.make(small)
    network.module.eval()
    batch = as_input(images, entry.size(small), entry.feed)
    network = calibrated(network, batch)
    network.module.to(entry.export.dtype).float()
    return network


def export_entry(entry: Entry, folder: Path, small: bool, images: list[np.ndarray]) -> Exported:
    """Export a network and compute its reference masks with PyTorch.

    Args:
        entry: the network.
        folder: for the file; created if necessary.
        small: whether to use the small network.
        images: at least two.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network = make(entry, small, images)
    model = folder / f'{entry.stem}.onnx'
    export(network.module, entry.size(small), entry.export, model)
    text = entry.config.format(size=list(entry.size(small)))
    return Exported(entry, model, ModelConfig.from_text(text, entry.name), images,
                    [reference(entry, network, image, small) for image in images],
                    network.growth, instance_references(entry, network, images, small))


def write_references(exported: Exported) -> None:
    """Write the config and the reference masks beside the network, for ``tools/gpu_check``.

    NAME.npz has 'growth', the mask interpolation, and for each image, numbered from 0: 'image_0'
    uint8 BGR [H, W, 3], 'mask_0' uint8 [H, W] and 'clear_0' bool [H, W], see ``Reference``.
    """
    exported.model.with_suffix('.yaml').write_text(exported.config.to_text(), encoding='utf-8')
    arrays: dict[str, Any] = {'growth': exported.growth}
    pairs = zip(exported.images, exported.references, strict=True)
    for number, (image, expected) in enumerate(pairs):
        arrays |= {f'image_{number}': image, f'mask_{number}': expected.mask,
                   f'clear_{number}': expected.clear}
    np.savez_compressed(exported.model.with_suffix('.npz'), **arrays)


@dataclass(frozen=True)
class Agreement:
    """Agreement of the Segmenter's masks with the reference masks.

    Attributes:
        share: share of equal pixels without near ties, 0..1.
        counted: share of the pixels that are not near ties, 0..1.
        classes: number of classes with at least 0.1 % of the reference pixels.
    """

    share: float
    counted: float
    classes: int


def compare(exported: Exported, growth: str) -> Agreement:
    """Run the Segmenter on ONNX Runtime and compare its masks.

    Args:
        exported: see ``export_entry``.
        growth: mask interpolation, 'nearest' or 'bilinear'.
    """
    options = RunOptions('onnxruntime', mask_interpolation=growth)
    segmenter = Segmenter.open(exported.model, config=exported.config, options=options)
    try:
        equal = np.concatenate([
            (segmenter.infer(image).mask == expected.mask)[expected.clear]
            for image, expected in zip(exported.images, exported.references, strict=True)])
    finally:
        segmenter.close()
    clear = np.concatenate([expected.clear.ravel() for expected in exported.references])
    masks = np.concatenate([expected.mask.ravel() for expected in exported.references])
    shares = np.bincount(masks) / masks.size
    return Agreement(float(equal.mean()), float(clear.mean()), int((shares >= 0.001).sum()))
