# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Is the engine still the network? Its masks against those of ONNX Runtime in fp32."""

import logging
from collections.abc import Sequence

import numpy as np

from trt_segmentation.backends.base import Session, output_shape
from trt_segmentation.errors import BackendError
from trt_segmentation.graph.prepare import prepare
from trt_segmentation.graph.resolve import ModelSpec

logger = logging.getLogger(__name__)

EXPECTED_AGREEMENT = {'fp32': 0.999, 'fp16': 0.99, 'int8': 0.95}
"""Fraction of mask pixels that shall equal those of the fp32 network, by precision."""

_REMEDIES = {
    'fp32': 'please report this with the network',
    'fp16': 'build it in fp32',
    'int8': 'give more, and more typical, calibration images, or build it in fp16',
}


def agreement_with_fp32(session: Session, spec: ModelSpec, mask_interpolation: str,
                        images: Sequence[np.ndarray]) -> float | None:
    """Return the fraction of pixels that get the class that ONNX Runtime gives them in fp32.

    Args:
        session: what is looked at.
        spec: the network as it was exported.
        mask_interpolation: see ``graph.prepare.prepare``.
        images: uint8 BGR [H, W, 3].

    Returns:
        0..1; None where ONNX Runtime is not installed.
    """
    try:
        from trt_segmentation.backends.onnxruntime import OnnxRuntimeSession
    except BackendError as error:
        logger.info('the engine is not compared with its network: %s', error)
        return None
    reference = OnnxRuntimeSession(prepare(spec, ('mask',), mask_interpolation=mask_interpolation,
                                           uint8_ops=OnnxRuntimeSession.uint8_ops))
    expected = [_mask(reference, spec, image) for image in images]
    reference.close()
    return float(np.mean([np.mean(_mask(session, spec, image) == mask)
                          for image, mask in zip(images, expected, strict=True)]))


def warn_if_low(agreement: float | None, precision: str, source: str) -> None:
    """Log what to do where an engine gives other masks than its network."""
    if agreement is not None and agreement < EXPECTED_AGREEMENT[precision]:
        logger.warning('%s in %s gives %.2f%% of the pixels the class that it gives them in fp32; '
                       '%.1f%% is usual: %s', source, precision, 100 * agreement,
                       100 * EXPECTED_AGREEMENT[precision], _REMEDIES[precision])


def _mask(session: Session, spec: ModelSpec, image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    mask = np.empty(output_shape('mask', (height, width), spec.mask_size), spec.encoding.dtype)
    session.set_channels(spec.channels('bgr'))
    session.resize(height, width, ('mask',))
    session.infer(image, {'mask': mask})
    return mask
