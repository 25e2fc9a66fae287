# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Build of a prepared network by TensorRT; TensorRT for RTX needs no GPU for it."""

from model_zoo.check import Exported
from trt_segmentation.backends.tensorrt.build_process import build_in_child
from trt_segmentation.errors import MissingBackendError, SegmentationError
from trt_segmentation.graph.analysis.measurement import MeasurementSetup
from trt_segmentation.graph.onnx_tools.network import read_network
from trt_segmentation.graph.pipeline.prepare import prepare
from trt_segmentation.graph.reading.resolve import resolve
from trt_segmentation.options import BuildOptions

_SIZES = {'image': ((1, 64, 64, 3), (1, 720, 960, 3), (1, 1080, 1920, 3))}


def build(exported: Exported) -> str:
    """Build a plan with head and tail in a child process, and discard it.

    Returns:
        'built' with size and time, or why it was not built.
    """
    spec = resolve(read_network(exported.model), exported.config, measuring=MeasurementSetup())
    model = prepare(spec, mask_interpolation=exported.growth).model
    try:
        plan = build_in_child(model.SerializeToString(), _SIZES, BuildOptions(),
                              float_layers=str.isspace,  # none; it can be pickled
                              source=exported.entry.name)
    except MissingBackendError as error:
        return f'not tried: {error}'
    except SegmentationError as error:
        return f'refused: {error}'
    return f'built ({len(plan.plan) / 1e6:.0f} MB in {plan.seconds:.0f} s)'
