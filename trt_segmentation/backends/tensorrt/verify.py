# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Compares the masks of an engine with those of its network on ONNX Runtime in fp32."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from trt_segmentation.backends.base import Session, output_dtype, output_shape
from trt_segmentation.backends.batch_check import check_independence
from trt_segmentation.errors import BackendError
from trt_segmentation.graph.pipeline.prepare import named_outputs
from trt_segmentation.graph.reading.resolve import ModelSpec
from trt_segmentation.images.gray import as_bands

logger = logging.getLogger(__name__)

EXPECTED_AGREEMENT = {'fp32': 0.999, 'fp16': 0.99, 'int8': 0.95}
"""Least fraction of mask pixels that equal those of the fp32 network, by precision."""

_REMEDIES = {
    'fp32': 'please report this with the network',
    'fp16': 'build it in fp32',
    'int8': 'give more, and more typical, calibration images, or build it in fp16',
}


def agreement_with_fp32(session: Session, spec: ModelSpec, mask_interpolation: str,
                        images: Sequence[np.ndarray]) -> float | None:
    """Return the fraction of pixels with the same class as on ONNX Runtime in fp32; of several
    tasks, the least.

    Args:
        session: of the engine; it may take several images at once.
        spec: the network as it was exported.
        mask_interpolation: see ``graph.pipeline.prepare.prepare``.
        images: uint8 BGR [H, W, 3], or what ``images.gray.as_bands`` takes. A session of
            several images gets those of one size together, some of them twice to fill a batch.

    Returns:
        0..1; None where ONNX Runtime is not installed.
    """
    try:
        from trt_segmentation.backends.onnxruntime import OnnxRuntimeSession
    except BackendError as error:
        logger.info('the engine is not compared with its network: %s', error)
        return None
    single = replace(spec, batch=1)
    reference = OnnxRuntimeSession(single, mask_interpolation=mask_interpolation)
    expected = [_masks(reference, single, [image])[0] for image in images]
    reference.close()
    shares = []
    for indices in _batches(images, spec.batch):
        found = _masks(session, spec, [images[index] for index in indices])
        shares += [np.mean(masks == expected[index], axis=(1, 2))
                   for masks, index in zip(found, indices, strict=True)]
    return float(np.min(np.mean(shares, axis=0)))


def check_batch(spec: ModelSpec) -> None:
    """Check that a network does not mix the images of a batch, if ONNX Runtime is installed.

    Raises:
        ModelError: it mixes them; see ``backends.batch_check.check_independence``.
    """
    try:
        check_independence(spec)
    except BackendError:
        logger.warning('%s: not checked whether it mixes the %d images of a batch, since ONNX '
                       'Runtime is not installed; pip install onnxruntime',
                       spec.network.source, spec.batch)


def warn_if_low(agreement: float | None, precision: str, source: str) -> None:
    """Warn if an engine's masks differ too much from its network's, with the fix."""
    if agreement is not None and agreement < EXPECTED_AGREEMENT[precision]:
        logger.warning('%s in %s gives %.2f%% of the pixels the class that it gives them in fp32; '
                       'at least %.1f%% is expected: %s', source, precision, 100 * agreement,
                       100 * EXPECTED_AGREEMENT[precision], _REMEDIES[precision])


def _batches(images: Sequence[np.ndarray], count: int) -> Iterator[list[int]]:
    """Batches of indices of images of one size, which together contain each image."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for index, image in enumerate(images):
        by_size.setdefault(image.shape, []).append(index)
    for indices in by_size.values():
        for start in range(0, len(indices), count):
            yield [indices[(start + more) % len(indices)] for more in range(count)]


def ready_for_masks(session: Session, spec: ModelSpec, images: Sequence[np.ndarray],
                    ) -> tuple[list[np.ndarray], list[np.ndarray], list[dict[str, np.ndarray]]]:
    """Prepare a session for the masks of images of one size.

    Returns:
        The images as the session takes them; for each image, the arrays for the masks of all
        tasks, [task, H, W], and the same arrays by name.
    """
    fed = [as_bands(np.ascontiguousarray(image)) for image in images]
    height, width, bands = fed[0].shape
    names = named_outputs(spec, ('mask',))
    shape = len(names), *output_shape('mask', (height, width), spec.mask_size)
    masks = [np.empty(shape, output_dtype('mask', spec.encoding)) for _ in images]
    session.set_channels(spec.channels('bgr'))
    session.resize(height, width, names, bands)
    return fed, masks, [dict(zip(names, each, strict=True)) for each in masks]


def _masks(session: Session, spec: ModelSpec, images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """For each image, the masks of all tasks: [task, H, W]."""
    fed, masks, outs = ready_for_masks(session, spec, images)
    session.infer(fed, outs)
    return masks
