# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
"""Time of a new process until its first mask, with the engine in the cache.

The process has the imports of a user's program. It reads pickled arguments of ``Segmenter.open``
from stdin and prints, as JSON, the time at the end of each of ``PARTS``; with the argument
'profile' it prints a profile of ``open`` and the first image instead.
"""

import json
import pickle
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from subjects import Builds, Subject

RUNS = 5
PARTS = 'interpreter', 'imports', 'open', 'first image'
SIZE = 1080, 1920


def check_startup(subject: 'Subject', precision: str, builds: 'Builds') -> dict[str, Any]:
    """Return the seconds of ``RUNS`` new processes, and the median of each of their parts."""
    arguments = {'model': subject.model, 'config': subject.config or None,
                 'options': subject.options(precision, builds)}
    runs = []
    for _ in range(RUNS):
        start = time.time()
        done = json.loads(_child(arguments).splitlines()[-1])
        runs.append([end - begin for begin, end in zip([start, *done], done, strict=False)])
    parts = [sorted(times)[RUNS // 2] for times in zip(*runs, strict=True)]
    return {'seconds': [sum(run) for run in runs], 'parts': dict(zip(PARTS, parts, strict=True)),
            'profile': _child(arguments, 'profile')}


def _child(arguments: dict[str, Any], *words: str) -> str:
    done = subprocess.run([sys.executable, __file__, *words], input=pickle.dumps(arguments),
                          capture_output=True)
    if done.returncode:
        raise RuntimeError(done.stderr.decode()[-1500:])
    return done.stdout.decode()


def _first_mask(arguments: dict[str, Any], ends: list[float]) -> None:
    import numpy as np

    from trt_segmentation import Segmenter
    ends.append(time.time())
    segmenter = Segmenter.open(**arguments)
    ends.append(time.time())
    segmenter.infer(np.zeros((*SIZE, 3), np.uint8))
    ends.append(time.time())
    segmenter.close()


def _profile(arguments: dict[str, Any]) -> None:
    import cProfile
    import pstats

    profile = cProfile.Profile()
    profile.runcall(_first_mask, arguments, [])
    pstats.Stats(profile).sort_stats('cumulative').print_stats(40)


if __name__ == '__main__':
    STARTED = [time.time()]
    GIVEN = pickle.load(sys.stdin.buffer)
    if sys.argv[1:] == ['profile']:
        _profile(GIVEN)
    else:
        _first_mask(GIVEN, STARTED)
        print(json.dumps(STARTED), flush=True)
