# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""How long a fresh process takes to its first mask, with the engine in the cache.

    python startup.py MODEL CONFIG PRECISION CACHE CALIBRATION TACTICS LEVEL

prints the seconds from the start of the process.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from subjects import Builds, Subject

RUNS = 3


def check_startup(subject: Subject, precision: str, builds: Builds) -> dict[str, Any]:
    """Return the seconds of each of ``RUNS`` fresh processes."""
    arguments = [subject.model, subject.config, precision, builds.cache, subject.calibration,
                 ','.join(builds.tactics or ()), builds.level]
    seconds = []
    for _ in range(RUNS):
        start = time.time()
        done = subprocess.run([sys.executable, __file__, *map(str, arguments)], check=True,
                              capture_output=True, text=True)
        seconds.append(json.loads(done.stdout.splitlines()[-1]) - start)
    return {'seconds': seconds}


def _first_mask(model: str, config: str, precision: str, cache: str, calibration: str,
                tactics: str, level: str) -> None:
    import numpy as np

    from trt_segmentation.segmenter import Segmenter
    subject = Subject(Path(model), config, list, (precision,), True, calibration)
    builds = Builds(Path(cache), tuple(tactics.split(',')) if tactics else None, int(level))
    segmenter = Segmenter.open(model, config=config or None,
                               options=subject.options(precision, builds))
    segmenter.infer(np.zeros((1080, 1920, 3), np.uint8))
    print(json.dumps(time.time()), flush=True)
    segmenter.close()


if __name__ == '__main__':
    _first_mask(*sys.argv[1:])
