# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Everything that only a GPU can show, in one command::

    python tools/gpu_check OUT_DIR --models MODELS_DIR [MORE_DIR ...] --images IMAGES_DIR

Writes OUT_DIR/results.json after each step, and OUT_DIR/gpu.md, the tables for docs/. Engines go
to OUT_DIR/engines, so that a second run measures at once. Random networks for MODELS_DIR come
from export_torchvision.py.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from agreement import Reference
from report import markdown
from sizes import check_sizes
from startup import check_startup
from subjects import Subject, find_subjects

from trt_segmentation.backends.tensorrt.opening import EngineLoader
from trt_segmentation.graph.resolve import complete_config
from trt_segmentation.options import PRECISIONS, tactic_names
from trt_segmentation.segmenter import Segmenter

SPEED_FRAMES = 300


class Check:
    """The steps, and what they have found so far.

    Args:
        args: of the command line.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.out = args.out
        self.cache = args.out / 'engines'
        self.jobs = args.jobs
        self.tactics = tactic_names(args.tactic_sources)
        self.cache.mkdir(parents=True, exist_ok=True)
        models = args.out / 'models'
        models.mkdir(exist_ok=True)
        for folder in args.models:
            for model in folder.glob('*.onnx'):
                if not (models / model.name).exists():
                    shutil.copy(model, models)
        self.subjects = find_subjects(models, args.images, args.out)
        self.results: dict[str, Any] = {}
        previous = args.out / 'results.json'
        if previous.exists():
            self.results = json.loads(previous.read_text(encoding='utf-8'))

    def run(self, name: str) -> None:
        """Do one step; what fails is noted and does not stop the others."""
        start = time.monotonic()
        try:
            self.results[name] = STEPS[name](self)
        except Exception:
            self.results[name] = {'error': traceback.format_exc()}
            print(self.results[name]['error'], flush=True)
        print(f'{name}: {time.monotonic() - start:.0f} s', flush=True)
        (self.out / 'results.json').write_text(json.dumps(self.results, indent=1),
                                               encoding='utf-8')
        (self.out / 'gpu.md').write_text(markdown(self.results), encoding='utf-8')

    def each(self, work: Callable[[Subject, str], dict[str, Any]],
             precisions: tuple[str, ...] = PRECISIONS) -> list[dict[str, Any]]:
        """Return a row for each network and precision; an error is a row, too."""
        rows = []
        for subject in self.subjects:
            for precision in (name for name in subject.precisions if name in precisions):
                row = {'network': subject.name, 'precision': precision}
                try:
                    row |= work(subject, precision)
                except Exception as error:
                    row['error'] = f'{type(error).__name__}: {error}'
                    traceback.print_exc()
                rows.append(row)
                print(json.dumps(row), flush=True)
        return rows

    def open(self, subject: Subject, precision: str) -> Segmenter:
        """Open a network on TensorRT."""
        return Segmenter.open(subject.model, config=subject.config or None,
                              options=subject.options(precision, self.cache, self.tactics))

    def command(self, subject: Subject, precision: str, *arguments: str) -> list[str]:
        """Return a command line of ``trt-segmentation`` about one network."""
        tactics = ['--tactic-sources', ','.join(self.tactics)] if self.tactics else []
        config = ['--config', subject.config] if subject.config else []
        calibration = ['--calibration-images', subject.calibration] if subject.calibration else []
        return [sys.executable, '-m', 'trt_segmentation.cli.main', *arguments, str(subject.model),
                '--precision', precision, '--engine-cache', str(self.cache),
                '--calibration-method', 'percentile', *config, *calibration, *tactics]


def machine(check: Check) -> dict[str, Any]:
    """What all figures hold for."""
    smi = subprocess.run(['nvidia-smi', '-i', '0', '--query-gpu=name,driver_version,clocks.max.sm',
                          '--format=csv,noheader'], capture_output=True, text=True, check=True)
    gpu, driver, clock = smi.stdout.strip().split(', ')
    return {'date': time.strftime('%Y-%m-%d'), 'gpu': gpu, 'driver': driver, 'max_clock': clock,
            'tensorrt': EngineLoader(cache=str(check.cache)).machine.tensorrt,
            'python': platform.python_version(), 'cpus': os.cpu_count()}


def build(check: Check) -> list[dict[str, Any]]:
    """Build all engines, several at a time."""
    def one(subject: Subject, precision: str) -> dict[str, Any]:
        start = time.monotonic()
        done = subprocess.run(check.command(subject, precision, 'build'), capture_output=True,
                              text=True)
        row = {'network': subject.name, 'precision': precision,
               'seconds': time.monotonic() - start, 'said': done.stdout}
        if done.returncode:
            row['error'] = done.stderr[-1500:]
        print(subject.name, precision, f'{row["seconds"]:.0f} s', done.stderr[-300:], flush=True)
        return row

    with ThreadPoolExecutor(check.jobs) as pool:
        futures = [pool.submit(one, subject, precision) for subject in check.subjects
                   for precision in subject.precisions]
    return [future.result() for future in futures]


def agree(check: Check) -> list[dict[str, Any]]:
    """Masks and confidence against ONNX Runtime, and what the layers run in."""
    references: dict[str, Reference] = {}

    def one(subject: Subject, precision: str) -> dict[str, Any]:
        if subject.name not in references:
            references[subject.name] = Reference(subject)
        segmenter = check.open(subject, precision)
        row = references[subject.name].compare(segmenter)
        row |= {'runs': segmenter.info.precision, 'layers': segmenter.info.layers}
        segmenter.close()
        return row

    return check.each(one)


def foreign(check: Check) -> list[dict[str, Any]]:
    """Plans of the networks alone, as trtexec would build them, chained with head and tail."""
    def one(subject: Subject, precision: str) -> dict[str, Any]:
        reference = Reference(subject)
        options = subject.options(precision, check.cache, check.tactics)
        segmenter = Segmenter.open(subject.model, config=subject.config or None,
                                   options=options)
        plan = check.out / f'{subject.name}.plan'
        loader = EngineLoader(cache=str(check.cache))
        plan.write_bytes(loader.fetch_plain(segmenter.spec, options.build).plan)
        config = check.out / 'foreign.yaml'
        config.write_text(complete_config(segmenter.spec).to_text(), encoding='utf-8')
        segmenter.close()
        chained = Segmenter.open(plan, config=config, options=options)
        row = reference.compare(chained)
        chained.close()
        return row

    return check.each(one, ('fp32',))


def speed(check: Check) -> list[dict[str, Any]]:
    """``trt-segmentation bench``, alone with the mask and against the usual script."""
    def one(subject: Subject, precision: str) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for name, arguments in (
                ('mask', ['--outputs', 'mask', '--frames', str(SPEED_FRAMES)]),
                ('usual', ['--outputs', 'mask,overlay', '--frames', '20',
                           '--against', 'usual'])):
            if name == 'usual' and subject.name.startswith('selfie'):
                continue  # one channel: the usual script is written for several
            path = check.out / 'bench.json'
            done = subprocess.run(
                [*check.command(subject, precision, 'bench'), *arguments, '--backend', 'tensorrt',
                 '--json', str(path)], capture_output=True, text=True)
            if done.returncode:
                row[name] = {'error': done.stderr[-1500:]}
            else:
                row[name] = json.loads(path.read_text(encoding='utf-8'))
        return row

    return check.each(one)


def sizes(check: Check) -> list[dict[str, Any]]:
    """One engine of the demo network at four sizes."""
    return check_sizes(check.subjects[0].options('fp16', check.cache, check.tactics))


def startup(check: Check) -> list[dict[str, Any]]:
    """Fresh processes."""
    return check.each(lambda subject, precision: check_startup(
        subject, precision, check.cache, check.tactics))


def node(check: Check) -> dict[str, Any]:
    """The node itself."""
    from node_run import check_node
    return check_node(check.subjects[0].options('fp16', check.cache, check.tactics))


STEPS: dict[str, Callable[[Check], Any]] = {
    'machine': machine, 'build': build, 'agree': agree, 'speed': speed, 'sizes': sizes,
    'startup': startup, 'node': node, 'foreign': foreign}


def main() -> int:
    """Run the steps asked for."""
    parser = argparse.ArgumentParser(prog='gpu_check', description=str(__doc__).splitlines()[0])
    parser.add_argument('out', type=Path, metavar='OUT_DIR')
    parser.add_argument('--models', type=Path, nargs='+', default=[], metavar='DIR')
    parser.add_argument('--images', type=Path, required=True, metavar='DIR')
    parser.add_argument('--steps', nargs='+', choices=list(STEPS), default=list(STEPS))
    parser.add_argument('--jobs', type=int, default=4, metavar='N',
                        help='engines that are built at the same time (default 4)')
    parser.add_argument('--tactic-sources', default='', metavar='NAMES')
    args = parser.parse_args()
    check = Check(args)
    for step in args.steps:
        check.run(step)
    failed = [name for name, found in check.results.items() if 'error' in json.dumps(found)]
    print('failed: ' + ', '.join(failed) if failed else 'all steps ran')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
