# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Segment images, folders of images, videos and rosbags; write masks and overlays."""

import argparse
from pathlib import Path

from trt_segmentation.bags.writing import STORAGES
from trt_segmentation.cli.arguments import add_backend_options
from trt_segmentation.cli.run_options import add_work_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``trt-segmentation run``."""
    parser.add_argument('inputs', nargs='+', type=Path, metavar='INPUT',
                        help='images, videos and folders, which are searched recursively; or one '
                             'rosbag')
    parser.add_argument('--model', default='', metavar='ONNX',
                        help='.onnx, .engine or .plan file; default: the embedded demo network '
                             '(rendered roads)')
    parser.add_argument('--output', required=True, type=Path, metavar='DIR',
                        help='folder for <stem>_mask.png and <stem>_overlay.png, with the '
                             'subfolders of the inputs; for a video: <stem>_mask/<frame>.png and '
                             '<stem>_overlay.mp4; for a rosbag: the new rosbag2, OUT.mcap or '
                             'OUT.db3')
    add_work_options(parser)
    add_backend_options(parser)


def execute(args: argparse.Namespace) -> int:
    """Segment every input; return 1 if one has failed."""
    if args.output.suffix in STORAGES:
        from trt_segmentation.cli import run_bag
        return run_bag.execute(args)
    from trt_segmentation.cli import run_files
    return run_files.execute(args)
