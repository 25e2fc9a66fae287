# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What ``trt-segmentation run`` is told, whatever its inputs are."""

import argparse
import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from trt_segmentation import __version__
from trt_segmentation.backends import stored_config
from trt_segmentation.cli.arguments import opacity, open_segmenter
from trt_segmentation.errors import ConfigError
from trt_segmentation.graph.onnx_tools.network import network_files
from trt_segmentation.graph.pipeline.output_names import OUTPUTS, joined, kind_of, split
from trt_segmentation.model_config import ModelConfig
from trt_segmentation.options import cpu_count
from trt_segmentation.segmenter import Segmenter, demo_model

if TYPE_CHECKING:
    from trt_segmentation.offline.overlap import LaneCount
    from trt_segmentation.offline.workers import Workers

_LANES = 4
"""Images of one process under way at most, two that are computed and two that are encoded: each
takes memory."""

_PATHS = ('model', 'config', 'engine_cache', 'calibration_images', 'calibration_table')
"""Arguments that are files and folders, which other machines must find, too."""

_NO_SETTINGS = ('inputs', 'output', 'topic', 'outputs', 'workers', 'devices', 'cluster', 'threads',
                'command', 'execute', 'device', 'engine_cache')
"""Arguments that the masks do not depend on, or that are compared in another way."""


def add_work_options(parser: argparse.ArgumentParser) -> None:
    """Add what is written, and by how many processes."""
    parser.add_argument('--outputs', nargs='+', type=_output, default=['mask', 'overlay'],
                        metavar='NAME',
                        help=f'what is written, of {", ".join(OUTPUTS)} (default mask overlay), '
                             'of each task of the network, or of one: lanes/mask; a rosbag2 has '
                             'its label info, too')
    parser.add_argument('--alpha', type=opacity, default=0.5, metavar='0..1',
                        help="opacity of the overlay's colours (default 0.5)")
    parser.add_argument('--topic', default='', metavar='TOPIC',
                        help='image topic in the rosbag; default: the only one there is')
    group = parser.add_argument_group('several processes')
    group.add_argument('--workers', type=int, default=0, metavar='N',
                       help='processes (default: one, or one for each of --devices); the cores '
                            'are shared out to them unless --threads says how many each takes')
    group.add_argument('--devices', type=_indices, default=(), metavar='N,N',
                       help='GPUs that the processes share')
    group.add_argument('--cluster', default='', metavar='ADDRESS',
                       help='a Dask scheduler whose workers do it instead; inputs, model and '
                            'output must be on storage that all of them see under the same path')


def workers_of(args: argparse.Namespace) -> 'Workers':
    """Return who does the work.

    Raises:
        ConfigError: the options contradict each other.
    """
    from trt_segmentation.offline.workers import Workers
    if args.workers < 0:
        raise ConfigError(f'--workers is {args.workers}; it is at least 1')
    if args.cluster and (args.workers or args.devices):
        raise ConfigError('--cluster has workers of its own; leave out --workers and --devices '
                          'and set CUDA_VISIBLE_DEVICES where each of them is started')
    return Workers(args.workers or max(len(args.devices), 1), args.devices, args.cluster)


def outputs_of(args: argparse.Namespace, tasks: Sequence[str]) -> tuple[str, ...]:
    """Return what is written, each once.

    Args:
        tasks: of the network.
    """
    return tuple(dict.fromkeys(
        full for name in args.outputs
        for full in ([name] if split(name)[0] else [joined(task, name) for task in tasks])))


def tasks_of(args: argparse.Namespace) -> tuple[str, ...]:
    """Return the tasks of the network, which other processes open: '' is that of one of one.

    Raises:
        ConfigError: the config, or that in the network's file, is not understood.
    """
    config = ModelConfig.from_file(args.config) if args.config else ModelConfig()
    if not config.outputs:
        config = config.over(stored_config(Path(args.model) if args.model else demo_model()))
    return tuple(task.task for task in config.tasks)


def lanes_of(args: argparse.Namespace, workers: 'Workers') -> 'LaneCount':
    """Return how many images each process has under way at the same time."""
    from trt_segmentation.offline.overlap import LaneCount
    cores = 1 if workers.cluster else max(1, cpu_count() // workers.count)
    computing = max(1, min(2, cores // (args.threads or 1)))
    return LaneCount(max(2, min(_LANES, cores)), computing)


def opener(args: argparse.Namespace, workers: 'Workers', lanes: 'LaneCount',
           ) -> Callable[[int | None], Segmenter]:
    """Return what opens the network on a GPU, in whichever process and on whichever machine.

    Where --threads does not say it, the cores are shared out to the images that are computed at
    the same time: two with a thread each are faster than one with two.
    """
    if not args.threads and not workers.cluster:
        threads = max(1, cpu_count() // (workers.count * lanes.computing))
        args = argparse.Namespace(**{**vars(args), 'threads': threads})
    absolute = {name: str(Path(getattr(args, name)).resolve()) for name in _PATHS
                if getattr(args, name)}
    return partial(_open, argparse.Namespace(**{**vars(args), 'execute': None, **absolute}))


def _open(args: argparse.Namespace, device: int | None) -> Segmenter:
    if device is not None:
        args = argparse.Namespace(**{**vars(args), 'device': device})
    segmenter = open_segmenter(args)
    segmenter.overlay_alpha = args.alpha
    return segmenter


def settings(args: argparse.Namespace) -> dict[str, object]:
    """Return all that the masks depend on: arguments, and what is in the files that they name."""
    found = {name: str(Path(value).resolve()) if name in _PATHS and value else value
             for name, value in vars(args).items() if name not in _NO_SETTINGS}
    for name in ('model', 'config', 'calibration_table'):
        path = Path(str(found[name]) or (demo_model() if name == 'model' else ''))
        files = network_files(path) if name == 'model' else [path]
        found[f'{name}_sha256'] = _digest(files) if path.is_file() else ''
    return {'version': __version__, **found}


def _digest(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open('rb') as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _output(text: str) -> str:
    if kind_of(text) not in OUTPUTS:
        raise argparse.ArgumentTypeError(f"'{text}' is none of {', '.join(OUTPUTS)}, nor one of a "
                                         'task, such as lanes/mask')
    return text


def _indices(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(index) for index in text.split(','))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"'{text}' is no list of GPUs, for example 0,1") from None
