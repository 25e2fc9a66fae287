# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What one network of the zoo is: how it is made, exported, read and fed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional

ZOO_CLASSES = 5
"""Classes of a small network; full ones have as many as their family's usual data set."""


@dataclass(frozen=True)
class Export:
    """How a network is written.

    Attributes:
        exporter: 'torchscript', 'dynamo', 'mmdeploy' (which uses the first), or the name of the
            family's own, which the network's ``write`` calls.
        opset: 11 to 20.
        open_axes: '' (fixed), 'batch' or 'all' (batch, height and width).
        dtype: what weights, input and output are written in.
        external_data: whether the weights go to a file of their own.
        outputs: names given to the outputs; none leaves them to the exporter.
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
class Network:
    """A network in PyTorch and how its family reads its output.

    Attributes:
        module: takes float [1, 3, height, width]; in evaluation mode once it was calibrated.
        answer: its output to scores [1, rows, h, w]; the highest row is the class.
        settle: given a batch, scales the last layers so that all classes are seen.
        ids: mask value of each row; none for 0, 1, 2 and so on.
        growth: how the family brings the answer to the image's size: 'bilinear' scores, or
            'nearest' ids.
        align_corners: whether it does so with the corners' centres on each other.
        post_process: the family's own function for both: from the output and (height, width) of
            the image to scores [rows, height, width]. Without it, ``answer`` is interpolated.
    """

    module: torch.nn.Module
    answer: Callable[[Any], torch.Tensor]
    settle: Callable[[torch.Tensor], None]
    ids: tuple[int, ...] = ()
    growth: str = 'nearest'
    align_corners: bool = False
    post_process: Callable[[Any, tuple[int, int]], torch.Tensor] | None = None


@dataclass(frozen=True)
class Feed:
    """What a network is fed: (pixel / 255 - mean) / std, channels in the order of ``color``.

    With a ``border``, the image keeps its aspect ratio, and pixels of that value are around it.
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
PLAIN_BGR = Feed((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 'bgr')


@dataclass(frozen=True)
class Entry:
    """One line of the table.

    Attributes:
        name, family: how it is called.
        make: makes the network, small (True) or as people use it (False).
        small, full: height and width of its input.
        export: how it is written.
        config: YAML of the model config; '{size}' becomes the input's.
        feed: what it was trained on.
        in_ci: whether the tests export the small one.
        needs: packages without which it is left out of the tests.
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
        """What its files are called."""
        return self.name.replace(' ', '_').lower()

    def size(self, small: bool) -> tuple[int, int]:
        """Return height and width of the input."""
        return self.small if small else self.full


def with_none_row(scores: torch.Tensor, value: float = 0.0) -> torch.Tensor:
    """Return scores with a row of ``value`` before them: what wins where all are lower."""
    return functional.pad(scores, (0, 0, 0, 0, 1, 0), value=value)

