# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Several images in one enqueue against as many enqueues, the network alone in fp32.

What it says decides whether one node shall batch the images of several cameras.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from trt_segmentation.backends.tensorrt.cuda import Device, find_device
from trt_segmentation.backends.tensorrt.opening import EngineLoader
from trt_segmentation.backends.tensorrt.session import Stage
from trt_segmentation.graph.network import describe_network
from trt_segmentation.graph.resolve import ModelSpec
from trt_segmentation.options import BuildOptions

IMAGES = 3
RUNS = 200
WARM_UP = 20


def check_batch(loader: EngineLoader, spec: ModelSpec, options: BuildOptions) -> dict[str, Any]:
    """Return GPU milliseconds for ``IMAGES`` images, one after the other and in one batch."""
    device = find_device(0)
    single, batch = (Stage.load(loader.fetch_plain(each, options).plan, device)
                     for each in (spec, batched(spec, IMAGES)))
    return {'images': IMAGES, 'one_by_one_ms': _milliseconds(device, single, IMAGES),
            'batch_ms': _milliseconds(device, batch, 1)}


def batched(spec: ModelSpec, count: int) -> ModelSpec:
    """Return the network with ``count`` for the extent 1 of its input's first axis."""
    model = onnx.ModelProto()
    model.CopyFrom(spec.network.model)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = count
    for value in model.graph.output:
        value.type.tensor_type.shape.Clear()
    del model.graph.value_info[:]
    return replace(spec, network=describe_network(model, spec.network.source))


def _milliseconds(device: Device, stage: Stage, enqueues: int) -> float:
    """Return the median GPU time of so many enqueues of a stage, replayed as one CUDA graph."""
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

        graph = device.capture(stream, enqueue)
        times = []
        for _ in range(WARM_UP + RUNS):
            start, end = device.event(), device.event()
            start.record(stream)
            graph.launch(stream)
            end.record(stream)
            times.append(device.milliseconds_between(start, end))
        graph.close()
        for buffer in memory.values():
            buffer.free()
        stage.close()
    return float(np.median(times[WARM_UP:]))
