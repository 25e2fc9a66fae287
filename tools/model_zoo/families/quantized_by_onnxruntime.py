# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A U-Net statically quantized by ONNX Runtime: as Q/DQ nodes, or as its own operators.

The reference is the quantized file, run by ONNX Runtime, so that the quantization error is not
measured. The network is shallow, because rounding errors in the input of a deep random network can
change its classes.
"""

import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model_zoo.entry import ZOO_CLASSES, Entry, Export, Network
from model_zoo.exporting import INPUT, export
from model_zoo.families.like_tao import UNet
from model_zoo.random_weights import standardise
from trt_segmentation.graph.onnx_tools.onnxruntime_api import import_onnxruntime, open_session


class Quantized(torch.nn.Module):
    """A network that runs in float before ``write``, and as the written file after it.

    Args:
        net: in float32.
        form: 'QDQ' or 'QOperator', names of ``onnxruntime.quantization.QuantFormat``.
        symmetric: whether activations are int8 with a zero point of 0, as TensorRT needs; else
            uint8 with any zero point, the default of ONNX Runtime.
    """

    def __init__(self, net: torch.nn.Module, form: str, symmetric: bool) -> None:
        super().__init__()
        self.net = net
        self.form, self.symmetric = form, symmetric
        self.calibration = torch.zeros(0)
        self.session: Any = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.session is None:
            return self.net(x)
        return torch.from_numpy(self.session.run(None, {INPUT: x.numpy()})[0])

    def write(self, size: tuple[int, int], how: Export, path: Path) -> None:
        """Export the float network and quantize the file."""
        quantization = import_onnxruntime('quantization')
        kinds: dict[str, Any] = {
            'activation_type': quantization.QuantType.QInt8,
            'extra_options': {'ActivationSymmetric': True, 'QuantizeBias': False},
        } if self.symmetric else {}
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / 'float.onnx'
            export(self.net, size, dataclasses.replace(how, exporter='torchscript'), whole)
            quantization.quantize_static(
                whole, path, _Reader(self.calibration.numpy()),
                quant_format=quantization.QuantFormat[self.form], **kinds)
        self.session = open_session(path.read_bytes())


class _Reader:
    """Calibration images for ``quantize_static``."""

    def __init__(self, batch: np.ndarray) -> None:
        self.images: Iterator[np.ndarray] = iter(batch)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return an image as the input of the network; None after the last."""
        image = next(self.images, None)
        return None if image is None else {INPUT: image[None]}


def _network(form: str, symmetric: bool = False) -> Callable[[bool], Network]:
    def make(small: bool) -> Network:
        unet = UNet(8 if small else 32, ZOO_CLASSES)
        module = Quantized(unet, form, symmetric)

        def calibrate(batch: torch.Tensor) -> None:
            standardise((unet.last,), unet(batch))
            module.calibration = batch

        return Network(module, lambda scores: scores, calibrate)

    return make


def _entry(name: str, make: Callable[[bool], Network], **more: Any) -> Entry:
    return Entry(name, 'ONNX Runtime', make, Export('quantize_static', 17, outputs=('logits',)),
                 **more)


ENTRIES = (
    _entry('U-Net QDQ', _network('QDQ'), in_ci=True),
    _entry('U-Net QDQ symmetric', _network('QDQ', True)),
    _entry('U-Net QOperator', _network('QOperator'), in_ci=True),
)
