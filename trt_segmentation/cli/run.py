# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Write masks and overlays of images, folders of images, videos and rosbags."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from trt_segmentation.bags.reading import is_bag
from trt_segmentation.cli import run_bag
from trt_segmentation.cli.files import make_folder, write_image
from trt_segmentation.cli.options import add_backend_options, open_segmenter
from trt_segmentation.errors import ImageError, SegmentationError
from trt_segmentation.image_source import folder_files, is_image, open_video, read_image
from trt_segmentation.segmenter import Segmenter

OUTPUTS = ('mask', 'overlay')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``trt-segmentation run``."""
    parser.add_argument('inputs', nargs='+', type=Path, metavar='INPUT',
                        help='image, video, folder of them, or one rosbag')
    parser.add_argument('--model', default='', metavar='ONNX',
                        help='network; default: the embedded demo network (rendered roads)')
    parser.add_argument('--output', required=True, type=Path, metavar='DIR',
                        help='where <stem>_mask.png and <stem>_overlay.png go; a video makes '
                             '<stem>_mask/<frame>.png and <stem>_overlay.mp4; a rosbag makes '
                             'a rosbag2: name it OUT.mcap or OUT.db3')
    parser.add_argument('--alpha', type=float, default=0.5, metavar='0..1',
                        help="opacity of the overlay's colours (default 0.5)")
    run_bag.add_arguments(parser)
    add_backend_options(parser)


def execute(args: argparse.Namespace) -> int:
    """Segment every input; return 1 if one failed, after all others are done."""
    if run_bag.wants_bag(args):
        return run_bag.execute(args)
    if bag := next(filter(is_bag, args.inputs), None):
        raise ImageError(f'{bag}: is a rosbag, which becomes one; name it --output OUT.mcap '
                         'or OUT.db3')
    segmenter = open_segmenter(args)
    segmenter.overlay_alpha = args.alpha
    files = list(_input_files(args.inputs))
    make_folder(args.output)
    failures: list[str] = []
    stems: dict[str, Path] = {}
    for path in tqdm(files, unit='file', disable=None):
        try:
            if path.stem in stems:
                raise ImageError(f'{path}: its results would replace those of '
                                 f'{stems[path.stem]}; rename one')
            _segment_file(segmenter, path, args.output)
            stems[path.stem] = path
        except SegmentationError as error:
            failures.append(str(error))
            tqdm.write(f'error: {error}', file=sys.stderr)
    print(f'{len(files) - len(failures)} of {len(files)} inputs segmented into {args.output} '
          f'({segmenter.info})')
    if failures:
        print(f'{len(failures)} failed:', *failures, sep='\n  ', file=sys.stderr)
    return 1 if failures or not files else 0


def _input_files(inputs: list[Path]) -> Iterator[Path]:
    for path in inputs:
        if path.is_dir():
            yield from folder_files(path)
        else:
            yield path


def _segment_file(segmenter: Segmenter, path: Path, output: Path) -> None:
    if not is_image(path):
        with open_video(path) as video:
            _segment_video(segmenter, path, video, output)
        return
    result = segmenter.infer(read_image(path), outputs=OUTPUTS)
    write_image(output / f'{path.stem}_mask.png', result.mask)
    write_image(output / f'{path.stem}_overlay.png', result.overlay)


def _segment_video(segmenter: Segmenter, path: Path, video: cv2.VideoCapture,
                   output: Path) -> None:
    masks = output / f'{path.stem}_mask'
    make_folder(masks)
    expected = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    writer, done = None, 0
    try:
        with tqdm(total=max(expected, 0) or None, unit='frame', desc=path.name, leave=False,
                  disable=None) as progress:
            while (frame := video.read()[1]) is not None:
                result = segmenter.infer(frame, outputs=OUTPUTS)
                if writer is None:
                    writer = _video_writer(output / f'{path.stem}_overlay.mp4', video, frame)
                write_image(masks / f'{done:06d}.png', result.mask)
                writer.write(result.overlay)
                done += 1
                progress.update()
            if done == 0:
                raise ImageError(f'{path}: not one frame can be decoded')
    finally:
        if writer is not None:
            writer.release()


def _video_writer(path: Path, video: cv2.VideoCapture, frame: np.ndarray) -> cv2.VideoWriter:
    height, width = frame.shape[:2]
    rate = video.get(cv2.CAP_PROP_FPS) or 25.0
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), rate, (width, height))
    if not writer.isOpened():
        raise ImageError(f'{path}: cannot be written; is the folder writable and has OpenCV '
                         'an MPEG-4 encoder?')
    return writer
