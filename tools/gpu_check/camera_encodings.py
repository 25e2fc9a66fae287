# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Camera encodings that are converted on the GPU: pixels, masks and times."""

import time
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from replay import replay_ms
from subjects import Builds, Subject

from trt_segmentation.backends.tensorrt.cuda import Device, find_device
from trt_segmentation.backends.tensorrt.engine_loader import EngineLoader
from trt_segmentation.backends.tensorrt.stage import Stage
from trt_segmentation.backends.tensorrt.stage_runner import run_once
from trt_segmentation.benchmark.camera_frames import camera_bytes
from trt_segmentation.graph.pipeline.camera_bytes import CAMERA_ENCODINGS, camera_format, main_name
from trt_segmentation.images.decoding import rows_to_bgr
from trt_segmentation.segmenter import Segmenter

SIZES = (1080, 1920), (480, 640)
RUNS = 100
ENCODINGS = tuple(dict.fromkeys(map(main_name, CAMERA_ENCODINGS)))


def check_encodings(subject: Subject, builds: Builds) -> list[dict[str, Any]]:
    """Convert a photo and random bytes of each encoding and size, and segment the photo.

    Returns:
        For each encoding and size: seconds to build or load the converter; by kind of image the
        largest difference to OpenCV of each channel; the converter's scratch space; the median
        GPU milliseconds of converter and of ``Segmenter`` with a mask; and the share of pixels
        of mask and overlay that are equal to those of the image that OpenCV converts.
    """
    options = subject.options('fp16', builds)
    loader, device = EngineLoader(cache=str(builds.cache)), find_device(0)
    photo = subject.images()[0]
    rows = []
    with Segmenter.open(subject.model, config=subject.config or None,
                        options=options) as segmenter:
        for encoding in ENCODINGS:
            start = time.monotonic()
            try:
                plan = loader.fetch_converter(encoding, 1, options.build).plan
                seconds = time.monotonic() - start
                stage = Stage.load(plan, device)
                for size in SIZES:
                    rows.append({'encoding': encoding, 'size': '{1}x{0}'.format(*size),
                                 'seconds': seconds,
                                 **_compared(device, stage, segmenter, photo, encoding, size)})
                with device.current():
                    stage.close()
            except Exception as error:
                rows.append({'encoding': encoding, 'error': f'{type(error).__name__}: {error}'})
            print('encodings', rows[-1], flush=True)
    return rows


def _compared(device: Device, stage: Stage, segmenter: Segmenter, photo: np.ndarray,
              encoding: str, size: tuple[int, int]) -> dict[str, Any]:
    differences = {}
    for kind, rows in _images(photo, encoding, size):
        found = run_once(device, stage, rows[None])['image'][0]
        wanted = rows_to_bgr(rows, encoding)
        differences[kind] = np.abs(found.astype(int) - wanted).reshape(-1, 3).max(axis=0).tolist()
    outputs = 'mask', 'overlay'
    given = segmenter.infer(rows, encoding=encoding, outputs=outputs).copy()
    usual = segmenter.infer(wanted, outputs=outputs)
    return {'differences': differences, 'converter_ms': _gpu_ms(device, stage, rows),
            'scratch_mb': stage.scratch() / 1e6,
            'gpu_ms': segmenter.gpu_times(rows, 'mask', RUNS, encoding),
            'bgr8_gpu_ms': segmenter.gpu_times(wanted, 'mask', RUNS),
            'mask_agreement': float((given.mask == usual.mask).mean()),
            'overlay_agreement': float((given.overlay == usual.overlay).all(axis=2).mean())}


def _images(photo: np.ndarray, encoding: str, size: tuple[int, int],
            ) -> Iterator[tuple[str, np.ndarray]]:
    """Random bytes, then what a camera sends for the photo."""
    yield 'random', np.random.default_rng(0).integers(
        0, 256, camera_format(encoding).shape(*size), np.uint8)
    yield 'photo', camera_bytes(cv2.resize(photo, size[::-1]), encoding)


def _gpu_ms(device: Device, stage: Stage, rows: np.ndarray) -> float:
    """Return the median GPU time of a converter that is replayed as a CUDA graph."""
    (given,) = (name for name, _, is_input in stage.tensors() if is_input)
    with device.current():
        stage.set_shapes({given: (1, *rows.shape)})
        memory = {name: device.allocate(size) for name, size in stage.sizes().items()}
        stream = device.stream()
        try:
            stage.bind(memory)
            stage.enqueue(stream)
            stream.synchronize()
            times = replay_ms(device, stream, lambda: stage.enqueue(stream), RUNS)
        finally:
            stream.synchronize()
            for buffer in memory.values():
                buffer.free()
    return float(np.median(times))
