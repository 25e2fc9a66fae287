# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""YOLO networks of Ultralytics: instances before or after suppression, and a semantic head.

Exported by its exporter. The reference uses its suppression and masks; each pixel gets the class
of its most confident instance. Ultralytics is under AGPL-3.0; only this module uses it.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.nn import functional

from model_zoo.entry import (
    ZOO_CLASSES,
    Entry,
    Export,
    Feed,
    Instance,
    Network,
    with_none_row,
)
from model_zoo.random_weights import standardise

NOTHING = 255
THRESHOLD, OVERLAP = 0.25, 0.7
"""Defaults of Ultralytics' ``predict``."""

CROWDED, SPARSE = 150, 40
"""Number of anchors above the threshold in an image, but at most a tenth of all."""


def _ultralytics() -> None:
    """Import Ultralytics without access to the network and to the home folder."""
    os.environ.setdefault('YOLO_OFFLINE', 'true')
    os.environ.setdefault('YOLO_AUTOINSTALL', 'false')
    os.environ.setdefault('YOLO_CONFIG_DIR', tempfile.gettempdir())
    os.environ.setdefault('YOLO_VERBOSE', 'false')
    import ultralytics  # noqa: F401


class Yolo(torch.nn.Module):
    """A network of Ultralytics.

    Args:
        name: of its YAML, such as 'yolo11n-seg'.
        classes: number of classes.
        nms: option of the exporter: None for anchors, False for final instances.
    """

    def __init__(self, name: str, classes: int, nms: bool | None) -> None:
        super().__init__()
        _ultralytics()
        from ultralytics.nn import tasks
        kind = tasks.SemanticSegmentationModel if 'sem' in name else tasks.SegmentationModel
        self.net = kind(f'{name}.yaml', nc=classes, verbose=False)
        self.net.names = {index: f'thing {index}' for index in range(classes)}
        self.nms = nms
        self.name, self.classes = name, classes
        if hasattr(self.net, 'end2end'):
            self.net.end2end = nms is False

    def forward(self, x: torch.Tensor) -> Any:
        """Return the output of the network in evaluation mode."""
        return self.net(x)

    def to(self, dtype: torch.dtype) -> 'Yolo':
        """Round weights as the exporter does, after fusing convolutions and batch norms."""
        if dtype != torch.float32:
            self.net.fuse(verbose=False)
        return super().to(dtype)

    def write(self, size: tuple[int, int], how: Export, path: Path) -> None:
        """Export it with Ultralytics' ``export``, in a temporary folder."""
        from ultralytics import YOLO
        yolo = YOLO(f'{self.name}.yaml')
        self.net.args, self.net.task = yolo.model.args, yolo.model.task
        yolo.model = self.net
        home = Path.cwd()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                written = yolo.export(
                    format='onnx', imgsz=list(size), opset=how.opset, nms=self.nms, simplify=False,
                    half=how.dtype == torch.float16, dynamic=how.open_axes == 'all')
                path.write_bytes(Path(written).read_bytes())
            finally:
                os.chdir(home)


def _kept(found: torch.Tensor, prototypes: torch.Tensor, classes: int, size: tuple[int, int],
          final: bool) -> list[Instance]:
    """Return the instances that Ultralytics keeps, the most confident last."""
    from ultralytics.utils.nms import non_max_suppression
    from ultralytics.utils.ops import process_mask
    with mock.patch.dict(sys.modules):  # ours may lack the operators
        sys.modules.pop('torchvision', None)
        kept = non_max_suppression(found.clone(), THRESHOLD, OVERLAP, nc=classes,
                                   end2end=final)[0]
    kept = kept[kept[:, 4].argsort()]
    masks = process_mask(prototypes[0], kept[:, 6:], kept[:, :4], size, upsample=True)
    limits = torch.tensor([size[1], size[0]] * 2)
    boxes = kept[:, :4].clamp(min=torch.zeros(4)).minimum(limits).tolist()
    return [Instance(int(row[5]), float(row[4]), mask.numpy() > 0, tuple(box))
            for row, mask, box in zip(kept, masks, boxes, strict=True)]


def _class_scores(kept: list[Instance], classes: int, size: tuple[int, int]) -> torch.Tensor:
    """Return [1, 1 + classes, h, w]: the threshold, then per class the highest score of the
    instances at a pixel."""
    scores = torch.zeros(1, classes, *size)
    for each in kept:
        scores[0, each.class_id, torch.from_numpy(each.mask)] = each.score
    return with_none_row(scores, THRESHOLD)


def _last_layers(head: Any) -> Iterator[tuple[str, list[Any]]]:
    """The last convolutions of a head: 'cv3' for classes, 'cv4' for mask coefficients."""
    for name in ('cv3', 'cv4'):
        for branch in (name, f'one2one_{name}'):
            if hasattr(head, branch):
                yield name, [level[-1] for level in getattr(head, branch)]


def _instances(name: str, nms: bool | None = None, seen: int = CROWDED,
               ) -> Callable[[bool], Network]:
    def make(small: bool) -> Network:
        module = Yolo(name, ZOO_CLASSES if small else 80, nms)
        sizes: list[tuple[int, int]] = []
        module.register_forward_pre_hook(lambda _, fed: sizes.append(fed[0].shape[2:]))

        def kept(output: Any) -> list[Instance]:
            found, prototypes = output[0]
            return _kept(found, prototypes, module.classes, sizes[-1], nms is False)

        def scores_of(output: Any) -> torch.Tensor:
            return _class_scores(kept(output), module.classes, sizes[-1])

        def calibrate(batch: torch.Tensor) -> None:
            head = module.net.model[-1]
            for kind, layers in _last_layers(head):
                outputs = _outputs_of(module, layers, batch)
                if not outputs:
                    continue
                joined = torch.cat([each.flatten(2) for each in outputs], dim=2)
                for layer, each in zip(layers, outputs, strict=True):
                    standardise((layer,), each)
                if kind == 'cv3':
                    _make_rare(module, layers, batch, seen / joined.shape[2])

        return Network(module, scores_of, calibrate, (NOTHING, *range(module.classes)),
                       instances=kept)

    return make


def _outputs_of(module: Yolo, layers: list[Any], batch: torch.Tensor) -> list[torch.Tensor]:
    outputs: list[torch.Tensor] = []
    hooks = [layer.register_forward_hook(lambda *call: outputs.append(call[2]))
             for layer in layers]
    module(batch)
    for hook in hooks:
        hook.remove()
    return outputs


def _make_rare(module: Yolo, layers: list[Any], batch: torch.Tensor, share: float) -> None:
    """Shift class scores so that few anchors exceed the threshold, as in trained networks."""
    outputs = _outputs_of(module, layers, batch)
    highest = torch.cat([each.flatten(2) for each in outputs], dim=2).amax(dim=1)
    limit = highest.flatten().quantile(1 - min(0.1, share))
    for layer in layers:
        layer.bias.sub_(limit - torch.logit(torch.tensor(THRESHOLD)))


def semantic(small: bool) -> Network:
    """YOLO26 with a semantic head; the exported network gives class ids at the input size."""
    module = Yolo('yolo26n-sem', ZOO_CLASSES if small else 19, None)
    last = [layer for layer in module.net.model[-1].classifier.modules()
            if isinstance(layer, torch.nn.Conv2d)][-1]

    def scores_of(output: Any) -> torch.Tensor:
        return functional.interpolate(output, scale_factor=8, mode='bilinear',
                                      align_corners=False)

    def calibrate(batch: torch.Tensor) -> None:
        standardise((last,), module(batch))

    return Network(module, scores_of, calibrate)


_FEED = Feed((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), border=114)
_GROW_MASKS = 'output: {{grow_masks: true}}'


def _entry(name: str, make: Callable[[bool], Network], export: Export, config: str = '',
           in_ci: bool = False) -> Entry:
    return Entry(name, 'Ultralytics', make, export, full=(640, 640), feed=_FEED, config=config,
                 in_ci=in_ci, needs=('ultralytics',))


ENTRIES = (
    _entry('YOLOv8n-seg', _instances('yolov8n-seg'), Export('ultralytics', 17), _GROW_MASKS),
    _entry('YOLO11n-seg', _instances('yolo11n-seg'), Export('ultralytics', 18), _GROW_MASKS, True),
    _entry('YOLO11n-seg open', _instances('yolo11n-seg'),
           Export('ultralytics', 17, open_axes='all'), _GROW_MASKS),
    _entry('YOLO11n-seg fp16', _instances('yolo11n-seg', seen=SPARSE),
           Export('ultralytics', 17, dtype=torch.float16), _GROW_MASKS),
    _entry('YOLO26n-seg', _instances('yolo26n-seg'), Export('ultralytics', 17), _GROW_MASKS),
    _entry('YOLO26n-seg final', _instances('yolo26n-seg', False), Export('ultralytics', 17),
           _GROW_MASKS, True),
    _entry('YOLO26n-sem', semantic, Export('ultralytics', 17), in_ci=True),
)
