# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Everything that only a GPU can show, in one command::

    python tools/gpu_check OUT_DIR --models MODELS_DIR [MORE_DIR ...] --images IMAGES_DIR

Writes OUT_DIR/results.json after each step, and OUT_DIR/gpu.md, the tables for docs/. Engines go
to OUT_DIR/engines, so that a second run measures at once. MODELS_DIR holds
networks that subjects.py knows, such as those of export_torchvision.py, or any NAME.onnx with its
model config NAME.yaml.
"""

import argparse
import functools
import json
import platform
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from agreement import Reference
from batch import check_batch
from report import markdown
from sizes import check_sizes
from startup import check_startup
from subjects import Subject, find_subjects

from trt_segmentation.backends.tensorrt.opening import EngineLoader
from trt_segmentation.benchmark.host import cpu_count, gpu_facts
from trt_segmentation.graph.resolve import complete_config
from trt_segmentation.options import tactic_names
from trt_segmentation.segmenter import Segmenter

SPEED_FRAMES = 300


class Check:
    """The steps, and what they have found so far.

    A result is kept by step and subject, so that a later run adds to an earlier one.

    Args:
        args: of the command line.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.out = args.out
        self.cache = args.out / 'engines'
        self.jobs = args.jobs
        self.build_seconds = args.build_seconds
        self.tactics = tactic_names(args.tactic_sources)
        self.cache.mkdir(parents=True, exist_ok=True)
        models = args.out / 'models'
        models.mkdir(exist_ok=True)
        for folder in args.models:
            for model in (*folder.glob('*.onnx'), *folder.glob('*.yaml')):
                if not (models / model.name).exists():
                    shutil.copy(model, models)
        subjects = find_subjects(models, args.images, args.out)
        self.demo = subjects[0]
        self.pairs = _chosen([(subject, precision) for subject in subjects
                              for precision in subject.precisions], args.only)
        self.against = args.against
        self.references: dict[str, Reference] = {}
        self.results: dict[str, Any] = {}
        previous = args.out / 'results.json'
        if previous.exists():
            self.results = json.loads(previous.read_text(encoding='utf-8'))

    def run(self, name: str) -> None:
        """Do one step; what fails is noted and does not stop the others."""
        start = time.monotonic()
        try:
            found = STEPS[name](self)
            if found is not None:
                self.results[name] = found
        except Exception:
            self.results[name] = {'error': traceback.format_exc()}
            print(self.results[name]['error'], flush=True)
        print(f'{name}: {time.monotonic() - start:.0f} s', flush=True)
        self.save()

    def save(self) -> None:
        """Write down everything there is."""
        (self.out / 'results.json').write_text(json.dumps(self.results, indent=1),
                                               encoding='utf-8')
        (self.out / 'gpu.md').write_text(markdown(self.results), encoding='utf-8')

    def note(self, step: str, subject: Subject, precision: str,
             work: Callable[[], dict[str, Any]]) -> None:
        """Do one thing about one network and keep what comes of it; an error is a row, too."""
        row = {'network': subject.name, 'precision': precision}
        try:
            row |= work()
        except Exception as error:
            row['error'] = f'{type(error).__name__}: {error}'
            traceback.print_exc()
        self.results.setdefault(step, {})[f'{subject.name} {precision}'] = row
        print(step, json.dumps(row), flush=True)
        self.save()

    def built(self) -> list[tuple[Subject, str]]:
        """Return the networks and precisions that have engines."""
        rows = self.results.get('build', {})
        return [(subject, precision) for subject, precision in self.pairs
                if 'error' not in rows.get(f'{subject.name} {precision}', {'error': 'not built'})]

    def reference(self, subject: Subject) -> Reference:
        """Return what ONNX Runtime makes of a network's images."""
        if subject.name not in self.references:
            self.references[subject.name] = Reference(subject)
        return self.references[subject.name]

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


def _chosen(pairs: list[tuple[Subject, str]], names: list[str]) -> list[tuple[Subject, str]]:
    """Return the pairs that are named NETWORK:PRECISION, in the order of the names."""
    by_name = {f'{subject.name}:{precision}': (subject, precision)
               for subject, precision in pairs}
    if unknown := sorted(set(names) - set(by_name)):
        sys.exit(f'there is no {", ".join(unknown)}; there are {", ".join(by_name)}')
    return [by_name[name] for name in names] or pairs


def machine(check: Check) -> dict[str, Any]:
    """What all figures hold for."""
    gpu = gpu_facts()[0]
    return {'date': time.strftime('%Y-%m-%d'), 'gpu': gpu['name'],
            'driver': gpu['driver_version'], 'max_clock': gpu['clocks.max.sm'],
            'tensorrt': EngineLoader(cache=str(check.cache)).machine.tensorrt,
            'python': platform.python_version(), 'cpus': cpu_count()}


def build(check: Check) -> None:
    """Build the engines, several at a time, and compare each as soon as it is there."""
    deadline = time.monotonic() + check.build_seconds

    def one(subject: Subject, precision: str) -> dict[str, Any]:
        start = time.monotonic()
        done = subprocess.run(check.command(subject, precision, 'build'), capture_output=True,
                              text=True, timeout=max(0.1, deadline - start))
        if done.returncode:
            raise RuntimeError(done.stderr[-1500:])
        return {'seconds': time.monotonic() - start, 'jobs': check.jobs, 'said': done.stdout}

    with ThreadPoolExecutor(check.jobs) as pool:
        built = check.built()
        futures = {pool.submit(one, *pair): pair for pair in check.pairs if pair not in built}
        for future in as_completed(futures):
            check.note('build', *futures[future], future.result)
            if not future.exception():
                compare(check, *futures[future])


def compare(check: Check, subject: Subject, precision: str) -> None:
    """Masks and confidence against ONNX Runtime, and what the layers run in."""
    def one() -> dict[str, Any]:
        segmenter = check.open(subject, precision)
        try:
            return check.reference(subject).compare(segmenter) | {
                'runs': segmenter.info.precision, 'layers': segmenter.info.layers}
        finally:
            segmenter.close()

    check.note('agree', subject, precision, one)


def agree(check: Check) -> None:
    """Compare again what is built already."""
    for subject, precision in check.built():
        compare(check, subject, precision)


def foreign(check: Check) -> None:
    """Plans of the networks alone, as trtexec would build them, chained with head and tail."""
    def one(subject: Subject, precision: str) -> dict[str, Any]:
        options = subject.options(precision, check.cache, check.tactics)
        segmenter = check.open(subject, precision)
        plan = check.out / f'{subject.name}.plan'
        loader = EngineLoader(cache=str(check.cache))
        plan.write_bytes(loader.fetch_plain(segmenter.spec, options.build).plan)
        config = check.out / 'foreign.yaml'
        config.write_text(complete_config(segmenter.spec).to_text(), encoding='utf-8')
        segmenter.close()
        chained = Segmenter.open(plan, config=config, options=options)
        row = check.reference(subject).compare(chained)
        chained.close()
        return row

    for pair in check.built():
        if ':'.join((pair[0].name, pair[1])) in check.against:
            check.note('foreign', *pair, functools.partial(one, *pair))


def speed(check: Check) -> None:
    """``trt-segmentation bench``, alone with the mask and against the usual script."""
    for pair in check.built():
        check.note('speed', *pair, functools.partial(
            _bench, check, *pair, '--outputs', 'mask', '--frames', str(SPEED_FRAMES)))
    for pair in check.built():
        if ':'.join((pair[0].name, pair[1])) in check.against:
            check.note('usual', *pair, functools.partial(
                _bench, check, *pair, '--outputs', 'mask,overlay', '--frames', '20', '--against',
                'usual'))


def _bench(check: Check, subject: Subject, precision: str, *arguments: str) -> dict[str, Any]:
    path = check.out / 'bench.json'
    done = subprocess.run(
        [*check.command(subject, precision, 'bench'), *arguments, '--backend', 'tensorrt',
         '--json', str(path)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-1500:])
    return json.loads(path.read_text(encoding='utf-8'))


def batch(check: Check) -> dict[str, Any]:
    """Several cameras' images at once."""
    segmenter = check.open(check.demo, 'fp32')
    spec = segmenter.spec
    segmenter.close()
    return check_batch(EngineLoader(cache=str(check.cache)), spec,
                       check.demo.options('fp32', check.cache, check.tactics).build)


def dds(check: Check) -> None:
    """``trt-segmentation bench --ros``: camera, node and subscriber at several rates."""
    for pair in check.built():
        if ':'.join((pair[0].name, pair[1])) in check.against:
            for outputs in ('mask', 'mask,overlay'):
                check.note(f'dds {outputs}', *pair, functools.partial(
                    _bench, check, *pair, '--outputs', outputs, '--against', 'usual', '--ros',
                    '--seconds', '2', '--frames', '20'))


def sizes(check: Check) -> list[dict[str, Any]]:
    """One engine of the demo network at four sizes."""
    return check_sizes(check.demo.options('fp16', check.cache, check.tactics))


def startup(check: Check) -> None:
    """Fresh processes."""
    for subject, precision in check.built():
        check.note('startup', subject, precision, functools.partial(
            check_startup, subject, precision, check.cache, check.tactics))


def node(check: Check) -> dict[str, Any]:
    """The node itself."""
    from node_run import check_node
    return check_node(check.demo.options('fp16', check.cache, check.tactics))


STEPS: dict[str, Callable[[Check], Any]] = {
    'machine': machine, 'build': build, 'agree': agree, 'speed': speed, 'startup': startup,
    'node': node, 'dds': dds, 'sizes': sizes, 'batch': batch, 'foreign': foreign}


def main() -> int:
    """Run the steps asked for."""
    parser = argparse.ArgumentParser(prog='gpu_check', description=str(__doc__).splitlines()[0])
    parser.add_argument('out', type=Path, metavar='OUT_DIR')
    parser.add_argument('--models', type=Path, nargs='+', default=[], metavar='DIR')
    parser.add_argument('--images', type=Path, required=True, metavar='DIR')
    parser.add_argument('--steps', nargs='+', choices=list(STEPS),
                        default=[name for name in STEPS if name != 'agree'])
    parser.add_argument('--only', nargs='+', default=[], metavar='NETWORK:PRECISION',
                        help='do these, in this order (default: all)')
    parser.add_argument('--against', nargs='+', default=[], metavar='NETWORK:PRECISION',
                        help='of these, build the network alone too: for the usual script and '
                             'the step foreign (default: none)')
    parser.add_argument('--jobs', type=int, default=4, metavar='N',
                        help='engines that are built at the same time (default 4)')
    parser.add_argument('--build-seconds', type=float, default=86400, metavar='S',
                        help='what is not built by then is left out')
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
