# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Check that each image of a batch gets the same result as alone. The check runs the network,
since a graph does not show this for sure.

A network may mix the images of a batch, for example with attention over the tokens of all of
them. Its masks would look plausible and be wrong.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from trt_segmentation.errors import ModelError
from trt_segmentation.graph.onnx_tools.network import shape_text
from trt_segmentation.graph.precision.calibration import network_inputs, open_runtime
from trt_segmentation.graph.reading.batch import BATCH_HINT, batched
from trt_segmentation.graph.reading.resolve import ModelSpec

_SIZE = (256, 256)
"""Size of the test images, for networks that take any; a multiple of the usual strides."""

_COUNT = 2
"""Images in the test batch; more would take longer and show nothing else."""

_TOLERANCE = 5e-3
"""Largest difference of scores, relative to their range: kernels may sum in another order."""

_FEW = 1e-3
"""Largest share of class ids that differ: the scores of two classes may be equal."""


def check_independence(spec: ModelSpec) -> None:
    """Run different images one by one and in a batch, and compare the results.

    This takes as long as opening the network twice on ONNX Runtime and running it on four images.

    Args:
        spec: with a ``batch``; a batch of one is not checked.

    Raises:
        BackendError: ONNX Runtime is not installed.
        ModelError: the network does not run on a batch, or the results differ.
    """
    if spec.batch == 1:
        return
    model, source = spec.network.model, spec.network.source
    single, several = (open_runtime(each, source) for each in (model, batched(model, _COUNT)))
    feeds = list(network_inputs(replace(spec, batch=1), _unlike_images(_COUNT)))
    shape = shape_text(next(iter(feeds[0].values())).shape)
    parts = [_run(single, spec, feed, f'does not run on an input of {shape}', 'set input.size')
             for feed in feeds]
    fed = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
    together = _run(several, spec, fed, f'cannot take {_COUNT} images at once', BATCH_HINT)
    for found, *alone in zip(together, *parts, strict=True):
        if not _alike(found, np.concatenate(alone)):
            raise ModelError(f'{source}: gives an image in a batch of {_COUNT} another result '
                             f'than alone, so that it mixes images; {BATCH_HINT}')


def _run(session: Any, spec: ModelSpec, feed: dict[str, np.ndarray], fault: str, way_out: str,
         ) -> list[np.ndarray]:
    """Return the outputs that the tail reads."""
    names = list(dict.fromkeys(name for task in spec.tasks for name in (
        (task.pair.masks.name, task.pair.classes.name) if task.pair else (task.scores.name,))))
    try:
        return list(session.run(names, feed))
    except Exception as error:  # the binding raises its own types, one for each status code
        why = ' '.join(str(error).split())[:300].rstrip('.')
        raise ModelError(f'{spec.network.source}: {fault} ({why}); {way_out}') from error


def _alike(found: np.ndarray, wanted: np.ndarray) -> bool:
    if found.shape != wanted.shape:
        return False
    if found.dtype.kind != 'f':
        return bool((found != wanted).mean() <= _FEW)
    wanted = wanted.astype(np.float64)
    finite = np.isfinite(wanted)
    span = float(np.ptp(wanted[finite])) if finite.any() else 0.0
    return bool(np.allclose(found, wanted, rtol=0, atol=_TOLERANCE * span + 1e-6, equal_nan=True))


def _unlike_images(count: int) -> list[np.ndarray]:
    """Return uint8 images of noise that differ in brightness and in channels."""
    random = np.random.default_rng(0)
    images = []
    for index in range(count):
        image = random.integers(0, 256 * (index + 1) // count, (*_SIZE, 3)).astype(np.uint8)
        image[:, :_SIZE[1] * (index + 1) // (count + 1), index % 3] = 255
        images.append(image)
    return images
