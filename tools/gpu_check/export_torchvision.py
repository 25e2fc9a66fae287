#!/usr/bin/env python3
# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Write torchvision networks with seeded random weights as ONNX::

    python export_torchvision.py OUT_DIR

Needs torch and torchvision.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model_zoo.import_torchvision import import_segmentation

CLASSES = 19
SIZE = (512, 1024)
NAMES = ('lraspp_mobilenet_v3_large', 'deeplabv3_resnet50')


class Scores(torch.nn.Module):
    """The main output only, as a tensor."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.network(image)['out']


def export(name: str, folder: Path) -> Path:
    """Write one network, always with the same weights."""
    torch.manual_seed(0)
    make = getattr(import_segmentation(), name)
    network = make(weights=None, weights_backbone=None, num_classes=CLASSES).eval()
    # Sets the statistics of the batch norms; with the initial ones, scores vanish.
    with torch.no_grad():
        network.train()
        for _ in range(2):
            network(torch.rand(2, 3, *SIZE) * 4 - 2)
        network.eval()
    path = folder / f'{name}.onnx'
    torch.onnx.export(Scores(network), (torch.zeros(1, 3, *SIZE),), path, opset_version=17,
                      input_names=['image'], output_names=['logits'], dynamo=False)
    return path


if __name__ == '__main__':
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for network_name in NAMES:
        print(export(network_name, out), flush=True)
