# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Chooses int8 or fp16 by the speed and agreement of both engines on this GPU."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from trt_segmentation.backends.tensorrt.cache import Engine
from trt_segmentation.backends.tensorrt.session import TensorRtSession
from trt_segmentation.backends.tensorrt.verify import EXPECTED_AGREEMENT, ready_for_masks
from trt_segmentation.errors import UnbuildableError
from trt_segmentation.graph.reading.resolve import ModelSpec
from trt_segmentation.options import BuildOptions

logger = logging.getLogger(__name__)

_WARM_UP, _ROUNDS = 50, 200
"""Enqueues of each engine; some hundred milliseconds in all."""


def int8_or_fp16(int8: Callable[[], Engine], fp16: Callable[[], Engine],
                 gpu_ms: Callable[[Sequence[Engine]], list[float]], options: BuildOptions,
                 source: str) -> Engine:
    """Return the int8 engine, or the fp16 engine if int8 is no better; log the choice and why.

    int8 is often slower for small networks: conversions between int8 and float take longer than
    the convolutions save.

    Args:
        int8, fp16: build an engine.
        gpu_ms: measures engines in turn; milliseconds of one enqueue each.
        options: of the int8 engine; stored in the facts of the returned engine.
        source: the network's name in messages.

    Returns:
        The engine; for fp16, ``fp16_instead`` in its facts is the reason.

    Raises:
        UnbuildableError: TensorRT can build neither.
        SegmentationError: as of ``int8`` and ``fp16``.
    """
    try:
        quantized = int8()
    except UnbuildableError as error:
        logger.warning('%s. An engine in fp16 is built instead', error)
        return _as_fp16(fp16(), options, f'TensorRT cannot build int8: {error}')
    try:
        half = fp16()
    except UnbuildableError as error:
        logger.info('int8 is not compared with fp16: %s', error)
        return quantized
    times = gpu_ms([quantized, half])
    facts = {'int8_ms': round(times[0], 4), 'fp16_ms': round(times[1], 4)}
    if reason := _why_not_int8(quantized.facts, *times):
        logger.warning('%s: %s. The engine is in fp16; fp16_fallback: false keeps int8', source,
                       reason)
        return _as_fp16(half, options, reason, **facts)
    logger.info('%s: int8 is %.2f times as fast as fp16 on this GPU (%.3f and %.3f ms)', source,
                times[1] / times[0], *times)
    return replace(quantized, facts={**quantized.facts, **facts})


def enqueue_ms(sessions: Sequence[TensorRtSession], spec: ModelSpec, size: tuple[int, int],
               ) -> list[float]:
    """Return the median milliseconds of one enqueue with only masks, measured in turn.

    Args:
        sessions: of engines of one network.
        spec: the network.
        size: height and width of the image.
    """
    calls = []
    for session in sessions:  # each with buffers of its own, which it page-locks
        images = [np.zeros((*size, 3), np.uint8) for _ in range(spec.batch)]
        fed, _, outs = ready_for_masks(session, spec, images)
        calls.append((session, fed, outs))
    times = [[session.measure(fed, outs).run for session, fed, outs in calls]
             for _ in range(_WARM_UP + _ROUNDS)]
    return [float(ms) for ms in np.median(times[_WARM_UP:], axis=0)]


def _why_not_int8(facts: Mapping[str, Any], int8_ms: float, fp16_ms: float) -> str:
    """The reason to use fp16; '' if int8 is better."""
    agreement = facts.get('agreement_with_fp32')
    least = EXPECTED_AGREEMENT['int8']
    if agreement is not None and agreement < least:
        return (f'int8 gives {agreement:.2%} of the pixels the class that they get in fp32, '
                f'fewer than {least:.0%}')
    if int8_ms > fp16_ms:
        return f'int8 takes {int8_ms:.3f} ms on this GPU, fp16 {fp16_ms:.3f} ms'
    return ''


def _as_fp16(half: Engine, options: BuildOptions, reason: str, **facts: float) -> Engine:
    return replace(half, facts={**half.facts, 'options': asdict(options),
                                'fp16_instead': reason, **facts})
