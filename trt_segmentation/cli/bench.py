# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Measure how fast a model segments here, alone or against the usual hand-written pipeline."""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from trt_segmentation.cli.options import (
    add_backend_options,
    build_options,
    open_segmenter,
    size,
)
from trt_segmentation.demo.scenes import render
from trt_segmentation.errors import BackendError
from trt_segmentation.graph.prepare import OUTPUTS
from trt_segmentation.graph.resolve import ModelSpec
from trt_segmentation.segmenter import Segmenter

WARM_UP = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``trt-segmentation bench``."""
    parser.add_argument('model', nargs='?', default='', metavar='MODEL',
                        help='an .onnx file; default: the embedded demo network')
    parser.add_argument('--against', choices=('usual',),
                        help='also run what people write by hand (OpenCV resize, float, '
                             'transpose, the same runtime, NumPy argmax, nearest resize, colours) '
                             'in turn with ours, and print the ratio')
    parser.add_argument('--size', type=size, default=(1080, 1920), metavar='HEIGHTxWIDTH',
                        help='of the source image (default 1080x1920)')
    parser.add_argument('--outputs', type=_outputs, default=('mask', 'overlay'), metavar='NAMES',
                        help='of mask,confidence,overlay (default mask,overlay)')
    parser.add_argument('--frames', type=int, default=100, metavar='N')
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write the report there')
    add_backend_options(parser)


def execute(args: argparse.Namespace) -> int:
    """Measure, print and write the report."""
    segmenter = open_segmenter(args)
    image = render(0, *args.size).image
    own = _own_step(segmenter, image, args.outputs)
    steps = {'ours': own}
    if args.against:
        usual = UsualPipeline(segmenter.spec, _plain_network(segmenter, args),
                              'overlay' in args.outputs)
        steps[args.against] = lambda: usual.run(image)
    growth, times = _measure(steps, args.frames)
    gpu_ms = segmenter.gpu_times(image, args.outputs, args.frames)
    report = {
        'model': segmenter.spec.network.source, 'runs_on': str(segmenter.info),
        'host': f'{platform.system()} {platform.machine()}, {_cpu_count()} cores',
        'source_size': list(args.size), 'outputs': list(args.outputs), 'frames': args.frames,
        'memory_growth_mb': round(growth, 2),
        'wall_ms': {name: _percentiles(series) for name, series in times.items()},
    }
    if gpu_ms:
        report['gpu_ms_p50'] = {name: round(value, 4) for name, value in gpu_ms.items()}
        report['wall_over_gpu'] = round(
            report['wall_ms']['ours']['p50'] / sum(gpu_ms.values()), 3)
    if args.against:
        report['ratio_p50'] = round(float(np.median(times[args.against])
                                          / np.median(times['ours'])), 3)
        report['mask_agreement'] = round(float(np.mean(own() == usual.run(image))), 5)
    print(_table(report))
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + '\n', encoding='utf-8')
    return 0


class UsualPipeline:
    """Pre- and postprocessing as people write it by hand, around the network alone.

    Args:
        spec: the network; stretched to its size, whatever the spec says.
        network: runs the network alone: float32 input to outputs by name.
        overlay: whether to colour and blend.
    """

    def __init__(self, spec: ModelSpec, network: Callable[[np.ndarray], dict[str, np.ndarray]],
                 overlay: bool) -> None:
        if spec.size is None or spec.network.inputs[0].dtype != 1 or spec.scores.channels < 2:
            raise BackendError('--against usual is written for networks of fixed size with '
                               'float32 input and a score for each class')
        self._network = network
        self._spec = spec
        self._overlay = overlay
        self._mean = np.array(spec.mean, np.float32)
        self._std = np.array(spec.std, np.float32)
        self._colors = spec.palette.table('bgr')

    def run(self, image: np.ndarray) -> np.ndarray:
        """Segment a uint8 [H, W, 3] BGR image; return the uint8 [H, W] mask."""
        spec = self._spec
        assert spec.size is not None
        height, width = spec.size
        x = cv2.resize(image, (width, height))
        if spec.color == 'rgb':
            x = cv2.cvtColor(x, cv2.COLOR_BGR2RGB)
        x = (x.astype(np.float32) * np.float32(spec.scale) - self._mean) / self._std
        if spec.input_layout == 'nchw':
            x = np.ascontiguousarray(x.transpose(2, 0, 1))
        scores = self._network(x[None])[spec.scores.name]
        ids = np.argmax(scores[0], axis=spec.scores.channel_axis - 1).astype(np.uint8)
        mask = cv2.resize(ids, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        if self._overlay:
            cv2.addWeighted(image, 0.5, self._colors[mask], 0.5, 0)
        return mask


def _plain_network(segmenter: Segmenter, args: argparse.Namespace,
                   ) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """The network alone on the same runtime."""
    spec = segmenter.spec
    if segmenter.info.backend == 'tensorrt':
        from trt_segmentation.backends.tensorrt.opening import EngineLoader
        return EngineLoader(args.device, args.engine_cache).open_plain(spec, build_options(args))
    from trt_segmentation.backends.onnxruntime import OnnxGraph
    graph, name = OnnxGraph(spec.network.model, args.threads), spec.network.inputs[0].name
    return lambda fed: graph.run({name: fed}, [spec.scores.name])


def _own_step(segmenter: Segmenter, image: np.ndarray, outputs: tuple[str, ...],
              ) -> Callable[[], np.ndarray]:
    size = image.shape[:2]
    out = {name: np.empty(segmenter.output_shape(name, size), np.uint8) for name in outputs}
    return lambda: segmenter.infer(image, outputs=outputs, out=out).mask


def _measure(steps: dict[str, Callable[[], np.ndarray]], frames: int,
             ) -> tuple[float, dict[str, list[float]]]:
    """Run the steps in turn; return growth of resident memory in MB, and seconds by step."""
    for step in steps.values():
        for _ in range(WARM_UP):
            step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    before = _resident_mb()
    for _ in tqdm(range(frames), unit='frame', disable=None):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    return _resident_mb() - before, times


def _percentiles(seconds: list[float]) -> dict[str, float]:
    return {f'p{percent}': round(float(np.percentile(seconds, percent)) * 1e3, 3)
            for percent in (50, 95, 99)}


def _resident_mb() -> float:
    """Resident memory; 0 where there is no /proc."""
    try:
        pages = int(Path('/proc/self/statm').read_text(encoding='ascii').split()[1])
    except OSError:
        return 0.0
    return pages * 4096 / 1e6


def _cpu_count() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else \
        os.cpu_count() or 1


def _table(report: dict) -> str:
    height, width = report['source_size']
    lines = [f"{report['model']}: {report['runs_on']}, {report['host']}",
             f"{width}x{height} to {', '.join(report['outputs'])}, {report['frames']} frames, "
             f"memory grew by {report['memory_growth_mb']} MB",
             f"{'wall time, ms':16}{'p50':>9}{'p95':>9}{'p99':>9}"]
    lines += [f"{name:16}{p['p50']:9.2f}{p['p95']:9.2f}{p['p99']:9.2f}"
              for name, p in report['wall_ms'].items()]
    if 'gpu_ms_p50' in report:
        parts = ', '.join(f'{name} {value:.3f}' for name, value in report['gpu_ms_p50'].items())
        lines.append(f"on the GPU, ms (p50): {parts}; wall time is "
                     f"{report['wall_over_gpu']:.2f} times their sum")
    if 'ratio_p50' in report:
        lines.append(f"ours is {report['ratio_p50']:.2f} times as fast (p50); the masks agree on "
                     f"{report['mask_agreement']:.2%} of the pixels")
    return '\n'.join(lines)


def _outputs(text: str) -> tuple[str, ...]:
    names = tuple(text.split(','))
    if 'mask' not in names or not set(names) <= set(OUTPUTS):
        raise argparse.ArgumentTypeError(f"'{text}': mask, and some of {', '.join(OUTPUTS[1:])}")
    return names
