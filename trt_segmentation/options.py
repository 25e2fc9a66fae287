# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What the user decides about where and how a network runs; free of any runtime."""

import os
from dataclasses import dataclass, field

BACKENDS = ('auto', 'tensorrt', 'onnxruntime')
ENGINE_SUFFIXES = ('.engine', '.plan')
PRECISIONS = ('fp32', 'fp16', 'int8')
MASK_ENCODINGS = ('mono8', 'mono16')
CALIBRATION_METHODS = ('percentile', 'entropy', 'minmax')


@dataclass(frozen=True)
class CalibrationOptions:
    """Where the value ranges of an int8 engine come from.

    Attributes:
        images: image file, folder of images, video or rosbag2; '' where there is none.
        topic: image topic in a rosbag2; '' takes the only one there is.
        method: one of ``CALIBRATION_METHODS``.
        count: how many images are used at most, spread evenly over all there are.
        table: file of saved ranges: read where it exists, else written after calibration; ''
            keeps none.
    """

    images: str = ''
    topic: str = ''
    method: str = 'percentile'
    count: int = 200
    table: str = ''


@dataclass(frozen=True)
class BuildOptions:
    """How an engine is built from a network.

    Attributes:
        precision: one of ``PRECISIONS``.
        tf32: whether fp32 layers may round their factors to 10 bits (Ampere and later).
        min_size, opt_size, max_size: height, width of the smallest and the largest source image
            that the engine takes, and of the one that it is tuned for.
        workspace: MiB of device memory for scratch space; 0 leaves it to TensorRT (all there is).
        optimization_level: 0 (builds fast) to 5 (runs fast); -1 leaves it to TensorRT.
        tactic_sources: names of ``trt.TacticSource``; None leaves them to TensorRT.
        version_compatible: whether newer TensorRT versions shall run the plan, too.
        hardware_compatible: whether other GPUs (Ampere and later) shall run the plan, too.
        dla_core: DLA core to run on, with the GPU for what it cannot; -1 for none.
        fp16_fallback: whether int8 is also built in fp16, which is taken where int8 is slower on
            the GPU, cannot be built, or gives too few pixels the class that fp32 gives them.
        calibration: for int8.
    """

    precision: str = 'fp32'
    tf32: bool = False
    min_size: tuple[int, int] = (64, 64)
    opt_size: tuple[int, int] = (1080, 1920)
    max_size: tuple[int, int] = (2160, 3840)
    workspace: int = 0
    optimization_level: int = -1
    tactic_sources: tuple[str, ...] | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False
    dla_core: int = -1
    fp16_fallback: bool = True
    calibration: CalibrationOptions = field(default_factory=CalibrationOptions)


@dataclass(frozen=True)
class RunOptions:
    """Where and how a network runs.

    Attributes:
        backend: one of ``BACKENDS``; 'auto' takes TensorRT where it and a GPU are there, else
            ONNX Runtime.
        device: index of the GPU; ONNX Runtime runs on the CPU and does not look at it.
        num_threads: CPU threads for one operation; 0 takes one for each core. TensorRT does
            not look at it.
        mask_interpolation: 'nearest' or 'bilinear', see ``graph.pipeline.prepare.prepare``.
        mask_size: height and width of mask and confidence; None for those of the image.
        mask_encoding: one of ``MASK_ENCODINGS``; 'mono8' holds 255 classes.
        batch: images in one enqueue, 1 and up; all of one size.
        engine_cache: folder of built engines and of what was measured; '' takes the user's cache
            folder.
        build: how TensorRT builds an engine. ONNX Runtime runs a network in the types it was
            exported with, whatever ``build.precision`` is; its ``info`` says which.
        measure: whether a network whose graph does not say what its output means is run once on
            ONNX Runtime to find out (an engine built elsewhere on TensorRT), on the first
            calibration image or else a rendered scene. It is kept in ``engine_cache``. Without
            it, that is assumed.
    """

    backend: str = 'auto'
    device: int = 0
    num_threads: int = 0
    mask_interpolation: str = 'nearest'
    mask_size: tuple[int, int] | None = None
    mask_encoding: str = 'mono8'
    batch: int = 1
    engine_cache: str = ''
    build: BuildOptions = field(default_factory=BuildOptions)
    measure: bool = True


def tactic_names(text: str) -> tuple[str, ...] | None:
    """Return ``BuildOptions.tactic_sources`` from names with commas; '' gives None."""
    return tuple(name.strip() for name in text.split(',')) if text else None


def cpu_count() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else \
        os.cpu_count() or 1
