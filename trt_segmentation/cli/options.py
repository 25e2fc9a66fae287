# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments that several subcommands share."""

import argparse

from trt_segmentation.backends import BACKENDS, PRECISIONS
from trt_segmentation.graph.prepare import MASK_INTERPOLATIONS
from trt_segmentation.segmenter import Segmenter


def add_backend_options(parser: argparse.ArgumentParser) -> None:
    """Add how a model is opened, apart from the model itself."""
    parser.add_argument('--config', default='', metavar='YAML',
                        help='model config; default: what the model file itself tells')
    parser.add_argument('--precision', choices=PRECISIONS, default='fp32')
    parser.add_argument('--backend', choices=BACKENDS, default='auto')
    parser.add_argument('--threads', type=int, default=0, metavar='N',
                        help='CPU threads for one operation; default: one for each core')
    parser.add_argument('--mask-interpolation', choices=MASK_INTERPOLATIONS, default='nearest',
                        help='decide classes at the size of the network (nearest) or of the '
                             'image (bilinear: smoother edges, slower)')


def open_segmenter(args: argparse.Namespace) -> Segmenter:
    """Open ``args.model`` as the shared options say."""
    return Segmenter.open(args.model, config=args.config or None, precision=args.precision,
                          backend=args.backend, mask_interpolation=args.mask_interpolation,
                          num_threads=args.threads)
