# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters of the node from the arguments of a command."""

import argparse
import json
import os
from typing import Any

_SAME_NAMES = (
    'precision', 'measure', 'backend', 'device', 'mask_interpolation', 'mask_encoding',
    'engine_cache', 'min_size', 'opt_size', 'max_size', 'tf32', 'workspace', 'optimization_level',
    'tactic_sources', 'version_compatible', 'hardware_compatible', 'dla_core', 'fp16_fallback',
    'calibration_images', 'calibration_topic', 'calibration_method', 'calibration_count',
    'calibration_table')


def node_parameters(args: argparse.Namespace, **more: Any) -> list[str]:
    """Return the arguments after --ros-args with which the node opens the model of a command.

    Args:
        args: arguments of ``arguments.add_backend_options``, and ``model``.
        more: additional parameters.
    """
    values = {'engine_path': os.path.abspath(args.model) if args.model else '',
              'model_config': os.path.abspath(args.config) if args.config else '',
              'num_threads': args.threads,
              **{name: getattr(args, name) for name in _SAME_NAMES}, **more}
    arguments = []
    for name, value in values.items():
        if value != '':
            text = value if isinstance(value, str) else json.dumps(value)
            arguments += ['-p', f'{name}:={text}']
    return arguments
