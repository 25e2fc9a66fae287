# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""What a measurement was taken on."""

import importlib.metadata
import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from trt_segmentation.options import cpu_count

_GPU_FACTS = ('name', 'driver_version', 'clocks.sm', 'clocks.max.sm', 'clocks.mem',
              'power.limit', 'memory.total')
"""As nvidia-smi --help-query-gpu names them; clocks are those of the moment and the highest."""

_DISTRIBUTIONS = ('numpy', 'opencv-python-headless', 'onnx', 'onnxruntime', 'tensorrt', 'pycuda',
                  'trt_segmentation')


def host_facts() -> dict[str, Any]:
    """Return date, processor, cores, load, system, versions, and the GPUs that there are.

    Take it while the GPU is still at its working clocks, right after measuring.
    """
    return {'date': datetime.now(timezone.utc).isoformat(timespec='seconds'),
            'cpu': _cpu_model(), 'cores': cpu_count(), 'load_1_min': _load(),
            'system': f'{platform.system()} {platform.release()} {platform.machine()}',
            'versions': versions(), 'gpus': gpu_facts()}


def versions() -> dict[str, str]:
    """Return the versions of Python and of what decides about speed, of that which is there."""
    found = {'python': platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def gpu_facts() -> list[dict[str, str]]:
    """Return of every NVIDIA GPU what nvidia-smi says; nothing where there is none."""
    try:
        done = subprocess.run(
            ['nvidia-smi', f'--query-gpu={",".join(_GPU_FACTS)}', '--format=csv,noheader'],
            capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [dict(zip(_GPU_FACTS, (value.strip() for value in line.split(',')), strict=False))
            for line in done.stdout.splitlines() if line.strip()]


def _cpu_model() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(':')[2].strip() for line in lines
                 if line.startswith(('model name', 'Model'))), platform.processor())


def _load() -> float | None:
    """Load average before and during the measurement; None where the system has none."""
    return round(os.getloadavg()[0], 2) if hasattr(os, 'getloadavg') else None
