# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""An hour of a 30 Hz camera at full speed: no lost frames, no memory leak."""

import time

import numpy as np
import onnx
import psutil
import pytest

FRAMES = 108_000
WARM = 10_000
MAX_GROWTH = 8e6
"""Bytes of resident memory; one kept message of 10 KB in 100 frames would be more."""


@pytest.mark.slow
def test_memory_stays_and_counts_are_exact(make_bench, networks, image_message, tmp_path):
    size = 48, 64
    onnx.save(networks.pointwise(np.eye(3), size, metadata='input: {color: bgr, scale: 1}'),
              tmp_path / 'net.onnx')
    bench = make_bench(engine_path=tmp_path / 'net.onnx', num_threads=1)
    bench.listen('mask')
    process = psutil.Process(bench.process.pid)
    msg = image_message(networks.random_image(*size))
    masks, memory, start = bench.received['mask'], {}, time.monotonic()
    for number in range(1, FRAMES + 1):
        masks.clear()
        bench.send(msg)
        bench.spin_until(lambda: masks, f'mask {number}')
        if number in (WARM, FRAMES):
            memory[number] = process.memory_info().rss
    seconds = time.monotonic() - start
    print(f'\n{FRAMES} frames in {seconds:.0f} s; resident MB after frame: '
          + ', '.join(f'{number}: {size / 1e6:.1f}' for number, size in memory.items()))
    counts = bench.counts()
    assert counts.pop('frames received') == counts.pop('frames segmented') == FRAMES
    assert not any(counts.values())
    assert memory[FRAMES] - memory[WARM] < MAX_GROWTH
