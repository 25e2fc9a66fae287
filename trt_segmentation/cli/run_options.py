# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Options of ``trt-segmentation run`` for all kinds of inputs."""

import argparse
import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from trt_segmentation import __version__
from trt_segmentation.backends import stored_config
from trt_segmentation.cli.arguments import add_overlay_scale, opacity, open_segmenter, weight
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
"""Maximum number of images in progress per process, to limit memory: two in inference, two being
encoded."""

_PATHS = ('model', 'config', 'engine_cache', 'calibration_images', 'calibration_table')
"""Arguments that are paths, which other machines must find, too."""

_NO_SETTINGS = ('inputs', 'output', 'topic', 'outputs', 'workers', 'devices', 'cluster', 'threads',
                'command', 'execute', 'device', 'engine_cache')
"""Arguments that do not change the masks, or that are compared separately."""


def add_work_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for outputs and processes."""
    parser.add_argument('--outputs', nargs='+', type=_output, default=['mask', 'overlay'],
                        metavar='NAME',
                        help=f'outputs to write, of {", ".join(OUTPUTS)} (default mask overlay); '
                             'for all tasks of the network, or for one: lanes/mask; a rosbag2 '
                             'also gets the label info')
    parser.add_argument('--alpha', type=opacity, default=0.5, metavar='0..1',
                        help="opacity of the overlay's colours (default 0.5)")
    add_overlay_scale(parser)
    parser.add_argument('--temporal-smoothing', type=weight, default=0.0, metavar='0..0.95',
                        help='videos and rosbags: weight of the previous frames in the class '
                             'probabilities; higher values are steadier and follow moving '
                             'objects later (default 0: off)')
    parser.add_argument('--topic', default='', metavar='TOPIC',
                        help='image topic in the rosbag; default: its only image topic')
    parser.add_argument('--no-gpu-jpeg', dest='gpu_jpeg', action='store_false',
                        help='decode JPEG on the CPU; default: on the GPU, with TensorRT and '
                             'nvImageCodec (pip extra gpu-jpeg)')
    group = parser.add_argument_group('parallel processing')
    group.add_argument('--workers', type=int, default=0, metavar='N',
                       help='number of processes (default: one, or one per GPU of --devices); '
                            'they share the CPU cores unless --threads is given')
    group.add_argument('--devices', type=_indices, default=(), metavar='N,N',
                       help='indices of the GPUs that the processes use, for example 0,1')
    group.add_argument('--cluster', default='', metavar='ADDRESS',
                       help='run on the workers of this Dask scheduler; inputs, model and output '
                            'must have the same path on all of them')


def workers_of(args: argparse.Namespace) -> 'Workers':
    """Return the processes or the cluster to run on.

    Raises:
        ConfigError: the options contradict each other.
    """
    from trt_segmentation.offline.workers import MAX_WORKERS, Workers
    if not 0 <= args.workers <= MAX_WORKERS:
        raise ConfigError(f'--workers is {args.workers}; it must be from 1 to {MAX_WORKERS}')
    if args.cluster and (args.workers or args.devices):
        raise ConfigError('--cluster has its own workers; remove --workers and --devices, and '
                          'set CUDA_VISIBLE_DEVICES where each worker is started')
    return Workers(args.workers or max(len(args.devices), 1), args.devices, args.cluster)


def outputs_of(args: argparse.Namespace, tasks: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the outputs to write, without duplicates.

    Args:
        args: arguments of ``add_work_options``.
        tasks: names of the tasks of the network.
    """
    return tuple(dict.fromkeys(
        full for name in args.outputs
        for full in ([name] if split(name)[0] else [joined(task, name) for task in tasks])))


def tasks_of(args: argparse.Namespace) -> tuple[str, ...]:
    """Return the tasks of the network without opening it: ('',) if it has only one.

    Raises:
        ConfigError: the config, or the one in the network's file, is invalid.
    """
    config = ModelConfig.from_file(args.config) if args.config else ModelConfig()
    if not config.outputs:
        config = config.over(stored_config(Path(args.model) if args.model else demo_model()))
    return tuple(task.task for task in config.tasks)


def lanes_of(args: argparse.Namespace, workers: 'Workers') -> 'LaneCount':
    """Return how many images each process handles at the same time."""
    from trt_segmentation.offline.overlap import LaneCount
    cores = 1 if workers.cluster else max(1, cpu_count() // workers.count)
    in_order = args.temporal_smoothing > 0
    computing = 1 if in_order else max(1, min(2, cores // (args.threads or 1)))
    return LaneCount(max(2, min(_LANES, cores)), computing, in_order)


def opener(args: argparse.Namespace, workers: 'Workers', lanes: 'LaneCount',
           ) -> Callable[[int | None], Segmenter]:
    """Return a function that opens the network on a GPU, in any process and on any machine.

    Without --threads, the cores are divided among the images that are computed at the same time:
    two images with one thread each are faster than one with two.
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
    segmenter.smoothing = args.temporal_smoothing
    return segmenter


def settings(args: argparse.Namespace) -> dict[str, object]:
    """Return everything that the masks depend on: arguments and digests of the files they name."""
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
        raise argparse.ArgumentTypeError(f"'{text}' is not one of {', '.join(OUTPUTS)}, with or "
                                         'without a task as in lanes/mask')
    return text


def _indices(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(index) for index in text.split(','))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a list of GPU indices, for example 0,1") from None
