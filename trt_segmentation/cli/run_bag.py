# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""``run`` with a rosbag as input and a rosbag2 of masks as output."""

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from trt_segmentation.bags.parts import BagWork
from trt_segmentation.bags.replay import replay
from trt_segmentation.cli.run_options import (
    lanes_of,
    opener,
    outputs_of,
    settings,
    tasks_of,
    workers_of,
)
from trt_segmentation.errors import ConfigError, ImageError
from trt_segmentation.graph.pipeline.output_names import kind_of
from trt_segmentation.images.rosbag import is_bag

_SHOWN = 20
"""Number of dropped frames that are listed at the end; the others are counted."""


def execute(args: argparse.Namespace) -> int:
    """Segment the rosbag; return 1 if a frame was dropped."""
    workers = workers_of(args)
    if len(args.inputs) != 1 or not is_bag(args.inputs[0]):
        raise ImageError(f'{", ".join(map(str, args.inputs))}: --output {args.output} is a '
                         'rosbag2, which needs one rosbag as input: a folder with '
                         'metadata.yaml, or a .mcap, .db3 or .bag file')
    if args.temporal_smoothing and not workers.is_in_process:
        raise ConfigError('--temporal-smoothing: the frames of a rosbag depend on each other, so '
                          'one process segments them; remove --workers and --cluster, and name '
                          'one GPU in --devices')
    bag, output = args.inputs[0].resolve(), args.output.resolve()
    lanes, outputs = lanes_of(args, workers), outputs_of(args, tasks_of(args))
    if any(kind_of(name) == 'detections' for name in outputs):
        raise ConfigError('--outputs detections: is not written into a rosbag2; write a folder of '
                          'files (--output FOLDER), or record ~/detections of the node')
    work = BagWork(bag, args.topic, Path(), outputs, lanes,
                   opener(args, workers, lanes))
    with tqdm(unit='frame', disable=None) as bar:
        def show(count: int, total: int) -> None:
            bar.total = total
            bar.update(count - bar.n)

        try:
            done = replay(work, output, settings(args), workers, show)
        except KeyboardInterrupt:
            print('interrupted: the same command resumes this run', file=sys.stderr)
            raise
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
