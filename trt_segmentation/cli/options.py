# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments that several subcommands share."""

import argparse
import re

from trt_segmentation.graph.prepare import MASK_INTERPOLATIONS
from trt_segmentation.options import (
    BACKENDS,
    CALIBRATION_METHODS,
    MASK_ENCODINGS,
    PRECISIONS,
    BuildOptions,
    CalibrationOptions,
    RunOptions,
    tactic_names,
)
from trt_segmentation.segmenter import Segmenter

_DEFAULTS = BuildOptions()


def size(text: str) -> tuple[int, int]:
    """Return HEIGHTxWIDTH as two numbers, for argparse."""
    match = re.fullmatch(r'(\d+)x(\d+)', text)
    if not match or '0' in match.groups():
        raise argparse.ArgumentTypeError(f"'{text}' is no HEIGHTxWIDTH, for example 1080x1920")
    return int(match[1]), int(match[2])


def add_backend_options(parser: argparse.ArgumentParser) -> None:
    """Add how a model is opened, apart from the model itself."""
    parser.add_argument('--backend', choices=BACKENDS, default='auto',
                        help='auto takes tensorrt where it and a GPU are there')
    parser.add_argument('--threads', type=int, default=0, metavar='N',
                        help='CPU threads for one operation; default: one for each core')
    add_build_options(parser)


def add_build_options(parser: argparse.ArgumentParser) -> None:
    """Add all that an engine depends on, apart from the model itself."""
    parser.add_argument('--config', default='', metavar='YAML',
                        help='model config; default: what the model file itself tells')
    parser.add_argument('--precision', choices=PRECISIONS, default='fp32')
    parser.add_argument('--mask-interpolation', choices=MASK_INTERPOLATIONS, default='nearest',
                        help='decide classes at the size of the network (nearest) or of the '
                             'image (bilinear: smoother edges, slower)')
    parser.add_argument('--mask-encoding', choices=MASK_ENCODINGS, default='mono8',
                        help='mono8 holds 255 classes, mono16 65535')
    parser.add_argument('--device', type=int, default=0, metavar='N', help='index of the GPU')
    parser.add_argument('--engine-cache', default='', metavar='DIR',
                        help="folder of built engines; default: the user's cache folder")
    group = parser.add_argument_group('TensorRT builds')
    for name, meaning in (('min', 'smallest image'), ('opt', 'image to be tuned for'),
                          ('max', 'largest image')):
        default = getattr(_DEFAULTS, f'{name}_size')
        group.add_argument(f'--{name}-size', type=size, default=default, metavar='HEIGHTxWIDTH',
                           help='{} (default {}x{})'.format(meaning, *default))
    group.add_argument('--tf32', action='store_true',
                       help='let fp32 round factors to 10 bits: faster on Ampere and later')
    group.add_argument('--workspace', type=int, default=0, metavar='MIB',
                       help='limit of scratch memory on the GPU')
    group.add_argument('--optimization-level', type=int, default=-1, metavar='0..5',
                       help='0 builds fastest, 5 makes the fastest engine')
    group.add_argument('--tactic-sources', default='', metavar='NAMES',
                       help='libraries whose kernels may be chosen, with commas, named as in '
                            'trt.TacticSource')
    group.add_argument('--version-compatible', action='store_true',
                       help='newer TensorRT versions shall run the engine, too')
    group.add_argument('--hardware-compatible', action='store_true',
                       help='other GPUs (Ampere and later) shall run the engine, too')
    group.add_argument('--dla-core', type=int, default=-1, metavar='N',
                       help='run on this DLA core, and on the GPU what it cannot')
    _add_calibration_options(parser.add_argument_group('int8 calibration'))


def _add_calibration_options(group: 'argparse._ArgumentGroup') -> None:
    group.add_argument('--calibration-images', default='', metavar='PATH',
                       help='image, folder, video or rosbag2 of typical scenes')
    group.add_argument('--calibration-topic', default='', metavar='TOPIC',
                       help='image topic in a rosbag2; default: the only one')
    group.add_argument('--calibration-method', choices=CALIBRATION_METHODS,
                       default=CALIBRATION_METHODS[0],
                       help=f'how ranges are chosen (default {CALIBRATION_METHODS[0]})')
    group.add_argument('--calibration-count', type=int, default=200, metavar='N',
                       help='images used at most (default 200)')
    group.add_argument('--calibration-table', default='', metavar='FILE',
                       help='saved ranges: read where the file exists, else written')


def build_options(args: argparse.Namespace) -> BuildOptions:
    """Return what ``add_build_options`` has parsed."""
    calibration = CalibrationOptions(args.calibration_images, args.calibration_topic,
                                     args.calibration_method, args.calibration_count,
                                     args.calibration_table)
    return BuildOptions(args.precision, args.tf32, args.min_size, args.opt_size, args.max_size,
                        args.workspace, args.optimization_level,
                        tactic_names(args.tactic_sources), args.version_compatible,
                        args.hardware_compatible, args.dla_core, calibration)


def run_options(args: argparse.Namespace) -> RunOptions:
    """Return what ``add_backend_options`` has parsed."""
    return RunOptions(args.backend, args.device, args.threads, args.mask_interpolation,
                      mask_encoding=args.mask_encoding, engine_cache=args.engine_cache,
                      build=build_options(args))


def open_segmenter(args: argparse.Namespace) -> Segmenter:
    """Open ``args.model`` as the shared options say."""
    return Segmenter.open(args.model, config=args.config or None, options=run_options(args))
