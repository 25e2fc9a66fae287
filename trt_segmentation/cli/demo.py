# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Run camera, node and recorder as processes over DDS; report frames, rate and latency."""

import argparse
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from trt_segmentation.benchmark.processes import interrupted_by_sigterm, start_module, wait_or_kill
from trt_segmentation.cli.arguments import add_backend_options, open_segmenter, positive, whole
from trt_segmentation.cli.node_arguments import node_parameters
from trt_segmentation.demo.clip import IMAGE_FOLDER, LABELS, read_clip
from trt_segmentation.errors import BackendError
from trt_segmentation.evaluation.metrics import confusion_matrix, mean_iou
from trt_segmentation.graph.reading.resolve import ModelSpec
from trt_segmentation.images import render as pictures
from trt_segmentation.images.atomic_files import make_folder, write_file, write_image
from trt_segmentation.images.sources import read_image
from trt_segmentation.requirements import require
from trt_segmentation.ros.transport import large_image_environment

PATIENCE = 20.0
"""Seconds without a new message after which the demo stops."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``trt-segmentation demo``."""
    parser.add_argument('--image', default='', metavar='FILE',
                        help='photo to publish; default: a clip of rendered roads with ground '
                             'truth')
    parser.add_argument('--model', default='', metavar='ONNX',
                        help='network; default: the embedded demo network')
    parser.add_argument('--frames', type=whole(1), default=120, metavar='N',
                        help='number of frames that the camera publishes (default 120)')
    parser.add_argument('--rate', type=positive, default=12.0, metavar='HZ',
                        help='frame rate of the camera (default 12)')
    parser.add_argument('--output', type=Path, default=Path('demo_output'), metavar='DIR',
                        help='folder for report.json, mask.png and overlay.png (default '
                             'demo_output)')
    add_backend_options(parser)


def execute(args: argparse.Namespace) -> int:
    """Run the demo; return 1 if a frame is not accounted for."""
    require('rclpy')
    segmenter = open_segmenter(args)  # reports errors of the model in one line
    spec = segmenter.spec
    spec.check_single()
    segmenter.close()
    clip = [] if args.image else read_clip()
    truths = [frame.labels for frame in clip]
    images = [frame.image for frame in clip] or [read_image(Path(args.image))]
    make_folder(args.output)
    with tempfile.TemporaryDirectory(prefix='trt_segmentation_demo_') as folder:
        work = Path(folder)
        with interrupted_by_sigterm():
            record = _run_processes(args, work)
        report = _report(args, record, work, truths, spec)
        _write_pictures(args.output, record, work, images, spec)
    write_file(args.output / 'report.json', (json.dumps(report, indent=2) + '\n').encode())
    print(_table(report, args.output))
    if report['frames_unaccounted']:
        print(f"error: {report['frames_unaccounted']} frames were sent but neither received nor "
              'counted as dropped; see docs/how-to/diagnose.md',
              file=sys.stderr)
        return 1
    return 0


@dataclass
class _Record:
    """Messages of the processes.

    Attributes:
        sent: index of the picture by stamp, nanoseconds.
        latency_ms: stamp to mask received, by stamp.
        diagnostics: the node's newest values.
    """

    sent: dict[int, int] = field(default_factory=dict)
    latency_ms: dict[int, float] = field(default_factory=dict)
    diagnostics: dict[str, str] = field(default_factory=dict)

    def note(self, line: str) -> None:
        entry = json.loads(line)
        if 'sent' in entry:
            self.sent[entry['sent']] = entry['picture']
        elif 'mask' in entry:
            self.latency_ms[entry['mask']] = entry['latency_ms']
        else:
            self.diagnostics = entry['diagnostics']

    @property
    def dropped(self) -> int:
        return sum(int(value) for key, value in self.diagnostics.items()
                   if key.startswith('frames dropped'))

    @property
    def unaccounted(self) -> int:
        return len(self.sent) - len(self.latency_ms) - self.dropped


def _run_processes(args: argparse.Namespace, work: Path) -> _Record:
    environment = {**os.environ, **large_image_environment(os.environ)}
    results = work / 'results'
    results.mkdir()
    namespace = f'/demo_{uuid.uuid4().hex[:8]}'  # apart from other nodes and demos
    lines: queue.Queue[str] = queue.Queue()
    processes: list[subprocess.Popen] = []

    def start(module: str, *arguments: str) -> subprocess.Popen:
        process = start_module(module, *arguments, env=environment, stdout=subprocess.PIPE,
                               text=True)
        processes.append(process)
        threading.Thread(target=_forward, args=(process, lines), daemon=True).start()
        return process

    record = _Record()
    try:
        node = start('ros.node', '--ros-args', '--log-level', 'warn', '-r',
                     f'__ns:={namespace}',
                     *node_parameters(args, diagnostics_period=0.25))
        start('demo.ros.recorder', str(results), '--namespace', namespace)
        _wait_for(lambda: 'model' in record.diagnostics, record, lines, node)
        camera = start('demo.ros.image_publisher', args.image or str(IMAGE_FOLDER),
                       '--frames', str(args.frames), '--rate', str(args.rate),
                       '--namespace', namespace)
        with tqdm(total=args.frames, unit='frame', desc='segmenting', disable=None) as progress:
            def finished() -> bool:
                progress.update(len(record.latency_ms) - progress.n)
                return camera.poll() is not None and record.unaccounted == 0

            _wait_for(finished, record, lines, node)
    finally:
        for process in processes:
            process.terminate()
        wait_or_kill(processes, 5)
    return record


def _forward(process: subprocess.Popen, lines: queue.Queue) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith('{'):
            lines.put(line)


def _wait_for(condition: Callable[[], bool], record: _Record, lines: queue.Queue,
              node: subprocess.Popen) -> None:
    """Record messages until the condition holds, or for ``PATIENCE`` seconds without progress.

    Raises:
        BackendError: the node has ended.
    """
    state, changed = None, time.monotonic()
    while not condition():
        if node.poll() is not None:
            raise BackendError(f'the node ended with exit code {node.returncode}; '
                               'its messages are above')
        if time.monotonic() - changed > PATIENCE:
            return
        try:
            record.note(lines.get(timeout=0.1))
        except queue.Empty:
            continue
        progress = (len(record.sent), len(record.latency_ms), record.dropped)
        if progress != state:
            state, changed = progress, time.monotonic()


def _report(args: argparse.Namespace, record: _Record, work: Path, truths: list[np.ndarray],
            spec: ModelSpec) -> dict:
    if not record.latency_ms:
        raise BackendError('no mask arrived; see docs/how-to/diagnose.md')
    stamps = sorted(record.latency_ms)
    seconds = (stamps[-1] - stamps[0]) / 1e9
    latencies = list(record.latency_ms.values())
    miou = None
    if truths and spec.labels == LABELS:
        confusion = np.sum([confusion_matrix(truths[record.sent[stamp]],
                                             _load(work, stamp, 'mask'), len(LABELS))
                            for stamp in stamps], axis=0)
        miou = round(mean_iou(confusion), 4)
    return {
        'backend': record.diagnostics.get('backend', ''),
        'precision': record.diagnostics.get('precision', ''),
        'model': args.model or 'embedded demo network',
        'image_size': list(_load(work, stamps[0], 'mask').shape),
        'frames_sent': len(record.sent),
        'frames_received': len(stamps),
        'frames_dropped_keep_latest': record.dropped,
        'frames_unaccounted': record.unaccounted,
        'fps': round((len(stamps) - 1) / seconds, 2) if seconds else 0.0,
        'latency_ms': {'p50': round(float(np.percentile(latencies, 50)), 2),
                       'p99': round(float(np.percentile(latencies, 99)), 2)},
        'miou': miou,
    }


def _load(work: Path, stamp: int, kind: str) -> np.ndarray:
    return np.load(work / 'results' / f'{stamp}_{kind}.npy')


def _write_pictures(output: Path, record: _Record, work: Path,
                              images: list[np.ndarray], spec: ModelSpec) -> None:
    overlays = sorted((work / 'results').glob('*_overlay.npy'))
    if not overlays:
        raise BackendError('no overlay arrived; see docs/how-to/diagnose.md')
    stamp = int(overlays[-1].name.split('_')[0])
    mask, overlay = _load(work, stamp, 'mask'), _load(work, stamp, 'overlay')
    image = images[record.sent[stamp]]
    write_image(output / 'mask.png', mask)
    write_image(output / 'overlay.png',
                pictures.panel(image, mask, overlay, spec.labels, spec.palette))


def _table(report: dict, output: Path) -> str:
    height, width = report['image_size']
    miou = 'no ground truth' if report['miou'] is None else f"{report['miou']:.3f}"
    rows = [('backend', f"{report['backend']}, {report['precision']}"),
            ('image', f'{width}x{height}'),
            ('frames', f"{report['frames_sent']} sent, {report['frames_received']} received, "
                       f"{report['frames_dropped_keep_latest']} dropped for a newer one"),
            ('rate', f"{report['fps']} Hz"),
            ('latency', f"{report['latency_ms']['p50']} ms p50, "
                        f"{report['latency_ms']['p99']} ms p99, image stamp to mask received"),
            ('mIoU', miou), ('pictures', f'{output}/overlay.png, {output}/mask.png')]
    return '\n'.join(f'{name:10}{value}' for name, value in rows)
