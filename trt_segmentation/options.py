# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Options that decide where and how a network runs; imports no runtime."""

import functools
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path

BACKENDS = ('auto', 'tensorrt', 'onnxruntime')
ENGINE_SUFFIXES = ('.engine', '.plan')
PRECISIONS = ('fp32', 'fp16', 'int8')
MASK_ENCODINGS = ('mono8', 'mono16')
CALIBRATION_METHODS = ('percentile', 'entropy', 'minmax')
OVERLAY_SCALES = (1.0, 0.5)
MAX_THREADS = 1024


@dataclass(frozen=True)
class CalibrationOptions:
    """How the value ranges of an int8 engine are calibrated.

    Attributes:
        images: image file, folder of images, video or rosbag2; '' for none.
        topic: image topic in a rosbag2; '' takes the only one there is.
        method: one of ``CALIBRATION_METHODS``.
        count: the largest number of images, spread evenly over the source.
        table: file of saved ranges: read if it exists, else written after calibration; '' for no
            file.
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
        tf32: whether fp32 layers may round their factors to TF32, a mantissa of 10 bits (Ampere
            and later).
        min_size, opt_size, max_size: height, width of the smallest source image that the engine
            takes, of the one that it is tuned for, and of the largest.
        workspace: MiB of device memory for scratch space; 0 for TensorRT's default (no limit).
        optimization_level: 0 (builds fast) to 5 (runs fast); -1 for TensorRT's default.
        tactic_sources: names of ``trt.TacticSource``; None for TensorRT's default.
        version_compatible: whether the plan must also run on newer TensorRT versions.
        hardware_compatible: whether the plan must also run on other GPUs (Ampere and later).
        dla_core: DLA core to run on, with the GPU for unsupported layers; -1 for none.
        fp16_fallback: whether an int8 network is also built in fp16. The fp16 engine is used
            where int8 is slower on the GPU, cannot be built, or agrees too little with fp32.
        calibration: of int8.
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
        backend: one of ``BACKENDS``; 'auto' takes TensorRT where it and a GPU are available, else
            ONNX Runtime.
        device: index of the GPU; ONNX Runtime runs on the CPU and ignores it.
        num_threads: CPU threads for one operation, at most ``MAX_THREADS``; 0 takes one for each
            core. TensorRT ignores it.
        mask_interpolation: 'nearest' or 'bilinear', see ``graph.pipeline.prepare.prepare``.
        mask_size: height and width of mask and confidence; None for the image's size.
        mask_encoding: one of ``MASK_ENCODINGS``; 'mono8' holds 255 classes.
        batch: number of images in one enqueue, 1 or more; all of one size.
        engine_cache: folder of built engines and of measurements; '' takes the user's cache
            folder.
        build: how TensorRT builds an engine. ONNX Runtime runs a network in the types it was
            exported with, whatever ``build.precision`` is; its ``info`` has that precision.
        measure: whether a network whose graph does not define its kind of output is run once to
            measure it: on ONNX Runtime, or an external engine on TensorRT, with the first
            calibration image or else a rendered scene. The result is stored in
            ``engine_cache``. If false, the kind is assumed.
        gpu_jpeg: whether TensorRT's images of JPEG files and messages are decoded on the GPU,
            where nvImageCodec is installed, and overlays can be encoded there.
        instances: whether a network of instances or queries also has the outputs ``instances``
            and ``detections``. On TensorRT they are part of the engine.
        smoothing: whether ``Segmenter.smoothing`` can be set. The mean of the class
            probabilities of the previous images is kept; on TensorRT, in the engine's memory.
        overlay_scale: one of ``OVERLAY_SCALES``, the overlay's height and width as a fraction of
            the image's; see ``graph.pipeline.overlay_scale``. An engine file keeps the scale that
            it was built with.
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
    gpu_jpeg: bool = True
    instances: bool = False
    smoothing: bool = False
    overlay_scale: float = 1.0


def tactic_names(text: str) -> tuple[str, ...] | None:
    """Return ``BuildOptions.tactic_sources`` from comma-separated names; '' gives None."""
    return tuple(name.strip() for name in text.split(',')) if text else None


def cpu_count() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else \
        os.cpu_count() or 1


@functools.cache
def cpu_model() -> str:
    """Return the name of the host's processor."""
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(':')[2].strip() for line in lines
                 if line.startswith(('model name', 'Model'))), platform.processor())
