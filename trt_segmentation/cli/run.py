# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Write masks and overlays of images, folders of images, videos and rosbags."""

import argparse
from pathlib import Path

from trt_segmentation.bags.writing import STORAGES
from trt_segmentation.cli.arguments import add_backend_options
from trt_segmentation.cli.run_options import add_work_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``trt-segmentation run``."""
    parser.add_argument('inputs', nargs='+', type=Path, metavar='INPUT',
                        help='image, video, folder that is searched with all folders below it, or '
                             'one rosbag')
    parser.add_argument('--model', default='', metavar='ONNX',
                        help='network; default: the embedded demo network (rendered roads)')
    parser.add_argument('--output', required=True, type=Path, metavar='DIR',
                        help='where <stem>_mask.png and <stem>_overlay.png go, in folders like '
                             'those of the inputs; a video makes <stem>_mask/<frame>.png and '
                             '<stem>_overlay.mp4; a rosbag makes a rosbag2: name it OUT.mcap or '
                             'OUT.db3')
    add_work_options(parser)
    add_backend_options(parser)


def execute(args: argparse.Namespace) -> int:
    """Segment every input; return 1 if one failed, after all others are done."""
    if args.output.suffix in STORAGES:
        from trt_segmentation.cli import run_bag
        return run_bag.execute(args)
    from trt_segmentation.cli import run_files
    return run_files.execute(args)
