# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A network of transformers by Optimum's command line, with all dimensions dynamic.

Optimum needs an older transformers than the rest of the zoo (optimum-onnx 0.1 needs 4.57). The
tests therefore do not use it, and ``optimum-cli`` on the PATH may be in its own environment.
"""

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch

from model_zoo.entry import Entry, Export, Network
from model_zoo.families.from_transformers import segformer


class Exported(torch.nn.Module):
    """A network of transformers that is exported from a saved folder.

    Args:
        net: of transformers.
    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> Any:
        return self.net(x)

    def write(self, size: tuple[int, int], how: Export, path: Path) -> None:
        """Save it with its image processor and call ``optimum-cli``."""
        from transformers import SegformerImageProcessor
        height, width = size
        with tempfile.TemporaryDirectory() as folder:
            self.net.save_pretrained(folder)
            processor = SegformerImageProcessor(size={'height': height, 'width': width})
            processor.save_pretrained(folder)
            subprocess.run(
                ['optimum-cli', 'export', 'onnx', '--model', folder,
                 '--task', 'semantic-segmentation', '--opset', str(how.opset), f'{folder}/out'],
                check=True)
            path.write_bytes(Path(folder, 'out', 'model.onnx').read_bytes())


def optimum(small: bool) -> Network:
    """SegFormer; B0 in full size."""
    network = segformer(small)
    return Network(Exported(network.module), network.scores_of, network.calibrate,
                   growth='bilinear')


ENTRIES = (
    Entry('SegFormer Optimum', 'transformers', optimum, Export('optimum-cli', 17, open_axes='all'),
          config='input: {{layout: nchw, size: {size}}}'),
)
