# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Description of the machine that a measurement was taken on."""

import importlib.metadata
import os
import platform
import subprocess
from datetime import datetime, timezone
from typing import Any

from trt_segmentation.options import cpu_count, cpu_model

_GPU_FIELDS = ('name', 'driver_version', 'clocks.sm', 'clocks.max.sm', 'clocks.mem',
              'power.limit', 'memory.total')
"""Names of nvidia-smi --help-query-gpu; clocks are the current and the maximum ones."""

_DISTRIBUTIONS = ('numpy', 'opencv-python-headless', 'onnx', 'onnxruntime', 'tensorrt', 'pycuda',
                  'trt_segmentation')


def describe_host() -> dict[str, Any]:
    """Return date, processor, cores, load, system, versions and GPUs.

    Call it right after measuring, while the GPU still has its working clocks.
    """
    return {'date': datetime.now(timezone.utc).isoformat(timespec='seconds'),
            'cpu': cpu_model(), 'cores': cpu_count(), 'load_1_min': _load(),
            'system': f'{platform.system()} {platform.release()} {platform.machine()}',
            'versions': versions(), 'gpus': query_gpus()}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that affect speed."""
    found = {'python': platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def query_gpus() -> list[dict[str, str]]:
    """Return what nvidia-smi reports about each NVIDIA GPU; empty if there is none."""
    try:
        done = subprocess.run(
            ['nvidia-smi', f'--query-gpu={",".join(_GPU_FIELDS)}', '--format=csv,noheader'],
            capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [dict(zip(_GPU_FIELDS, (value.strip() for value in line.split(',')), strict=False))
            for line in done.stdout.splitlines() if line.strip()]


def _load() -> float | None:
    """Load average of the last minute; None if the system has none."""
    return round(os.getloadavg()[0], 2) if hasattr(os, 'getloadavg') else None
