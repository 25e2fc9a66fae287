# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A network of transformers by Optimum's command line, which leaves every extent open.

Optimum needs an older transformers than the rest of the zoo (optimum-onnx 0.1 asks for 4.57), so
its network is in none of the tests, and ``optimum-cli`` is looked for on the PATH: it may be in an
environment of its own.
"""

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch

from model_zoo.entry import Entry, Export, Network
from model_zoo.families.from_transformers import segformer


class Exported(torch.nn.Module):
    """A network of transformers that is exported from the folder it was saved to.

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
    """SegFormer, B0 where it is full."""
    made = segformer(small)
    return Network(Exported(made.module), made.answer, made.settle, growth='bilinear')


ENTRIES = (
    Entry('SegFormer Optimum', 'transformers', optimum, Export('optimum-cli', 17, open_axes='all'),
          config='input: {{layout: nchw, size: {size}}}'),
)
