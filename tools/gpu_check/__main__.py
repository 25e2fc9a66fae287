# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Checks that need a GPU. One command makes the tables of a GPU::

    python tools/gpu_check OUT_DIR --models MODELS_DIR [MORE_DIR ...] --images IMAGES_DIR

It builds engines on all GPUs in parallel, compares each with ONNX Runtime, and then measures on
one GPU that is otherwise idle. --steps selects other steps.

It writes OUT_DIR/results.json after each network and precision, and OUT_DIR/gpu.md with the tables
for docs/measurements. Engines are in OUT_DIR/engines. If the command is interrupted, for example
by a time limit, the same command continues: existing engines, agreements and times are kept.
MODELS_DIR holds networks that subjects.py knows, such as those of export_torchvision.py, or any
NAME.onnx with its model config NAME.yaml; those of tools/model_zoo are compared with PyTorch's
results.
"""

import argparse
import contextlib
import functools
import json
import os
import platform
import queue
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from agreement import Reference, find_reference
from bag_replay import check_bag
from batch import check_batch
from camera_costs import Arm, arms
from camera_encodings import check_encodings
from faults import check_faults
from infer import check_infer
from report import markdown
from sizes import check_sizes
from startup import check_startup
from subjects import Builds, Subject, find_subjects
from tail_costs import check_tail
from tensors import check_tensors

from trt_segmentation.backends.tensorrt.engine_loader import EngineLoader
from trt_segmentation.benchmark.dds import CAMERA_ENCODINGS
from trt_segmentation.benchmark.host import query_gpus
from trt_segmentation.graph.reading.resolve import complete_config
from trt_segmentation.options import cpu_count, tactic_names
from trt_segmentation.segmenter import Segmenter

SPEED_FRAMES = 300
RUN_FRAMES = 50
BUILDS_PER_GPU = 3
SOURCES = ('1080x1920', '720x1280')
"""Image sizes at which speed is measured."""

OUTPUTS = ('mask', 'mask,overlay')
"""Outputs of the node in the measurements over DDS."""


class Check:
    """The state of all steps and their results so far.

    Results are stored by step and subject, so that a later run adds to an earlier one.

    Args:
        args: of the command line.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.out = args.out
        self.builds = Builds(args.out / 'engines', tactic_names(args.tactic_sources),
                             args.optimization_level)
        self.devices = args.devices or [str(number) for number in range(len(query_gpus()) or 1)]
        self.jobs = args.jobs or BUILDS_PER_GPU * len(self.devices)
        self.build_seconds = args.build_seconds
        self.seconds = args.seconds
        self.sizes = args.sizes
        self.outputs = args.outputs
        self.tensors = args.tensors
        self.builds.cache.mkdir(parents=True, exist_ok=True)
        models = args.out / 'models'
        models.mkdir(exist_ok=True)
        for folder in args.models:
            for model in folder.iterdir():  # including external weights
                if model.is_file() and not (models / model.name).exists():
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
        self._check_machine()

    def _check_machine(self) -> None:
        """Exit if earlier results are from another machine: a table is valid for one machine."""
        if 'error' in (before := self.results.get('machine', {'error': 'not there'})):
            return
        here = machine(self)
        if changed := [name for name in MACHINE if before.get(name) != here[name]]:
            sys.exit(f'{self.out} holds results of another machine ({changed[0]} is '
                     f'{here[changed[0]]} here and was {before.get(changed[0])}); choose another '
                     'OUT_DIR')

    def run(self, name: str) -> None:
        """Run one step; a failure is recorded and does not stop the others."""
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
        """Write all results."""
        for name, text in {'results.json': json.dumps(self.results, indent=1),
                           'gpu.md': markdown(self.results)}.items():
            written = self.out / f'{name}.tmp'
            written.write_text(text, encoding='utf-8')
            os.replace(written, self.out / name)  # complete even if this process is killed

    def note(self, step: str, subject: Subject, precision: str,
             work: Callable[[], dict[str, Any]]) -> None:
        """Do the work for one network and store its result or its error as a row."""
        row = {'network': subject.name, 'precision': precision,
               'date': time.strftime('%Y-%m-%d')}
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
        return self.done('build')

    def done(self, step: str) -> list[tuple[Subject, str]]:
        """Return the networks and precisions that a step has results of."""
        rows = self.results.get(step, {})
        return [(subject, precision) for subject, precision in self.pairs
                if 'error' not in rows.get(f'{subject.name} {precision}', {'error': 'not done'})]

    def build_seconds_of(self, key: str) -> float:
        """Return the seconds that TensorRT took to build an engine of the cache, in any run."""
        (sidecar,) = self.builds.cache.glob(f'*-{key[:16]}.engine.json')
        return json.loads(sidecar.read_text(encoding='utf-8'))['facts']['build_seconds']

    def reference(self, subject: Subject) -> Reference:
        """Return the expected results of a network."""
        if subject.name not in self.references:
            self.references[subject.name] = find_reference(subject)
        return self.references[subject.name]

    def open(self, subject: Subject, precision: str) -> Segmenter:
        """Open a network on TensorRT."""
        return Segmenter.open(subject.model, config=subject.config or None,
                              options=subject.options(precision, self.builds))

    def command(self, subject: Subject, precision: str, *arguments: str) -> list[str]:
        """Return a command line of ``trt-segmentation`` for one network."""
        tactics = self.builds.tactics
        sources = ['--tactic-sources', ','.join(tactics)] if tactics else []
        config = ['--config', subject.config] if subject.config else []
        calibration = ['--calibration-images', subject.calibration] if subject.calibration else []
        level = ['--optimization-level', str(self.builds.level)] if self.builds.level >= 0 else []
        return [sys.executable, '-m', 'trt_segmentation.cli.main', *arguments, str(subject.model),
                '--precision', precision, '--engine-cache', str(self.builds.cache),
                '--mask-interpolation', subject.growth, '--calibration-method', 'percentile',
                '--no-fp16-fallback',
                *level, *config, *calibration, *sources]

    def is_against(self, subject: Subject, precision: str) -> bool:
        """Whether the network only is to be built, too."""
        return f'{subject.name}:{precision}' in self.against

    def built_against(self) -> list[tuple[Subject, str]]:
        """Return those of ``built`` of which the network only is to be built, too."""
        return [pair for pair in self.built() if self.is_against(*pair)]


def _chosen(pairs: list[tuple[Subject, str]], names: list[str]) -> list[tuple[Subject, str]]:
    """Return the pairs named as NETWORK:PRECISION, in the order of the names."""
    by_name = {f'{subject.name}:{precision}': (subject, precision)
               for subject, precision in pairs}
    if unknown := sorted(set(names) - set(by_name)):
        sys.exit(f'unknown: {", ".join(unknown)}; known are {", ".join(by_name)}')
    return [by_name[name] for name in names] or pairs


MACHINE = 'gpu', 'driver', 'tensorrt', 'python'
"""Keys of ``machine`` whose values must be the same for all rows of a table."""


def machine(check: Check) -> dict[str, Any]:
    """Describe the machine for which all figures are valid."""
    gpu = query_gpus()[0]
    return {'date': time.strftime('%Y-%m-%d'), 'gpu': gpu['name'],
            'driver': gpu['driver_version'], 'max_clock': gpu['clocks.max.sm'],
            'tensorrt': EngineLoader(cache=str(check.builds.cache)).machine.tensorrt,
            'python': platform.python_version(), 'cpus': cpu_count()}


class Gpus:
    """Lends GPUs to threads.

    Args:
        devices: values of ``CUDA_VISIBLE_DEVICES``; one that is there twice is lent twice at the
            same time.
    """

    def __init__(self, devices: Iterable[str]) -> None:
        self._free: queue.SimpleQueue[str] = queue.SimpleQueue()
        for device in devices:
            self._free.put(device)

    @contextlib.contextmanager
    def lend(self) -> Iterator[str]:
        """Wait for a GPU, and take it within a with statement."""
        device = self._free.get()
        try:
            yield device
        finally:
            self._free.put(device)


def builder(check: Check) -> Callable[..., dict[str, Any]]:
    """Return a function for threads that builds with a command of ``trt-segmentation`` on a GPU
    that is lent, within --build-seconds from now, and returns what becomes of the row."""
    deadline = time.monotonic() + check.build_seconds
    gpus = Gpus(check.devices[number % len(check.devices)] for number in range(check.jobs))

    def one(subject: Subject, precision: str, *command: str) -> dict[str, Any]:
        late = TimeoutError(f'not done within the {check.build_seconds:.0f} s of --build-seconds')
        with gpus.lend() as device:
            start = time.monotonic()
            if start >= deadline:
                raise late
            try:
                output = _command(check, subject, precision, *command, device=device,
                                  timeout=deadline - start)
            except subprocess.TimeoutExpired:
                raise late from None
            return {'seconds': time.monotonic() - start, 'jobs': check.jobs,
                    'gpus': len(check.devices), 'output': output}

    return one


def build(check: Check) -> None:
    """Build the engines, several in parallel, and compare each as soon as it is built."""
    one = builder(check)
    with ThreadPoolExecutor(check.jobs) as pool:
        built = check.built()
        futures = {pool.submit(one, *pair, 'build'): pair for pair in check.pairs
                   if pair not in built}
        alone = {}
        for future in as_completed(futures):
            pair = futures[future]
            check.note('build', *pair, future.result)
            if future.exception():
                continue
            if check.is_against(*pair):  # bench builds and caches the network only
                alone[pool.submit(one, *pair, 'bench', '--against', 'baseline',
                                  '--frames', '2')] = pair
            compare(check, *pair)
        for future in as_completed(alone):
            check.note('network_only', *alone[future], future.result)
    for pair in check.built():  # by a run that was interrupted before it compared them
        if pair not in check.done('agree'):
            compare(check, *pair)


def compare(check: Check, subject: Subject, precision: str) -> None:
    """Compare masks and confidence with the reference, and record the precision of the layers."""
    def one() -> dict[str, Any]:
        reference, segmenter = check.reference(subject), check.open(subject, precision)
        try:
            found = reference.compare(segmenter)
            times = segmenter.gpu_times(reference.images[0], ('mask',), RUN_FRAMES)
            info = segmenter.info
            return found | {'run_ms': times['run'],  # builds may run at the same time
                            'runs': info.precision, 'layers': info.layers,
                            'build_seconds': check.build_seconds_of(info.engine_key)}
        finally:
            segmenter.close()

    check.note('agree', subject, precision, one)


def agree(check: Check) -> None:
    """Compare all built engines again."""
    for subject, precision in check.built():
        compare(check, subject, precision)


def tensors(check: Check) -> None:
    """Compare networks tensor by tensor, to find where they differ."""
    for subject, precision in check.pairs:
        check.note('tensors', subject, precision, functools.partial(
            check_tensors, subject, precision, check.builds, check.tensors,
            check.out / 'tensors'))


def external(check: Check) -> None:
    """Chain plans of the network only, as trtexec builds them, with head and tail."""
    def one(subject: Subject, precision: str) -> dict[str, Any]:
        options = subject.options(precision, check.builds)
        segmenter = check.open(subject, precision)
        plan = check.out / f'{subject.name}.plan'
        loader = EngineLoader(cache=str(check.builds.cache))
        plan.write_bytes(loader.fetch_network_only(segmenter.spec, options.build).plan)
        config = check.out / 'external.yaml'
        config.write_text(complete_config(segmenter.spec).to_text(), encoding='utf-8')
        segmenter.close()
        chained = Segmenter.open(plan, config=config, options=options)
        row = check.reference(subject).compare(chained)
        chained.close()
        return row

    for pair in check.built_against():
        check.note('external', *pair, functools.partial(one, *pair))


def speed(check: Check) -> None:
    """``trt-segmentation bench``: alone with the mask, and against the baseline."""
    for size in check.sizes:
        for pair in check.built():
            check.note(f'speed {size}', *pair, functools.partial(
                _bench, check, *pair, '--outputs', 'mask', '--size', size, '--frames',
                str(SPEED_FRAMES)))
        for pair in check.built_against():
            check.note(f'baseline {size}', *pair, functools.partial(
                _bench, check, *pair, '--outputs', 'mask,overlay', '--size', size, '--frames',
                '20', '--against', 'baseline'))


def _bench(check: Check, subject: Subject, precision: str, *arguments: str, device: str = '',
           ) -> dict[str, Any]:
    path = check.out / f'bench{device}.json'
    _command(check, subject, precision, 'bench', *arguments, '--backend', 'tensorrt', '--json',
             str(path), device=device)
    return json.loads(path.read_text(encoding='utf-8'))


def _command(check: Check, subject: Subject, precision: str, *arguments: str, device: str,
             timeout: float | None = None) -> str:
    """Run a command of ``trt-segmentation`` on one GPU; '' leaves the choice to CUDA. Return what
    it prints."""
    chosen = {'CUDA_VISIBLE_DEVICES': device} if device else {}
    done = subprocess.run(check.command(subject, precision, *arguments), capture_output=True,
                          text=True, timeout=timeout, env={**os.environ, **chosen})
    if done.returncode:
        raise RuntimeError(done.stderr[-1500:])
    return done.stdout


def batch(check: Check) -> None:
    """Images of several cameras in one batch: the demo network in fp16, and those of --against."""
    for subject, precision in check.pairs:
        if (subject, precision) == (check.demo, 'fp16') or check.is_against(subject, precision):
            check.note('batch', subject, precision, functools.partial(
                check_batch, subject, precision, check.builds))


def smoothing(check: Check) -> None:
    """What temporal smoothing and instances cost, of all networks or those of --only."""
    for subject, precision in check.pairs:
        check.note('smoothing', subject, precision, functools.partial(
            check_tail, subject, precision, check.builds))


def infer(check: Check) -> None:
    """Images in new buffers and in reused ones, on an otherwise idle GPU."""
    done = check.done('infer')
    for subject, precision in check.built():
        if (subject, precision) not in done:
            check.note('infer', subject, precision, functools.partial(
                check_infer, subject, precision, check.builds))


def dds(check: Check) -> None:
    """``trt-segmentation bench --ros``: camera, node and subscriber at several rates."""
    for size in check.sizes:
        for outputs in check.outputs:
            for pair in check.built_against():
                check.note(f'dds {size} {outputs}', *pair, functools.partial(
                    _bench, check, *pair, '--outputs', outputs, '--size', size, '--against',
                    'baseline', '--ros', '--seconds', str(check.seconds), '--frames', '60'))


def build_cameras(check: Check) -> None:
    """Build what the step ``cameras`` needs besides the built networks, several in parallel;
    what is there is kept."""
    one = builder(check)
    with ThreadPoolExecutor(check.jobs) as pool:
        futures = {pool.submit(one, *pair, 'build', *builds): (step, pair)
                   for step, builds in {_step_of(arm): arm.builds for arm in arms()
                                        if arm.builds}.items()
                   for pair in check.built() if pair not in check.done(step)}
        for future in as_completed(futures):
            step, pair = futures[future]
            check.note(step, *pair, future.result)


def _step_of(arm: Arm) -> str:
    """Return the name of the rows of what an arm needs."""
    return ' '.join(('build_cameras', *arm.builds))


def cameras(check: Check) -> None:
    """What cameras cost over DDS, with the built networks, one arm on each GPU at a time; arms
    that are there are kept."""
    gpus = Gpus(check.devices)
    with ThreadPoolExecutor(len(check.devices)) as pool:
        futures = {pool.submit(_measure_arm, check, *pair, arm, gpus): (f'cameras {arm}', pair)
                   for arm in arms() for pair in check.built()
                   if pair not in check.done(f'cameras {arm}')}
        for future in as_completed(futures):
            step, pair = futures[future]
            check.note(step, *pair, future.result)


def _measure_arm(check: Check, subject: Subject, precision: str, arm: Arm, gpus: Gpus,
                 ) -> dict[str, Any]:
    with gpus.lend() as device:
        if arm.builds and (subject, precision) not in check.done(_step_of(arm)):
            # The node would exceed the time limit of the benchmark.
            _command(check, subject, precision, 'build', *arm.builds, device=device)
        return _bench(check, subject, precision, *arm.arguments(check.seconds), device=device)


def sizes(check: Check) -> list[dict[str, Any]]:
    """One engine of the demo network at four sizes."""
    return check_sizes(check.demo.options('fp16', check.builds))


def encodings(check: Check) -> list[dict[str, Any]]:
    """Camera encodings that are converted on the GPU, before the demo network in fp16."""
    return check_encodings(check.demo, check.builds)


def startup(check: Check) -> None:
    """Time from process start to the first mask."""
    for subject, precision in check.built():
        check.note('startup', subject, precision, functools.partial(
            check_startup, subject, precision, check.builds))


def node(check: Check) -> dict[str, Any]:
    """The node over DDS."""
    from node_run import check_node, node_parameters
    return check_node(node_parameters(check.demo.options('fp16', check.builds)))


def streams(check: Check) -> list[dict[str, Any]]:
    """A node for each encoding of cameras over DDS, 10,000 frames of each."""
    from node_run import check_streams, node_parameters
    return check_streams(node_parameters(check.demo.options('fp16', check.builds)),
                         CAMERA_ENCODINGS)


def devices(check: Check) -> dict[str, Any]:
    """A node on each GPU, all with the same engine file."""
    from node_run import check_devices, node_parameters
    return check_devices(node_parameters(check.demo.options('fp16', check.builds)),
                         [int(device) for device in check.devices])


def bag(check: Check) -> dict[str, Any]:
    """A rosbag by one process and by one process per GPU."""
    return check_bag(functools.partial(check.command, check.demo, 'fp16'), check.out / 'bag',
                     check.devices)


def lifecycle(check: Check) -> dict[str, Any]:
    """GPU memory of a node that is configured and cleaned up repeatedly."""
    from lifecycle import check_lifecycle
    from node_run import node_parameters
    return check_lifecycle(node_parameters(check.demo.options('fp16', check.builds)))


def faults(check: Check) -> dict[str, Any]:
    """Interrupts, threads and a broken context."""
    return check_faults(check.demo.options('fp16', check.builds))


STEPS: dict[str, Callable[[Check], Any]] = {
    'machine': machine, 'build': build, 'infer': infer, 'agree': agree, 'tensors': tensors,
    'speed': speed, 'startup': startup, 'node': node, 'streams': streams, 'lifecycle': lifecycle,
    'faults': faults, 'devices': devices, 'bag': bag, 'dds': dds, 'build_cameras': build_cameras,
    'cameras': cameras, 'sizes': sizes, 'batch': batch, 'external': external,
    'encodings': encodings, 'smoothing': smoothing}
FOR_THE_TABLE = 'machine', 'build', 'infer'
"""The default steps; the others run only if named in --steps."""


def main() -> int:
    """Run the requested steps."""
    parser = argparse.ArgumentParser(prog='gpu_check', description=str(__doc__).splitlines()[0])
    parser.add_argument('out', type=Path, metavar='OUT_DIR')
    parser.add_argument('--models', type=Path, nargs='+', default=[], metavar='DIR')
    parser.add_argument('--images', type=Path, required=True, metavar='DIR')
    parser.add_argument('--steps', nargs='+', choices=list(STEPS), default=FOR_THE_TABLE,
                        help=f'default: {" ".join(FOR_THE_TABLE)}')
    parser.add_argument('--only', nargs='+', default=[], metavar='NETWORK:PRECISION',
                        help='only these, in this order (default: all)')
    parser.add_argument('--against', nargs='+', default=[], metavar='NETWORK:PRECISION',
                        help='also build the network only of these: for the baseline and the '
                             'steps external and batch (default: none)')
    parser.add_argument('--jobs', type=int, default=0, metavar='N',
                        help='engines that are built in parallel (default: '
                             f'{BUILDS_PER_GPU} on each GPU)')
    parser.add_argument('--build-seconds', type=float, default=86400, metavar='S',
                        help='engines that are not built by then are left out')
    parser.add_argument('--devices', type=lambda text: text.split(','), default=[],
                        metavar='N,...', help='GPUs on which to build, and for the steps '
                                              'devices and bag (default: all)')
    parser.add_argument('--sizes', nargs='+', default=SOURCES, metavar='HEIGHTxWIDTH',
                        help=f'image sizes for the step speed (default {" ".join(SOURCES)})')
    parser.add_argument('--outputs', nargs='+', default=OUTPUTS, choices=OUTPUTS,
                        metavar='NAMES', help='of the node over DDS (default mask, then '
                                              'mask,overlay)')
    parser.add_argument('--tensors', nargs='+', default=['instances/', 'queries/'],
                        metavar='PREFIX', help='tensors of the network that the step tensors '
                                               'compares (default: those after its outputs)')
    parser.add_argument('--seconds', type=float, default=2.0, metavar='S',
                        help='duration of one run over DDS (default 2)')
    parser.add_argument('--optimization-level', type=int, default=-1, metavar='0..5')
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
