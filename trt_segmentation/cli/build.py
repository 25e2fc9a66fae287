# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Build the TensorRT engine of a network for this machine ahead of time."""

import argparse
from dataclasses import replace

from trt_segmentation.backends import engine_loader
from trt_segmentation.cli.arguments import (
    add_build_options,
    add_overlay_scale,
    build_options,
    new_file,
    read_spec,
    size,
    whole,
)
from trt_segmentation.cli.inspect import describe_engine
from trt_segmentation.errors import ConfigError
from trt_segmentation.graph.pipeline.camera_bytes import CAMERA_ENCODINGS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``trt-segmentation build``."""
    parser.add_argument('model', nargs='?', default='', metavar='MODEL',
                        help='an .onnx file; default: the embedded demo network')
    parser.add_argument('--output', type=new_file, metavar='FILE',
                        help='write the engine to this file, and its description to FILE.json; '
                             'default: only to the engine cache, where the node finds it')
    parser.add_argument('--mask-size', type=size, metavar='HEIGHTxWIDTH',
                        help='size of mask and confidence; default: the size of the image')
    parser.add_argument('--batch', type=whole(1), default=1, metavar='N',
                        help='batch size, for a node with N cameras (default 1)')
    parser.add_argument('--input-encodings', type=_encodings, default=(), metavar='NAMES',
                        help='also build the GPU conversion of these camera encodings into the '
                             f'engine cache; comma-separated: {", ".join(CAMERA_ENCODINGS)}')
    parser.add_argument('--instances', action='store_true',
                        help='also compute the outputs instances and detections')
    add_overlay_scale(parser)
    parser.add_argument('--temporal-smoothing', action='store_true',
                        help='build temporal smoothing into the engine; its weight is set when it '
                             'runs')
    add_build_options(parser)


def _encodings(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(','))
    if unknown := [name for name in names if name not in CAMERA_ENCODINGS]:
        raise argparse.ArgumentTypeError(f'{", ".join(unknown)} is not converted on the GPU; '
                                         f'those that are: {", ".join(CAMERA_ENCODINGS)}')
    return names


def execute(args: argparse.Namespace) -> int:
    """Load the engine from the cache or build it; print its description."""
    from trt_segmentation.backends.tensorrt.cache import write_engine
    spec = replace(read_spec(args, args.batch), mask_size=args.mask_size)
    loader = engine_loader(args.device, args.engine_cache)
    engine = loader.fetch(spec, build_options(args), args.mask_interpolation)
    print(describe_engine(engine.facts))
    for encoding in args.input_encodings:
        loader.fetch_converter(encoding, args.batch, build_options(args))
        print(f'the conversion of {encoding} on the GPU is in the engine cache')
    if args.output:
        try:
            write_engine(args.output, engine)
        except OSError as error:
            raise ConfigError(f'{args.output}: cannot be written ({error.strerror})') from error
        print(f'written to {args.output} and {args.output.name}.json')
    return 0
