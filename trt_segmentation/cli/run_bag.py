# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""A rosbag into a rosbag2 of masks: what ``run`` does where --output names one."""

import argparse
import hashlib
import sys
from functools import partial
from pathlib import Path

from tqdm import tqdm

from trt_segmentation import __version__
from trt_segmentation.bags.parts import Work
from trt_segmentation.bags.reading import is_bag
from trt_segmentation.bags.replay import replay
from trt_segmentation.bags.workers import Workers
from trt_segmentation.bags.writing import STORAGES, TOPICS
from trt_segmentation.cli.options import open_segmenter
from trt_segmentation.errors import ConfigError, ImageError
from trt_segmentation.segmenter import Segmenter, demo_model

OUTPUTS = ('mask', 'overlay')

_SHOWN = 20
"""Dropped frames that are named at the end; the others are counted."""

_PATHS = ('model', 'config', 'engine_cache', 'calibration_images', 'calibration_table')
"""Arguments that are files and folders, which other machines must find, too."""

_NO_SETTINGS = ('inputs', 'output', 'topic', 'outputs', 'workers', 'devices', 'cluster', 'command',
                'execute', 'device', 'engine_cache')
"""Arguments that the masks do not depend on, or that the parts' manifest holds by itself."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``trt-segmentation run`` that are about rosbags."""
    group = parser.add_argument_group('rosbags')
    group.add_argument('--topic', default='', metavar='TOPIC',
                       help='image topic in the rosbag; default: the only one')
    group.add_argument('--outputs', nargs='+', choices=tuple(TOPICS), default=list(OUTPUTS),
                       help='what is written (default mask overlay); label info always is')
    group.add_argument('--workers', type=int, default=0, metavar='N',
                       help='processes (default: one, or one for each of --devices); give them '
                            '--threads so that together they do not have more than the CPU')
    group.add_argument('--devices', type=_indices, default=(), metavar='N,N',
                       help='GPUs that the processes share')
    group.add_argument('--cluster', default='', metavar='ADDRESS',
                       help="a Dask scheduler whose workers do it instead; rosbag, model and "
                            'output must be on storage that all of them see under the same path')


def wants_bag(args: argparse.Namespace) -> bool:
    """Return whether --output names a rosbag2."""
    return args.output.suffix in STORAGES


def execute(args: argparse.Namespace) -> int:
    """Segment the rosbag; return 1 if a frame could not be."""
    workers = Workers(args.workers or max(len(args.devices), 1), args.devices, args.cluster)
    _check(args)
    bag, output = args.inputs[0].resolve(), args.output.resolve()
    told = argparse.Namespace(**{**vars(args), 'execute': None, **_resolved(args)})
    work = Work(bag, args.topic, Path(), tuple(dict.fromkeys(args.outputs)),
                partial(_open, told))
    with tqdm(unit='frame', disable=None) as bar:
        done = replay(work, output, _settings(told), workers, partial(_show, bar))
    print(f'{done.frames} of {done.frames + len(done.dropped)} frames of {done.topic} segmented '
          f'into {args.output} ({"; ".join(done.runs_on)})')
    for damage in done.damage:
        print(f'damaged: {damage}', file=sys.stderr)
    if done.dropped:
        print(f'{len(done.dropped)} frames dropped:', *done.dropped[:_SHOWN], sep='\n  ',
              file=sys.stderr)
        if len(done.dropped) > _SHOWN:
            print(f'  and {len(done.dropped) - _SHOWN} more', file=sys.stderr)
    return 1 if done.dropped or done.damage else 0


def _check(args: argparse.Namespace) -> None:
    if len(args.inputs) != 1 or not is_bag(args.inputs[0]):
        raise ImageError(f'{", ".join(map(str, args.inputs))}: --output {args.output} is a '
                         'rosbag2, which is made of one rosbag: a folder with metadata.yaml, or '
                         'a .mcap, .db3 or .bag file')
    if args.workers < 0:
        raise ConfigError(f'--workers is {args.workers}; it is at least 1')
    if args.cluster and (args.workers or args.devices):
        raise ConfigError('--cluster has workers of its own; leave out --workers and --devices '
                          'and set CUDA_VISIBLE_DEVICES where each of them is started')


def _open(args: argparse.Namespace, device: int | None) -> Segmenter:
    """Open the network in whichever process this is."""
    if device is not None:
        args = argparse.Namespace(**{**vars(args), 'device': device})
    segmenter = open_segmenter(args)
    segmenter.overlay_alpha = args.alpha
    return segmenter


def _resolved(args: argparse.Namespace) -> dict[str, str]:
    return {name: str(Path(getattr(args, name)).resolve()) for name in _PATHS
            if getattr(args, name)}


def _settings(args: argparse.Namespace) -> dict[str, object]:
    """All that the masks depend on: arguments, and what is in the files that they name."""
    settings = {name: value for name, value in vars(args).items() if name not in _NO_SETTINGS}
    for name in ('model', 'config', 'calibration_table'):
        path = Path(settings[name] or (demo_model() if name == 'model' else ''))
        settings[f'{name}_sha256'] = _digest(path) if path.is_file() else ''
    return {'version': __version__, **settings}


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _show(bar: tqdm, done: int, total: int) -> None:
    bar.total = total
    bar.update(done - bar.n)


def _indices(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(index) for index in text.split(','))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no list of GPUs, for example 0,1") from None
