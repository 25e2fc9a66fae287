# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Description of one network of the zoo: creation, export, input and output."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn import functional

ZOO_CLASSES = 5
"""Classes of a small network; full ones have those of the usual data set of their family."""


@dataclass(frozen=True)
class Export:
    """How a network is exported.

    Attributes:
        exporter: 'torchscript', 'dynamo', 'mmdeploy' (based on the first), or the name of the
            exporter of the family, which ``write`` of the network calls.
        opset: 11 to 20.
        open_axes: '' (fixed), 'batch' or 'all' (batch, height and width).
        dtype: of weights, input and output.
        external_data: whether the weights are in a separate file.
        outputs: names of the outputs; empty for those of the exporter.
    """

    exporter: str = 'torchscript'
    opset: int = 17
    open_axes: str = ''
    dtype: torch.dtype = torch.float32
    external_data: bool = False
    outputs: tuple[str, ...] = ()

    def __str__(self) -> str:
        axes = {'': 'fixed', 'batch': 'open batch', 'all': 'all open'}[self.open_axes]
        more = [axes, *(['fp16'] if self.dtype == torch.float16 else []),
                *(['external data'] if self.external_data else [])]
        return f'{self.exporter} {self.opset}, {", ".join(more)}'


@dataclass(frozen=True)
class Instance:
    """An instance by the post-processing of a family.

    Attributes:
        class_id: its class.
        score: 0..1.
        mask: bool [h, w], at the size at which the family decides.
        box: x_min, y_min, x_max, y_max in pixels of the input; None if the family gives none.
    """

    class_id: int
    score: float
    mask: np.ndarray
    box: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Network:
    """A network in PyTorch and the interpretation of its output by its family.

    Attributes:
        module: takes float [1, 3, height, width]; in evaluation mode after its calibration.
        scores_of: converts its output to scores [1, rows, h, w]; the highest row is the class.
        calibrate: scales the last layers on a batch so that all classes occur in the masks.
        ids: mask value of each row; empty for 0, 1, 2 and so on.
        growth: how the family resizes to the image size: 'bilinear' scores, or 'nearest' ids.
        align_corners: whether the centres of the corner pixels are aligned in that resize.
        post_process: function of the family for both: from the output and (height, width) of
            the image to scores [rows, height, width]. Without it, ``scores_of`` is interpolated.
        instances: function of the family from the output to the instances of its first image.
    """

    module: torch.nn.Module
    scores_of: Callable[[Any], torch.Tensor]
    calibrate: Callable[[torch.Tensor], None]
    ids: tuple[int, ...] = ()
    growth: str = 'nearest'
    align_corners: bool = False
    post_process: Callable[[Any, tuple[int, int]], torch.Tensor] | None = None
    instances: Callable[[Any], list[Instance]] | None = None


@dataclass(frozen=True)
class Feed:
    """Input of a network: (pixel / 255 - mean) / std, channels in the order of ``color``.

    With a ``border``, the image is letterboxed with pixels of that value.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    color: str = 'rgb'
    border: int | None = None

    def window(self, source: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return where an image goes in an input of ``size``: top, left, height, width."""
        if self.border is None:
            return 0, 0, *size
        gain = min(size[0] / source[0], size[1] / source[1])
        height, width = (max(round(extent * gain), 1) for extent in source)
        return (size[0] - height) // 2, (size[1] - width) // 2, height, width


IMAGENET = Feed((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = Feed((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
UNIT_BGR = Feed((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 'bgr')


@dataclass(frozen=True)
class Entry:
    """One network, a row of the table.

    Attributes:
        name, family: names in the table.
        make: creates the network, small (True) or in its usual size (False).
        small, full: height and width of the input.
        export: see ``Export``.
        config: YAML of the model config; '{size}' is replaced by the input size.
        feed: see ``Feed``.
        in_ci: whether the tests export the small network.
        needs: packages without which the tests skip it.
    """

    name: str
    family: str
    make: Callable[[bool], Network]
    export: Export = field(default_factory=Export)
    small: tuple[int, int] = (96, 128)
    full: tuple[int, int] = (512, 512)
    config: str = ''
    feed: Feed = IMAGENET
    in_ci: bool = False
    needs: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        """File name of the network without suffix."""
        return self.name.replace(' ', '_').lower()

    def size(self, small: bool) -> tuple[int, int]:
        """Return height and width of the input."""
        return self.small if small else self.full


def with_none_row(scores: torch.Tensor, value: float = 0.0) -> torch.Tensor:
    """Prepend a row of ``value``, which is the highest where all scores are lower."""
    return functional.pad(scores, (0, 0, 0, 0, 1, 0), value=value)

