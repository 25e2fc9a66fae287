# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What temporal smoothing and instances cost on the GPU, and whether smoothed masks are right."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from replay import replay_ms
from subjects import Builds, Subject, fitting

from trt_segmentation.backends.tensorrt.build_requests import GraphRequest
from trt_segmentation.backends.tensorrt.cache import EngineCache
from trt_segmentation.backends.tensorrt.cuda import close_all, find_device
from trt_segmentation.backends.tensorrt.engine_loader import EngineLoader
from trt_segmentation.backends.tensorrt.stage import Stage
from trt_segmentation.errors import ConfigError
from trt_segmentation.graph.pipeline.prepare import prepare_tail
from trt_segmentation.graph.reading.resolve import ModelSpec
from trt_segmentation.options import RunOptions
from trt_segmentation.segmenter import Segmenter

SIZE = 1080, 1920
RUNS = 200
WARM_UP = 20
FRAMES = 6
NOISE = 20.0
"""Standard deviation, in levels of 0 to 255."""
WEIGHT = 0.6
VARIANTS: dict[str, dict[str, Any]] = {
    'plain': {}, 'smoothing': {'smoothing': True}, 'instances': {'instances': True}}


def check_tail(subject: Subject, precision: str, builds: Builds) -> dict[str, Any]:
    """Measure a network plain, with temporal smoothing and, if it gives them, with instances.

    All outputs of the variant are computed, from images of ``SIZE``.

    Returns:
        For each variant the median GPU milliseconds of a replayed CUDA graph, of the tail alone
        and of the whole engine; and of a smoothed series of noisy images the share of mask pixels
        that are equal to ONNX Runtime's with and without smoothing.
    """
    options = subject.options(precision, builds)
    image = cv2.resize(subject.images()[0], SIZE[::-1])
    row: dict[str, Any] = {'size': '{}x{}'.format(*SIZE), 'tail_ms': {}, 'run_ms': {}}
    for name, change in VARIANTS.items():
        try:
            segmenter = _open(subject, replace(options, **change))
        except ConfigError as error:  # the network gives no instances, or no probabilities
            if not change:
                raise
            row[f'without_{name}'] = str(error)
            continue
        with segmenter:
            given = fitting(image, segmenter.spec)
            row['run_ms'][name] = segmenter.gpu_times(given, ('mask',), RUNS)['run']
            row['tail_ms'][name] = _tail_ms(segmenter.spec, options, builds)
            if name == 'smoothing':
                row |= _agreement(subject, segmenter, given, options)
    return row


def _open(subject: Subject, options: RunOptions) -> Segmenter:
    return Segmenter.open(subject.model, config=subject.config or None, options=options)


def _agreement(subject: Subject, segmenter: Segmenter, image: np.ndarray, options: RunOptions,
               ) -> dict[str, float]:
    on_cpu = replace(options, backend='onnxruntime', smoothing=True)
    with _open(subject, on_cpu) as reference:
        found = np.stack(list(_masks(segmenter, image, WEIGHT)))
        return {name: float(np.mean(found == np.stack(list(_masks(reference, image, weight)))))
                for name, weight in (('agreement', WEIGHT), ('agreement_unsmoothed', 0.0))}


def _masks(segmenter: Segmenter, image: np.ndarray, weight: float) -> Iterator[np.ndarray]:
    """Yield the masks of an image with changing noise, of all tasks: [task, H, W]."""
    random = np.random.default_rng(0)
    segmenter.smoothing = weight
    segmenter.reset_smoothing()
    for _ in range(FRAMES):
        noisy = image + random.normal(0, NOISE, image.shape).astype(np.float32)
        arrays = segmenter.infer(np.clip(noisy, 0, 255).astype(np.uint8)).arrays
        yield np.stack(list(arrays.values()))


def _tail_ms(spec: ModelSpec, options: RunOptions, builds: Builds) -> float:
    """Return the median GPU time of an engine of the tail alone, with all outputs."""
    device, machine = find_device(0), EngineLoader(cache=str(builds.cache)).machine
    model = prepare_tail(spec, mask_interpolation=options.mask_interpolation)
    request = GraphRequest(model, f'the tail of {spec.network.source}',
                           replace(options.build, precision='fp32'), machine)
    cache = EngineCache(builds.cache)
    plan = cache.fetch('tail', request.key_facts(), lambda: request.make(cache, 0)).plan
    stage, memory = Stage.load(plan, device), {}
    with device.current():
        stream = device.stream()
        try:
            stage.set_shapes({'image': (1, *SIZE, 1 if spec.gray_bits else 3)})
            for name, size in stage.sizes().items():
                memory[name] = device.allocate(size)
                device.copy_in(memory[name], np.zeros(size, np.uint8), stream)
                stream.synchronize()
            stage.bind(memory)
            stage.enqueue(stream)
            stream.synchronize()
            times = replay_ms(device, stream, lambda: stage.enqueue(stream), WARM_UP + RUNS)
        finally:
            close_all([stream.synchronize, stage.close,
                       *(buffer.free for buffer in memory.values())])
    return float(np.median(times[WARM_UP:]))
