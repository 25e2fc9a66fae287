# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments that several subcommands share, and the options built from them."""

import argparse
import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from trt_segmentation.errors import ConfigError
from trt_segmentation.graph.pipeline.output_names import INSTANCE_OUTPUTS, kind_of
from trt_segmentation.graph.pipeline.prepare import MASK_INTERPOLATIONS
from trt_segmentation.graph.pipeline.smoothing import MAX_WEIGHT
from trt_segmentation.graph.reading import resolve
from trt_segmentation.images.header import MAX_SIDE
from trt_segmentation.model_config import ModelConfig
from trt_segmentation.options import (
    BACKENDS,
    CALIBRATION_METHODS,
    MASK_ENCODINGS,
    OVERLAY_SCALES,
    PRECISIONS,
    BuildOptions,
    CalibrationOptions,
    RunOptions,
    tactic_names,
)
from trt_segmentation.segmenter import Segmenter, demo_model

_DEFAULTS = BuildOptions()


def size(text: str) -> tuple[int, int]:
    """Parse HEIGHTxWIDTH for argparse; return (height, width), each at most ``MAX_SIDE``."""
    match = re.fullmatch(r'(\d+)x(\d+)', text)
    if not match or '0' in match.groups():
        raise argparse.ArgumentTypeError(f"'{text}' is not HEIGHTxWIDTH, for example 1080x1920")
    height, width = int(match[1]), int(match[2])
    if max(height, width) > MAX_SIDE:
        raise argparse.ArgumentTypeError(f"'{text}' is too large: a side has at most {MAX_SIDE} "
                                         'pixels')
    return height, width


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return an argparse type for a whole number from ``least`` to ``most``."""
    limits = f'of at least {least}' if most is None else f'from {least} to {most}'

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"'{text}' is not a whole number {limits}")
        return number

    return read


def share(text: str) -> float:
    """Parse a fraction of the pixels, more than 0 and at most 1, for argparse."""
    if not 0 < (number := _number(text)) <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a fraction of the pixels, more than 0 "
                                         'and at most 1')
    return number


def opacity(text: str) -> float:
    """Parse an opacity from 0 to 1 for argparse."""
    if not 0 <= (number := _number(text)) <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not an opacity from 0 to 1")
    return number


def weight(text: str) -> float:
    """Parse a weight of temporal smoothing for argparse."""
    if not 0 <= (number := _number(text)) <= MAX_WEIGHT:
        raise argparse.ArgumentTypeError(f"'{text}' is not a weight from 0 to {MAX_WEIGHT}")
    return number


def new_file(text: str) -> Path:
    """Parse the path of an output file for argparse; its folder must exist and be writable."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"'{text}' is a folder; name a file in it")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"'{text}' cannot be written: there is no folder "
                                         f"'{path.parent}'; create it first")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"'{text}' cannot be written: permission denied")
    return path


def positive(text: str) -> float:
    """Parse a finite number above 0 for argparse."""
    if not 0 < (number := _number(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def check_png(option: str, path: Path) -> None:
    """Refuse another name for a drawing than that of a PNG.

    Raises:
        ConfigError: the name does not end in .png.
    """
    if path.suffix.lower() != '.png':
        raise ConfigError(f'{option} is {path}, but the drawing is a PNG; name it '
                          f"{path.with_suffix('.png')}")


def check_topic(option: str, topic: str, inputs: Sequence[str | Path]) -> None:
    """Refuse a topic of inputs that have none.

    Args:
        option: name of the option that gives the topic.
        topic: '' for none.
        inputs: paths; a topic needs a rosbag among them.

    Raises:
        ConfigError: there is a topic, but no rosbag.
    """
    if not topic:
        return
    from trt_segmentation.images.rosbag import is_bag  # imports OpenCV
    if not any(is_bag(Path(path)) for path in inputs):
        raise ConfigError(f'{option} {topic}: only a rosbag has topics, and no input is one')


def add_backend_options(parser: argparse.ArgumentParser, *, precision: bool = True) -> None:
    """Add the options with which a model is opened.

    Args:
        parser: the parser of a command.
        precision: whether to add ``--precision``.
    """
    add_build_options(parser, precision=precision, backend=True)


def add_overlay_scale(parser: argparse.ArgumentParser) -> None:
    """Add ``--overlay-scale``."""
    parser.add_argument('--overlay-scale', type=float, choices=OVERLAY_SCALES, default=1.0,
                        help="height and width of the overlay as a fraction of the image's "
                             '(default 1)')


def add_build_options(parser: argparse.ArgumentParser, *, precision: bool = True,
                      backend: bool = False) -> None:
    """Add the options that an engine depends on.

    Args:
        parser: the parser of a command.
        precision: see ``add_backend_options``.
        backend: whether to add the other fields of ``RunOptions``, too.
    """
    parser.add_argument('--config', default='', metavar='YAML',
                        help='model config; default: the metadata in the model file')
    add_measure_option(parser)
    if precision:
        parser.add_argument('--precision', choices=PRECISIONS, default='fp32',
                            help='precision of the TensorRT engine (default fp32)')
    masks = parser.add_argument_group('masks')
    masks.add_argument('--mask-interpolation', choices=MASK_INTERPOLATIONS, default='nearest',
                       help='classify at the resolution of the network (nearest) or of the '
                            'image (bilinear: smoother edges, slower)')
    masks.add_argument('--mask-encoding', choices=MASK_ENCODINGS, default='mono8',
                       help='mono8: up to 255 classes; mono16: up to 65535')
    runs = parser.add_argument_group('backend and device')
    if backend:
        runs.add_argument('--backend', choices=BACKENDS, default='auto',
                          help='auto: tensorrt if it is installed and a GPU is found, else '
                               'onnxruntime')
        runs.add_argument('--threads', type=whole(0), default=0, metavar='N',
                          help='CPU threads per operation; 0: one per core (default 0); run '
                               'divides the cores among the images that it computes at the '
                               'same time')
    runs.add_argument('--device', type=whole(0), default=0, metavar='N',
                      help='index of the GPU (default 0)')
    runs.add_argument('--engine-cache', default='', metavar='DIR',
                      help="folder for built engines; default: the user's cache folder")
    _add_calibration_options(parser.add_argument_group('int8 calibration'))
    _add_tensorrt_options(parser.add_argument_group('TensorRT builds'), precision)


def _add_tensorrt_options(group: 'argparse._ArgumentGroup', precision: bool) -> None:
    for name, meaning in (('min', 'smallest image size'), ('opt', 'image size to optimize for'),
                          ('max', 'largest image size')):
        default = getattr(_DEFAULTS, f'{name}_size')
        group.add_argument(f'--{name}-size', type=size, default=default, metavar='HEIGHTxWIDTH',
                           help='{} (default {}x{})'.format(meaning, *default))
    group.add_argument('--tf32', action='store_true',
                       help='allow TF32 in fp32 engines (10-bit mantissa): faster on Ampere and '
                            'later')
    if precision:
        group.add_argument('--no-fp16-fallback', dest='fp16_fallback', action='store_false',
                           help='keep int8 even if fp16 is faster on this GPU; default: build '
                                'both and use the faster one')
    group.add_argument('--workspace', type=whole(0), default=0, metavar='MIB',
                       help='limit of scratch memory on the GPU in MiB; 0: no limit (default '
                            '0)')
    group.add_argument('--optimization-level', type=whole(0, 5), default=-1, metavar='0..5',
                       help='0: fastest build; 5: fastest engine; default: that of TensorRT')
    group.add_argument('--tactic-sources', default='', metavar='NAMES',
                       help='comma-separated libraries that TensorRT may take kernels from, '
                            'named as in trt.TacticSource')
    group.add_argument('--version-compatible', action='store_true',
                       help='build an engine that newer TensorRT versions can run, too')
    group.add_argument('--hardware-compatible', action='store_true',
                       help='build an engine that other GPUs (Ampere and later) can run, too')
    group.add_argument('--dla-core', type=whole(0), default=-1, metavar='N',
                       help='run on this DLA core; layers that it does not support run on the GPU')


def add_measure_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--no-measure``."""
    parser.add_argument('--no-measure', dest='measure', action='store_false',
                        help='if the graph does not define the meaning of the output, assume it; '
                             'default: run the network once and examine the values')


def _add_calibration_options(group: 'argparse._ArgumentGroup') -> None:
    group.add_argument('--calibration-images', default='', metavar='PATH',
                       help='image, folder, video or rosbag2 with typical scenes')
    group.add_argument('--calibration-topic', default='', metavar='TOPIC',
                       help='image topic in a rosbag2; default: its only image topic')
    group.add_argument('--calibration-method', choices=CALIBRATION_METHODS,
                       default=CALIBRATION_METHODS[0],
                       help='how the quantization ranges are computed '
                            f'(default {CALIBRATION_METHODS[0]})')
    group.add_argument('--calibration-count', type=whole(1), default=200, metavar='N',
                       help='maximum number of images (default 200)')
    group.add_argument('--calibration-table', default='', metavar='FILE',
                       help='quantization ranges: read if the file exists, else written')


def build_options(args: argparse.Namespace) -> BuildOptions:
    """Return the options that ``add_build_options`` has parsed.

    Raises:
        ConfigError: not ``min_size`` <= ``opt_size`` <= ``max_size``.
    """
    for smaller, larger in (('min_size', 'opt_size'), ('opt_size', 'max_size')):
        sizes = getattr(args, smaller), getattr(args, larger)
        if any(one > other for one, other in zip(*sizes, strict=True)):
            raise ConfigError('{} is {}x{}, but {} is {}x{}; the first must not be higher '
                              'or wider than the second'.format(
                                  smaller, *sizes[0], larger, *sizes[1]),
                              (smaller, larger))
    return BuildOptions(args.precision, args.tf32, args.min_size, args.opt_size, args.max_size,
                        args.workspace, args.optimization_level,
                        tactic_names(args.tactic_sources), args.version_compatible,
                        args.hardware_compatible, args.dla_core, args.fp16_fallback,
                        calibration_options(args))


def calibration_options(args: argparse.Namespace) -> CalibrationOptions:
    """Return the int8 calibration options that ``add_build_options`` has parsed.

    Raises:
        ConfigError: a topic is given, but no rosbag.
    """
    check_topic('--calibration-topic', args.calibration_topic, [args.calibration_images])
    return CalibrationOptions(args.calibration_images, args.calibration_topic,
                              args.calibration_method, args.calibration_count,
                              args.calibration_table)


def run_options(args: argparse.Namespace) -> RunOptions:
    """Return the options that ``add_backend_options`` has parsed."""
    return RunOptions(args.backend, args.device, args.threads, args.mask_interpolation,
                      mask_encoding=args.mask_encoding, engine_cache=args.engine_cache,
                      build=build_options(args), measure=args.measure,
                      gpu_jpeg=getattr(args, 'gpu_jpeg', True), instances=_instances(args),
                      overlay_scale=getattr(args, 'overlay_scale', 1.0),
                      smoothing=_smoothing(args))


def _instances(args: argparse.Namespace) -> bool:
    """Whether the arguments ask for an output of instances."""
    return getattr(args, 'instances', False) or any(
        kind_of(name) in INSTANCE_OUTPUTS for name in getattr(args, 'outputs', ()))


def _smoothing(args: argparse.Namespace) -> bool:
    """Whether the arguments ask for temporal smoothing; only some commands have it."""
    return getattr(args, 'temporal_smoothing', 0) > 0


def read_spec(args: argparse.Namespace, batch: int = 1) -> resolve.ModelSpec:
    """Return the spec of the network ``args.model``, the same that ``open_segmenter`` uses.

    Args:
        args: arguments of ``add_build_options``, with ``model``.
        batch: see ``RunOptions``.
    """
    config = ModelConfig.from_file(args.config) if args.config else ModelConfig()
    options = RunOptions(mask_encoding=args.mask_encoding, batch=batch,
                         engine_cache=args.engine_cache,
                         build=BuildOptions(calibration=calibration_options(args)),
                         measure=args.measure, instances=_instances(args),
                         overlay_scale=getattr(args, 'overlay_scale', 1.0),
                         smoothing=_smoothing(args))
    return resolve.read_spec(args.model or demo_model(), config, options)


def open_segmenter(args: argparse.Namespace) -> Segmenter:
    """Open ``args.model`` with the options of ``add_backend_options``."""
    return Segmenter.open(args.model, config=args.config or None, options=run_options(args))
