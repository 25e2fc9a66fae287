# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""One network from random weights to the comparison of its masks."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from demo_scenes.scenes import render

from model_zoo.entry import Entry, Network
from model_zoo.exporting import export
from model_zoo.random_weights import as_input, calibrated
from model_zoo.reference import Reference, reference
from trt_segmentation.model_config import ModelConfig
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

WANTED = 0.995
"""Part of the pixels that are no near tie that must agree."""

_SEEDS = (1, 2)
_SUFFIXES = ('.jpg', '.jpeg', '.png')


@dataclass(frozen=True)
class Exported:
    """A network that was written, and PyTorch's answers to it.

    Attributes:
        entry: what it is.
        model: the .onnx file.
        config: its model config.
        images: uint8 BGR [H, W, 3].
        references: one an image.
        growth: the mask interpolation that does what the family does.
    """

    entry: Entry
    model: Path
    config: ModelConfig
    images: list[np.ndarray] = field(repr=False)
    references: list[Reference] = field(repr=False)
    growth: str


def load_images(folder: Path | None, small: bool) -> list[np.ndarray]:
    """Return the pictures of a folder; without one, rendered road scenes."""
    if folder is None:
        height, width = (144, 176) if small else (720, 960)
        return [render(seed, height, width).image for seed in _SEEDS]
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    read = (cv2.imread(str(path), cv2.IMREAD_COLOR) for path in paths)
    return [image for image in read if image is not None]


def make(entry: Entry, small: bool, images: list[np.ndarray]) -> Network:
    """Return the calibrated network; the same weights each time, rounded where the file's are."""
    torch.manual_seed(0)
    network = entry.make(small)
    network.module.eval()
    batch = as_input(images, entry.size(small), entry.feed)
    network = calibrated(network, batch)
    network.module.to(entry.export.dtype).float()
    return network


def export_entry(entry: Entry, folder: Path, small: bool, images: list[np.ndarray]) -> Exported:
    """Write a network and ask PyTorch for its masks.

    Args:
        entry: which one.
        folder: gets the file; made if it is not there.
        small: whether the small one.
        images: at least two.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network = make(entry, small, images)
    model = folder / f'{entry.stem}.onnx'
    export(network.module, entry.size(small), entry.export, model)
    text = entry.config.format(size=list(entry.size(small)))
    return Exported(entry, model, ModelConfig.from_text(text, entry.name), images,
                    [reference(entry, network, image, small) for image in images],
                    network.growth)


def write_answers(exported: Exported) -> None:
    """Write the config and PyTorch's answers beside the network, for ``tools/gpu_check``.

    NAME.npz holds 'growth', the mask interpolation, and of each image, numbered from 0: 'image_0'
    uint8 BGR [H, W, 3], 'mask_0' uint8 [H, W] and 'clear_0' bool [H, W], see ``Reference``.
    """
    exported.model.with_suffix('.yaml').write_text(exported.config.to_text(), encoding='utf-8')
    arrays: dict[str, Any] = {'growth': exported.growth}
    pairs = zip(exported.images, exported.references, strict=True)
    for number, (image, told) in enumerate(pairs):
        arrays |= {f'image_{number}': image, f'mask_{number}': told.mask,
                   f'clear_{number}': told.clear}
    np.savez_compressed(exported.model.with_suffix('.npz'), **arrays)


@dataclass(frozen=True)
class Agreement:
    """How far our masks are PyTorch's.

    Attributes:
        share: of the pixels that are no near tie, those that agree; 0..1.
        counted: part of all pixels that is no near tie.
        classes: how many classes the reference has on a thousandth of the pixels or more.
    """

    share: float
    counted: float
    classes: int


def compare(exported: Exported, growth: str) -> Agreement:
    """Run our Segmenter on ONNX Runtime and compare.

    Args:
        exported: see ``export_entry``.
        growth: mask interpolation, 'nearest' or 'bilinear'.
    """
    options = RunOptions('onnxruntime', mask_interpolation=growth)
    segmenter = Segmenter.open(exported.model, config=exported.config, options=options)
    try:
        equal = np.concatenate([
            (segmenter.infer(image).mask == told.mask)[told.clear]
            for image, told in zip(exported.images, exported.references, strict=True)])
    finally:
        segmenter.close()
    clear = np.concatenate([told.clear.ravel() for told in exported.references])
    masks = np.concatenate([told.mask.ravel() for told in exported.references])
    shares = np.bincount(masks) / masks.size
    return Agreement(float(equal.mean()), float(clear.mean()), int((shares >= 0.001).sum()))
