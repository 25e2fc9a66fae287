# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Speed of several images in one batch, compared with one after the other."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from replay import replay_ms
from subjects import Builds, Subject

from trt_segmentation.backends.tensorrt.cuda import find_device
from trt_segmentation.backends.tensorrt.engine_loader import EngineLoader
from trt_segmentation.backends.tensorrt.stage import Stage
from trt_segmentation.graph.reading.resolve import ModelSpec
from trt_segmentation.options import BuildOptions
from trt_segmentation.segmenter import Segmenter

IMAGES = 3
SIZE = 1080, 1920
RUNS = 200
WARM_UP = 20


def check_batch(subject: Subject, precision: str, builds: Builds) -> dict[str, Any]:
    """Measure ``IMAGES`` images, one after the other and in one batch.

    Returns:
        Median milliseconds: GPU time of the network only; GPU time of copies and the prepared
        graph, as of ``Segmenter.gpu_times``; and wall time of ``Segmenter``.
    """
    alone, together = (
        Segmenter.open(subject.model, config=subject.config or None,
                       options=replace(subject.options(precision, builds), batch=count))
        for count in (1, IMAGES))
    loader, build = EngineLoader(cache=str(builds.cache)), subject.options(precision, builds).build
    try:
        return {'images': IMAGES, 'size': '{}x{}'.format(*SIZE),
                'network_ms': {'one_by_one': _network_ms(loader, alone.spec, build, IMAGES),
                               'batch': _network_ms(loader, together.spec, build, 1)},
                **_whole_ms(alone, together)}
    finally:
        alone.close()
        together.close()


def _whole_ms(alone: Segmenter, together: Segmenter) -> dict[str, Any]:
    """Return times from images to masks, and the share of pixels that are equal."""
    noise = np.random.default_rng(0)
    images = [noise.integers(0, 256, (*SIZE, 3), np.uint8) for _ in range(IMAGES)]
    singles, masks = ([{'mask': np.empty(alone.output_shape('mask', SIZE), np.uint8)}
                       for _ in range(IMAGES)] for _ in range(2))

    def one_by_one() -> None:
        for image, out in zip(images, singles, strict=True):
            alone.infer(image, out=out)

    def batch() -> None:
        together.infer_batch(images, outs=masks)

    wall = _wall_ms({'one_by_one': one_by_one, 'batch': batch})
    times = alone.gpu_times(images[0], ('mask',), RUNS)
    same = [(single['mask'] == out['mask']).mean()
            for single, out in zip(singles, masks, strict=True)]
    return {'wall_ms': wall, 'agreement': float(np.mean(same)), 'gpu_ms': {
        'one_by_one': {part: IMAGES * value for part, value in times.items()},
        'batch': together.gpu_times(images[0], ('mask',), RUNS)}}


def _wall_ms(ways: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Return median milliseconds of each; measured in turn, so that other load affects both."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(WARM_UP + RUNS):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            times[name].append(1000 * (time.perf_counter() - started))
    return {name: float(np.median(each[WARM_UP:])) for name, each in times.items()}


def _network_ms(loader: EngineLoader, spec: ModelSpec, build: BuildOptions, enqueues: int,
                ) -> float:
    """Return the median GPU time of that many enqueues of the network only, replayed as one
    CUDA graph."""
    device = find_device(0)
    stage = Stage.load(loader.fetch_network_only(spec, build).plan, device)
    with device.current():
        stage.set_shapes({})
        memory = {name: device.allocate(size) for name, size in stage.sizes().items()}
        stage.bind(memory)
        stream = device.stream()
        stage.enqueue(stream)
        stream.synchronize()

        def enqueue() -> None:
            for _ in range(enqueues):
                stage.enqueue(stream)

        times = replay_ms(device, stream, enqueue, WARM_UP + RUNS)
        for buffer in memory.values():
            buffer.free()
        stage.close()
    return float(np.median(times[WARM_UP:]))
