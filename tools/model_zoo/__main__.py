# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
r"""Compare networks of common exporters with PyTorch::

    pip install '.[cpu,test,zoo]'
    python tools/model_zoo OUT_DIR [--only NAME ...] [--small] [--images DIR]

Only a few networks need TensorFlow, Paddle or Optimum; run these with --only where the packages
are installed (families/from_keras.py, from_paddleseg.py, from_optimum.py).

Creates each network with seeded random weights, exports it, runs it with the Segmenter on ONNX
Runtime, compares the masks with those of PyTorch except at near ties, and builds it with TensorRT
if that is installed. Writes OUT_DIR/results.json after each network.

OUT_DIR/models has the networks, their configs and reference masks for tools/gpu_check --models.
The table of docs/reference/networks.md is written from the results of both tools::

    python tools/model_zoo docs/measurements/model_zoo --table-only \
        --gpu docs/measurements/model_zoo/gpu.json --page docs/reference/networks.md
"""

import argparse
import contextlib
import gc
import json
import platform
import sys
import time
import traceback
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from model_zoo.check import MIN_AGREEMENT, compare, export_entry, load_images, write_references
from model_zoo.entry import Entry
from model_zoo.families import ENTRIES
from model_zoo.report import table, with_table
from model_zoo.trt_build import build
from trt_segmentation.graph.onnx_tools.onnxruntime_api import disable_telemetry

_PACKAGES = ('torch', 'torchvision', 'transformers', 'segmentation-models-pytorch',
             'mmsegmentation', 'mmcv-lite', 'mmengine', 'mmdeploy', 'ultralytics', 'onnx',
             'onnxscript', 'onnxruntime', 'tensorrt-rtx-cu13', 'optimum-onnx', 'tensorflow-cpu',
             'keras', 'tf2onnx', 'paddlepaddle', 'paddleseg', 'paddle2onnx')


def examine(entry: Entry, folder: Path, small: bool, images: list[np.ndarray]) -> dict[str, Any]:
    """Return the row of one network; a failure is a row with its error."""
    row: dict[str, Any] = {
        'family': entry.family, 'network': entry.name, 'stem': entry.stem,
        'made': machine(), 'size': entry.size(small),
        'export': str(entry.export), 'config': entry.config.format(size=list(entry.size(small)))}
    try:
        exported = export_entry(entry, folder, small, images)
        write_references(exported)
        found = compare(exported, exported.growth)
        nearest = found if exported.growth == 'nearest' else compare(exported, 'nearest')
        return row | {'growth': exported.growth, 'agreement': found.share,
                      'nearest': nearest.share, 'counted': found.counted,
                      'classes': found.classes, 'tensorrt': build(exported)}
    except Exception as error:
        traceback.print_exc()
        return row | {'error': f'{type(error).__name__}: {error}'}


def machine() -> str:
    """Return date, machine and package versions of the results."""
    versions = []
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions.append(f'{name} {metadata.version(name)}')
    return (f'{time.strftime("%Y-%m-%d")}, Python {platform.python_version()}, '
            f'{platform.machine()}, {", ".join(versions)}.')


def main() -> int:
    """Examine the selected networks."""
    disable_telemetry()  # before an exporter imports ONNX Runtime by itself
    parser = argparse.ArgumentParser(prog='model_zoo', description=str(__doc__).splitlines()[0])
    parser.add_argument('out', type=Path, metavar='OUT_DIR')
    parser.add_argument('--only', nargs='+', default=[], metavar='NAME', choices=[
        entry.name for entry in ENTRIES], help='networks to examine (default: all)')
    parser.add_argument('--small', action='store_true', help='use small networks, as the tests do')
    parser.add_argument('--images', type=Path, metavar='DIR',
                        help='folder of at least two images (default: rendered road scenes)')
    parser.add_argument('--export-only', action='store_true',
                        help='only write networks, configs and reference masks')
    parser.add_argument('--table-only', action='store_true',
                        help='only write the table of OUT_DIR/results.json')
    parser.add_argument('--gpu', type=Path, metavar='FILE',
                        help='results.json of tools/gpu_check, for its two columns')
    parser.add_argument('--page', type=Path, metavar='FILE',
                        help='file in which to replace the table (default: print it)')
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    chosen = [] if args.table_only else [
        entry for entry in ENTRIES if not args.only or entry.name in args.only]
    images = load_images(args.images, args.small) if chosen else []
    if args.export_only:
        return _export(chosen, args, images)
    results = args.out / 'results.json'
    rows = json.loads(results.read_text(encoding='utf-8')) if results.exists() else {}
    for entry in chosen:
        rows[entry.name] = examine(entry, args.out / 'models', args.small, images)
        print(json.dumps(rows[entry.name]), flush=True)
        results.write_text(json.dumps(rows, indent=1), encoding='utf-8')
        gc.collect()
    ordered = [rows[entry.name] for entry in ENTRIES if entry.name in rows]
    page = table(ordered, json.loads(args.gpu.read_text(encoding='utf-8')) if args.gpu else {})
    if args.page:
        args.page.write_text(with_table(args.page.read_text(encoding='utf-8'), page),
                             encoding='utf-8')
    else:
        print(page)
    low = [row['network'] for row in ordered if row.get('agreement', 0) < MIN_AGREEMENT]
    print(f'below {MIN_AGREEMENT:.1%} or failed: {", ".join(low)}' if low else 'all agree')
    return 1 if low else 0


def _export(entries: list[Entry], args: argparse.Namespace, images: list[np.ndarray]) -> int:
    failed = []
    for entry in entries:
        try:
            write_references(export_entry(entry, args.out / 'models', args.small, images))
            print(f'exported {entry.name}', flush=True)
        except Exception:
            failed.append(entry.name)
            traceback.print_exc()
        gc.collect()
    print(f'failed: {", ".join(failed)}' if failed else 'all exported')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
